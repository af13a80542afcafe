//! The mark of the end and what may follow on it, and when a peer is known to hold the session's key, over both faces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::Refusal;
use countersign::proto::error::code;
use ends::{FACES, Session, Socket, client, service, sessions, unix};
use std::time::Duration;
use tokio::time::timeout;

/// More than what is there takes.
const PATIENCE: Duration = Duration::from_secs(5);

fn receive_any<S: Socket>(session: &mut Session<S>) -> Result<Option<Vec<u8>>, Refusal> {
    let message = match session {
        Session::Blocking(session) => session.receive_any()?,
        Session::Tokio(runtime, session) => runtime.block_on(session.receive_any())?,
    };
    Ok(message.map(<[u8]>::to_vec))
}

/// Asks for a message that must not be waited for.
#[track_caller]
fn assert_none_at_once<S: Socket>(session: &mut Session<S>) {
    let none = match session {
        Session::Blocking(session) => {
            session.set_timeout(Some(PATIENCE)).unwrap();
            session.receive().map(|message| message.is_none())
        }
        Session::Tokio(runtime, session) => {
            let received = runtime.block_on(async { timeout(PATIENCE, session.receive()).await });
            received.expect("no waiting").map(|message| message.is_none())
        }
    };
    assert_eq!(none, Ok(true));
}

#[test]
fn after_the_mark_of_the_end_there_is_none_however_often_asked() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        connecting.send(b"").unwrap();
        // Still connected, still connected in one direction, not connected.
        (0..3).for_each(|_| assert_none_at_once(&mut serving));
        connecting.finish().unwrap();
        (0..3).for_each(|_| assert_none_at_once(&mut serving));
        drop(connecting);
        (0..3).for_each(|_| assert_none_at_once(&mut serving));
    }
}

#[test]
fn a_message_after_the_mark_of_the_end_breaks_the_session() {
    for face in FACES {
        for further in [&b"one more thing"[..], b""] {
            let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
            connecting.send(b"").unwrap();
            connecting.send(further).unwrap();
            assert_eq!(serving.receive().unwrap(), None);
            let refusal = serving.receive().unwrap_err();
            assert_eq!(refusal.code(), code::MESSAGE_OUT_OF_ORDER);
            assert!(refusal.saw().contains(&format!("{} bytes", further.len())), "{refusal}");
            assert!(refusal.have().contains("the mark of the end"), "{refusal}");
            assert_eq!(serving.receive().unwrap_err(), refusal);
            assert_eq!(receive_any(&mut serving).unwrap_err(), refusal);
        }
    }
}

#[test]
fn every_message_can_be_received_empty_ones_too() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        let messages = [&b""[..], b"a", b"", b"", b"b", b""];
        messages.iter().for_each(|message| connecting.send(message).unwrap());
        drop(connecting);
        for message in messages {
            assert_eq!(receive_any(&mut serving).unwrap().unwrap(), message);
        }
        for _ in 0..3 {
            assert_eq!(receive_any(&mut serving).unwrap(), None);
        }
        assert_eq!(serving.receive().unwrap(), None);
    }
}

#[test]
fn an_end_after_another_message_than_the_mark_is_an_error_to_who_takes_every_message() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        connecting.send(b"").unwrap();
        connecting.send(b"unfinished").unwrap();
        drop(connecting);
        assert_eq!(receive_any(&mut serving).unwrap().unwrap(), b"");
        assert_eq!(receive_any(&mut serving).unwrap().unwrap(), b"unfinished");
        for _ in 0..3 {
            assert_eq!(receive_any(&mut serving).unwrap_err().code(), code::END_UNMARKED);
        }
    }
}

#[test]
fn finishing_does_not_mark_the_end_twice() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        connecting.send(b"").unwrap();
        connecting.finish().unwrap();
        assert_eq!(receive_any(&mut serving).unwrap().unwrap(), b"");
        assert_eq!(receive_any(&mut serving).unwrap(), None);
    }
}

// DESIGN rule 10.
#[test]
fn a_service_is_confirmed_from_the_start_and_a_client_by_its_first_message() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        assert!(connecting.peer_confirmed());
        assert!(!serving.peer_confirmed());
        connecting.send(b"").unwrap();
        assert_eq!(serving.receive().unwrap(), None);
        assert!(serving.peer_confirmed());
    }
}
