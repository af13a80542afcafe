//! A tunnel whose reader stops makes its writer stop, and keeps little of what is between them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;
mod tunnel_support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;
use support::DEADLINE;
use tunnel_support::{Tunnel, Upstream, both_ends, most_memory};

/// What is offered.
const OFFERED: u64 = if cfg!(debug_assertions) { 48 << 20 } else { 1 << 30 };

/// What the system keeps of it at most: 6 MiB received and 4 MiB sent for each of three connections.
const IN_SOCKETS: u64 = 40 << 20;

/// What both programs keep of it at most: a frame or two, and buffers for it.
const IN_PROGRAMS: u64 = 8 << 20;

#[test]
fn an_upstream_that_stops_reading_stops_the_program() {
    let upstream = Upstream::new();
    let tunnel = Tunnel::to(upstream.address());
    let (program, service) = both_ends(&tunnel, &upstream);
    offer(&tunnel, program, service);
}

#[test]
fn a_program_that_stops_reading_stops_the_upstream() {
    let upstream = Upstream::new();
    let tunnel = Tunnel::to(upstream.address());
    let (program, service) = both_ends(&tunnel, &upstream);
    offer(&tunnel, service, program);
}

/// All of it, from `writer` to a `reader` that sleeps at first. Then all arrives, and as it was.
#[track_caller]
fn offer(tunnel: &Tunnel, mut writer: TcpStream, mut reader: TcpStream) {
    let programs = [&tunnel.serve.process, &tunnel.connect];
    let before = programs.map(most_memory);
    let stuck = written_until_stuck(&mut writer);
    assert!(stuck < IN_SOCKETS, "{stuck} bytes of {OFFERED} were taken while nobody read");
    assert_flat(before, programs.map(most_memory));
    let writing = thread::spawn(move || {
        let mut written = stuck;
        while written < OFFERED {
            written += write_some(&mut writer, written).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
        writer
    });
    let mut read = 0;
    let mut space = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut space).unwrap();
        if count == 0 {
            break;
        }
        let told = space[..count].iter().zip(read..).all(|(byte, place)| *byte == byte_at(place));
        assert!(told, "other bytes within {count} from {read}");
        read += count as u64;
    }
    assert_eq!(read, OFFERED);
    drop(writing.join().unwrap());
    assert_flat(before, programs.map(most_memory));
}

#[track_caller]
fn assert_flat(before: [u64; 2], now: [u64; 2]) {
    for (before, now) in before.into_iter().zip(now) {
        assert!(now - before < IN_PROGRAMS, "{} bytes more than {before}", now - before);
    }
}

/// Writes until nothing has been taken for a second.
fn written_until_stuck(writer: &mut TcpStream) -> u64 {
    writer.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut written = 0;
    while written < OFFERED {
        match write_some(writer, written) {
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    writer.set_write_timeout(Some(DEADLINE)).unwrap();
    written
}

/// A piece of the offered bytes from `place` on.
fn write_some(writer: &mut TcpStream, place: u64) -> std::io::Result<u64> {
    let length = (OFFERED - place).min(1 << 16);
    let piece: Vec<u8> = (place..place + length).map(byte_at).collect();
    writer.write(&piece).map(|count| count as u64)
}

/// No piece of any length that is lost or comes twice leaves the rest as it was.
fn byte_at(place: u64) -> u8 {
    (place ^ (place >> 8) ^ (place >> 16) ^ (place >> 24)).to_le_bytes()[0]
}
