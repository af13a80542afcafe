//! Encryption types, by the names and numbers that the peers know.

/// An encryption type of RFC 3961's registry, as far as tests need it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Etype {
    /// 17, RFC 3962.
    Aes128Sha1,
    /// 18, RFC 3962.
    Aes256Sha1,
    /// 19, RFC 8009.
    Aes128Sha256,
    /// 20, RFC 8009.
    Aes256Sha384,
    /// 23, RFC 4757: refused unless configuration names it.
    Rc4,
    /// 26, RFC 6803: not implemented by Countersign, for tests of an etype that is not known.
    Camellia256,
}

impl Etype {
    /// The four that Countersign permits by default.
    pub const DEFAULT: [Self; 4] =
        [Self::Aes128Sha1, Self::Aes256Sha1, Self::Aes128Sha256, Self::Aes256Sha384];

    /// The assigned number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Aes128Sha1 => 17,
            Self::Aes256Sha1 => 18,
            Self::Aes128Sha256 => 19,
            Self::Aes256Sha384 => 20,
            Self::Rc4 => 23,
            Self::Camellia256 => 26,
        }
    }

    /// The name in krb5.conf, kadmin and kvno.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Sha1 => "aes128-cts-hmac-sha1-96",
            Self::Aes256Sha1 => "aes256-cts-hmac-sha1-96",
            Self::Aes128Sha256 => "aes128-cts-hmac-sha256-128",
            Self::Aes256Sha384 => "aes256-cts-hmac-sha384-192",
            Self::Rc4 => "arcfour-hmac",
            Self::Camellia256 => "camellia256-cts-cmac",
        }
    }
}

/// The names of `etypes`, each followed by `suffix`, with `separator` between them.
pub(crate) fn names(etypes: &[Etype], suffix: &str, separator: &str) -> String {
    etypes.iter().map(|etype| format!("{}{suffix}", etype.name())).collect::<Vec<_>>().join(separator)
}
