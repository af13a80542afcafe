//! Failed attempts and the log of refusals, at a running service: who fails often waits and is shut out, and nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod limits_support;
mod support;

use limits_support::{client, connect_from, handshake, printed, serve_with};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::{Serve, wait_for};

/// Sends what is no frame, and waits until the service has ended the connection. Says how long that took.
fn fail(source: Ipv4Addr, address: SocketAddr) -> Duration {
    let mut stream = connect_from(source, address);
    let began = Instant::now();
    // An address that is shut out may be too late to say anything.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
    // Closing with bytes unread resets a connection.
    let _ = stream.read(&mut [0]);
    began.elapsed()
}

fn fail_often(times: usize, source: Ipv4Addr, address: SocketAddr) {
    for _ in 0..times {
        fail(source, address);
    }
}

/// A counter of the service's metrics.
fn counted(serve: &Serve, name: &str) -> usize {
    let port = printed(&serve.process.stderr(), "metrics at http://127.0.0.1:", "/metrics");
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}_total{{")));
    line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn strict() -> (Serve, tempfile::TempDir) {
    let limits = "limits = { failed_attempts = 3, failed_attempts_block = 7 }\n";
    serve_with(limits, &["--metrics", "127.0.0.1:0"])
}

const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 5, 0, 1);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 5, 0, 2);

#[test]
fn who_fails_often_waits_longer_each_time_and_is_then_shut_out_and_nobody_else_is() {
    let (serve, _folder) = strict();
    fail_often(3, HOSTILE, serve.address);
    assert_eq!(counted(&serve, "countersign_refusals_delayed"), 0);
    for delay in [50, 100, 200, 400, 800] {
        let waited = fail(HOSTILE, serve.address);
        assert!(waited >= Duration::from_millis(delay), "{waited:?} instead of {delay} ms");
    }
    assert_eq!(counted(&serve, "countersign_refusals_delayed"), 5);
    let records = serve.wait_for_records(8).len();

    // The eighth failure was one too many: not even an honest client is let in from there, and nothing is recorded.
    fail_often(20, HOSTILE, serve.address);
    assert!(handshake(&client(), HOSTILE, serve.address).is_err());
    let blocked = wait_for(|| (counted(&serve, "countersign_connections_blocked") == 21).then_some(()));
    assert!(blocked.is_some(), "{}", counted(&serve, "countersign_connections_blocked"));
    assert_eq!(serve.records().len(), records);

    let session = handshake(&client(), HONEST, serve.address);
    session.unwrap_or_else(|failure| panic!("{}", failure.refusal)).finish().unwrap();
}

#[test]
fn a_success_forgives_its_address() {
    let (serve, _folder) = strict();
    let delayed = || counted(&serve, "countersign_refusals_delayed");
    for round in 0..4 {
        fail_often(4, HONEST, serve.address);
        assert_eq!(delayed(), round + 1, "the fourth alone waits");
        let session = handshake(&client(), HONEST, serve.address);
        session.unwrap_or_else(|failure| panic!("{}", failure.refusal)).finish().unwrap();
        // The service counts the success when it is through, which the client does not wait for.
        assert!(serve.wait_for_records(5 * (round + 1)).len() >= 5 * (round + 1));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(counted(&serve, "countersign_connections_blocked"), 0);
}

#[test]
fn what_every_program_of_the_machine_has_is_not_counted() {
    let (serve, _folder) = strict();
    fail_often(30, Ipv4Addr::LOCALHOST, serve.address);
    handshake(&client(), Ipv4Addr::LOCALHOST, serve.address).unwrap().finish().unwrap();
    assert_eq!(counted(&serve, "countersign_refusals_delayed"), 0);
    assert_eq!(counted(&serve, "countersign_connections_blocked"), 0);
}

#[test]
fn an_address_has_ten_lines_a_second_and_the_rest_in_one_and_the_audit_file_has_all() {
    const FAILURES: usize = 60;
    let (serve, _folder) = serve_with("limits = { failed_attempts = 0, failed_attempts_block = 0 }\n", &[]);
    let began = Instant::now();
    fail_often(FAILURES, HOSTILE, serve.address);
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    fail(HONEST, serve.address);
    assert_eq!(serve.wait_for_records(FAILURES + 1).len(), FAILURES + 1);

    let of = |address: Ipv4Addr| {
        let text = serve.process.stderr();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{address}:"))).map(str::to_owned);
        lines.partition::<Vec<_>, _>(|line| line.contains(" refused: CS-8002 "))
    };
    let told = |summaries: &[String]| {
        let count = |line: &String| printed(line, &format!("{HOSTILE}: "), " more refusal");
        summaries.iter().map(count).sum::<usize>()
    };
    let all = wait_for(|| {
        let (lines, summaries) = of(HOSTILE);
        (lines.len() + told(&summaries) == FAILURES).then_some((lines, summaries))
    });
    let (lines, summaries) = all.unwrap_or_else(|| panic!("{}", serve.process.stderr()));
    assert!(!lines.is_empty() && lines.len() <= 10 * seconds, "{} lines in {seconds} s", lines.len());
    assert!(summaries.len() <= seconds, "{summaries:?}");
    assert!(summaries.iter().all(|line| line.ends_with("most often CS-8002")), "{summaries:?}");
    assert_eq!(of(HONEST).0.len(), 1, "another address has its own lines");
}
