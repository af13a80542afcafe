//! Verifying the service's proof.

use super::{InitiateError, Sent};
use crate::crypto::{Etype, Key, KeyUsage};
use crate::der::Reader;
use crate::krb5::msg::ap_rep::{ApRep, EncApRepPart};
use crate::krb5::msg::encryption_key::EncryptionKeyRef;
use crate::policy::InitiatorPolicy;
use crate::secret::Secret;

/// Proof that the service opened our ticket: the AP-REP is under the session key and repeats our authenticator's time.
/// Only this module's `verify` makes it.
pub struct ApRepVerified(());

/// What the AP-REP says.
pub(super) struct Reply {
    /// The acceptor's subkey.
    pub(super) subkey: Option<Key>,
    /// First sequence number of the acceptor's direction.
    pub(super) seq_number: u32,
}

/// Opens the AP-REP and holds it against the AP-REQ that it must answer.
pub(super) fn verify(
    body: &[u8],
    sent: &Sent,
    policy: &InitiatorPolicy,
) -> Result<(Reply, ApRepVerified), InitiateError> {
    let message =
        ApRep::parse(body).map_err(|fault| InitiateError::Malformed { message: "AP-REP", fault })?;
    let session_key = &sent.ticket.session_key;
    let refused = || InitiateError::ApRepIntegrity { service: sent.ticket.service.clone() };
    if message.enc_part.etype != session_key.etype().wire() {
        return Err(refused());
    }
    let mut buffer = Secret::from(message.enc_part.cipher);
    let plaintext =
        session_key.cipher(KeyUsage::AP_REP).open_in_place(buffer.expose_mut()).map_err(|_| refused())?;
    let part = EncApRepPart::parse(Reader::new(plaintext)).map_err(InitiateError::ApRepMalformed)?;
    if part.ctime != sent.ctime {
        return Err(InitiateError::ApRepMismatch { theirs: part.ctime, ours: sent.ctime });
    }
    let subkey = part.subkey.map(|key| subkey(&key, sent, policy)).transpose()?;
    Ok((Reply { subkey, seq_number: part.seq_number.unwrap_or(0) }, ApRepVerified(())))
}

/// The subkey must be of an etype that we named or used ourselves.
fn subkey(key: &EncryptionKeyRef<'_>, sent: &Sent, policy: &InitiatorPolicy) -> Result<Key, InitiateError> {
    let refused = || InitiateError::SubkeyEtype { etype: key.etype, offered: sent.offered.clone() };
    let etype = Etype::from_wire(key.etype).ok_or_else(refused)?;
    if !sent.offered.contains(&etype) || !policy.permits(etype) {
        return Err(refused());
    }
    Key::new(etype, key.bytes).map_err(|_| refused())
}
