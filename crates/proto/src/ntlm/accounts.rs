//! What the VerifyNtlm step asks of an account source, and what the source answers. The sources themselves are in the
//! `countersign` crate; nothing here knows a password.

use super::keys::{NtHash, NtowfV2};
use crate::secret::Secret;

/// Length of the proof at the head of an NT response.
pub(super) const PROOF_LEN: usize = 16;

/// A client's claim, for an account source to verify. Nothing in it is believed yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyRequest {
    /// Name of the account as the client sent it, not empty.
    pub user: String,
    /// Domain of the account as the client sent it; empty if it named none.
    pub domain: String,
    /// Name of the client's machine as it sent it.
    pub workstation: String,
    /// What the proof must be made over.
    pub server_challenge: [u8; 8],
    /// LM response as the client sent it. It is for sources that want to see it, and proves nothing.
    pub lm_response: Vec<u8>,
    /// NT response of NTLMv2: 16 bytes of proof, then what it protects.
    pub nt_response: Vec<u8>,
}

impl VerifyRequest {
    /// Verifies the claim with the NT hash of the account's password, in a time that depends on the lengths of names and
    /// response alone: gives SessionBaseKey if the proof is right. A source that knows no such account should verify with
    /// any hash before it says so, or its haste tells which accounts there are.
    #[must_use]
    pub fn verify_with(&self, hash: &NtHash) -> Option<Secret> {
        let (proof, temp) = self.nt_response.split_at_checked(PROOF_LEN)?;
        let key = NtowfV2::new(hash, &self.user, &self.domain);
        let session_base_key = key.verify(&self.server_challenge, temp, proof)?;
        Some(Secret::from(session_base_key.expose().as_slice()))
    }
}

/// An account source's answer.
pub enum Verdict {
    /// The proof is right.
    Valid {
        /// SessionBaseKey, 16 bytes.
        session_base_key: Secret,
        /// Whose account it is.
        identity: Identity,
    },
    /// There is no such account, it may not log in, or the proof is wrong.
    Invalid,
    /// The source cannot tell, so the client must be refused.
    Unavailable,
}

/// Whose account it is, as its source knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Name of the account.
    pub user: String,
    /// Domain of the account, or the machine's name for accounts of its own.
    pub domain: String,
    /// Whether the source let the client in as a guest because it does not know the account: such clients are refused.
    pub guest: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ntlm::nt_hash;

    #[test]
    fn a_proof_holds_for_its_password_user_domain_and_challenge_alone() {
        let hash = nt_hash("Password");
        let temp = [3; 40];
        let mut request = VerifyRequest {
            user: "User".to_owned(),
            domain: "Domain".to_owned(),
            workstation: String::new(),
            server_challenge: [1; 8],
            lm_response: Vec::new(),
            nt_response: NtowfV2::new(&hash, "uSER", "Domain").nt_proof(&[1; 8], &temp).to_vec(),
        };
        request.nt_response.extend(temp);
        assert!(request.verify_with(&hash).is_some());
        assert!(request.verify_with(&nt_hash("password")).is_none());
        let changed: [fn(&mut VerifyRequest); 6] = [
            |request| request.user.push('s'),
            |request| request.domain.make_ascii_uppercase(),
            |request| request.server_challenge[7] ^= 1,
            |request| request.nt_response[15] ^= 1,
            |request| request.nt_response[16] ^= 1,
            |request| request.nt_response.truncate(15),
        ];
        for change in changed {
            let mut request = request.clone();
            change(&mut request);
            assert!(request.verify_with(&hash).is_none());
        }
    }
}
