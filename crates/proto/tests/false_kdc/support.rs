//! A KDC as far as it is needed here: its errors, and the tickets that it gives to who shows one.

use countersign_proto::ccache::Credential;
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::krb5::initiator::ServiceTicket;
use countersign_proto::krb5::kdc_exchange::{
    AsExchange, Exchange, KdcError, Login, Step, TicketOptions, ticket_granting_service,
};
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::authenticator::Authenticator;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::kdc_rep::{NewEncKdcRepPart, NewKdcRep};
use countersign_proto::krb5::msg::kdc_req::{KdcReq, KdcReqKind};
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const REALM: &str = "EXAMPLE.TEST";
pub(crate) const ETYPE: Etype = Etype::Aes256CtsHmacSha1_96;

/// The clocks of a KDC and of its client, an hour apart.
pub(crate) const HOUR: i64 = 3_600_000_000;

pub(crate) fn granting(realm: &str) -> Principal {
    ticket_granting_service(realm.as_bytes(), REALM.as_bytes())
}

pub(crate) fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

/// METHOD-DATA with the usual ETYPE-INFO2 and these types, each without a value.
pub(crate) fn hints(types: &[i32]) -> Vec<u8> {
    let info = encoded(|out| {
        EtypeInfo2Entry::write_list(out, &[EtypeInfo2Entry { etype: 18, salt: None, s2kparams: None }])
    });
    let mut padata = vec![PaData { padata_type: pa_type::PA_ETYPE_INFO2, padata_value: &info }];
    padata.extend(types.iter().map(|padata_type| PaData { padata_type: *padata_type, padata_value: &[] }));
    encoded(|out| MethodData::write_list(out, &padata))
}

/// A KRB-ERROR with the KDC's time `stime`.
pub(crate) fn error(error_code: i32, e_data: Option<&[u8]>, stime: Timestamp) -> Vec<u8> {
    let service = granting(REALM);
    encoded(|out| NewKrbError { stime, error_code, client: None, service: &service, e_data }.write(out))
}

pub(crate) fn log_in(change: impl FnOnce(Login) -> Login) -> AsExchange {
    let login = Login::with_password(Mint::default().client, Secret::from(&b"Secret.123"[..])).unwrap();
    AsExchange::begin(Arc::new(change(login)), Arc::new(TicketOptions::default()), NOW, &mut TestRng::new(1))
}

/// What the exchange asks next.
pub(crate) fn next<E: Exchange>(exchange: E, reply: &[u8]) -> E {
    match exchange.reply(reply, NOW, &mut TestRng::new(2)) {
        Ok(Step::NeedKdc(exchange)) => exchange,
        Ok(Step::Done(_)) => panic!("it is done"),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn done<E: Exchange>(exchange: E, reply: &[u8], now: Timestamp) -> E::Granted {
    match exchange.reply(reply, now, &mut TestRng::new(2)) {
        Ok(Step::Done(granted)) => granted,
        Ok(Step::NeedKdc(_)) => panic!("it asks for more"),
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn refused<E: Exchange>(exchange: E, reply: &[u8]) -> KdcError {
    exchange.reply(reply, NOW, &mut TestRng::new(2)).err().expect("it is not believed")
}

/// Types of the PA-DATA that are sent.
pub(crate) fn sent<E: Exchange>(exchange: &E) -> Vec<i32> {
    let request = KdcReq::parse(exchange.request().message).unwrap();
    request.padata.iter().map(|element| element.padata_type).collect()
}

/// A ticket-granting ticket, as a KDC whose clock is `clock` microseconds ahead makes it.
pub(crate) fn tgt(clock: i64) -> ServiceTicket {
    let credential = credential(&granting(REALM), clock);
    let now = NOW.shifted(clock);
    TicketOptions::default().usable(&credential, now).unwrap()
}

fn credential(service: &Principal, clock: i64) -> Credential {
    let mint = Mint { service: service.clone(), now: NOW.shifted(clock), ..Mint::default() };
    mint.credential(&mint.ticket())
}

/// The subkey of an AP-REQ made with `ticket`.
pub(crate) fn subkey(ticket: &ServiceTicket, ap_req: &[u8], usage: KeyUsage) -> Key {
    let ap_req = ApReq::parse(ap_req).unwrap();
    let mut plaintext = ap_req.authenticator.cipher.to_vec();
    let opened = ticket.session_key.cipher(usage).open_in_place(&mut plaintext).unwrap();
    Key::new(ETYPE, Authenticator::parse(Reader::new(opened)).unwrap().subkey.unwrap().bytes).unwrap()
}

/// The answer to a TGS-REQ made with `tgt`: a ticket for `service`, by a clock that is `clock` microseconds ahead.
pub(crate) fn granted(tgt: &ServiceTicket, request: &[u8], service: &Principal, clock: i64) -> Vec<u8> {
    let request = KdcReq::parse(request).unwrap();
    let shown = request.padata.find(pa_type::PA_TGS_REQ).unwrap();
    let reply_key = subkey(tgt, shown, KeyUsage::TGS_REQ_AUTHENTICATOR);
    let ticket = credential(service, clock);
    let part = NewEncKdcRepPart {
        key: EncryptionKeyRef { etype: ticket.key_etype, bytes: ticket.key.expose() },
        last_req: &[],
        nonce: request.body.nonce,
        key_expiration: None,
        flags: tgt.flags,
        authtime: ticket.authtime,
        starttime: Some(NOW.shifted(clock)),
        endtime: NOW.shifted(clock).saturating_add(Duration::from_secs(600)),
        renew_till: None,
        service,
        encrypted_pa_data: &[],
    };
    let plaintext = encoded(|out| part.write(KdcReqKind::Tgs, out));
    let mut cipher = Vec::new();
    reply_key.cipher(KeyUsage::TGS_REP_SUBKEY).seal(&mut TestRng::new(3), &plaintext, &mut cipher);
    let enc_part = EncryptedData { etype: ETYPE.wire(), kvno: None, cipher: &cipher };
    let reply = NewKdcRep {
        kind: KdcReqKind::Tgs,
        padata: &[],
        client: &tgt.client,
        encoded_ticket: &ticket.ticket,
        enc_part,
    };
    encoded(|out| reply.write(out))
}
