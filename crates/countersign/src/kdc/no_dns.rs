//! Builds without the feature `dns-srv` ask no DNS, and say so.

use super::error::KdcError;
use countersign_proto::krb5conf::KdcAddress;
use std::time::Instant;

/// What stands in the place of the DNS.
pub(super) struct Dns;

impl Dns {
    /// The same for every system.
    pub(super) const fn of_system() -> Self {
        Self
    }

    /// # Errors
    /// Always.
    pub(super) fn kdcs_blocking(&self, domain: &str, _end: Instant) -> Result<Vec<KdcAddress>, KdcError> {
        Err(unasked(domain))
    }

    /// # Errors
    /// Always.
    pub(super) async fn kdcs(&self, domain: &str, _end: Instant) -> Result<Vec<KdcAddress>, KdcError> {
        Err(unasked(domain))
    }
}

fn unasked(domain: &str) -> KdcError {
    let why = "a program built without the feature dns-srv, which asks no DNS";
    KdcError::Unknown { realm: domain.into(), why }
}
