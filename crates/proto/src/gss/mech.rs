//! The mechanisms that can be negotiated.

use super::framing::Mech;
use std::fmt;

/// A mechanism that can be negotiated, whatever object identifier a peer gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MechChoice {
    /// Kerberos 5, under its own number or either of the two that it has had by mistake or before.
    Kerberos,
    /// Kerberos whose KDC is reached through the service (IAKERB).
    Iakerb,
    /// NTLMSSP.
    Ntlm,
}

/// In a word: `kerberos`, `iakerb`, `ntlm`.
impl fmt::Display for MechChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kerberos => "kerberos",
            Self::Iakerb => "iakerb",
            Self::Ntlm => "ntlm",
        })
    }
}

impl MechChoice {
    /// The choice that an object identifier (contents octets) stands for.
    #[must_use]
    pub fn from_oid(oid: &[u8]) -> Option<Self> {
        match Mech::from_oid(oid)? {
            Mech::Krb5 | Mech::MsKrb5 | Mech::OldKrb5 => Some(Self::Kerberos),
            Mech::Ntlmssp => Some(Self::Ntlm),
            Mech::Iakerb => Some(Self::Iakerb),
            Mech::UserToUser | Mech::Spnego => None,
        }
    }

    /// The object identifier that we give it.
    #[must_use]
    pub fn oid(self) -> &'static [u8] {
        match self {
            Self::Kerberos => Mech::Krb5.oid(),
            Self::Iakerb => Mech::Iakerb.oid(),
            Self::Ntlm => Mech::Ntlmssp.oid(),
        }
    }
}
