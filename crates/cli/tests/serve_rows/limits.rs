//! Keys about what is bounded.

use super::{Row, and, lets_in};
use crate::serve_support::{Running, connect_from, session};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const LIMITS: &[Row] = &[
    ("limits", "handshakes", handshakes),
    ("limits", "handshakes_per_address", handshakes_per_address),
    ("limits", "handshake_memory", handshake_memory),
    ("limits", "tunnels", tunnels),
    ("limits", "failed_attempts", failed_attempts),
    ("limits", "failed_attempts_block", failed_attempts_block),
    ("limits", "refusal_log_lines_per_second", refusal_log_lines_per_second),
];

fn from(last: u8, serve: &Running) -> TcpStream {
    connect_from(IpAddr::from([127, 0, 0, last]), serve.address())
}

/// Connections from addresses that end with these numbers, which say nothing, each begun after the one before.
fn in_turn<const N: usize>(serve: &Running, from_last: [u8; N]) -> [TcpStream; N] {
    from_last.map(|last| {
        let begun = serve.metric("countersign_handshakes_in_flight", &[])
            + serve.metric("countersign_handshakes_total", &[]);
        let stream = from(last, serve);
        serve.wait_for("its handshake", || {
            let of = |name| serve.metric(name, &[]);
            (of("countersign_handshakes_in_flight") + of("countersign_handshakes_total") > begun)
                .then_some(())
        });
        stream
    })
}

fn handshakes() {
    let (scene, serve) = and("[limits]\nhandshakes = 2\nhandshakes_per_address = 2");
    let mut waiting = in_turn(&serve, [2, 3, 4]);
    let waiting = &mut waiting[0];
    assert_eq!(waiting.read(&mut [0]).unwrap_or(0), 0, "the one that waits longest gives way");
    serve.refused_with("CS-8006");
    assert!(lets_in(&scene, &serve), "and so for who is honest");
}

fn handshakes_per_address() {
    let (scene, serve) = and("[limits]\nhandshakes_per_address = 2");
    let mut open = in_turn(&serve, [3, 2, 2, 2]);
    let [other, first, ..] = &mut open;
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0, "one too many of its address");
    other.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(other.read(&mut [0]).is_err(), "the others wait on");
    assert!(lets_in(&scene, &serve));
}

/// A frame of which half has come takes room, and the one that holds most gives way where there is no more.
fn handshake_memory() {
    let (scene, serve) = and("[limits]\nhandshake_memory = \"1 MiB\"");
    let half_frame = [&60_000_u32.to_le_bytes()[..], &[0x60; 40_000]].concat();
    let mut held: Vec<TcpStream> = (0..60_u8).map(|number| from(2 + number % 50, &serve)).collect();
    held.iter_mut().for_each(|stream| stream.write_all(&half_frame).unwrap());
    serve.wait_for("one that gave way", || {
        serve.records().iter().any(|record| record["code"] == "CS-8006").then_some(())
    });
    assert!(lets_in(&scene, &serve));
}

fn tunnels() {
    let (scene, serve) = and("[limits]\ntunnels = 1");
    let client = scene.client(scene.ticket(2));
    let mut open = session(&client, serve.address()).unwrap_or_else(|_| panic!("a session"));
    open.send(b"in").unwrap();
    assert_eq!(open.receive().unwrap(), Some(&b"in"[..]));
    assert!(!lets_in(&scene, &serve));
    serve.refused_with("CS-8030");
    drop(open);
    serve.wait_for("the place back", || lets_in(&scene, &serve).then_some(()));
}

/// A refusal of a client at another address, waited for; how long it took.
fn refused_from(last: u8, serve: &Running) -> Duration {
    let began = Instant::now();
    let mut stream = from(last, serve);
    let _ = stream.write_all(&[4, 0, 0, 0, 1, 2, 3, 4]);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
    began.elapsed()
}

const DELAYED: &str = "countersign_refusals_delayed_total";

fn failed_attempts() {
    let (_scene, serve) = and("[limits]\nfailed_attempts = 2");
    refused_from(9, &serve);
    refused_from(9, &serve);
    assert_eq!(serve.metric(DELAYED, &[]), 0.0);
    assert!(refused_from(9, &serve) >= Duration::from_millis(50));
    serve.wait_for_metric(DELAYED, &[], 1.0);
    let (_scene, serve) = and("[limits]\nfailed_attempts = 0");
    (0..15).for_each(|_| _ = refused_from(9, &serve));
    assert_eq!(serve.metric(DELAYED, &[]), 0.0);
}

fn failed_attempts_block() {
    let (scene, serve) = and("[limits]\nfailed_attempts = 0\nfailed_attempts_block = 3");
    (0..6).for_each(|_| _ = refused_from(9, &serve));
    serve.wait_for_metric("countersign_connections_blocked_total", &[], 1.0);
    let refused = serve.metric("countersign_handshakes_total", &["refused"]);
    assert!(refused <= 4.0, "{refused}");
    assert!(lets_in(&scene, &serve), "others are not");
}

fn refusal_log_lines_per_second() {
    let logged = |lines: &str| {
        let (_scene, serve) =
            and(&format!("[limits]\nfailed_attempts = 0\nrefusal_log_lines_per_second = {lines}"));
        (0..20).for_each(|_| _ = refused_from(9, &serve));
        serve.wait_for_metric("countersign_handshakes_total", &["refused"], 20.0);
        let suppressed = serve.metric("countersign_log_lines_suppressed_total", &[]);
        let done = serve.end().expect_success();
        let (told, summed) =
            (done.stderr.matches(" refused: ").count(), done.stderr.contains(" more refusals in "));
        assert!(told + suppressed as usize == 20 && summed == (suppressed > 0.0), "{done:?}");
        told
    };
    // On a machine that is busy they take more than a second.
    assert!(logged("1") < 10);
    assert_eq!(logged("100"), 20);
}
