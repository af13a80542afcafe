//! SPAKE's groups and the exchange in them (RFC 9588, over RFC 9382): two sides that know the same password agree on
//! an element K, and a side that does not can try one password an exchange, and none afterwards.
//!
//! Of what a password comes to, [`SecretInput`], each side makes a share: the client S = yG + wN ([`ClientShare`]), the
//! KDC T = xG + wM ([`KdcShare`]). Each takes the other's share to K = xyG. What Kerberos makes of K is in
//! [`crate::krb5::spake`].
//!
//! Nothing here branches on w, x, y or K, except that a K which is the identity is refused.

mod edwards25519;
mod nist_p256;

use super::hmac::{Sha256, hash};
use super::wiped::Wiped;
use crate::secret::Secret;
use rand_core::CryptoRng;
use std::fmt;

/// Length of a scalar and of the hash, in bytes; both groups have the same.
pub const SPAKE_LEN: usize = 32;

/// A scalar as its group writes it.
type ScalarBytes = Wiped<SPAKE_LEN>;

/// A group of the IANA registry "Kerberos SPAKE Groups" (RFC 9588) that is implemented.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(i32)]
pub enum SpakeGroup {
    /// The twisted Edwards curve of RFC 7748, with SHA-256. Every implementation has it.
    Edwards25519 = 1,
    /// NIST's P-256, with SHA-256.
    P256 = 2,
}

impl SpakeGroup {
    /// The group with this number, if it is implemented.
    #[must_use]
    pub const fn from_wire(number: i32) -> Option<Self> {
        match number {
            1 => Some(Self::Edwards25519),
            2 => Some(Self::P256),
            _ => None,
        }
    }

    /// The number that stands for it in messages.
    #[must_use]
    pub const fn wire(self) -> i32 {
        self as i32
    }

    /// The group that `spake_preauth_groups` of krb5.conf calls so, in letters of any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Edwards25519, Self::P256].into_iter().find(|group| group.name().eq_ignore_ascii_case(name))
    }

    /// The name in the registry and in krb5.conf.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edwards25519 => "edwards25519",
            Self::P256 => "P-256",
        }
    }

    /// Length of a share and of K, in bytes.
    #[must_use]
    pub const fn element_len(self) -> usize {
        match self {
            Self::Edwards25519 => edwards25519::ELEMENT_LEN,
            Self::P256 => nist_p256::ELEMENT_LEN,
        }
    }

    /// The group's hash over `parts` laid end to end.
    pub(crate) fn hash(self, parts: &[&[u8]]) -> Wiped<SPAKE_LEN> {
        match self {
            Self::Edwards25519 | Self::P256 => Wiped::start_of(&hash::<Sha256>(parts)),
        }
    }
}

impl fmt::Display for SpakeGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// w: what a password comes to in a group, by [`crate::krb5::spake::derive_w`]. It is worth as much as the password.
#[derive(Clone)]
pub struct SecretInput {
    group: SpakeGroup,
    bytes: ScalarBytes,
}

impl SecretInput {
    /// w of the bytes that PRF+ gave, not reduced: the group reduces them itself where it calculates.
    pub(crate) fn new(group: SpakeGroup, bytes: ScalarBytes) -> Self {
        Self { group, bytes }
    }

    /// The group that it is for.
    #[must_use]
    pub fn group(&self) -> SpakeGroup {
        self.group
    }

    /// The bytes, as they go into hashes.
    #[must_use]
    pub fn expose(&self) -> &[u8; SPAKE_LEN] {
        &self.bytes
    }
}

/// The client's half: y, which stays here, and S, which is sent.
pub struct ClientShare {
    w: SecretInput,
    y: ScalarBytes,
    public: Vec<u8>,
}

impl ClientShare {
    /// Draws a fresh y; to be used for one challenge only.
    #[must_use]
    pub fn generate(w: &SecretInput, rng: &mut dyn CryptoRng) -> Self {
        let (y, public) = generate(w, Blind::N, rng);
        Self { w: w.clone(), y, public }
    }

    /// S, [`SpakeGroup::element_len`] bytes: the `pubkey` of a SPAKEResponse.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// K, from the KDC's T: the `pubkey` of its SPAKEChallenge. It is the KDC's K only if the KDC knows the password
    /// too, which the factor under a key of it will show.
    ///
    /// # Errors
    /// [`SpakeError::Length`] or [`SpakeError::NotAnElement`] if T is none of the group;
    /// [`SpakeError::Identity`] if K would be the same whatever y is.
    pub fn shared_secret(&self, kdc_public: &[u8]) -> Result<Secret, SpakeError> {
        agree(&self.w, Blind::M, &self.y, kdc_public)
    }
}

/// The KDC's half: [`KdcSecret`], which it keeps until the client answers, and T, which is sent.
pub struct KdcShare {
    secret: KdcSecret,
    public: Vec<u8>,
}

impl KdcShare {
    /// Draws a fresh x; to be used for one challenge only.
    #[must_use]
    pub fn generate(w: &SecretInput, rng: &mut dyn CryptoRng) -> Self {
        let (x, public) = generate(w, Blind::M, rng);
        Self { secret: KdcSecret { w: w.clone(), x }, public }
    }

    /// T, [`SpakeGroup::element_len`] bytes: the `pubkey` of a SPAKEChallenge.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// What answers the client's share.
    #[must_use]
    pub fn secret(&self) -> &KdcSecret {
        &self.secret
    }
}

/// x: what a KDC keeps between its challenge and the client's response, in an encrypted cookie or at home.
pub struct KdcSecret {
    w: SecretInput,
    x: ScalarBytes,
}

impl KdcSecret {
    /// Takes up the x that [`KdcSecret::expose`] gave.
    ///
    /// # Errors
    /// [`SpakeError::NotAScalar`] if it is none of the group: the cookie was not one of ours.
    pub fn from_bytes(w: &SecretInput, x: &[u8; SPAKE_LEN]) -> Result<Self, SpakeError> {
        let group = w.group;
        let known = match group {
            SpakeGroup::Edwards25519 => edwards25519::is_scalar(x),
            SpakeGroup::P256 => nist_p256::is_scalar(x),
        };
        if !known {
            return Err(SpakeError::NotAScalar { group });
        }
        Ok(Self { w: w.clone(), x: ScalarBytes::start_of(x) })
    }

    /// x as its group writes it; for edwards25519 an eighth of it, as x is always a multiple of 8.
    #[must_use]
    pub fn expose(&self) -> &[u8; SPAKE_LEN] {
        &self.x
    }

    /// K, from the client's S. Whether the client knows the password, its factor under a key of K will show.
    ///
    /// # Errors
    /// [`SpakeError::Length`] or [`SpakeError::NotAnElement`] if S is none of the group;
    /// [`SpakeError::Identity`] if K would be the same whatever x is.
    pub fn shared_secret(&self, client_public: &[u8]) -> Result<Secret, SpakeError> {
        agree(&self.w, Blind::N, &self.x, client_public)
    }
}

/// Why the other side's share, or a kept x, was refused.
///
/// Like [`super::CryptoError`] it has no code of the registry: the floor that asked wraps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpakeError {
    /// A share of another length than the group's elements have.
    #[error("a share of {length} bytes, where {group} has {}", group.element_len())]
    Length {
        /// The group of the exchange.
        group: SpakeGroup,
        /// Length in bytes of the share.
        length: usize,
    },
    /// A share that is not the one encoding of an element: no point of the curve, or a coordinate beyond the field.
    #[error("the share is not an element of {group}")]
    NotAnElement {
        /// The group of the exchange.
        group: SpakeGroup,
    },
    /// A share chosen so that K is the identity, whatever scalar it meets.
    #[error("the share leads to the identity of {group}")]
    Identity {
        /// The group of the exchange.
        group: SpakeGroup,
    },
    /// A kept x that no share of this group was made of.
    #[error("the kept scalar is none of {group}")]
    NotAScalar {
        /// The group of the exchange.
        group: SpakeGroup,
    },
}

/// Which of the two constants hides a share: M the KDC's, N the client's.
#[derive(Clone, Copy)]
enum Blind {
    M,
    N,
}

/// A fresh scalar and the share made of it.
fn generate(w: &SecretInput, blind: Blind, rng: &mut dyn CryptoRng) -> (ScalarBytes, Vec<u8>) {
    match w.group {
        SpakeGroup::Edwards25519 => {
            let scalar = edwards25519::random_scalar(rng);
            let public = edwards25519::share(blind, &w.bytes, &scalar);
            (scalar, public.to_vec())
        }
        SpakeGroup::P256 => {
            let scalar = nist_p256::random_scalar(rng);
            let public = nist_p256::share(blind, &w.bytes, &scalar);
            (scalar, public.to_vec())
        }
    }
}

/// K, from this side's scalar and the other side's share, which is hidden by `blind`.
fn agree(w: &SecretInput, blind: Blind, scalar: &ScalarBytes, share: &[u8]) -> Result<Secret, SpakeError> {
    let group = w.group;
    let refused = SpakeError::Length { group, length: share.len() };
    match group {
        SpakeGroup::Edwards25519 => {
            edwards25519::agree(blind, &w.bytes, scalar, share.try_into().map_err(|_| refused)?)
        }
        SpakeGroup::P256 => nist_p256::agree(blind, &w.bytes, scalar, share.try_into().map_err(|_| refused)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: [SpakeGroup; 2] = [SpakeGroup::Edwards25519, SpakeGroup::P256];

    /// wN of `w`: a share made with a scalar of 0.
    fn blind_alone(w: &SecretInput) -> Vec<u8> {
        match w.group {
            SpakeGroup::Edwards25519 => edwards25519::share(Blind::N, &w.bytes, &ScalarBytes::new()).to_vec(),
            SpakeGroup::P256 => nist_p256::share(Blind::N, &w.bytes, &ScalarBytes::new()).to_vec(),
        }
    }

    #[test]
    fn a_share_that_leads_to_the_identity_is_refused() {
        for group in GROUPS {
            let w = SecretInput::new(group, ScalarBytes::start_of(&[5; SPAKE_LEN]));
            let kdc = KdcSecret::from_bytes(&w, &[9; SPAKE_LEN].map(|byte| byte >> 1)).unwrap();
            let refused = kdc.shared_secret(&blind_alone(&w)).err();
            assert_eq!(refused, Some(SpakeError::Identity { group }));
            let other = SecretInput::new(group, ScalarBytes::start_of(&[6; SPAKE_LEN]));
            assert!(kdc.shared_secret(&blind_alone(&other)).is_ok());
        }
    }
}
