//! The cookie between SPAKE's steps, and the armor around them: forged, exchanged, old, altered.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::ccache::Credential;
use countersign_proto::crypto::{Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::initiator::ServiceTicket;
use countersign_proto::krb5::kdc_exchange::{AsExchange, Exchange, Login, Step, TicketOptions};
use countersign_proto::krb5::msg::ap_req::{ApOptions, ApReq};
use countersign_proto::krb5::msg::authenticator::{Authenticator, NewAuthenticator};
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::fast::{KrbFastArmor, KrbFastArmoredReq, KrbFastReq};
use countersign_proto::time::Timestamp;
use countersign_realm::{Outcome, Reason};
use countersign_testkit::TestRng;
use std::time::Duration;
use support::wire::{error, find, padata, types, with_padata};
use support::{NOW, PASSWORD, SERVICE, TestRealm, after, password, password_keys, usable};

fn go_on(realm: &TestRealm, exchange: AsExchange, at: Timestamp) -> AsExchange {
    let reply = realm.handle_at(exchange.request().message, at).reply.unwrap();
    match exchange.reply(&reply, at, &mut realm.fresh_rng()) {
        Ok(Step::NeedKdc(next)) => next,
        Ok(Step::Done(_)) => panic!("a ticket already"),
        Err(error) => panic!("{error}"),
    }
}

/// The request that carries SPAKE's response and the cookie.
fn response(realm: &TestRealm, login: Login) -> Vec<u8> {
    let first = realm.begin(login, TicketOptions::default(), NOW);
    let second = go_on(realm, first, NOW);
    go_on(realm, second, NOW).request().message.to_vec()
}

fn outcome(realm: &TestRealm, request: &[u8], at: Timestamp) -> (i32, Outcome) {
    let handled = realm.handle_at(request, at);
    (handled.record.krb_error.unwrap_or(0), handled.record.outcome)
}

const FOREIGN: (i32, Outcome) = (24, Outcome::Refused(Reason::CookieForeign));
const EXPIRED: (i32, Outcome) = (90, Outcome::Refused(Reason::CookieExpired));

fn with_cookie(request: &[u8], cookie: Option<&[u8]>) -> Vec<u8> {
    with_padata(request, |padata| {
        padata.retain(|element| element.0 != 133);
        padata.extend(cookie.map(|cookie| (133, cookie.to_vec())));
    })
}

#[test]
fn a_cookie_that_is_missing_forged_or_altered_is_refused_and_no_guess() {
    let realm = TestRealm::new();
    let request = response(&realm, password("alice", PASSWORD));
    let cookie = find(&padata(&request), 133).unwrap().to_vec();
    assert_eq!(outcome(&realm, &with_cookie(&request, None), NOW), FOREIGN);
    for forged in [&b""[..], b"countersign", &[0; 200], &cookie[1..]] {
        assert_eq!(outcome(&realm, &with_cookie(&request, Some(forged)), NOW), FOREIGN);
    }
    for at in (0..cookie.len()).step_by(7) {
        let mut altered = cookie.clone();
        altered[at] ^= 0x40;
        assert_eq!(outcome(&realm, &with_cookie(&request, Some(&altered)), NOW), FOREIGN, "byte {at}");
    }
    assert_eq!(realm.accounts.written(), (0, 0));
    assert_eq!(outcome(&realm, &request, NOW), (0, Outcome::Granted));
}

#[test]
fn a_cookie_is_of_one_kdc_one_client_and_one_etype() {
    let realm = TestRealm::new();
    let request = response(&realm, password("alice", PASSWORD));
    let service = realm.accounts.account(SERVICE);
    realm.accounts.add(countersign_realm::Account {
        principal: support::named("bob"),
        keys: realm.accounts.account("alice").keys,
        ..service
    });
    let of_bob = response(&realm, password("bob", PASSWORD));
    let cookie = find(&padata(&of_bob), 133).unwrap().to_vec();
    assert_eq!(outcome(&realm, &with_cookie(&request, Some(&cookie)), NOW), FOREIGN);

    let login = realm.begin(
        password("alice", PASSWORD),
        TicketOptions::default().with_enctypes(&[support::ALL[1]]),
        NOW,
    );
    let second = go_on(&realm, login, NOW);
    let of_other_etype = go_on(&realm, second, NOW).request().message.to_vec();
    let cookie = find(&padata(&of_other_etype), 133).unwrap().to_vec();
    assert_eq!(outcome(&realm, &with_cookie(&request, Some(&cookie)), NOW), FOREIGN);

    let other = countersign_realm::Kdc::new(
        realm.kdc.policy().clone(),
        countersign_realm::RealmSecrets::generate(&mut TestRng::new(8)),
    );
    let handled = other.handle(&request, NOW, &mut TestRng::new(9), &realm.accounts);
    assert_eq!(handled.record.outcome, FOREIGN.1);
}

#[test]
fn a_cookie_is_good_for_ten_minutes_and_until_the_password_is_changed() {
    let realm = TestRealm::new();
    let request = response(&realm, password("alice", PASSWORD));
    assert_eq!(outcome(&realm, &request, after(600)), (0, Outcome::Granted));
    assert_eq!(outcome(&realm, &request, after(601)), EXPIRED);
    assert_eq!(outcome(&realm, &request, NOW.saturating_sub(Duration::from_secs(601))), EXPIRED);
    let reply = realm.handle_at(&request, after(601)).reply.unwrap();
    assert_eq!(types(&error(&reply).1), [19, 151, 136, 133], "the client may begin again");
    realm.accounts.change("alice", |alice| alice.keys = password_keys(2, PASSWORD, b"REALM.TESTalice"));
    assert_eq!(outcome(&realm, &request, NOW), EXPIRED);
    assert_eq!(realm.accounts.written(), (0, 0));
}

#[test]
fn a_response_for_another_body_is_a_wrong_password() {
    let realm = TestRealm::new();
    let request = response(&realm, password("alice", PASSWORD));
    let other = response(&realm, password("alice", PASSWORD));
    let body = countersign_proto::krb5::msg::kdc_req::KdcReq::parse(&other).unwrap().encoded_body;
    let exchanged = support::wire::with_padata_and_body(&request, &padata(&request), body);
    assert_eq!(outcome(&realm, &exchanged, NOW), (24, Outcome::Refused(Reason::WrongPassword)));
}

#[test]
fn a_challenge_after_a_challenge_and_nonsense_are_refused() {
    let realm = TestRealm::new();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    let second = go_on(&realm, first, NOW);
    let (_, hints) = error(&realm.handle(second.request().message).reply.unwrap());
    assert_eq!(types(&hints), [151, 133]);
    let challenge = find(&hints, 151).unwrap().to_vec();
    for value in [challenge, b"nonsense".to_vec(), Vec::new()] {
        let request = with_padata(second.request().message, |padata| {
            padata
                .iter_mut()
                .filter(|element| element.0 == 151)
                .for_each(|element| element.1 = value.clone());
        });
        assert_eq!(outcome(&realm, &request, NOW), (24, Outcome::Refused(Reason::Malformed)));
    }
}

/// The first request of an armored login, with another PA-FX-FAST of the same armor.
fn altered_armor(realm: &TestRealm, change: impl Fn(&mut KrbFastArmoredReq<'_>)) -> Vec<u8> {
    let login = password("alice", PASSWORD).with_armor(realm.armor(), 0);
    let exchange = realm.begin(login, TicketOptions::default(), NOW);
    with_padata(exchange.request().message, |padata| {
        let element = padata.iter_mut().find(|element| element.0 == 136).unwrap();
        let value = element.1.clone();
        let mut request = KrbFastArmoredReq::parse(&value).unwrap();
        change(&mut request);
        element.1.clear();
        request.write(&mut Writer::new(&mut element.1));
    })
}

#[test]
fn armor_that_is_not_whole_is_refused() {
    let realm = TestRealm::new();
    let refused =
        |change: &dyn Fn(&mut KrbFastArmoredReq<'_>)| outcome(&realm, &altered_armor(&realm, change), NOW);
    let armor = Outcome::Refused(Reason::Armor);
    assert_eq!(refused(&|_| ()), (25, Outcome::Continued));
    assert_eq!(refused(&|request| request.armor = None), (24, armor));
    assert_eq!(refused(&|request| request.armor.as_mut().unwrap().armor_type = 2), (24, armor));
    assert_eq!(refused(&|request| request.req_checksum.cksumtype = 7), (krb::KRB_AP_ERR_INAPP_CKSUM, armor));
    assert_eq!(refused(&|request| request.req_checksum.bytes = &[0; 12]), (krb::KRB_AP_ERR_MODIFIED, armor));
    assert_eq!(refused(&|request| request.enc_fast_req.etype = 17), (24, armor));
    assert_eq!(refused(&|request| request.enc_fast_req.cipher = &[0; 99]), (krb::KRB_AP_ERR_MODIFIED, armor));
    assert_eq!(
        refused(&|request| request.armor.as_mut().unwrap().armor_value = b"nonsense"),
        (krb::KRB_ERR_GENERIC, Outcome::Refused(Reason::Malformed))
    );
    let login = password("alice", PASSWORD).with_armor(realm.armor(), 0);
    let request = realm.begin(login, TicketOptions::default(), NOW).request().message.to_vec();
    assert_eq!(outcome(&realm, &request, after(301)), (krb::KRB_AP_ERR_SKEW, Outcome::Refused(Reason::Skew)));
    let other = realm.begin(password("carol", "x"), TicketOptions::default(), NOW);
    let body =
        countersign_proto::krb5::msg::kdc_req::KdcReq::parse(other.request().message).unwrap().encoded_body;
    let exchanged = support::wire::with_padata_and_body(&request, &padata(&request), body);
    assert_eq!(outcome(&realm, &exchanged, NOW), (krb::KRB_AP_ERR_MODIFIED, armor));
}

#[test]
fn armor_of_a_ticket_that_is_not_for_the_kdc_or_has_no_subkey_is_refused() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let (service, _) = realm.service(&tgt, SERVICE);
    let with_armor = |armor: ServiceTicket| {
        let login = password("alice", PASSWORD).with_armor(armor, 0);
        realm.begin(login, TicketOptions::default(), NOW).request().message.to_vec()
    };
    let of_service = with_armor(usable(&service.unwrap()));
    assert_eq!(
        outcome(&realm, &of_service, NOW),
        (krb::KRB_AP_ERR_NOT_US, Outcome::Refused(Reason::TgtForeign))
    );

    let bare = ap_req_without_subkey(&tgt);
    let request = with_padata(&with_armor(usable(&tgt)), |padata| {
        let element = padata.iter_mut().find(|element| element.0 == 136).unwrap();
        let value = element.1.clone();
        let request = KrbFastArmoredReq::parse(&value).unwrap();
        element.1.clear();
        let armor = Some(KrbFastArmor { armor_type: 1, armor_value: &bare });
        KrbFastArmoredReq { armor, ..request }.write(&mut Writer::new(&mut element.1));
    });
    assert_eq!(outcome(&realm, &request, NOW), (24, Outcome::Refused(Reason::Armor)));
}

fn ap_req_without_subkey(tgt: &Credential) -> Vec<u8> {
    let key = Key::new(support::ALL[0], tgt.key.expose()).unwrap();
    let none: Option<ChecksumRef<'_>> = None;
    let authenticator = NewAuthenticator {
        client: &tgt.client,
        cksum: none,
        ctime: NOW,
        subkey: None,
        seq_number: None,
        authorization_data: None,
    };
    let mut plaintext = Vec::new();
    authenticator.write(&mut Writer::new(&mut plaintext));
    let mut cipher = Vec::new();
    key.cipher(KeyUsage::AP_REQ_AUTHENTICATOR).seal(&mut TestRng::new(1), &plaintext, &mut cipher);
    let sealed = EncryptedData { etype: key.etype().wire(), kvno: None, cipher: &cipher };
    let mut out = Vec::new();
    ApReq::write(&mut Writer::new(&mut out), ApOptions::default(), &tgt.ticket, &sealed);
    out
}

#[test]
fn what_stands_outside_of_armor_does_not_count() {
    let realm = TestRealm::new();
    let armored = password("alice", PASSWORD).with_armor(realm.armor(), 0);
    let first = realm.begin(armored, TicketOptions::default(), NOW);
    let second = go_on(&realm, first, NOW);
    let spake = with_cookie(second.request().message, Some(b"countersign"));
    assert_eq!(outcome(&realm, &spake, NOW), (91, Outcome::Continued));
    let bare = response(&realm, password("alice", PASSWORD));
    let request = with_padata(second.request().message, |padata| padata.extend(support::wire::padata(&bare)));
    assert_eq!(outcome(&realm, &request, NOW), (91, Outcome::Continued));
}

/// What is in the armor of a request.
fn inside(request: &[u8], armor: &ServiceTicket) -> Vec<support::wire::Element> {
    let padata = padata(request);
    let wrapped = KrbFastArmoredReq::parse(find(&padata, 136).unwrap()).unwrap();
    let ap_req = ApReq::parse(wrapped.armor.unwrap().armor_value).unwrap();
    let mut plaintext = ap_req.authenticator.cipher.to_vec();
    let cipher = armor.session_key.cipher(KeyUsage::AP_REQ_AUTHENTICATOR);
    let authenticator =
        Authenticator::parse(Reader::new(cipher.open_in_place(&mut plaintext).unwrap())).unwrap();
    let subkey = authenticator.subkey.unwrap();
    let subkey = Key::new(armor.session_key.etype(), subkey.bytes).unwrap();
    let key = krb_fx_cf2(&subkey, &armor.session_key, b"subkeyarmor", b"ticketarmor");
    let mut plaintext = wrapped.enc_fast_req.cipher.to_vec();
    let request = key.cipher(KeyUsage::FAST_ENC).open_in_place(&mut plaintext).unwrap();
    support::wire::elements(KrbFastReq::parse(Reader::new(request)).unwrap().padata)
}

#[test]
fn a_cookie_of_an_armored_login_is_of_no_use_without() {
    let realm = TestRealm::new();
    let armor = realm.armor();
    let armored = response(&realm, password("alice", PASSWORD).with_armor(armor.clone(), 0));
    let inner = inside(&armored, &armor);
    let bare = with_padata(&armored, |padata| *padata = inner);
    assert_eq!(outcome(&realm, &bare, NOW), FOREIGN);
    assert_eq!(outcome(&realm, &armored, NOW), (0, Outcome::Granted));
}
