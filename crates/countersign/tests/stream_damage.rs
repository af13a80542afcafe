//! A frame that was changed, dropped, doubled, swapped or cut off is an error where it stands: what came before it was given
//! out, nothing of it or after it is. Over both faces, in every framing, with every kind of keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::framing::{Framing, SampleData};
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Code, code};
use countersign::refusal_in;
use ends::kinds::{KEYS, Keys, Kind, kinds};
use ends::pipe::{Dice, Pipe, Tap, pipe};
use ends::tasks::now;
use ends::{FACES, Face, Session};
use std::io::{self, ErrorKind, Read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is done to the bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// Bits of one byte.
    Flip {
        at: usize,
        mask: u8,
    },
    Drop {
        frame: usize,
    },
    Double {
        frame: usize,
    },
    /// With the one that follows.
    Swap {
        frame: usize,
    },
    /// One frame takes the place of another, which is lost.
    Replace {
        frame: usize,
        by: usize,
    },
    /// The connection ends there.
    Cut {
        at: usize,
    },
    /// A byte more.
    Insert {
        at: usize,
        byte: u8,
    },
    Remove {
        at: usize,
    },
}

/// A conversation that was sent and did not arrive yet.
struct Sent {
    messages: Vec<Vec<u8>>,
    /// Its frames; the last one is the mark of the end, where there is one.
    frames: Vec<Vec<u8>>,
}

impl Sent {
    fn total(&self) -> usize {
        self.frames.iter().map(Vec::len).sum()
    }

    /// The frame in which a byte stands, and its place there.
    fn place(&self, mut at: usize) -> (usize, usize) {
        for (index, frame) in self.frames.iter().enumerate() {
            if at < frame.len() {
                return (index, at);
            }
            at -= frame.len();
        }
        (self.frames.len(), at)
    }

    /// The bytes that arrive, and the first frame that is not what it was.
    fn damaged(&self, damage: Damage) -> (Vec<u8>, usize) {
        let mut frames = self.frames.clone();
        let first = match damage {
            Damage::Flip { at, mask } => {
                let (frame, at) = self.place(at);
                frames[frame][at] ^= mask;
                frame
            }
            Damage::Insert { at, byte } => {
                let (frame, at) = self.place(at);
                frames[frame].insert(at, byte);
                frame
            }
            Damage::Remove { at } => {
                let (frame, at) = self.place(at);
                frames[frame].remove(at);
                frame
            }
            Damage::Drop { frame } => {
                frames.remove(frame);
                frame
            }
            Damage::Double { frame } => {
                frames.insert(frame, frames[frame].clone());
                frame + 1
            }
            Damage::Swap { frame } => {
                frames.swap(frame, frame + 1);
                frame
            }
            Damage::Replace { frame, by } => {
                frames[frame] = frames[by].clone();
                frame
            }
            Damage::Cut { at } => return (self.frames.concat()[..at].to_vec(), self.place(at).0),
        };
        (frames.concat(), first)
    }
}

impl Sent {
    /// Whether only the rotation of a token of RFC 4121 is another number, and comes to the same. Section 4.2.5 has every number
    /// taken, and does not protect it: such a token is the same message.
    fn is_rotated_the_same(&self, kind: Kind, damage: Damage) -> bool {
        let (Damage::Flip { at, mask }, Keys::Kerberos(etype)) = (damage, kind.keys) else { return false };
        let before = match kind.framing {
            _ if etype == Etype::ArcfourHmac => return false,
            Framing::Sample(SampleData::Signed) => return false,
            _ => 4,
        };
        let (frame, at) = self.place(at);
        let token = &self.frames[frame][before..];
        let rotation = u16::from_be_bytes([token[6], token[7]]);
        let altered = match at.checked_sub(before) {
            Some(6) => rotation ^ u16::from(mask) << 8,
            Some(7) => rotation ^ u16::from(mask),
            _ => return false,
        };
        let body = token.len() - 16;
        usize::from(altered) % body == usize::from(rotation) % body
    }
}

/// Who listens to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Setting {
    kind: Kind,
    face: Face,
    /// Whether it is the service that listens.
    service_listens: bool,
}

/// Who listens, the way to it, and what was sent on it.
fn conversation(setting: Setting, sizes: &[usize]) -> (Session<Pipe>, Tap, Sent) {
    let ((near, far), (near_tap, far_tap)) = pipe();
    let Setting { kind, face, service_listens } = setting;
    let (listener, speaker, tap) = if service_listens {
        let (serving, connecting) = kind.sessions((face, Face::Tokio), (near, far));
        (serving, connecting, far_tap)
    } else {
        let (serving, connecting) = kind.sessions((Face::Tokio, face), (near, far));
        (connecting, serving, near_tap)
    };
    let Session::Tokio(_, speaker) = speaker else { panic!("another face than asked for") };
    let mut speaker = speaker.into_stream();
    let mut frames = Vec::new();
    let messages: Vec<_> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
    for message in &messages {
        now(speaker.write_all(message)).unwrap();
        frames.push(tap.incoming.drain());
    }
    now(speaker.shutdown()).unwrap();
    frames.push(tap.incoming.drain());
    if !kind.is_single() {
        return (listener, tap, Sent { messages, frames });
    }
    let frames = frames.split_off(messages.len());
    (listener, tap, Sent { messages: vec![messages.concat()], frames })
}

/// What was given out, and how it ended.
fn heard(listener: Session<Pipe>) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    match listener {
        Session::Blocking(session) => {
            let mut stream = session.into_stream();
            let ended = stream.read_to_end(&mut bytes).map(drop);
            (0..3).for_each(|_| assert_stays(&ended, stream.read(&mut [0; 9])));
            (bytes, ended)
        }
        Session::Tokio(_, session) => {
            let mut stream = session.into_stream();
            let ended = now(stream.read_to_end(&mut bytes)).map(drop);
            (0..3).for_each(|_| assert_stays(&ended, now(stream.read(&mut [0; 9]))));
            (bytes, ended)
        }
    }
}

/// How it ended is how it ends from then on.
#[track_caller]
fn assert_stays(ended: &io::Result<()>, again: io::Result<usize>) {
    match (ended, again) {
        (Ok(()), Ok(0)) => {}
        (Err(first), Err(again)) => {
            assert_eq!((first.kind(), refusal_in(first)), (again.kind(), refusal_in(&again)));
        }
        (ended, again) => panic!("{ended:?}, and then {again:?}"),
    }
}

/// The codes by which damage may be told.
const TOLD: [Code; 11] = [
    code::FRAME_EMPTY,
    code::FRAME_TOO_LONG,
    code::CONNECTION_CUT,
    code::END_UNMARKED,
    code::MESSAGE_MALFORMED,
    code::MESSAGE_INTEGRITY,
    code::MESSAGE_DIRECTION,
    code::MESSAGE_WRONG_KEY_FLAG,
    code::MESSAGE_NOT_SEALED,
    code::MESSAGE_REPLAYED,
    code::MESSAGE_OUT_OF_ORDER,
];

fn check(setting: Setting, sizes: &[usize], damage: impl FnOnce(&Sent) -> Damage) {
    let (listener, tap, sent) = conversation(setting, sizes);
    let damage = damage(&sent);
    let (bytes, first) = sent.damaged(damage);
    // Where all is one message, all of it is damaged.
    let first = if setting.kind.is_single() { 0 } else { first };
    assert_ne!(bytes, sent.frames.concat());
    tap.incoming.put(&bytes);
    tap.incoming.end();
    let (given, ended) = heard(listener);
    if sent.is_rotated_the_same(setting.kind, damage) {
        assert_eq!(given, sent.messages.concat(), "{setting:?} {damage:?}");
        return ended.unwrap();
    }
    let before = sent.messages[..first.min(sent.messages.len())].concat();
    assert!(given == before, "{setting:?} {damage:?}: {} bytes given, not {}", given.len(), before.len());
    let error = ended.expect_err(&format!("{setting:?} {damage:?}"));
    let refusal = refusal_in(&error).expect("a refusal inside");
    assert!(TOLD.contains(&refusal.code()), "{setting:?} {damage:?}: {refusal}");
    let cut = [code::CONNECTION_CUT, code::END_UNMARKED].contains(&refusal.code());
    let kind = if cut { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData };
    assert_eq!(error.kind(), kind, "{setting:?} {damage:?}: {refusal}");
}

/// Messages so short that every byte of theirs can be damaged in turn.
const SHORT: [usize; 3] = [5, 1, 20];

/// Both faces, both roles, in every framing with such keys.
fn settings(keys: Keys) -> impl Iterator<Item = Setting> {
    kinds().filter(move |kind| kind.keys == keys).flat_map(|kind| {
        let with = move |face| [true, false].map(|service_listens| Setting { kind, face, service_listens });
        FACES.into_iter().flat_map(with)
    })
}

#[test]
fn what_is_not_damaged_arrives() {
    for setting in KEYS.into_iter().flat_map(settings) {
        let (listener, tap, sent) = conversation(setting, &SHORT);
        tap.incoming.put(&sent.frames.concat());
        tap.incoming.end();
        let (given, ended) = heard(listener);
        assert_eq!(given, sent.messages.concat(), "{setting:?}");
        ended.unwrap();
    }
}

/// One bit of each byte, another one from byte to byte, and every bit of what stands before the messages. Client and service
/// listen in turn.
fn every_byte(keys: Keys, face: Face) {
    for setting in settings(keys).filter(|setting| setting.face == face && setting.service_listens) {
        let in_turn = |at: usize| Setting { service_listens: at.is_multiple_of(2), ..setting };
        let total = conversation(setting, &SHORT).2.total();
        for at in 0..total {
            check(in_turn(at), &SHORT, |_| Damage::Flip { at, mask: 1 << (at % 8) });
            check(in_turn(at + 1), &SHORT, |_| Damage::Cut { at });
        }
        for (at, bit) in (0..20).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            check(in_turn(bit), &SHORT, |_| Damage::Flip { at, mask: 1 << bit });
        }
    }
}

#[test]
fn any_byte_that_is_changed_or_missing_at_the_end_is_an_error_over_tokio() {
    every_byte(KEYS[0], Face::Tokio);
}

#[test]
fn any_byte_that_is_changed_or_missing_at_the_end_is_an_error_to_blocking_streams() {
    every_byte(KEYS[0], Face::Blocking);
}

/// As [`every_byte`], but here and there.
fn some_bytes(keys: Keys) {
    let mut dice = Dice(7);
    for setting in settings(keys) {
        for _ in 0..25 {
            let (at, mask) = (dice.below(usize::MAX), 1 << dice.below(8));
            check(setting, &SHORT, |sent| Damage::Flip { at: at % sent.total(), mask });
            check(setting, &SHORT, |sent| Damage::Cut { at: at % sent.total() });
        }
    }
}

#[test]
fn bytes_are_protected_whatever_the_keys() {
    KEYS.into_iter().skip(1).for_each(some_bytes);
}

#[test]
fn a_frame_that_is_dropped_doubled_swapped_or_replaced_is_an_error() {
    for setting in KEYS.into_iter().flat_map(settings) {
        let count = if setting.kind.is_single() { 1 } else { SHORT.len() + 1 };
        for frame in 0..count {
            check(setting, &SHORT, |_| Damage::Drop { frame });
            // A second mark of the end comes when nobody listens any more.
            if frame + 1 < count || setting.kind.is_single() {
                check(setting, &SHORT, |_| Damage::Double { frame });
            }
            if frame + 1 < count {
                check(setting, &SHORT, |_| Damage::Swap { frame });
                check(setting, &SHORT, |_| Damage::Replace { frame, by: frame + 1 });
                check(setting, &SHORT, |_| Damage::Replace { frame: frame + 1, by: frame });
            }
        }
    }
}

/// Anything anywhere in conversations that are longer.
#[test]
fn long_conversations_end_at_the_first_damage() {
    let settings: Vec<_> = KEYS.into_iter().flat_map(settings).collect();
    let mut dice = Dice(11);
    for _ in 0..600 {
        let setting = settings[dice.below(settings.len())];
        let sizes: Vec<_> = (0..dice.below(12) + 2).map(|_| dice.below(300) + 1).collect();
        let (choice, at, other, byte) =
            (dice.below(8), dice.below(usize::MAX), dice.below(usize::MAX), dice.below(255) + 1);
        check(setting, &sizes, |sent| {
            let (count, total) = (sent.frames.len(), sent.total());
            let (at, frame) = (at % total, at % count.saturating_sub(1).max(1));
            match choice {
                0 | 1 => Damage::Flip { at, mask: byte as u8 },
                // As long as what is put in differs from what stands there.
                2 => Damage::Insert { at, byte: sent.frames.concat()[at] ^ byte as u8 },
                3 => Damage::Remove { at },
                4 => Damage::Drop { frame },
                5 => Damage::Double { frame },
                6 if count > 1 => match other % count {
                    by if by == frame => Damage::Swap { frame },
                    by => Damage::Replace { frame, by },
                },
                _ => Damage::Cut { at },
            }
        });
    }
}
