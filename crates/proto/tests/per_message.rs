//! Wrap and MIC tokens of RFC 4121: what is made is understood, what is altered is not.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::krb5::per_message::{
    Confidentiality, MessageError, Order, Protection, Receiver, Role, Sender, SequenceMode,
};
use countersign_testkit::TestRng;
use countersign_testkit::mint::WrapToken;

use Confidentiality::{Sealed, SignedOnly};

const ETYPES: [Etype; 4] = [
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha256_128,
    Etype::Aes256CtsHmacSha384_192,
];

/// First numbers of the two directions.
const FROM_INITIATOR: u64 = 1_000;
const FROM_ACCEPTOR: u64 = 5_000;

struct Ends {
    initiator: (Sender, Receiver),
    acceptor: (Sender, Receiver),
}

#[derive(Clone)]
struct Setting {
    etype: Etype,
    acceptor_subkey: bool,
    require_sealed: bool,
    mode: SequenceMode,
    first: u64,
}

impl Setting {
    fn of(etype: Etype) -> Self {
        Self {
            etype,
            acceptor_subkey: true,
            require_sealed: false,
            mode: SequenceMode::Strict,
            first: FROM_INITIATOR,
        }
    }

    fn ends(&self) -> Ends {
        let end = |role, send_seq, receive_seq| {
            let (key, acceptor_subkey) = (key(self.etype), self.acceptor_subkey);
            let protection = Protection { role, key, acceptor_subkey, send_seq, receive_seq };
            protection.split(self.require_sealed, self.mode)
        };
        Ends {
            initiator: end(Role::Initiator, self.first, FROM_ACCEPTOR),
            acceptor: end(Role::Acceptor, FROM_ACCEPTOR, self.first),
        }
    }
}

fn ends(etype: Etype) -> Ends {
    Setting::of(etype).ends()
}

fn key(etype: Etype) -> Key {
    Key::generate(etype, &mut TestRng::new(11))
}

fn wrap(sender: &mut Sender, confidentiality: Confidentiality, text: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    sender.wrap(confidentiality, text, &mut TestRng::new(12), &mut token).unwrap();
    token
}

fn mic(sender: &mut Sender, text: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    sender.mic(&[text], &mut token).unwrap();
    token
}

/// What comes out of a copy of `token`.
fn unwrap(receiver: &mut Receiver, token: &[u8]) -> Result<(Vec<u8>, Confidentiality, Order), MessageError> {
    let mut copy = token.to_vec();
    let message = receiver.unwrap_in_place(&mut copy)?;
    Ok((message.plaintext.to_vec(), message.confidentiality, message.order))
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7) as u8).collect()
}

/// The first message of an initiator, made by hand.
fn by_hand(etype: Etype) -> WrapToken {
    WrapToken::new(key(etype), FROM_INITIATOR)
}

#[test]
fn messages_of_every_size_arrive_in_both_directions() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        for confidentiality in [Sealed, SignedOnly] {
            for length in 0..=100 {
                let text = text(length);
                let expected = Ok((text.clone(), confidentiality, Order::InOrder));
                let there = wrap(&mut ends.initiator.0, confidentiality, &text);
                assert_eq!(unwrap(&mut ends.acceptor.1, &there), expected, "{etype} {length}");
                let back = wrap(&mut ends.acceptor.0, confidentiality, &text);
                assert_eq!(unwrap(&mut ends.initiator.1, &back), expected, "{etype} {length}");
            }
        }
    }
}

#[test]
fn messages_of_64_kib_and_1_mib_arrive() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        for confidentiality in [Sealed, SignedOnly] {
            for length in [65_535, 65_536, 1_048_576] {
                let text = text(length);
                let token = wrap(&mut ends.initiator.0, confidentiality, &text);
                assert!(unwrap(&mut ends.acceptor.1, &token).unwrap().0 == text, "{etype} {length}");
            }
        }
    }
}

#[test]
fn a_token_has_the_layout_of_rfc_4121() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        let tag = etype.tag_len();
        let sealed = wrap(&mut ends.initiator.0, Sealed, b"abc");
        assert_eq!(sealed[..16], [5, 4, 6, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x03, 0xE8]);
        assert_eq!(sealed.len(), 16 + 16 + 3 + 16 + tag);
        let signed = wrap(&mut ends.acceptor.0, SignedOnly, b"abc");
        let count = u8::try_from(tag).unwrap();
        assert_eq!(signed[..16], [5, 4, 5, 0xFF, 0, count, 0, 0, 0, 0, 0, 0, 0, 0, 0x13, 0x88]);
        assert_eq!((&signed[16..19], signed.len()), (&b"abc"[..], 16 + 3 + tag));
        let mic = mic(&mut ends.acceptor.0, b"abc");
        assert_eq!(mic[..16], [4, 4, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0x13, 0x89]);
        assert_eq!(mic.len(), 16 + tag);
    }
}

#[test]
fn without_an_acceptor_subkey_the_flag_is_clear() {
    let setting = Setting { acceptor_subkey: false, ..Setting::of(ETYPES[0]) };
    let mut ends = setting.ends();
    let token = wrap(&mut ends.initiator.0, Sealed, b"abc");
    assert_eq!(token[2], 2);
    assert!(unwrap(&mut ends.acceptor.1, &token).is_ok());
}

#[test]
fn sealing_hides_the_plaintext_and_signing_does_not() {
    let mut ends = ends(ETYPES[1]);
    let secret = b"a rather long secret";
    let shows = |token: &[u8]| token.windows(secret.len()).any(|window| window == secret);
    assert!(!shows(&wrap(&mut ends.initiator.0, Sealed, secret)));
    assert!(shows(&wrap(&mut ends.initiator.0, SignedOnly, secret)));
}

#[test]
fn wrapping_in_place_is_wrapping() {
    for etype in ETYPES {
        for confidentiality in [Sealed, SignedOnly] {
            let (mut one, mut two) = (ends(etype), ends(etype));
            let expected = wrap(&mut one.initiator.0, confidentiality, b"in place");
            let layout = two.initiator.0.layout(confidentiality, 8);
            let mut buffer = vec![0xAA; layout.prefix];
            buffer.extend(b"in place");
            buffer.resize(buffer.len() + layout.trailer, 0xAA);
            let sender = &mut two.initiator.0;
            sender.wrap_in_place(confidentiality, &mut buffer, &mut TestRng::new(12)).unwrap();
            assert_eq!(buffer, expected);
        }
    }
}

#[test]
fn a_buffer_shorter_than_the_layout_is_refused() {
    for confidentiality in [Sealed, SignedOnly] {
        let mut sender = ends(ETYPES[1]).initiator.0;
        let layout = sender.layout(confidentiality, 0);
        for length in 0..layout.prefix + layout.trailer {
            let result = sender.wrap_in_place(confidentiality, &mut vec![0; length], &mut TestRng::new(1));
            assert!(matches!(result, Err(MessageError::Malformed(_))), "{length}");
        }
        let token = wrap(&mut sender, confidentiality, b"");
        assert_eq!(token[8..16], FROM_INITIATOR.to_be_bytes(), "no number was used up");
    }
}

#[test]
fn every_rotation_is_undone() {
    let body = |etype: Etype| 16 + 5 + 16 + etype.tag_len();
    for etype in ETYPES {
        let rotations: Vec<u16> = if etype == ETYPES[1] {
            (0..=u16::MAX).collect()
        } else {
            let whole = u16::try_from(body(etype)).unwrap();
            (0..3 * whole).chain([28, 32, 40, 0x7FFF, 0x8000, u16::MAX]).collect()
        };
        let mut receiver = ends(etype).acceptor.1;
        for (seq, rotation) in (FROM_INITIATOR..).zip(rotations) {
            let token = WrapToken { rotation, seq, ..by_hand(etype) }.sealed(b"round");
            assert_eq!(unwrap(&mut receiver, &token).unwrap().0, b"round", "{etype} {rotation}");
        }
        for rotation in (0..200).chain([u16::MAX]) {
            let mut receiver = ends(etype).acceptor.1;
            let token = WrapToken { rotation, flags: 4, ..by_hand(etype) }.signed(b"round");
            assert_eq!(unwrap(&mut receiver, &token).unwrap().0, b"round", "{etype} {rotation}");
        }
    }
}

#[test]
fn a_rotation_inside_of_the_seal_does_not_count() {
    let token = WrapToken { rotation: 28, inner_rotation: 28, ..by_hand(ETYPES[1]) }.sealed(b"as Heimdal");
    assert_eq!(unwrap(&mut ends(ETYPES[1]).acceptor.1, &token).unwrap().0, b"as Heimdal");
}

#[test]
fn filler_after_a_sealed_message_is_taken_off() {
    for etype in ETYPES {
        for extra_count in [1, 15, 16, 300] {
            for rotation in [0, 28, extra_count + 28] {
                let token = WrapToken { extra_count, rotation, ..by_hand(etype) }.sealed(b"filled");
                let result = unwrap(&mut ends(etype).acceptor.1, &token);
                assert_eq!(result, Ok((b"filled".to_vec(), Sealed, Order::InOrder)));
            }
        }
    }
}

#[test]
fn more_filler_than_there_is_message_is_refused() {
    let token = WrapToken { extra_count: 4, ..by_hand(ETYPES[1]) };
    assert!(unwrap(&mut ends(ETYPES[1]).acceptor.1, &token.sealed(b"")).is_ok());
    // Sealed with no filler at all, and a header that promises four bytes.
    let plaintext = [b"abc", &token.header(4, 0)[..]].concat();
    let result = unwrap(&mut ends(ETYPES[1]).acceptor.1, &token.sealing(&plaintext));
    assert!(matches!(result, Err(MessageError::Malformed(_))), "{result:?}");
}

#[test]
fn a_sealed_token_without_its_copy_of_the_header_is_refused() {
    for plaintext in [&b""[..], &[0; 15], &[0; 40]] {
        let token = by_hand(ETYPES[1]).sealing(plaintext);
        assert_eq!(unwrap(&mut ends(ETYPES[1]).acceptor.1, &token), Err(MessageError::Integrity));
    }
}

#[test]
fn a_checksum_length_other_than_the_etypes_is_refused() {
    let genuine = WrapToken { flags: 4, ..by_hand(ETYPES[1]) }.signed(b"text");
    for count in [0, 11, 13, 0xFFFF_u16] {
        let mut token = genuine.clone();
        token[4..6].copy_from_slice(&count.to_be_bytes());
        let result = unwrap(&mut ends(ETYPES[1]).acceptor.1, &token);
        assert!(matches!(result, Err(MessageError::Malformed(_))), "{count} {result:?}");
    }
}

#[test]
fn flag_bits_that_mean_nothing_are_ignored_when_the_sender_set_them() {
    for unknown in [8, 16, 32, 64, 128] {
        let sealed = WrapToken { flags: 6 | unknown, ..by_hand(ETYPES[1]) }.sealed(b"x");
        assert!(unwrap(&mut ends(ETYPES[1]).acceptor.1, &sealed).is_ok());
        let signed = WrapToken { flags: 4 | unknown, ..by_hand(ETYPES[1]) }.signed(b"x");
        assert!(unwrap(&mut ends(ETYPES[1]).acceptor.1, &signed).is_ok());
    }
}

// weakness 35
#[test]
fn a_wrap_token_in_which_any_bit_is_changed_is_refused_and_leaves_no_trace() {
    for etype in ETYPES {
        for confidentiality in [Sealed, SignedOnly] {
            let mut ends = ends(etype);
            // The length makes no power of two of the body, so that no changed rotation is a whole turn.
            let token = wrap(&mut ends.initiator.0, confidentiality, &text(21));
            let receiver = &mut ends.acceptor.1;
            for bit in 0..token.len() * 8 {
                let mut altered = token.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(unwrap(receiver, &altered).is_err(), "{etype} bit {bit}");
                assert!(!receiver.has_verified_any());
            }
            assert_eq!(unwrap(receiver, &token).unwrap().0, text(21));
        }
    }
}

#[test]
fn the_number_of_a_sealed_message_is_the_one_that_was_sealed() {
    for etype in ETYPES {
        let mut second = WrapToken { seq: FROM_INITIATOR + 1, ..by_hand(etype) }.sealed(b"second");
        second[8..16].copy_from_slice(&FROM_INITIATOR.to_be_bytes());
        assert_eq!(unwrap(&mut ends(etype).acceptor.1, &second), Err(MessageError::Integrity));
    }
}

#[test]
fn a_mic_is_made_over_message_and_header_with_a_usage_of_each_direction() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        for (sender, usage) in [
            (&mut ends.initiator.0, KeyUsage::INITIATOR_SIGN),
            (&mut ends.acceptor.0, KeyUsage::ACCEPTOR_SIGN),
        ] {
            let token = mic(sender, b"message");
            let (header, tag) = token.split_at(16);
            assert!(key(etype).checksum(usage).verify(&[b"message", header], tag).is_ok());
        }
    }
}

#[test]
fn a_mic_in_which_any_bit_is_changed_is_refused_and_leaves_no_trace() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        let token = mic(&mut ends.initiator.0, b"the message");
        let receiver = &mut ends.acceptor.1;
        for bit in 0..token.len() * 8 {
            let mut altered = token.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(receiver.verify_mic(&[b"the message"], &altered).is_err(), "{etype} bit {bit}");
        }
        assert!(receiver.verify_mic(&[b"the massage"], &token).is_err());
        assert!(receiver.verify_mic(&[b"the messag"], &token).is_err());
        assert!(!receiver.has_verified_any());
        assert_eq!(receiver.verify_mic(&[b"the ", b"", b"message"], &token), Ok(Order::InOrder));
        assert!(receiver.has_verified_any());
    }
}

// weakness 35
#[test]
fn a_token_cut_short_or_made_longer_is_refused() {
    for etype in ETYPES {
        let mut ends = ends(etype);
        let wrapped =
            [wrap(&mut ends.initiator.0, Sealed, b"text"), wrap(&mut ends.initiator.0, SignedOnly, b"")];
        let signed = mic(&mut ends.initiator.0, b"text");
        let receiver = &mut ends.acceptor.1;
        for token in &wrapped {
            for length in 0..token.len() {
                assert!(unwrap(receiver, &token[..length]).is_err(), "{length}");
            }
            assert!(unwrap(receiver, &[&token[..], &[0]].concat()).is_err());
        }
        for length in 0..signed.len() {
            assert!(receiver.verify_mic(&[b"text"], &signed[..length]).is_err(), "{length}");
        }
        assert!(receiver.verify_mic(&[b"text"], &[&signed[..], &[0]].concat()).is_err());
    }
}

#[test]
fn a_token_of_our_own_that_comes_back_is_refused() {
    for confidentiality in [Sealed, SignedOnly] {
        let mut ends = ends(ETYPES[1]);
        let ours = wrap(&mut ends.acceptor.0, confidentiality, b"x");
        assert_eq!(unwrap(&mut ends.acceptor.1, &ours), Err(MessageError::Direction));
        // Nor does it help to turn the flag, and the number, into the peer's.
        let mut turned = ours.clone();
        turned[2] ^= 1;
        turned[8..16].copy_from_slice(&FROM_INITIATOR.to_be_bytes());
        assert_eq!(unwrap(&mut ends.acceptor.1, &turned), Err(MessageError::Integrity));
    }
    let mut ends = ends(ETYPES[1]);
    let ours = mic(&mut ends.acceptor.0, b"x");
    assert_eq!(ends.acceptor.1.verify_mic(&[b"x"], &ours), Err(MessageError::Direction));
}

#[test]
fn a_token_of_another_key_than_the_one_agreed_on_is_refused_by_its_flag() {
    let with_subkey = Setting::of(ETYPES[1]);
    let without = Setting { acceptor_subkey: false, ..with_subkey.clone() };
    for (sender, receiver, flag) in [(&with_subkey, &without, true), (&without, &with_subkey, false)] {
        let (mut from, mut to) = (sender.ends(), receiver.ends());
        let token = wrap(&mut from.initiator.0, Sealed, b"x");
        assert_eq!(unwrap(&mut to.acceptor.1, &token), Err(MessageError::WrongKeyFlag { flag }));
        let token = mic(&mut from.initiator.0, b"x");
        assert_eq!(to.acceptor.1.verify_mic(&[b"x"], &token), Err(MessageError::WrongKeyFlag { flag }));
    }
}

#[test]
fn reserved_bytes_have_their_value() {
    let mut ends = ends(ETYPES[1]);
    let wrapped = wrap(&mut ends.initiator.0, Sealed, b"x");
    let signed = mic(&mut ends.initiator.0, b"x");
    let receiver = &mut ends.acceptor.1;
    let mut altered = wrapped.clone();
    altered[3] = 0;
    assert!(matches!(unwrap(receiver, &altered), Err(MessageError::Malformed(_))));
    for at in 3..8 {
        let mut altered = signed.clone();
        altered[at] = 0;
        assert!(matches!(receiver.verify_mic(&[b"x"], &altered), Err(MessageError::Malformed(_))));
    }
}

#[test]
fn a_wrap_token_is_no_mic_and_a_mic_no_wrap_token() {
    let mut ends = ends(ETYPES[1]);
    let signed = mic(&mut ends.initiator.0, b"");
    assert!(matches!(unwrap(&mut ends.acceptor.1, &signed), Err(MessageError::Malformed(_))));
    let wrapped = wrap(&mut ends.initiator.0, SignedOnly, b"");
    let result = ends.acceptor.1.verify_mic(&[b""], &wrapped);
    assert!(matches!(result, Err(MessageError::Malformed(_))));
}

// weakness 6
#[test]
fn a_message_in_clear_text_is_refused_where_sealing_is_demanded() {
    let setting = Setting { require_sealed: true, ..Setting::of(ETYPES[1]) };
    let mut ends = setting.ends();
    let signed = wrap(&mut ends.initiator.0, SignedOnly, b"x");
    assert_eq!(unwrap(&mut ends.acceptor.1, &signed), Err(MessageError::NotSealed));
    // A sealed token from which the flag was taken is no better.
    let mut ends = setting.ends();
    let sealed = wrap(&mut ends.initiator.0, Sealed, b"x");
    let mut cleared = sealed.clone();
    cleared[2] &= !2;
    assert_eq!(unwrap(&mut ends.acceptor.1, &cleared), Err(MessageError::NotSealed));
    assert!(unwrap(&mut ends.acceptor.1, &sealed).is_ok());
}

#[test]
fn on_a_stream_a_message_is_taken_once_and_in_its_place() {
    let mut ends = ends(ETYPES[1]);
    let tokens: Vec<_> = (0..3).map(|n| wrap(&mut ends.initiator.0, Sealed, &[n])).collect();
    let receiver = &mut ends.acceptor.1;
    assert_eq!(unwrap(receiver, &tokens[1]), Err(MessageError::OutOfOrder { seq: 1, expected: 0 }));
    assert!(!receiver.has_verified_any(), "a message that was refused confirms nobody");
    assert!(unwrap(receiver, &tokens[0]).is_ok());
    assert_eq!(unwrap(receiver, &tokens[0]), Err(MessageError::Replayed { seq: 0 }));
    assert_eq!(unwrap(receiver, &tokens[2]), Err(MessageError::OutOfOrder { seq: 2, expected: 1 }));
    assert!(unwrap(receiver, &tokens[1]).is_ok());
    assert!(unwrap(receiver, &tokens[2]).is_ok());
}

#[test]
fn wrap_and_mic_tokens_share_one_sequence() {
    let mut ends = ends(ETYPES[1]);
    let wrapped = wrap(&mut ends.initiator.0, Sealed, b"x");
    let signed = mic(&mut ends.initiator.0, b"y");
    let receiver = &mut ends.acceptor.1;
    assert_eq!(receiver.verify_mic(&[b"y"], &signed), Err(MessageError::OutOfOrder { seq: 1, expected: 0 }));
    assert!(unwrap(receiver, &wrapped).is_ok());
    assert!(receiver.verify_mic(&[b"y"], &signed).is_ok());
    assert_eq!(receiver.verify_mic(&[b"y"], &signed), Err(MessageError::Replayed { seq: 1 }));
}

#[test]
fn in_a_window_messages_may_be_late_but_come_once() {
    let mut ends = Setting { mode: SequenceMode::Window, ..Setting::of(ETYPES[1]) }.ends();
    let tokens: Vec<_> = (0..100).map(|n| wrap(&mut ends.initiator.0, Sealed, &[n])).collect();
    let receiver = &mut ends.acceptor.1;
    let mut order = |n: usize| unwrap(receiver, &tokens[n]).map(|(_, _, order)| order);
    assert_eq!(order(0), Ok(Order::InOrder));
    assert_eq!(order(4), Ok(Order::Gap));
    assert_eq!(order(2), Ok(Order::Late));
    assert_eq!(order(2), Err(MessageError::Replayed { seq: 2 }));
    assert_eq!(order(4), Err(MessageError::Replayed { seq: 4 }));
    assert_eq!(order(99), Ok(Order::Gap));
    assert_eq!(order(36), Ok(Order::Late));
    assert_eq!(order(35), Err(MessageError::Replayed { seq: 35 }), "64 back is the end of the window");
}

#[test]
fn numbers_go_on_past_32_bits() {
    let first = u64::from(u32::MAX) - 1;
    for mode in [SequenceMode::Strict, SequenceMode::Window] {
        let mut ends = Setting { first, mode, ..Setting::of(ETYPES[1]) }.ends();
        for n in 0..5 {
            let token = wrap(&mut ends.initiator.0, Sealed, b"x");
            assert_eq!(token[8..16], (first + n).to_be_bytes());
            assert!(unwrap(&mut ends.acceptor.1, &token).is_ok());
        }
    }
}

#[test]
fn a_number_before_the_first_is_refused() {
    let token = WrapToken { seq: FROM_INITIATOR - 1, ..by_hand(ETYPES[1]) }.sealed(b"x");
    for mode in [SequenceMode::Strict, SequenceMode::Window] {
        let mut receiver = Setting { mode, ..Setting::of(ETYPES[1]) }.ends().acceptor.1;
        assert!(matches!(unwrap(&mut receiver, &token), Err(MessageError::Replayed { .. })));
    }
}

#[test]
fn the_last_number_is_never_used() {
    let mut sender = Setting { first: u64::MAX - 1, ..Setting::of(ETYPES[1]) }.ends().initiator.0;
    assert!(sender.mic(&[b"x"], &mut Vec::new()).is_ok());
    let mut out = Vec::new();
    assert_eq!(sender.mic(&[b"x"], &mut out), Err(MessageError::SequenceExhausted));
    let mut rng = TestRng::new(1);
    assert_eq!(sender.wrap(Sealed, b"x", &mut rng, &mut out), Err(MessageError::SequenceExhausted));
    assert!(out.is_empty(), "nothing is left that could be sent by mistake");
}
