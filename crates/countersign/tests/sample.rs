//! The data layout of the SDK's socket sample with one end made by hand: `token length | token | ciphertext` or `signature | text`,
//! to the end of the stream, once in each direction.
#![cfg(unix)]
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
use countersign::proto::context::{Acceptor, InitiatorStep, SecurityContext};
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Code, code};
use countersign::proto::krb5::per_message::Confidentiality::{Sealed, SignedOnly};
use countersign::proto::policy::AcceptorPolicy;
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Refusal, Service, ServiceConfig, refusal_in};
use countersign_testkit::TestRng;
use countersign_testkit::mint::Mint;
use ends::kinds::{KEYS, Keys, Kind};
use ends::{FACES, Face, Session, accept, connect, fails, framed, succeeds, unix};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SEALED: Framing = Framing::Sample(SampleData::Sealed);
const SIGNED: Framing = Framing::Sample(SampleData::Signed);

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// A client made by hand that has come through the handshake, whose frames are those of the reference listing.
struct Met {
    session: Session<UnixStream>,
    context: SecurityContext,
    near: UnixStream,
}

fn met(face: Face, kind: Kind) -> Met {
    met_as(face, kind, kind.service_config())
}

fn met_as(face: Face, kind: Kind, config: ServiceConfig) -> Met {
    let (service, (mut near, far)) = (Service::new(config), unix());
    near.set_read_timeout(Some(ends::AMPLE)).unwrap();
    thread::scope(|scope| {
        let serving = scope.spawn(|| succeeds(accept(face, &service, far)));
        let context = handshake(kind, &mut near);
        Met { session: serving.join().unwrap(), context, near }
    })
}

fn handshake(kind: Kind, near: &mut UnixStream) -> SecurityContext {
    let ClientCredential::Ready(initiator) = kind.client_config().credential else {
        panic!("every kind has its credential ready")
    };
    let (mut rng, mut token) = (TestRng::new(3), Vec::new());
    let mut state = initiator.begin(now(), &mut rng, &mut token).unwrap();
    loop {
        near.write_all(&framed(&token)).unwrap();
        let mut length = [0; 4];
        near.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u32::from_le_bytes(length) as usize];
        near.read_exact(&mut reply).unwrap();
        token.clear();
        state = match state.token(&reply, now(), &mut rng, &mut token) {
            InitiatorStep::AwaitReply(next) => next,
            InitiatorStep::Done(context) => return *context,
            InitiatorStep::Rejected(refusal) => panic!("{refusal}"),
        }
    }
}

/// The length of the token, the token and the ciphertext.
fn sealed(context: &mut SecurityContext, text: &[u8]) -> Vec<u8> {
    let layout = context.sender().split_layout(Sealed, text.len());
    let mut token = vec![0; layout.prefix];
    token.extend_from_slice(text);
    token.resize(token.len() + layout.trailer, 0);
    context.sender().wrap_split_in_place(Sealed, &mut token, &mut TestRng::new(4)).unwrap();
    [&u32::try_from(layout.prefix).unwrap().to_le_bytes()[..], &token].concat()
}

/// The signature and the text.
fn signed(context: &mut SecurityContext, text: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    context.sender().mic(&[text], &mut message).unwrap();
    [&message[..], text].concat()
}

impl Met {
    /// Sends these bytes and ends the direction.
    fn send(&mut self, bytes: &[u8]) {
        self.near.write_all(bytes).unwrap();
        self.near.shutdown(Shutdown::Write).unwrap();
    }

    fn receive(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        self.session.receive()
    }

    /// All that our end sends.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.near.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Nothing comes of what was sent, for this reason, however often asked.
    #[track_caller]
    fn refuses(&mut self, code: Code) -> Refusal {
        let refusal = self.receive().expect_err("a message that is refused");
        assert_eq!(refusal.code(), code, "{refusal}");
        assert_eq!(self.receive(), Err(refusal.clone()));
        refusal
    }
}

fn kind(framing: Framing, keys: Keys) -> Kind {
    Kind { framing, keys }
}

const AES: Keys = Keys::Kerberos(Etype::Aes256CtsHmacSha1_96);

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// How long the token before the ciphertext is, as SSPI has it.
fn token_len(keys: Keys) -> Option<usize> {
    match keys {
        Keys::Kerberos(Etype::Aes256CtsHmacSha1_96 | Etype::Aes128CtsHmacSha1_96) => Some(60),
        Keys::Kerberos(Etype::Aes128CtsHmacSha256_128) => Some(64),
        Keys::Kerberos(Etype::Aes256CtsHmacSha384_192) => Some(72),
        // It depends on the text's length.
        Keys::Kerberos(Etype::ArcfourHmac) => None,
        Keys::Ntlm => Some(16),
    }
}

#[test]
fn a_sealed_message_goes_each_way_by_every_kind_of_keys() {
    for face in FACES {
        for keys in KEYS {
            for length in [0, 1, 15, 16, 17, 1_000, 100_000] {
                let mut met = met(face, kind(SEALED, keys));
                let text = pattern(length);
                let message = sealed(&mut met.context, &text);
                let mut writer = met.near.try_clone().unwrap();
                let writing = thread::spawn(move || {
                    writer.write_all(&message).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                // An empty one is the mark of the end by itself.
                let expected = Some(text.clone()).filter(|text| !text.is_empty());
                assert_eq!(met.receive().unwrap(), expected, "{face:?} {keys:?} {length}");
                assert_eq!(met.receive().unwrap(), None);
                writing.join().unwrap();
                let mut reader = met.near.try_clone().unwrap();
                let reading = thread::spawn(move || {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).unwrap();
                    bytes
                });
                met.session.send(&text).unwrap();
                assert_sealed(&mut met.context, keys, &mut reading.join().unwrap(), &text);
            }
        }
    }
}

#[track_caller]
fn assert_sealed(context: &mut SecurityContext, keys: Keys, message: &mut [u8], text: &[u8]) {
    let (length, token) = message.split_first_chunk_mut::<4>().unwrap();
    let length = u32::from_le_bytes(*length) as usize;
    if let Some(expected) = token_len(keys) {
        assert_eq!((length, token.len() - length), (expected, text.len()), "{keys:?}");
    }
    let unwrapped = context.receiver().unwrap_in_place(token).unwrap();
    assert_eq!((&*unwrapped.plaintext, unwrapped.confidentiality), (text, Sealed), "{keys:?}");
}

#[test]
fn a_signed_message_goes_each_way_and_can_be_read_by_every_kind_of_keys() {
    for face in FACES {
        for keys in KEYS {
            let mut met = met(face, kind(SIGNED, keys));
            let message = signed(&mut met.context, b"can be read");
            assert!(message.ends_with(b"can be read"));
            met.send(&message);
            assert_eq!(met.receive().unwrap().unwrap(), b"can be read", "{keys:?}");
            assert_eq!(met.receive().unwrap(), None);
            met.session.send(b"so can this").unwrap();
            let reply = met.read();
            let length = met.context.receiver().mic_len();
            let (signature, text) = reply.split_at(length);
            assert_eq!(text, b"so can this", "{keys:?}");
            met.context.receiver().verify_mic(&[text], signature).unwrap();
        }
    }
}

#[test]
fn the_length_of_the_token_may_not_be_nothing_nor_more_than_there_is() {
    for face in FACES {
        for keys in KEYS {
            for lie in [0, 1_000, u32::MAX, 1 << 31] {
                let mut met = met(face, kind(SEALED, keys));
                let mut message = sealed(&mut met.context, b"text");
                message[..4].copy_from_slice(&u32::to_le_bytes(lie));
                met.send(&message);
                met.refuses(code::FRAME_TOO_LONG);
            }
            let mut met = met(face, kind(SEALED, keys));
            let mut message = sealed(&mut met.context, b"text");
            let rest = u32::try_from(message.len() - 4).unwrap();
            message[..4].copy_from_slice(&(rest + 1).to_le_bytes());
            met.send(&message);
            met.refuses(code::FRAME_TOO_LONG);
        }
    }
}

/// It protects nothing, for token and ciphertext are verified as one; but what is not as it was sent is an error.
#[test]
fn a_length_of_the_token_that_ends_it_elsewhere_is_refused() {
    for keys in KEYS {
        let mut met = met(Face::Blocking, kind(SEALED, keys));
        let message = sealed(&mut met.context, &pattern(40));
        let (length, rest) = (message[..4].to_vec(), u32::try_from(message.len() - 4).unwrap());
        for lie in (1..=rest).filter(|lie| lie.to_le_bytes() != *length) {
            let mut met = self::met(Face::Blocking, kind(SEALED, keys));
            let mut message = sealed(&mut met.context, &pattern(40));
            message[..4].copy_from_slice(&lie.to_le_bytes());
            met.send(&message);
            met.refuses(code::MESSAGE_MALFORMED);
        }
    }
}

#[test]
fn a_message_is_not_given_out_before_the_stream_has_ended() {
    for face in FACES {
        for framing in [SEALED, SIGNED] {
            let Met { mut session, mut context, mut near } = met(face, kind(framing, AES));
            let message = match framing {
                SIGNED => signed(&mut context, b"text"),
                _ => sealed(&mut context, b"text"),
            };
            near.write_all(&message).unwrap();
            let (mut ended, waiting) = (near.try_clone().unwrap(), std::time::Instant::now());
            let ending = thread::spawn(move || {
                thread::sleep(ends::SHORT);
                ended.shutdown(Shutdown::Write).unwrap();
                ended.flush().unwrap();
            });
            assert_eq!(session.receive().unwrap().unwrap(), b"text");
            assert!(waiting.elapsed() >= ends::SHORT, "it could have gone on");
            ending.join().unwrap();
        }
    }
}

#[test]
fn bytes_behind_the_message_are_part_of_it_and_break_it() {
    for face in FACES {
        for keys in KEYS {
            let mut met = met(face, kind(SEALED, keys));
            let twice = [sealed(&mut met.context, b"one"), sealed(&mut met.context, b"two")].concat();
            met.send(&twice);
            let refusal = met.receive().unwrap_err();
            assert!(
                [code::MESSAGE_INTEGRITY, code::MESSAGE_MALFORMED].contains(&refusal.code()),
                "{keys:?}: {refusal}"
            );
        }
    }
}

/// The shortest message of `framing`, whatever `keep` leaves of it.
fn cut(face: Face, framing: Framing, keys: Keys, keep: impl Fn(usize) -> bool) -> usize {
    let mut length = 0;
    loop {
        let mut met = met(face, kind(framing, keys));
        let whole = match framing {
            SIGNED => signed(&mut met.context, b"text"),
            _ => sealed(&mut met.context, b"text"),
        };
        if length == whole.len() {
            return length;
        }
        if keep(length) {
            met.send(&whole[..length]);
            let refusal = met.receive().expect_err("less than a message");
            if length == 0 {
                assert_eq!(refusal.code(), code::END_UNMARKED, "{refusal}");
            }
            // NTLM has shown the client's key in the handshake.
            assert!(keys == Keys::Ntlm || !met.session.peer_confirmed());
        }
        length += 1;
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_no_message() {
    for framing in [SEALED, SIGNED] {
        for keys in KEYS {
            assert!(cut(Face::Blocking, framing, keys, |_| true) >= 20);
        }
        cut(Face::Tokio, framing, AES, |length| length % 8 == 0);
    }
}

#[test]
fn a_message_that_was_changed_anywhere_behind_its_length_is_no_message() {
    for framing in [SEALED, SIGNED] {
        let whole = {
            let mut met = met(Face::Blocking, kind(framing, AES));
            if framing == SIGNED {
                signed(&mut met.context, b"text")
            } else {
                sealed(&mut met.context, b"text")
            }
        };
        let first = if framing == SEALED { 4 } else { 0 };
        for at in first..whole.len() {
            let mut met = met(Face::Blocking, kind(framing, AES));
            let mut message = match framing {
                SIGNED => signed(&mut met.context, b"text"),
                _ => sealed(&mut met.context, b"text"),
            };
            message[at] ^= 0x10;
            met.send(&message);
            // The count of places that a token is rotated by is not protected, and not a part of the message.
            let rotation = framing == SEALED && (10..12).contains(&at);
            assert!(rotation || met.receive().is_err(), "{framing:?} byte {at}");
        }
    }
}

#[test]
fn the_other_layout_is_no_message() {
    for face in FACES {
        for keys in KEYS {
            let mut met = met(face, kind(SEALED, keys));
            let message = signed(&mut met.context, b"text");
            met.send(&message);
            assert!(met.receive().is_err(), "{keys:?}");
        }
        // One that is only signed in a wrap token, where messages must be sealed.
        let mut met = met(face, kind(SEALED, AES));
        let mut token = Vec::new();
        met.context.sender().wrap(SignedOnly, b"text", &mut TestRng::new(5), &mut token).unwrap();
        met.send(&framed(&token));
        met.refuses(code::MESSAGE_NOT_SEALED);
    }
}

#[test]
fn a_message_of_the_limit_is_taken_and_one_byte_more_is_not() {
    for face in FACES {
        for framing in [SEALED, SIGNED] {
            let kind = kind(framing, AES);
            for (length, fits) in [(1_000, true), (1_001, false), (2_000, false), (200_000, false)] {
                let config = ServiceConfig { max_message: 1_000, ..kind.service_config() };
                let mut met = met_as(face, kind, config);
                let message = match framing {
                    SIGNED => signed(&mut met.context, &pattern(length)),
                    _ => sealed(&mut met.context, &pattern(length)),
                };
                let mut writer = met.near.try_clone().unwrap();
                let writing = thread::spawn(move || {
                    // It is refused before it is there to the end.
                    let _ = writer.write_all(&message);
                    let _ = writer.shutdown(Shutdown::Write);
                });
                if fits {
                    assert_eq!(met.receive().unwrap().unwrap(), pattern(length));
                } else {
                    met.refuses(code::FRAME_TOO_LONG);
                }
                let refusal = met.session.send(&pattern(1_001)).unwrap_err();
                assert_eq!(refusal.code(), code::MESSAGE_TOO_LONG);
                drop(met);
                writing.join().unwrap();
            }
        }
    }
}

#[test]
fn a_second_message_is_refused_where_it_is_sent() {
    for face in FACES {
        for framing in [SEALED, SIGNED] {
            let mut met = met(face, kind(framing, AES));
            met.session.send(b"one").unwrap();
            for text in [&b"two"[..], b""] {
                let refusal = met.session.send(text).unwrap_err();
                assert_eq!(refusal.code(), code::ONE_MESSAGE_ONLY, "{refusal}");
            }
            met.session.finish().unwrap();
            let mut message = met.read();
            if framing == SEALED {
                assert_sealed(&mut met.context, AES, &mut message, b"one");
            } else {
                assert!(message.ends_with(b"one"));
            }
        }
    }
}

#[test]
fn a_stream_sends_all_that_is_written_as_the_one_message_when_it_ends() {
    for face in FACES {
        let Met { session, mut context, mut near } = met(face, kind(SEALED, AES));
        near.write_all(&sealed(&mut context, b"a question")).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut question = Vec::new();
        match session {
            Session::Blocking(session) => {
                let mut stream = session.into_stream();
                stream.read_to_end(&mut question).unwrap();
                stream.write_all(b"an ").unwrap();
                stream.write_all(b"answer").unwrap();
                stream.flush().unwrap();
                stream.finish().unwrap();
                assert_refused_after_the_end(&stream.write_all(b"more").unwrap_err());
            }
            Session::Tokio(runtime, session) => runtime.block_on(async {
                let mut stream = session.into_stream();
                stream.read_to_end(&mut question).await.unwrap();
                stream.write_all(b"an ").await.unwrap();
                stream.write_all(b"answer").await.unwrap();
                stream.flush().await.unwrap();
                stream.shutdown().await.unwrap();
                assert_refused_after_the_end(&stream.write_all(b"more").await.unwrap_err());
            }),
        }
        assert_eq!(question, b"a question");
        let mut message = Vec::new();
        near.read_to_end(&mut message).unwrap();
        assert_sealed(&mut context, AES, &mut message, b"an answer");
    }
}

#[track_caller]
fn assert_refused_after_the_end(error: &std::io::Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(refusal_in(error).unwrap().code(), code::ONE_MESSAGE_ONLY);
}

/// The same at a client, before anything is sent.
#[test]
fn a_client_for_signed_messages_needs_a_policy_that_gives_up_sealing() {
    for face in FACES {
        let strict = Client::new(ClientConfig { framing: SIGNED, ..ends::client_config() });
        let (near, far) = unix();
        let refusal = fails(connect(face, &strict, near)).refusal;
        assert_eq!(refusal.code(), code::PROTECTION_TOO_LOW);
        assert_eq!((&far).read(&mut [0; 1]).unwrap(), 0, "nothing was sent");
    }
}

/// What is allowed is a policy's to say, not a framing's.
#[test]
fn a_service_for_signed_messages_needs_a_policy_that_gives_up_sealing() {
    let mint = Mint { now: now(), ..Mint::default() };
    for face in FACES {
        let acceptor = Acceptor::new(mint.service_keys(), AcceptorPolicy::default());
        let strict = Service::new(ServiceConfig { framing: SIGNED, ..ServiceConfig::new(acceptor) });
        let client = Client::new(kind(SIGNED, AES).client_config());
        let (near, far) = unix();
        let serving = thread::scope(|scope| {
            let serving = scope.spawn(|| accept(face, &strict, far));
            fails(connect(face, &client, near));
            serving.join().unwrap()
        });
        let refusal = fails(serving).refusal;
        assert_eq!(refusal.code(), code::PROTECTION_TOO_LOW);
        assert!(refusal.have().contains("allow_unsealed"), "{refusal}");
    }
}
