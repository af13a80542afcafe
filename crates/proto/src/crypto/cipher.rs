//! What is derived from a key for one usage: ciphers and checksummers.

use super::aes_sha1::AesSha1;
use super::aes_sha2::AesSha2;
use super::hmac::{Hmac, Sha1, Sha256, Sha384};
use super::rc4_hmac::{Rc4Checksum, Rc4Hmac};
use super::{CryptoError, Etype, MAX_TAG_LEN};
use crate::secret::ct_eq;
use rand_core::CryptoRng;
use zeroize::Zeroize;

/// Encrypts and decrypts messages of one key and usage (RFC 3961 section 3, `encrypt` and `decrypt`).
///
/// A ciphertext is a random prefix, the encrypted plaintext, and a trailer; its integrity is always verified. An empty
/// plaintext is legal. The value is some 640 bytes large, so give it a place and leave it there.
pub struct Cipher {
    etype: Etype,
    key: CipherKey,
}

pub(super) enum CipherKey {
    AesSha1(AesSha1),
    AesSha256(AesSha2<Sha256>),
    AesSha384(AesSha2<Sha384>),
    Rc4(Rc4Hmac),
}

impl Cipher {
    pub(super) fn new(etype: Etype, key: CipherKey) -> Self {
        Self { etype, key }
    }

    /// The etype of the key.
    #[must_use]
    pub fn etype(&self) -> Etype {
        self.etype
    }

    /// Bytes in front of the plaintext: 16, for RC4 24.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.etype.prefix_len()
    }

    /// Bytes behind the plaintext: 12, 16 or 24, for RC4 none.
    #[must_use]
    pub fn trailer_len(&self) -> usize {
        self.etype.trailer_len()
    }

    /// Bytes that a ciphertext is longer than its plaintext: 28, 28, 32, 40, for RC4 24.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.prefix_len().saturating_add(self.trailer_len())
    }

    /// Encrypts where the plaintext lies: `buf` is room for the prefix, the plaintext, and room for the trailer. The
    /// confounder is drawn from `rng`.
    ///
    /// # Errors
    /// [`CryptoError::TooShort`] if `buf` has less than [`Cipher::overhead`] bytes; nothing was written then.
    pub fn seal_in_place(&self, rng: &mut dyn CryptoRng, buf: &mut [u8]) -> Result<(), CryptoError> {
        let too_short = self.too_short(buf.len());
        let (body, tag_space) = self.split(buf).ok_or(too_short)?;
        rng.fill_bytes(body.get_mut(..self.confounder_len()).ok_or(too_short)?);
        let tag = match &self.key {
            CipherKey::AesSha1(key) => key.seal(self.etype, body),
            CipherKey::AesSha256(key) => key.seal(self.etype, body),
            CipherKey::AesSha384(key) => key.seal(self.etype, body),
            CipherKey::Rc4(key) => Some(key.seal(body)),
        };
        tag_space.copy_from_slice(tag.ok_or(too_short)?.as_ref());
        Ok(())
    }

    /// Appends the ciphertext of `plaintext` to `out`.
    pub fn seal(&self, rng: &mut dyn CryptoRng, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(plaintext.len().saturating_add(self.overhead()));
        out.resize(start.saturating_add(self.prefix_len()), 0);
        out.extend_from_slice(plaintext);
        out.resize(out.len().saturating_add(self.trailer_len()), 0);
        let sealed = out.get_mut(start..).is_some_and(|buf| self.seal_in_place(rng, buf).is_ok());
        if !sealed {
            // The room is made to measure, so this is never reached; were it, no plaintext may leave.
            out.truncate(start);
        }
    }

    /// Decrypts a whole ciphertext where it lies, and returns the part of `buf` that holds the plaintext.
    ///
    /// # Errors
    /// [`CryptoError::TooShort`] if there is no room for a ciphertext; [`CryptoError::Integrity`] if its tag does not
    /// verify: `buf` is zeros then, so that nothing of an unproven plaintext is left. Who has other keys to try keeps a
    /// copy of the ciphertext.
    pub fn open_in_place<'b>(&self, buf: &'b mut [u8]) -> Result<&'b mut [u8], CryptoError> {
        if buf.len() < self.overhead() {
            return Err(self.too_short(buf.len()));
        }
        let genuine = self.split(buf).is_some_and(|(body, tag)| match &self.key {
            CipherKey::AesSha1(key) => key.open(self.etype, body, tag),
            CipherKey::AesSha256(key) => key.open(self.etype, body, tag),
            CipherKey::AesSha384(key) => key.open(self.etype, body, tag),
            CipherKey::Rc4(key) => key.open(body, tag),
        });
        if !genuine {
            buf.zeroize();
        }
        let plaintext = self.prefix_len()..buf.len().saturating_sub(self.trailer_len());
        buf.get_mut(plaintext).filter(|_| genuine).ok_or(CryptoError::Integrity { etype: self.etype })
    }

    /// The bytes of a ciphertext that are its integrity tag: the last ones, for RC4 the first. `None` if it is too
    /// short to be one. Two messages of a key with the same tag are the same message.
    #[must_use]
    pub fn integrity_tag<'c>(&self, ciphertext: &'c [u8]) -> Option<&'c [u8]> {
        let length = ciphertext.len();
        if length < self.overhead() {
            return None;
        }
        match self.key {
            CipherKey::Rc4(_) => ciphertext.get(..self.etype.tag_len()),
            _ => ciphertext.get(length.saturating_sub(self.etype.tag_len())..),
        }
    }

    /// Divides a ciphertext into what is encrypted (confounder and plaintext) and the tag, which RC4 puts first.
    fn split<'b>(&self, buf: &'b mut [u8]) -> Option<(&'b mut [u8], &'b mut [u8])> {
        if buf.len() < self.overhead() {
            return None;
        }
        match self.key {
            CipherKey::Rc4(_) => {
                buf.split_at_mut_checked(self.etype.tag_len()).map(|(tag, body)| (body, tag))
            }
            _ => buf.split_at_mut_checked(buf.len().checked_sub(self.etype.tag_len())?),
        }
    }

    fn confounder_len(&self) -> usize {
        self.overhead().saturating_sub(self.etype.tag_len())
    }

    fn too_short(&self, length: usize) -> CryptoError {
        CryptoError::TooShort { etype: self.etype, length, least: self.overhead() }
    }
}

/// Makes and verifies keyed checksums of one key and usage (RFC 3961 section 4, `get_mic` and `verify_mic`).
pub struct Checksummer {
    etype: Etype,
    key: ChecksumKey,
}

pub(super) enum ChecksumKey {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Hmac<Sha384>),
    Rc4(Rc4Checksum),
}

impl Checksummer {
    pub(super) fn new(etype: Etype, key: ChecksumKey) -> Self {
        Self { etype, key }
    }

    /// The etype of the key.
    #[must_use]
    pub fn etype(&self) -> Etype {
        self.etype
    }

    /// The checksum of `parts` laid end to end.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> Tag {
        match &self.key {
            ChecksumKey::Sha1(key) => Tag::new(self.etype, &key.sign(parts)),
            ChecksumKey::Sha256(key) => Tag::new(self.etype, &key.sign(parts)),
            ChecksumKey::Sha384(key) => Tag::new(self.etype, &key.sign(parts)),
            ChecksumKey::Rc4(key) => key.sign(parts),
        }
    }

    /// Whether `tag` is the checksum of `parts` laid end to end, in a time that does not depend on its bytes.
    ///
    /// # Errors
    /// [`CryptoError::Integrity`] if it is not, or has another length than [`Etype::tag_len`].
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), CryptoError> {
        if self.sign(parts).matches(tag) { Ok(()) } else { Err(CryptoError::Integrity { etype: self.etype }) }
    }
}

/// A checksum or integrity tag that was computed here: [`Etype::tag_len`] bytes.
///
/// There is no `PartialEq`, so that none is compared but in constant time, by [`Checksummer::verify`].
#[derive(Clone, Copy)]
pub struct Tag {
    bytes: [u8; MAX_TAG_LEN],
    length: usize,
}

impl Tag {
    /// The start of `digest`, which is at least as long as the etype's tag.
    pub(super) fn new(etype: Etype, digest: &[u8]) -> Self {
        let length = etype.tag_len();
        let mut bytes = [0; MAX_TAG_LEN];
        bytes.iter_mut().zip(digest).take(length).for_each(|(to, from)| *to = *from);
        Self { bytes, length }
    }

    /// Whether `tag` is this one, whole, in a time that depends on its length alone.
    pub(super) fn matches(&self, tag: &[u8]) -> bool {
        ct_eq(self.as_ref(), tag)
    }
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}
