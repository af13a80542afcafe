//! Issue 2, "It is done when": twenty connections at once, thousands in a row, and `countersign serve` holds no more
//! memory, file descriptors or threads afterwards than before.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::Client;
use countersign::blocking::{self, Session};
use countersign_testkit::{Library, Peers, Process};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use support::wire::Wire;
use support::{DEADLINE, FULL_SPN, SPN, Scene, Serve, wait_for};

fn scene() -> Arc<Scene> {
    Scene::shared(|_| ())
}

fn client(scene: &Scene) -> Client {
    Client::from_ccache(scene.ccache_for(&[SPN]), FULL_SPN).unwrap()
}

fn session(client: &Client, address: SocketAddr) -> Session<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    blocking::connect(client, stream).unwrap_or_else(|failure| panic!("{}", failure.refusal))
}

fn exchange(session: &mut Session<TcpStream>, message: &[u8]) {
    session.send(message).unwrap();
    assert_eq!(session.receive().unwrap(), Some(message));
}

/// What a process holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Holdings {
    descriptors: usize,
    threads: usize,
}

fn holdings(serve: &Serve) -> Holdings {
    let count =
        |what: &str| std::fs::read_dir(format!("/proc/{}/{what}", serve.process.id())).unwrap().count();
    Holdings { descriptors: count("fd"), threads: count("task") }
}

/// Resident memory of a process, in bytes.
fn memory(serve: &Serve) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", serve.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1_024
}

/// Waits until `serve` holds what it held before.
#[track_caller]
fn assert_back_to(before: Holdings, serve: &Serve) {
    let back = wait_for(|| (holdings(serve) == before).then_some(()));
    assert!(back.is_some(), "{before:?} has become {:?}", holdings(serve));
}

const AT_ONCE: usize = 20;

/// `count` handshakes with one sealed exchange each, by twenty threads at once.
fn handshakes(client: &Client, address: SocketAddr, count: usize) {
    std::thread::scope(|scope| {
        for thread in 0..AT_ONCE {
            scope.spawn(move || {
                for number in 0..count / AT_ONCE {
                    let mut session = session(client, address);
                    exchange(&mut session, format!("{thread}: {number}").as_bytes());
                    if number % 2 == 0 {
                        session.finish().unwrap();
                        assert_eq!(session.receive().unwrap(), None);
                    }
                }
            });
        }
    });
}

/// What the replay store in memory keeps of one handshake, in bytes, and then some.
const REPLAY_ENTRY: usize = 250;
/// What an allocator may keep for itself, in bytes.
const SLACK: usize = 1 << 19;

#[test]
fn serve_holds_no_more_after_thousands_of_connections_than_before() {
    const COUNT: usize = 3_000;
    let scene = scene();
    let serve = scene.serve(&[]);
    let client = client(&scene);
    let idle = holdings(&serve);
    handshakes(&client, serve.address, 500);
    assert_back_to(idle, &serve);
    let before = memory(&serve);

    handshakes(&client, serve.address, COUNT);
    let count = (COUNT / 10).to_string();
    scene.initiate(Library::Mit, serve.address, &["--count", &count, "--sizes", "100"]).expect_success();
    assert_back_to(idle, &serve);
    let grown = memory(&serve).saturating_sub(before);
    let permitted = (COUNT + COUNT / 10) * REPLAY_ENTRY + SLACK;
    assert!(grown < permitted, "{grown} bytes more; {permitted} would be no leak");
    let accepted = serve.records().iter().filter(|record| record["outcome"] == "accepted").count();
    assert_eq!(accepted, 500 + COUNT + COUNT / 10);
}

#[test]
fn serve_holds_no_more_after_thousands_of_refusals_than_before() {
    const COUNT: usize = 2_000;
    let scene = scene();
    let serve = scene.serve(&[]);
    let token = scene.token(FULL_SPN, &[]);
    let mut altered = token.clone();
    *altered.last_mut().unwrap() ^= 1;
    let refused = |count: usize| {
        for number in 0..count {
            let mut wire = Wire::connect(serve.address);
            match number % 2 {
                0 => wire.send(&altered),
                _ => wire.send_bytes(b"GET / HTTP/1.1\r\n\r\n"),
            }
            assert_eq!(wire.receive().is_some(), number % 2 == 0);
        }
    };
    let idle = holdings(&serve);
    refused(500);
    assert_back_to(idle, &serve);
    let before = memory(&serve);
    refused(COUNT);
    assert_back_to(idle, &serve);
    let grown = memory(&serve).saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more");
}

#[test]
fn twenty_clients_at_once_each_get_their_own_messages_back() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let client = client(&scene);
    let all_are_in = Barrier::new(AT_ONCE);
    std::thread::scope(|scope| {
        for thread in 0..AT_ONCE {
            let (client, serve, all_are_in) = (&client, &serve, &all_are_in);
            scope.spawn(move || {
                let mut session = session(client, serve.address);
                all_are_in.wait();
                for round in 0..20 {
                    exchange(&mut session, format!("{thread} {round} ").repeat(1_000).as_bytes());
                }
            });
        }
    });
    assert_eq!(serve.records().len(), AT_ONCE);
}

#[test]
fn twenty_mit_clients_at_once_each_get_their_own_messages_back() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let clients: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let mut command = Peers::get().command(Library::Mit);
            let port = serve.address.port().to_string();
            command.args(["initiate", "127.0.0.1", &port, FULL_SPN, "--count", "5", "--sizes", "0,10000"]);
            Process::start(command.envs(scene.client_env()))
        })
        .collect();
    for client in clients {
        let done = client.finish(DEADLINE).expect_success();
        assert_eq!(done.text().matches("echoed 10000").count(), 5, "{done:?}");
    }
    assert_eq!(serve.wait_for_records(5 * AT_ONCE).len(), 5 * AT_ONCE);
}

#[test]
fn half_open_connections_are_gone_after_the_deadline_and_others_are_served_meanwhile() {
    const COUNT: usize = 200;
    let scene = scene();
    let serve = scene.serve(&["--handshake-deadline", "1"]);
    let client = client(&scene);
    let idle = holdings(&serve);
    let half_open: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut wire = Wire::connect(serve.address);
            wire.send_bytes(&[4, 1, 0, 0, 0x60][..number % 6]);
            wire
        })
        .collect();
    handshakes(&client, serve.address, AT_ONCE);
    half_open.into_iter().for_each(Wire::assert_closed);
    assert_back_to(idle, &serve);
    let records = serve.wait_for_records(COUNT + AT_ONCE);
    let late = records.iter().filter(|record| record["code"] == "CS-8004").count();
    assert_eq!(late, COUNT);
}

#[test]
fn connections_that_break_in_the_middle_of_a_message_are_given_back() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let client = client(&scene);
    let idle = holdings(&serve);
    let mut broken = Vec::new();
    for _ in 0..50 {
        let stream = TcpStream::connect(serve.address).unwrap();
        let mut raw = stream.try_clone().unwrap();
        let mut session = blocking::connect(&client, stream).unwrap_or_else(|f| panic!("{}", f.refusal));
        exchange(&mut session, b"whole");
        std::io::Write::write_all(&mut raw, &1_000_u32.to_le_bytes()).unwrap();
        broken.push(session);
    }
    assert_eq!(holdings(&serve).descriptors, idle.descriptors + 50);
    drop(broken);
    assert_back_to(idle, &serve);
}
