//! A gigabyte through one stream, both ways at once, in memory that does not grow. Without optimisation it is 64 MiB in all, over
//! both faces and ways, which shows the same.
//!
//! It is the only test here, because memory is counted for the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use ends::{FACES, Face, Session, client, service, sessions, tcp};
use std::io::{Read, Write};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1 << 20;

/// What goes each way, in bytes.
const AMOUNT: usize = if cfg!(debug_assertions) { 16 * MIB } else { 1_024 * MIB };

/// What is moved first, so that every buffer has its size.
const BEFORE: usize = 2 * MIB;

/// How much more memory the process may use at any time than before, in bytes. The two ends have four buffers of a record each.
const GROWTH: usize = 2 * MIB;

/// One write, and so one record or a few.
const WRITE: usize = 200_000;

/// Says how much memory the process has used at most since [`forget_peak`], in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() * 1_024
}

fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// A byte for each place of the stream.
fn pattern() -> Vec<u8> {
    (0..WRITE + 251).map(|place| (place % 251) as u8).collect()
}

/// The `len` bytes from a place of the stream on.
fn bytes(pattern: &[u8], from: usize, len: usize) -> &[u8] {
    &pattern[from % 251..][..len]
}

fn write(stream: &mut impl Write, pattern: &[u8], amount: usize) {
    let mut written = 0;
    while written < amount {
        let len = WRITE.min(amount - written);
        stream.write_all(bytes(pattern, written, len)).unwrap();
        written += len;
    }
}

fn read(stream: &mut impl Read, pattern: &[u8], amount: usize) {
    let mut space = vec![0; WRITE];
    let mut read = 0;
    while read < amount {
        let len = WRITE.min(amount - read);
        let count = stream.read(&mut space[..len]).unwrap();
        assert!(count > 0 && space[..count] == *bytes(pattern, read, count), "at {read}");
        read += count;
    }
}

/// What one end does: it writes and reads so much, both at once; how often it is asked to.
trait End: Send {
    fn exchange(&mut self, pattern: &[u8], amount: usize);
}

struct Blocking<S>(countersign::blocking::ReadHalf<S>, countersign::blocking::WriteHalf<S>);

impl<S: countersign::blocking::Transport> End for Blocking<S> {
    fn exchange(&mut self, pattern: &[u8], amount: usize) {
        let Self(reading, writing) = self;
        thread::scope(|scope| {
            scope.spawn(|| write(writing, pattern, amount));
            read(reading, pattern, amount);
        });
    }
}

struct Tokio(
    tokio::runtime::Runtime,
    countersign::tokio::ReadHalf<tokio::net::TcpStream>,
    countersign::tokio::WriteHalf<tokio::net::TcpStream>,
);

impl End for Tokio {
    fn exchange(&mut self, pattern: &[u8], amount: usize) {
        let Self(runtime, reading, writing) = self;
        let write = async {
            let mut written = 0;
            while written < amount {
                let len = WRITE.min(amount - written);
                writing.write_all(bytes(pattern, written, len)).await.unwrap();
                written += len;
            }
            writing.flush().await.unwrap();
        };
        let read = async {
            let mut space = vec![0; WRITE];
            let mut read = 0;
            while read < amount {
                let len = WRITE.min(amount - read);
                let count = reading.read(&mut space[..len]).await.unwrap();
                assert!(count > 0 && space[..count] == *bytes(pattern, read, count), "at {read}");
                read += count;
            }
        };
        runtime.block_on(async { tokio::join!(write, read) });
    }
}

fn end(session: Session<std::net::TcpStream>) -> Box<dyn End> {
    match session {
        Session::Blocking(session) => {
            let (reading, writing) = session.into_stream().into_split().unwrap();
            Box::new(Blocking(reading, writing))
        }
        Session::Tokio(runtime, session) => {
            let (reading, writing) = session.into_stream().into_split();
            Box::new(Tokio(runtime, reading, writing))
        }
    }
}

fn exchange(ends: &mut [Box<dyn End>; 2], pattern: &[u8], amount: usize) {
    thread::scope(|scope| {
        for end in ends {
            scope.spawn(|| end.exchange(pattern, amount));
        }
    });
}

/// How much more memory is used at most while the amount goes both ways.
fn growth(face: Face, pattern: &[u8]) -> usize {
    let (serving, connecting) = sessions((face, face), &service(), &client(), tcp());
    let mut ends = [end(serving), end(connecting)];
    exchange(&mut ends, pattern, BEFORE);
    forget_peak();
    let before = peak();
    exchange(&mut ends, pattern, AMOUNT);
    peak().saturating_sub(before)
}

#[test]
fn a_gigabyte_goes_both_ways_at_once_in_constant_memory() {
    let pattern = pattern();
    for face in FACES {
        let growth = growth(face, &pattern);
        assert!(growth <= GROWTH, "{face:?}: {growth} bytes");
    }
}
