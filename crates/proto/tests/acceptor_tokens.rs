//! What an acceptor does with bytes that are no AP-REQ: it ends, and says nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use countersign_proto::context::Acceptor;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::framing::{self, Framed, Mech, TokenId};
use countersign_proto::policy::AcceptorPolicy;
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::Service;

fn service() -> Service {
    Service::new(&Mint::default(), AcceptorPolicy::default())
}

/// Refused, nothing sent, nobody named.
fn ends_in_silence(token: &[u8], code: Code) {
    let (rejected, sent) = service().offer(token).refused();
    assert_eq!(rejected.refusal.code(), code, "{}", rejected.refusal);
    assert!(sent.is_empty() && rejected.claimed_service.is_none() && rejected.facts.is_none());
}

fn framed(token_id: TokenId, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    framing::wrap(token_id, &mut out, |writer| writer.encoded(body));
    out
}

/// The default AP-REQ in a frame with another object identifier.
fn framed_as(mech: Mech) -> Vec<u8> {
    let mut contents = vec![6, u8::try_from(mech.oid().len()).unwrap()];
    contents.extend_from_slice(mech.oid());
    contents.extend_from_slice(&[1, 0]);
    contents.extend_from_slice(&Mint::default().ap_req().body());
    let mut out = Vec::new();
    countersign_proto::der::Writer::new(&mut out).primitive(0x60, &contents);
    out
}

// weakness 15
#[test]
fn an_empty_token_ends_the_handshake_without_an_answer() {
    ends_in_silence(&[], code::TOKEN_UNRECOGNISED);
}

#[test]
fn bytes_that_begin_no_token_are_told_apart_from_tokens_of_other_mechs() {
    ends_in_silence(b"GET / HTTP/1.1\r\n", code::TOKEN_UNRECOGNISED);
    ends_in_silence(b"NTLMSSP\0\x01\0\0\0", code::NTLM_OFF);
    ends_in_silence(&[0x16, 3, 1, 0, 5], code::TOKEN_MECH_UNSUPPORTED);
    ends_in_silence(&framed_as(Mech::Iakerb), code::TOKEN_MECH_UNSUPPORTED);
    // weakness 7: another package than Kerberos is never taken silently
    ends_in_silence(&framed_as(Mech::Ntlmssp), code::TOKEN_MECH_UNSUPPORTED);
}

#[test]
fn an_ap_req_without_a_frame_is_dce_style_and_refused() {
    ends_in_silence(&Mint::default().ap_req().body(), code::TOKEN_MECH_UNSUPPORTED);
}

#[test]
fn every_number_that_kerberos_has_or_had_is_taken_and_answered_in_kind() {
    for mech in [Mech::Krb5, Mech::MsKrb5, Mech::OldKrb5, Mech::UserToUser] {
        let mut service = service();
        let (_, reply) = service.offer(&framed_as(mech)).accepted();
        let reply = Framed::open(&reply).unwrap();
        assert_eq!((reply.mech, reply.token_id), (mech, TokenId::ApRep));
        let (_, error) = service.offer(&framed_as(mech)).refused();
        let error = Framed::open(&error).unwrap();
        assert_eq!((error.mech, error.token_id), (mech, TokenId::KrbError));
    }
}

#[test]
fn a_frame_that_does_not_span_the_token_is_refused() {
    let mut token = Mint::default().ap_req().token();
    token.push(0);
    ends_in_silence(&token, code::TOKEN_MALFORMED);
    token.truncate(token.len() - 2);
    ends_in_silence(&token, code::TOKEN_MALFORMED);
}

#[test]
fn bytes_after_the_ap_req_are_refused() {
    let mut body = Mint::default().ap_req().body();
    body.push(0);
    ends_in_silence(&framed(TokenId::ApReq, &body), code::TOKEN_MALFORMED);
}

#[test]
fn tokens_of_another_step_are_refused() {
    let body = Mint::default().ap_req().body();
    ends_in_silence(&framed(TokenId::ApRep, &body), code::TOKEN_UNEXPECTED);
    ends_in_silence(&framed(TokenId::KrbError, &body), code::TOKEN_UNEXPECTED);
    let mut unknown = framed(TokenId::ApReq, &body);
    let at = unknown.windows(2).position(|pair| pair == [1, 0]).unwrap();
    unknown[at] = 9;
    ends_in_silence(&unknown, code::TOKEN_UNEXPECTED);
}

#[test]
fn a_user_to_user_ticket_request_is_refused_by_name() {
    ends_in_silence(&framed(TokenId::TgtReq, &[]), code::USER_TO_USER_UNSUPPORTED);
}

#[test]
fn another_version_or_message_type_than_ap_req_is_refused() {
    let body = Mint::default().ap_req().body();
    let pvno = body.windows(5).position(|field| field == [0xA0, 3, 2, 1, 5]).unwrap();
    let msg_type = body.windows(5).position(|field| field == [0xA1, 3, 2, 1, 14]).unwrap();
    for at in [pvno, msg_type] {
        let mut altered = body.clone();
        altered[at + 4] = 4;
        ends_in_silence(&framed(TokenId::ApReq, &altered), code::TOKEN_MALFORMED);
    }
}

// weakness 14
#[test]
fn a_peer_that_never_ends_meets_the_leg_cap() {
    let mint = Mint::default();
    let acceptor = Acceptor::with_max_legs(mint.service_keys(), AcceptorPolicy::default(), 1);
    let mut service = Service::of(acceptor, mint.now);
    let mut request = mint.ap_req();
    request.authenticator.ctime = mint.now.shifted(-400_000_000);
    let (state, _) = service.offer(&request.token()).again();
    request.authenticator.ctime = mint.now;
    let (rejected, sent) = service.offer_to(state, &request.token()).refused();
    assert_eq!(rejected.refusal.code(), code::HANDSHAKE_TOO_MANY_LEGS);
    assert!(rejected.refusal.to_string().contains("limit of 1"), "{}", rejected.refusal);
    assert!(sent.is_empty());
}

#[test]
fn a_leg_cap_of_nothing_lets_one_token_in() {
    let mint = Mint::default();
    let acceptor = Acceptor::with_max_legs(mint.service_keys(), AcceptorPolicy::default(), 0);
    Service::of(acceptor, mint.now).offer(&mint.ap_req().token()).accepted();
}

#[test]
fn a_handshake_abandoned_before_a_token_has_the_callers_cause() {
    let cause = Refusal::new(code::HANDSHAKE_DEADLINE, "10 s of silence", "a deadline of 10 s");
    let rejected = service().acceptor.begin().abandon(cause.clone());
    assert_eq!(rejected.refusal, cause);
    assert!(rejected.claimed_service.is_none() && rejected.facts.is_none());
}
