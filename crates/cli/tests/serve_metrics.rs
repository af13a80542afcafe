//! Every metric of docs/metrics.md moves in a running `serve`, and its health is told in every state.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod realm_support;
mod serve_household;
mod serve_support;
mod support;

use countersign_testkit::{Process, Valkey};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use serde_json::Value;
use serve_household::{Household, break_a_session, document, rows};
use serve_support::{
    LISTENER, OBSERVED, Running, Scene, connect_from, exchange, get, http_of, limit_files, session, sum,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use support::wire::Wire;
use support::{DEADLINE, wait_for};

/// The metrics whose value was not 0 in a scrape, each with its labels.
#[derive(Default)]
struct Moved(BTreeSet<String>);

impl Moved {
    fn look(&mut self, serve: &Running) {
        let (status, scrape) = serve.get("/metrics");
        assert_eq!(status, 200, "{scrape}");
        for line in scrape.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            if value.parse::<f64>().unwrap() != 0.0 {
                self.0.insert(series.to_owned());
            }
        }
    }

    /// Whether a series of this metric with all of these labels moved; of a histogram its count.
    fn has(&self, name: &str, labels: &[&str]) -> bool {
        let count = format!("{name}_count");
        self.0.iter().any(|series| {
            let (of, with) = series.split_once('{').unwrap_or((series, ""));
            (of == name || of == count) && labels.iter().all(|label| with.contains(label))
        })
    }
}

/// Answers what it hears, until it hears `die`: then the connection is reset.
fn mortal() -> SocketAddr {
    support::wire::service(|mut stream| {
        let mut heard = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut heard) {
            if heard.starts_with(b"die") {
                return set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
            let _ = stream.write_all(&heard[..count]);
        }
    })
}

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn every_metric_moves() {
    let (scene, household) = (Scene::new(), Household::new());
    let tunnel = "listen = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\nidle_timeout = 2\nclock_skew = 1\n";
    let lines = format!(
        "drain_deadline = \"1s\"\n{LISTENER}name = \"plain\"\n{}\
         [[listener]]\nname = \"tunnel\"\n{tunnel}upstream = \"{}\"\n\
         [[listener]]\nname = \"ending\"\n{tunnel}sessions_end_with_ticket = true\n\
         [[listener]]\nname = \"dead\"\n{tunnel}upstream = \"{}\"\n\
         [limits]\nfailed_attempts = 5\nfailed_attempts_block = 8\nrefusal_log_lines_per_second = 2\n{OBSERVED}",
        household.listener(),
        mortal(),
        nobody()
    );
    let serve = scene.serve(&lines);
    let [plain, own, tunnel, ending, dead] = serve.addresses[..] else { panic!("five listeners") };
    let client = scene.client(scene.ticket(2));
    let mut moved = Moved::default();

    // Handshakes: by every mech, refused, and on their way.
    exchange(&client, plain).unwrap();
    household.iakerb(own, "hello").expect_success();
    household.ntlm(own, &household.password, "hello").expect_success();
    let said = scene.mint.ap_req().token();
    for _ in 0..2 {
        let mut wire = Wire::connect(plain);
        wire.send(&said);
        wire.receive();
    }
    break_a_session(&scene, plain, 2);
    let half_open = Wire::connect(plain);
    serve.wait_for_metric("countersign_handshakes_in_flight", &["listener=\"plain\""], 1.0);
    moved.look(&serve);
    drop(half_open);

    // Keys.
    fs::rename(scene.write("new", &scene.keytab(&[2, 3])), scene.path("keytab")).unwrap();
    exchange(&scene.client(scene.ticket(3)), plain).unwrap();
    fs::rename(scene.write("new", b"none"), scene.path("keytab")).unwrap();
    exchange(&scene.client(scene.ticket(9)), plain).unwrap_err();

    // Tunnels and their ends.
    let talking = |address| {
        let mut session = session(&client, address).unwrap_or_else(|failure| panic!("{}", failure.refusal));
        session.send(b"hello").unwrap();
        assert_eq!(session.receive().unwrap(), Some(&b"hello"[..]));
        session
    };
    exchange(&client, tunnel).unwrap();
    drop(talking(tunnel));
    let mut dying = talking(tunnel);
    dying.send(b"die").unwrap();
    assert!(dying.receive().is_err(), "the upstream is gone");
    let _ = session(&client, dead).unwrap().receive();
    let mut silent = talking(tunnel);
    moved.look(&serve);
    assert!(silent.receive().is_err(), "it was silent for too long");
    let mut ticket = scene.ticket(2);
    ticket.endtime = countersign::proto::time::Timestamp::from_system(std::time::SystemTime::now())
        .saturating_add(Duration::from_secs(1));
    let mut short =
        session(&scene.client(ticket), ending).unwrap_or_else(|failure| panic!("{}", failure.refusal));
    while short.send(b"again").is_ok() && short.receive().is_ok_and(|message| message.is_some()) {
        thread::sleep(Duration::from_millis(100));
    }

    // An address that fails often.
    let stranger = "127.0.0.9".parse().unwrap();
    for _ in 0..9 {
        let mut stream = connect_from(stranger, plain);
        let _ = stream.write_all(&[0; 8]);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(connect_from(stranger, plain).read(&mut [0]).unwrap_or(0), 0, "closed at once");
    exchange(&client, plain).unwrap();

    // Records that cannot be written: what was reserved for them does not help where no file may grow.
    let open = talking(plain);
    limit_files(&serve.process, Some(fs::metadata(scene.path("audit")).unwrap().len()));
    let refused = exchange(&client, plain);
    assert!(refused.is_err(), "no client without its record");
    limit_files(&serve.process, None);
    serve.wait_for_ready(200);
    exchange(&client, plain).unwrap();
    moved.look(&serve);
    serve.signal(Signal::TERM);
    serve.wait_for_ready(503);
    moved.look(&serve);
    serve.wait_for_stderr("1 connections were closed before they were done");
    drop(open);

    stores_that_do_not_answer(&mut moved);
    let kinds = ["counter", "gauge", "histogram"];
    let documented = rows(&document("metrics.md"), |kind| kinds.contains(&kind));
    assert!(documented.len() >= 20, "{documented:?}");
    let still: Vec<_> = documented.keys().filter(|name| !moved.has(name, &[])).collect();
    assert!(still.is_empty(), "these did not move: {still:?}");
    for (name, labels) in [
        ("countersign_handshakes_total", &["outcome=\"accepted\"", "code=\"\""][..]),
        ("countersign_handshakes_total", &["outcome=\"refused\"", "code=\"CS-2003\""]),
        (
            "countersign_handshakes_accepted_total",
            &["mech=\"kerberos\"", "etype=\"aes256-cts-hmac-sha1-96\""],
        ),
        ("countersign_handshakes_accepted_total", &["mech=\"iakerb\"", "etype=\"aes256-cts-hmac-sha1-96\""]),
        ("countersign_handshakes_accepted_total", &["mech=\"ntlm\"", "etype=\"\""]),
        ("countersign_handshake_duration_seconds", &["outcome=\"accepted\""]),
        ("countersign_handshake_duration_seconds", &["outcome=\"refused\""]),
        ("countersign_tickets_accepted_total", &["kvno=\"3\""]),
        ("countersign_connections_broken_total", &["code=\"CS-5001\""]),
        ("countersign_replay_store_unavailable_total", &["reason=\"client-share\""]),
        ("countersign_replay_store_unavailable_total", &["reason=\"down\""]),
        ("countersign_replay_store_unavailable_total", &["reason=\"changed\""]),
        ("countersign_keytab_loads_total", &["result=\"loaded\""]),
        ("countersign_keytab_loads_total", &["result=\"failed\""]),
        ("countersign_keytab_newest_kvno", &["listener=\"own\""]),
        ("countersign_tunnel_bytes_total", &["direction=\"to_upstream\""]),
        ("countersign_tunnel_bytes_total", &["direction=\"to_client\""]),
        ("countersign_tunnels_ended_total", &["reason=\"done\""]),
        ("countersign_tunnels_ended_total", &["reason=\"idle\""]),
        ("countersign_tunnels_ended_total", &["reason=\"client\""]),
        ("countersign_tunnels_ended_total", &["reason=\"message\""]),
        ("countersign_tunnels_ended_total", &["reason=\"unreachable\""]),
        ("countersign_tunnels_ended_total", &["reason=\"upstream\""]),
        ("countersign_tunnels_ended_total", &["reason=\"expired\""]),
        ("countersign_tunnels_ended_total", &["reason=\"not-recorded\""]),
    ] {
        assert!(moved.has(name, labels), "{name} {labels:?} is not in {:?}", moved.0);
    }
}

/// A store that is full, one that is absent and is done without, and one that was replaced.
fn stores_that_do_not_answer(moved: &mut Moved) {
    let scene = Scene::new();
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}[replay]\nstore = \"memory\"\ncapacity = 1000\n"));
    let client = scene.client(scene.ticket(2));
    let full = (0..1_100).find_map(|_| exchange(&client, serve.address()).err());
    full.expect("a store of 1,000 entries is full after 1,100");
    let share = &["reason=\"client-share\""];
    serve.wait_for_metric("countersign_replay_store_unavailable_total", share, 1.0);
    moved.look(&serve);

    let server = Valkey::start();
    let (port, url) = (server.port(), server.url());
    let serve = |in_absence: &str| {
        let store = "[replay]\nstore = \"valkey\"\ntimeout = \"500ms\"\n";
        scene.serve(&format!("{LISTENER}{OBSERVED}{store}url = \"{url}\"\non_absence = \"{in_absence}\"\n"))
    };
    let (refusing, going_on) = (serve("refuse"), serve("memory"));
    drop(server);
    refusing.wait_for_ready(503);
    exchange(&client, refusing.address()).unwrap_err();
    going_on.wait_for_stderr("CS-7209");
    exchange(&client, going_on.address()).unwrap();
    let _server = Valkey::start_at(port, &[]);
    refusing.wait_for_ready(200);
    exchange(&client, refusing.address()).unwrap_err();
    // What is refused is counted once the client has been told.
    let changed = &["reason=\"changed\""];
    refusing.wait_for_metric("countersign_replay_store_unavailable_total", changed, 1.0);
    moved.look(&refusing);
    moved.look(&going_on);
}

#[test]
fn health_is_told_in_every_state() {
    let scene = Scene::new();
    let server = Valkey::start();
    let lines = format!(
        "drain_deadline = \"30s\"\n{LISTENER}{OBSERVED}[replay]\nstore = \"valkey\"\nurl = \"{}\"\ntimeout = \"5s\"\n",
        server.url()
    );
    // Starting, for as long as the store takes.
    server.pause();
    let process = Process::start(&mut scene.command(&lines));
    let http = http_of(&process);
    assert_eq!(get(http, "/readyz"), (503, "the service has not started yet\n".to_owned()));
    assert_eq!(get(http, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!((get(http, "/metrics").0, process.stdout()), (200, String::new()));
    server.resume();
    let address = process.listening();
    let healthy = || assert_eq!(get(http, "/healthz").0, 200);
    let wait_for_ready = |status: u16| {
        healthy();
        let ready = || Some(get(http, "/readyz")).filter(|(answered, _)| *answered == status);
        wait_for(ready).unwrap_or_else(|| panic!("no {status}: {}", process.stderr())).1
    };
    assert_eq!(wait_for_ready(200), "ready\n");
    let client = scene.client(scene.ticket(2));
    exchange(&client, address).unwrap();

    server.pause();
    let why = wait_for_ready(503);
    assert!(why.starts_with("replay store: ") && why.contains("127.0.0.1"), "{why}");
    server.resume();
    wait_for_ready(200);

    // Nobody is let in while it cannot be written, so it must be found out without clients that it can be again.
    limit_files(&process, Some(1));
    exchange(&client, address).unwrap_err();
    let why = wait_for_ready(503);
    assert!(why.starts_with("audit file: ") && why.contains("audit"), "{why}");
    exchange(&client, address).unwrap_err();
    // The record of who is refused is the last that is tried.
    let lost = || sum(&get(http, "/metrics").1, "countersign_audit_failures_total", &[]);
    assert!(wait_for(|| lost().filter(|lost| *lost >= 2.0)).is_some(), "{}", process.stderr());
    limit_files(&process, None);
    assert_eq!(wait_for_ready(200), "ready\n");
    exchange(&client, address).unwrap();

    let mut open = session(&client, address).unwrap_or_else(|failure| panic!("{}", failure.refusal));
    let pid = rustix::process::Pid::from_raw(process.id() as i32).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(wait_for_ready(503), "the service was told to end\n");
    // Who is in goes on, and nobody comes in.
    open.send(b"still").unwrap();
    assert_eq!(open.receive().unwrap(), Some(&b"still"[..]));
    assert!(wait_for(|| TcpStream::connect(address).is_err().then_some(())).is_some());
    healthy();
    drop(open);
    process.finish(DEADLINE).expect_success();
}

#[test]
fn a_replay_store_in_files_that_is_full_is_told_and_is_ready_again_when_there_is_room() {
    let scene = Scene::new();
    let serve = scene.serve(&format!("state = \"~/state\"\n{LISTENER}[metrics]\nlisten = \"127.0.0.1:0\"\n"));
    let client = scene.client(scene.ticket(2));
    exchange(&client, serve.address()).unwrap();
    limit_files(&serve.process, Some(100));
    exchange(&client, serve.address()).unwrap_err();
    let why = serve.wait_for_ready(503);
    assert!(why.starts_with("replay store: ") && why.contains("state/replay"), "{why}");
    assert!(serve.metric("countersign_replay_store_unavailable_total", &["reason=\"down\""]) >= 1.0);
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(serve.get("/readyz").0, 503);
    limit_files(&serve.process, None);
    serve.wait_for_ready(200);
    exchange(&client, serve.address()).unwrap();
    assert_eq!(serve.stderr_count("CS-7201"), 1, "told once: {}", serve.process.stderr());
    serve.wait_for_stderr("replay store: it can be used again");
    // What was tried at the end of the file is no damage.
    serve.kill();
    let serve = scene.serve(&format!("state = \"~/state\"\n{LISTENER}"));
    exchange(&client, serve.address()).unwrap();
}

#[test]
fn without_room_for_records_clients_are_refused_or_let_in_as_the_file_says() {
    for (on_failure, let_in) in [("refuse", false), ("continue", true)] {
        let scene = Scene::new();
        let serve = scene.serve(&format!("{LISTENER}{OBSERVED}on_failure = \"{on_failure}\"\n"));
        let client = scene.client(scene.ticket(2));
        exchange(&client, serve.address()).unwrap();
        limit_files(&serve.process, Some(fs::metadata(scene.path("audit")).unwrap().len()));
        for _ in 0..3 {
            assert_eq!(exchange(&client, serve.address()).is_ok(), let_in, "{on_failure}");
        }
        serve.wait_for_metric("countersign_audit_failures_total", &[], 3.0);
        assert_eq!(serve.stderr_count("CS-8010"), 1, "told once: {}", serve.process.stderr());
        assert_eq!(serve.get("/readyz").0, if let_in { 200 } else { 503 });
        let by_code = serve.metric("countersign_handshakes_total", &["code=\"CS-8022\""]);
        assert_eq!(by_code >= 1.0, !let_in);
        limit_files(&serve.process, None);
        serve.wait_for_ready(200);
        exchange(&client, serve.address()).unwrap();
        serve.wait_for_stderr("the audit file can be written again; ");
        let text = fs::read_to_string(scene.path("audit")).unwrap();
        let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(records.last().unwrap()["outcome"], "accepted", "{text}");
    }
}
