//! First tickets: every etype by every way to prove oneself, with our own client; what the tickets are; what is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::crypto::spake::SpakeGroup;
use countersign_proto::crypto::{Etype, KeyUsage};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::kdc_exchange::{
    Exchange, KdcError, Login, TicketOptions, ticket_granting_service,
};
use countersign_proto::krb5::msg::kdc_rep::KdcRep;
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqKind, NewKdcReqBody, write_kdc_req};
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::pa_data::PaData;
use countersign_proto::krb5::msg::principal::{Principal, name_type};
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use countersign_realm::{Outcome, Preauth, RealmPolicy, Reason};
use std::time::Duration;
use support::wire::{
    elements, encoded, error, etype_info2, find, opened, shape, timestamp, types, with_padata,
};
use support::{ALL, NOW, PASSWORD, REALM, SERVICE, TestRealm, after, keytab, named, password, usable};

fn told(error: &KdcError) -> i32 {
    match error {
        KdcError::Told { told, .. } => told.error_code,
        other => panic!("{other}"),
    }
}

fn refused<T>(result: (Result<T, KdcError>, countersign_realm::KdcRecord)) -> (i32, Reason) {
    let Outcome::Refused(reason) = result.1.outcome else { panic!("{:?}", result.1) };
    let error = result.0.err().expect("a refusal");
    assert_eq!(result.1.krb_error, Some(told(&error)));
    (told(&error), reason)
}

fn spake(group: SpakeGroup) -> TicketOptions {
    TicketOptions { spake_groups: vec![group], ..TicketOptions::default() }
}

fn without_spake() -> TicketOptions {
    TicketOptions { spake_groups: Vec::new(), ..TicketOptions::default() }
}

#[test]
fn every_etype_gets_a_ticket_by_every_way_to_prove_oneself() {
    let realm = TestRealm::lenient();
    let armor = realm.armor();
    let alice = || password("alice", PASSWORD);
    let armored = || alice().with_armor(armor.clone(), 0);
    for etype in ALL {
        let ways = [
            (alice(), spake(SpakeGroup::Edwards25519), Preauth::Spake, false),
            (alice(), spake(SpakeGroup::P256), Preauth::Spake, false),
            (armored(), spake(SpakeGroup::Edwards25519), Preauth::Spake, true),
            (armored(), without_spake(), Preauth::EncryptedChallenge, true),
            (alice(), without_spake(), Preauth::EncryptedTimestamp, false),
        ];
        for (login, options, preauth, in_armor) in ways {
            // Our client takes the strongest that the KDC offers, so a realm without SPAKE stands for a client without.
            let kdc =
                if options.spake_groups.is_empty() { realm_without_spake() } else { TestRealm::lenient() };
            let (granted, record) = kdc.login(login, options.with_enctypes(&[etype]));
            let granted = granted.map_err(|error| format!("{etype} {preauth}: {error}")).unwrap();
            assert_eq!((record.outcome, record.preauth), (Outcome::Granted, Some(preauth)));
            assert_eq!((record.armored, record.krb_error), (in_armor, None));
            assert_eq!((record.reply_etype, record.session_etype), (Some(etype), Some(etype)));
            assert_eq!(record.ticket_etype, Some(Etype::Aes256CtsHmacSha1_96));
            assert_eq!(record.client, Some(named("alice")));
            assert_eq!(record.service, Some(ticket_granting_service(REALM.as_bytes(), REALM.as_bytes())));
            assert_eq!(record.endtime, Some(granted.credential.endtime));
            assert!(granted.fast_available, "the reply says that the KDC speaks FAST");
            let (tgs, _) = kdc.service_at(
                &granted.credential,
                SERVICE,
                TicketOptions::default().with_enctypes(&[etype]),
                NOW,
            );
            assert_eq!(tgs.unwrap().key_etype, etype.wire());
        }
    }
}

fn realm_without_spake() -> TestRealm {
    TestRealm::with(RealmPolicy {
        allow_encrypted_timestamp: true,
        spake_groups: Vec::new(),
        ..RealmPolicy::new(REALM)
    })
}

#[test]
fn a_service_logs_in_with_its_keytab() {
    let realm = TestRealm::new();
    let keys = realm.accounts.account(SERVICE).keys;
    for etype in ALL {
        let options = TicketOptions::default().with_enctypes(&[etype]);
        let login = Login::with_keytab(named(SERVICE), &keytab(SERVICE, &keys), &options).unwrap();
        let (granted, _) = realm.login(login, options);
        assert_eq!(granted.map_err(|error| error.to_string()).unwrap().credential.client, named(SERVICE));
    }
}

#[test]
fn a_wrong_password_is_refused_in_every_way() {
    let wrong = || password("alice", "Wrong.789");
    for (login, options) in [
        (wrong(), spake(SpakeGroup::Edwards25519)),
        (wrong(), spake(SpakeGroup::P256)),
        (wrong().with_armor(TestRealm::new().armor(), 0), spake(SpakeGroup::P256)),
    ] {
        let result = TestRealm::new().login(login, options);
        assert_eq!(refused(result), (krb::KDC_ERR_PREAUTH_FAILED, Reason::WrongPassword));
    }
    let realm = realm_without_spake();
    let armor = realm_without_spake_armor(&realm);
    for login in [wrong(), wrong().with_armor(armor, 0)] {
        assert_eq!(refused(realm.login(login, without_spake())), (24, Reason::WrongPassword));
    }
}

fn realm_without_spake_armor(realm: &TestRealm) -> countersign_proto::krb5::initiator::ServiceTicket {
    let keys = realm.accounts.account(SERVICE).keys;
    let options = without_spake();
    let login = Login::with_keytab(named(SERVICE), &keytab(SERVICE, &keys), &options).unwrap();
    usable(&realm.login(login, options).0.map_err(|error| error.to_string()).unwrap().credential)
}

#[test]
fn the_first_answer_offers_spake_and_fast_and_no_timestamp() {
    let realm = TestRealm::new();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    let handled = realm.handle(first.request().message);
    assert_eq!(handled.record.outcome, Outcome::Continued);
    assert_eq!((handled.record.krb_error, handled.record.preauth), (Some(25), None));
    let (code, hints) = error(&handled.reply.unwrap());
    assert_eq!(code, krb::KDC_ERR_PREAUTH_REQUIRED);
    assert_eq!(types(&hints), [19, 151, 136, 133]);
    assert_eq!(etype_info2(&hints), (18, b"REALM.TESTalice".to_vec()));
    let lenient = TestRealm::lenient();
    let (_, hints) = error(&lenient.handle(first.request().message).reply.unwrap());
    assert_eq!(types(&hints), [19, 151, 2, 136, 133]);
    assert_eq!(find(&hints, 136), Some(&[][..]));
}

#[test]
fn an_encrypted_timestamp_is_refused_where_the_realm_does_not_allow_it_and_counts_for_nothing() {
    let realm = TestRealm::new();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    let key = realm.accounts.account("alice").newest_key(ALL[0]).unwrap().key.clone();
    let request = with_padata(first.request().message, |padata| {
        padata.push((2, timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, NOW)));
    });
    let handled = realm.handle(&request);
    assert_eq!(handled.record.outcome, Outcome::Refused(Reason::TimestampNotAllowed));
    let (code, hints) = error(&handled.reply.unwrap());
    assert_eq!((code, types(&hints)), (krb::KDC_ERR_PREAUTH_FAILED, vec![19, 151, 136, 133]));
    assert_eq!(realm.accounts.written(), (0, 0));
    let lenient = TestRealm::lenient().handle(&request);
    assert_eq!(lenient.record.outcome, Outcome::Granted);
}

#[test]
fn a_timestamp_is_under_the_key_that_its_etype_says() {
    let realm = TestRealm::lenient();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    for etype in ALL {
        let key = realm.accounts.account("alice").newest_key(etype).unwrap().key.clone();
        let value = timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, NOW);
        let handled = realm.handle(&with_padata(first.request().message, |padata| padata.push((2, value))));
        assert_eq!(handled.record.outcome, Outcome::Granted);
        assert_eq!(KdcRep::parse(&handled.reply.unwrap()).unwrap().enc_part.etype, etype.wire());
    }
}

#[test]
fn a_clock_that_is_off_is_told_with_the_kdcs_time() {
    let realm = realm_without_spake();
    let key = realm.accounts.account("alice").newest_key(ALL[0]).unwrap().key.clone();
    let first = realm.begin(password("alice", PASSWORD), without_spake(), NOW);
    let at = |time| {
        let value = timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, time);
        realm.handle(&with_padata(first.request().message, |padata| padata.push((2, value))))
    };
    for time in [after(301), NOW.saturating_sub(Duration::from_secs(301))] {
        let handled = at(time);
        assert_eq!(handled.record.outcome, Outcome::Refused(Reason::Skew));
        let reply = handled.reply.unwrap();
        let error = KrbError::parse(&reply).unwrap();
        assert_eq!((error.error_code, error.stime), (krb::KRB_AP_ERR_SKEW, NOW));
    }
    for time in [after(300), NOW.saturating_sub(Duration::from_secs(300))] {
        assert_eq!(at(time).record.outcome, Outcome::Granted);
    }
    // Our client learns the time from the first answer.
    let exchange = realm.begin(password("alice", PASSWORD), without_spake(), after(3_000));
    let (mut exchange, mut client_time) = (exchange, after(3_000));
    for _ in 0..3 {
        let reply = realm.handle(exchange.request().message).reply.unwrap();
        client_time = client_time.saturating_add(Duration::from_secs(1));
        match exchange.reply(&reply, client_time, &mut realm.fresh_rng()) {
            Ok(countersign_proto::krb5::kdc_exchange::Step::NeedKdc(next)) => exchange = next,
            Ok(countersign_proto::krb5::kdc_exchange::Step::Done(granted)) => {
                assert!(granted.kdc_offset.is_some_and(|offset| offset < -2_999_000_000));
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no ticket");
}

#[test]
fn a_ticket_is_what_was_asked_for_within_what_is_allowed() {
    let realm = TestRealm::new();
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let options = TicketOptions {
        lifetime: hours(3),
        renewable: Some(hours(48)),
        forwardable: true,
        proxiable: true,
        ..TicketOptions::default()
    };
    let credential = realm.tgt(options.clone());
    let start = Timestamp::new(NOW.seconds(), 0);
    let at = |after| start.saturating_add(after);
    assert_eq!((credential.authtime, credential.starttime), (start, start));
    assert_eq!((credential.endtime, credential.renew_till), (at(hours(3)), at(hours(48))));
    let flags = TicketFlags(credential.flags);
    let set = TicketFlags(
        TicketFlags::FORWARDABLE.0
            | TicketFlags::RENEWABLE.0
            | TicketFlags::INITIAL.0
            | TicketFlags::PRE_AUTHENT.0
            | TicketFlags::TRANSITED_POLICY_CHECKED.0
            | TicketFlags::ENC_PA_REP.0,
    );
    assert_eq!(flags, set, "and it is not proxiable");
    let granting = realm.accounts.account(&format!("krbtgt/{REALM}"));
    opened(&credential.ticket, &granting.newest_key(ALL[0]).unwrap().key, |ticket, part| {
        assert_eq!(ticket.enc_part.kvno, Some(1));
        assert_eq!(
            (part.flags, part.endtime, part.renew_till),
            (flags, credential.endtime, Some(credential.renew_till))
        );
        assert_eq!(part.cname.to_principal(part.crealm), named("alice"));
        assert_eq!((part.transited_type, part.transited), (1, &[][..]));
        assert!(part.caddr.is_none() && part.authorization_data.is_none());
        assert_eq!(part.key.bytes, credential.key.expose());
    });

    let longest =
        realm.tgt(TicketOptions { lifetime: hours(100), renewable: Some(hours(1_000)), ..options.clone() });
    assert_eq!((longest.endtime, longest.renew_till), (at(hours(10)), at(hours(24 * 7))));
    realm.accounts.change("alice", |alice| {
        alice.forwardable = false;
        alice.max_life = Some(hours(2));
        alice.max_renewable_life = Some(hours(1));
    });
    let credential = realm.tgt(options.clone());
    assert_eq!((credential.endtime, credential.renew_till), (at(hours(2)), Timestamp::default()));
    assert!(!TicketFlags(credential.flags).contains(TicketFlags::FORWARDABLE));
    realm.accounts.change("alice", |alice| {
        alice.expires = Some(after(600));
        alice.max_renewable_life = None;
    });
    let credential = realm.tgt(options);
    assert_eq!(
        (credential.endtime, credential.renew_till),
        (at(Duration::from_secs(600)), Timestamp::default())
    );
}

#[test]
fn renewable_ok_makes_up_for_a_life_that_is_too_short() {
    let realm = TestRealm::new();
    // Our client asks with RENEWABLE-OK if it does not ask for a renewable ticket.
    let options = |hours: u64| TicketOptions {
        lifetime: Duration::from_secs(hours * 3_600),
        ..TicketOptions::default()
    };
    let credential = realm.tgt(options(24));
    assert!(TicketFlags(credential.flags).contains(TicketFlags::RENEWABLE));
    assert_eq!(credential.renew_till, Timestamp::new(NOW.seconds() + 24 * 3_600, 0));
    assert!(!TicketFlags(realm.tgt(options(9)).flags).contains(TicketFlags::RENEWABLE));
}

/// An AS-REQ whose body is put together here.
fn request(change: impl FnOnce(&mut NewKdcReqBody<'_>)) -> Vec<u8> {
    request_for(&ticket_granting_service(REALM.as_bytes(), REALM.as_bytes()), change)
}

fn request_for(service: &Principal, change: impl FnOnce(&mut NewKdcReqBody<'_>)) -> Vec<u8> {
    let client = named("alice");
    let mut body = NewKdcReqBody {
        kdc_options: KdcOptions::default(),
        cname: Some(&client),
        realm: REALM.as_bytes(),
        sname: Some(service),
        till: Timestamp::default(),
        rtime: None,
        nonce: 7,
        etypes: &ALL,
        additional_tickets: &[],
    };
    change(&mut body);
    let mut out = Vec::new();
    let none: [PaData<'_>; 0] = [];
    write_kdc_req(KdcReqKind::As, &none, &encoded(&body), &mut countersign_proto::der::Writer::new(&mut out));
    out
}

fn with_alices_timestamp(realm: &TestRealm, request: &[u8]) -> Vec<u8> {
    let key = realm.accounts.account("alice").newest_key(ALL[0]).unwrap().key.clone();
    with_padata(request, |padata| padata.push((2, timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, NOW))))
}

#[test]
fn a_till_of_1970_is_as_long_as_may_be_and_one_in_the_past_is_never() {
    let realm = TestRealm::lenient();
    let until = |till| {
        let request = with_alices_timestamp(&realm, &request(|body| body.till = till));
        let record = realm.handle(&request).record;
        (record.outcome, record.endtime)
    };
    let ten_hours = Timestamp::new(NOW.seconds() + 36_000, 0);
    assert_eq!(until(Timestamp::default()), (Outcome::Granted, Some(ten_hours)));
    for past in [NOW, NOW.saturating_sub(Duration::from_secs(5)), Timestamp::new(1, 0)] {
        assert_eq!(until(past), (Outcome::Refused(Reason::NeverValid), None));
    }
    assert_eq!(until(after(1)), (Outcome::Granted, Some(Timestamp::new(NOW.seconds() + 1, 0))));
}

#[test]
fn options_that_are_not_given_are_refused_before_any_proof() {
    let realm = TestRealm::new();
    for (options, code) in [
        (KdcOptions::POSTDATED, 10),
        (KdcOptions::PROXY, 13),
        (KdcOptions::VALIDATE, 13),
        (KdcOptions::RENEW, 13),
        (KdcOptions::FORWARDED, 13),
        (KdcOptions::ENC_TKT_IN_SKEY, 13),
        (KdcOptions::CNAME_IN_ADDL_TKT, 13),
        (KdcOptions::REQUEST_ANONYMOUS, 13),
    ] {
        let handled = realm.handle(&request(|body| body.kdc_options = options));
        assert_eq!(error(&handled.reply.unwrap()), (code, vec![]), "{options:?}");
    }
}

#[test]
fn names_that_are_not_of_this_realm_are_refused() {
    let realm = TestRealm::new();
    let refused = |request: Vec<u8>| {
        let reply = realm.handle(&request).reply.unwrap();
        let error = KrbError::parse(&reply).unwrap();
        (error.error_code, error.crealm.map(<[u8]>::to_vec))
    };
    let other = ticket_granting_service(b"OTHER.TEST", b"OTHER.TEST");
    let elsewhere = request_for(&other, |body| body.realm = b"OTHER.TEST");
    assert_eq!(refused(elsewhere), (68, None));
    let lower = request(|body| body.realm = b"realm.test");
    assert_eq!(refused(lower), (68, Some(REALM.as_bytes().to_vec())));
    let alices = Some(REALM.as_bytes().to_vec());
    assert_eq!(refused(request(|body| body.cname = None)), (6, None));
    assert_eq!(refused(request(|body| body.sname = None)), (7, alices.clone()));
    assert_eq!(refused(request_for(&named(SERVICE), |_| ())), (12, alices.clone()));
    let foreign = ticket_granting_service(b"OTHER.TEST", REALM.as_bytes());
    assert_eq!(refused(request_for(&foreign, |_| ())), (7, alices.clone()));
    assert_eq!(refused(request(|body| body.etypes = &[Etype::ArcfourHmac])), (14, alices));
}

#[test]
fn a_realm_in_other_letters_leads_our_client_to_the_right_one() {
    let realm = TestRealm::new();
    let client = Principal { realm: b"realm.test".to_vec(), ..named("alice") };
    let login = Login::with_password(client, Secret::from(PASSWORD.as_bytes())).unwrap();
    let (granted, _) = realm.login(login, TicketOptions { canonicalize: true, ..TicketOptions::default() });
    assert_eq!(granted.map_err(|error| error.to_string()).unwrap().credential.client, named("alice"));
}

#[test]
fn an_alias_is_a_client_only_if_the_canonical_name_is_asked_for() {
    let realm = TestRealm::new();
    let login = || password("al", PASSWORD);
    assert_eq!(
        refused(realm.login(login(), TicketOptions::default())),
        (krb::KDC_ERR_PREAUTH_FAILED, Reason::AliasNotCanonicalized)
    );
    let (granted, _) = realm.login(login(), TicketOptions { canonicalize: true, ..TicketOptions::default() });
    assert_eq!(granted.map_err(|error| error.to_string()).unwrap().credential.client, named("alice"));
}

#[test]
fn an_enterprise_name_is_canonicalized() {
    let realm = TestRealm::new();
    for name in ["alice@REALM.TEST", "alice@realm.test", "alice", "al@REALM.TEST"] {
        let client = Principal { name_type: name_type::KRB_NT_ENTERPRISE, ..Principal::new(REALM, &[name]) };
        let login = Login::with_password(client, Secret::from(PASSWORD.as_bytes())).unwrap();
        let (granted, _) = realm.login(login, TicketOptions::default());
        let credential = granted.map_err(|error| format!("{name}: {error}")).unwrap().credential;
        assert_eq!(credential.client, named("alice"));
    }
}

#[test]
fn what_became_of_an_account_is_told_only_to_who_knows_the_password() {
    for (code, reason) in [(18, Reason::Disabled), (1, Reason::Expired), (23, Reason::PasswordExpired)] {
        let realm = TestRealm::new();
        realm.accounts.change("alice", |alice| match code {
            18 => alice.disabled = true,
            1 => alice.expires = Some(NOW),
            _ => alice.password_expires = Some(NOW),
        });
        let wrong = realm.login(password("alice", "Wrong.789"), TicketOptions::default());
        assert_eq!(refused(wrong), (24, Reason::WrongPassword));
        let right = realm.login(password("alice", PASSWORD), TicketOptions::default());
        assert_eq!(refused(right), (code, reason));
    }
}

#[test]
fn the_end_of_the_password_is_told() {
    let realm = TestRealm::new();
    let (granted, _) = realm.login(password("alice", PASSWORD), TicketOptions::default());
    assert_eq!(granted.map_err(|error| error.to_string()).unwrap().password_expires, None);
    realm.accounts.change("alice", |alice| alice.password_expires = Some(after(86_400)));
    let (granted, _) = realm.login(password("alice", PASSWORD), TicketOptions::default());
    let told = granted.map_err(|error| error.to_string()).unwrap().password_expires;
    assert_eq!(told, Some(Timestamp::new(NOW.seconds() + 86_400, 0)));
}

#[test]
fn the_ticket_granting_service_is_no_client() {
    let realm = TestRealm::new();
    let name = format!("krbtgt/{REALM}");
    let keys = realm.accounts.account(&name).keys;
    let options = TicketOptions::default();
    let login = Login::with_keytab(named(&name), &keytab(&name, &keys), &options).unwrap();
    assert_eq!(refused(realm.login(login, options)), (24, Reason::ClientGrantsTickets));
}

#[test]
fn a_group_that_the_realm_does_not_take_is_refused() {
    let realm =
        TestRealm::with(RealmPolicy { spake_groups: vec![SpakeGroup::P256], ..RealmPolicy::new(REALM) });
    let (granted, record) = realm.login(password("alice", PASSWORD), spake(SpakeGroup::Edwards25519));
    assert!(granted.is_err());
    assert_eq!(record.outcome, Outcome::Refused(Reason::SpakeGroups));
    assert!(realm.login(password("alice", PASSWORD), spake(SpakeGroup::P256)).0.is_ok());
    let both = vec![SpakeGroup::Edwards25519, SpakeGroup::P256];
    let options = TicketOptions { spake_groups: both, ..TicketOptions::default() };
    assert!(realm.login(password("alice", PASSWORD), options).0.is_ok());
}

#[test]
fn rc4_is_passed_over_even_if_it_is_permitted() {
    let permitted_enctypes = vec![Etype::ArcfourHmac, ALL[0]];
    let realm = TestRealm::with(RealmPolicy { permitted_enctypes, ..RealmPolicy::new(REALM) });
    let handled = realm.handle(&request(|body| body.etypes = &[Etype::ArcfourHmac]));
    assert_eq!(handled.record.krb_error, Some(krb::KDC_ERR_ETYPE_NOSUPP));
    assert_eq!(realm.tgt(TicketOptions::default()).key_etype, 18);
}

#[test]
fn a_store_that_is_out_of_order_is_told_as_such_and_its_words_are_kept_at_home() {
    let realm = TestRealm::new();
    let trouble = countersign_proto::error::Refusal::new(
        countersign_proto::error::code::KDC_UNAVAILABLE,
        "a store of a test",
        "nothing",
    );
    realm.accounts.break_down(Some(trouble.clone().into()));
    let handled = realm.handle(&request(|_| ()));
    assert_eq!(handled.record.outcome, Outcome::Refused(Reason::Store));
    assert_eq!(handled.record.trouble, Some(trouble));
    assert_eq!(error(&handled.reply.unwrap()), (krb::KDC_ERR_SVC_UNAVAILABLE, vec![]));
}

#[test]
fn a_reply_of_any_account_has_the_same_hints_beside_the_ticket() {
    let realm = TestRealm::lenient();
    let request = with_alices_timestamp(&realm, &request(|_| ()));
    let reply = realm.handle(&request).reply.unwrap();
    let padata = elements(KdcRep::parse(&reply).unwrap().padata);
    assert_eq!(shape(&padata).len(), 1);
    assert_eq!(etype_info2(&padata), (18, b"REALM.TESTalice".to_vec()));
}
