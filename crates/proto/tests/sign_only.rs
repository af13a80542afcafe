//! Contexts for messages that are signed and not sealed: who may have them, and what they are said to be.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod context_pairs;

use context_pairs::{ETYPES, kerberos, kerberos_with, ntlm, ntlm_meeting};
use countersign_proto::context::{Facts, SecurityContext};
use countersign_proto::krb5::per_message::{Confidentiality, MessageError};
use countersign_proto::ntlm::NegotiateFlags;
use countersign_proto::policy::{AcceptorPolicy, InitiatorPolicy, Waiver};
use countersign_testkit::TestRng;
use countersign_testkit::mint::Mint;

use Confidentiality::{Sealed, SignedOnly};

fn send(
    from: &mut SecurityContext,
    to: &mut SecurityContext,
    confidentiality: Confidentiality,
) -> Result<Confidentiality, MessageError> {
    let mut token = Vec::new();
    from.sender().wrap(confidentiality, b"text", &mut TestRng::new(4), &mut token)?;
    to.receiver().unwrap_in_place(&mut token).map(|message| message.confidentiality)
}

fn signing_only(initiator: &mut InitiatorPolicy, acceptor: &mut AcceptorPolicy) {
    initiator.dangerous().sign_only();
    acceptor.dangerous().allow_unsealed();
}

/// Sealed and signed, as the facts have it.
fn agreed(facts: &Facts) -> (bool, bool) {
    (facts.sealed(), facts.signed())
}

#[test]
fn a_context_is_sealed_and_signed_unless_somebody_gives_that_up() {
    let (initiator, acceptor) = kerberos(ETYPES[1]);
    let (other_initiator, other_acceptor) = ntlm();
    for context in [initiator, acceptor, other_initiator, other_acceptor] {
        assert_eq!(agreed(context.facts()), (true, true), "{:?}", context.facts());
    }
}

#[test]
fn both_ends_of_kerberos_know_that_integrity_alone_was_asked_for_and_take_what_is_signed() {
    for etype in ETYPES {
        let (mut initiator, mut acceptor) = kerberos_with(etype, signing_only);
        for facts in [initiator.facts(), acceptor.facts()] {
            assert_eq!(agreed(facts), (false, true));
            let kerberos = facts.kerberos().unwrap();
            assert_eq!(kerberos.flags.to_string(), "mutual,replay,sequence,integ");
            assert_eq!(facts.waivers(), [Waiver::AllowUnsealed]);
        }
        assert_eq!(send(&mut initiator, &mut acceptor, SignedOnly), Ok(SignedOnly));
        assert_eq!(send(&mut acceptor, &mut initiator, SignedOnly), Ok(SignedOnly));
    }
}

#[test]
fn allowing_messages_in_clear_text_still_asks_for_confidentiality() {
    let (initiator, acceptor) = kerberos_with(ETYPES[1], |initiator, acceptor| {
        initiator.dangerous().allow_unsealed();
        acceptor.dangerous().allow_unsealed();
    });
    assert!(initiator.facts().sealed() && acceptor.facts().sealed());
}

#[test]
fn an_acceptor_that_demands_sealing_takes_no_signed_message_of_such_an_initiator() {
    let (mut initiator, mut acceptor) = kerberos_with(ETYPES[1], |initiator, _| {
        initiator.dangerous().sign_only();
    });
    assert!(!acceptor.facts().sealed());
    assert_eq!(send(&mut initiator, &mut acceptor, SignedOnly), Err(MessageError::NotSealed));
}

#[test]
fn ntlm_agrees_on_signing_without_sealing() {
    let (mut initiator, mut acceptor) = ntlm_meeting(signing_only).contexts();
    for facts in [initiator.facts(), acceptor.facts()] {
        assert_eq!(agreed(facts), (false, true));
        let Facts::Ntlm { facts, waivers } = facts else { panic!("not by NTLM") };
        assert!(!facts.flags.contains(NegotiateFlags::SEAL));
        assert_eq!(*waivers, [Waiver::AllowNtlm, Waiver::AllowUnsealed]);
    }
    assert_eq!(send(&mut initiator, &mut acceptor, SignedOnly), Ok(SignedOnly));
    assert_eq!(send(&mut acceptor, &mut initiator, SignedOnly), Ok(SignedOnly));
    assert_eq!(send(&mut initiator, &mut acceptor, Sealed), Err(MessageError::NotSealed));
}

#[test]
fn an_acceptor_of_ntlm_that_demands_sealing_takes_no_signed_message() {
    let meeting = ntlm_meeting(|initiator, _| {
        initiator.dangerous().sign_only();
    });
    let (mut initiator, mut acceptor) = meeting.contexts();
    assert!(!acceptor.facts().sealed());
    assert_eq!(send(&mut initiator, &mut acceptor, SignedOnly), Err(MessageError::NotSealed));
}

#[test]
fn a_context_of_kerberos_ends_with_the_ticket_and_one_of_ntlm_at_no_set_time() {
    let endtime = Mint::default().ticket().endtime;
    let (initiator, acceptor) = kerberos(ETYPES[1]);
    for context in [initiator, acceptor] {
        assert_eq!(context.facts().expires().unwrap().seconds(), endtime.seconds());
    }
    let (initiator, acceptor) = ntlm();
    assert_eq!((initiator.facts().expires(), acceptor.facts().expires()), (None, None));
}
