//! Protocol keys, and what they are used for.

use super::aes_sha1::{self, AesSha1};
use super::aes_sha2::{self, AesSha2};
use super::cipher::{ChecksumKey, Checksummer, Cipher, CipherKey};
use super::cts::Aes;
use super::hmac::{Hmac, Md5, Sha256, Sha384};
use super::rc4_hmac::{self, Rc4Checksum, Rc4Hmac};
use super::wiped::Wiped;
use super::{CryptoError, Etype};
use crate::secret::Secret;
use rand_core::CryptoRng;
use std::sync::Arc;

/// What a key is used for (RFC 4120 section 7.5.1): each usage has keys of its own, so that no message of one kind can
/// pass for one of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyUsage(pub u32);

impl KeyUsage {
    /// PA-ENC-TIMESTAMP.
    pub const PA_ENC_TIMESTAMP: Self = Self(1);
    /// Encrypted part of a ticket.
    pub const TICKET: Self = Self(2);
    /// Encrypted part of an AS-REP.
    pub const AS_REP: Self = Self(3);
    /// Authorization data of a TGS-REQ, under the session key.
    pub const TGS_REQ_AUTHDATA_SESSION: Self = Self(4);
    /// Authorization data of a TGS-REQ, under the authenticator's subkey.
    pub const TGS_REQ_AUTHDATA_SUBKEY: Self = Self(5);
    /// Checksum over a TGS-REQ's body, in its authenticator.
    pub const TGS_REQ_CHECKSUM: Self = Self(6);
    /// Authenticator of a TGS-REQ.
    pub const TGS_REQ_AUTHENTICATOR: Self = Self(7);
    /// Encrypted part of a TGS-REP, under the session key.
    pub const TGS_REP_SESSION_KEY: Self = Self(8);
    /// Encrypted part of a TGS-REP, under the authenticator's subkey.
    pub const TGS_REP_SUBKEY: Self = Self(9);
    /// Checksum in an AP-REQ's authenticator.
    pub const AP_REQ_CHECKSUM: Self = Self(10);
    /// Authenticator of an AP-REQ.
    pub const AP_REQ_AUTHENTICATOR: Self = Self(11);
    /// Encrypted part of an AP-REP.
    pub const AP_REP: Self = Self(12);
    /// Encrypted part of a KRB-CRED.
    pub const KRB_CRED: Self = Self(14);
    /// Wrap tokens of the acceptor, sealed or not (RFC 4121 section 2).
    pub const ACCEPTOR_SEAL: Self = Self(22);
    /// MIC tokens of the acceptor (RFC 4121 section 2).
    pub const ACCEPTOR_SIGN: Self = Self(23);
    /// Wrap tokens of the initiator, sealed or not (RFC 4121 section 2).
    pub const INITIATOR_SEAL: Self = Self(24);
    /// MIC tokens of the initiator (RFC 4121 section 2).
    pub const INITIATOR_SIGN: Self = Self(25);
    /// IAKERB's checksum over all proxy tokens (draft-ietf-kitten-iakerb-03 section 4).
    pub const IAKERB_FINISHED: Self = Self(41);
    /// FAST's checksum over the outer request (RFC 6113 section 5.4).
    pub const FAST_REQ_CHECKSUM: Self = Self(50);
    /// FAST's encrypted request (RFC 6113 section 5.4).
    pub const FAST_ENC: Self = Self(51);
    /// FAST's encrypted response (RFC 6113 section 5.4).
    pub const FAST_REP: Self = Self(52);
    /// FAST's checksum over the ticket (RFC 6113 section 5.4).
    pub const FAST_FINISHED: Self = Self(53);
    /// The client's encrypted challenge (RFC 6113 section 5.4.6).
    pub const ENC_CHALLENGE_CLIENT: Self = Self(54);
    /// The KDC's encrypted challenge (RFC 6113 section 5.4.6).
    pub const ENC_CHALLENGE_KDC: Self = Self(55);
    /// Checksum over a whole AS-REQ, in its reply (RFC 6806 section 11).
    pub const AS_REQ: Self = Self(56);
    /// SPAKE's second factor (RFC 9588 section 4.3).
    pub const SPAKE: Self = Self(65);
}

/// A protocol key: a ticket's, a session key, a subkey, a password's.
///
/// Clones share one allocation, which is wiped when the last is dropped. There is no `Debug` and no `PartialEq`: to
/// look inside a caller writes [`Key::expose`].
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    etype: Etype,
    bytes: Secret,
    base: Base,
}

/// The key in the form that derivations start from, made once.
enum Base {
    AesSha1(Aes),
    AesSha256(Hmac<Sha256>),
    AesSha384(Hmac<Sha384>),
    Rc4(Hmac<Md5>),
}

/// Outputs of the PRF that PRF+ can number with its one byte.
const PRF_PLUS_BLOCKS: usize = 255;

/// Shortest and longest output of any etype's PRF, in bytes.
const MIN_PRF_LEN: usize = 16;
const MAX_PRF_LEN: usize = 48;

/// A key of up to 32 bytes, zeros behind it; the etype says how long it is.
pub(super) type KeyBytes = Wiped<32>;

impl Key {
    /// A key of the given bytes.
    ///
    /// # Errors
    /// [`CryptoError::KeyLength`] if they are not [`Etype::key_len`] in number.
    pub fn new(etype: Etype, bytes: &[u8]) -> Result<Self, CryptoError> {
        if bytes.len() != etype.key_len() {
            return Err(CryptoError::KeyLength { etype, length: bytes.len() });
        }
        Ok(Self::from_bytes(etype, &KeyBytes::start_of(bytes)))
    }

    /// A fresh random key.
    #[must_use]
    pub fn generate(etype: Etype, rng: &mut dyn CryptoRng) -> Self {
        let mut key = KeyBytes::new();
        rng.fill_bytes(key.first_mut(etype.key_len()));
        Self::from_bytes(etype, &key)
    }

    /// The key that the start of these bytes is: random-to-key of RFC 3961, which changes nothing in any etype here.
    pub(crate) fn from_bytes(etype: Etype, key: &KeyBytes) -> Self {
        let bytes = key.first(etype.key_len());
        let base = match etype {
            Etype::Aes128CtsHmacSha1_96 | Etype::Aes256CtsHmacSha1_96 => Base::AesSha1(Aes::new(etype, key)),
            Etype::Aes128CtsHmacSha256_128 => Base::AesSha256(Hmac::new(bytes)),
            Etype::Aes256CtsHmacSha384_192 => Base::AesSha384(Hmac::new(bytes)),
            Etype::ArcfourHmac => Base::Rc4(Hmac::new(bytes)),
        };
        Self(Arc::new(Inner { etype, bytes: Secret::from(bytes), base }))
    }

    /// The etype it belongs to.
    #[must_use]
    pub fn etype(&self) -> Etype {
        self.0.etype
    }

    /// The key's own bytes, [`Etype::key_len`] of them: for a message or file that carries it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.bytes.expose()
    }

    /// Derives what encrypts and decrypts for `usage` (Ke and Ki of RFC 3961 section 5.3). Worth keeping: it costs as
    /// much as some hundred bytes of message.
    #[must_use]
    pub fn cipher(&self, usage: KeyUsage) -> Cipher {
        let etype = self.0.etype;
        Cipher::new(
            etype,
            match &self.0.base {
                Base::AesSha1(base) => CipherKey::AesSha1(AesSha1::derive(etype, base, usage)),
                Base::AesSha256(base) => CipherKey::AesSha256(AesSha2::derive(etype, base, usage)),
                Base::AesSha384(base) => CipherKey::AesSha384(AesSha2::derive(etype, base, usage)),
                Base::Rc4(base) => CipherKey::Rc4(Rc4Hmac::derive(base, usage)),
            },
        )
    }

    /// Derives what makes and verifies checksums of [`Etype::checksum_type`] for `usage` (Kc of RFC 3961 section 5.3).
    #[must_use]
    pub fn checksum(&self, usage: KeyUsage) -> Checksummer {
        let etype = self.0.etype;
        Checksummer::new(
            etype,
            match &self.0.base {
                Base::AesSha1(base) => ChecksumKey::Sha1(aes_sha1::checksum_key(etype, base, usage)),
                Base::AesSha256(base) => ChecksumKey::Sha256(aes_sha2::checksum_key(etype, base, usage)),
                Base::AesSha384(base) => ChecksumKey::Sha384(aes_sha2::checksum_key(etype, base, usage)),
                Base::Rc4(base) => ChecksumKey::Rc4(Rc4Checksum::derive(base, usage)),
            },
        )
    }

    /// The pseudo-random function of RFC 3961 section 3: 16 bytes for etypes 17 and 18, 32 for 19, 48 for 20, and 20
    /// for RC4.
    #[must_use]
    pub fn prf(&self, input: &[u8]) -> Secret {
        match &self.0.base {
            Base::AesSha1(base) => Secret::from(aes_sha1::prf(self.0.etype, base, input).as_slice()),
            Base::AesSha256(base) => {
                let mut output = vec![0; 32];
                aes_sha2::prf(base, input, &mut output);
                Secret::new(output)
            }
            Base::AesSha384(base) => {
                let mut output = vec![0; 48];
                aes_sha2::prf(base, input, &mut output);
                Secret::new(output)
            }
            Base::Rc4(_) => Secret::new(rc4_hmac::prf(self.expose(), input).to_vec()),
        }
    }

    /// PRF+ (RFC 6113 section 5.1): `length` pseudo-random bytes, the outputs of [`Key::prf`] over a counting byte and
    /// `input` laid end to end.
    ///
    /// # Errors
    /// [`CryptoError::PrfLength`] beyond 255 outputs.
    pub fn prf_plus(&self, input: &[u8], length: usize) -> Result<Secret, CryptoError> {
        let refused = CryptoError::PrfLength { etype: self.0.etype, length };
        if length > PRF_PLUS_BLOCKS * MAX_PRF_LEN {
            return Err(refused);
        }
        let mut output = Secret::new(vec![0; length]);
        if self.fill_prf_plus(input, output.expose_mut()) { Ok(output) } else { Err(refused) }
    }

    /// [`Key::prf_plus`] for a length that every etype has.
    pub(crate) fn prf_plus_array<const N: usize>(&self, input: &[u8]) -> Wiped<N> {
        const { assert!(N <= PRF_PLUS_BLOCKS * MIN_PRF_LEN) };
        let mut output = Wiped::new();
        self.fill_prf_plus(input, output.as_mut_slice());
        output
    }

    /// Fills `output` with PRF+, and says whether it reached to the end.
    fn fill_prf_plus(&self, input: &[u8], output: &mut [u8]) -> bool {
        let mut numbered = Secret::new([&[0], input].concat());
        let mut missing = output;
        for counter in 1..=u8::MAX {
            if missing.is_empty() {
                break;
            }
            if let Some(first) = numbered.expose_mut().first_mut() {
                *first = counter;
            }
            let block = self.prf(numbered.expose());
            let (now, later) = missing.split_at_mut(block.len().min(missing.len()));
            now.iter_mut().zip(block.expose()).for_each(|(to, from)| *to = *from);
            missing = later;
        }
        missing.is_empty()
    }
}
