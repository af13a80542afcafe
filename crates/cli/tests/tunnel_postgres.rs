//! psql through a tunnel from `connect --listen` to `serve --upstream`, to a PostgreSQL behind it.
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

use countersign_testkit::{Postgres, Process, run};
use rustix::process::Signal;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use support::{DEADLINE, wait_for};
use tempfile::TempDir;
use tunnel_support::{Tunnel, signal};

/// What is copied each way.
const MUCH: usize = if cfg!(debug_assertions) { 20 << 20 } else { 200 << 20 };

/// Copying takes its time where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(600);

/// A file of at least `length` bytes, rows of a number and a text for COPY.
fn rows(folder: &Path, name: &str, length: usize) -> String {
    let path = folder.join(name);
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let (mut written, mut state) = (0, 0x2545_F491_4F6C_DD1D_u64);
    for number in 0_u64.. {
        let mut row = format!("{number}\t");
        for _ in 0..6 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            row.push_str(&format!("{state:016x}"));
        }
        row.push('\n');
        file.write_all(row.as_bytes()).unwrap();
        written += row.len();
        if written >= length {
            break;
        }
    }
    file.flush().unwrap();
    path.display().to_string()
}

fn copy_in(table: &str, file: &str) -> String {
    format!("\\copy {table} from '{file}'")
}

fn copy_out(table: &str, file: &str) -> String {
    format!("\\copy {table} to '{file}'")
}

/// psql at `entrance`, which does these one after the other.
fn psql(postgres: &Postgres, entrance: SocketAddr, commands: &[&str]) -> Process {
    let arguments: Vec<_> = commands.iter().flat_map(|command| ["-c", command]).collect();
    Process::start(&mut postgres.psql(entrance, &arguments))
}

#[track_caller]
fn assert_same(one: &str, other: &str) {
    let mut files = [one, other].map(|path| File::open(path).unwrap());
    let mut spaces = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let lengths = files.each_ref().map(|file| file.metadata().unwrap().len());
    assert_eq!(lengths[0], lengths[1], "{one} and {other}");
    let mut left = lengths[0];
    while left > 0 {
        let length = usize::try_from(left.min(1 << 20)).unwrap();
        for (file, space) in files.iter_mut().zip(&mut spaces) {
            file.read_exact(&mut space[..length]).unwrap();
        }
        assert!(
            spaces[0][..length] == spaces[1][..length],
            "{one} and {other} differ, {left} bytes before the end"
        );
        left -= length as u64;
    }
}

/// Table `name`, without anything in it, that is not kept on the disk twice.
fn table(postgres: &Postgres, name: &str) {
    postgres.query(&format!("create unlogged table {name} (number bigint, words text)"));
}

#[track_caller]
fn assert_nobody_is_left(postgres: &Postgres) {
    let others = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let gone = wait_for(|| (postgres.query(others) == "0").then_some(()));
    assert!(gone.is_some(), "{} backends", postgres.query(others));
}

/// Copies `length` bytes into a table and out of it, then both at once.
fn copy_both_ways(postgres: &Postgres, upstream: &str, length: usize) {
    let tunnel = Tunnel::to(upstream);
    let before = tunnel.descriptors();
    let folder = TempDir::new().unwrap();
    let given = rows(folder.path(), "given", length);
    let path = |name: &str| folder.path().join(name).display().to_string();
    table(postgres, "one");
    psql(postgres, tunnel.entrance, &[&copy_in("one", &given)]).finish(PATIENCE).expect_success();
    let back = path("back");
    psql(postgres, tunnel.entrance, &[&copy_out("one", &back)]).finish(PATIENCE).expect_success();
    assert_same(&given, &back);
    table(postgres, "other");
    let out = psql(postgres, tunnel.entrance, &[&copy_out("one", &back)]);
    let into = psql(postgres, tunnel.entrance, &[&copy_in("other", &given)]);
    out.finish(PATIENCE).expect_success();
    into.finish(PATIENCE).expect_success();
    assert_same(&given, &back);
    assert_eq!(
        postgres.query("select count(*) from one join other using (number, words)"),
        postgres.query("select count(*) from other")
    );
    postgres.query("drop table one, other");
    tunnel.wait_for_descriptors(before);
    assert_nobody_is_left(postgres);
    assert!(!tunnel.connect.stderr().contains("cut off"), "{}", tunnel.connect.stderr());
    assert!(!tunnel.serve.process.stderr().contains("ended:"), "{}", tunnel.serve.process.stderr());
}

#[test]
fn a_large_copy_goes_both_ways_and_every_byte_arrives() {
    let postgres = Postgres::start();
    copy_both_ways(&postgres, &postgres.address().to_string(), MUCH);
    copy_both_ways(&postgres, &format!("unix:{}", postgres.socket().display()), MUCH / 10);
}

#[test]
fn several_copies_go_at_once() {
    let postgres = Postgres::start();
    let tunnel = Tunnel::to(postgres.address());
    let before = tunnel.descriptors();
    let folder = TempDir::new().unwrap();
    let copies: Vec<_> = (1..=6)
        .map(|number| {
            let name = format!("t{number}");
            let given = rows(folder.path(), &name, MUCH / 40 * number);
            table(&postgres, &name);
            let back = format!("{given}-back");
            let commands = [copy_in(&name, &given), copy_out(&name, &back)];
            let commands: Vec<_> = commands.iter().map(String::as_str).collect();
            (psql(&postgres, tunnel.entrance, &commands), given, back)
        })
        .collect();
    for (psql, given, back) in copies {
        psql.finish(PATIENCE).expect_success();
        assert_same(&given, &back);
    }
    tunnel.wait_for_descriptors(before);
    assert_nobody_is_left(&postgres);
}

#[test]
fn a_query_is_cancelled_by_a_tunnel_of_its_own() {
    let postgres = Postgres::start();
    let tunnel = Tunnel::to(postgres.address());
    let before = tunnel.descriptors();
    let psql = psql(&postgres, tunnel.entrance, &["select pg_sleep(600)"]);
    let sleeps =
        "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
    assert!(wait_for(|| (postgres.query(sleeps) == "1").then_some(())).is_some());
    signal(&psql, Signal::INT);
    let done = psql.finish(DEADLINE).expect_code(1);
    assert!(done.stderr.contains("ERROR:  canceling statement due to user request"), "{done:?}");
    assert_eq!(tunnel.serve.wait_for_records(2).len(), 2, "the query, and what cancels it");
    tunnel.wait_for_descriptors(before);
    assert_nobody_is_left(&postgres);
    assert!(!tunnel.connect.stderr().contains("cut off"), "{}", tunnel.connect.stderr());
}

#[test]
fn a_psql_that_is_killed_leaves_nothing_behind() {
    let postgres = Postgres::start();
    let tunnel = Tunnel::to(postgres.address());
    let before = tunnel.descriptors();
    table(&postgres, "half");
    let mut psql = Process::start(&mut postgres.psql(tunnel.entrance, &["-c", "copy half from stdin"]));
    let mut input = psql.stdin().unwrap();
    writeln!(input, "1\tone").unwrap();
    let copies = "select count(*) from pg_stat_activity where query like 'copy half%' and state = 'active'";
    assert!(wait_for(|| (postgres.query(copies) == "1").then_some(())).is_some());
    signal(&psql, Signal::KILL);
    tunnel.wait_for_descriptors(before);
    assert_nobody_is_left(&postgres);
    // Half of a COPY is none.
    assert_eq!(postgres.query("select count(*) from half"), "0");
    // An end that PostgreSQL sees itself is an end for psql.
    let done = run(
        &mut postgres.psql(tunnel.entrance, &["-c", "select pg_terminate_backend(pg_backend_pid())"]),
        DEADLINE,
    );
    assert!(done.expect_code(2).stderr.contains("terminating connection due to administrator command"));
    tunnel.wait_for_descriptors(before);
}
