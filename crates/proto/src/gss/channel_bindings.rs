//! Channel bindings, and the hash by which they are told.

use crate::secret;
use md5::{Digest, Md5};
use std::fmt;

/// What a context is bound to on the channel beneath it (RFC 2744 section 3.11): both ends must give the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChannelBindings {
    /// Address type and address of the initiator; 0 and nothing for TLS.
    pub initiator: (u32, Vec<u8>),
    /// Address type and address of the acceptor; 0 and nothing for TLS.
    pub acceptor: (u32, Vec<u8>),
    /// The binding itself: for TLS the prefix (`tls-server-end-point:`) and the raw data.
    pub application_data: Vec<u8>,
}

impl ChannelBindings {
    /// Bindings that are application data alone, as over TLS.
    #[must_use]
    pub fn from_application_data(application_data: Vec<u8>) -> Self {
        Self { application_data, ..Self::default() }
    }

    /// The MD5 hash by which they are told (RFC 4121 section 4.1.1.2): every number little-endian in four bytes.
    #[must_use]
    pub fn hash(&self) -> BindingsHash {
        let mut md5 = Md5::new();
        for (address_type, address) in [&self.initiator, &self.acceptor] {
            md5.update(address_type.to_le_bytes());
            update_counted(&mut md5, address);
        }
        update_counted(&mut md5, &self.application_data);
        BindingsHash(md5.finalize().into())
    }
}

fn update_counted(md5: &mut Md5, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    md5.update(length.to_le_bytes());
    md5.update(bytes);
}

/// The hash of channel bindings; all zeros say that there are none.
#[derive(Clone, Copy)]
pub struct BindingsHash(pub [u8; 16]);

impl BindingsHash {
    /// What a peer sends that is bound to nothing.
    pub const NONE: Self = Self([0; 16]);

    /// Whether this says that there are no bindings.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.matches(&Self::NONE)
    }

    /// Whether it is one of `others`, in a time that does not depend on which.
    #[must_use]
    pub fn matches_any(&self, others: &[Self]) -> bool {
        others.iter().fold(false, |matched, other| matched | self.matches(other))
    }

    /// Several of them, for people.
    pub(crate) fn listed(hashes: &[Self]) -> String {
        hashes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        secret::ct_eq(&self.0, &other.0)
    }
}

/// Two hex digits a byte.
impl fmt::Display for BindingsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_md5_over_lengths_and_data() {
        // Application data "hello": MD5 of 16 zero bytes, 05 00 00 00 and the text, computed with Python's hashlib.
        let bindings = ChannelBindings::from_application_data(b"hello".to_vec());
        assert_eq!(bindings.hash().to_string(), "50f40d34cd26c144fc662ed1ec783a94");
    }

    #[test]
    fn where_a_byte_stands_matters() {
        let data = ChannelBindings::from_application_data(vec![1]);
        let address = ChannelBindings { initiator: (0, vec![1]), ..ChannelBindings::default() };
        assert!(!data.hash().matches(&address.hash()));
        assert!(!data.hash().is_none());
    }
}
