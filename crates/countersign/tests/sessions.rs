//! Messages after the handshake, over both faces: their limits, the mark of the end, and what happens after a message
//! that is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::proto::error::{Code, code};
use countersign::tokio::{Receiving, Sending};
use countersign::{Client, ClientConfig, Service, ServiceConfig};
use countersign_testkit::pair::Direction::{ToAcceptor, ToInitiator};
use ends::{
    ADDRESS, FACES, Face, Session, block_on, client, client_config, service, service_config, sessions,
    succeeds, tapped, tcp, unix,
};
use std::future::Future;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn service_of(max_message: usize) -> Service {
    Service::new(ServiceConfig { max_message, ..service_config() })
}

fn client_of(max_message: usize) -> Client {
    Client::new(ClientConfig { max_message, ..client_config() })
}

#[test]
fn a_message_of_exactly_the_limit_goes_and_one_byte_more_does_not() {
    for face in FACES {
        let (mut serving, mut connecting) =
            sessions((face, face), &service_of(1_000), &client_of(1_000), unix());
        connecting.send(&[1; 1_000]).unwrap();
        assert_eq!(serving.receive().unwrap().unwrap(), [1; 1_000]);
        let refusal = connecting.send(&[1; 1_001]).unwrap_err();
        assert_eq!(refusal.code(), code::MESSAGE_TOO_LONG);
        assert!(refusal.to_string().contains("1001 bytes; have max_message 1000"), "{refusal}");
        connecting.send(b"nothing was sent of it").unwrap();
        assert_eq!(serving.receive().unwrap().unwrap(), b"nothing was sent of it");
    }
}

#[test]
fn a_frame_longer_than_this_end_takes_breaks_the_session() {
    for face in FACES {
        let (mut serving, mut connecting) =
            sessions((face, face), &service_of(1_000), &client_of(5_000), unix());
        connecting.send(&[1; 5_000]).unwrap();
        connecting.send(b"short enough").unwrap();
        drop(connecting);
        assert_broken(&mut serving, code::FRAME_TOO_LONG);
    }
}

#[test]
fn a_message_over_the_limit_in_a_frame_that_is_not_breaks_the_session() {
    for face in FACES {
        let (mut serving, mut connecting) =
            sessions((face, face), &service_of(1_000), &client_of(5_000), unix());
        connecting.send(&[1; 1_001]).unwrap();
        connecting.send(b"short enough").unwrap();
        drop(connecting);
        assert_broken(&mut serving, code::FRAME_TOO_LONG);
    }
}

/// Asks for messages again and again: there are none, for the reason `code`.
#[track_caller]
fn assert_broken(session: &mut Session<UnixStream>, code: Code) {
    for _ in 0..3 {
        assert_eq!(session.receive().unwrap_err().code(), code);
    }
}

#[test]
fn the_mark_of_the_end_is_an_empty_message_and_the_other_direction_goes_on() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), tcp());
        connecting.send(b"last words").unwrap();
        connecting.finish().unwrap();
        assert_eq!(serving.receive().unwrap().unwrap(), b"last words");
        assert_eq!(serving.receive().unwrap(), None);
        serving.send(b"an answer").unwrap();
        serving.send(b"").unwrap();
        assert_eq!(connecting.receive().unwrap().unwrap(), b"an answer");
        assert_eq!(connecting.receive().unwrap(), None);
    }
}

#[test]
fn an_end_without_the_mark_is_an_error_however_often_asked() {
    for face in FACES {
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), unix());
        connecting.send(b"there is more to come").unwrap();
        drop(connecting);
        assert_eq!(serving.receive().unwrap().unwrap(), b"there is more to come");
        assert_broken(&mut serving, code::END_UNMARKED);
    }
}

/// A client sends three messages, of which the second is altered by `alter`: the first is all the service ever gets.
fn breaks_at_the_second(code: Code, alter: fn(&[u8], &mut Vec<u8>)) {
    for face in FACES {
        let (mut number, mut last) = (0, Vec::new());
        let pair = tapped(ToAcceptor, move |frame| {
            // Frame 0 is the AP-REQ.
            if number == 2 {
                alter(&last, frame);
            }
            number += 1;
            last.clone_from(frame);
        });
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), pair);
        for message in ["first", "second", "third"] {
            connecting.send(message.as_bytes()).unwrap();
        }
        drop(connecting);
        assert_eq!(serving.receive().unwrap().unwrap(), b"first");
        assert_broken(&mut serving, code);
    }
}

#[test]
fn nothing_is_delivered_after_an_altered_message() {
    breaks_at_the_second(code::MESSAGE_INTEGRITY, |_, frame| *frame.last_mut().unwrap() ^= 1);
}

#[test]
fn nothing_is_delivered_after_a_repeated_message() {
    breaks_at_the_second(code::MESSAGE_REPLAYED, |last, frame| *frame = last.to_vec());
}

#[test]
fn nothing_is_delivered_after_a_missing_message() {
    breaks_at_the_second(code::MESSAGE_OUT_OF_ORDER, |_, frame| frame.clear());
}

#[test]
fn nothing_is_delivered_after_bytes_that_are_no_message() {
    breaks_at_the_second(code::MESSAGE_MALFORMED, |_, frame| *frame = b"no token".to_vec());
}

#[test]
fn nothing_is_delivered_of_a_message_that_is_cut_short() {
    for face in FACES {
        let (near, far) = unix();
        let mut raw = near.try_clone().unwrap();
        let (mut serving, connecting) = sessions((face, face), &service(), &client(), (near, far));
        std::io::Write::write_all(&mut raw, &[100, 0, 0, 0, 5, 4]).unwrap();
        drop((raw, connecting));
        assert_broken(&mut serving, code::CONNECTION_CUT);
    }
}

#[test]
fn a_broken_direction_does_not_break_the_other() {
    for face in FACES {
        let pair = tapped(ToInitiator, {
            let mut number = 0;
            move |frame| {
                if number == 1 {
                    frame[20] ^= 1;
                }
                number += 1;
            }
        });
        let (mut serving, mut connecting) = sessions((face, face), &service(), &client(), pair);
        serving.send(b"will be altered").unwrap();
        assert_eq!(connecting.receive().unwrap_err().code(), code::MESSAGE_INTEGRITY);
        connecting.send(b"still sealed").unwrap();
        assert_eq!(serving.receive().unwrap().unwrap(), b"still sealed");
    }
}

#[test]
fn each_message_is_sealed_and_none_looks_like_another() {
    let (seen, sent) = std::sync::mpsc::channel();
    let pair = tapped(ToAcceptor, move |frame| seen.send(frame.clone()).unwrap());
    let both = (Face::Blocking, Face::Tokio);
    let (_serving, mut connecting) = sessions(both, &service(), &client(), pair);
    connecting.send(b"the same words").unwrap();
    connecting.send(b"the same words").unwrap();
    let frames: Vec<_> = sent.iter().take(3).collect();
    assert!(!frames.concat().windows(8).any(|window| window == b"the same"));
    assert_ne!(frames[1], frames[2]);
    assert_eq!(frames[1].len(), frames[2].len());
}

/// Both directions of both ends at once, in memory.
type Halves = (Sending<DuplexStream>, Receiving<DuplexStream>);

async fn halves((near, far): (DuplexStream, DuplexStream)) -> (Halves, Halves) {
    let (service, client) = (service(), client());
    let (serving, connecting) = tokio::join!(
        countersign::tokio::accept(&service, far, ADDRESS),
        countersign::tokio::connect(&client, near),
    );
    (succeeds(serving).into_split(), succeeds(connecting).into_split())
}

async fn pump(mut sending: Sending<DuplexStream>, mut receiving: Receiving<DuplexStream>, seed: u8) {
    const COUNT: usize = 200;
    let send = async {
        for number in 0..COUNT {
            sending.send(&vec![seed; number * 100 + 1]).await.unwrap();
        }
        sending.finish().await.unwrap();
    };
    let receive = async {
        let mut count = 0;
        while let Some(message) = receiving.receive().await.unwrap() {
            assert!(message == vec![!seed; count * 100 + 1]);
            count += 1;
        }
        assert_eq!(count, COUNT);
    };
    tokio::join!(send, receive);
}

#[test]
fn both_directions_go_at_once_without_waiting_for_each_other() {
    block_on(async {
        let ((s1, r1), (s2, r2)) = halves(duplex(5_000)).await;
        assert_eq!(s1.facts().client(), "alice@EXAMPLE.TEST");
        assert_eq!(r2.facts().service().unwrap(), "HTTP/a.example.test@EXAMPLE.TEST");
        tokio::join!(pump(s1, r1, 0x0F), pump(s2, r2, 0xF0));
    });
}

/// A message comes in pieces of one byte; after each, receiving is begun, found waiting, and dropped.
#[test]
fn receiving_can_be_cancelled_at_every_byte_without_losing_one() {
    block_on(async {
        let (near, mut tap) = duplex(100_000);
        let (mut feed, far) = duplex(100_000);
        let (service, client) = (service(), client());
        let relayed = async {
            let mut token = vec![0; 4_096];
            let count = tap.read(&mut token).await.unwrap();
            feed.write_all(&token[..count]).await.unwrap();
            let count = feed.read(&mut token).await.unwrap();
            tap.write_all(&token[..count]).await.unwrap();
        };
        let (serving, connecting, ()) = tokio::join!(
            countersign::tokio::accept(&service, far, ADDRESS),
            countersign::tokio::connect(&client, near),
            relayed,
        );
        let (mut serving, mut connecting) = (succeeds(serving), succeeds(connecting));
        connecting.send(b"in one piece").await.unwrap();
        connecting.finish().await.unwrap();
        let mut frames = Vec::new();
        tap.read_to_end(&mut frames).await.unwrap();

        let mut received = Vec::new();
        for byte in frames {
            feed.write_all(&[byte]).await.unwrap();
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(message) = pin!(serving.receive()).poll(&mut context) {
                received.push(message.unwrap().map(<[u8]>::to_vec));
            }
        }
        assert_eq!(received, [Some(b"in one piece".to_vec()), None]);
    });
}
