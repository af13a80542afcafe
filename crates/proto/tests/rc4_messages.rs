//! Per-message tokens of RC4 against those that MIT Kerberos makes: each of its tokens is understood, and made again byte
//! by byte from the same key, number and confounder, so that what we send is what it sends.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

#[path = "vectors/reader.rs"]
mod reader;

use countersign_proto::crypto::{Etype, Key};
use countersign_proto::krb5::per_message::{
    Confidentiality, MessageError, Order, Protection, Receiver, Role, Sender, SequenceMode,
};
use rand_core::{Infallible, TryCryptoRng, TryRng};
use reader::{Record, records};

const CONFOUNDER: usize = 8;

/// Gives out the one confounder that it has, again and again.
struct Confounder([u8; CONFOUNDER]);

impl TryRng for Confounder {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("a confounder is drawn as bytes")
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("a confounder is drawn as bytes")
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0);
        Ok(())
    }
}

impl TryCryptoRng for Confounder {}

/// A token of MIT's.
struct Vector {
    sent_by: Role,
    key: Key,
    number: u64,
    kind: String,
    message: Vec<u8>,
    token: Vec<u8>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let vectors: Vec<_> =
            records(include_str!("vectors/rc4/mit_messages.txt")).iter().map(Self::read).collect();
        assert_eq!(vectors.len(), 52);
        vectors
    }

    fn read(record: &Record) -> Self {
        let size = usize::try_from(record.number("size")).unwrap();
        Self {
            sent_by: if record.text("sent_by") == "acceptor" { Role::Acceptor } else { Role::Initiator },
            key: Key::new(Etype::ArcfourHmac, &record.bytes("key")).unwrap(),
            number: u64::try_from(record.number("number")).unwrap(),
            kind: record.text("kind").to_owned(),
            message: (0..size).map(|index| u8::try_from((7 * index + size) % 256).unwrap()).collect(),
            token: record.bytes("token"),
        }
    }

    fn confidentiality(&self) -> Confidentiality {
        if self.kind == "sealed" { Confidentiality::Sealed } else { Confidentiality::SignedOnly }
    }

    fn end(&self, role: Role) -> (Sender, Receiver) {
        let key = self.key.clone();
        let (send_seq, receive_seq) = (self.number, self.number);
        Protection { role, key, acceptor_subkey: false, send_seq, receive_seq }
            .split(false, SequenceMode::Strict)
    }

    /// The end that takes this token next.
    fn receiver(&self) -> Receiver {
        let peer = if self.sent_by == Role::Initiator { Role::Acceptor } else { Role::Initiator };
        self.end(peer).1
    }

    /// The end that made this token.
    fn sender(&self) -> Sender {
        self.end(self.sent_by).0
    }
}

#[test]
fn wrap_tokens_of_mit_are_understood() {
    for vector in Vector::all().iter().filter(|vector| vector.kind != "mic") {
        let mut token = vector.token.clone();
        let mut receiver = vector.receiver();
        let unwrapped = receiver.unwrap_in_place(&mut token).unwrap();
        assert_eq!(unwrapped.plaintext, vector.message);
        assert_eq!(unwrapped.confidentiality, vector.confidentiality());
        assert_eq!(unwrapped.order, Order::InOrder);
    }
}

#[test]
fn wrap_tokens_are_those_that_mit_makes_byte_by_byte() {
    for vector in Vector::all().iter().filter(|vector| vector.kind != "mic") {
        let mut sender = vector.sender();
        let layout = sender.layout(vector.confidentiality(), vector.message.len());
        assert_eq!(layout.prefix + vector.message.len() + layout.trailer, vector.token.len());

        let mut opened = vector.token.clone();
        vector.receiver().unwrap_in_place(&mut opened).unwrap();
        let confounder = opened[..layout.prefix].last_chunk::<CONFOUNDER>().unwrap();
        let mut token = Vec::new();
        sender
            .wrap(vector.confidentiality(), &vector.message, &mut Confounder(*confounder), &mut token)
            .unwrap();
        assert_eq!(token, vector.token, "{} {}", vector.kind, vector.message.len());
    }
}

#[test]
fn mic_tokens_of_mit_are_understood_and_made_byte_by_byte() {
    for vector in Vector::all().iter().filter(|vector| vector.kind == "mic") {
        let (head, tail) = vector.message.split_at(vector.message.len() / 3);
        let order = vector.receiver().verify_mic(&[head, tail], &vector.token);
        assert_eq!(order, Ok(Order::InOrder));

        let mut token = Vec::new();
        vector.sender().mic(&[head, tail], &mut token).unwrap();
        assert_eq!(token, vector.token);
    }
}

#[test]
fn tokens_of_mit_are_taken_in_their_order_and_once() {
    for role in [Role::Initiator, Role::Acceptor] {
        let vectors: Vec<_> = Vector::all().into_iter().filter(|vector| vector.sent_by == role).collect();
        let mut receiver = vectors[0].receiver();
        for vector in &vectors {
            if vector.kind == "mic" {
                receiver.verify_mic(&[&vector.message], &vector.token).unwrap();
            } else {
                receiver.unwrap_in_place(&mut vector.token.clone()).unwrap();
            }
        }
        let again = receiver.unwrap_in_place(&mut vectors[0].token.clone()).err();
        assert_eq!(again, Some(MessageError::Replayed { seq: 0 }));
    }
}

#[test]
fn a_token_of_mit_does_not_pass_for_one_of_the_other_end() {
    for vector in Vector::all() {
        let (_, mut sent_it_ourselves) = vector.end(vector.sent_by);
        let refused = if vector.kind == "mic" {
            sent_it_ourselves.verify_mic(&[&vector.message], &vector.token).err()
        } else {
            sent_it_ourselves.unwrap_in_place(&mut vector.token.clone()).err()
        };
        assert_eq!(refused, Some(MessageError::Direction));
    }
}
