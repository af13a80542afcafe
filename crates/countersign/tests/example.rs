//! The example of a service, which is also the README's, as a program: it outlives what cannot be accepted.
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

use countersign_testkit::Process;
use countersign_testkit::mint::{Mint, keytab_bytes};
use ends::{client, succeeds};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Where cargo puts the example, next to this test.
fn example() -> std::path::PathBuf {
    let path = std::env::current_exe().unwrap();
    let path = path.ancestors().nth(2).unwrap().join("examples/service");
    assert!(path.exists(), "{} is built by cargo test without --test", path.display());
    path
}

#[test]
fn the_example_goes_on_after_it_could_not_accept_a_connection() {
    let folder = tempfile::tempdir().unwrap();
    let keytab = folder.path().join("keytab");
    std::fs::write(&keytab, keytab_bytes(&Mint::default().keytab())).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24; exec \"$0\" 127.0.0.1:0"]).arg(example());
    let service = Process::start(command.env("KRB5_KTNAME", &keytab));
    let address = service.listening();
    let crowd: Vec<_> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
    service.wait_for_error_line("cannot accept: ", DEADLINE);
    drop(crowd);
    let stream = TcpStream::connect(address).unwrap();
    let mut session = succeeds(countersign::blocking::connect(&client(), stream));
    session.send(b"still here").unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"STILL HERE");
}

/// From `listener.accept()` on, whatever the indentation.
#[test]
fn the_readme_shows_the_loop_of_the_example() {
    let lines = |text: &str| {
        let lines = text.lines().map(str::trim).skip_while(|line| *line != "loop {");
        lines.take_while(|line| *line != "```").map(str::to_owned).collect::<Vec<_>>()
    };
    let mut example = lines(include_str!("../examples/service.rs"));
    assert_eq!(example.pop().unwrap(), "}", "the end of main");
    assert_eq!(lines(include_str!("../../../README.md")), example);
}
