//! Tickets for a ticket-granting ticket: services, renewal, forwarding, user-to-user, FAST; and what is refused.
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
use countersign_proto::crypto::{Etype, Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::kdc_exchange::{KdcError, TicketOptions, ticket_granting_service};
use countersign_proto::krb5::msg::authorization_data::{Element, ad_type, if_relevant};
use countersign_proto::krb5::msg::fast::{KrbFastArmoredRep, KrbFastResponse};
use countersign_proto::krb5::msg::kdc_rep::KdcRep;
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqKind, write_kdc_req};
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::time::Timestamp;
use countersign_realm::{Outcome, Reason};
use countersign_testkit::TestRng;
use std::time::Duration;
use support::tgs::{Request, part, refused, session_key};
use support::wire::{error, opened};
use support::{ALL, NOW, REALM, SECOND_SERVICE, SERVICE, TestRealm, after, named, random_keys};

fn forwardable() -> TicketOptions {
    TicketOptions {
        forwardable: true,
        renewable: Some(Duration::from_secs(86_400)),
        ..TicketOptions::default()
    }
}

#[test]
fn a_service_has_its_ticket_under_its_newest_key_of_the_preferred_etype() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    realm.accounts.change(SERVICE, |service| {
        service.keys = [random_keys(4, 500), random_keys(3, 101)].concat();
    });
    for etype in ALL {
        let options = TicketOptions { default_tgs_enctypes: vec![etype], ..TicketOptions::default() };
        let (credential, record) = realm.service_at(&tgt, SERVICE, options, NOW);
        let credential = credential.unwrap();
        assert_eq!(credential.key_etype, etype.wire());
        assert_eq!((record.ticket_etype, record.session_etype), (Some(ALL[0]), Some(etype)));
        assert_eq!((record.client, record.outcome), (Some(named("alice")), Outcome::Granted));
        opened(&credential.ticket, &random_keys(4, 500)[0].key, |ticket, part| {
            assert_eq!(ticket.enc_part.kvno, Some(4));
            assert_eq!(part.cname.to_principal(part.crealm), named("alice"));
            assert_eq!((part.authtime, part.endtime), (tgt.authtime, tgt.endtime));
            let flags = TicketFlags(TicketFlags::PRE_AUTHENT.0 | TicketFlags::TRANSITED_POLICY_CHECKED.0);
            assert_eq!(part.flags, flags);
        });
    }
}

#[test]
fn a_session_key_has_an_etype_that_the_service_has_a_key_of() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    for etype in ALL {
        realm.accounts.change(SERVICE, |service| service.keys = random_keys(9, 3));
        realm.accounts.change(SERVICE, |service| service.keys.retain(|key| key.key.etype() == etype));
        let (credential, record) = realm.service(&tgt, SERVICE);
        assert_eq!(credential.unwrap().key_etype, etype.wire());
        assert_eq!(record.ticket_etype, Some(etype));
        let other = ALL.into_iter().find(|other| *other != etype).unwrap();
        let request = Request { etypes: &[other], ..Request::new(&tgt, SERVICE) };
        assert_eq!(request.refused(&realm), (krb::KDC_ERR_ETYPE_NOSUPP, Reason::Etypes));
    }
}

#[test]
fn an_alias_of_a_service_gets_a_ticket_in_its_own_name_under_the_services_key() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let alias = "HTTP/alias.example.test";
    for options in [KdcOptions::default(), KdcOptions::CANONICALIZE] {
        let request = Request { options, ..Request::new(&tgt, alias) };
        let reply = realm.handle(&request.message()).reply.unwrap();
        let rep = KdcRep::parse(&reply).unwrap();
        assert_eq!(rep.ticket.sname.to_principal(rep.ticket.realm), named(alias));
        opened(rep.encoded_ticket, &random_keys(3, 101)[0].key, |_, part| {
            assert_eq!(part.cname.to_principal(part.crealm), named("alice"));
        });
    }
    realm.service(&tgt, alias).0.unwrap();
}

#[test]
fn no_ticket_is_under_a_key_that_comes_from_a_password_and_users_are_as_unknown_as_strangers() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let of_user = realm.handle(&Request::new(&tgt, "alice").message());
    let of_nobody = realm.handle(&Request::new(&tgt, "carol").message());
    assert_eq!(of_user.record.outcome, Outcome::Refused(Reason::ServiceHasPassword));
    assert_eq!(of_nobody.record.outcome, Outcome::Refused(Reason::ServiceUnknown));
    let [of_user, of_nobody] = [of_user, of_nobody].map(|handled| handled.reply.unwrap());
    assert_eq!(error(&of_user), (krb::KDC_ERR_S_PRINCIPAL_UNKNOWN, vec![]));
    assert_eq!((error(&of_nobody), of_nobody.len()), (error(&of_user), of_user.len()));
}

#[test]
fn services_that_are_not_here_are_unknown() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let unknown = (krb::KDC_ERR_S_PRINCIPAL_UNKNOWN, Reason::ServiceUnknown);
    assert_eq!(Request::new(&tgt, "krbtgt/OTHER.TEST").refused(&realm), unknown);
    assert_eq!(Request { realm: b"OTHER.TEST", ..Request::new(&tgt, SERVICE) }.refused(&realm), unknown);
    realm.accounts.change(SERVICE, |service| service.expires = Some(NOW));
    assert_eq!(Request::new(&tgt, SERVICE).refused(&realm), (krb::KDC_ERR_SERVICE_EXP, Reason::ServiceGone));
    realm.accounts.change(SERVICE, |service| service.disabled = true);
    assert_eq!(Request::new(&tgt, SERVICE).refused(&realm), (19, Reason::ServiceGone));
}

#[test]
fn a_ticket_granting_ticket_is_worth_as_much_as_its_clients_account() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    realm.accounts.change("alice", |alice| alice.disabled = true);
    assert_eq!(
        Request::new(&tgt, SERVICE).refused(&realm),
        (krb::KDC_ERR_CLIENT_REVOKED, Reason::ClientGone)
    );
    realm.accounts.change("alice", |alice| {
        alice.disabled = false;
        alice.expires = Some(NOW);
    });
    assert_eq!(Request::new(&tgt, SERVICE).refused(&realm), (krb::KDC_ERR_NAME_EXP, Reason::ClientGone));
    realm.accounts.remove("alice");
    let gone = (krb::KDC_ERR_C_PRINCIPAL_UNKNOWN, Reason::ClientGone);
    assert_eq!(Request::new(&tgt, SERVICE).refused(&realm), gone);
    realm.accounts.alias("alice", SECOND_SERVICE);
    assert_eq!(Request::new(&tgt, SERVICE).refused(&realm), gone, "an alias is not its old owner");
}

#[test]
fn the_ticket_and_the_authenticator_must_be_good() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let with = |change: &dyn Fn(&mut Request<'_>)| {
        let mut request = Request::new(&tgt, SERVICE);
        change(&mut request);
        request.refused(&realm)
    };
    let skew = (krb::KRB_AP_ERR_SKEW, Reason::Skew);
    assert_eq!(with(&|request| request.ctime = after(301)), skew);
    assert_eq!(with(&|request| request.ctime = NOW.saturating_sub(Duration::from_secs(301))), skew);
    let mismatch = (krb::KRB_AP_ERR_BADMATCH, Reason::Authenticator);
    assert_eq!(with(&|request| request.client = named("bob")), mismatch);
    let unkeyed = (krb::KRB_AP_ERR_INAPP_CKSUM, Reason::Modified);
    assert_eq!(with(&|request| request.cksumtype = Some(7)), unkeyed);
    assert_eq!(with(&|request| request.cksumtype = None), unkeyed);
    let rc4 = Key::generate(Etype::ArcfourHmac, &mut TestRng::new(1));
    assert_eq!(with(&|request| request.subkey = Some(rc4.clone())), (14, Reason::Etypes));

    let request = Request::new(&tgt, SERVICE);
    let other = Request { till: after(60), ..Request::new(&tgt, SERVICE) };
    let exchanged = request.around(&other.body(), &request.ap_req(&request.body()), &[]);
    assert_eq!(refused(&realm, &exchanged, NOW), (krb::KRB_AP_ERR_MODIFIED, Reason::Modified));

    let late = tgt.endtime.saturating_add(Duration::from_secs(1));
    let request = Request { ctime: late, ..Request::new(&tgt, SERVICE) };
    assert_eq!(refused(&realm, &request.message(), late), (krb::KRB_AP_ERR_TKT_EXPIRED, Reason::TgtExpired));
    let early = NOW.saturating_sub(Duration::from_secs(400));
    let request = Request { ctime: early, ..Request::new(&tgt, SERVICE) };
    assert_eq!(refused(&realm, &request.message(), early), (krb::KRB_AP_ERR_TKT_NYV, Reason::TgtNotYetValid));
}

#[test]
fn tickets_that_are_none_of_this_kdcs_are_refused() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let (service, _) = realm.service(&tgt, SERVICE);
    assert_eq!(
        Request::new(&service.unwrap(), SERVICE).refused(&realm),
        (krb::KRB_AP_ERR_NOT_US, Reason::TgtForeign)
    );

    let renamed = |realm: &[u8]| {
        let ticket = Reader::whole(&tgt.ticket, countersign_proto::krb5::msg::ticket::Ticket::parse).unwrap();
        let mut out = Vec::new();
        Writer::new(&mut out).constructed(0x61, |outer| {
            outer.sequence(|fields| {
                fields.field(0, |field| field.integer(5));
                fields.field(1, |field| field.general_string(realm));
                fields.field(2, |field| ticket.sname.to_principal(b"").write_name(field));
                fields.field(3, |field| ticket.enc_part.write(field));
            });
        });
        Credential { ticket: out, ..tgt.clone() }
    };
    let foreign = renamed(b"OTHER.TEST");
    assert_eq!(Request::new(&foreign, SERVICE).refused(&realm), (krb::KDC_ERR_POLICY, Reason::TgtForeign));

    let mut altered = tgt.clone();
    *altered.ticket.last_mut().unwrap() ^= 1;
    assert_eq!(
        Request::new(&altered, SERVICE).refused(&realm),
        (krb::KRB_AP_ERR_BAD_INTEGRITY, Reason::TgtIntegrity)
    );
    let granting = format!("krbtgt/{REALM}");
    realm
        .accounts
        .change(&granting, |granting| granting.keys = [random_keys(2, 9), random_keys(1, 100)].concat());
    realm.service(&tgt, SERVICE).0.unwrap();
    realm.accounts.change(&granting, |granting| granting.keys = random_keys(2, 9));
    assert_eq!(
        Request::new(&tgt, SERVICE).refused(&realm),
        (krb::KRB_AP_ERR_BADKEYVER, Reason::TgtIntegrity)
    );
}

#[test]
fn a_request_without_a_ticket_or_with_one_that_cannot_be_read_is_refused() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let request = Request::new(&tgt, SERVICE);
    let body = request.body();
    let mut without = Vec::new();
    let none: [PaData<'_>; 0] = [];
    write_kdc_req(KdcReqKind::Tgs, &none, &body, &mut Writer::new(&mut without));
    assert_eq!(refused(&realm, &without, NOW), (16, Reason::TgtAbsent));
    let unreadable = request.around(&body, b"nonsense", &[]);
    assert_eq!(refused(&realm, &unreadable, NOW), (krb::KRB_ERR_GENERIC, Reason::Malformed));
}

#[test]
fn the_reply_is_under_the_subkey_or_without_one_under_the_session_key() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let request = Request::new(&tgt, SERVICE);
    let reply = realm.handle(&request.message()).reply.unwrap();
    let subkey = request.subkey.as_ref().unwrap();
    part(&reply, subkey, KeyUsage::TGS_REP_SUBKEY, |part| {
        assert_eq!((part.nonce, part.sname.to_principal(part.srealm)), (99, named(SERVICE)));
        assert_eq!((part.authtime, part.endtime, part.renew_till), (tgt.authtime, tgt.endtime, None));
    });
    let request = Request { subkey: None, ..Request::new(&tgt, SERVICE) };
    let reply = realm.handle(&request.message()).reply.unwrap();
    part(&reply, &session_key(&tgt), KeyUsage::TGS_REP_SESSION_KEY, |part| assert_eq!(part.nonce, 99));
}

#[test]
fn a_ticket_ends_with_what_it_was_made_of_and_with_the_accounts() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions { lifetime: Duration::from_secs(3_600), ..forwardable() });
    let end = |request: &Request<'_>| realm.handle(&request.message()).record.endtime.unwrap();
    assert_eq!(end(&Request::new(&tgt, SERVICE)), tgt.endtime);
    assert_eq!(
        end(&Request { till: after(90), ..Request::new(&tgt, SERVICE) }),
        Timestamp::new(NOW.seconds() + 90, 0)
    );
    realm.accounts.change(SERVICE, |service| service.max_life = Some(Duration::from_secs(60)));
    assert_eq!(end(&Request::new(&tgt, SERVICE)), Timestamp::new(NOW.seconds() + 60, 0));
    realm.accounts.change(SERVICE, |service| service.expires = Some(after(30)));
    assert_eq!(end(&Request::new(&tgt, SERVICE)), Timestamp::new(NOW.seconds() + 30, 0));
    let past = Request { till: NOW, ..Request::new(&tgt, SERVICE) };
    assert_eq!(past.refused(&realm), (krb::KDC_ERR_NEVER_VALID, Reason::NeverValid));
}

#[test]
fn a_renewable_ticket_is_renewed_until_its_end() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions { lifetime: Duration::from_secs(36_000), ..forwardable() });
    assert_eq!(tgt.renew_till, Timestamp::new(NOW.seconds() + 86_400, 0));
    let (renewed, record) = realm.renew_at(&tgt, after(30_000));
    let renewed = renewed.map_err(|error| error.to_string()).unwrap();
    assert_eq!(record.outcome, Outcome::Granted);
    assert_eq!((renewed.authtime, renewed.renew_till), (tgt.authtime, tgt.renew_till));
    assert_eq!(renewed.endtime, Timestamp::new(NOW.seconds() + 66_000, 0));
    let flags = TicketFlags(renewed.flags);
    assert!(flags.contains(TicketFlags::RENEWABLE) && flags.contains(TicketFlags::FORWARDABLE));
    assert!(!flags.contains(TicketFlags::INITIAL));
    assert_ne!(renewed.key.expose(), tgt.key.expose());
    let (last, _) = realm.renew_at(&renewed, after(65_000));
    let last = last.map_err(|error| error.to_string()).unwrap();
    assert_eq!(last.endtime, tgt.renew_till, "not beyond renew-till");
    realm.service_at(&last, SERVICE, TicketOptions::default(), after(65_000)).0.unwrap();
}

#[test]
fn what_cannot_be_renewed_is_not() {
    let realm = TestRealm::new();
    let granting = format!("krbtgt/{REALM}");
    let not = (krb::KDC_ERR_BADOPTION, Reason::NotOfThatKind);
    let lifetime = Duration::from_secs(3_600);
    let plain = realm.tgt(TicketOptions { lifetime, ..TicketOptions::default() });
    assert_eq!(
        Request { options: KdcOptions::RENEW, ..Request::new(&plain, &granting) }.refused(&realm),
        not
    );
    let renewable = realm.tgt(forwardable());
    assert_eq!(
        Request { options: KdcOptions::RENEW, ..Request::new(&renewable, SERVICE) }.refused(&realm),
        not
    );
    // A service's ticket of a renewable one is renewable only if it is asked for.
    let options = KdcOptions::RENEWABLE;
    let renewable = realm.tgt(TicketOptions { lifetime, ..forwardable() });
    let reply =
        realm.handle(&Request { options, till: after(60), ..Request::new(&renewable, SERVICE) }.message());
    let reply = reply.reply.unwrap();
    let key = Request::new(&renewable, SERVICE).subkey.unwrap();
    let till = part(&reply, &key, KeyUsage::TGS_REP_SUBKEY, |part| part.renew_till);
    assert_eq!(till, Some(renewable.renew_till));
    let request = Request { options, till: after(60), ..Request::new(&plain, SERVICE) };
    let reply = realm.handle(&request.message()).reply.unwrap();
    assert_eq!(part(&reply, &key, KeyUsage::TGS_REP_SUBKEY, |part| part.renew_till), None);
}

#[test]
fn a_forwardable_ticket_is_forwarded_and_what_is_made_of_it_says_so() {
    let realm = TestRealm::new();
    let granting = format!("krbtgt/{REALM}");
    let flags = |tgt: &Credential, service: &str, options: KdcOptions| {
        let request = Request { options, ..Request::new(tgt, service) };
        let reply = realm.handle(&request.message()).reply.unwrap();
        part(&reply, request.subkey.as_ref().unwrap(), KeyUsage::TGS_REP_SUBKEY, |part| part.flags)
    };
    let tgt = realm.tgt(forwardable());
    let both = KdcOptions::FORWARDED.with(KdcOptions::FORWARDABLE);
    let forwarded = flags(&tgt, &granting, both);
    assert!(forwarded.contains(TicketFlags::FORWARDED) && forwarded.contains(TicketFlags::FORWARDABLE));
    let once = flags(&tgt, &granting, KdcOptions::FORWARDED);
    assert!(once.contains(TicketFlags::FORWARDED) && !once.contains(TicketFlags::FORWARDABLE));

    let plain = realm.tgt(TicketOptions::default());
    let request = Request { options: KdcOptions::FORWARDED, ..Request::new(&plain, &granting) };
    assert_eq!(request.refused(&realm), (krb::KDC_ERR_BADOPTION, Reason::NotOfThatKind));
    let asked = flags(&plain, SERVICE, KdcOptions::FORWARDABLE);
    assert!(
        !asked.contains(TicketFlags::FORWARDABLE),
        "more than the ticket-granting ticket has is not given"
    );
}

#[test]
fn a_forwarded_ticket_granting_ticket_makes_forwarded_tickets() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(forwardable());
    let request =
        Request { options: KdcOptions::FORWARDED, ..Request::new(&tgt, &format!("krbtgt/{REALM}")) };
    let reply = realm.handle(&request.message()).reply.unwrap();
    let rep = KdcRep::parse(&reply).unwrap();
    let forwarded =
        part(&reply, request.subkey.as_ref().unwrap(), KeyUsage::TGS_REP_SUBKEY, |part| Credential {
            ticket: rep.encoded_ticket.to_vec(),
            key_etype: part.key.etype,
            key: countersign_proto::secret::Secret::from(part.key.bytes),
            ..tgt.clone()
        });
    let request = Request::new(&forwarded, SERVICE);
    let reply = realm.handle(&request.message()).reply.unwrap();
    let flags = part(&reply, request.subkey.as_ref().unwrap(), KeyUsage::TGS_REP_SUBKEY, |part| part.flags);
    assert!(flags.contains(TicketFlags::FORWARDED));
}

#[test]
fn options_and_extensions_that_are_not_given_are_refused() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(forwardable());
    for (options, code) in [
        (KdcOptions::POSTDATED, 10),
        (KdcOptions::PROXY, 13),
        (KdcOptions::VALIDATE, 13),
        (KdcOptions::CNAME_IN_ADDL_TKT, 13),
        (KdcOptions::REQUEST_ANONYMOUS, 13),
        (KdcOptions::ENC_TKT_IN_SKEY, 13),
    ] {
        assert_eq!(Request { options, ..Request::new(&tgt, SERVICE) }.refused(&realm).0, code, "{options:?}");
    }
    for s4u in [129, 130] {
        let request = Request { padata: vec![(s4u, b"x".to_vec())], ..Request::new(&tgt, SERVICE) };
        assert_eq!(request.refused(&realm), (16, Reason::Option));
    }
}

#[test]
fn user_to_user_puts_the_ticket_under_the_others_session_key() {
    let realm = TestRealm::new();
    let (tgt, second) = (realm.tgt(forwardable()), realm.tgt(TicketOptions::default()));
    let options = KdcOptions::ENC_TKT_IN_SKEY;
    let request = Request { options, additional: vec![&second.ticket], ..Request::new(&tgt, "alice") };
    let reply = realm.handle(&request.message()).reply.unwrap();
    let rep = KdcRep::parse(&reply).unwrap();
    assert_eq!(rep.enc_part.etype, request.subkey.as_ref().unwrap().etype().wire());
    opened(rep.encoded_ticket, &session_key(&second), |ticket, part| {
        assert_eq!(ticket.enc_part.kvno, None);
        assert_eq!(part.cname.to_principal(part.crealm), named("alice"));
    });
    let of_another = Request { options, additional: vec![&second.ticket], ..Request::new(&tgt, SERVICE) };
    assert_eq!(of_another.refused(&realm), (26, Reason::SecondTicket));
    let of_nobody = Request { options, additional: vec![&second.ticket], ..Request::new(&tgt, "nobody") };
    assert_eq!(of_nobody.refused(&realm), (26, Reason::SecondTicket));
    for name in ["alice", "nobody", SERVICE] {
        let without = Request { options, ..Request::new(&tgt, name) };
        assert_eq!(without.refused(&realm), (krb::KDC_ERR_BADOPTION, Reason::SecondTicket), "{name}");
    }
    let (service, _) = realm.service(&tgt, SERVICE);
    let service = service.unwrap();
    let no_tgt = Request { options, additional: vec![&service.ticket], ..Request::new(&tgt, "alice") };
    assert_eq!(no_tgt.refused(&realm), (krb::KRB_AP_ERR_NOT_US, Reason::TgtForeign));
}

fn data(ad_type: i32) -> Vec<u8> {
    if_relevant(&[Element { ad_type, data: b"data" }])
}

#[test]
fn what_a_client_asks_to_be_restricted_by_is_in_the_ticket_and_in_those_made_of_it() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(forwardable());
    let granting = format!("krbtgt/{REALM}");
    for subkey in [Request::new(&tgt, SERVICE).subkey, None] {
        let authorization = Some(data(ad_type::KERB_LOCAL));
        let request = Request { authorization, subkey, ..Request::new(&tgt, &granting) };
        let reply = realm.handle(&request.message()).reply.unwrap();
        let rep = KdcRep::parse(&reply).unwrap();
        let key = realm.accounts.account(&granting).newest_key(ALL[0]).unwrap().key.clone();
        let narrow = opened(rep.encoded_ticket, &key, |_, part| {
            assert_eq!(part.authorization_data.unwrap().elements().count(), 1);
            Credential {
                ticket: rep.encoded_ticket.to_vec(),
                key_etype: part.key.etype,
                key: countersign_proto::secret::Secret::from(part.key.bytes),
                ..tgt.clone()
            }
        });
        let request = Request { authorization: Some(data(141)), ..Request::new(&narrow, SERVICE) };
        let reply = realm.handle(&request.message()).reply.unwrap();
        let rep = KdcRep::parse(&reply).unwrap();
        opened(rep.encoded_ticket, &random_keys(3, 101)[0].key, |_, part| {
            let mut types = Vec::new();
            part.authorization_data.unwrap().visit_relevant(&mut |element| types.push(element.ad_type));
            assert_eq!(types, [141, ad_type::KERB_LOCAL]);
        });
    }
}

#[test]
fn what_only_a_kdc_may_say_of_a_client_is_not_taken_from_it() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(forwardable());
    for ad_type in [4, 8, 96, 128] {
        let request = Request { authorization: Some(data(ad_type)), ..Request::new(&tgt, SERVICE) };
        assert_eq!(request.refused(&realm), (krb::KDC_ERR_POLICY, Reason::AuthorizationData));
    }
    let request = Request { authorization: Some(b"nonsense".to_vec()), ..Request::new(&tgt, SERVICE) };
    assert_eq!(request.refused(&realm).1, Reason::AuthorizationData);
}

#[test]
fn in_armor_the_request_inside_counts_and_the_reply_key_is_strengthened() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let outside = Request::new(&tgt, SERVICE);
    let inside = Request::new(&tgt, SECOND_SERVICE).body();
    let (message, armor) = outside.armored(&inside, 1 << 30);
    let handled = realm.handle(&message);
    assert_eq!((handled.record.outcome, handled.record.armored), (Outcome::Granted, true));
    assert_eq!(handled.record.service, Some(named(SECOND_SERVICE)));
    let reply = handled.reply.unwrap();
    let rep = KdcRep::parse(&reply).unwrap();
    let outer = rep.cname.to_principal(rep.crealm);
    assert_eq!(outer.to_string(), "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", "its name is hidden");
    let value = rep.padata.find(136).unwrap();
    let armored = KrbFastArmoredRep::parse(value).unwrap();
    let mut plaintext = armored.enc_fast_rep.cipher.to_vec();
    let response = armor.cipher(KeyUsage::FAST_REP).open_in_place(&mut plaintext).unwrap();
    let response = KrbFastResponse::parse(Reader::new(response)).unwrap();
    let finished = response.finished.unwrap();
    assert_eq!((response.nonce, finished.cname.to_principal(finished.crealm)), (99, named("alice")));
    let sum = armor.checksum(KeyUsage::FAST_FINISHED);
    sum.verify(&[rep.encoded_ticket], finished.ticket_checksum.bytes).unwrap();
    let strengthen = response.strengthen_key.unwrap();
    let strengthen = Key::new(Etype::from_wire(strengthen.etype).unwrap(), strengthen.bytes).unwrap();
    let reply_key = krb_fx_cf2(&strengthen, outside.subkey.as_ref().unwrap(), b"strengthenkey", b"replykey");
    part(&reply, &reply_key, KeyUsage::TGS_REP_SUBKEY, |part| {
        assert_eq!(part.sname.to_principal(part.srealm), named(SECOND_SERVICE));
    });
}

#[test]
fn errors_of_armored_requests_are_in_armor() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    let outside = Request::new(&tgt, SERVICE);
    for (service, options, code) in [("HTTP/none", 0, 7), (SERVICE, 1 << 29, 93), (SERVICE, 1 << 16, 93)] {
        let (message, armor) = outside.armored(&Request::new(&tgt, service).body(), options);
        let reply = realm.handle(&message).reply.unwrap();
        let outer = KrbError::parse(&reply).unwrap();
        let padata = MethodData::parse_bytes(outer.e_data.unwrap()).unwrap();
        let armored = KrbFastArmoredRep::parse(padata.find(136).unwrap()).unwrap();
        let mut plaintext = armored.enc_fast_rep.cipher.to_vec();
        let response = armor.cipher(KeyUsage::FAST_REP).open_in_place(&mut plaintext).unwrap();
        let response = KrbFastResponse::parse(Reader::new(response)).unwrap();
        assert!(response.finished.is_none() && response.strengthen_key.is_none());
        let inner = KrbError::parse(response.padata.find(137).unwrap()).unwrap();
        assert_eq!((inner.error_code, inner.e_data, response.nonce), (code, None, 99));
    }
    let unreadable = outside.armored(&[0x30, 0], 0).0;
    assert_eq!(refused(&realm, &unreadable, NOW), (krb::KRB_ERR_GENERIC, Reason::Malformed));
}

#[test]
fn a_known_ticket_granting_service_is_named_alike_by_our_client_and_kdc() {
    let realm = TestRealm::new();
    let tgt = realm.tgt(TicketOptions::default());
    assert_eq!(tgt.server, ticket_granting_service(REALM.as_bytes(), REALM.as_bytes()));
    let (refusal, _) = realm.service(&tgt, "HTTP/none.example.test");
    assert!(matches!(refusal, Err(KdcError::Told { told, .. }) if told.error_code == 7));
}
