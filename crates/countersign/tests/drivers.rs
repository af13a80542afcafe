//! The handshake's drivers, blocking and tokio, with each other: deadlines, eviction, cancelling, and what either end
//! is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::limits::{Admission, HandshakeLimits};
use countersign::proto::error::{Refusal, code};
use countersign::{Client, ClientConfig, Service, ServiceConfig};
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::{Direction, told};
use ends::{
    ADDRESS, AMPLE, FACES, Face, SHORT, Session, Socket, accept, block_on, client, client_config, connect,
    fails, framed, service, service_config, sessions, succeeds, tapped, tcp, unix,
};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;
use tokio::io::{AsyncReadExt, duplex};

/// As the service of the README does: what comes goes back in upper case, to the mark of the end.
fn answer_in_upper_case<S: Socket>(session: &mut Session<S>) {
    assert_eq!(session.facts().client(), "alice@EXAMPLE.TEST");
    assert!(!session.peer_confirmed(), "before the first message it is not known that the AP-REP arrived");
    while let Some(message) = session.receive().unwrap() {
        assert!(session.peer_confirmed());
        session.send(&message.to_ascii_uppercase()).unwrap();
    }
    session.finish().unwrap();
}

fn talk<S: Socket>(session: &mut Session<S>) {
    assert_eq!(session.facts().service().unwrap(), "HTTP/a.example.test@EXAMPLE.TEST");
    assert!(session.facts().mutual());
    for size in [1, 5, 4_096, 65_536, 1 << 20] {
        session.send(&vec![b'q'; size]).unwrap();
        let reply = session.receive().unwrap().expect("a message");
        assert!(reply == vec![b'Q'; size], "{} bytes came back for {size}", reply.len());
    }
    session.finish().unwrap();
    assert_eq!(session.receive().unwrap(), None);
}

fn every_face_meets_every_face<S: Socket>(pair: fn() -> (S, S)) {
    for serving in FACES {
        for connecting in FACES {
            let (near, far) = pair();
            thread::scope(|scope| {
                scope.spawn(|| answer_in_upper_case(&mut succeeds(accept(serving, &service(), far))));
                talk(&mut succeeds(connect(connecting, &client(), near)));
            });
        }
    }
}

#[test]
fn every_face_meets_every_face_over_tcp() {
    every_face_meets_every_face(tcp);
}

#[test]
fn every_face_meets_every_face_over_unix_sockets() {
    every_face_meets_every_face(unix);
}

#[test]
fn tokio_ends_meet_in_memory_however_small_its_pipe() {
    for room in [1, 7, 100_000] {
        let (near, far) = duplex(room);
        let (service, client) = (service(), client());
        block_on(async {
            let serving = async {
                let mut session = succeeds(countersign::tokio::accept(&service, far, ADDRESS).await);
                let message = session.receive().await.unwrap().unwrap().to_vec();
                session.send(&message).await.unwrap();
            };
            let connecting = async {
                let mut session = succeeds(countersign::tokio::connect(&client, near).await);
                session.send(b"hello").await.unwrap();
                assert_eq!(session.receive().await.unwrap(), Some(&b"hello"[..]));
            };
            tokio::join!(serving, connecting);
        });
    }
}

fn hasty_service() -> Service {
    Service::new(ServiceConfig { handshake_deadline: SHORT, ..service_config() })
}

fn hasty_client() -> Client {
    Client::new(ClientConfig { handshake_deadline: SHORT, ..client_config() })
}

#[test]
fn a_service_waits_for_a_silent_client_no_longer_than_its_deadline() {
    for face in FACES {
        let (mut near, far) = tcp();
        let failure = fails(accept(face, &hasty_service(), far));
        assert_eq!(failure.refusal.code(), code::HANDSHAKE_DEADLINE);
        let mut told = Vec::new();
        near.read_to_end(&mut told).unwrap();
        assert_eq!(told, b"", "there is no token to answer");
    }
}

#[test]
fn a_client_waits_for_a_silent_service_no_longer_than_its_deadline() {
    for face in FACES {
        let (near, _silent) = tcp();
        let failure = fails(connect(face, &hasty_client(), near));
        assert_eq!(failure.refusal.code(), code::HANDSHAKE_DEADLINE);
        assert_eq!(failure.claimed_service.unwrap().to_string(), "HTTP/a.example.test@EXAMPLE.TEST");
    }
}

#[test]
fn bytes_that_keep_coming_do_not_move_the_deadline() {
    for face in FACES {
        let (mut near, far) = tcp();
        let dripping = thread::spawn(move || {
            // A length that would take minutes to fill; writing fails once the other end has closed.
            let began = near.write_all(&60_000_u32.to_le_bytes());
            while near.write_all(&[0x60]).is_ok() && began.is_ok() {
                thread::sleep(SHORT / 20);
            }
        });
        let failure = fails(accept(face, &hasty_service(), far));
        assert_eq!(failure.refusal.code(), code::HANDSHAKE_DEADLINE);
        dripping.join().unwrap();
    }
}

#[test]
fn the_deadline_is_over_with_the_handshake() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &hasty_service(), &hasty_client(), tcp());
        let began = Instant::now();
        let answering = thread::spawn(move || {
            let message = serving.receive().unwrap().unwrap();
            serving.send(&message).unwrap();
        });
        while began.elapsed() < 2 * SHORT {
            thread::sleep(SHORT / 4);
        }
        connecting.send(b"late, but not too late").unwrap();
        assert_eq!(connecting.receive().unwrap().unwrap(), b"late, but not too late");
        answering.join().unwrap();
    }
}

fn limited(total: usize, per_address: usize) -> Service {
    let limits = HandshakeLimits { total, per_address, ..HandshakeLimits::default() };
    Service::new(ServiceConfig { admission: Admission::new(limits), ..service_config() })
}

/// A silent client holds the one place there is; whoever comes next takes it, and is served.
#[test]
fn the_handshake_that_waits_longest_gives_way_when_all_places_are_taken() {
    for face in FACES {
        let service = limited(1, 1);
        let (mut silent, far) = tcp();
        let waiting = {
            let service = service.clone();
            thread::spawn(move || fails(accept(face, &service, far)))
        };
        let until = Instant::now() + AMPLE;
        // It may come after the first newcomer, and so take the place from that one.
        while !waiting.is_finished() && Instant::now() < until {
            let (near, far) = tcp();
            let service = service.clone();
            let serving = thread::spawn(move || accept(face, &service, far).is_ok());
            let _ = connect(face, &client(), near);
            let _ = serving.join().unwrap();
        }
        let evicted = waiting.join().unwrap();
        assert_eq!(evicted.refusal.code(), code::HANDSHAKES_EXHAUSTED);
        assert!(evicted.refusal.to_string().contains("room for 1 at once"), "{}", evicted.refusal);
        assert_eq!(silent.read(&mut [0]).unwrap(), 0, "its connection is closed");
        sessions((face, face), &service, &client(), tcp());
    }
}

/// Polls each future once, in order.
fn poll_once<F: Future + Unpin>(futures: &mut [F]) -> Vec<Poll<F::Output>> {
    let mut context = Context::from_waker(Waker::noop());
    futures.iter_mut().map(|future| pin!(future).poll(&mut context)).collect()
}

#[test]
fn a_flood_from_one_address_costs_that_address_its_places_and_nobody_else() {
    let service = limited(3, 2);
    let other: IpAddr = "192.0.2.1".parse().unwrap();
    let from = [other, ADDRESS, ADDRESS, ADDRESS, ADDRESS];
    block_on(async {
        let (_near, far): (Vec<_>, Vec<_>) = from.iter().map(|_| duplex(100)).unzip();
        let mut handshakes: Vec<_> = far
            .into_iter()
            .zip(from)
            .map(|(stream, address)| Box::pin(countersign::tokio::accept(&service, stream, address)))
            .collect();
        poll_once(&mut handshakes);
        let ended: Vec<_> = poll_once(&mut handshakes).into_iter().map(|poll| poll.is_ready()).collect();
        assert_eq!(ended, [false, true, true, false, false]);
    });
}

#[test]
fn a_handshake_that_is_cancelled_closes_its_connection() {
    let service = service();
    block_on(async {
        let (mut near, far) = duplex(100);
        let mut cancelled = Box::pin(countersign::tokio::accept(&service, far, ADDRESS));
        assert!(poll_once(&mut [&mut cancelled])[0].is_pending());
        drop(cancelled);
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
    });
}

#[test]
fn a_session_holds_no_place() {
    for face in FACES {
        let service = limited(1, 1);
        let mut first = sessions((face, face), &service, &client(), tcp());
        let _second = sessions((face, face), &service, &client(), tcp());
        first.1.send(b"still here").unwrap();
        assert_eq!(first.0.receive().unwrap().unwrap(), b"still here");
    }
}

/// The client learns the bare code and this end's log the cause (DESIGN rule 2).
#[test]
fn a_client_that_the_program_turns_away_is_told_so_and_no_more() {
    for face in FACES {
        let turned_away = |cause: &'static str| {
            let authorize =
                Box::new(move |_: &_| Err(Refusal::new(code::CLIENT_NOT_ALLOWED, cause, "a list")));
            Service::new(ServiceConfig { authorize, ..service_config() })
        };
        let (near, far) = tcp();
        let serving = thread::spawn(move || fails(accept(face, &turned_away("a name not on it"), far)));
        let answer = fails(connect(face, &client(), near));
        assert_eq!(answer.refusal.code(), code::KRB_ERROR_RECEIVED);
        assert!(answer.refusal.saw().contains("60 KRB_ERR_GENERIC"), "{}", answer.refusal);
        assert!(!answer.refusal.to_string().contains("a name not on it"));
        let failure = serving.join().unwrap();
        assert_eq!(failure.refusal.code(), code::CLIENT_NOT_ALLOWED);
        assert_eq!(failure.refusal.saw(), "a name not on it");
        let facts = failure.facts.expect("it proved who it is");
        assert_eq!(facts.client(), "alice@EXAMPLE.TEST");
    }
}

/// Closing with bytes unread would reset the connection, and the error that was sent could be lost.
#[test]
fn a_refused_client_gets_its_error_though_it_has_sent_more() {
    for face in FACES {
        let (mut near, far) = unix();
        let token = Mint::default().ap_req().token();
        near.write_all(&[framed(&token), vec![0x55; 20_000]].concat()).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let refusal = fails(accept(face, &service(), far)).refusal;
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).expect("the end, not a reset");
        assert_eq!(refusal.code().krb_error(), Some(told(&answer[4..]).error_code), "{refusal}");
    }
}

#[test]
fn a_peer_that_leaves_half_way_is_told_from_one_that_sends_nothing() {
    for face in FACES {
        for (sent, text) in
            [(&[][..], "the end of the connection"), (&[9, 0, 0, 0, 1, 2], "after 6 bytes of a frame")]
        {
            let (mut near, far) = tcp();
            near.write_all(sent).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            let refusal = fails(accept(face, &service(), far)).refusal;
            assert_eq!(refusal.code(), code::CONNECTION_CUT);
            assert!(refusal.saw().contains(text), "{refusal}");
        }
    }
}

#[test]
fn a_replay_is_refused_whichever_face_sees_it_second() {
    for (first, second) in [(Face::Blocking, Face::Tokio), (Face::Tokio, Face::Blocking)] {
        let service = service();
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&recorded);
        let pair = tapped(Direction::ToAcceptor, move |frame| recorder.lock().unwrap().clone_from(frame));
        sessions((first, first), &service, &client(), pair);
        let token = recorded.lock().unwrap().clone();
        let (mut near, far) = tcp();
        near.write_all(&framed(&token)).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(fails(accept(second, &service, far)).refusal.code(), code::REPLAY);
    }
}
