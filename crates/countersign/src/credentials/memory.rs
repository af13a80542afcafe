//! Caches of type MEMORY, by name.

use super::{CcacheName, Found, refusal};
use countersign_proto::ccache::{Ccache, Credential};
use countersign_proto::error::{Refusal, code};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

static CACHES: Mutex<BTreeMap<String, Ccache>> = Mutex::new(BTreeMap::new());

fn caches() -> MutexGuard<'static, BTreeMap<String, Ccache>> {
    CACHES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absent(name: &str) -> Refusal {
    let error = io::Error::from(io::ErrorKind::NotFound);
    refusal(code::CCACHE_UNREADABLE, CcacheName::Memory(name.to_owned()), &error)
}

pub(super) fn find(name: &str) -> Result<Found, Refusal> {
    let ccache = caches().get(name).cloned().ok_or_else(|| absent(name))?;
    Ok(Found { ccache, left_out: 0, mode: None, planted_by: None })
}

pub(super) fn initialize(name: &str, ccache: &Ccache) {
    caches().insert(name.to_owned(), ccache.clone());
}

pub(super) fn store(name: &str, credentials: &[Credential]) -> Result<(), Refusal> {
    let mut caches = caches();
    let ccache = caches.get_mut(name).ok_or_else(|| absent(name))?;
    credentials.iter().for_each(|credential| ccache.add(credential.clone()));
    Ok(())
}

pub(super) fn destroy(name: &str) -> Result<(), Refusal> {
    caches().remove(name).map(drop).ok_or_else(|| absent(name))
}
