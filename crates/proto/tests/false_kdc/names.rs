//! Whose tickets are taken: those of the service that was asked for.

use crate::support::{HOUR, REALM, done, granted, next, refused, tgt};
use countersign_proto::ccache::Ccache;
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5::kdc_exchange::{
    Acquire, Exchange, Forward, Step, TgsExchange, TicketOptions, ticket_granting_service,
};
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReq};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW};
use std::sync::Arc;

fn service(host: &str) -> Principal {
    Principal::new(REALM, &["HTTP", host])
}

fn asked() -> TgsExchange {
    let (tgts, options) = (vec![tgt(0)], Arc::new(TicketOptions::default()));
    let service = service("a.example.test");
    TgsExchange::begin(service, Vec::new(), tgts, options, 0, NOW, &mut TestRng::new(1)).unwrap()
}

fn answered(exchange: &TgsExchange, service: &Principal) -> Vec<u8> {
    granted(&tgt(0), exchange.request().message, service, 0)
}

fn canonicalizes(exchange: &TgsExchange) -> bool {
    let request = KdcReq::parse(exchange.request().message).unwrap();
    request.body.kdc_options.contains(KdcOptions::CANONICALIZE)
}

#[test]
fn a_ticket_of_the_service_is_taken() {
    let exchange = asked();
    assert!(canonicalizes(&exchange));
    let reply = answered(&exchange, &service("a.example.test"));
    assert_eq!(done(exchange, &reply, NOW).credential.server, service("a.example.test"));
}

#[test]
fn a_kdc_that_gives_another_services_ticket_is_asked_for_that_name_alone() {
    for other in [service("b.example.test"), ticket_granting_service(REALM.as_bytes(), REALM.as_bytes())] {
        let exchange = asked();
        let exchange = {
            let reply = answered(&exchange, &other);
            next(exchange, &reply)
        };
        assert!(!canonicalizes(&exchange));
        let reply = answered(&exchange, &service("a.example.test"));
        assert_eq!(done(exchange, &reply, NOW).credential.server, service("a.example.test"));
    }
}

#[test]
fn another_services_ticket_is_never_taken() {
    let other = service("b.example.test");
    let exchange = asked();
    let reply = answered(&exchange, &other);
    let exchange = next(exchange, &reply);
    let reply = answered(&exchange, &other);
    let refusal = refused(exchange, &reply);
    assert_eq!(refusal.code(), code::KDC_REPLY_MODIFIED, "{refusal}");
}

#[test]
fn a_ticket_that_another_realm_gave_is_found_again_under_the_name_that_was_asked_for() {
    let mint =
        Mint { service: ticket_granting_service(REALM.as_bytes(), REALM.as_bytes()), ..Mint::default() };
    let mut cache: Ccache = mint.ccache(&[mint.ticket()]);
    let options = Arc::new(TicketOptions::default());
    let begin = |cache: &Ccache| {
        let (options, mut rng) = (options.clone(), TestRng::new(1));
        Acquire::begin(service("a.example.test"), Vec::new(), Some(cache), None, options, NOW, &mut rng)
            .unwrap()
    };
    let Step::NeedKdc(exchange) = begin(&cache) else { panic!("the cache has no such ticket") };
    let referral = ticket_granting_service(b"OTHER.TEST", REALM.as_bytes());
    let reply = granted(&tgt(0), exchange.request().message, &referral, 0);
    let exchange = next(exchange, &reply);
    assert_eq!(exchange.request().realm, b"OTHER.TEST");
    let elsewhere = Principal { realm: b"OTHER.TEST".to_vec(), ..service("a.example.test") };
    let referral_mint = Mint { service: referral, ..Mint::default() };
    let credential = referral_mint.credential(&referral_mint.ticket());
    let other_tgt = options.usable(&credential, NOW).unwrap();
    let reply = granted(&other_tgt, exchange.request().message, &elsewhere, 0);
    let acquired = done(exchange, &reply, NOW);
    assert_eq!(acquired.ticket.service, elsewhere, "what is presented says whose it is");
    acquired.credentials.into_iter().for_each(|credential| cache.add(credential));
    assert!(
        matches!(begin(&cache), Step::Done(_)),
        "the KDC would be asked again, and the cache grow, each time"
    );
}

#[test]
fn a_ticket_is_forwarded_by_the_kdcs_clock() {
    let tgt = tgt(HOUR);
    let options = Arc::new(TicketOptions::default());
    let forward = Forward::begin(&tgt, options, HOUR, NOW, &mut TestRng::new(1));
    let reply = granted(&tgt, forward.request().message, &tgt.service, HOUR);
    assert_eq!(*done(forward, &reply, NOW).client(), tgt.client);
}
