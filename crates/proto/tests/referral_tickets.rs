//! Tickets that MIT keeps under a name without realm, because the KDC was asked to find it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use countersign_proto::ccache::Ccache;
use countersign_proto::context::{Initiator, InitiatorStep};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::policy::AcceptorPolicy;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW, ccache_bytes};
use countersign_testkit::pair::Service;

/// A cache file with one ticket, whose service is kept without a realm.
fn ccache() -> Ccache {
    let mint = Mint::default();
    let mut ccache = mint.ccache(&[mint.ticket()]);
    ccache.credentials[0].server.realm.clear();
    Ccache::parse(&ccache_bytes(&ccache)).unwrap()
}

fn select(ccache: &Ccache, realm: &str) -> Result<Initiator, Refusal> {
    let service = Principal::new(realm, &["HTTP", "a.example.test"]);
    Initiator::from_ccache(ccache, &service, countersign_testkit::pair::initiator_policy(|_| {}), NOW)
}

#[test]
fn a_ticket_kept_without_a_realm_is_found_by_the_realm_that_it_names() {
    for realm in ["EXAMPLE.TEST", ""] {
        let initiator = select(&ccache(), realm).unwrap();
        assert_eq!(initiator.ticket().unwrap().service, Mint::default().service, "asked for in {realm:?}");
    }
    let refusal = select(&ccache(), "OTHER.TEST").err().unwrap();
    assert_eq!(refusal.code(), code::TICKET_FOR_SERVICE_ABSENT);
    assert!(refusal.have().contains("HTTP/a.example.test@EXAMPLE.TEST"), "{refusal}");
}

#[test]
fn a_context_from_such_a_ticket_names_the_service_whole() {
    let (mut request, mut rng) = (Vec::new(), TestRng::new(1));
    let state = select(&ccache(), "").unwrap().begin(NOW, &mut rng, &mut request).unwrap();
    let (_, reply) = Service::new(&Mint::default(), AcceptorPolicy::default()).offer(&request).accepted();
    let InitiatorStep::Done(context) = state.token(&reply, NOW, &mut rng, &mut Vec::new()) else {
        unreachable!("the reply is right")
    };
    assert_eq!(context.facts().kerberos().unwrap().service, Mint::default().service);
}

#[test]
fn bytes_that_are_no_ticket_have_no_realm_and_are_not_presented() {
    let mut ccache = ccache();
    ccache.credentials[0].ticket.truncate(20);
    assert_eq!(ccache.credentials[0].service_realm(), b"");
    assert_eq!(select(&ccache, "EXAMPLE.TEST").err().unwrap().code(), code::TICKET_FOR_SERVICE_ABSENT);
    assert_eq!(select(&ccache, "").err().unwrap().code(), code::CCACHE_MALFORMED);
}
