//! AES with HMAC-SHA2, etypes 19 and 20 (RFC 8009).
//!
//! Ciphertext: `C | HMAC(Ki, IV | C)[..16 or 24]`, where `C = CTS(Ke, confounder | plaintext)` and the IV is a block of
//! zeros. The tag is over the ciphertext, so nothing is decrypted before it has verified.

use super::cipher::Tag;
use super::cts::{Aes, BLOCK};
use super::hmac::{BlockHash, Hmac};
use super::key::KeyBytes;
use super::nfold::{Purpose, unfolded};
use super::{Etype, KeyUsage};
use zeroize::Zeroize;

const IV: [u8; BLOCK] = [0; BLOCK];

/// The keys of one usage that encrypt and make tags.
pub(super) struct AesSha2<H: BlockHash> {
    ke: Aes,
    ki: Hmac<H>,
}

impl<H: BlockHash> AesSha2<H> {
    /// Derives the keys for `usage` from the protocol key, which is given as HMAC keeps it.
    pub(super) fn derive(etype: Etype, base: &Hmac<H>, usage: KeyUsage) -> Self {
        let mut ke = KeyBytes::new();
        kdf(base, &unfolded(usage.0, Purpose::Encryption), &[], ke.first_mut(etype.key_len()));
        Self { ke: Aes::new(etype, &ke), ki: tag_key(etype, base, usage, Purpose::Integrity) }
    }

    /// Encrypts `body`, a confounder with the plaintext behind it, where it lies. `None` if it is shorter than a block.
    pub(super) fn seal(&self, etype: Etype, body: &mut [u8]) -> Option<Tag> {
        self.ke.encrypt_cts(&IV, body).then(|| self.tag(etype, body))
    }

    /// Decrypts `body` where it lies if `tag` belongs to it, and says whether it does.
    pub(super) fn open(&self, etype: Etype, body: &mut [u8], tag: &[u8]) -> bool {
        self.tag(etype, body).matches(tag) && self.ke.decrypt_cts(body)
    }

    fn tag(&self, etype: Etype, ciphertext: &[u8]) -> Tag {
        Tag::new(etype, self.ki.sign(&[&IV, ciphertext]).as_ref())
    }
}

/// Kc of a usage, as HMAC keeps it.
pub(super) fn checksum_key<H: BlockHash>(etype: Etype, base: &Hmac<H>, usage: KeyUsage) -> Hmac<H> {
    tag_key(etype, base, usage, Purpose::Checksum)
}

/// Ki and Kc are as long as the tags that they make.
fn tag_key<H: BlockHash>(etype: Etype, base: &Hmac<H>, usage: KeyUsage, purpose: Purpose) -> Hmac<H> {
    let mut bytes = KeyBytes::new();
    let key = bytes.first_mut(etype.tag_len());
    kdf(base, &unfolded(usage.0, purpose), &[], key);
    Hmac::new(key)
}

/// The key that a password comes to, with the seed from PBKDF2 (RFC 8009 section 4).
pub(super) fn key_from_seed<H: BlockHash>(etype: Etype, seed: &KeyBytes) -> KeyBytes {
    let mut key = KeyBytes::new();
    let seed = Hmac::<H>::new(seed.first(etype.key_len()));
    kdf(&seed, b"kerberos", &[], key.first_mut(etype.key_len()));
    key
}

/// The pseudo-random function (RFC 8009 section 5): as many bytes as `output` has, which is the whole hash.
pub(super) fn prf<H: BlockHash>(base: &Hmac<H>, input: &[u8], output: &mut [u8]) {
    kdf(base, b"prf", input, output);
}

/// KDF-HMAC-SHA2 (RFC 8009 section 3): one round of SP 800-108 in counter mode fills an `output` up to a whole hash.
fn kdf<H: BlockHash>(base: &Hmac<H>, label: &[u8], context: &[u8], output: &mut [u8]) {
    // No output is longer than the 48 bytes of SHA-384.
    let bits = u32::try_from(output.len()).unwrap_or(u32::MAX).saturating_mul(8);
    let mut digest = base.sign(&[&[0, 0, 0, 1], label, &[0], context, &bits.to_be_bytes()]);
    output.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    digest.as_mut().zeroize();
}

#[cfg(test)]
mod tests {
    use super::super::hmac::{Sha256, Sha384};
    use super::*;
    use crate::crypto::vectors::records;

    #[test]
    fn derived_keys_are_those_of_rfc_8009() {
        let records = records(include_str!("../../tests/vectors/crypto/rfc8009_keys.txt"));
        assert_eq!(records.len(), 6);
        for record in &records {
            let expected = record.bytes("derived");
            let (key, label) = (record.bytes("key"), record.bytes("constant"));
            let mut derived = vec![0; expected.len()];
            match record.number("etype") {
                19 => kdf(&Hmac::<Sha256>::new(&key), &label, &[], &mut derived),
                _ => kdf(&Hmac::<Sha384>::new(&key), &label, &[], &mut derived),
            }
            assert_eq!(derived, expected);
        }
    }
}
