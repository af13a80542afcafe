//! Whole handshakes: an initiator and an acceptor that were written apart from each other's tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::context::{
    Acceptor, AcceptorStep, ContextParts, InitiatorStep, PeerProof, SecurityContext,
};
use countersign_proto::crypto::Etype;
use countersign_proto::error::{Refusal, code};
use countersign_proto::gss::ChannelBindings;
use countersign_proto::krb5::facts::BindingsState;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::{Confidentiality, MessageError};
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::policy::{AcceptorPolicy, Waiver};
use countersign_testkit::TestRng;
use countersign_testkit::mint::{FLAGS, Mint, NOW};
use countersign_testkit::pair::{Direction, Pair, acceptor_policy, initiator_policy, told};
use std::time::Duration;

const ETYPES: [Etype; 4] = [
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha256_128,
    Etype::Aes256CtsHmacSha384_192,
];

fn pair() -> Pair {
    Pair::new(&Mint::default(), initiator_policy(|_| {}), AcceptorPolicy::default())
}

/// Sends a message and gives what arrives.
fn send(
    from: &mut SecurityContext,
    to: &mut SecurityContext,
    confidentiality: Confidentiality,
    text: &[u8],
) -> Result<Vec<u8>, MessageError> {
    let mut token = Vec::new();
    from.sender().wrap(confidentiality, text, &mut TestRng::new(1), &mut token).unwrap();
    to.receiver().unwrap_in_place(&mut token).map(|message| message.plaintext.to_vec())
}

#[test]
fn both_ends_know_the_same_of_each_other() {
    let mint = Mint::default();
    let meeting = pair().meet();
    assert_eq!(meeting.transcript.len(), 2);
    let (initiator, acceptor) = meeting.contexts();
    let (theirs, ours) = (initiator.facts().kerberos().unwrap(), acceptor.facts().kerberos().unwrap());
    for facts in [theirs, ours] {
        assert_eq!((&facts.client, &facts.service), (&mint.client, &mint.service));
        assert_eq!(facts.claimed_service, mint.service);
        assert_eq!((facts.flags, facts.mutual, facts.waivers.len()), (FLAGS, true, 0));
        assert_eq!((facts.kvno, facts.ticket_etype), (Some(2), 18));
        assert_eq!(facts.session_etype, facts.message_etype);
    }
    assert_eq!(theirs.authtime.seconds(), ours.authtime.seconds());
    assert_eq!(theirs.endtime.seconds(), ours.endtime.seconds());
    assert_eq!((ours.bindings, theirs.bindings), (BindingsState::NotCompared, BindingsState::NotCompared));
}

#[test]
fn every_etype_of_ticket_and_session_key_meets_every_preference_for_the_subkey() {
    for ticket_etype in ETYPES {
        for session_etype in ETYPES {
            for preferred in ETYPES {
                let mint = Mint { ticket_etype, session_etype, ..Mint::default() };
                let mut order = vec![preferred];
                order.extend(ETYPES.into_iter().filter(|etype| *etype != preferred));
                let initiator = initiator_policy(|policy| policy.permitted_enctypes = order.clone());
                let acceptor = acceptor_policy(|policy| policy.permitted_enctypes = order.clone());
                let (mut initiator, mut acceptor) = Pair::new(&mint, initiator, acceptor).meet().contexts();
                assert_eq!(initiator.facts().kerberos().unwrap().message_etype, preferred);
                assert_eq!(acceptor.facts().kerberos().unwrap().message_etype, preferred);
                let sealed = Confidentiality::Sealed;
                assert_eq!(send(&mut initiator, &mut acceptor, sealed, b"there").unwrap(), b"there");
                assert_eq!(send(&mut acceptor, &mut initiator, sealed, b"back").unwrap(), b"back");
            }
        }
    }
}

// weakness 11
#[test]
fn an_acceptor_believes_that_its_proof_arrived_only_after_the_first_message() {
    let (mut initiator, mut acceptor) = pair().meet().contexts();
    assert_eq!(initiator.peer_proof(), PeerProof::Confirmed);
    assert_eq!(acceptor.peer_proof(), PeerProof::Authenticated);
    let mut forged = vec![0x05, 0x04, 6, 0xFF];
    forged.resize(80, 0);
    assert!(acceptor.receiver().unwrap_in_place(&mut forged).is_err());
    assert_eq!(acceptor.peer_proof(), PeerProof::Authenticated);
    send(&mut acceptor, &mut initiator, Confidentiality::Sealed, b"mine").unwrap();
    assert_eq!(acceptor.peer_proof(), PeerProof::Authenticated, "our own messages prove nothing");
    send(&mut initiator, &mut acceptor, Confidentiality::Sealed, b"theirs").unwrap();
    assert_eq!(acceptor.peer_proof(), PeerProof::Confirmed);
}

// weakness 11
#[test]
fn a_mic_confirms_the_peer_as_a_message_does() {
    let (mut initiator, mut acceptor) = pair().meet().contexts();
    let mut mic = Vec::new();
    initiator.sender().mic(&[b"list"], &mut mic).unwrap();
    assert!(acceptor.receiver().verify_mic(&[b"lisp"], &mic).is_err());
    assert_eq!(acceptor.peer_proof(), PeerProof::Authenticated);
    acceptor.receiver().verify_mic(&[b"list"], &mic).unwrap();
    assert_eq!(acceptor.peer_proof(), PeerProof::Confirmed);
}

// weakness 10
#[test]
fn messages_of_one_handshake_mean_nothing_to_another() {
    let mut pair = pair();
    let (mut first, _) = pair.meet().contexts();
    pair.advance(Duration::from_secs(1));
    let (_, mut second) = pair.meet().contexts();
    assert_eq!(send(&mut first, &mut second, Confidentiality::Sealed, b"x"), Err(MessageError::Integrity));
}

#[test]
fn messages_must_be_sealed_unless_both_policies_say_otherwise() {
    let (mut initiator, mut acceptor) = pair().meet().contexts();
    let signed = Confidentiality::SignedOnly;
    assert_eq!(send(&mut initiator, &mut acceptor, signed, b"x"), Err(MessageError::NotSealed));
    assert_eq!(send(&mut acceptor, &mut initiator, signed, b"x"), Err(MessageError::NotSealed));

    let lax_initiator = initiator_policy(|policy| {
        policy.dangerous().allow_unsealed();
    });
    let lax_acceptor = acceptor_policy(|policy| {
        policy.dangerous().allow_unsealed();
    });
    let mut pair = Pair::new(&Mint::default(), lax_initiator, lax_acceptor);
    let (mut initiator, mut acceptor) = pair.meet().contexts();
    assert_eq!(send(&mut initiator, &mut acceptor, signed, b"x").unwrap(), b"x");
    assert_eq!(send(&mut acceptor, &mut initiator, signed, b"y").unwrap(), b"y");
    assert_eq!(initiator.facts().kerberos().unwrap().waivers, [Waiver::AllowUnsealed]);
    assert_eq!(acceptor.facts().kerberos().unwrap().waivers, [Waiver::AllowUnsealed]);
}

// weakness 9
#[test]
fn ends_of_different_channels_do_not_meet() {
    let bound = |name: &str| Some(ChannelBindings::from_application_data(name.as_bytes().to_vec()));
    let meet = |ours: Option<ChannelBindings>, theirs: Option<ChannelBindings>| {
        let initiator = initiator_policy(|policy| policy.channel_bindings = ours);
        let acceptor = acceptor_policy(|policy| policy.channel_bindings = theirs.into_iter().collect());
        Pair::new(&Mint::default(), initiator, acceptor).meet()
    };
    let (initiator, acceptor) = meet(bound("a"), bound("a")).contexts();
    assert_eq!(initiator.facts().kerberos().unwrap().bindings, BindingsState::Sent);
    assert_eq!(acceptor.facts().kerberos().unwrap().bindings, BindingsState::Matched);
    let relayed = meet(bound("a"), bound("b"));
    assert_eq!(relayed.acceptor.err().unwrap().refusal.code(), code::CHANNEL_BINDINGS_MISMATCH);
    assert_eq!(relayed.initiator.err().unwrap().code(), code::KRB_ERROR_RECEIVED);
}

#[test]
fn a_skewed_clock_is_mended_on_the_same_connection() {
    let mut pair = pair();
    pair.service.now = pair.service.now.saturating_add(Duration::from_secs(3_600));
    let meeting = pair.meet();
    let directions: Vec<_> = meeting.transcript.iter().map(|(direction, _)| *direction).collect();
    use Direction::{ToAcceptor, ToInitiator};
    assert_eq!(directions, [ToAcceptor, ToInitiator, ToAcceptor, ToInitiator]);
    assert_eq!(told(&meeting.transcript[1].1).error_code, 37);
    let _contexts = meeting.contexts();
}

#[test]
fn a_clock_beyond_the_tickets_life_is_not_mended_and_both_ends_say_why() {
    let mut pair = pair();
    pair.service.now = pair.service.now.saturating_sub(Duration::from_secs(400));
    let meeting = pair.meet();
    // Our time is before the ticket's start: the acceptor finds the ticket not yet good.
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::TICKET_NOT_YET_VALID);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::KRB_ERROR_RECEIVED);
}

#[test]
fn a_forged_skew_costs_one_more_leg_and_nothing_else() {
    let mut pair = pair();
    let mint = Mint::default();
    let meeting = pair.meet_altered(|delivery| {
        if delivery.index == 1 {
            let mut forged = Vec::new();
            let stime = mint.now.shifted(3_600_000_000);
            countersign_proto::krb5::acceptor::krb_error(37, &mint.service, true, stime, &mut forged);
            delivery.token = Some(forged);
        }
    });
    // The acceptor believes itself done; the initiator does not, and the acceptor hears no message of it.
    let mut acceptor = meeting.acceptor.ok().unwrap();
    assert_eq!(acceptor.peer_proof(), PeerProof::Authenticated);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::SERVICE_NEVER_PROVED);
    assert!(!acceptor.receiver().has_verified_any());
}

#[test]
fn an_ap_rep_of_an_earlier_handshake_is_refused() {
    let mut pair = pair();
    let recorded = pair.meet().transcript[1].1.clone();
    pair.advance(Duration::from_secs(1));
    let meeting = pair.meet_altered(|delivery| {
        if delivery.direction == Direction::ToInitiator {
            delivery.token = Some(recorded.clone());
        }
    });
    assert_eq!(meeting.initiator.err().unwrap().code(), code::AP_REP_MISMATCH);
}

#[test]
fn an_ap_req_of_an_earlier_handshake_is_refused() {
    let mut pair = pair();
    let recorded = pair.meet().transcript[0].1.clone();
    pair.advance(Duration::from_secs(1));
    let meeting = pair.meet_altered(|delivery| {
        if delivery.direction == Direction::ToAcceptor {
            delivery.token = Some(recorded.clone());
        }
    });
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::REPLAY);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::KRB_ERROR_RECEIVED);
}

// weakness 16
#[test]
fn a_cut_connection_leaves_no_context_at_the_end_that_waits() {
    let cut_before = |index| {
        pair().meet_altered(|delivery| {
            if delivery.index == index {
                delivery.token = None;
            }
        })
    };
    let meeting = cut_before(0);
    assert_eq!(meeting.initiator.err().unwrap().code(), code::SERVICE_NEVER_PROVED);
    assert_eq!(meeting.acceptor.err().unwrap().refusal.code(), code::CONNECTION_CUT);
    assert_eq!(cut_before(1).initiator.err().unwrap().code(), code::SERVICE_NEVER_PROVED);
}

// weakness 24
#[test]
fn contexts_and_their_halves_can_be_given_to_other_threads() {
    fn sendable<T: Send + 'static>(_: &T) {}
    let (initiator, acceptor) = pair().meet().contexts();
    let ContextParts { mut sender, receiver, export, .. } = initiator.into_parts();
    sendable(&sender);
    sendable(&receiver);
    sendable(&export);
    let token = std::thread::spawn(move || {
        let mut token = Vec::new();
        sender.wrap(Confidentiality::Sealed, b"x", &mut TestRng::new(1), &mut token).unwrap();
        token
    });
    let mut token = token.join().unwrap();
    let mut receiver = acceptor.into_parts().receiver;
    assert_eq!(receiver.unwrap_in_place(&mut token).unwrap().plaintext, b"x");
}

// weakness 24
#[test]
fn handshakes_of_one_acceptor_that_interleave_do_not_mix() {
    let mint = Mint::default();
    let acceptor = Acceptor::new(mint.service_keys(), AcceptorPolicy::default());
    let clients = ["alice", "bob", "carol"].map(|name| {
        let client = Principal::new("EXAMPLE.TEST", &[name]);
        Mint { client, ..Mint::default() }.ap_req()
    });
    let mut out = Vec::new();
    let checks: Vec<_> = clients
        .iter()
        .map(|request| match acceptor.begin().token(&request.token(), NOW, &mut TestRng::new(7), &mut out) {
            AcceptorStep::CheckReplay(check) => check,
            _ => panic!("no replay check"),
        })
        .collect();
    for (check, request) in checks.into_iter().zip(&clients).rev() {
        let AcceptorStep::Authorize(authorize) = check.verdict(ReplayVerdict::Fresh, NOW, &mut out) else {
            panic!("no decision to make")
        };
        assert_eq!(authorize.facts().kerberos().unwrap().client, request.authenticator.client);
    }
    assert!(out.is_empty());
}

// weakness 29
#[test]
fn every_step_appends_to_a_buffer_and_leaves_what_stands_in_it() {
    let mint = Mint::default();
    let pair = pair();
    let mut request = b"before".to_vec();
    let state = pair.initiator.begin(NOW, &mut TestRng::new(1), &mut request).unwrap();
    assert!(request.starts_with(b"before\x60"));
    let acceptor = Acceptor::new(mint.service_keys(), AcceptorPolicy::default());
    let mut reply = b"before".to_vec();
    let AcceptorStep::CheckReplay(check) =
        acceptor.begin().token(&request[6..], NOW, &mut TestRng::new(7), &mut reply)
    else {
        panic!("no replay check")
    };
    let AcceptorStep::Authorize(authorize) = check.verdict(ReplayVerdict::Fresh, NOW, &mut reply) else {
        panic!("no decision to make")
    };
    assert_eq!(reply, b"before");
    let AcceptorStep::Done(_) = authorize.admit(NOW, &mut TestRng::new(2), &mut reply) else {
        panic!("not admitted")
    };
    assert!(reply.starts_with(b"before\x60"));
    let step = state.token(&reply[6..], NOW, &mut TestRng::new(3), &mut request);
    assert!(matches!(step, InitiatorStep::Done(_)));
    let refused =
        pair.service.acceptor.begin().token(&reply[6..], NOW, &mut TestRng::new(7), &mut reply.clone());
    assert!(matches!(refused, AcceptorStep::Rejected(_)), "an AP-REP begins no handshake");
}

#[test]
fn whatever_the_programs_reason_is_the_client_is_told_a_generic_error() {
    let acceptor = Acceptor::new(Mint::default().service_keys(), AcceptorPolicy::default());
    let mut out = Vec::new();
    let step = acceptor.begin().token(&Mint::default().ap_req().token(), NOW, &mut TestRng::new(7), &mut out);
    let AcceptorStep::CheckReplay(check) = step else { panic!("no replay check") };
    let AcceptorStep::Authorize(authorize) = check.verdict(ReplayVerdict::Fresh, NOW, &mut out) else {
        panic!("no decision to make")
    };
    let deadline = Refusal::new(code::HANDSHAKE_DEADLINE, "11 s", "a deadline of 10 s");
    assert!(matches!(authorize.refuse(deadline, NOW, &mut out), AcceptorStep::Rejected(_)));
    assert_eq!(told(&out).error_code, 60);
}
