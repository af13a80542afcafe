//! What a ticket itself decides, once it is opened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_proto::context::AcceptorStep;
use countersign_proto::crypto::Etype;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::policy::{AcceptorPolicy, Waiver};
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{ApReq, Mint, NOW, RawKey, authorization_data};
use countersign_testkit::pair::{Service, acceptor_policy, told};
use std::time::Duration;

const SKEW: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);

fn service() -> Service {
    Service::new(&Mint::default(), AcceptorPolicy::default())
}

fn altered(alter: impl FnOnce(&mut countersign_testkit::mint::Ticket)) -> ApReq {
    let mut ticket = Mint::default().ticket();
    alter(&mut ticket);
    Mint::default().ap_req_with(ticket)
}

/// A whole second, since tickets have no fractions: limits can be met exactly.
fn whole_second() -> Timestamp {
    Timestamp::new(NOW.seconds(), 0)
}

fn at_whole_second() -> (Service, Mint) {
    let mint = Mint { now: whole_second(), ..Mint::default() };
    (Service::new(&mint, AcceptorPolicy::default()), mint)
}

// weakness 12
#[test]
fn a_ticket_is_good_until_its_end_and_the_skew_and_not_a_second_more() {
    let (mut service, mint) = at_whole_second();
    let ending = |at: Timestamp| {
        let mut ticket = mint.ticket();
        ticket.starttime = None;
        ticket.endtime = at;
        mint.ap_req_with(ticket)
    };
    let limit = mint.now.saturating_sub(SKEW);
    let (context, _) = service.offer(&ending(limit).token()).accepted();
    assert_eq!(
        context.facts().kerberos().unwrap().endtime,
        limit,
        "the context says until when it may be used"
    );
    let mut request = ending(limit.saturating_sub(SECOND));
    request.seed = 2;
    let rejected = service.refuses(&request, code::TICKET_EXPIRED, 32);
    assert_eq!(
        rejected.facts.unwrap().kerberos().unwrap().client,
        mint.client,
        "the client is known: it proved itself"
    );
}

#[test]
fn a_ticket_is_good_from_its_start_less_the_skew_and_not_a_second_earlier() {
    let (mut service, mint) = at_whole_second();
    let starting = |at: Timestamp, seed| {
        let mut ticket = mint.ticket();
        ticket.starttime = Some(at);
        ApReq { seed, ..mint.ap_req_with(ticket) }
    };
    let limit = mint.now.saturating_add(SKEW);
    service.offer(&starting(limit, 1).token()).accepted();
    service.refuses(&starting(limit.saturating_add(SECOND), 2), code::TICKET_NOT_YET_VALID, 33);
}

#[test]
fn without_a_start_time_a_ticket_is_good_from_its_authtime() {
    let (mut service, mint) = at_whole_second();
    let mut ticket = mint.ticket();
    ticket.starttime = None;
    ticket.authtime = mint.now.saturating_add(SKEW).saturating_add(SECOND);
    service.refuses(&mint.ap_req_with(ticket), code::TICKET_NOT_YET_VALID, 33);
}

#[test]
fn a_start_time_in_the_past_counts_and_not_a_later_authtime() {
    let (mut service, mint) = at_whole_second();
    let mut ticket = mint.ticket();
    ticket.authtime = mint.now.saturating_add(SKEW).saturating_add(SECOND);
    service.offer(&mint.ap_req_with(ticket).token()).accepted();
}

#[test]
fn the_skew_of_the_policy_is_the_one_that_counts() {
    let (_, mint) = at_whole_second();
    let policy = acceptor_policy(|policy| policy.clock_skew = SECOND);
    let mut service = Service::new(&mint, policy);
    let mut ticket = mint.ticket();
    ticket.endtime = mint.now.saturating_sub(SECOND * 2);
    service.refuses(&mint.ap_req_with(ticket), code::TICKET_EXPIRED, 32);
}

#[test]
fn a_postdated_ticket_that_was_not_validated_is_refused() {
    let request = altered(|ticket| ticket.flags = TicketFlags::INVALID);
    let rejected = service().refuses(&request, code::TICKET_NOT_YET_VALID, 33);
    assert!(rejected.refusal.saw().contains("not validated"), "{}", rejected.refusal);
}

// weakness 12
#[test]
fn a_ticket_that_ends_while_the_caller_decides_is_refused() {
    let (service, mint) = at_whole_second();
    let request = mint.ap_req();
    let mut out = Vec::new();
    let step = service.acceptor.begin().token(&request.token(), mint.now, &mut TestRng::new(7), &mut out);
    let AcceptorStep::CheckReplay(check) = step else { panic!() };
    let AcceptorStep::Authorize(authorize) = check.verdict(ReplayVerdict::Fresh, mint.now, &mut out) else {
        panic!()
    };
    let later = request.ticket.endtime.saturating_add(SKEW).saturating_add(SECOND);
    let AcceptorStep::Rejected(rejected) = authorize.admit(later, &mut TestRng::new(1), &mut out) else {
        panic!()
    };
    assert_eq!(rejected.refusal.code(), code::TICKET_EXPIRED);
    assert_eq!(told(&out).error_code, 32);
}

// weaknesses 8 and 16: identity reaches the caller before the last token is made, and a refusal is a message
#[test]
fn a_client_that_the_caller_refuses_is_told_no_reason() {
    let service = service();
    let mut out = Vec::new();
    let step = service.acceptor.begin().token(
        &Mint::default().ap_req().token(),
        NOW,
        &mut TestRng::new(7),
        &mut out,
    );
    let AcceptorStep::CheckReplay(check) = step else { panic!() };
    let AcceptorStep::Authorize(authorize) = check.verdict(ReplayVerdict::Fresh, NOW, &mut out) else {
        panic!()
    };
    assert!(out.is_empty(), "nothing is sent before the caller decided");
    assert_eq!(authorize.facts().kerberos().unwrap().client, Mint::default().client);
    assert!(!authorize.facts().kerberos().unwrap().mutual, "nor was anything proved to the client");
    let refusal = Refusal::new(code::CLIENT_NOT_ALLOWED, "alice", "an allow list without alice");
    let AcceptorStep::Rejected(rejected) = authorize.refuse(refusal.clone(), NOW, &mut out) else { panic!() };
    assert_eq!(rejected.refusal, refusal);
    assert_eq!(rejected.facts.unwrap().kerberos().unwrap().client, Mint::default().client);
    let told = told(&out);
    assert_eq!((told.error_code, told.e_text, told.e_data), (60, None, None));
}

#[test]
fn a_ticket_that_opens_to_something_else_is_refused() {
    let request = altered(|ticket| ticket.appended = vec![5, 0]);
    service().refuses(&request, code::TICKET_MALFORMED, 60);
}

#[test]
fn a_session_key_of_an_etype_that_is_not_known_or_permitted_is_refused() {
    let request = altered(|ticket| ticket.written_session_key.etype = 26);
    service().refuses(&request, code::ETYPE_UNKNOWN, 60);
    let mint = Mint { session_etype: Etype::ArcfourHmac, ..Mint::default() };
    let rejected = service().refuses(&mint.ap_req(), code::ETYPE_NOT_PERMITTED, 60);
    assert!(rejected.refusal.saw().contains("session key of arcfour-hmac"), "{}", rejected.refusal);
}

#[test]
fn a_session_key_of_another_length_than_its_etype_is_refused() {
    let request = altered(|ticket| ticket.written_session_key = RawKey { etype: 18, bytes: vec![1; 31] });
    service().refuses(&request, code::TICKET_MALFORMED, 60);
}

/// A ticket of a client of `A.TEST` that came through `transited`.
fn cross_realm(transited: &str) -> ApReq {
    let mint = Mint { client: Principal::new("A.TEST", &["alice"]), ..Mint::default() };
    let mut ticket = mint.ticket();
    ticket.transited = transited.as_bytes().to_vec();
    mint.ap_req_with(ticket)
}

#[test]
fn a_realm_that_is_not_on_the_way_is_refused() {
    service().refuses(&cross_realm("EVIL"), code::TRANSITED_REALM_REFUSED, 43);
}

#[test]
fn a_realm_on_the_domain_tree_is_on_the_way() {
    let (context, _) = service().offer(&cross_realm("TEST").token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().client, Principal::new("A.TEST", &["alice"]));
    assert_eq!(context.facts().kerberos().unwrap().waivers, []);
}

#[test]
fn a_path_that_the_kdc_checked_is_not_checked_again() {
    let mut request = cross_realm("EVIL");
    request.ticket.flags = TicketFlags::TRANSITED_POLICY_CHECKED;
    service().offer(&request.token()).accepted();
}

#[test]
fn a_transited_encoding_that_is_not_known_is_refused() {
    let mut request = cross_realm("TEST");
    request.ticket.transited_type = 2;
    service().refuses(&request, code::TRANSITED_REALM_REFUSED, 43);
}

#[test]
fn capaths_let_a_realm_pass() {
    let policy = acceptor_policy(|policy| policy.capaths.set("A.TEST", "EXAMPLE.TEST", &["BRIDGE"]));
    Service::new(&Mint::default(), policy).offer(&cross_realm("BRIDGE").token()).accepted();
}

#[test]
fn a_path_that_is_not_checked_by_policy_is_a_waiver_of_the_context() {
    let policy = acceptor_policy(|policy| {
        policy.dangerous().ignore_transited();
    });
    let mut service = Service::new(&Mint::default(), policy);
    let (context, _) = service.offer(&cross_realm("EVIL").token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().waivers, [Waiver::IgnoreTransited]);
    let request = ApReq { seed: 2, ..cross_realm("TEST") };
    let (context, _) = service.offer(&request.token()).accepted();
    assert_eq!(
        context.facts().kerberos().unwrap().waivers,
        [],
        "nothing was given up for a path that is right"
    );
}

#[test]
fn the_path_is_judged_towards_the_realm_of_the_key_and_not_of_the_claimed_name() {
    let mut request = cross_realm("EVIL");
    request.ticket.service = Principal::new("EVIL", &["HTTP", "a.example.test"]);
    service().refuses(&request, code::TRANSITED_REALM_REFUSED, 43);
}

#[test]
fn authorization_data_in_a_ticket_must_be_understood_or_be_marked_as_optional() {
    let critical = altered(|ticket| {
        ticket.authorization_data = Some(authorization_data::critical(&[(12_345, b"x")]));
    });
    service().refuses(&critical, code::AUTHORIZATION_DATA_UNKNOWN, 60);
    let optional = altered(|ticket| {
        ticket.authorization_data = Some(authorization_data::if_relevant(&[(12_345, b"x")]));
    });
    service().offer(&optional.token()).accepted();
}

#[test]
fn a_ticket_with_malformed_authorization_data_is_refused() {
    let request = altered(|ticket| {
        ticket.authorization_data = Some(authorization_data::critical(&[(1, &[0x30, 5, 0])]));
    });
    service().refuses(&request, code::TICKET_MALFORMED, 60);
}
