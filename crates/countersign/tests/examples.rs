//! The examples, the two of the README among them, as programs: each with its counterpart, and with the library's other face.
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

use countersign::framing::{Framing, Nns, SampleData};
use countersign::{Client, ClientConfig, Service, ServiceConfig, blocking};
use countersign_proto::time::Timestamp;
use countersign_testkit::mint::{Mint, ccache_bytes, keytab_bytes};
use countersign_testkit::{Finished, Process, run};
use ends::{ADDRESS, Face, accept, block_on, client, client_config, connect, service_config, succeeds};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(60);
const SERVICE: &str = "HTTP/a.example.test@EXAMPLE.TEST";

/// Where cargo puts an example, next to this test.
fn example(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap();
    let path = path.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is built by cargo test without --test", path.display());
    path
}

/// A keytab with the service's key, a cache with the client's ticket, and no krb5.conf.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() };
        std::fs::write(files.path("keytab"), keytab_bytes(&mint.keytab())).unwrap();
        std::fs::write(files.path("ccache"), ccache_bytes(&mint.ccache(&[mint.ticket()]))).unwrap();
        let other = Mint { kvno: 3, ..mint };
        std::fs::write(files.path("other"), keytab_bytes(&other.keytab())).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(example(name));
        command.env("KRB5_CONFIG", "").env("KRB5_KTNAME", self.path("keytab"));
        command.env("KRB5CCNAME", self.path("ccache"));
        command
    }

    fn service(&self, name: &str) -> (Process, SocketAddr) {
        let service = Process::start(self.command(name).arg("127.0.0.1:0"));
        let address = service.listening();
        (service, address)
    }

    /// Runs a client to its end.
    fn client(&self, name: &str, address: SocketAddr, arguments: &[&str]) -> Finished {
        run(self.command(name).arg(address.to_string()).arg(SERVICE).args(arguments), DEADLINE)
    }
}

/// Both programs of a framing meet; the service goes on, and says who was there.
#[track_caller]
fn meet(framing: &str, service: &str, client: &str, arguments: &[&str], printed: &str) {
    let files = Files::new();
    let (mut running, address) = files.service(service);
    for _ in 0..2 {
        let done = files.client(client, address, arguments).expect_success();
        assert_eq!((&*done.text(), &*done.stderr), (printed, ""), "{framing}");
        let here = running.wait_for_line("alice@EXAMPLE.TEST is here from 127.0.0.1:", DEADLINE);
        assert!(here.parse::<u16>().is_ok(), "{here}");
    }
    assert!(running.is_running());
    assert_eq!(running.stderr(), "", "{framing}");
}

#[test]
fn the_service_of_the_readme_gives_its_client_back_what_it_says() {
    let printed = format!("{SERVICE} says hello\n");
    meet("stream", "service", "client", &[], &printed);
}

#[test]
fn messages_come_back_in_upper_case_however_many() {
    meet("dword", "dword_service", "dword_client", &["one", "two", "three"], "ONE\nTWO\nTHREE\n");
    meet("dword", "dword_service", "dword_client", &[], "");
}

#[test]
fn the_examples_of_nns_meet() {
    meet("nns", "nns_service", "nns_client", &[], &format!("{SERVICE} says hello\n"));
}

#[test]
fn the_examples_of_the_samples_layout_meet() {
    meet("sample", "sample_service", "sample_client", &["a message"], "A MESSAGE\n");
    meet("sample", "sample_service", "sample_client", &[""], "\n");
}

#[test]
fn the_examples_of_a_framing_of_their_own_meet() {
    meet("bare", "bare_service", "bare_client", &["one", "two"], "ONE\nTWO\n");
}

/// Services and their clients, with what a client is told besides where and whom to reach.
const PAIRS: [(&str, &str, &[&str]); 5] = [
    ("service", "client", &[]),
    ("dword_service", "dword_client", &["hello"]),
    ("nns_service", "nns_client", &[]),
    ("sample_service", "sample_client", &["hello"]),
    ("bare_service", "bare_client", &["hello"]),
];

#[test]
fn a_refused_client_ends_with_1_and_both_ends_say_why() {
    let files = Files::new();
    for (service, client, arguments) in PAIRS {
        let mut command = files.command(service);
        let running = Process::start(command.env("KRB5_KTNAME", files.path("other")).arg("127.0.0.1:0"));
        let done = files.client(client, running.listening(), arguments).expect_code(1);
        assert_eq!(done.text(), "");
        let told = if service == "nns_service" { "CS-8012" } else { "CS-4001" };
        assert!(done.stderr.contains(told), "{client}: {}", done.stderr);
        let told = running.wait_for_error_line("127.0.0.1:", DEADLINE);
        assert!(told.contains(" refused: CS-2003 saw ticket for HTTP/a.example.test"), "{service}: {told}");
        assert_eq!(running.stdout().lines().count(), 1, "nobody is here: {}", running.stdout());
    }
}

#[test]
fn a_client_without_arguments_cache_or_service_says_so_and_ends_with_1() {
    let files = Files::new();
    let nobody = TcpListener::bind((ADDRESS, 0)).unwrap().local_addr().unwrap();
    for (_, client, arguments) in PAIRS {
        let done = run(&mut files.command(client), DEADLINE).expect_code(1);
        assert!(done.stderr.contains(&format!("usage: {client} HOST:PORT")), "{}", done.stderr);
        let mut without = files.command(client);
        without.env_remove("KRB5CCNAME").args([&*nobody.to_string(), SERVICE]).args(arguments);
        let done = run(&mut without, DEADLINE).expect_code(1);
        assert!(done.stderr.contains("KRB5CCNAME names no credential cache"), "{}", done.stderr);
        let done = files.client(client, nobody, arguments).expect_code(1);
        assert!(done.stderr.contains("onnection refused"), "{client}: {}", done.stderr);
    }
}

#[test]
fn a_service_without_its_keytab_or_address_says_so_and_ends_with_1() {
    let files = Files::new();
    let taken = TcpListener::bind((ADDRESS, 0)).unwrap();
    for (service, ..) in PAIRS {
        let absent = files.path("absent");
        let done = run(files.command(service).env("KRB5_KTNAME", &absent), DEADLINE).expect_code(1);
        assert!(done.stderr.contains("CS-7001") && done.stderr.contains("absent"), "{}", done.stderr);
        let address = taken.local_addr().unwrap().to_string();
        let done = run(files.command(service).arg(address), DEADLINE).expect_code(1);
        assert!(done.stderr.contains("in use"), "{}", done.stderr);
    }
}

fn client_of(framing: Framing) -> Client {
    Client::new(ClientConfig { framing, ..client_config() })
}

fn service_of(framing: Framing) -> Service {
    Service::new(ServiceConfig { framing, ..service_config() })
}

#[test]
fn the_service_of_the_readme_serves_clients_of_both_faces() {
    let (_running, address) = Files::new().service("service");
    let connector = blocking::Connector::new(client());
    let mut stream = connector.connect(address).map_err(|failure| failure.refusal).unwrap();
    stream.write_all(b"hello\nagain\n").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n", "it does not wait for the end");
    stream.finish().unwrap();
    stream.read_to_string(&mut line).unwrap();
    assert_eq!(line, "hello\nagain\n");
    block_on(async {
        let connector = countersign::tokio::Connector::new(client());
        let mut stream = connector.connect(address).await.map_err(|failure| failure.refusal).unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"hello");
    });
}

/// The services of messages with clients of the face that the example of a client does not have, and of the one it has.
#[test]
fn every_service_of_messages_serves_clients_of_both_faces() {
    let framings = [
        ("dword_service", Framing::Dword, &b"HELLO"[..]),
        ("nns_service", Framing::Nns(Nns::default()), b"hello"),
        ("sample_service", Framing::Sample(SampleData::Sealed), b"HELLO"),
    ];
    let files = Files::new();
    for (name, framing, answer) in framings {
        let (_running, address) = files.service(name);
        for face in ends::FACES {
            let socket = TcpStream::connect(address).unwrap();
            let mut session = succeeds(connect(face, &client_of(framing), socket));
            session.send(b"hello").unwrap();
            session.finish().unwrap();
            assert_eq!(session.receive().unwrap().as_deref(), Some(answer), "{name} {face:?}");
            assert_eq!(session.receive().unwrap(), None, "{name} {face:?}");
        }
    }
}

/// The clients with services of both faces.
#[test]
fn every_client_of_messages_is_served_by_both_faces() {
    let framings = [
        ("client", Framing::Dword, &[][..], format!("{SERVICE} says HELLO\n")),
        ("dword_client", Framing::Dword, &["hello"], "HELLO\n".to_owned()),
        ("nns_client", Framing::Nns(Nns::default()), &[], format!("{SERVICE} says HELLO\n")),
        ("sample_client", Framing::Sample(SampleData::Sealed), &["hello"], "HELLO\n".to_owned()),
    ];
    let files = Files::new();
    for (name, framing, arguments, printed) in framings {
        for face in ends::FACES {
            let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let done = thread::scope(|scope| {
                scope.spawn(|| upper_case(face, &service_of(framing), &listener));
                files.client(name, address, arguments)
            });
            assert_eq!(done.expect_success().text(), printed, "{name} {face:?}");
        }
    }
}

fn upper_case(face: Face, service: &Service, listener: &TcpListener) {
    let mut session = succeeds(accept(face, service, listener.accept().unwrap().0));
    let message = session.receive().unwrap().unwrap();
    session.send(&message.to_ascii_uppercase()).unwrap();
    assert_eq!(session.receive().unwrap(), None);
    session.finish().unwrap();
}

#[test]
fn the_service_of_the_readme_goes_on_after_it_could_not_accept_a_connection() {
    let files = Files::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24; exec \"$0\" 127.0.0.1:0"]).arg(example("service"));
    let service = Process::start(command.env("KRB5_KTNAME", files.path("keytab")));
    let address = service.listening();
    let crowd: Vec<_> = (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
    service.wait_for_error_line("cannot accept: ", DEADLINE);
    drop(crowd);
    let stream = TcpStream::connect(address).unwrap();
    let mut session = succeeds(blocking::connect(&client(), stream));
    session.send(b"still here").unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"still here");
}

#[test]
fn a_service_of_the_examples_says_that_a_client_was_cut_off() {
    let files = Files::new();
    for name in ["service", "dword_service"] {
        let (running, address) = files.service(name);
        let socket = TcpStream::connect(address).unwrap();
        let mut session = succeeds(blocking::connect(&client(), socket.try_clone().unwrap()));
        session.send(b"hello").unwrap();
        assert!(session.receive().unwrap().is_some());
        socket.shutdown(Shutdown::Both).unwrap();
        let told = running.wait_for_error_line("127.0.0.1:", DEADLINE);
        assert!(told.contains("CS-8008"), "{name}: {told}");
    }
}

#[test]
fn the_service_with_a_framing_of_its_own_bounds_what_it_reads_before_anybody_is_known() {
    let (running, address) = Files::new().service("bare_service");
    for (line, why) in [
        (vec![b'A'; 200_000], "a line that is cut off or too long"),
        (b"AAAA".to_vec(), "a line that is cut off or too long"),
        (b"no base64\n".to_vec(), "invalid Base64 encoding"),
        (b"\n".to_vec(), "CS-8001 saw a frame of 0 bytes"),
        (Vec::new(), "the client closed the connection"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        // It may be refused before it was sent to its end.
        let _ = stream.write_all(&line);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = BufReader::new(stream).read_to_end(&mut answer);
        assert_eq!(answer, b"");
        let told = running.wait_for_error_line("127.0.0.1:", DEADLINE);
        assert!(!told.is_empty());
        let until = std::time::Instant::now() + DEADLINE;
        while !running.stderr().contains(why) {
            assert!(std::time::Instant::now() < until, "{why} is not in {}", running.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A file without the comment on top.
fn program(text: &str) -> Vec<&str> {
    text.lines().skip_while(|line| line.is_empty() || line.starts_with("//!")).collect()
}

#[test]
fn the_readme_shows_the_service_and_the_client_as_they_are_compiled() {
    let readme = include_str!("../../../README.md");
    let shown: Vec<Vec<&str>> = readme
        .split("```rust\n")
        .skip(1)
        .map(|block| block.lines().take_while(|line| *line != "```").collect())
        .collect();
    let service = program(include_str!("../examples/service.rs"));
    let client = program(include_str!("../examples/client.rs"));
    for (program, role) in [(&service, "service"), (&client, "client")] {
        let body = program.iter().skip_while(|line| !line.contains("fn main()")).skip(1).count() - 1;
        assert!(body <= 15, "a {role} in {body} lines");
    }
    assert_eq!(shown, [service, client]);
}
