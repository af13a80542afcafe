//! Which ticket an initiator takes out of a credential cache.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use countersign_proto::ccache::Ccache;
use countersign_proto::context::Initiator;
use countersign_proto::crypto::Etype;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::initiator::ServiceTicket;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::policy::DEFAULT_CLOCK_SKEW;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW, Ticket, ccache_bytes};
use countersign_testkit::pair::{Service, initiator_policy};

fn select(ccache: &Ccache) -> Result<Initiator, Refusal> {
    Initiator::from_ccache(ccache, &Mint::default().service, initiator_policy(|_| {}), NOW)
}

fn refused(ccache: &Ccache) -> Refusal {
    select(ccache).err().unwrap()
}

fn ccache_with(change: impl FnOnce(&mut Ticket)) -> Ccache {
    let mint = Mint::default();
    let mut ticket = mint.ticket();
    change(&mut ticket);
    mint.ccache(&[ticket])
}

fn other(name: &str) -> Principal {
    Principal::new("EXAMPLE.TEST", &["HTTP", name])
}

#[test]
fn a_cache_file_that_is_written_and_read_gives_a_ticket_that_is_accepted() {
    let mint = Mint::default();
    let mut ccache = mint.ccache(&[mint.ticket()]);
    ccache.kdc_offset = Some(-1_500_000);
    let ccache = Ccache::parse(&ccache_bytes(&ccache)).unwrap();
    let initiator = select(&ccache).unwrap();
    let ticket = initiator.ticket().unwrap();
    assert_eq!((&ticket.client, &ticket.service), (&mint.client, &mint.service));
    assert_eq!((ticket.etype, ticket.kvno), (18, Some(2)));
    let mut out = Vec::new();
    let _state = initiator.begin(NOW, &mut TestRng::new(1), &mut out);
    Service::new(&mint, Default::default()).offer(&out).accepted();
}

#[test]
fn a_service_without_a_ticket_is_refused_and_the_tickets_that_there_are_are_named() {
    let refusal = refused(&ccache_with(|ticket| ticket.service = other("b")));
    assert_eq!(refusal.code(), code::TICKET_FOR_SERVICE_ABSENT);
    assert!(refusal.have().contains("HTTP/b@EXAMPLE.TEST"), "{refusal}");
    let refusal = refused(&Mint::default().ccache(&[]));
    assert!(refusal.have().contains("without tickets"), "{refusal}");
}

#[test]
fn a_service_named_without_a_realm_is_found_in_any() {
    let mint = Mint::default();
    let service = Principal { realm: Vec::new(), ..mint.service.clone() };
    let ccache = mint.ccache(&[mint.ticket()]);
    let initiator = Initiator::from_ccache(&ccache, &service, initiator_policy(|_| {}), NOW).unwrap();
    assert_eq!(initiator.ticket().unwrap().service, mint.service);
}

#[test]
fn a_ticket_that_ended_is_refused_and_one_second_before_its_end_it_is_not() {
    let end = Timestamp::new(NOW.seconds() + 1, 0);
    assert!(select(&ccache_with(|ticket| ticket.endtime = end)).is_ok());
    for seconds in [0, -1] {
        let end = Timestamp::new(NOW.seconds() + seconds, 0);
        let refusal = refused(&ccache_with(|ticket| ticket.endtime = end));
        assert_eq!(refusal.code(), code::CACHED_TICKET_EXPIRED);
    }
}

#[test]
fn a_ticket_is_no_longer_good_at_its_very_end() {
    let mint = Mint { now: Timestamp::new(NOW.seconds(), 0), ..Mint::default() };
    let mut ticket = mint.ticket();
    ticket.endtime = mint.now;
    let ccache = mint.ccache(&[ticket]);
    let at = |now| Initiator::from_ccache(&ccache, &mint.service, initiator_policy(|_| {}), now);
    assert_eq!(at(mint.now).err().unwrap().code(), code::CACHED_TICKET_EXPIRED);
    assert!(at(mint.now.shifted(-1)).is_ok());
}

#[test]
fn a_ticket_that_begins_within_the_skew_is_taken_and_a_later_one_is_not() {
    let begins = |micros| ccache_with(|ticket| ticket.starttime = Some(NOW.shifted(micros)));
    assert!(select(&begins(300_000_000)).is_ok());
    assert_eq!(refused(&begins(300_000_001)).code(), code::CACHED_TICKET_EXPIRED);
    let without = ccache_with(|ticket| {
        ticket.starttime = None;
        ticket.authtime = NOW.shifted(300_000_001);
    });
    assert_eq!(refused(&without).code(), code::CACHED_TICKET_EXPIRED);
}

#[test]
fn a_session_key_that_is_not_permitted_known_or_of_its_length_is_refused() {
    let rc4 = Mint::default().key(&other("x"), 1, Etype::ArcfourHmac);
    let refusal = refused(&ccache_with(|ticket| ticket.set_session_key(rc4)));
    assert_eq!(refusal.code(), code::CACHED_TICKET_ETYPE);
    let refusal = refused(&ccache_with(|ticket| ticket.written_session_key.etype = 26));
    assert_eq!(refusal.code(), code::CACHED_TICKET_ETYPE);
    let mut ccache = ccache_with(|_| {});
    ccache.credentials[0].key = Secret::from(&[1; 31][..]);
    assert_eq!(refused(&ccache).code(), code::CCACHE_MALFORMED);
}

#[test]
fn bytes_that_are_no_ticket_are_refused() {
    let good = Mint::default().ticket().encode();
    for bytes in [[&good[..], &[0]].concat(), good[..good.len() - 1].to_vec(), good[..9].to_vec(), Vec::new()]
    {
        let mut ccache = ccache_with(|_| {});
        ccache.credentials[0].ticket = bytes;
        assert_eq!(refused(&ccache).code(), code::CCACHE_MALFORMED);
    }
}

#[test]
fn a_user_to_user_ticket_is_never_presented() {
    let mut ccache = ccache_with(|_| {});
    ccache.credentials[0].is_skey = true;
    assert_eq!(refused(&ccache).code(), code::TICKET_FOR_SERVICE_ABSENT);
}

#[test]
fn a_ticket_of_another_client_is_never_presented() {
    let ccache = ccache_with(|ticket| ticket.client = Principal::new("EXAMPLE.TEST", &["mallory"]));
    assert_eq!(refused(&ccache).code(), code::TICKET_FOR_SERVICE_ABSENT);
}

#[test]
fn a_good_ticket_is_found_behind_bad_ones() {
    let mint = Mint::default();
    let mut expired = mint.ticket();
    expired.endtime = NOW.shifted(-1_000_000);
    let mut weak = mint.ticket();
    weak.set_session_key(mint.key(&other("x"), 1, Etype::ArcfourHmac));
    let mut good = mint.ticket();
    good.kvno = Some(77);
    let initiator = select(&mint.ccache(&[expired, weak, good])).unwrap();
    assert_eq!(initiator.ticket().unwrap().kvno, Some(77));
}

#[test]
fn an_offset_learnt_from_the_kdc_moves_the_clock_for_ticket_and_authenticator() {
    let mint = Mint::default();
    let mut ccache = mint.ccache(&[mint.ticket()]);
    ccache.kdc_offset = Some(1_000_000_000);
    // Our clock is 1,000 seconds behind, which the offset mends.
    let ours = NOW.shifted(-1_000_000_000);
    let policy = || initiator_policy(|_| {});
    let initiator = Initiator::from_ccache(&ccache, &mint.service, policy(), ours).unwrap();
    let mut out = Vec::new();
    let _state = initiator.begin(ours, &mut TestRng::new(1), &mut out);
    Service::new(&mint, Default::default()).offer(&out).accepted();
    ccache.kdc_offset = None;
    assert!(Initiator::from_ccache(&ccache, &mint.service, policy(), ours).is_err());
}

#[test]
fn a_ticket_with_a_session_key_that_policy_does_not_permit_is_not_presented_wherever_it_comes_from() {
    let mint = Mint::of_etype(Etype::ArcfourHmac);
    let ticket = ServiceTicket::from_credential(
        &mint.credential(&mint.ticket()),
        &[Etype::ArcfourHmac],
        DEFAULT_CLOCK_SKEW,
        NOW,
    );
    let begin = |policy| {
        let initiator = Initiator::with_ticket(ticket.clone().unwrap(), 0, policy);
        initiator.begin(NOW, &mut TestRng::new(1), &mut Vec::new()).map(drop)
    };
    let refusal = begin(initiator_policy(|_| {})).unwrap_err();
    assert_eq!(refusal.code(), code::CACHED_TICKET_ETYPE);
    assert!(refusal.saw().contains("arcfour-hmac"), "{refusal}");
    begin(initiator_policy(|policy| policy.permitted_enctypes.push(Etype::ArcfourHmac))).unwrap();
}
