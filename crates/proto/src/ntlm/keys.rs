//! Keys and proofs of NTLMv2 (MS-NLMP sections 3.3.2 and 3.4.5).

use super::messages::to_utf16;
use crate::crypto::rc4_hmac::{LEN, hmac_md5, rc4_apply};
use crate::krb5::per_message::Role;
use crate::secret;
use md4::{Digest, Md4};
use md5::Md5;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// A key of 16 bytes, wiped when dropped.
pub(super) type Key16 = Zeroizing<[u8; LEN]>;

/// The NT hash of a password, which is as good as the password itself: whoever has it can log in.
#[derive(Clone)]
pub struct NtHash(Key16);

impl NtHash {
    /// A hash that was kept.
    #[must_use]
    pub fn new(hash: [u8; LEN]) -> Self {
        Self(Key16::new(hash))
    }

    /// The hash itself, to be kept.
    #[must_use]
    pub fn expose(&self) -> &[u8; LEN] {
        &self.0
    }
}

/// The NT hash of `password`: MD4 over its UTF-16 form, without a salt (NTOWFv1, MS-NLMP section 3.3.1).
#[must_use]
pub fn nt_hash(password: &str) -> NtHash {
    let text = Zeroizing::new(to_utf16(password));
    NtHash(Key16::new(Md4::digest(&*text).into()))
}

/// The key that an account's proofs are made with.
pub struct NtowfV2(Key16);

impl NtowfV2 {
    /// NTOWFv2 (MS-NLMP section 3.3.2): the user in upper case, the domain as the client sends it.
    #[must_use]
    pub fn new(hash: &NtHash, user: &str, domain: &str) -> Self {
        Self(Key16::new(hmac_md5(hash.expose(), &[&to_utf16(&upper_case(user)), &to_utf16(domain)])))
    }

    /// NTProofStr: what proves that the key is known, over the challenge and what the client wants protected (`temp`,
    /// all of the NT response after the proof).
    #[must_use]
    pub fn nt_proof(&self, server_challenge: &[u8; 8], temp: &[u8]) -> [u8; LEN] {
        hmac_md5(&self.0, &[server_challenge, temp])
    }

    /// SessionBaseKey, if `proof` is the one that this key makes over the two; found in constant time.
    #[must_use]
    pub fn verify(&self, server_challenge: &[u8; 8], temp: &[u8], proof: &[u8]) -> Option<SessionBaseKey> {
        let ours = self.nt_proof(server_challenge, temp);
        secret::ct_eq(&ours, proof).then(|| self.session_base_key(&ours))
    }

    /// SessionBaseKey, which with NTLMv2 is the key exchange key too.
    #[must_use]
    pub fn session_base_key(&self, nt_proof: &[u8; LEN]) -> SessionBaseKey {
        SessionBaseKey(Key16::new(hmac_md5(&self.0, &[nt_proof])))
    }
}

/// The key that a client and whoever knows its password come to.
pub struct SessionBaseKey(Key16);

impl SessionBaseKey {
    /// The key as an account source gave it, or `None` if it has not 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self(Key16::new(key)))
    }

    /// The key itself, for an account source to hand on.
    #[must_use]
    pub fn expose(&self) -> &[u8; LEN] {
        &self.0
    }

    /// The session's key out of the client's message: it is encrypted with this key.
    #[must_use]
    pub fn open(&self, encrypted: &[u8; LEN]) -> ExportedSessionKey {
        let mut key = Key16::new(*encrypted);
        rc4_apply(&self.0, &mut *key);
        ExportedSessionKey(key)
    }

    /// The session's key as the client sends it.
    #[must_use]
    pub fn seal(&self, key: &ExportedSessionKey) -> [u8; LEN] {
        let mut encrypted = *key.0;
        rc4_apply(&self.0, &mut encrypted);
        encrypted
    }
}

/// The key of a session, which the client chose.
pub struct ExportedSessionKey(Key16);

impl ExportedSessionKey {
    /// A key that is known.
    #[must_use]
    pub fn new(key: [u8; LEN]) -> Self {
        Self(Key16::new(key))
    }

    /// A new key, as a client draws it.
    #[must_use]
    pub fn generate(rng: &mut dyn CryptoRng) -> Self {
        let mut key = Key16::default();
        rng.fill_bytes(&mut *key);
        Self(key)
    }

    /// The MIC over the three messages, laid end to end, the last with zeros where its MIC lies (MS-NLMP section
    /// 3.1.5.1.2).
    #[must_use]
    pub fn mic(&self, messages: &[&[u8]]) -> [u8; LEN] {
        hmac_md5(&self.0, messages)
    }

    /// SignKey of what `sent_by` sends (MS-NLMP section 3.4.5.2).
    pub(super) fn sign_key(&self, sent_by: Role) -> Key16 {
        self.derive(match sent_by {
            Role::Initiator => b"session key to client-to-server signing key magic constant\0",
            Role::Acceptor => b"session key to server-to-client signing key magic constant\0",
        })
    }

    /// SealKey of what `sent_by` sends (MS-NLMP section 3.4.5.3), for sessions with 128 bits.
    pub(super) fn seal_key(&self, sent_by: Role) -> Key16 {
        self.derive(match sent_by {
            Role::Initiator => b"session key to client-to-server sealing key magic constant\0",
            Role::Acceptor => b"session key to server-to-client sealing key magic constant\0",
        })
    }

    fn derive(&self, magic: &[u8]) -> Key16 {
        Key16::new(Md5::new().chain_update(*self.0).chain_update(magic).finalize().into())
    }
}

/// Upper case as Windows makes it for names: one unit for one unit, in the first plane only, and no letter beyond ASCII
/// becomes one of ASCII.
fn upper_case(text: &str) -> String {
    text.chars().map(upper_case_char).collect()
}

fn upper_case_char(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None)
            if character.len_utf16() == 1
                && one.len_utf16() == 1
                && one.is_ascii() == character.is_ascii() =>
        {
            one
        }
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_case_changes_one_unit_for_one() {
        assert_eq!(upper_case("Alice.ärÿ"), "ALICE.ÄRŸ");
        assert_eq!(upper_case("straße"), "STRAßE");
        assert_eq!(upper_case("dotless ı, long ſ"), "DOTLESS ı, LONG ſ");
        assert_eq!(upper_case("𐐨"), "𐐨");
    }

    #[test]
    fn nt_hash_is_that_of_ms_nlmp_4_2_1() {
        assert_eq!(
            nt_hash("Password").expose(),
            b"\xa4\xf4\x9c\x40\x65\x10\xbd\xca\xb6\x82\x4e\xe7\xc3\x0f\xd8\x52"
        );
    }
}
