//! AES with HMAC-SHA1, etypes 17 and 18 (RFC 3962 over the simplified profile of RFC 3961 section 5.3).
//!
//! Ciphertext: `CTS(Ke, confounder | plaintext) | HMAC-SHA1(Ki, confounder | plaintext)[..12]`. The tag is over the
//! plaintext, so opening decrypts first; the caller wipes what does not verify.

use super::cipher::Tag;
use super::cts::{Aes, BLOCK};
use super::hmac::{BlockHash, Hmac, Sha1, hash};
use super::key::KeyBytes;
use super::nfold::{Purpose, nfold, usage_constant};
use super::wiped::Wiped;
use super::{Etype, KeyUsage};

const STITCH: usize = Sha1::BLOCK_LEN;

/// The keys of one usage that encrypt and make tags.
pub(super) struct AesSha1 {
    ke: Aes,
    ki: Hmac<Sha1>,
}

impl AesSha1 {
    /// Derives the keys for `usage` from the schedule of the protocol key.
    pub(super) fn derive(etype: Etype, base: &Aes, usage: KeyUsage) -> Self {
        let ke = derive_key(etype, base, usage_constant(usage.0, Purpose::Encryption));
        let ki = derive_key(etype, base, usage_constant(usage.0, Purpose::Integrity));
        Self { ke: Aes::new(etype, &ke), ki: Hmac::new(ki.first(etype.key_len())) }
    }

    /// Encrypts `body`, a confounder with the plaintext behind it, where it lies. `None` if it is shorter than a block.
    pub(super) fn seal(&self, etype: Etype, body: &mut [u8]) -> Option<Tag> {
        // Hash and cipher are two chains that do not wait for each other: taken in turn, 64 bytes at a time, the
        // processor runs them side by side. At least 17 bytes are left to CTS.
        let stitched = body.len().saturating_sub(BLOCK.saturating_add(1));
        let stitched = stitched.saturating_sub(stitched.checked_rem(STITCH)?);
        let (head, rest) = body.split_at_mut_checked(stitched)?;
        let mut mac = self.ki.start();
        let mut previous = [0; BLOCK];
        for chunk in head.as_chunks_mut::<STITCH>().0 {
            mac.update(chunk);
            let (blocks, _) = chunk.as_chunks_mut();
            self.ke.encrypt_cbc(&previous, blocks);
            previous = *blocks.last()?;
        }
        mac.update(rest);
        self.ke.encrypt_cts(&previous, rest).then(|| Tag::new(etype, &self.ki.finish(mac)))
    }

    /// Decrypts `body` where it lies, and says whether `tag` belongs to it.
    pub(super) fn open(&self, etype: Etype, body: &mut [u8], tag: &[u8]) -> bool {
        self.ke.decrypt_cts(body) && Tag::new(etype, &self.ki.sign(&[body])).matches(tag)
    }
}

/// Kc of a usage, as HMAC keeps it.
pub(super) fn checksum_key(etype: Etype, base: &Aes, usage: KeyUsage) -> Hmac<Sha1> {
    let kc = derive_key(etype, base, usage_constant(usage.0, Purpose::Checksum));
    Hmac::new(kc.first(etype.key_len()))
}

/// The key that a password comes to: DK(seed, "kerberos"), with the seed from PBKDF2 (RFC 3962 section 4).
pub(super) fn key_from_seed(etype: Etype, seed: &KeyBytes) -> KeyBytes {
    const KERBEROS: [u8; BLOCK] = nfold(b"kerberos");
    derive_key(etype, &Aes::new(etype, seed), KERBEROS)
}

/// The pseudo-random function, 16 bytes (RFC 3962 section 6: SHA-1 cut to a block, under DK(key, "prf")).
pub(super) fn prf(etype: Etype, base: &Aes, input: &[u8]) -> Wiped<BLOCK> {
    const PRF: [u8; BLOCK] = nfold(b"prf");
    let key = Aes::new(etype, &derive_key(etype, base, PRF));
    let mut block = Wiped::start_of(&hash::<Sha1>(&[input]));
    key.encrypt_block(&mut block);
    block
}

/// DK (RFC 3961 section 5.1): the folded constant encrypted again and again until there are bytes enough for a key.
fn derive_key(etype: Etype, base: &Aes, constant: [u8; BLOCK]) -> KeyBytes {
    let mut key = KeyBytes::new();
    let mut block = Wiped::start_of(&constant);
    for part in key.as_chunks_mut().0.iter_mut().take(etype.key_len().div_ceil(BLOCK)) {
        base.encrypt_block(&mut block);
        *part = *block;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::records;

    #[test]
    fn derived_keys_are_those_that_mit_derives() {
        let records = records(include_str!("../../tests/vectors/crypto/derived_keys_sha1.txt"));
        assert_eq!(records.len(), 6);
        for record in &records {
            let etype = Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap();
            let base = Aes::new(etype, &KeyBytes::start_of(&record.bytes("key")));
            let constant = nfold(&record.bytes("constant"));
            let derived = derive_key(etype, &base, constant);
            assert_eq!(derived.first(etype.key_len()), record.bytes("derived"));
        }
    }
}
