//! What handshakes hold of long tokens is bounded for all of them together, in both faces.
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
use countersign::proto::error::{Code, code};
use countersign::{Service, ServiceConfig};
use ends::{AMPLE, FACES, Face, accept, service_config, tcp};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Half of a token of 65,536 bytes: its reader needs a buffer for all of it.
fn half_a_token() -> Vec<u8> {
    let mut frame = vec![0x60; 40_000];
    frame[..4].copy_from_slice(&65_536_u32.to_le_bytes());
    frame
}

/// Begins a handshake, in a thread of its own, with a client that sent half a token: the client's end, and how it ends.
fn begun(face: Face, service: &Service) -> (TcpStream, Receiver<Code>) {
    let (mut near, far) = tcp();
    let (ended, end) = channel();
    let service = service.clone();
    std::thread::spawn(move || {
        let refused = accept(face, &service, far).err().expect("half a token");
        let _ = ended.send(refused.refusal.code());
    });
    near.write_all(&half_a_token()).unwrap();
    (near, end)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + AMPLE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_token_that_finds_no_memory_has_the_oldest_long_one_give_way_and_memory_comes_back() {
    for face in FACES {
        let admission = Admission::new(HandshakeLimits { memory: 100 << 10, ..HandshakeLimits::default() });
        let service = Service::new(ServiceConfig { admission: admission.clone(), ..service_config() });
        let (first, first_ended) = begun(face, &service);
        wait_until("the first holds its token", || admission.held() > 50 << 10);
        let (second, second_ended) = begun(face, &service);
        assert_eq!(first_ended.recv_timeout(AMPLE), Ok(code::HANDSHAKES_EXHAUSTED), "{face:?}");
        wait_until("the second holds its token", || admission.open() == 1 && admission.held() > 50 << 10);
        assert!(admission.held() <= 100 << 10 && second_ended.try_recv().is_err(), "{face:?}");

        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(second_ended.recv_timeout(AMPLE), Ok(code::CONNECTION_CUT), "{face:?}");
        wait_until("all is given back", || admission.open() == 0 && admission.held() == 0);
        drop(first);
    }
}

/// Services that share one count bound each other.
#[test]
fn services_that_share_their_admission_share_its_places() {
    for face in FACES {
        let admission = Admission::new(HandshakeLimits { total: 1, ..HandshakeLimits::default() });
        let service = || Service::new(ServiceConfig { admission: admission.clone(), ..service_config() });
        let (_first, first_ended) = begun(face, &service());
        wait_until("the first has its place", || admission.open() == 1);
        let (second, second_ended) = begun(face, &service());
        assert_eq!(first_ended.recv_timeout(AMPLE), Ok(code::HANDSHAKES_EXHAUSTED), "{face:?}");
        drop(second);
        assert!(second_ended.recv_timeout(AMPLE).is_ok());
        wait_until("all is given back", || admission.open() == 0);
    }
}
