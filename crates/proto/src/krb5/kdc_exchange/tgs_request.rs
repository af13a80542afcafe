//! One request of the TGS exchange and its reply (RFC 4120 section 3.3).

use super::error::KdcError;
use super::options::TicketOptions;
use super::presented::{Presented, present};
use super::reply::Asked;
use super::told::Answered;
use super::{KRB_ERROR, KdcRequest, TGS_REP, granting_realm, nonce};
use crate::ccache::Credential;
use crate::crypto::{Etype, Key, KeyUsage};
use crate::der::{DerError, Reader, Writer};
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep};
use crate::krb5::msg::kdc_req::{KdcOptions, KdcReqKind, NewKdcReqBody, write_kdc_req};
use crate::krb5::msg::krb_error::KrbError;
use crate::krb5::msg::pa_data::{PaData, pa_type};
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::TicketFlags;
use crate::secret::Secret;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// A TGS-REQ that is on its way.
pub(super) struct TgsRequest {
    message: Vec<u8>,
    realm: Vec<u8>,
    client: Principal,
    session_key: Key,
    subkey: Key,
    /// Whether the ticket-granting ticket comes from the client's own realm, or one of which that realm says that it may be
    /// trusted with delegation.
    delegation_known: bool,
    service: Principal,
    nonce: u32,
    kdc_options: KdcOptions,
    etypes: Vec<Etype>,
    till: Timestamp,
    rtime: Option<Timestamp>,
}

/// What is asked with a ticket-granting ticket.
pub(super) struct Wish {
    pub(super) service: Principal,
    pub(super) kdc_options: KdcOptions,
    pub(super) till: Timestamp,
    pub(super) rtime: Option<Timestamp>,
}

impl TgsRequest {
    /// Makes the request. `at` is the KDC's time.
    pub(super) fn new(
        tgt: &ServiceTicket,
        wish: Wish,
        options: &TicketOptions,
        at: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let realm = granting_realm(&tgt.service).unwrap_or(&tgt.service.realm).to_vec();
        let nonce = nonce(rng);
        let etypes = options.tgs_enctypes();
        let mut body = Vec::new();
        let new = NewKdcReqBody {
            kdc_options: wish.kdc_options,
            cname: None,
            realm: &realm,
            sname: Some(&wish.service),
            till: wish.till,
            rtime: wish.rtime,
            nonce,
            etypes: &etypes,
            additional_tickets: &[],
        };
        new.write(&mut Writer::new(&mut body));
        let Presented { ap_req, subkey } =
            present(tgt, KeyUsage::TGS_REQ_AUTHENTICATOR, Some(&body), at, rng);
        let shown = PaData { padata_type: pa_type::PA_TGS_REQ, padata_value: &ap_req };
        let mut message = Vec::new();
        write_kdc_req(KdcReqKind::Tgs, &[shown], &body, &mut Writer::new(&mut message));
        let local = tgt.service.realm == tgt.client.realm && realm == tgt.client.realm;
        Self {
            message,
            service: Principal { realm: realm.clone(), ..wish.service },
            realm,
            client: tgt.client.clone(),
            session_key: tgt.session_key.clone(),
            subkey,
            delegation_known: local || tgt.flags.contains(TicketFlags::OK_AS_DELEGATE),
            nonce,
            kdc_options: wish.kdc_options,
            etypes,
            till: wish.till,
            rtime: wish.rtime,
        }
    }

    pub(super) fn request(&self) -> KdcRequest<'_> {
        KdcRequest { realm: &self.realm, message: &self.message }
    }

    /// What is asked for, in the realm that is asked.
    pub(super) fn service(&self) -> &Principal {
        &self.service
    }

    /// Whether this is an error, or a reply under this request's own key. Of an error nobody can tell.
    pub(super) fn is_answer(&self, reply: &[u8]) -> bool {
        match reply.first() {
            Some(&KRB_ERROR) => true,
            Some(&TGS_REP) => KdcRep::parse(reply).is_ok_and(|rep| self.open(&rep).is_ok()),
            _ => false,
        }
    }

    /// The ticket in the reply, or what the KDC says instead.
    pub(super) fn reply(&self, reply: &[u8]) -> Result<Result<Credential, Answered>, KdcError> {
        if reply.first() == Some(&KRB_ERROR) {
            let error = KrbError::parse(reply).map_err(|fault| self.malformed("KRB-ERROR", fault))?;
            return Ok(Err(Answered::new(&error, None)));
        }
        let rep = KdcRep::parse(reply).map_err(|fault| self.malformed("TGS-REP", fault))?;
        let opened = self.open(&rep)?;
        let part = EncKdcRepPart::parse(Reader::new(opened.expose()));
        let part = part.map_err(|fault| self.malformed("TGS-REP", fault))?;
        let client = rep.cname.to_principal(rep.crealm);
        let mut credential = self.asked().compare(&rep, &part, &client)?;
        if !self.delegation_known {
            // A foreign KDC does not say whom our realm trusts with a forwarded ticket (RFC 4120 section 2.8).
            credential.flags &= !TicketFlags::OK_AS_DELEGATE.0;
        }
        Ok(Ok(credential))
    }

    /// Decrypts a reply, which is under our subkey; KDCs of old take the session key.
    fn open(&self, rep: &KdcRep<'_>) -> Result<Secret, KdcError> {
        let keys =
            [(&self.subkey, KeyUsage::TGS_REP_SUBKEY), (&self.session_key, KeyUsage::TGS_REP_SESSION_KEY)];
        for (key, usage) in keys {
            let mut plaintext = Secret::from(rep.enc_part.cipher);
            let of_etype = key.etype().wire() == rep.enc_part.etype;
            if of_etype && let Ok(opened) = key.cipher(usage).open_in_place(plaintext.expose_mut()) {
                return Ok(Secret::from(&*opened));
            }
        }
        Err(self.asked().integrity("TGS-REP"))
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            realm: &self.realm,
            nonce: self.nonce,
            options: self.kdc_options,
            etypes: &self.etypes,
            client: &self.client,
            any_client: false,
            service: &self.service,
            till: self.till,
            rtime: self.rtime,
        }
    }

    /// The KDC's refusal, put for whoever asked.
    pub(super) fn refused(&self, answered: Answered) -> KdcError {
        let (client, service) = (self.client.clone(), self.service.clone());
        KdcError::Told { told: answered.told, realm: self.realm.clone(), client, service }
    }

    fn malformed(&self, message: &'static str, fault: DerError) -> KdcError {
        KdcError::Malformed { message, realm: self.realm.clone(), fault }
    }
}
