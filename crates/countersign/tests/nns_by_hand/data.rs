//! Data records of NNS: how long they may be, which of them streams pass over, and how a stream ends.

use super::ends::kinds::{KEYS, Keys, Kind};
use super::ends::{FACES, succeeds};
use super::*;
use countersign::proto::error::code;
use countersign::proto::krb5::per_message::Confidentiality;
use countersign::refusal_in;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest record that is sent, and longest that is taken.
const SENT: usize = 0xFC30;
const TAKEN: usize = 65_536;

fn kind(keys: Keys) -> Kind {
    Kind { framing: Framing::Nns(SEALED), keys }
}

/// A client by hand of a kind of keys, with our service's session; Kerberos is done after one token.
fn met(face: Face, keys: Keys) -> (Session<UnixStream>, SecurityContext, UnixStream) {
    let service = Service::new(kind(keys).service_config());
    let ClientCredential::Ready(initiator) = kind(keys).client_config().credential else {
        panic!("every kind has its credential ready")
    };
    let (session, (context, near)) = accepting(face, &service, |mut near| {
        let (mut state, mut token) = offer(&initiator);
        loop {
            send_record(&mut near, IN_PROGRESS, &token);
            let (step, out) = answer(state, &read_record(&mut near).1);
            match step {
                InitiatorStep::AwaitReply(next) => (state, token) = (next, out),
                step => return (done((step, out)), near),
            }
        }
    });
    (succeeds(session), context, near)
}

/// Reads data records to the end: how long each is, and what is in all of them.
fn read_records(context: &mut SecurityContext, near: &mut UnixStream) -> (Vec<usize>, Vec<u8>) {
    let (mut lengths, mut text) = (Vec::new(), Vec::new());
    let mut header = [0; 4];
    while near.read_exact(&mut header).is_ok() {
        let mut message = vec![0; u32::from_le_bytes(header) as usize];
        near.read_exact(&mut message).unwrap();
        lengths.push(message.len());
        text.extend_from_slice(context.receiver().unwrap_in_place(&mut message).unwrap().plaintext);
    }
    (lengths, text)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[test]
fn the_longest_message_makes_a_record_that_every_receiver_takes_and_one_byte_more_is_refused() {
    for face in FACES {
        for keys in KEYS {
            let (mut session, mut context, mut near) = met(face, keys);
            let longest = longest(&mut session);
            session.send(&pattern(longest)).unwrap();
            let mut message = read_message(&mut near);
            assert!(message.len() <= SENT && message.len() + 16 > SENT, "{keys:?}: {}", message.len());
            assert_eq!(context.receiver().unwrap_in_place(&mut message).unwrap().plaintext, pattern(longest));
            let refusal = session.send(&pattern(longest + 1)).unwrap_err();
            assert_eq!(refusal.code(), code::MESSAGE_TOO_LONG, "{keys:?}");
            session.send(b"nothing was sent of it").unwrap();
            assert_eq!(opened(&mut context, &mut near), b"nothing was sent of it");
        }
    }
}

fn longest(session: &mut Session<UnixStream>) -> usize {
    match session {
        Session::Blocking(session) => session.max_message(),
        Session::Tokio(_, session) => session.max_message(),
    }
}

#[test]
fn a_stream_is_sent_in_records_that_every_receiver_takes() {
    const LENGTH: usize = 300_000;
    for face in FACES {
        for keys in KEYS {
            let (session, mut context, mut near) = met(face, keys);
            let (lengths, text) = thread::scope(|scope| {
                scope.spawn(|| write_all(session, &pattern(LENGTH)));
                read_records(&mut context, &mut near)
            });
            assert_eq!(text, pattern(LENGTH), "{keys:?}");
            assert!(lengths.iter().all(|length| *length <= SENT), "{keys:?}: {lengths:?}");
            assert_eq!(lengths.len(), 5 + 1, "no more records than it takes, and the mark of the end");
        }
    }
}

/// Writes all as a stream, and ends it.
fn write_all(session: Session<UnixStream>, bytes: &[u8]) {
    match session {
        Session::Blocking(session) => {
            let mut stream = session.into_stream();
            stream.write_all(bytes).unwrap();
            stream.finish().unwrap();
        }
        Session::Tokio(runtime, session) => runtime.block_on(async {
            let mut stream = session.into_stream();
            stream.write_all(bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        }),
    }
}

/// A message whose record has `length` bytes.
fn record_of(context: &mut SecurityContext, length: usize) -> (Vec<u8>, Vec<u8>) {
    let layout = context.sender().layout(Confidentiality::Sealed, length);
    // With RC4 the lengths in the token are as long as its content makes them.
    let shortest = length - layout.prefix - layout.trailer;
    let around = context.sender().layout(Confidentiality::Sealed, shortest);
    let text = pattern(length - around.prefix - around.trailer);
    let frame = sealed(context, &text);
    assert_eq!(frame.len(), 4 + length);
    (text, frame)
}

#[test]
fn a_record_of_65536_bytes_is_taken_and_one_byte_more_is_refused_before_it_comes() {
    for face in FACES {
        for keys in KEYS {
            let (mut session, mut context, mut near) = met(face, keys);
            let (text, frame) = record_of(&mut context, TAKEN);
            let writing = thread::spawn(move || {
                near.write_all(&frame).unwrap();
                near.write_all(&65_537_u32.to_le_bytes()).unwrap();
                near
            });
            assert_eq!(session.receive().unwrap().unwrap(), text, "{keys:?}");
            let refusal = session.receive().unwrap_err();
            assert_eq!(refusal.code(), code::FRAME_TOO_LONG, "{refusal}");
            assert!(refusal.saw().contains("65537 bytes"), "{refusal}");
            writing.join().unwrap();
        }
    }
}

#[test]
fn a_record_as_long_as_dotnet_makes_them_is_taken_though_the_document_has_less() {
    for face in FACES {
        let (mut session, mut context, mut near) = met(face, KEYS[0]);
        let frame = sealed(&mut context, &pattern(63 * 1024));
        assert_eq!(frame.len(), 4 + 64_572);
        let writing = thread::spawn(move || near.write_all(&frame).map(|()| near).unwrap());
        assert_eq!(session.receive().unwrap().unwrap(), pattern(63 * 1024));
        writing.join().unwrap();
    }
}

#[test]
fn a_record_without_a_message_in_it_is_refused() {
    for face in FACES {
        let (mut session, _context, mut near) = met(face, KEYS[0]);
        near.write_all(&[0; 4]).unwrap();
        assert_eq!(session.receive().unwrap_err().code(), code::FRAME_EMPTY);
    }
}

#[test]
fn empty_messages_are_passed_over_by_who_wants_bytes_and_given_to_who_wants_all() {
    for face in FACES {
        let (mut session, mut context, mut near) = met(face, KEYS[0]);
        for text in [&b""[..], b"", b"one", b"", b"two", b""] {
            near.write_all(&sealed(&mut context, text)).unwrap();
        }
        assert_eq!(session.receive().unwrap().unwrap(), b"one");
        let all = |session: &mut Session<UnixStream>| match session {
            Session::Blocking(session) => session.receive_any().unwrap().map(<[u8]>::to_vec),
            Session::Tokio(runtime, session) => {
                runtime.block_on(session.receive_any()).unwrap().map(<[u8]>::to_vec)
            }
        };
        assert_eq!(all(&mut session).unwrap(), b"");
        assert_eq!(all(&mut session).unwrap(), b"two");
        drop(near);
        assert_eq!(all(&mut session).unwrap(), b"");
        assert_eq!(all(&mut session), None);
    }
}

/// Reads a stream to its end.
fn read_stream(session: Session<UnixStream>) -> (Vec<u8>, std::io::Result<usize>) {
    let mut bytes = Vec::new();
    let ended = match session {
        Session::Blocking(session) => session.into_stream().read_to_end(&mut bytes),
        Session::Tokio(runtime, session) => {
            runtime.block_on(async { session.into_stream().read_to_end(&mut bytes).await })
        }
    };
    (bytes, ended)
}

#[test]
fn a_stream_whose_last_message_is_empty_has_ended_and_one_that_just_stops_was_cut() {
    for face in FACES {
        for marked in [true, false] {
            let (session, mut context, mut near) = met(face, KEYS[0]);
            let mut texts = vec![&b""[..], b"one", b"", b"two"];
            texts.extend(marked.then_some(&b""[..]));
            texts.iter().for_each(|text| near.write_all(&sealed(&mut context, text)).unwrap());
            drop(near);
            let (bytes, ended) = read_stream(session);
            assert_eq!(bytes, b"onetwo");
            if marked {
                assert_eq!(ended.unwrap(), 6);
            } else {
                let error = ended.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                assert_eq!(refusal_in(&error).unwrap().code(), code::END_UNMARKED);
            }
        }
    }
}

#[test]
fn a_record_that_is_cut_is_never_an_end() {
    for face in FACES {
        for keep in [1, 3, 4, 20] {
            let (session, mut context, mut near) = met(face, KEYS[0]);
            near.write_all(&sealed(&mut context, b"one")).unwrap();
            near.write_all(&sealed(&mut context, b"")[..keep]).unwrap();
            drop(near);
            let (bytes, ended) = read_stream(session);
            assert_eq!(bytes, b"one");
            let error = ended.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
            assert_eq!(refusal_in(&error).unwrap().code(), code::CONNECTION_CUT);
        }
    }
}
