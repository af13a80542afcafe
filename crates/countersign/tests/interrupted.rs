//! Sending and receiving that is cancelled, fails or takes too long, over both faces: what was sealed arrives in order or
//! nothing more does. And what only blocking sessions need: timeouts, halves for two threads, an end from a third.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;
mod faults;

use countersign::blocking;
use countersign::proto::error::{Code, Refusal, code};
use ends::{
    ADDRESS, FACES, Face, SHORT, Session, Socket, block_on, client, framed, service, sessions, succeeds, tcp,
    unix,
};
use faults::{Fault, Faults, faulty};
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{DuplexStream, duplex};

type Pair<S> = (countersign::tokio::Session<S>, countersign::tokio::Session<S>);

/// The service's and the client's session over a pipe in memory with this much room.
async fn in_memory(room: usize) -> Pair<DuplexStream> {
    let (near, far) = duplex(room);
    let (service, client) = (service(), client());
    let (serving, connecting) = tokio::join!(
        countersign::tokio::accept(&service, far, ADDRESS),
        countersign::tokio::connect(&client, near),
    );
    (succeeds(serving), succeeds(connecting))
}

/// Begins, finds it waiting, and gives it up.
fn cancel<T>(begun: impl Future<Output = T>) {
    assert!(pin!(begun).poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

#[test]
fn a_message_whose_sending_was_cancelled_arrives_before_the_next_one() {
    block_on(async {
        let (mut serving, mut connecting) = in_memory(1_000).await;
        cancel(connecting.send(&[b'1'; 10_000]));
        let sending = async {
            connecting.send(b"second").await.unwrap();
            connecting.finish().await.unwrap();
        };
        let receiving = async {
            assert_eq!(serving.receive().await.unwrap().unwrap(), [b'1'; 10_000]);
            assert_eq!(serving.receive().await.unwrap().unwrap(), b"second");
            assert_eq!(serving.receive().await.unwrap(), None);
        };
        tokio::join!(sending, receiving);
    });
}

/// Only the first was accepted when they were given up; the end that was begun is marked once.
#[test]
fn a_message_that_still_waited_for_another_one_is_not_sent_when_it_is_cancelled() {
    block_on(async {
        let (mut serving, mut connecting) = in_memory(1_000).await;
        cancel(connecting.send(&[b'1'; 3_000]));
        cancel(connecting.send(b"never sealed"));
        cancel(connecting.finish());
        let receiving = async {
            assert_eq!(serving.receive_any().await.unwrap().unwrap(), [b'1'; 3_000]);
            assert_eq!(serving.receive_any().await.unwrap().unwrap(), b"");
            assert_eq!(serving.receive_any().await.unwrap(), None);
        };
        let (finished, ()) = tokio::join!(connecting.finish(), receiving);
        finished.unwrap();
    });
}

#[test]
fn an_end_whose_sending_was_cancelled_is_marked_once() {
    block_on(async {
        let (mut serving, mut connecting) = in_memory(40).await;
        cancel(connecting.finish());
        let receiving = async {
            assert_eq!(serving.receive_any().await.unwrap().unwrap(), b"");
            assert_eq!(serving.receive_any().await.unwrap(), None);
        };
        let (finished, ()) = tokio::join!(connecting.finish(), receiving);
        finished.unwrap();
    });
}

#[test]
fn after_an_error_of_writing_every_call_that_sends_fails_with_it() {
    for face in FACES {
        let faults = Faults::default();
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), faulty(&faults));
        faults.in_writes(Fault::Fails);
        let refusal = connecting.send(b"lost").unwrap_err();
        assert_eq!(refusal.code(), code::CONNECTION_FAILED);
        assert_eq!(connecting.send(b"must not follow").unwrap_err(), refusal);
        assert_eq!(connecting.send(&vec![0; 2 << 20]).unwrap_err(), refusal);
        assert_eq!(connecting.finish().unwrap_err(), refusal);
        serving.send(b"the other direction is whole").unwrap();
        assert_eq!(connecting.receive().unwrap().unwrap(), b"the other direction is whole");
    }
}

#[test]
fn after_an_error_of_reading_every_call_that_receives_fails_with_it() {
    for face in FACES {
        let faults = Faults::default();
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), faulty(&faults));
        connecting.send(b"would be there").unwrap();
        faults.in_reads(Fault::Fails);
        let refusal = serving.receive().unwrap_err();
        assert_eq!(refusal.code(), code::CONNECTION_FAILED);
        assert_eq!(serving.receive().unwrap_err(), refusal);
        serving.send(b"the other direction is whole").unwrap();
        assert_eq!(connecting.receive().unwrap().unwrap(), b"the other direction is whole");
    }
}

fn blocking_sessions<S: Socket>(pair: (S, S)) -> (blocking::Session<S>, blocking::Session<S>) {
    match sessions((Face::Blocking, Face::Blocking), &service(), &client(), pair) {
        (Session::Blocking(serving), Session::Blocking(connecting)) => (serving, connecting),
        _ => panic!("another face than asked for"),
    }
}

#[track_caller]
fn assert_timed_out(refusal: &Refusal) {
    assert_eq!(refusal.code(), code::CONNECTION_FAILED);
    assert!(refusal.have().contains("a timeout of 0.2 s"), "{refusal}");
}

#[test]
fn sending_that_takes_too_long_fails_for_good() {
    let (mut serving, mut connecting) = blocking_sessions(unix());
    connecting.set_timeout(Some(SHORT)).unwrap();
    let began = Instant::now();
    let message = vec![7; 1 << 20];
    let refusal = (0..100).find_map(|_| connecting.send(&message).err()).expect("nobody reads");
    assert!(began.elapsed() >= SHORT);
    assert_timed_out(&refusal);
    connecting.set_timeout(None).unwrap();
    // Now there would be room, and a new frame in the middle of another one.
    let reading = thread::spawn(move || while serving.receive().is_ok() {});
    assert_eq!(connecting.send(b"x").unwrap_err(), refusal);
    assert_eq!(connecting.finish().unwrap_err(), refusal);
    drop(connecting);
    reading.join().unwrap();
}

#[test]
fn a_timeout_is_over_when_it_is_taken_back() {
    let (mut serving, mut connecting) = blocking_sessions(tcp());
    serving.set_timeout(Some(SHORT)).unwrap();
    assert_timed_out(&serving.receive().unwrap_err());
    serving.set_timeout(None).unwrap();
    let waiting = thread::spawn(move || serving.receive().unwrap().map(<[u8]>::to_vec));
    thread::sleep(2 * SHORT);
    connecting.send(b"at last").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), b"at last");
}

/// A service's session; the socket that leads to it; and the frames of the messages that its client has sent it.
fn fed(messages: &[&[u8]]) -> (blocking::Session<UnixStream>, UnixStream, Vec<u8>) {
    let ((near, mut tap), (mut feed, far)) = (unix(), unix());
    let (mut serving, mut connecting) = (None, None);
    thread::scope(|scope| {
        let serve = scope.spawn(|| succeeds(blocking::accept(&service(), far, ADDRESS)));
        let connect = scope.spawn(|| succeeds(blocking::connect(&client(), near)));
        let frame = frame(&mut tap);
        feed.write_all(&frame).unwrap();
        let answer = self::frame(&mut feed);
        tap.write_all(&answer).unwrap();
        serving = Some(serve.join().unwrap());
        connecting = Some(connect.join().unwrap());
    });
    let mut connecting = connecting.unwrap();
    let frames = messages.iter().flat_map(|message| {
        connecting.send(message).unwrap();
        frame(&mut tap)
    });
    let frames = frames.collect();
    (serving.unwrap(), feed, frames)
}

fn frame(from: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    from.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut frame).unwrap();
    framed(&frame)
}

#[test]
fn receiving_that_takes_too_long_loses_nothing() {
    let (mut serving, mut feed, frames) = fed(&[b"in two parts"]);
    serving.set_timeout(Some(SHORT)).unwrap();
    let (first, second) = frames.split_at(20);
    assert_timed_out(&serving.receive().unwrap_err());
    feed.write_all(first).unwrap();
    assert_timed_out(&serving.receive().unwrap_err());
    feed.write_all(second).unwrap();
    assert_eq!(serving.receive().unwrap().unwrap(), b"in two parts");
}

#[test]
fn bytes_that_keep_coming_do_not_prolong_the_timeout() {
    let (mut serving, mut feed, frames) = fed(&[&[0; 1_000]]);
    serving.set_timeout(Some(SHORT)).unwrap();
    let dripping = thread::spawn(move || {
        for byte in frames {
            thread::sleep(SHORT / 10);
            if feed.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    assert_timed_out(&serving.receive().unwrap_err());
    assert!(began.elapsed() < 20 * SHORT, "{:?}", began.elapsed());
    drop(serving);
    dripping.join().unwrap();
}

#[test]
fn the_halves_of_a_blocking_session_work_in_two_threads() {
    const COUNT: usize = 300;
    let message = |number: usize| vec![number as u8; 10_000];
    let (mut serving, connecting) = blocking_sessions(tcp());
    let (mut sending, mut receiving) = connecting.into_split().unwrap();
    assert_eq!(sending.facts().service(), receiving.facts().service());
    assert!(receiving.peer_confirmed());
    thread::scope(|scope| {
        // It reads nothing before it has sent all, which is more than the sockets hold.
        scope.spawn(move || {
            (0..COUNT).for_each(|number| serving.send(&message(number)).unwrap());
            (0..COUNT).for_each(|number| assert!(serving.receive().unwrap().unwrap() == message(number)));
            assert_eq!(serving.receive().unwrap(), None);
            serving.finish().unwrap();
        });
        scope.spawn(move || {
            (0..COUNT).for_each(|number| sending.send(&message(number)).unwrap());
            sending.finish().unwrap();
        });
        (0..COUNT).for_each(|number| assert!(receiving.receive().unwrap().unwrap() == message(number)));
        assert_eq!(receiving.receive().unwrap(), None);
    });
}

#[test]
fn each_half_has_a_timeout_of_its_own() {
    let (_serving, connecting) = blocking_sessions(unix());
    let (mut sending, mut receiving) = connecting.into_split().unwrap();
    receiving.set_timeout(Some(SHORT)).unwrap();
    sending.set_timeout(Some(Duration::from_secs(3_600))).unwrap();
    assert_timed_out(&receiving.receive().unwrap_err());
    sending.send(b"not late").unwrap();
}

/// Runs `wait` in a thread, closes the connection from this one, and gives what it was told.
fn closed_while(wait: impl FnOnce(&mut blocking::Session<UnixStream>) -> Refusal + Send + 'static) -> Code {
    let (_silent, mut connecting) = blocking_sessions(unix());
    let closer = connecting.closer().unwrap();
    let waiting = thread::spawn(move || wait(&mut connecting).code());
    thread::sleep(SHORT);
    assert!(!waiting.is_finished());
    closer.close();
    waiting.join().unwrap()
}

#[test]
fn a_call_that_waits_ends_when_another_thread_closes_the_connection() {
    assert_eq!(closed_while(|session| session.receive().unwrap_err()), code::END_UNMARKED);
    let message = vec![0; 1 << 20];
    let send = move |session: &mut blocking::Session<_>| loop {
        if let Err(refusal) = session.send(&message) {
            return refusal;
        }
    };
    assert_eq!(closed_while(send), code::CONNECTION_FAILED);
}

#[test]
fn halves_can_be_closed_by_who_could_close_the_session() {
    let (_silent, mut connecting) = blocking_sessions(unix());
    let closer = connecting.closer().unwrap();
    let (mut sending, mut receiving) = connecting.into_split().unwrap();
    let waiting = thread::spawn(move || receiving.receive().unwrap_err().code());
    closer.close();
    assert_eq!(waiting.join().unwrap(), code::END_UNMARKED);
    assert_eq!(sending.send(b"too late").unwrap_err().code(), code::CONNECTION_FAILED);
}

#[test]
fn who_can_close_a_session_does_not_keep_it_open() {
    let (mut serving, mut connecting) = blocking_sessions(unix());
    let closer = connecting.closer().unwrap();
    drop(connecting);
    serving.set_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(serving.receive().unwrap_err().code(), code::END_UNMARKED);
    closer.close();
}
