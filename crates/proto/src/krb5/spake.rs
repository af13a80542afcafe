//! SPAKE preauthentication (RFC 9588): what Kerberos derives around the exchange of [`crate::crypto::spake`], for the
//! client and the KDC alike.
//!
//! 1. [`derive_w`], from the password's key, which is called the initial reply key here.
//! 2. [`Transcript::absorb`] the support message, if one was sent, together with the challenge; then S.
//! 3. [`derive_key`] once there is K: `K'[1]` encrypts the client's factor, `K'[2]` and those after it what may follow, and
//!    `K'[0]` replaces the initial key as the one that encrypts the reply.

use crate::crypto::spake::{SPAKE_LEN, SecretInput, SpakeGroup};
use crate::crypto::{Key, krb_fx_cf2};
use crate::secret::Secret;

/// w: PRF+ of the initial reply key over "SPAKEsecret" and the group's number (RFC 9588).
///
/// `initial_key` is the principal's long-term key of the etype that ETYPE-INFO2 chose.
#[must_use]
pub fn derive_w(initial_key: &Key, group: SpakeGroup) -> SecretInput {
    let input = [b"SPAKEsecret".as_slice(), &group.wire().to_be_bytes()].concat();
    SecretInput::new(group, initial_key.prf_plus_array(&input))
}

/// A running hash of the messages that both sides have seen, so that both notice if they saw different ones
/// (RFC 9588, "Transcript Hash"). It is not secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    group: SpakeGroup,
    hash: [u8; SPAKE_LEN],
}

impl Transcript {
    /// Before the first message: zeros.
    #[must_use]
    pub fn new(group: SpakeGroup) -> Self {
        Self { group, hash: [0; SPAKE_LEN] }
    }

    /// Goes on from [`Transcript::hash`], for a KDC that kept it in a cookie.
    #[must_use]
    pub fn resume(group: SpakeGroup, hash: [u8; SPAKE_LEN]) -> Self {
        Self { group, hash }
    }

    /// Takes in `parts` laid end to end, as one step. The first step is the DER of the client's SPAKESupport, if it sent
    /// one, and of the SPAKEChallenge, both as the values of their PA-DATA had them on the wire; the second is S. A challenge that the client
    /// did not take but answered with a SPAKESupport is not part of it.
    ///
    /// Parts are not set off from each other: what goes in one step is what the RFC puts there.
    pub fn absorb(&mut self, parts: &[&[u8]]) {
        let all: Vec<&[u8]> = [self.hash.as_slice()].into_iter().chain(parts.iter().copied()).collect();
        self.hash = *self.group.hash(&all);
    }

    /// The hash as it stands.
    #[must_use]
    pub fn hash(&self) -> &[u8; SPAKE_LEN] {
        &self.hash
    }
}

/// `K'[n]` (RFC 9588, "Key Derivation"), of `initial_key`'s etype.
///
/// `k` is the shared element; `transcript` has taken in all steps; `kdc_req_body` is the DER of the KDC-REQ-BODY in the
/// request that carries the response, byte for byte as on the wire, and under FAST that of the inner one.
#[must_use]
pub fn derive_key(
    initial_key: &Key,
    w: &SecretInput,
    k: &Secret,
    transcript: &Transcript,
    kdc_req_body: &[u8],
    n: u32,
) -> Key {
    let etype = initial_key.etype();
    // The 1 numbers the first block of the seed; no key here is longer than that block.
    let seed = w.group().hash(&[
        b"SPAKEkey",
        &w.group().wire().to_be_bytes(),
        &etype.wire().to_be_bytes(),
        w.expose(),
        k.expose(),
        transcript.hash(),
        kdc_req_body,
        &n.to_be_bytes(),
        &[1],
    ]);
    krb_fx_cf2(initial_key, &Key::from_bytes(etype, &seed), b"SPAKE", b"keyderiv")
}
