//! Secret bytes on the stack.

use std::ops::{Deref, DerefMut};
use zeroize::Zeroize;

/// `N` bytes, zeros at first, that are wiped when dropped.
///
/// `Zeroizing<[u8; N]>` would wipe byte by byte; a slice is wiped all at once.
#[derive(Clone)]
pub(crate) struct Wiped<const N: usize>([u8; N]);

impl<const N: usize> Wiped<N> {
    /// All zeros.
    pub(super) const fn new() -> Self {
        Self([0; N])
    }

    /// The start of `bytes`, zeros behind it if there are fewer than `N`.
    pub(super) fn start_of(bytes: &[u8]) -> Self {
        let mut start = Self::new();
        start.0.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        start
    }

    /// The first `length` bytes, all at most.
    pub(super) fn first(&self, length: usize) -> &[u8] {
        self.0.get(..length).unwrap_or(&self.0)
    }

    /// The first `length` bytes to be written to, none if there are fewer.
    pub(super) fn first_mut(&mut self, length: usize) -> &mut [u8] {
        self.0.get_mut(..length).unwrap_or_default()
    }
}

impl<const N: usize> Deref for Wiped<N> {
    type Target = [u8; N];
    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Wiped<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Wiped<N> {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}
