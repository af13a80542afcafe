//! A ticket-granting ticket as it is shown to its KDC: to ask for another ticket, or to make FAST's armor.

use crate::crypto::{Key, KeyUsage};
use crate::der::Writer;
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::msg::ap_req::{ApOptions, ApReq};
use crate::krb5::msg::authenticator::NewAuthenticator;
use crate::krb5::msg::checksum::ChecksumRef;
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::encryption_key::EncryptionKeyRef;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// An AP-REQ with a fresh subkey in it.
pub(super) struct Presented {
    /// The AP-REQ, encoded.
    pub(super) ap_req: Vec<u8>,
    /// Its subkey.
    pub(super) subkey: Key,
}

/// Shows `ticket` with an authenticator of the KDC's time `ctime` under `usage`, over `checked` if that is given.
pub(super) fn present(
    ticket: &ServiceTicket,
    usage: KeyUsage,
    checked: Option<&[u8]>,
    ctime: Timestamp,
    rng: &mut dyn CryptoRng,
) -> Presented {
    let session_key = &ticket.session_key;
    let etype = session_key.etype();
    let subkey = Key::generate(etype, rng);
    let sum = checked.map(|checked| session_key.checksum(KeyUsage::TGS_REQ_CHECKSUM).sign(&[checked]));
    let authenticator = NewAuthenticator {
        client: &ticket.client,
        cksum: sum.as_ref().map(|sum| ChecksumRef { cksumtype: etype.checksum_type(), bytes: sum.as_ref() }),
        ctime,
        subkey: Some(EncryptionKeyRef { etype: etype.wire(), bytes: subkey.expose() }),
        seq_number: None,
        authorization_data: None,
    };
    // Room for all of it at once: a buffer that grows leaves copies of the subkey behind.
    let mut plaintext = Secret::new(Vec::with_capacity(authenticator.capacity()));
    authenticator.write(&mut Writer::new(plaintext.expose_mut()));
    let mut cipher = Vec::new();
    session_key.cipher(usage).seal(rng, plaintext.expose(), &mut cipher);
    let enc_part = EncryptedData { etype: etype.wire(), kvno: None, cipher: &cipher };
    let mut ap_req = Vec::new();
    ApReq::write(&mut Writer::new(&mut ap_req), ApOptions::default(), &ticket.encoded, &enc_part);
    Presented { ap_req, subkey }
}
