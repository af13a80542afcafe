use crate::bits::named_bits;
use std::fmt;

/// What an end can do, or what both do (MS-NLMP section 2.2.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct NegotiateFlags(pub u32);

impl NegotiateFlags {
    /// Texts are UTF-16, little-endian.
    pub const UNICODE: Self = Self(1);
    /// Texts may be in a code page.
    pub const OEM: Self = Self(2);
    /// The server should name itself or its domain.
    pub const REQUEST_TARGET: Self = Self(4);
    /// Messages can be signed.
    pub const SIGN: Self = Self(0x10);
    /// Messages can be sealed.
    pub const SEAL: Self = Self(0x20);
    /// Datagrams instead of a connection.
    pub const DATAGRAM: Self = Self(0x40);
    /// Session keys from the LM response.
    pub const LM_KEY: Self = Self(0x80);
    /// NTLM at all.
    pub const NTLM: Self = Self(0x200);
    /// The client is nobody.
    pub const ANONYMOUS: Self = Self(0x800);
    /// A signature, be it a dummy, stands before every message.
    pub const ALWAYS_SIGN: Self = Self(0x8000);
    /// The target name is a domain's.
    pub const TARGET_TYPE_DOMAIN: Self = Self(0x1_0000);
    /// The target name is a server's.
    pub const TARGET_TYPE_SERVER: Self = Self(0x2_0000);
    /// Extended session security: a key for each direction, HMAC instead of CRC-32.
    pub const EXTENDED_SESSIONSECURITY: Self = Self(0x8_0000);
    /// The server may learn who the client is, not act as it.
    pub const IDENTIFY: Self = Self(0x10_0000);
    /// The CHALLENGE carries AV pairs.
    pub const TARGET_INFO: Self = Self(0x80_0000);
    /// The version field has a meaning.
    pub const VERSION: Self = Self(0x200_0000);
    /// Keys of 128 bits.
    pub const KEY_128: Self = Self(0x2000_0000);
    /// The client chooses the session's key.
    pub const KEY_EXCH: Self = Self(0x4000_0000);
    /// Keys of 56 bits.
    pub const KEY_56: Self = Self(0x8000_0000);

    /// What is demanded of every peer: without one of them strings, keys or messages would be of a weaker kind.
    pub const DEMANDED: Self = Self(
        Self::UNICODE.0
            | Self::SIGN.0
            | Self::NTLM.0
            | Self::EXTENDED_SESSIONSECURITY.0
            | Self::KEY_128.0
            | Self::KEY_EXCH.0,
    );

    /// What says how messages look: neither end may add one of these that the other did not offer.
    pub const SESSION_SECURITY: Self =
        Self(Self::DEMANDED.0 | Self::SEAL.0 | Self::DATAGRAM.0 | Self::LM_KEY.0 | Self::OEM.0);

    const NAMES: [(Self, &'static str); 19] = [
        (Self::UNICODE, "UNICODE"),
        (Self::OEM, "OEM"),
        (Self::REQUEST_TARGET, "REQUEST_TARGET"),
        (Self::SIGN, "SIGN"),
        (Self::SEAL, "SEAL"),
        (Self::DATAGRAM, "DATAGRAM"),
        (Self::LM_KEY, "LM_KEY"),
        (Self::NTLM, "NTLM"),
        (Self::ANONYMOUS, "ANONYMOUS"),
        (Self::ALWAYS_SIGN, "ALWAYS_SIGN"),
        (Self::TARGET_TYPE_DOMAIN, "TARGET_TYPE_DOMAIN"),
        (Self::TARGET_TYPE_SERVER, "TARGET_TYPE_SERVER"),
        (Self::EXTENDED_SESSIONSECURITY, "EXTENDED_SESSIONSECURITY"),
        (Self::IDENTIFY, "IDENTIFY"),
        (Self::TARGET_INFO, "TARGET_INFO"),
        (Self::VERSION, "VERSION"),
        (Self::KEY_128, "128"),
        (Self::KEY_EXCH, "KEY_EXCH"),
        (Self::KEY_56, "56"),
    ];

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The bits that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

named_bits!(NegotiateFlags);

/// The names of the bits that are set, with commas between; bits without a name in hexadecimal at the end.
impl fmt::Display for NegotiateFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unnamed = self.write_names(f)?;
        if unnamed.is_empty() {
            return Ok(());
        }
        let separator = if unnamed == *self { "" } else { "," };
        write!(f, "{separator}{:#x}", unnamed.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_shown_by_name_and_the_others_in_hexadecimal() {
        let flags = NegotiateFlags(0x2000_0000 | 0x4000 | 0x21);
        assert_eq!(flags.to_string(), "UNICODE,SEAL,128,0x4000");
        assert_eq!(NegotiateFlags(0x4000).to_string(), "0x4000");
        assert_eq!(NegotiateFlags::default().to_string(), "");
    }
}
