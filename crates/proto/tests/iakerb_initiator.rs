//! An initiator that logs in through a service which is not yet known, and may be anybody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::der::Writer;
use countersign_proto::error::{Code, Explain, code, code::krb};
use countersign_proto::gss::framing::{self, Mech, TokenId};
use countersign_proto::iakerb::initiator::{Carried, IakerbLogin, Relaying, RelayingError};
use countersign_proto::iakerb::{IakerbError, ProxyMessage};
use countersign_proto::krb5::kdc_exchange::{Login, TicketOptions};
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_testkit::TestRng;
use countersign_testkit::mint::NOW;
use std::sync::Arc;

const REALM: &str = "EXAMPLE.TEST";

/// alice, who has sent her first message.
fn relaying(realm: &str, allow_encrypted_timestamp: bool) -> Relaying {
    let (alice, password) = (Principal::new(realm, &["alice"]), Secret::from(b"secret".as_slice()));
    let login = Login::without_realm(alice, password);
    let options = Arc::new(TicketOptions::default());
    let login = IakerbLogin { login, options, allow_encrypted_timestamp };
    let service = Principal::new("", &["echo", "a.example.test"]);
    Relaying::begin(login, service, NOW, &mut TestRng::new(1), &mut Vec::new()).unwrap()
}

fn answered(relaying: Relaying, token: &[u8]) -> Result<Carried, Code> {
    relaying.token(token, NOW, &mut TestRng::new(2), &mut Vec::new()).map_err(|error| match error {
        RelayingError::Framing(error) => error.code(),
        RelayingError::Iakerb(error) => error.code(),
    })
}

fn refused(relaying: Relaying, token: &[u8]) -> Code {
    answered(relaying, token).map(|_| ()).unwrap_err()
}

fn encoded(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn proxied(message: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    ProxyMessage { target_realm: REALM, cookie: None, message }.write(&mut token);
    token
}

fn krb_error(error_code: i32, e_data: Option<&[u8]>) -> Vec<u8> {
    let service = Principal::new(REALM, &["krbtgt", REALM]);
    let error = NewKrbError { stime: NOW, error_code, client: None, service: &service, e_data };
    proxied(&encoded(|out| error.write(out)))
}

/// A KDC's demand for an encrypted timestamp under a key of so many iterations.
fn demand(iterations: u32) -> Vec<u8> {
    let s2kparams = iterations.to_be_bytes();
    let entry = EtypeInfo2Entry { etype: 18, salt: None, s2kparams: Some(&s2kparams) };
    let info = encoded(|out| EtypeInfo2Entry::write_list(out, &[entry]));
    let methods = [
        PaData { padata_type: pa_type::PA_ETYPE_INFO2, padata_value: &info },
        PaData { padata_type: pa_type::PA_ENC_TIMESTAMP, padata_value: &[] },
    ];
    let methods = encoded(|out| MethodData::write_list(out, &methods));
    krb_error(krb::KDC_ERR_PREAUTH_REQUIRED, Some(&methods))
}

#[test]
fn an_encrypted_timestamp_is_sent_only_where_that_is_allowed_whatever_the_options_say() {
    assert!(TicketOptions::default().encrypted_timestamp);
    assert_eq!(refused(relaying(REALM, false), &demand(4_096)), code::PREAUTH_UNSUPPORTED);
    assert!(matches!(answered(relaying(REALM, true), &demand(4_096)), Ok(Carried::Relaying(_))));
}

#[test]
fn more_work_than_a_second_is_not_done_for_whoever_asks() {
    assert_eq!(refused(relaying(REALM, true), &demand((1 << 20) + 1)), code::PASSWORD_UNUSABLE);
    assert_eq!(refused(relaying(REALM, true), &demand(0x00FF_FFFF)), code::PASSWORD_UNUSABLE);
}

#[test]
fn the_services_word_that_it_carries_nothing_ends_the_login() {
    for error_code in [krb::KRB_AP_ERR_IAKERB_KDC_NOT_FOUND, krb::KRB_AP_ERR_IAKERB_KDC_NO_RESPONSE] {
        assert_eq!(refused(relaying(REALM, false), &krb_error(error_code, None)), code::IAKERB_RELAY_FAILED);
    }
}

#[test]
fn what_is_no_proxy_message_ends_the_login() {
    for token_id in [TokenId::ApReq, TokenId::ApRep, TokenId::KrbError] {
        let mut token = Vec::new();
        framing::wrap_as(Mech::Iakerb, token_id, &mut token, |body| body.encoded(&[0x30, 0]));
        assert_eq!(refused(relaying(REALM, false), &token), code::TOKEN_UNEXPECTED);
    }
    let mut of_kerberos = Vec::new();
    framing::wrap_as(Mech::Krb5, TokenId::IakerbProxy, &mut of_kerberos, |body| body.encoded(&[0x30, 0]));
    assert_eq!(refused(relaying(REALM, false), &of_kerberos), code::TOKEN_UNEXPECTED);
    assert_eq!(refused(relaying(REALM, false), b"HTTP/1.1 400"), code::TOKEN_UNRECOGNISED);
    assert_eq!(refused(relaying(REALM, false), &proxied(b"")), code::KDC_REPLY_MALFORMED);
}

#[test]
fn a_service_without_a_realm_has_none_to_tell() {
    let mut nothing = Vec::new();
    ProxyMessage { target_realm: "", cookie: None, message: &[] }.write(&mut nothing);
    assert_eq!(refused(relaying("", false), &nothing), code::TOKEN_UNEXPECTED);
    assert!(matches!(answered(relaying("", false), &proxied(b"")), Ok(Carried::Relaying(_))));
}

#[test]
fn a_header_that_is_too_long_is_refused() {
    let cookie = vec![7; 4_097];
    let mut token = Vec::new();
    ProxyMessage { target_realm: REALM, cookie: Some(&cookie), message: &[1] }.write(&mut token);
    assert_eq!(refused(relaying(REALM, false), &token), code::IAKERB_MALFORMED);
    let header = encoded(|out| {
        out.sequence(|header| {
            header.field(1, |field| field.primitive(0x0C, REALM.as_bytes()));
            header.field(3, |field| field.octets(&[0; 8_192]));
        });
    });
    assert!(matches!(ProxyMessage::parse(&header), Err(IakerbError::Malformed(_))));
}
