//! `countersign connect` as DESIGN section 7 fixes it: what it prints, its exit codes, standard input and output as a
//! stream, where tickets and keys come from, and channel bindings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::Service;
use countersign::blocking::{Session, accept};
use countersign_testkit::pair::Direction;
use countersign_testkit::{Clock, Finished, Library, Process, run};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::wire::{relay, service};
use support::{
    DEADLINE, FULL_SPN, SPN, Scene, Serve, assert_told, connect, countersign, file, initiate, wait_for,
};

fn scene() -> Arc<Scene> {
    Scene::shared(|_| ())
}

const AUTHENTICATED: &str =
    "authenticated echo/a.example.test@CLI.TEST by kerberos aes256-cts-hmac-sha1-96\n";

#[test]
fn connect_prints_the_reply_on_stdout_and_the_service_on_stderr() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let long = "x".repeat(100_000);
    for text in ["hello", "", "Grüße, 世界", "two\nlines\n", &long] {
        let done = scene.connect(serve.address, &["--message", text]).expect_success();
        assert_eq!(done.text(), format!("{text}\n"));
        assert_eq!(done.stderr, AUTHENTICATED);
    }
}

#[test]
fn connect_finds_the_realm_of_a_service_that_is_named_without_one() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let mut command = connect(serve.address, SPN, &scene.ccache_for(&[SPN]));
    let done = run(command.args(["--message", "hello"]), DEADLINE).expect_success();
    assert_eq!(done.stderr, AUTHENTICATED);
}

#[test]
fn connect_takes_tickets_from_krb5ccname_and_serve_keys_from_krb5_ktname() {
    let scene = scene();
    let (keytab, ccache) =
        (scene.keytab.display().to_string(), scene.ccache_for(&[SPN]).display().to_string());
    for prefix in ["FILE:", ""] {
        let mut command = countersign(&["serve"]);
        let serve = Serve::start_command(command.env("KRB5_KTNAME", format!("{prefix}{keytab}")));
        let address = serve.address.to_string();
        let mut command = countersign(&["connect", &address, "--spn", FULL_SPN, "--message", "hello"]);
        let done = run(command.env("KRB5CCNAME", format!("{prefix}{ccache}")), DEADLINE).expect_success();
        assert_eq!(done.text(), "hello\n");
    }
}

#[test]
fn flags_go_before_the_environment() {
    let scene = scene();
    let mut command = countersign(&["serve", "--keytab"]);
    command.arg(&scene.keytab).env("KRB5_KTNAME", "MEMORY:nothing");
    let serve = Serve::start_command(&mut command);
    let mut command = connect(serve.address, FULL_SPN, &scene.ccache_for(&[SPN]));
    command.args(["--message", "hello"]).env("KRB5CCNAME", "KCM:nothing");
    run(&mut command, DEADLINE).expect_success();
}

#[test]
fn serve_listens_on_every_address_that_it_is_told_and_says_what_it_forgets() {
    let scene = scene();
    let mut command = countersign(&["serve", "--replay-store", "memory", "--listen", "[::1]:0", "--keytab"]);
    let serve = Serve::start_command(command.arg(&scene.keytab));
    let lines = || Some(serve.process.stdout()).filter(|text| text.lines().count() == 2);
    for line in wait_for(lines).expect("a line for each listener").lines() {
        let address: SocketAddr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        scene.connect(address, &["--message", "hello"]).expect_success();
    }
    serve.wait_for_stderr("replays are remembered until restart only");
}

/// `connect` with `input` on standard input, to its end.
fn stream(address: SocketAddr, ccache: &Path, options: &[&str], input: &[u8]) -> Finished {
    let mut client = Process::start(connect(address, FULL_SPN, ccache).args(options));
    let mut stdin = client.stdin().unwrap();
    // A client that refuses its service reads no further.
    let _ = stdin.write_all(input);
    drop(stdin);
    client.finish(DEADLINE)
}

#[test]
fn connect_streams_megabytes_and_ends_with_its_input() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let input: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let done = stream(serve.address, &scene.ccache_for(&[SPN]), &[], &input).expect_success();
    assert!(done.stdout == input, "{} bytes of {} came back", done.stdout.len(), input.len());
    assert_eq!(done.stderr, AUTHENTICATED);
    serve.accepted();
    assert_eq!(serve.records().len(), 1, "the end was marked");
}

#[test]
fn connect_with_empty_input_authenticates_and_ends() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let done = stream(serve.address, &scene.ccache_for(&[SPN]), &[], b"").expect_success();
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", AUTHENTICATED));
}

#[test]
fn connect_prints_what_comes_while_its_input_stays_open() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let mut client = Process::start(&mut connect(serve.address, FULL_SPN, &scene.ccache_for(&[SPN])));
    let mut stdin = client.stdin().unwrap();
    for line in ["first", "second"] {
        writeln!(stdin, "{line}").unwrap();
        client.wait_for_line(line, DEADLINE);
    }
    drop(stdin);
    client.finish(DEADLINE).expect_success();
}

/// A service in this test that does `attend` with every session.
fn library_service(
    scene: &Scene,
    mut attend: impl FnMut(&mut Session<TcpStream>) + Send + 'static,
) -> SocketAddr {
    let engine = Service::from_keytab(&scene.keytab).unwrap();
    service(move |stream| {
        let peer = stream.peer_addr().unwrap().ip();
        attend(&mut accept(&engine, stream, peer).unwrap_or_else(|failure| panic!("{}", failure.refusal)));
    })
}

/// Sends one message, takes what comes to its end, and leaves without marking its own.
fn leave_unmarked(session: &mut Session<TcpStream>) {
    session.send(b"all that there is").unwrap();
    while session.receive().unwrap().is_some() {}
}

#[test]
fn connect_takes_a_service_that_ends_without_the_mark_for_cut_off() {
    let scene = scene();
    let address = library_service(&scene, leave_unmarked);
    let done = stream(address, &scene.ccache_for(&[SPN]), &[], b"").expect_code(1);
    assert_eq!(done.text(), "all that there is");
    assert!(done.stderr.contains("CS-8008 saw the end of the connection"), "{done:?}");
}

#[test]
fn connect_takes_a_service_that_ends_instead_of_replying_for_cut_off() {
    let scene = scene();
    let address = library_service(&scene, |session| assert!(session.receive().unwrap().is_some()));
    let done = scene.connect(address, &["--message", "hello"]).expect_code(1);
    assert_eq!(done.text(), "");
    assert!(done.stderr.contains("CS-8008 saw the end of the connection"), "{done:?}");
}

#[test]
fn connect_takes_an_unmarked_end_for_the_end_where_that_is_allowed() {
    let scene = scene();
    let address = library_service(&scene, leave_unmarked);
    let done = stream(address, &scene.ccache_for(&[SPN]), &["--allow-unmarked-end"], b"").expect_success();
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("all that there is", AUTHENTICATED));
}

#[test]
fn connect_takes_an_end_inside_a_frame_for_cut_off_whatever_is_allowed() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let address = service(move |near| cut_after(near, serve.address, 20));
    let ccache = scene.ccache_for(&[SPN]);
    let done = stream(address, &ccache, &["--allow-unmarked-end"], b"hello").expect_code(3);
    assert!(done.stderr.contains("CS-8003"), "{done:?}");
    assert_eq!(done.text(), "");
}

/// Passes a connection on; of what comes back after the first frame only `count` bytes.
fn cut_after(near: TcpStream, upstream: SocketAddr, count: u64) {
    use std::io::{Read, copy};
    let far = TcpStream::connect(upstream).unwrap();
    let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let forth = std::thread::spawn(move || copy(&mut from_near, &mut to_far));
    let mut length = [0; 4];
    (&far).read_exact(&mut length).unwrap();
    (&near).write_all(&length).unwrap();
    copy(&mut (&far).take(u64::from(u32::from_le_bytes(length)) + count), &mut &near).unwrap();
    near.shutdown(std::net::Shutdown::Both).unwrap();
    // Fails or not, depending on which end was first.
    let _ = forth.join();
}

#[test]
fn connect_ends_with_3_when_nobody_listens() {
    let scene = scene();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let done = scene.connect(address, &["--message", "hello"]).expect_code(3);
    assert!(done.stderr.starts_with(&format!("countersign: CS-8007 saw {address} (")), "{done:?}");
    assert_eq!(done.text(), "");
}

#[test]
fn connect_ends_with_1_when_the_service_refuses() {
    let scene = scene();
    let spn = "echo/stranger.example.test";
    scene.realm.add_service(spn, &[countersign_testkit::Etype::Aes256Sha1]);
    let serve = scene.serve(&[]);
    let mut command = connect(serve.address, &format!("{spn}@CLI.TEST"), &scene.ccache_for(&[spn]));
    let done = run(command.args(["--message", "hello"]), DEADLINE).expect_code(1);
    assert!(done.stderr.starts_with("countersign: CS-4001 saw KRB-ERROR 35 KRB_AP_ERR_NOT_US"), "{done:?}");
    assert_eq!(done.text(), "");
    serve.refused("CS-2001");
}

#[test]
fn connect_ends_with_1_when_the_kdc_does_not_know_the_service() {
    let scene = scene();
    let spn = "echo/nobody.example.test@CLI.TEST";
    let mut command = connect(([127, 0, 0, 1], 9).into(), spn, &scene.ccache());
    command.envs(scene.realm.env());
    let done = run(command.args(["--message", "hello"]), DEADLINE).expect_code(1);
    for text in ["CS-6002", spn, "alice@CLI.TEST", "register the service"] {
        assert!(done.stderr.contains(text), "{done:?} lacks {text}");
    }
}

#[test]
fn connect_ends_with_2_when_its_ticket_granting_ticket_has_expired() {
    let scene = scene();
    let mut command = connect(([127, 0, 0, 1], 9).into(), FULL_SPN, &scene.ccache_for(&[SPN]));
    command.args(["--message", "hello"]).envs(Clock::offset(172_800).env());
    let done = run(&mut command, DEADLINE).expect_code(2);
    assert!(done.stderr.contains("CS-6018") && done.stderr.contains("ticket get"), "{done:?}");
}

/// The clock is behind by more than the permitted skew; what kinit learnt of the KDC's time makes up for it at once.
#[test]
fn connect_uses_the_offset_of_the_clock_that_kinit_learnt() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let clock = Clock::offset(-900);
    let env = [scene.realm.env(), clock.env()].concat();
    let ccache = scene.realm.kinit_as(&env, "alice", "secret", &[]);
    scene.realm.kvno_as(&env, SPN, &ccache, &[]);
    let tokens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tokens);
    let address = relay(serve.address, move |direction, _| {
        counted.fetch_add(usize::from(direction == Direction::ToInitiator), Ordering::Relaxed);
    });
    let mut command = connect(address, FULL_SPN, &ccache);
    let done = run(command.args(["--message", "hello"]).envs(clock.env()), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
    assert_eq!(tokens.load(Ordering::Relaxed), 2, "one AP-REP and one message");
}

/// SHA-256 of tests/data/certificate.pem's DER, behind the prefix of RFC 5929 section 4.
const CERTIFICATE_BINDINGS: &str = "746c732d7365727665722d656e642d706f696e743a\
                                    7552744c840828f47e2401406302315025178ce9882166b2292a5475989f14ab";

fn certificate() -> String {
    format!("cert:{}/tests/data/certificate.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn connect_and_serve_bind_to_the_same_channel() {
    let scene = scene();
    let certificate = certificate();
    for (theirs, ours) in [("c0ffee", "C0FFEE"), (&certificate, CERTIFICATE_BINDINGS)] {
        let serve = scene.serve(&["--channel-bindings", ours, "--require-channel-bindings"]);
        let options = ["--channel-bindings", theirs, "--message", "hello"];
        scene.connect(serve.address, &options).expect_success();
        assert_eq!(serve.accepted()["bindings"], "matched");
    }
}

#[test]
fn connect_is_refused_when_bound_to_another_channel() {
    let scene = scene();
    let serve = scene.serve(&["--channel-bindings", &certificate()]);
    let options = ["--channel-bindings", "c0ffee", "--message", "hello"];
    let done = scene.connect(serve.address, &options).expect_code(1);
    assert!(done.stderr.contains("CS-4001 saw KRB-ERROR 60"), "{done:?}");
    serve.refused("CS-3008");
}

#[test]
fn serve_lets_a_client_without_bindings_in_unless_they_are_required() {
    let scene = scene();
    let serve = scene.serve(&["--channel-bindings", "c0ffee"]);
    scene.connect(serve.address, &["--message", "hello"]).expect_success();
    scene.initiate(Library::Mit, serve.address, &["--sizes", "1"]).expect_success();
    assert!(serve.wait_for_records(2).iter().all(|record| record["bindings"] == "absent"));
}

#[test]
fn connect_binds_to_the_channel_of_mit_and_heimdal_acceptors() {
    let scene = scene();
    for library in [Library::Mit, Library::Heimdal] {
        for (theirs, ours) in [("00ff", "00ff"), (CERTIFICATE_BINDINGS, &certificate())] {
            let (service, address) = scene.acceptor(library, &["--bindings", theirs]);
            let message = ["--message", "hello", "--channel-bindings"];
            scene.connect(address, &[&message[..], &[ours]].concat()).expect_success();
            scene.connect(address, &[&message[..], &["01ff"]].concat()).expect_code(1);
            service.wait_for_error_line("refused: acceptor: ", DEADLINE);
        }
    }
}

#[test]
fn mit_and_heimdal_initiators_bind_to_the_channel_of_serve() {
    let scene = scene();
    let serve = scene.serve(&["--channel-bindings", &certificate(), "--require-channel-bindings"]);
    for (index, library) in [Library::Mit, Library::Heimdal].into_iter().enumerate() {
        let options = ["--bindings", CERTIFICATE_BINDINGS, "--sizes", "10"];
        scene.initiate(library, serve.address, &options).expect_success();
        assert_eq!(serve.wait_for_records(index + 1)[index]["bindings"], "matched");
    }
    let options = ["--bindings", "c0ffee"];
    let done = initiate(Library::Mit, &scene.client_env(), serve.address, FULL_SPN, &options).expect_code(1);
    assert_told(&done, 60, FULL_SPN);
}

#[test]
fn the_first_certificate_of_a_chain_is_taken_though_text_stands_before_it() {
    let scene = scene();
    let pem = std::fs::read_to_string(certificate().strip_prefix("cert:").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let begin = pem.find("-----BEGIN").unwrap();
    let other = pem[begin..].replace("MIIBlDCC", "MIIBlDCD");
    let chain = file(folder.path(), "chain.pem", format!("text\n{pem}{other}").as_bytes());
    let serve = scene.serve(&["--channel-bindings", CERTIFICATE_BINDINGS, "--require-channel-bindings"]);
    let bindings = format!("cert:{}", chain.display());
    let options = ["--message", "hello", "--channel-bindings", &bindings];
    scene.connect(serve.address, &options).expect_success();
}
