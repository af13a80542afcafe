//! Context flags.

use crate::bits::named_bits;
use std::fmt;

/// Context flags as RFC 4121 section 4.1.1.1 and MS-KILE put them on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct GssFlags(pub u32);

impl GssFlags {
    /// A credential is delegated.
    pub const DELEG: Self = Self(1);
    /// The acceptor proves itself too.
    pub const MUTUAL: Self = Self(2);
    /// Messages that come twice are detected.
    pub const REPLAY: Self = Self(4);
    /// Messages out of order are detected.
    pub const SEQUENCE: Self = Self(8);
    /// Messages can be sealed.
    pub const CONF: Self = Self(0x10);
    /// Messages can be signed.
    pub const INTEG: Self = Self(0x20);
    /// Three legs, without framing.
    pub const DCE_STYLE: Self = Self(0x1000);
    /// The acceptor may learn who the client is, not act as it.
    pub const IDENTIFY: Self = Self(0x2000);
    /// Errors may carry more than a code.
    pub const EXTENDED_ERROR: Self = Self(0x4000);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::DELEG, "deleg"),
        (Self::MUTUAL, "mutual"),
        (Self::REPLAY, "replay"),
        (Self::SEQUENCE, "sequence"),
        (Self::CONF, "conf"),
        (Self::INTEG, "integ"),
        (Self::DCE_STYLE, "dce-style"),
        (Self::IDENTIFY, "identify"),
        (Self::EXTENDED_ERROR, "extended-error"),
    ];
}

named_bits!(GssFlags);

/// The names of the bits that are set, with commas between: `mutual,conf`.
impl fmt::Display for GssFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_names(f).map(drop)
    }
}
