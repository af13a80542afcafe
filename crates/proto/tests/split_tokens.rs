//! Wrap tokens as SSPI lays them out: all that is not plaintext comes first, and then as many bytes as the plaintext has.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod context_pairs;

use context_pairs::{ETYPES, kerberos, ntlm};
use countersign_proto::context::SecurityContext;
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::krb5::per_message::{
    Confidentiality, Layout, MessageError, Protection, Receiver, Role, Sender, SequenceMode,
};
use countersign_testkit::TestRng;
use proptest::prelude::*;

use Confidentiality::{Sealed, SignedOnly};

/// A sender and the receiver of what it sends.
fn halves(etype: Etype) -> (Sender, Receiver) {
    let half = |role| {
        let key = Key::generate(etype, &mut TestRng::new(5));
        let protection = Protection { role, key, acceptor_subkey: true, send_seq: 7, receive_seq: 7 };
        protection.split(false, SequenceMode::Strict)
    };
    (half(Role::Initiator).0, half(Role::Acceptor).1)
}

/// A buffer of that layout with the plaintext in its place.
fn laid_out(layout: Layout, plaintext: &[u8]) -> Vec<u8> {
    [&vec![0xAA; layout.prefix][..], plaintext, &vec![0xBB; layout.trailer]].concat()
}

fn split(sender: &mut Sender, confidentiality: Confidentiality, plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = laid_out(sender.split_layout(confidentiality, plaintext.len()), plaintext);
    sender.wrap_split_in_place(confidentiality, &mut buffer, &mut TestRng::new(6)).unwrap();
    buffer
}

fn whole(sender: &mut Sender, confidentiality: Confidentiality, plaintext: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    sender.wrap(confidentiality, plaintext, &mut TestRng::new(6), &mut token).unwrap();
    token
}

#[test]
fn prefixes_are_the_sizes_that_windows_reports_for_what_it_sends() {
    for (etype, sealed, signed) in [(17, 60, 28), (18, 60, 28), (19, 64, 32), (20, 72, 40)] {
        let (sender, _) = halves(Etype::from_wire(etype).unwrap());
        for length in [0, 1, 100_000] {
            assert_eq!(sender.split_layout(Sealed, length), Layout { prefix: sealed, trailer: 0 });
            assert_eq!(sender.split_layout(SignedOnly, length), Layout { prefix: signed, trailer: 0 });
        }
    }
    let (rc4, _) = halves(Etype::ArcfourHmac);
    assert_eq!(rc4.split_layout(Sealed, 10), Layout { prefix: 45, trailer: 1 });
    assert_eq!(ntlm().0.sender().split_layout(Sealed, 10), Layout { prefix: 16, trailer: 0 });
}

#[test]
fn the_rotation_is_28_or_12_with_sha_1_and_more_with_longer_tags() {
    for (etype, sealed, signed) in [(17, 28, 12), (18, 28, 12), (19, 32, 16), (20, 40, 24)] {
        let etype = Etype::from_wire(etype).unwrap();
        let token = split(&mut halves(etype).0, Sealed, b"plaintext");
        assert_eq!(token[..8], [5, 4, 6, 0xFF, 0, 0, 0, sealed], "{etype}");
        let token = split(&mut halves(etype).0, SignedOnly, b"plaintext");
        assert_eq!(token[..8], [5, 4, 4, 0xFF, 0, signed, 0, signed], "{etype}");
        assert_eq!(token[16 + usize::from(signed)..], *b"plaintext", "{etype}");
    }
}

#[test]
fn only_the_place_of_the_bytes_differs_from_a_token_that_is_not_split() {
    for etype in ETYPES {
        for confidentiality in [Sealed, SignedOnly] {
            let expected = whole(&mut halves(etype).0, confidentiality, b"some plaintext");
            let mut token = split(&mut halves(etype).0, confidentiality, b"some plaintext");
            let rotation = usize::from(token[7]);
            token[16..].rotate_left(rotation);
            token[7] = 0;
            assert_eq!(token, expected, "{etype}");
        }
    }
}

proptest! {
    #[test]
    fn receivers_open_tokens_split_or_not_in_any_order_and_split_ones_end_with_the_ciphertext(
        etype in prop::sample::select(vec![17, 18, 19, 20, 23]),
        messages in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..200), any::<bool>(), any::<bool>()), 1..8),
    ) {
        let (mut sender, mut receiver) = halves(Etype::from_wire(etype).unwrap());
        for (plaintext, sealed, is_split) in messages {
            let confidentiality = if sealed { Sealed } else { SignedOnly };
            let make = if is_split { split } else { whole };
            let mut token = make(&mut sender, confidentiality, &plaintext);
            if is_split {
                let Layout { prefix, trailer } = sender.split_layout(confidentiality, plaintext.len());
                prop_assert_eq!(token.len(), prefix + plaintext.len() + trailer);
            }
            let opened = receiver.unwrap_in_place(&mut token).unwrap();
            prop_assert_eq!(&*opened.plaintext, &plaintext[..]);
            prop_assert_eq!(opened.confidentiality, confidentiality);
        }
    }

    #[test]
    fn an_altered_split_token_is_refused_wherever_it_is_altered(
        etype in prop::sample::select(vec![17, 18, 19, 20]),
        plaintext in prop::collection::vec(any::<u8>(), 0..100),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let (mut sender, mut receiver) = halves(Etype::from_wire(etype).unwrap());
        let mut token = split(&mut sender, Sealed, &plaintext);
        let at = place.index(token.len());
        token[at] ^= 1_u8 << bit;
        // Nothing protects the rotation, and another one that comes to the same is as good.
        let opened = receiver.unwrap_in_place(&mut token);
        let harmless = (at == 6 || at == 7)
            && opened.as_ref().is_ok_and(|message| *message.plaintext == plaintext[..]);
        prop_assert!(opened.is_err() || harmless, "byte {}", at);
    }
}

#[test]
fn every_length_goes_through_whole_contexts_of_kerberos_and_ntlm() {
    let mut pairs: Vec<(SecurityContext, SecurityContext)> = ETYPES.map(kerberos).into();
    pairs.push(ntlm());
    for (mut from, mut to) in pairs {
        for length in (0..70).chain([65_536]) {
            let plaintext: Vec<u8> = (0..length).map(|n| (n * 7) as u8).collect();
            let layout = from.sender().split_layout(Sealed, plaintext.len());
            let mut token = laid_out(layout, &plaintext);
            from.sender().wrap_split_in_place(Sealed, &mut token, &mut TestRng::new(8)).unwrap();
            assert_eq!(token.len(), layout.prefix + plaintext.len());
            assert_eq!(to.receiver().unwrap_in_place(&mut token).unwrap().plaintext, plaintext);
        }
    }
}

#[test]
fn a_buffer_shorter_than_the_layout_is_refused_and_takes_no_number() {
    for etype in ETYPES {
        for confidentiality in [Sealed, SignedOnly] {
            let (mut sender, mut receiver) = halves(etype);
            let prefix = sender.split_layout(confidentiality, 0).prefix;
            for length in 0..prefix {
                let refused =
                    sender.wrap_split_in_place(confidentiality, &mut vec![0; length], &mut TestRng::new(1));
                assert!(matches!(refused, Err(MessageError::Malformed(_))), "{etype} {length}");
            }
            let mut token = split(&mut sender, confidentiality, b"first");
            assert!(receiver.unwrap_in_place(&mut token).is_ok());
        }
    }
}

#[test]
fn mic_tokens_have_the_length_that_both_halves_tell() {
    for (etype, expected) in [(17, 28), (18, 28), (19, 32), (20, 40), (23, 37)] {
        let (mut sender, receiver) = halves(Etype::from_wire(etype).unwrap());
        let mut mic = Vec::new();
        sender.mic(&[b"message"], &mut mic).unwrap();
        assert_eq!((mic.len(), sender.mic_len(), receiver.mic_len()), (expected, expected, expected));
    }
    let (mut initiator, mut acceptor) = ntlm();
    let mut mic = Vec::new();
    initiator.sender().mic(&[b"message"], &mut mic).unwrap();
    assert_eq!((mic.len(), initiator.sender().mic_len(), acceptor.receiver().mic_len()), (16, 16, 16));
    assert!(acceptor.receiver().verify_mic(&[b"message"], &mic).is_ok());
}
