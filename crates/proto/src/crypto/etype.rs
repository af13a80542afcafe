//! Etypes: their numbers, names and lengths.

use std::borrow::Cow;
use std::fmt;

/// Longest integrity tag and checksum of any etype, in bytes.
pub const MAX_TAG_LEN: usize = 24;

/// An encryption type that is implemented, by its number in the IANA registry (RFC 3961 section 8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum Etype {
    /// aes128-cts-hmac-sha1-96 (RFC 3962).
    Aes128CtsHmacSha1_96 = 17,
    /// aes256-cts-hmac-sha1-96 (RFC 3962).
    Aes256CtsHmacSha1_96 = 18,
    /// aes128-cts-hmac-sha256-128 (RFC 8009).
    Aes128CtsHmacSha256_128 = 19,
    /// aes256-cts-hmac-sha384-192 (RFC 8009).
    Aes256CtsHmacSha384_192 = 20,
    /// arcfour-hmac, called rc4-hmac elsewhere (RFC 4757). Weak: see [`Etype::is_weak`].
    ArcfourHmac = 23,
}

impl Etype {
    /// The etype with this number, if it is implemented.
    #[must_use]
    pub const fn from_wire(number: i32) -> Option<Self> {
        Some(match number {
            17 => Self::Aes128CtsHmacSha1_96,
            18 => Self::Aes256CtsHmacSha1_96,
            19 => Self::Aes128CtsHmacSha256_128,
            20 => Self::Aes256CtsHmacSha384_192,
            23 => Self::ArcfourHmac,
            _ => return None,
        })
    }

    /// The number that stands for it in messages, keytabs and caches.
    #[must_use]
    pub const fn wire(self) -> i32 {
        self as i32
    }

    /// The name as krb5.conf and the logs of other implementations write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128CtsHmacSha1_96 => "aes128-cts-hmac-sha1-96",
            Self::Aes256CtsHmacSha1_96 => "aes256-cts-hmac-sha1-96",
            Self::Aes128CtsHmacSha256_128 => "aes128-cts-hmac-sha256-128",
            Self::Aes256CtsHmacSha384_192 => "aes256-cts-hmac-sha384-192",
            Self::ArcfourHmac => "arcfour-hmac",
        }
    }

    /// Length of a key, in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CtsHmacSha1_96 | Self::Aes128CtsHmacSha256_128 | Self::ArcfourHmac => 16,
            Self::Aes256CtsHmacSha1_96 | Self::Aes256CtsHmacSha384_192 => 32,
        }
    }

    /// Length of the integrity tag of a ciphertext, which is that of a checksum too, in bytes.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CtsHmacSha1_96 | Self::Aes256CtsHmacSha1_96 => 12,
            Self::Aes128CtsHmacSha256_128 | Self::ArcfourHmac => 16,
            Self::Aes256CtsHmacSha384_192 => MAX_TAG_LEN,
        }
    }

    /// Number of the keyed checksum that goes with it (RFC 3961 section 8, RFC 4757 section 4).
    #[must_use]
    pub const fn checksum_type(self) -> i32 {
        match self {
            Self::Aes128CtsHmacSha1_96 => 15,
            Self::Aes256CtsHmacSha1_96 => 16,
            Self::Aes128CtsHmacSha256_128 => 19,
            Self::Aes256CtsHmacSha384_192 => 20,
            Self::ArcfourHmac => -138,
        }
    }

    /// Whether it must be named in the configuration before it is used: RC4, whose key is an unsalted MD4 of the
    /// password (RFC 8429).
    #[must_use]
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::ArcfourHmac)
    }

    /// Bytes in front of the plaintext in a ciphertext: the confounder, and for RC4 the tag before it.
    pub(super) const fn prefix_len(self) -> usize {
        match self {
            Self::ArcfourHmac => 24,
            _ => 16,
        }
    }

    /// Bytes after the plaintext in a ciphertext: the tag, and for RC4 nothing.
    pub(super) const fn trailer_len(self) -> usize {
        match self {
            Self::ArcfourHmac => 0,
            _ => self.tag_len(),
        }
    }
}

impl fmt::Display for Etype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name for any etype number that a log may have to show, implemented here or not.
#[must_use]
pub fn etype_name(number: i32) -> Cow<'static, str> {
    if let Some(etype) = Etype::from_wire(number) {
        return Cow::Borrowed(etype.name());
    }
    Cow::Borrowed(match number {
        1 => "des-cbc-crc",
        2 => "des-cbc-md4",
        3 => "des-cbc-md5",
        16 => "des3-cbc-sha1",
        24 => "arcfour-hmac-exp",
        25 => "camellia128-cts-cmac",
        26 => "camellia256-cts-cmac",
        other => return Cow::Owned(format!("etype {other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etype_numbers_lead_to_the_etype_and_back() {
        for number in -200..200 {
            if let Some(etype) = Etype::from_wire(number) {
                assert_eq!(etype.wire(), number);
                assert_eq!(etype_name(number), etype.name());
            }
        }
    }

    #[test]
    fn etypes_that_are_not_implemented_have_names_for_the_log() {
        assert_eq!(etype_name(3), "des-cbc-md5");
        assert_eq!(etype_name(26), "camellia256-cts-cmac");
        assert_eq!(etype_name(99), "etype 99");
        assert_eq!(etype_name(-133), "etype -133");
    }
}
