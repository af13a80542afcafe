//! FAST's armor around an AS exchange (RFC 6113 section 5.4), made of a ticket-granting ticket.

use super::error::KdcError;
use super::presented::{Presented, present};
use crate::crypto::{Key, KeyUsage, krb_fx_cf2};
use crate::der::{DerError, Reader, Writer};
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::msg::checksum::ChecksumRef;
use crate::krb5::msg::encrypted_data::EncryptedData;
use crate::krb5::msg::fast::{
    FX_FAST_ARMOR_AP_REQUEST, KrbFastArmor, KrbFastArmoredRep, KrbFastArmoredReq, KrbFastFinished,
    KrbFastResponse, write_krb_fast_req,
};
use crate::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// The armor of one AS exchange.
pub(super) struct Armor {
    key: Key,
    ap_req: Vec<u8>,
    realm: Vec<u8>,
}

/// A KDC's answer, out of its armor.
pub(super) struct Unwrapped(Secret);

impl Armor {
    /// Armor of a ticket for the ticket-granting service, with a subkey of ours in it.
    pub(super) fn new(
        ticket: &ServiceTicket,
        realm: &[u8],
        ctime: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let Presented { ap_req, subkey } = present(ticket, KeyUsage::AP_REQ_AUTHENTICATOR, None, ctime, rng);
        let key = krb_fx_cf2(&subkey, &ticket.session_key, b"subkeyarmor", b"ticketarmor");
        Self { key, ap_req, realm: realm.to_vec() }
    }

    /// The value of PA-FX-FAST for a request with this padata and body, both inside and outside of the armor.
    pub(super) fn wrap(
        &self,
        padata: &[PaData<'_>],
        encoded_body: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Vec<u8> {
        let etype = self.key.etype();
        let mut inner = Vec::new();
        write_krb_fast_req(0, padata, encoded_body, &mut Writer::new(&mut inner));
        let mut cipher = Vec::new();
        self.key.cipher(KeyUsage::FAST_ENC).seal(rng, &inner, &mut cipher);
        let sum = self.key.checksum(KeyUsage::FAST_REQ_CHECKSUM).sign(&[encoded_body]);
        let request = KrbFastArmoredReq {
            armor: Some(KrbFastArmor { armor_type: FX_FAST_ARMOR_AP_REQUEST, armor_value: &self.ap_req }),
            req_checksum: ChecksumRef { cksumtype: etype.checksum_type(), bytes: sum.as_ref() },
            enc_fast_req: EncryptedData { etype: etype.wire(), kvno: None, cipher: &cipher },
        };
        let mut value = Vec::new();
        request.write(&mut Writer::new(&mut value));
        value
    }

    /// Opens the PA-FX-FAST among `padata`, which an answer to an armored request must have.
    pub(super) fn unwrap(&self, padata: MethodData<'_>) -> Result<Unwrapped, KdcError> {
        let value =
            padata.find(pa_type::PA_FX_FAST).ok_or_else(|| self.unarmored("without armor".to_owned()))?;
        let reply = KrbFastArmoredRep::parse(value).map_err(|fault| self.malformed(fault))?;
        let cipher = self.key.cipher(KeyUsage::FAST_REP);
        let mut plaintext = Secret::from(reply.enc_fast_rep.cipher);
        let opened = cipher.open_in_place(plaintext.expose_mut()).map(|opened| Secret::from(&*opened));
        let of_ours = reply.enc_fast_rep.etype == self.key.etype().wire();
        match opened {
            Ok(opened) if of_ours => Ok(Unwrapped(opened)),
            _ => Err(self.unarmored("in armor that our key does not open".to_owned())),
        }
    }

    /// Reads what was in the armor.
    pub(super) fn response<'a>(&self, unwrapped: &'a Unwrapped) -> Result<KrbFastResponse<'a>, KdcError> {
        KrbFastResponse::parse(Reader::new(unwrapped.0.expose())).map_err(|fault| self.malformed(fault))
    }

    /// The end of an exchange in armor: the client's name, and the ticket that the armor vouches for.
    pub(super) fn finished(
        &self,
        finished: Option<&KrbFastFinished<'_>>,
        encoded_ticket: &[u8],
    ) -> Result<Principal, KdcError> {
        let Some(finished) = finished else {
            return Err(self.unarmored("without the proof that it is the end".to_owned()));
        };
        let sum = &finished.ticket_checksum;
        let verified = self.key.checksum(KeyUsage::FAST_FINISHED).verify(&[encoded_ticket], sum.bytes);
        if sum.cksumtype != self.key.etype().checksum_type() || verified.is_err() {
            return Err(self.unarmored("with a ticket that the armor does not vouch for".to_owned()));
        }
        Ok(finished.cname.to_principal(finished.crealm))
    }

    /// Key of the client's encrypted challenge (RFC 6113 section 5.4.6).
    pub(super) fn client_challenge_key(&self, long_term: &Key) -> Key {
        krb_fx_cf2(&self.key, long_term, b"clientchallengearmor", b"challengelongterm")
    }

    /// Key of the KDC's answer to it.
    pub(super) fn kdc_challenge_key(&self, long_term: &Key) -> Key {
        krb_fx_cf2(&self.key, long_term, b"kdcchallengearmor", b"challengelongterm")
    }

    pub(super) fn unarmored(&self, what: String) -> KdcError {
        KdcError::Unarmored { what, realm: self.realm.clone() }
    }

    fn malformed(&self, fault: DerError) -> KdcError {
        KdcError::Malformed { message: "FAST reply", realm: self.realm.clone(), fault }
    }
}

/// The reply key after the KDC's part in it (RFC 6113 section 5.4.3).
pub(super) fn strengthened(strengthen: &Key, reply_key: &Key) -> Key {
    krb_fx_cf2(strengthen, reply_key, b"strengthenkey", b"replykey")
}
