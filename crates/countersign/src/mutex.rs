//! Mutexes that are never poisoned to any effect: nothing in this crate panics while it holds one.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the mutex.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
