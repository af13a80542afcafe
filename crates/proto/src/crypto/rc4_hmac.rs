//! RC4 with HMAC-MD5, etype 23 (RFC 4757), apart from the rest because it is broken: off unless policy names it.
//!
//! Ciphertext: `tag | RC4(K3, confounder | plaintext)`, where `tag = HMAC-MD5(K1, confounder | plaintext)`,
//! `K1 = HMAC-MD5(K, usage)` and `K3 = HMAC-MD5(K1, tag)`. Usages are Microsoft's numbers, little-endian.

use super::cipher::Tag;
use super::hmac::{Hasher, Hmac, Md5, Sha1};
use super::key::KeyBytes;
use super::wiped::Wiped;
use super::{CryptoError, Etype, KeyUsage};
use md4::{Digest, Md4};
use rc4::{KeyInit, Rc4, StreamCipher};

const ETYPE: Etype = Etype::ArcfourHmac;

/// Length of a key, a derived key and a tag, in bytes.
pub(crate) const LEN: usize = 16;

/// The key of one usage, which both makes tags and leads to the key of each message.
pub(super) struct Rc4Hmac {
    k1: Hmac<Md5>,
}

impl Rc4Hmac {
    /// Derives the key for `usage` from the protocol key, which is given as HMAC keeps it.
    pub(super) fn derive(base: &Hmac<Md5>, usage: KeyUsage) -> Self {
        let k1 = Wiped::<LEN>::start_of(&base.sign(&[&salt(usage)]));
        Self { k1: Hmac::new(k1.as_slice()) }
    }

    /// Encrypts `body`, a confounder of eight bytes with the plaintext behind it, where it lies.
    pub(super) fn seal(&self, body: &mut [u8]) -> Tag {
        let tag = self.k1.sign(&[body]);
        self.apply(&tag, body);
        Tag::new(ETYPE, &tag)
    }

    /// Decrypts `body` where it lies, and says whether `tag` belongs to it.
    pub(super) fn open(&self, body: &mut [u8], tag: &[u8]) -> bool {
        self.apply(tag, body);
        Tag::new(ETYPE, &self.k1.sign(&[body])).matches(tag)
    }

    fn apply(&self, tag: &[u8], body: &mut [u8]) {
        let k3 = Wiped::start_of(&self.k1.sign(&[tag]));
        rc4_apply(&k3, body);
    }
}

/// The keyed checksum of type -138 (RFC 4757 section 4) for one usage.
pub(super) struct Rc4Checksum {
    sign: Hmac<Md5>,
    salt: [u8; 4],
}

impl Rc4Checksum {
    /// Derives the signing key from the protocol key, which is given as HMAC keeps it.
    pub(super) fn derive(base: &Hmac<Md5>, usage: KeyUsage) -> Self {
        let sign = Wiped::<LEN>::start_of(&base.sign(&[b"signaturekey\0"]));
        Self { sign: Hmac::new(sign.as_slice()), salt: salt(usage) }
    }

    /// The checksum of `parts` laid end to end.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> Tag {
        let mut digest = Hasher::<Md5>::new();
        digest.update(&self.salt);
        parts.iter().for_each(|part| digest.update(part));
        Tag::new(ETYPE, &self.sign.sign(&[&digest.finish()]))
    }
}

/// A usage as RC4 salts with it: AS-REP parts and signatures got other numbers than in RFC 4120 (RFC 4757 section 3).
fn salt(usage: KeyUsage) -> [u8; 4] {
    let number = match usage.0 {
        3 => 8,
        23 => 13,
        other => other,
    };
    number.to_le_bytes()
}

/// The pseudo-random function that MIT gave this etype: HMAC-SHA1, 20 bytes.
pub(super) fn prf(key: &[u8], input: &[u8]) -> [u8; 20] {
    Hmac::<Sha1>::new(key).sign(&[input])
}

/// The key that a password comes to: MD4 over its UTF-16 form, little-endian, without a salt (RFC 4757 section 2).
pub(super) fn key_from_password(password: &[u8]) -> Result<KeyBytes, CryptoError> {
    let text = str::from_utf8(password).map_err(|_| CryptoError::PasswordNotUtf8 { etype: ETYPE })?;
    let mut hash = Md4::new();
    for unit in text.encode_utf16() {
        hash.update(unit.to_le_bytes());
    }
    Ok(KeyBytes::start_of(&hash.finalize()))
}

/// HMAC-MD5 of `parts` laid end to end, for the tokens of RFC 4757 section 7.
pub(crate) fn hmac_md5(key: &[u8; LEN], parts: &[&[u8]]) -> [u8; LEN] {
    Hmac::<Md5>::new(key).sign(parts)
}

/// The same of `head` and then `parts`, for NTLM's signatures.
pub(crate) fn hmac_md5_headed(key: &[u8; LEN], head: &[u8], parts: &[&[u8]]) -> [u8; LEN] {
    let key = Hmac::<Md5>::new(key);
    let mut message = key.start();
    message.update(head);
    parts.iter().for_each(|part| message.update(part));
    key.finish(message)
}

/// Encrypts or decrypts `data` where it lies with the key stream of `key` from its beginning.
pub(crate) fn rc4_apply(key: &[u8; LEN], data: &mut [u8]) {
    // RC4 repeats its key to 256 bytes, so a key written twice is the same key, and one whose type rules out failure.
    let mut twice = Wiped::<{ 2 * LEN }>::new();
    twice.iter_mut().zip(key.iter().cycle()).for_each(|(to, from)| *to = *from);
    Rc4::new((&*twice).into()).apply_keystream(data);
}
