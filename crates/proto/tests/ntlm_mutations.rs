//! Somebody on the way changes one thing in one message of a handshake of NTLM: an end sees it, and nothing panics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ntlm_pair;

use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::ntlm::messages::{Challenge, NewChallenge, push_av_pair};
use countersign_proto::ntlm::{NtlmError, acceptor, initiator};
use ntlm_pair::{Demands, authenticated, bindings, bound, challenged, negotiate};

const SPN: &str = "HTTP/server.example.test";

/// Which message is changed on the way.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Negotiate,
    Challenge,
    Authenticate,
}

const ALL: [Which; 3] = [Which::Negotiate, Which::Challenge, Which::Authenticate];

/// A whole handshake in which one message passes through `change`.
fn handshake(
    which: Which,
    change: &dyn Fn(&[u8]) -> Vec<u8>,
) -> Result<(initiator::Established, acceptor::Established), NtlmError> {
    let pass = |here, message: Vec<u8>| if here == which { change(&message) } else { message };
    let policy = bound(Some(bindings("here")));
    let demands =
        Demands { bindings: Some(bindings("here")), require_bindings: true, spns: vec![SPN.to_owned()] };
    let (negotiated, message) = negotiate(&policy);
    let (challenged, message) = challenged(&pass(Which::Negotiate, message))?;
    let (ours, message) = authenticated(negotiated, &pass(Which::Challenge, message), Some(SPN))?;
    let theirs = demands.judge(challenged, &pass(Which::Authenticate, message))?;
    Ok((ours, theirs))
}

/// The message that `which` is, unchanged.
fn message(which: Which) -> Vec<u8> {
    let seen = std::cell::RefCell::new(Vec::new());
    let keep = |message: &[u8]| {
        *seen.borrow_mut() = message.to_vec();
        message.to_vec()
    };
    assert!(handshake(which, &keep).is_ok());
    seen.into_inner()
}

fn assert_refused(which: Which, changed: Vec<u8>, what: &str) {
    assert!(handshake(which, &|_| changed.clone()).is_err(), "{what}");
}

#[test]
fn unchanged_messages_come_to_contexts_that_agree() {
    let (ours, theirs) = handshake(Which::Negotiate, &<[u8]>::to_vec).ok().unwrap();
    assert_eq!((ours.facts.flags, &ours.facts.target_name), (theirs.facts.flags, &theirs.facts.target_name));
    let (mut our_sender, mut our_receiver) = ours.protection.split(true);
    let (mut their_sender, mut their_receiver) = theirs.protection.split(true);
    for (sender, receiver) in [(&mut our_sender, &mut their_receiver), (&mut their_sender, &mut our_receiver)]
    {
        let mut token = Vec::new();
        sender.wrap(Confidentiality::Sealed, b"hello", &mut token).unwrap();
        assert_eq!(receiver.unwrap_in_place(&mut token).ok().unwrap().plaintext, b"hello");
    }
}

#[test]
fn every_flipped_bit_is_seen() {
    for which in ALL {
        let whole = message(which);
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_refused(which, changed, &format!("bit {bit}"));
        }
    }
}

#[test]
fn every_cut_is_seen() {
    for which in ALL {
        let whole = message(which);
        for length in 0..whole.len() {
            assert_refused(which, whole[..length].to_vec(), &format!("{length} bytes"));
        }
    }
}

#[test]
fn every_byte_left_out_or_doubled_is_seen() {
    for which in ALL {
        let whole = message(which);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed.insert(at, whole[at]);
            assert_refused(which, changed, &format!("byte {at} doubled"));
            let mut changed = whole.clone();
            changed.remove(at);
            assert_refused(which, changed, &format!("byte {at} left out"));
        }
        assert_refused(which, [&whole[..], &whole[..]].concat(), "the whole doubled");
    }
}

#[test]
fn every_field_emptied_or_taken_for_another_is_seen() {
    for (which, fields) in
        [(Which::Challenge, &[12, 40][..]), (Which::Authenticate, &[12, 20, 28, 36, 44, 52])]
    {
        let whole = message(which);
        for &field in fields {
            if whole[field..field + 2] != [0, 0] {
                let mut changed = whole.clone();
                changed[field..field + 4].fill(0);
                assert_refused(which, changed, &format!("field {field} emptied"));
            }
            for &other in fields.iter().filter(|other| **other != field) {
                let mut changed = whole.clone();
                changed.copy_within(other..other + 8, field);
                assert_refused(which, changed, &format!("field {field} as field {other}"));
            }
        }
    }
}

#[test]
fn every_av_pair_left_out_or_doubled_is_seen() {
    let whole = message(Which::Challenge);
    let read = Challenge::parse(&whole).ok().unwrap();
    let pairs: Vec<_> =
        countersign_proto::ntlm::messages::AvPairs::parse(read.target_info).ok().unwrap().iter().collect();
    assert_eq!(pairs.len(), 5);
    for left_out in 0..pairs.len() {
        for count in [0, 2] {
            let mut target_info = Vec::new();
            for (index, (id, value)) in pairs.iter().enumerate() {
                for _ in 0..if index == left_out { count } else { 1 } {
                    push_av_pair(&mut target_info, *id, value).unwrap();
                }
            }
            push_av_pair(&mut target_info, 0, &[]).unwrap();
            let mut changed = Vec::new();
            NewChallenge {
                flags: read.flags,
                server_challenge: read.server_challenge,
                target_name: read.target_name,
                target_info: &target_info,
            }
            .write(&mut changed)
            .unwrap();
            assert_refused(Which::Challenge, changed, &format!("pair {left_out}, {count} times"));
        }
    }
}

#[test]
fn a_message_in_place_of_another_is_seen() {
    for which in ALL {
        for other in ALL.into_iter().filter(|other| *other != which) {
            assert_refused(which, message(other), "another message");
        }
    }
}
