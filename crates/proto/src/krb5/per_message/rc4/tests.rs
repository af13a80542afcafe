use super::super::{Order, Protection, Receiver, Sender, SequenceMode};
use super::*;
use crate::crypto::Etype;
use crate::gss::framing::Mech;
use rand_core::{Infallible, TryCryptoRng, TryRng};

const BOTH: [Confidentiality; 2] = [Confidentiality::Sealed, Confidentiality::SignedOnly];

/// Random enough for confounders.
struct Counting(u8);

impl TryRng for Counting {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("only bytes are drawn")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("only bytes are drawn")
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(5).wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

fn end(role: Role, etype: Etype, seq: u64, mode: SequenceMode) -> (Sender, Receiver) {
    end_with(role, etype, false, seq, mode)
}

fn end_with(
    role: Role,
    etype: Etype,
    acceptor_subkey: bool,
    seq: u64,
    mode: SequenceMode,
) -> (Sender, Receiver) {
    let key = Key::new(etype, &vec![0x5A; etype.key_len()]).unwrap();
    Protection { role, key, acceptor_subkey, send_seq: seq, receive_seq: seq }.split(false, mode)
}

/// The initiator's sender and the acceptor's receiver.
fn pair(seq: u64, mode: SequenceMode) -> (Sender, Receiver) {
    let (sender, _) = end(Role::Initiator, Etype::ArcfourHmac, seq, mode);
    let (_, receiver) = end(Role::Acceptor, Etype::ArcfourHmac, seq, mode);
    (sender, receiver)
}

fn wrapped(sender: &mut Sender, confidentiality: Confidentiality, plaintext: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    sender.wrap(confidentiality, plaintext, &mut Counting(7), &mut token).unwrap();
    token
}

fn refusal(receiver: &mut Receiver, token: &[u8]) -> Option<MessageError> {
    receiver.unwrap_in_place(&mut token.to_vec()).err()
}

fn bits_flipped(token: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let bits = [1, 2, 4, 8, 16, 32, 64, 128];
    (0..token.len()).flat_map(move |byte| {
        bits.map(|bit| {
            let mut altered = token.to_vec();
            altered[byte] ^= bit;
            (byte, altered)
        })
    })
}

#[test]
fn the_object_identifier_is_that_of_kerberos() {
    assert_eq!(OID.strip_prefix(&[0x06, 0x09]), Some(Mech::Krb5.oid()));
}

#[test]
fn messages_of_every_length_round_trip_in_their_layout() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    for length in (0..260).chain(65_488..65_496) {
        let plaintext: Vec<u8> = (0..length).map(|index| index as u8).collect();
        for confidentiality in BOTH {
            let layout = sender.layout(confidentiality, length);
            let mut token = wrapped(&mut sender, confidentiality, &plaintext);
            assert_eq!(token.len(), layout.prefix + length + layout.trailer);
            let clear = token[layout.prefix..].starts_with(&plaintext);
            assert_eq!(clear, length == 0 || confidentiality == Confidentiality::SignedOnly);
            let unwrapped = receiver.unwrap_in_place(&mut token).unwrap();
            assert_eq!(unwrapped.plaintext, plaintext);
            assert_eq!(unwrapped.confidentiality, confidentiality);
            assert_eq!(unwrapped.order, Order::InOrder);
        }
    }
}

#[test]
fn a_short_token_has_the_sizes_that_peers_reckon_with() {
    let (mut sender, _) = pair(1, SequenceMode::Strict);
    assert_eq!(sender.layout(Confidentiality::Sealed, 10), Layout { prefix: 45, trailer: 1 });
    let mut token = Vec::new();
    sender.mic(&[b"message"], &mut token).unwrap();
    assert_eq!(token.len(), 37);
}

#[test]
fn a_frame_is_the_shortest_that_der_has() {
    for contents in [0, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFF_FFFF, 0x100_0000] {
        let mut whole = vec![0; frame_len(contents) + contents];
        assert_eq!(frame_len_of_whole(whole.len()), Some(frame_len(contents)));
        write_frame(&mut whole[..frame_len(contents)], contents);
        let mut reader = Reader::new(&whole);
        assert_eq!(reader.element(tag::application(0)).unwrap().rest().len(), contents);
        assert!(reader.is_empty());
    }
}

#[test]
fn a_buffer_that_no_layout_gives_is_refused() {
    let (mut sender, _) = pair(1, SequenceMode::Strict);
    for length in [0, 1, 45, 130, 259] {
        let refused = sender.wrap_in_place(Confidentiality::Sealed, &mut vec![0; length], &mut Counting(7));
        assert_eq!(refused, Err(SHORT), "{length}");
    }
}

#[test]
fn a_sealed_token_with_a_bit_flipped_is_refused_and_leaves_no_plaintext() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Window);
    let token = wrapped(&mut sender, Confidentiality::Sealed, b"a secret");
    for (byte, mut altered) in bits_flipped(&token) {
        let before = altered.clone();
        let refused = receiver.unwrap_in_place(&mut altered).err();
        // Frame, object identifier and algorithms are read before anything is opened.
        if refused == Some(MessageError::Integrity) {
            assert!(altered.ends_with(&[0; CONFOUNDER + 9]), "byte {byte}");
        } else {
            assert!(matches!(refused, Some(MessageError::Malformed(_))), "byte {byte}");
            assert!(byte < 21 && altered == before, "byte {byte}");
        }
    }
    assert!(receiver.unwrap_in_place(&mut token.clone()).is_ok());
}

#[test]
fn a_signed_or_mic_token_with_a_bit_flipped_is_refused_on_a_stream() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let token = wrapped(&mut sender, Confidentiality::SignedOnly, b"a message");
    for (byte, altered) in bits_flipped(&token) {
        assert!(refusal(&mut receiver, &altered).is_some(), "byte {byte}");
    }
    assert!(receiver.unwrap_in_place(&mut token.clone()).is_ok());

    let mut mic = Vec::new();
    sender.mic(&[b"a message"], &mut mic).unwrap();
    for (byte, altered) in bits_flipped(&mic) {
        assert!(receiver.verify_mic(&[b"a message"], &altered).is_err(), "byte {byte}");
    }
    for (_, altered) in bits_flipped(b"a message") {
        assert_eq!(receiver.verify_mic(&[&altered], &mic), Err(MessageError::Integrity));
    }
    assert_eq!(receiver.verify_mic(&[b"a mess", b"age"], &mic), Ok(Order::InOrder));
}

#[test]
fn a_token_cut_anywhere_or_with_a_byte_more_is_refused() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let mut token = wrapped(&mut sender, Confidentiality::Sealed, b"a secret");
    for length in 0..token.len() {
        assert_eq!(refusal(&mut receiver, &token[..length]), Some(MALFORMED_WRAP));
    }
    token.push(0);
    assert_eq!(refusal(&mut receiver, &token), Some(MALFORMED_WRAP));
}

#[test]
fn a_mic_token_with_a_body_is_refused() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let mut mic = Vec::new();
    sender.mic(&[b"a message"], &mut mic).unwrap();
    mic.push(0);
    mic[1] += 1;
    assert_eq!(receiver.verify_mic(&[b"a message"], &mic), Err(MALFORMED_MIC));
}

/// The protocol's own fault, which no receiver can mend: so a message can come a second time.
#[test]
fn the_number_of_a_token_that_is_only_signed_can_be_changed_on_the_way() {
    let (mut sender, mut receiver) = pair(0, SequenceMode::Window);
    let mut token = wrapped(&mut sender, Confidentiality::SignedOnly, b"a message");
    assert_eq!(refusal(&mut receiver, &token), None);
    token[24] ^= 1;
    assert_eq!(receiver.unwrap_in_place(&mut token).unwrap().order, Order::InOrder);
}

#[test]
fn our_own_token_sent_back_is_refused() {
    let (mut sender, mut receiver) = end(Role::Acceptor, Etype::ArcfourHmac, 1, SequenceMode::Strict);
    for confidentiality in BOTH {
        let mut token = wrapped(&mut sender, confidentiality, b"a message");
        assert_eq!(receiver.unwrap_in_place(&mut token).err(), Some(MessageError::Direction));
        assert!(!token.windows(9).any(|window| window == b"a message"));
    }
    let mut mic = Vec::new();
    sender.mic(&[b"a message"], &mut mic).unwrap();
    assert_eq!(receiver.verify_mic(&[b"a message"], &mic), Err(MessageError::Direction));
}

#[test]
fn a_token_is_taken_once_and_in_order() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let tokens = [b"1", b"2", b"3"].map(|text| wrapped(&mut sender, Confidentiality::Sealed, text));
    assert_eq!(refusal(&mut receiver, &tokens[0]), None);
    assert_eq!(refusal(&mut receiver, &tokens[0]), Some(MessageError::Replayed { seq: 0 }));
    let skipped = MessageError::OutOfOrder { seq: 2, expected: 1 };
    assert_eq!(refusal(&mut receiver, &tokens[2]), Some(skipped));
    assert_eq!(refusal(&mut receiver, &tokens[1]), None);
}

#[test]
fn clear_text_is_refused_where_sealed_messages_are_demanded() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    receiver.require_sealed = true;
    let token = wrapped(&mut sender, Confidentiality::SignedOnly, b"a message");
    assert_eq!(refusal(&mut receiver, &token), Some(MessageError::NotSealed));
}

#[test]
fn a_mic_token_and_a_wrap_token_do_not_pass_for_each_other() {
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let mut mic = Vec::new();
    sender.mic(&[], &mut mic).unwrap();
    assert_eq!(refusal(&mut receiver, &mic), Some(MALFORMED_WRAP));
    let token = wrapped(&mut sender, Confidentiality::SignedOnly, b"");
    assert_eq!(receiver.verify_mic(&[], &token), Err(MALFORMED_MIC));
}

#[test]
fn the_etype_of_the_key_decides_which_tokens_are_taken() {
    let aes = Etype::Aes256CtsHmacSha1_96;
    let (mut cfx_sender, _) = end(Role::Initiator, aes, 1, SequenceMode::Strict);
    let (_, mut cfx_receiver) = end(Role::Acceptor, aes, 1, SequenceMode::Strict);
    let (mut sender, mut receiver) = pair(1, SequenceMode::Strict);
    let cfx = wrapped(&mut cfx_sender, Confidentiality::Sealed, b"a message");
    let rc4 = wrapped(&mut sender, Confidentiality::Sealed, b"a message");
    assert!(matches!(refusal(&mut receiver, &cfx), Some(MessageError::Malformed(_))));
    assert!(matches!(refusal(&mut cfx_receiver, &rc4), Some(MessageError::Malformed(_))));
    assert_eq!(refusal(&mut cfx_receiver, &cfx), None);
    assert_eq!(refusal(&mut receiver, &rc4), None);
}

#[test]
fn numbers_go_on_past_32_bits_until_they_would_come_again() {
    let first = u64::from(u32::MAX) - 1;
    let rc4 = Etype::ArcfourHmac;
    let (mut sender, _) = end_with(Role::Initiator, rc4, true, first, SequenceMode::Strict);
    let (_, mut receiver) = end_with(Role::Acceptor, rc4, true, first, SequenceMode::Strict);
    for _ in 0..4 {
        let token = wrapped(&mut sender, Confidentiality::Sealed, b"a message");
        assert_eq!(refusal(&mut receiver, &token), None);
    }
    ends_before(&mut sender, first + (1 << 32));
}

#[test]
fn without_an_acceptors_subkey_a_direction_ends_before_the_other_begins() {
    let (mut sender, _) = pair(1_000, SequenceMode::Strict);
    ends_before(&mut sender, 1_000 + (1 << 29));
    let (mut sender, mut receiver) = pair(1_000, SequenceMode::Window);
    sender.next_seq += (1 << 29) - 1;
    sender.end_seq += 1;
    let last = wrapped(&mut sender, Confidentiality::Sealed, b"a message");
    assert_eq!(refusal(&mut receiver, &last), None);
    let beyond = wrapped(&mut sender, Confidentiality::Sealed, b"a message");
    assert_eq!(refusal(&mut receiver, &beyond), Some(MessageError::SequenceExhausted));
}

/// The number before `end` can be used, and `end` cannot.
fn ends_before(sender: &mut Sender, end: u64) {
    sender.next_seq = end.saturating_sub(1);
    wrapped(sender, Confidentiality::Sealed, b"a message");
    let mut token = Vec::new();
    let refused = sender.wrap(Confidentiality::Sealed, b"a message", &mut Counting(7), &mut token);
    assert_eq!(refused, Err(MessageError::SequenceExhausted));
    assert_eq!(sender.mic(&[b"a message"], &mut token), Err(MessageError::SequenceExhausted));
}

#[test]
fn padding_is_one_to_eight_bytes_that_say_how_many() {
    let body = |padding: &[u8]| [&[0; CONFOUNDER], &b"text"[..], padding].concat();
    assert_eq!(plaintext_in(&mut body(&[1])).unwrap(), b"text");
    assert_eq!(plaintext_in(&mut body(&[8; 8])).unwrap(), b"text");
    for wrong in [&[0][..], &[2], &[9; 9], &[3, 2, 3], &[0xFF]] {
        assert_eq!(plaintext_in(&mut body(wrong)), None, "{wrong:?}");
    }
    assert_eq!(plaintext_in(&mut [1; CONFOUNDER]), None);
}
