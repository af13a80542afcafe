//! Handshakes that wait for a replay store, with both faces: one that writes files, and one that never answers.
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

use countersign::proto::error::code;
use countersign::proto::krb5::replay::{Presented, ReplayVerdict};
use countersign::proto::time::Timestamp;
use countersign::replay::{Check, FileReplayConfig, FileReplayStore, ReplayStore};
use countersign::{Service, ServiceConfig};
use ends::{FACES, SHORT, accept, client, connect, fails, service_config, succeeds, tcp};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const SKEW: Duration = Duration::from_secs(300);

fn remembering(folder: &Path) -> Service {
    let store = FileReplayStore::open(FileReplayConfig::new(folder, SKEW)).unwrap();
    Service::new(ServiceConfig { replay: Arc::new(store), ..service_config() })
}

/// Carries a client's first frame to the service and the answer back, and returns the frame.
fn record(from: &mut TcpStream, to: &mut TcpStream) -> Vec<u8> {
    let frame = next_frame(from);
    to.write_all(&frame).unwrap();
    let answer = next_frame(to);
    from.write_all(&answer).unwrap();
    frame
}

fn next_frame(from: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).unwrap();
    let length = u32::from_le_bytes(frame[..].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).unwrap();
    frame
}

#[test]
fn a_recorded_token_is_refused_by_the_same_service_and_after_its_restart() {
    for face in FACES {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("replay");
        let service = remembering(&folder);
        let ((near, mut middle), (mut outer, far)) = (tcp(), tcp());
        let recorded = thread::scope(|scope| {
            scope.spawn(|| drop(succeeds(accept(face, &service, far))));
            let recorder = scope.spawn(move || record(&mut middle, &mut outer));
            drop(succeeds(connect(face, &client(), near)));
            recorder.join().unwrap()
        });
        let replay = |service: &Service| {
            let (mut near, far) = tcp();
            near.write_all(&recorded).unwrap();
            near.shutdown(Shutdown::Write).unwrap();
            fails(accept(face, service, far)).refusal.code()
        };
        assert_eq!(replay(&service), code::REPLAY, "{face:?}");
        drop(service);
        assert_eq!(replay(&remembering(&folder)), code::REPLAY, "{face:?}");
    }
}

/// Never answers.
struct Silent;

impl ReplayStore for Silent {
    fn check(&self, _: &Presented, _: Timestamp) -> Check {
        Check::Later(Box::pin(std::future::pending::<ReplayVerdict>()))
    }
}

#[test]
fn a_store_that_does_not_answer_costs_the_handshake_and_no_more_than_its_deadline() {
    for face in FACES {
        let config =
            ServiceConfig { replay: Arc::new(Silent), handshake_deadline: SHORT, ..service_config() };
        let service = Service::new(config);
        let (near, far) = tcp();
        thread::scope(|scope| {
            let serving = scope.spawn(|| fails(accept(face, &service, far)));
            fails(connect(face, &client(), near));
            let failure = serving.join().unwrap();
            assert_eq!(failure.refusal.code(), code::HANDSHAKE_DEADLINE);
            assert!(failure.facts.is_some(), "who it was is known by then");
        });
    }
}
