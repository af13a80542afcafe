//! Replays, clocks, and the one more chance that a skewed clock has.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::context::{AcceptorStep, CheckReplay};
use countersign_proto::crypto::Etype;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::replay::{ReplayUnavailable, ReplayVerdict};
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{ApReq, Mint, NOW};
use countersign_testkit::pair::{Service, acceptor_policy, told};

const SKEW_MICROS: i64 = 300_000_000;

fn service() -> Service {
    Service::new(&Mint::default(), AcceptorPolicy::default())
}

fn made_at(ctime: Timestamp) -> ApReq {
    let mut request = Mint::default().ap_req();
    request.authenticator.ctime = ctime;
    request
}

fn check_of(service: &Service, request: &ApReq) -> CheckReplay {
    let mut out = Vec::new();
    match service.acceptor.begin().token(&request.token(), service.now, &mut TestRng::new(7), &mut out) {
        AcceptorStep::CheckReplay(check) => check,
        _ => panic!("no replay check"),
    }
}

// weakness 25
#[test]
fn acceptor_refuses_an_authenticator_seen_before() {
    let mut service = service();
    let request = Mint::default().ap_req();
    service.offer(&request.token()).accepted();
    let rejected = service.refuses(&request, code::REPLAY, 34);
    assert_eq!(rejected.facts.unwrap().kerberos().unwrap().client, Mint::default().client);
}

#[test]
fn what_a_sender_can_change_does_not_make_an_authenticator_new() {
    let mut service = service();
    let request = Mint::default().ap_req();
    service.offer(&request.token()).accepted();
    let mut renamed = request.clone();
    renamed.ticket.service = Principal::new("OTHER.TEST", &["ldap", "alias"]);
    service.refuses(&renamed, code::REPLAY, 34);
    let mut of_another_version = request.clone();
    of_another_version.ticket.kvno = None;
    service.refuses(&of_another_version, code::REPLAY, 34);
    let mut with_other_options = request;
    with_other_options.ap_options.0 = 0x8000_0000;
    service.refuses(&with_other_options, code::REPLAY, 34);
}

#[test]
fn the_store_is_asked_by_the_integrity_tag_of_the_ciphertext() {
    for etype in AcceptorPolicy::default().permitted_enctypes {
        let mint = Mint::of_etype(etype);
        let service = Service::new(&mint, AcceptorPolicy::default());
        let request = mint.ap_req();
        let presented = check_of(&service, &request).presented().clone();
        let token = request.token();
        let tag = &token[token.len() - etype.tag_len()..];
        assert_eq!(presented.tag[..tag.len()], *tag);
        assert!(presented.tag[tag.len()..].iter().all(|byte| *byte == 0));
        assert_eq!((presented.ctime, presented.client), (request.authenticator.ctime, mint.client));
    }
}

#[test]
fn the_tag_of_an_rc4_authenticator_is_what_comes_first() {
    let mint = Mint::of_etype(Etype::ArcfourHmac);
    let policy = acceptor_policy(|policy| policy.permitted_enctypes = vec![Etype::ArcfourHmac]);
    let request = mint.ap_req();
    let presented = check_of(&Service::new(&mint, policy), &request).presented().clone();
    let found = request.token().windows(16).any(|bytes| *bytes == presented.tag[..16]);
    assert!(found && presented.tag[16..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_store_is_asked_of_what_may_be_acceptable_later() {
    let service = service();
    let skewed = made_at(NOW.shifted(SKEW_MICROS + 1));
    // The step exists at all for an authenticator whose time is not now: it will be remembered.
    check_of(&service, &skewed);
    let mut early = Mint::default().ap_req();
    early.ticket.starttime = Some(NOW.shifted(2 * SKEW_MICROS));
    check_of(&service, &early);
}

#[test]
fn what_can_never_be_accepted_takes_no_room_in_the_store() {
    let mut service = service();
    let mut expired = Mint::default().ap_req();
    expired.ticket.endtime = NOW.shifted(-2 * SKEW_MICROS);
    service.refuses(&expired, code::TICKET_EXPIRED, 32);
    // When this one is not too early any more, its ticket has expired.
    let end = Timestamp::new(Mint::default().ticket().endtime.seconds(), 0);
    service.refuses(&made_at(end.shifted(2 * SKEW_MICROS + 1)), code::CLOCK_SKEW, 37);
    assert!(service.replays.is_empty());
    service.offer(&made_at(end.shifted(2 * SKEW_MICROS)).token()).again();
    assert!(!service.replays.is_empty());
}

#[test]
fn seen_goes_before_skew_and_skew_of_the_past_before_a_store_that_cannot_tell() {
    let service = service();
    let skewed = made_at(NOW.shifted(-SKEW_MICROS - 1));
    let verdict = |verdict| {
        let mut out = Vec::new();
        match check_of(&service, &skewed).verdict(verdict, NOW, &mut out) {
            AcceptorStep::Rejected(rejected) => (rejected.refusal.code(), told(&out).error_code),
            AcceptorStep::AwaitToken(state) => {
                let cause = Refusal::new(code::CONNECTION_CUT, "", "");
                (state.abandon(cause).refusal.code(), told(&out).error_code)
            }
            _ => panic!("accepted"),
        }
    };
    assert_eq!(verdict(ReplayVerdict::Seen), (code::REPLAY, 34));
    assert_eq!(verdict(ReplayVerdict::Unavailable(ReplayUnavailable::Full)), (code::CLOCK_SKEW, 37));
    assert_eq!(verdict(ReplayVerdict::Fresh), (code::CLOCK_SKEW, 37));
}

#[test]
fn an_early_authenticator_that_the_store_could_not_remember_gets_no_second_chance() {
    let check = check_of(&service(), &made_at(NOW.shifted(SKEW_MICROS + 1)));
    let full = ReplayVerdict::Unavailable(ReplayUnavailable::Full);
    let mut out = Vec::new();
    let AcceptorStep::Rejected(rejected) = check.verdict(full, NOW, &mut out) else { panic!("not refused") };
    assert_eq!((rejected.refusal.code(), told(&out).error_code), (code::REPLAY_STORE_FULL, 60));
}

#[test]
fn an_expired_ticket_goes_before_a_skewed_clock() {
    let mut request = made_at(NOW.shifted(SKEW_MICROS + 1));
    request.ticket.endtime = NOW.shifted(-2 * SKEW_MICROS);
    service().refuses(&request, code::TICKET_EXPIRED, 32);
}

#[test]
fn a_store_that_cannot_tell_is_a_refusal_with_a_code_for_each_cause() {
    let service = service();
    for (fault, code) in [
        (ReplayUnavailable::Full, code::REPLAY_STORE_FULL),
        (ReplayUnavailable::ClientShare, code::REPLAY_CLIENT_SHARE_USED),
        (ReplayUnavailable::Horizon, code::REPLAY_HORIZON),
        (ReplayUnavailable::Down, code::REPLAY_STORE_UNAVAILABLE),
        (ReplayUnavailable::Changed, code::REPLAY_STORE_CHANGED),
    ] {
        let mut out = Vec::new();
        let check = check_of(&service, &Mint::default().ap_req());
        let AcceptorStep::Rejected(rejected) =
            check.verdict(ReplayVerdict::Unavailable(fault), NOW, &mut out)
        else {
            panic!("accepted")
        };
        assert_eq!((rejected.refusal.code(), told(&out).error_code), (code, 60));
        assert!(rejected.facts.is_some());
    }
}

#[test]
fn the_clock_is_looked_at_again_after_the_store_answered() {
    let service = service();
    let check = check_of(&service, &Mint::default().ap_req());
    let later = NOW.shifted(SKEW_MICROS + 1);
    let mut out = Vec::new();
    assert!(matches!(check.verdict(ReplayVerdict::Fresh, later, &mut out), AcceptorStep::AwaitToken(_)));
    assert_eq!(told(&out).error_code, 37);
}

#[test]
fn a_clock_may_be_off_by_the_skew_and_not_by_a_microsecond_more() {
    for direction in [1, -1] {
        let mut service = service();
        service.offer(&made_at(NOW.shifted(direction * SKEW_MICROS)).token()).accepted();
        service.offer(&made_at(NOW.shifted(direction * (SKEW_MICROS + 1))).token()).again();
    }
}

#[test]
fn a_skewed_client_is_told_our_time_and_that_it_may_try_again() {
    let (_, sent) = service().offer(&made_at(NOW.shifted(-400_000_000)).token()).again();
    let told = told(&sent);
    assert_eq!((told.error_code, told.stime, told.e_text), (37, NOW, None));
    assert_eq!(told.service, Mint::default().service);
    // KERB-ERROR-DATA { data-type [1] 2 }
    assert_eq!(told.e_data.unwrap(), [0x30, 5, 0xA1, 3, 2, 1, 2]);
}

#[test]
fn a_skewed_client_that_tries_again_with_our_time_is_accepted_on_the_same_handshake() {
    let mut service = service();
    let (state, sent) = service.offer(&made_at(NOW.shifted(-400_000_000)).token()).again();
    let retry = made_at(told(&sent).stime);
    let (context, _) = service.offer_to(state, &retry.token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().client, Mint::default().client);
}

#[test]
fn a_second_skewed_ap_req_is_refused_without_another_chance() {
    let mut service = service();
    let (state, _) = service.offer(&made_at(NOW.shifted(-400_000_000)).token()).again();
    let (rejected, sent) = service.offer_to(state, &made_at(NOW.shifted(-500_000_000)).token()).refused();
    assert_eq!(rejected.refusal.code(), code::CLOCK_SKEW);
    assert_eq!((told(&sent).error_code, told(&sent).e_data), (37, None));
}

#[test]
fn the_same_skewed_ap_req_again_is_a_replay() {
    let mut service = service();
    let request = made_at(NOW.shifted(-400_000_000));
    let (state, _) = service.offer(&request.token()).again();
    let (rejected, sent) = service.offer_to(state, &request.token()).refused();
    assert_eq!((rejected.refusal.code(), told(&sent).error_code), (code::REPLAY, 34));
}

#[test]
fn a_retry_is_checked_as_strictly_as_a_first_token() {
    let mut service = service();
    let (state, _) = service.offer(&made_at(NOW.shifted(-400_000_000)).token()).again();
    let mut retry = made_at(NOW);
    retry.authenticator.checksum = None;
    let (rejected, sent) = service.offer_to(state, &retry.token()).refused();
    assert_eq!((rejected.refusal.code(), told(&sent).error_code), (code::CHECKSUM_ABSENT, 50));
}

// weakness 16: both ends agree on the outcome though no verdict message follows
#[test]
fn a_skewed_client_that_goes_away_was_refused_for_its_clock() {
    let (state, _) = service().offer(&made_at(NOW.shifted(-400_000_000)).token()).again();
    let rejected = state.abandon(Refusal::new(code::CONNECTION_CUT, "the end", "no token"));
    assert_eq!(rejected.refusal.code(), code::CLOCK_SKEW);
    assert!(rejected.refusal.saw().contains("400 s behind us"), "{}", rejected.refusal);
    assert_eq!(rejected.claimed_service, Some(Mint::default().service.to_string()));
    assert_eq!(rejected.facts.unwrap().kerberos().unwrap().client, Mint::default().client);
}

#[test]
fn a_skew_is_no_chance_for_an_authenticator_that_failed_otherwise() {
    let mut request = made_at(NOW.shifted(-400_000_000));
    request.key = request.ticket.key.clone();
    service().refuses(&request, code::AUTHENTICATOR_INTEGRITY, 31);
}
