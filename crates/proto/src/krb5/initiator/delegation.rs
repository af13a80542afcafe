//! The credential that an initiator hands over to a service which is to act for it (RFC 4121 section 4.1.1).

use super::ServiceTicket;
use crate::crypto::{Key, KeyUsage};
use crate::der::Writer;
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::encryption_key::EncryptionKeyRef;
use crate::krb5::msg::krb_cred::{NewEncKrbCredPart, NewKrbCredInfo, write_krb_cred};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// A ticket-granting ticket that may be given to a service, which then can do all that the client can.
#[derive(Clone)]
pub struct Forwarded(ServiceTicket);

impl Forwarded {
    /// A ticket-granting ticket that its KDC made to be forwarded.
    pub(crate) fn new(ticket: ServiceTicket) -> Self {
        Self(ticket)
    }

    /// Whose ticket it is.
    #[must_use]
    pub fn client(&self) -> &Principal {
        &self.0.client
    }

    /// Whether its KRB-CRED has a length that the authenticator's checksum can say: 65,535 bytes.
    pub(super) fn fits(&self) -> bool {
        self.0.encoded.len().saturating_add(PART).saturating_add(ALL_ELSE) <= usize::from(u16::MAX)
    }

    /// A KRB-CRED for the service that shares `session_key`. `at` is the KDC's time.
    pub(super) fn krb_cred(&self, session_key: &Key, at: Timestamp, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let ticket = &self.0;
        let key = &ticket.session_key;
        let info = NewKrbCredInfo {
            key: EncryptionKeyRef { etype: key.etype().wire(), bytes: key.expose() },
            client: &ticket.client,
            flags: ticket.flags,
            authtime: ticket.authtime,
            starttime: Some(ticket.starttime),
            endtime: ticket.endtime,
            renew_till: None,
            service: &ticket.service,
        };
        let part = NewEncKrbCredPart { ticket_info: &[info], nonce: None, timestamp: Some(at) };
        // Room for all of it at once: a buffer that grows leaves copies of the key behind.
        let mut plaintext = Secret::new(Vec::with_capacity(PART));
        part.write(&mut Writer::new(plaintext.expose_mut()));
        let mut cipher = Vec::new();
        session_key.cipher(KeyUsage::KRB_CRED).seal(rng, plaintext.expose(), &mut cipher);
        let enc_part = EncryptedData { etype: session_key.etype().wire(), kvno: None, cipher: &cipher };
        let mut message = Vec::new();
        write_krb_cred(&[&ticket.encoded], &enc_part, &mut Writer::new(&mut message));
        message
    }
}

/// More than an EncKrbCredPart with one ticket takes: names of a KDC have 1,024 bytes at most, with up to 32 components.
const PART: usize = 4_096;

/// More than the encryption and the DER around both take.
const ALL_ELSE: usize = 256;
