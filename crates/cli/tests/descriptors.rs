//! `countersign serve` where descriptors are few, its echo of empty messages, and the exit codes of `countersign connect`
//! for services that do not prove themselves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::blocking::{self, Session};
use countersign::proto::context::Initiator;
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential};
use countersign_testkit::mint::{Mint, ccache_bytes, keytab_bytes};
use countersign_testkit::{Finished, run};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Instant, SystemTime};
use support::wire::{Wire, service};
use support::{DEADLINE, Serve, connect, file};
use tempfile::TempDir;

const SPN: &str = "HTTP/a.example.test@EXAMPLE.TEST";

fn mint() -> Mint {
    Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() }
}

/// `serve` with hand-made keys, under what the shell command `limit` says of descriptors.
fn serve_under(limit: &str, options: &[&str]) -> (Serve, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keytab = file(folder.path(), "keytab", &keytab_bytes(&mint().keytab()));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limit}; exec \"$@\"")).arg("sh");
    command.arg(env!("CARGO_BIN_EXE_countersign")).args(["serve", "--keytab"]).arg(keytab).args(options);
    (Serve::start_command(&mut command), folder)
}

fn session(address: SocketAddr) -> Session<TcpStream> {
    let mint = mint();
    let ccache = mint.ccache(&[mint.ticket()]);
    let initiator = Initiator::from_ccache(&ccache, &mint.service, InitiatorPolicy::default(), mint.now);
    let client = Client::new(ClientConfig {
        handshake_deadline: DEADLINE,
        ..ClientConfig::new(ClientCredential::Ready(initiator.unwrap()))
    });
    let stream = TcpStream::connect(address).unwrap();
    blocking::connect(&client, stream).unwrap_or_else(|failure| panic!("{}", failure.refusal))
}

#[test]
fn serve_raises_its_descriptors_and_says_to_how_many_handshakes_they_limit_it() {
    let (serve, _folder) = serve_under("ulimit -Sn 20; ulimit -Hn 200", &[]);
    serve.wait_for_stderr("at most 150 handshakes at once, 150 of them from one address");
    serve.wait_for_stderr("200 descriptors");
    // More than 20 descriptors would have held.
    let mut sessions: Vec<_> = (0..30).map(|_| session(serve.address)).collect();
    for session in &mut sessions {
        session.send(b"in").unwrap();
        assert_eq!(session.receive().unwrap().unwrap(), b"in");
    }
}

#[test]
fn serve_keeps_to_the_handshakes_that_its_descriptors_allow() {
    let (serve, _folder) = serve_under("ulimit -n 80", &["--handshake-deadline", "3600"]);
    let _silent: Vec<_> = (0..61).map(|_| Wire::connect(serve.address)).collect();
    let record = serve.refused("CS-8006");
    assert!(record["reason"].as_str().unwrap().contains("room for 60 at once"), "{record}");
    assert!(!serve.process.stderr().contains("cannot accept"), "{}", serve.process.stderr());
}

/// The limit of handshakes is not reached when descriptors run out: there are listeners and files too.
#[test]
fn serve_without_descriptors_gives_up_who_waits_longest_and_serves_who_comes() {
    let (serve, _folder) = serve_under("ulimit -n 24", &["--handshake-deadline", "3600"]);
    let silent: Vec<_> = (0..40).map(|_| Wire::connect(serve.address)).collect();
    let began = Instant::now();
    session(serve.address).finish().unwrap();
    assert!(began.elapsed() < DEADLINE);
    serve.wait_for_stderr("cannot accept a connection: ");
    let records = serve.wait_for_records(2);
    assert_eq!(records[0]["code"], "CS-8006", "{}", records[0]);
    let shed = |record: &serde_json::Value| {
        record["reason"].as_str().is_some_and(|reason| reason.contains("no descriptor left"))
    };
    assert!(serve.records().iter().any(shed), "{:?}", serve.records());
    drop(silent);
}

#[test]
fn serve_echoes_empty_messages_wherever_they_stand() {
    let (serve, _folder) = serve_under(":", &[]);
    let mut session = session(serve.address);
    for message in [&b"a"[..], b"", b"", b"b", b""] {
        session.send(message).unwrap();
        assert_eq!(session.receive_any().unwrap().unwrap(), message);
    }
    session.finish().unwrap();
    assert_eq!(session.receive_any().unwrap(), None);
    assert_eq!(serve.wait_for_records(1).len(), 1, "the session did not break");
}

/// `connect` to a service that takes its token and then does `answer`.
fn connect_to(answer: impl FnMut(Wire) + Send + 'static) -> Finished {
    let mint = mint();
    let folder = tempfile::tempdir().unwrap();
    let ccache = file(folder.path(), "ccache", &ccache_bytes(&mint.ccache(&[mint.ticket()])));
    let mut answer = answer;
    let address = service(move |stream| {
        let mut wire = Wire::over(stream);
        wire.receive();
        answer(wire);
    });
    let mut command = connect(address, SPN, &ccache);
    run(command.args(["--message", "hello", "--handshake-deadline", "2"]), DEADLINE)
}

#[track_caller]
fn assert_ended(done: Finished, exit_code: i32, code: &str) {
    let done = done.expect_code(exit_code);
    assert!(done.stderr.starts_with(&format!("countersign: {code} saw ")), "{done:?}");
    assert!(done.stderr.contains(&format!(" before {SPN} proved itself; have ")), "{done:?}");
}

#[test]
fn connect_ends_with_1_when_the_service_closes_or_breaks_the_framing_before_it_proved_itself() {
    assert_ended(connect_to(drop), 1, "CS-4005");
    assert_ended(connect_to(|mut wire| wire.send_bytes(&[0; 4])), 1, "CS-8001");
    assert_ended(connect_to(|mut wire| wire.send_bytes(b"HTTP")), 1, "CS-8002");
}

#[test]
fn connect_ends_with_3_when_the_connection_fails_before_the_service_proved_itself() {
    let mut held = Vec::new();
    assert_ended(connect_to(move |wire| held.push(wire)), 3, "CS-8004");
    assert_ended(connect_to(|mut wire| wire.send_bytes(&[9, 0, 0, 0, 1])), 3, "CS-8003");
}
