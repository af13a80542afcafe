//! The master key, and what is written under it.
//!
//! Everything about an account that the database holds is sealed whole, keys and facts alike, together with the name it is
//! stored by: nobody without the master key reads a key, changes a fact (a user into a service, a disabled account into
//! an open one), or puts one account's record in another's place. What can be done with the file alone is to put
//! back an older record of the same account, or to remove one.

use super::StoreError;
use countersign_proto::crypto::{Cipher, Etype, Key, KeyUsage};
use countersign_proto::secret::Secret;
use rand_core::CryptoRng;

/// Of the master key: authenticated encryption with a tag of 192 bits, which proto has anyway.
const ETYPE: Etype = Etype::Aes256CtsHmacSha384_192;

/// Digits of a master key's file.
const DIGITS: usize = 64;

/// Numbers that no protocol uses a key for (RFC 4120 section 7.5.1 gives those from 1024 on to applications).
const ACCOUNT: KeyUsage = KeyUsage(0x4353_0001);
const REALM: KeyUsage = KeyUsage(0x4353_0002);

/// The key that all other keys of a realm are sealed under.
pub struct MasterKey(Key);

impl MasterKey {
    /// A fresh random one.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        Self(Key::generate(ETYPE, rng))
    }

    /// Reads the contents of a master key's file: 64 hexadecimal digits, and white space about them.
    ///
    /// # Errors
    /// [`StoreError::MasterKeyMalformed`].
    pub fn parse(file: &Secret) -> Result<Self, StoreError> {
        let digits = file.expose().trim_ascii();
        let mut bytes = Secret::new(vec![0; DIGITS / 2]);
        hex::decode_to_slice(digits, bytes.expose_mut()).map_err(|_| StoreError::MasterKeyMalformed)?;
        Key::new(ETYPE, bytes.expose()).map(Self).map_err(|_| StoreError::MasterKeyMalformed)
    }

    /// The contents of a file that [`MasterKey::parse`] reads.
    #[must_use]
    pub fn to_file(&self) -> Secret {
        let mut file = Secret::new(vec![b'\n'; DIGITS + 1]);
        if let Some(digits) = file.expose_mut().get_mut(..DIGITS) {
            // The lengths fit by the two constants above.
            let _ = hex::encode_to_slice(self.0.expose(), digits);
        }
        file
    }
}

/// What seals and opens, derived from the master key once.
pub(super) struct Seals {
    account: Cipher,
    realm: Cipher,
}

/// What a record is about, which is sealed with it.
#[derive(Clone, Copy)]
pub(super) enum About<'a> {
    /// The account stored by this key.
    Account(&'a [u8]),
    /// The entry of the realm itself by this name.
    Realm(&'a str),
}

impl Seals {
    pub(super) fn new(master: &MasterKey) -> Self {
        Self { account: master.0.cipher(ACCOUNT), realm: master.0.cipher(REALM) }
    }

    /// The bytes for the database.
    pub(super) fn seal(&self, about: About<'_>, record: &Secret, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let (cipher, label) = self.of(about);
        let length = label.len().saturating_add(record.len()).saturating_add(LENGTH);
        let mut plaintext = Secret::new(Vec::with_capacity(length));
        // Names are of bounded length, far below what this holds.
        let label_length = u32::try_from(label.len()).unwrap_or(u32::MAX);
        plaintext.expose_mut().extend_from_slice(&label_length.to_be_bytes());
        plaintext.expose_mut().extend_from_slice(label);
        plaintext.expose_mut().extend_from_slice(record.expose());
        let mut sealed = Vec::new();
        cipher.seal(rng, plaintext.expose(), &mut sealed);
        sealed
    }

    /// What [`Seals::seal`] was given, or nothing if the bytes are not of it, not of this master key, or about something
    /// else.
    pub(super) fn open(&self, about: About<'_>, sealed: &[u8]) -> Option<Secret> {
        let (cipher, label) = self.of(about);
        let mut bytes = Secret::from(sealed);
        let plaintext = cipher.open_in_place(bytes.expose_mut()).ok()?;
        let (length, rest) = plaintext.split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (sealed_label, record) = rest.split_at_checked(length)?;
        (sealed_label == label).then(|| Secret::from(record))
    }

    const fn of<'a>(&'a self, about: About<'a>) -> (&'a Cipher, &'a [u8]) {
        match about {
            About::Account(key) => (&self.account, key),
            About::Realm(entry) => (&self.realm, entry.as_bytes()),
        }
    }
}

/// Bytes in front of the label.
const LENGTH: usize = 4;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use countersign_testkit::TestRng;

    #[test]
    fn a_master_key_survives_its_file() {
        let key = MasterKey::generate(&mut TestRng::new(1));
        let file = key.to_file();
        assert_eq!(file.len(), 65);
        assert!(file.expose().is_ascii());
        let same = MasterKey::parse(&file).unwrap_or_else(|_| unreachable!());
        assert!(same.to_file().ct_eq(file.expose()));
    }

    #[test]
    fn a_file_of_anything_else_is_no_master_key() {
        let digits = "0123456789abcdef".repeat(4);
        for text in ["", "secret", &digits[1..], &format!("{digits}00"), &digits.replace('f', "g")] {
            assert!(MasterKey::parse(&Secret::from(text.as_bytes())).is_err(), "{text:?}");
        }
        assert!(MasterKey::parse(&Secret::from(format!(" {digits}\r\n").as_bytes())).is_ok());
    }

    #[test]
    fn a_sealed_record_opens_only_as_what_it_was_sealed_for() {
        let mut rng = TestRng::new(2);
        let seals = Seals::new(&MasterKey::generate(&mut rng));
        let record = Secret::from(&b"the record"[..]);
        let sealed = seals.seal(About::Account(b"alice"), &record, &mut rng);
        assert!(seals.open(About::Account(b"alice"), &sealed).unwrap().ct_eq(b"the record"));
        assert!(seals.open(About::Account(b"mallory"), &sealed).is_none());
        assert!(seals.open(About::Account(b"alicethe"), &sealed).is_none());
        assert!(seals.open(About::Realm("alice"), &sealed).is_none());
        let other = Seals::new(&MasterKey::generate(&mut rng));
        assert!(other.open(About::Account(b"alice"), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(seals.open(About::Account(b"alice"), &altered).is_none(), "byte {at}");
        }
        assert!(seals.open(About::Account(b"alice"), b"").is_none());
    }
}
