//! Where tickets are kept: a credential cache of this machine, or this process's memory.

use crate::credentials::{self, CcacheName};
use crate::mutex::lock;
use countersign_proto::ccache::{Ccache, Credential};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::kdc_exchange::AsGranted;
use std::sync::Mutex;

/// Keeps tickets.
pub(super) enum Keeper {
    /// In a cache that other programs may use too.
    Shared(CcacheName),
    /// For this process alone.
    Own(Mutex<Option<Ccache>>),
}

impl Keeper {
    pub(super) fn new(name: Option<CcacheName>) -> Self {
        name.map_or_else(|| Self::Own(Mutex::default()), Self::Shared)
    }

    /// What is there. A cache that is not there is an error unless it `may_be_absent`.
    pub(super) fn read(&self, may_be_absent: bool) -> Result<Option<Ccache>, Refusal> {
        match self {
            Self::Own(own) => Ok(lock(own).clone()),
            Self::Shared(name) => match credentials::read(name) {
                Ok(cache) => Ok(Some(cache)),
                // One that is there and cannot be read is no reason to log in again and replace it.
                Err(_) if may_be_absent && is_absent(name) => Ok(None),
                Err(refusal) => Err(refusal),
            },
        }
    }

    /// Begins anew with what a login gave.
    pub(super) fn begin(&self, granted: &AsGranted) -> Result<(), Refusal> {
        let credential = granted.credential.clone();
        let service = credential.server.clone();
        let mut cache = Ccache::new(credential.client.clone());
        cache.kdc_offset = granted.kdc_offset;
        cache.add(credential);
        if granted.fast_available {
            cache.set_config(b"fast_avail", Some(&service), b"yes");
        }
        if let Some(pa_type) = granted.pa_type {
            cache.set_config(b"pa_type", Some(&service), pa_type.to_string().as_bytes());
        }
        self.replace(cache)
    }

    /// Begins anew with a renewed ticket-granting ticket and the settings that there were.
    pub(super) fn begin_again(&self, cache: Option<Ccache>, credential: Credential) -> Result<(), Refusal> {
        let (config, kdc_offset) = cache.map(|cache| (cache.config, cache.kdc_offset)).unwrap_or_default();
        let default_principal = credential.client.clone();
        self.replace(Ccache { kdc_offset, default_principal, credentials: vec![credential], config })
    }

    fn replace(&self, cache: Ccache) -> Result<(), Refusal> {
        match self {
            // A folder's new member becomes the one that its name stands for: what is added later goes there.
            Self::Shared(name) => {
                credentials::initialize(name, &cache).and_then(|made| credentials::set_primary(&made))
            }
            Self::Own(own) => {
                *lock(own) = Some(cache);
                Ok(())
            }
        }
    }

    /// Adds tickets.
    pub(super) fn add(&self, new: &[Credential]) -> Result<(), Refusal> {
        match self {
            _ if new.is_empty() => Ok(()),
            Self::Shared(name) => credentials::store(name, new),
            Self::Own(own) => {
                if let Some(cache) = lock(own).as_mut() {
                    new.iter().for_each(|credential| cache.add(credential.clone()));
                }
                Ok(())
            }
        }
    }
}

fn is_absent(name: &CcacheName) -> bool {
    credentials::list(name).is_ok_and(|members| members.is_empty())
}
