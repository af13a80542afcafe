//! curl through a tunnel from `connect --listen` to `serve --upstream`, to a service that keeps its connections.
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

use countersign_testkit::{Finished, Process, run};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::file;
use tempfile::TempDir;
use tunnel_support::Tunnel;

/// Bytes of a large body.
const MUCH: u64 = if cfg!(debug_assertions) { 8 << 20 } else { 100 << 20 };

const PATIENCE: Duration = Duration::from_secs(300);

fn http_peer() -> Process {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tunnel_support/http_peer.py");
    Process::start(Command::new("/usr/bin/python3").arg(script))
}

/// One run of curl: each request on a connection that is kept, if it can be. Says of each the status, how many connections
/// it took and on which it was answered.
fn curl(requests: &[&[&str]]) -> Finished {
    let mut command = Command::new("curl");
    for (place, request) in requests.iter().enumerate() {
        command.args(if place == 0 { &[][..] } else { &["--next"] });
        let told = "%{http_code} %{num_connects} %header{connection-number}\n";
        command.args(["--silent", "--show-error", "--noproxy", "*", "-w", told]).args(*request);
    }
    run(&mut command, PATIENCE).expect_success()
}

#[test]
fn several_requests_go_over_one_connection_with_large_bodies_both_ways() {
    let peer = http_peer();
    let tunnel = Tunnel::to(peer.listening());
    let before = tunnel.descriptors();
    let folder = TempDir::new().unwrap();
    let body: Vec<u8> =
        (0..MUCH).map(|place| (place ^ (place >> 8) ^ (place >> 16)).to_le_bytes()[0]).collect();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (given, measured, chunked, none) = (path("given"), path("measured"), path("chunked"), path("none"));
    file(folder.path(), "given", &body);
    let url = |path: &str| format!("http://{}/{path}", tunnel.entrance);
    let done = curl(&[
        &["-o", &none, &url("nothing")],
        &["-o", &none, "-T", &given, &url("measured")],
        &["-o", &none, "-T", &given, "-H", "Transfer-Encoding: chunked", &url("chunked")],
        &["-o", &measured, &url("chunked")],
        &["-o", &chunked, &url("measured?chunked")],
        &["-o", &none, &url("nothing")],
    ]);
    assert_eq!(done.text(), "404 1 1\n201 0 1\n201 0 1\n200 0 1\n200 0 1\n404 0 1\n");
    for back in [measured, chunked] {
        assert!(std::fs::read(&back).unwrap() == body, "{back} is not what was given");
    }
    tunnel.wait_for_descriptors(before);
    assert!(!tunnel.connect.stderr().contains("cut off"), "{}", tunnel.connect.stderr());
}

#[test]
fn a_client_that_waits_between_requests_keeps_its_connection() {
    let peer = http_peer();
    let tunnel = Tunnel::to(peer.listening());
    let folder = TempDir::new().unwrap();
    let given = file(folder.path(), "given", b"small").display().to_string();
    let url = format!("http://{}/small", tunnel.entrance);
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "-T", &given, &url, "--next"]);
    // One request a second.
    command.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--rate",
        "60/m",
        "-w",
        " %{num_connects}\n",
    ]);
    let done = run(command.args([&url, &url, &url]), PATIENCE).expect_success();
    assert_eq!(done.text(), "5small 0\nsmall 0\nsmall 0\n");
    assert_eq!(tunnel.serve.wait_for_records(1).len(), 1, "one client came in");
}

#[test]
fn several_clients_at_once_each_have_their_own_tunnel() {
    let peer = http_peer();
    let tunnel = Tunnel::to(peer.listening());
    let before = tunnel.descriptors();
    let folder = TempDir::new().unwrap();
    let given = file(folder.path(), "given", &[b'x'; 300_000]).display().to_string();
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--noproxy", "*", "-T", &given]);
            Process::start(command.arg(format!("http://{}/{number}", tunnel.entrance)))
        })
        .collect();
    for client in clients {
        assert_eq!(client.finish(PATIENCE).expect_success().text(), "300000");
    }
    assert_eq!(tunnel.serve.wait_for_records(8).len(), 8);
    tunnel.wait_for_descriptors(before);
}
