//! The acceptor: it carries what its policy names, and nothing else.

use super::IakerbError;
use super::message::ProxyMessage;
use crate::der::Writer;
use crate::krb5::msg::kdc_req::KdcReq;
use crate::krb5::msg::krb_error::NewKrbError;
use crate::krb5::msg::principal::{Principal, name_type};
use crate::krb5::transcript::Transcript;
use crate::policy::IakerbPolicy;
use crate::time::Timestamp;

/// What was carried so far.
#[derive(Clone, Default)]
pub struct Relay {
    transcript: Transcript,
}

/// What a client wants of its proxy message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To know this acceptor's realm.
    Realm,
    /// A message carried to a KDC.
    Kdc(KdcWish),
}

/// A message for a KDC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KdcWish {
    /// The realm whose KDC it is for.
    pub realm: String,
    /// AS-REQ or TGS-REQ.
    pub request: Vec<u8>,
}

impl Relay {
    /// Reads a proxy token, framed as `token` and with `body` behind the frame, and holds it to the policy: only realms that it
    /// names, and only an AS-REQ or TGS-REQ for that realm.
    ///
    /// # Errors
    /// If it is malformed, or the policy does not name what it asks for.
    pub fn wish(&mut self, token: &[u8], body: &[u8], policy: &IakerbPolicy) -> Result<Wish, IakerbError> {
        let ProxyMessage { target_realm, message, .. } = ProxyMessage::parse(body)?;
        let first = self.transcript.is_empty();
        if !self.transcript.record(token) {
            return Err(IakerbError::TooMuch);
        }
        match (target_realm.is_empty(), message.is_empty()) {
            (true, true) if first => return Ok(Wish::Realm),
            (true, true) => {
                return Err(IakerbError::Unexpected("a question for the realm that is not the first"));
            }
            (true, false) => return Err(IakerbError::Unexpected("a message and no realm to carry it to")),
            (false, true) => return Err(IakerbError::Unexpected("a realm and no message for it")),
            (false, false) => {}
        }
        if !policy.realms.iter().any(|realm| realm == target_realm) {
            let (realm, served) = (target_realm.to_owned(), policy.realms.clone());
            return Err(IakerbError::Realm { realm, served });
        }
        let request =
            KdcReq::parse(message).map_err(|fault| IakerbError::Message { what: fault.to_string() })?;
        if request.body.realm != target_realm.as_bytes() {
            return Err(IakerbError::Message { what: "for another realm".to_owned() });
        }
        Ok(Wish::Kdc(KdcWish { realm: target_realm.to_owned(), request: message.to_vec() }))
    }

    /// Appends the answer for the client: `message` from the KDC of `realm`, or nothing but the realm's name.
    ///
    /// # Errors
    /// If all that was said is too much.
    pub fn answer(&mut self, realm: &str, message: &[u8], out: &mut Vec<u8>) -> Result<(), IakerbError> {
        let mut token = Vec::new();
        ProxyMessage { target_realm: realm, cookie: None, message }.write(&mut token);
        if !self.transcript.record(&token) {
            return Err(IakerbError::TooMuch);
        }
        out.append(&mut token);
        Ok(())
    }

    /// What was said.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }
}

/// Appends the word for a message that cannot be carried: the KDC was not found, or did not respond.
pub fn write_failure(realm: &str, error_code: i32, now: Timestamp, out: &mut Vec<u8>) {
    // Who the service is, is proved at the end alone.
    let nobody = Principal {
        name_type: name_type::KRB_NT_WELLKNOWN,
        ..Principal::new("WELLKNOWN:ANONYMOUS", &["WELLKNOWN", "ANONYMOUS"])
    };
    let mut message = Vec::new();
    let error = NewKrbError { stime: now, error_code, client: None, service: &nobody, e_data: None };
    error.write(&mut Writer::new(&mut message));
    ProxyMessage { target_realm: realm, cookie: None, message: &message }.write(out);
}
