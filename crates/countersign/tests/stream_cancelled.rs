//! Calls that are given up, wherever they wait: what was acknowledged before arrives whole, in order and once. Directions that
//! end one by one, and connections that are reset.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::proto::error::code;
use countersign::tokio::{AuthStream, Connector, Listener, Session};
use countersign::{Client, Failure, Service, blocking, refusal_in};
use ends::kinds::{FRAMINGS, KEYS, Kind};
use ends::pipe::{Behaviour, Dice, Pipe, Tap, pipe};
use ends::tasks::{Task, Tasks, now, poll_once};
use ends::{ADDRESS, AMPLE, Face, Session as AnySession, block_on, client, service};
use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// Makes the call again if it was given up, which happens once.
macro_rules! insist {
    ($call:expr) => {
        match poll_once($call) {
            Some(done) => done,
            None => now($call),
        }
    };
}

/// How many bytes the connection moves at a time: a frame needs a few.
const MOST: usize = 40;

/// Kinds that differ in what a call leaves behind: all framings, and keys with and without a state of their own.
fn kinds() -> impl Iterator<Item = Kind> {
    FRAMINGS.into_iter().flat_map(|framing| [KEYS[0], KEYS[5]].map(|keys| Kind { framing, keys }))
}

/// The client's session, what is kept of its end, and the service's session.
fn ends_of(kind: Kind) -> (Session<Pipe>, Tap, Session<Pipe>) {
    let ((near, far), (near_tap, _)) = pipe();
    match kind.sessions((Face::Tokio, Face::Tokio), (near, far)) {
        (AnySession::Tokio(_, serving), AnySession::Tokio(_, connecting)) => (connecting, near_tap, serving),
        _ => panic!("another face than asked for"),
    }
}

fn blocking_ends_of(kind: Kind) -> (blocking::Session<Pipe>, Tap, blocking::Session<Pipe>) {
    let ((near, far), (near_tap, _)) = pipe();
    match kind.sessions((Face::Blocking, Face::Blocking), (near, far)) {
        (AnySession::Blocking(serving), AnySession::Blocking(connecting)) => (connecting, near_tap, serving),
        _ => panic!("another face than asked for"),
    }
}

/// Runs `attempt` with a connection on which the first, the second, ... call gets nowhere, until there is none any more that does.
fn at_every_wait(kind: Kind, attempt: impl Fn(Session<Pipe>, Session<Pipe>)) {
    for calls in 0..500 {
        let (near, tap, far) = ends_of(kind);
        tap.behave(Behaviour::Stall { most: MOST, calls });
        attempt(near, far);
        if !tap.has_struck() {
            assert!(calls > 2, "it never waited");
            return;
        }
    }
    panic!("no end of it");
}

fn messages(kind: Kind) -> Vec<Vec<u8>> {
    let count = if kind.is_single() { 1 } else { 4 };
    (1..=count).map(|number| vec![number as u8; 30 * number]).collect()
}

/// All that comes to the end.
fn all_of(far: Session<Pipe>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    now(far.into_stream().read_to_end(&mut bytes)).map(|_| bytes)
}

#[test]
fn sending_that_is_cancelled_anywhere_loses_nothing_acknowledged_and_doubles_nothing() {
    for kind in kinds() {
        at_every_wait(kind, |mut near, mut far| {
            let mut acknowledged = Vec::new();
            for message in messages(kind) {
                let sent = poll_once(near.send(&message));
                sent.iter().for_each(|sent| sent.clone().unwrap());
                acknowledged.push((message, sent.is_some()));
            }
            insist!(near.finish()).unwrap();
            let mut sent = acknowledged.iter();
            while let Some(message) = now(far.receive()).unwrap() {
                // Those in between were given up before they were sealed.
                let found = sent.find(|(sent, acknowledged)| {
                    assert!(sent == message || !acknowledged, "{kind:?}: {} bytes are lost", sent.len());
                    sent == message
                });
                assert!(found.is_some(), "{kind:?}: {} bytes came twice, or from nowhere", message.len());
            }
            assert!(sent.all(|(_, acknowledged)| !acknowledged), "{kind:?}: the last ones are lost");
        });
    }
}

#[test]
fn writing_that_is_cancelled_anywhere_gives_the_same_stream() {
    for kind in kinds() {
        at_every_wait(kind, |near, far| {
            let mut near = near.into_stream();
            let mut expected: Vec<u8> = Vec::new();
            for message in messages(kind) {
                // What a cancelled write was given is its caller's still.
                let written = insist!(near.write(&message)).unwrap();
                expected.extend(&message[..written]);
                if written % 60 == 0 {
                    insist!(near.flush()).unwrap();
                }
            }
            insist!(near.shutdown()).unwrap();
            assert!(all_of(far).unwrap() == expected, "{kind:?}");
        });
    }
}

#[test]
fn what_a_write_took_goes_with_the_next_call_whatever_was_cancelled_before() {
    for kind in kinds() {
        at_every_wait(kind, |near, far| {
            let mut near = near.into_stream();
            let mut expected: Vec<u8> = Vec::new();
            for message in messages(kind) {
                if let Some(written) = poll_once(near.write(&message)) {
                    expected.extend(&message[..written.unwrap()]);
                }
                // Given up, too, and not made up for.
                let _ = poll_once(near.flush());
            }
            let _ = poll_once(near.shutdown());
            insist!(near.shutdown()).unwrap();
            assert!(all_of(far).unwrap() == expected, "{kind:?}");
        });
    }
}

/// What the service sends while nobody receives yet.
fn send_all(kind: Kind, far: &mut Session<Pipe>) {
    for message in messages(kind) {
        now(far.send(&message)).unwrap();
    }
    now(far.finish()).unwrap();
}

async fn received(session: &mut Session<Pipe>) -> Option<Vec<u8>> {
    session.receive().await.unwrap().map(<[u8]>::to_vec)
}

#[test]
fn receiving_that_is_cancelled_anywhere_loses_and_doubles_nothing() {
    for kind in kinds() {
        at_every_wait(kind, |mut near, mut far| {
            send_all(kind, &mut far);
            for message in messages(kind) {
                assert_eq!(insist!(received(&mut near)).as_deref(), Some(&message[..]), "{kind:?}");
            }
            assert_eq!(insist!(received(&mut near)), None, "{kind:?}");
        });
    }
}

#[test]
fn reading_that_is_cancelled_anywhere_gives_the_same_stream() {
    for kind in kinds() {
        for buffered in [false, true] {
            at_every_wait(kind, |near, mut far| {
                send_all(kind, &mut far);
                let mut near = near.into_stream();
                let mut read: Vec<u8> = Vec::new();
                loop {
                    let count =
                        if buffered { fill(&mut near, &mut read) } else { read_some(&mut near, &mut read) };
                    if count == 0 {
                        break;
                    }
                }
                assert!(read == messages(kind).concat(), "{kind:?}");
            });
        }
    }
}

fn read_some(stream: &mut AuthStream<Pipe>, read: &mut Vec<u8>) -> usize {
    let mut space = [0; 17];
    let count = insist!(stream.read(&mut space)).unwrap();
    read.extend(&space[..count]);
    count
}

fn fill(stream: &mut AuthStream<Pipe>, read: &mut Vec<u8>) -> usize {
    insist!(async { stream.fill_buf().await.map(drop) }).unwrap();
    // It is there without asking the connection.
    let there = now(stream.fill_buf()).unwrap();
    let count = there.len().min(17);
    read.extend(&there[..count]);
    stream.consume(count);
    count
}

#[test]
fn a_question_whose_writing_was_cancelled_is_sent_by_who_waits_for_the_answer() {
    for kind in kinds().filter(|kind| !kind.is_single()) {
        at_every_wait(kind, |near, far| {
            let (mut near, mut far) = (near.into_stream(), far.into_stream());
            let question = [7; 100];
            let written = poll_once(near.write(&question)).map(Result::unwrap);
            let mut space = [0; 200];
            // Nothing is there to be read; what was taken goes out meanwhile.
            while poll_once(near.read(&mut space)).is_some() {}
            let _ = poll_once(near.read(&mut space));
            let _ = poll_once(near.read(&mut space));
            let _ = poll_once(near.read(&mut space));
            if let Some(written) = written {
                assert_eq!(now(far.read(&mut space)).unwrap(), written, "{kind:?}");
            }
        });
    }
}

#[test]
fn each_direction_ends_by_itself_wherever_its_ending_was_cancelled() {
    for kind in kinds() {
        at_every_wait(kind, |near, far| {
            let (mut near, mut far) = (near.into_stream(), far.into_stream());
            insist!(near.shutdown()).unwrap();
            assert_eq!(now(far.read(&mut [0; 9])).unwrap(), 0);
            now(far.write_all(b"I go on for a while")).unwrap();
            now(far.shutdown()).unwrap();
            let mut heard = Vec::new();
            while read_some(&mut near, &mut heard) > 0 {}
            assert_eq!(heard, b"I go on for a while");
            // Again is no harm.
            insist!(near.shutdown()).unwrap();
        });
    }
}

/// How a handshake ended.
type Ended = Rc<RefCell<Option<Result<(), Failure>>>>;

fn noting<'t, T: 't>(handshake: impl Future<Output = Result<T, Failure>> + 't, ended: &Ended) -> Task<'t> {
    let ended = ended.clone();
    Box::pin(async move { *ended.borrow_mut() = Some(handshake.await.map(drop)) })
}

/// A handshake in which the end of `tap` is given up where it stalls, and how that went at the end that stays. Nobody but the
/// ends themselves wakes them.
fn given_up(kind: Kind, gives_up: usize, calls: usize) -> (bool, Option<Result<(), Failure>>) {
    let (service, client) = (Service::new(kind.service_config()), Client::new(kind.client_config()));
    let ((near, far), taps) = pipe();
    let tap = if gives_up == 0 { taps.0 } else { taps.1 };
    tap.behave(Behaviour::Stall { most: 400, calls });
    let ended = [Ended::default(), Ended::default()];
    let connecting = noting(countersign::tokio::connect(&client, near), &ended[0]);
    let serving = noting(countersign::tokio::accept(&service, far, ADDRESS), &ended[1]);
    let mut tasks = Tasks::new(vec![connecting, serving], Dice(calls as u64));
    tasks.settle();
    tasks.give_up(gives_up);
    tasks.settle();
    assert_eq!(tasks.left(), 0, "{kind:?}: an end waits for one that is gone");
    drop(tasks);
    assert_eq!(service.admission().open(), 0, "{kind:?}: the place is given back");
    (tap.has_struck(), ended[1 - gives_up].take())
}

#[test]
fn a_handshake_that_is_given_up_anywhere_ends_at_both_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _clock = runtime.enter();
    for kind in kinds() {
        for gives_up in [0, 1] {
            for calls in 0..200 {
                let (struck, stays) = given_up(kind, gives_up, calls);
                match stays.expect("it has ended") {
                    // It had all that it needed.
                    Ok(()) => {}
                    Err(failure) => {
                        let codes =
                            [code::CONNECTION_CUT, code::CONNECTION_FAILED, code::SERVICE_NEVER_PROVED];
                        assert!(struck && codes.contains(&failure.refusal.code()), "{}", failure.refusal);
                    }
                }
                if !struck {
                    break;
                }
                assert!(calls < 100, "no end of it");
            }
        }
    }
}

#[test]
fn accepting_that_is_cancelled_over_and_over_loses_no_client() {
    const CLIENTS: usize = 30;
    block_on(async {
        let mut listener = Listener::bind(&service(), (ADDRESS, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connector = Connector::new(client());
        let clients = (0..CLIENTS).map(|number| {
            let connector = connector.clone();
            tokio::spawn(async move {
                let mut stream = connector.connect(address).await.unwrap();
                stream.write_all(&[number as u8]).await.unwrap();
                stream.shutdown().await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.map(drop)
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut came = Vec::new();
        while came.len() < CLIENTS {
            // One poll, and it is given up.
            let accepted = {
                let mut accepting = pin!(listener.accept());
                std::future::poll_fn(|context| match accepting.as_mut().poll(context) {
                    Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                    Poll::Pending => Poll::Ready(None),
                })
                .await
            };
            match accepted {
                None => tokio::task::yield_now().await,
                Some((mut stream, _)) => {
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).await.unwrap();
                    stream.shutdown().await.unwrap();
                    came.extend(bytes);
                }
            }
        }
        for client in clients {
            client.await.unwrap().unwrap();
        }
        came.sort_unstable();
        assert_eq!(came, (0..CLIENTS as u8).collect::<Vec<_>>());
    });
}

/// How many whole messages of a conversation are in its first bytes.
fn whole(frames: &[usize], mut bytes: usize) -> usize {
    frames
        .iter()
        .take_while(|frame| {
            let fits = **frame <= bytes;
            bytes = bytes.saturating_sub(**frame);
            fits
        })
        .count()
}

#[track_caller]
fn assert_reset(error: &io::Error) {
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(refusal_in(error).unwrap().code(), code::CONNECTION_FAILED);
}

/// The service has sent its messages; the connection is reset before so many calls of the client's.
#[test]
fn what_came_before_a_reset_can_be_read_and_then_it_is_an_error() {
    for kind in kinds() {
        for calls in 0.. {
            let (near, tap, mut far) = ends_of(kind);
            let before = tap.incoming.taken();
            let mut frames = Vec::new();
            for message in messages(kind) {
                now(far.send(&message)).unwrap();
                frames.push(tap.incoming.drain());
            }
            tap.incoming.put(&frames.concat());
            tap.behave(Behaviour::Reset { most: MOST, calls });
            let mut near = near.into_stream();
            let mut read: Vec<u8> = Vec::new();
            let ended = loop {
                let mut space = [0; 1_000];
                match poll_once(near.read(&mut space)) {
                    Some(Ok(0)) => break Some(Ok(())),
                    Some(Ok(count)) => read.extend(&space[..count]),
                    Some(Err(error)) => break Some(Err(error)),
                    None => break None,
                }
            };
            let lens: Vec<_> = frames.iter().map(Vec::len).collect();
            let complete = match kind.is_single() {
                // It is complete once the end of the connection was seen.
                true => usize::from(calls > lens[0].div_ceil(MOST)),
                false => whole(&lens, tap.incoming.taken() - before),
            };
            let expected = match &ended {
                Some(Ok(())) => messages(kind),
                _ => messages(kind)[..complete].to_vec(),
            };
            assert!(read == expected.concat(), "{kind:?}, {calls} calls");
            match ended {
                Some(Err(error)) => {
                    assert_reset(&error);
                    assert_reset(&now(near.read(&mut [0; 9])).unwrap_err());
                }
                // It came to the end of what there is before any reset.
                Some(Ok(())) => assert!(kind.is_single()),
                None => assert!(complete == frames.len()),
            }
            if !tap.has_struck() {
                break;
            }
        }
    }
}

#[test]
fn after_a_reset_nothing_can_be_written() {
    for kind in kinds() {
        for calls in 0..6 {
            let (near, tap, _far) = ends_of(kind);
            tap.behave(Behaviour::Reset { most: MOST, calls });
            let mut near = near.into_stream();
            let failed = messages(kind).iter().find_map(|message| now(near.write_all(message)).err());
            let failed = failed.or_else(|| now(near.shutdown()).err());
            // One small message may all have gone before.
            let Some(failed) = failed else { continue };
            assert_reset(&failed);
            tap.behave(Behaviour::Smooth);
            tap.outgoing.drain();
            assert_reset(&now(near.write(b"x")).unwrap_err());
            assert_reset(&now(near.flush()).unwrap_err());
            assert_reset(&now(near.shutdown()).unwrap_err());
            assert_eq!(tap.outgoing.drain(), b"", "half a frame, and then another one");
        }
    }
}

/// A TCP connection that is closed with bytes unread is reset.
#[test]
fn a_tcp_connection_that_is_reset_is_no_end_of_the_stream() {
    let (near, far) = ends::tcp();
    let (serving, connecting) =
        ends::sessions((Face::Tokio, Face::Blocking), &service(), &client(), (near, far));
    let (AnySession::Tokio(runtime, serving), AnySession::Blocking(connecting)) = (serving, connecting)
    else {
        panic!("another face than asked for")
    };
    let (mut serving, mut connecting) = (serving.into_stream(), connecting.into_stream());
    connecting.write_all(b"never read").unwrap();
    runtime.block_on(async {
        serving.write_all(b"read before").await.unwrap();
        // The question is there before its reader goes.
        serving.get_ref().readable().await.unwrap();
    });
    drop(serving);
    let mut read: Vec<u8> = Vec::new();
    let error = connecting.read_to_end(&mut read).unwrap_err();
    assert_eq!(read, b"read before");
    assert_reset(&error);
}

/// A blocking read that is out of time at any point goes on where it was.
#[test]
fn blocking_reads_that_are_out_of_time_anywhere_lose_nothing() {
    for kind in kinds() {
        for calls in 0.. {
            let (near, tap, mut far) = blocking_ends_of(kind);
            for message in messages(kind) {
                far.send(&message).unwrap();
            }
            far.finish().unwrap();
            tap.behave(Behaviour::Stall { most: MOST, calls });
            let mut near = near.into_stream();
            near.set_timeout(Some(AMPLE)).unwrap();
            let mut read: Vec<u8> = Vec::new();
            loop {
                let mut space = [0; 17];
                match near.read(&mut space) {
                    Ok(0) => break,
                    Ok(count) => read.extend(&space[..count]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
                        assert_eq!(refusal_in(&error).unwrap().code(), code::CONNECTION_FAILED);
                    }
                }
            }
            assert!(read == messages(kind).concat(), "{kind:?}, {calls} calls");
            if !tap.has_struck() {
                break;
            }
        }
    }
}

/// A blocking write that is out of time may have left half a frame: nothing follows on it.
#[test]
fn blocking_writes_that_are_out_of_time_fail_for_good() {
    for kind in kinds() {
        for calls in 0..6 {
            let (near, tap, _far) = blocking_ends_of(kind);
            tap.behave(Behaviour::Stall { most: MOST, calls });
            let mut near = near.into_stream();
            near.set_timeout(Some(AMPLE)).unwrap();
            let failed = messages(kind).iter().find_map(|message| near.write_all(message).err());
            let Some(failed) = failed.or_else(|| near.finish().err()) else { continue };
            assert_eq!(failed.kind(), ErrorKind::TimedOut, "{failed}");
            tap.outgoing.drain();
            assert_eq!(near.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(near.finish().unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(tap.outgoing.drain(), b"", "half a frame, and then another one");
        }
    }
}

/// Half-close over the blocking face.
#[test]
fn each_direction_of_a_blocking_stream_ends_by_itself() {
    for kind in kinds() {
        let (near, _, far) = blocking_ends_of(kind);
        let (mut near, mut far) = (near.into_stream(), far.into_stream());
        near.finish().unwrap();
        assert_eq!(far.read(&mut [0; 9]).unwrap(), 0);
        far.write_all(b"I go on for a while").unwrap();
        far.finish().unwrap();
        assert_eq!(io::read_to_string(&mut near).unwrap(), "I go on for a while");
    }
}

/// A connection that somebody cuts, at either face.
#[test]
fn a_connection_that_is_cut_is_an_error_to_who_reads() {
    for kind in kinds() {
        let (near, _, far) = blocking_ends_of(kind);
        let mut near = near.into_stream();
        drop(far);
        assert_eq!(near.read(&mut [0; 9]).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{kind:?}");
        let (near, _, far) = ends_of(kind);
        let mut near = near.into_stream();
        drop(far);
        assert_eq!(now(near.read(&mut [0; 9])).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{kind:?}");
    }
}
