//! `countersign realm serve`: one server for a realm, which is changed while it runs, killed, and started again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod realm_support;
mod support;

use countersign::realm::RealmFolder;
use countersign_realm::admin::{Changes, Request};
use countersign_testkit::{Process, run};
use realm_support::{Client, Home, PASSWORD, Server};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use support::DEADLINE;

#[test]
fn a_second_server_of_a_realm_is_refused_and_told_of_the_first() {
    let home = Home::new();
    let server = home.serve();
    let second = home.realm("serve", &["--listen", "127.0.0.1:0"]).expect_code(2);
    assert!(second.stderr.contains("CS-7105"), "{second:?}");
    assert!(second.stderr.contains(&format!("process {}", server.process.id())), "{second:?}");
    assert!(second.stderr.contains(&format!("serves {}", server.address)), "{second:?}");
    assert_eq!(second.text(), "");
    // The first one goes on.
    home.add_service("HTTP/a.example.test");
    server.end().expect_success();
}

#[test]
fn a_server_that_is_told_to_end_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = Home::new();
        let server = home.serve();
        assert_eq!(home.mode("admin.sock"), 0o600);
        server.signal(signal);
        server.process.finish(DEADLINE).expect_success();
        assert!(!home.realm_folder().join("admin.sock").exists());
        home.serve().end().expect_success();
    }
}

#[test]
fn commands_while_a_realm_is_served_are_done_by_its_server_at_once() {
    let home = Home::new();
    let server = home.serve();
    home.add_user("alice", &[]);
    home.add_service("HTTP/a.example.test");
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    let file = home.password_file("Another.456");
    home.realm("passwd", &["--password-file", &file, "alice"]).expect_success();
    client.kinit(PASSWORD, &["alice"]).expect_code(1);
    client.kinit("Another.456", &["alice"]).expect_success();
    client.run("kvno", &["HTTP/a.example.test"]).expect_success();
    home.realm("passwd", &["--random", "HTTP/a.example.test"]).expect_success();
    client.kinit("Another.456", &["alice"]).expect_success();
    let kvno = client.run("kvno", &["HTTP/a.example.test"]).expect_success().text();
    assert!(kvno.contains("kvno = 2"), "{kvno}");
    home.realm("remove", &["HTTP/a.example.test"]).expect_success();
    client.kinit("Another.456", &["alice"]).expect_success();
    client.run("kvno", &["HTTP/a.example.test"]).expect_code(1);
    home.realm("remove", &["alice"]).expect_success();
    client.kinit("Another.456", &["alice"]).expect_code(1);
    assert!(home.account("alice").is_none());
    let records = server.records();
    let done = |what: &str| {
        records.iter().any(|record| record["administration"] == what && record["outcome"] == "done")
    };
    for what in ["add-user alice", "passwd alice", "remove HTTP/a.example.test", "list"] {
        assert!(done(what), "{what}: {records:?}");
    }
    let text = std::fs::read_to_string(home.path().join("audit.jsonl")).unwrap();
    assert!(!text.contains(PASSWORD) && !text.contains("Another.456"));
    server.end().expect_success();
}

#[test]
fn a_policy_changes_while_the_realm_is_served() {
    let home = Home::new();
    home.add_user("alice", &[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    assert!(client.run("klist", &["-e"]).text().contains("aes256-cts-hmac-sha1-96"));
    home.realm("policy", &["--permitted-enctypes", "aes128-sha2"]).expect_success();
    client.kinit(PASSWORD, &["alice"]).expect_success();
    let list = client.run("klist", &["-e"]).text();
    assert!(list.contains("aes128-cts-hmac-sha256-128, aes128-cts-hmac-sha256-128"), "{list}");
    server.end().expect_success();
}

#[test]
fn refusals_come_through_the_socket_as_they_are() {
    let home = Home::new();
    let server = home.serve();
    let served = home.realm("passwd", &["--random", "HTTP/nobody.test"]).expect_code(2);
    server.end().expect_success();
    let alone = home.realm("passwd", &["--random", "HTTP/nobody.test"]).expect_code(2);
    assert_eq!(served.stderr, alone.stderr);
    assert!(served.stderr.contains("CS-7111"), "{served:?}");
}

#[test]
fn after_a_server_was_killed_commands_change_the_folder_themselves() {
    let home = Home::new();
    let server = home.serve();
    home.add_user("alice", &[]);
    server.kill();
    assert!(home.realm_folder().join("admin.sock").exists());
    assert!(home.account("alice").is_some());
    home.add_user("bob", &[]);
    let server = home.serve();
    assert!(home.account("bob").is_some());
    server.end().expect_success();
}

#[test]
fn root_changes_no_file_that_a_folder_leads_astray_to() {
    let home = Home::new();
    let treasure = home.path().join("treasure");
    for file in ["lock", "realm.redb"] {
        let path = home.realm_folder().join(file);
        std::fs::rename(&path, home.path().join("aside")).unwrap();
        for lead in
            [std::os::unix::fs::symlink::<&PathBuf, &PathBuf>, std::fs::hard_link::<&PathBuf, &PathBuf>]
        {
            std::fs::write(&treasure, "gold").unwrap();
            lead(&treasure, &path).unwrap();
            let done = home.realm("list", &[]).expect_code(2);
            assert!(done.stderr.contains("CS-7101"), "{file}: {done:?}");
            assert_eq!(std::fs::read(&treasure).unwrap(), b"gold", "{file}");
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::rename(home.path().join("aside"), &path).unwrap();
    }
    home.realm("list", &[]).expect_success();
}

/// Whatever user the folder lets through: the server asks the system who is at the other end.
#[test]
fn requests_of_other_users_are_refused() {
    let home = Home::new();
    let server = home.serve();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    open(home.path(), 0o755);
    open(&home.realm_folder(), 0o755);
    open(&home.realm_folder().join("admin.sock"), 0o666);
    // Perl is part of every Debian, and can be run by everybody.
    let script = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die $!; \
                  print $s qq({\"remove\":{\"name\":\"alice\"}}\\n); $s->flush; print scalar <$s>";
    let ask = |user: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", user, "--regid", user, "--clear-groups", "perl", "-e", script]);
        run(command.arg(home.realm_folder().join("admin.sock")), DEADLINE).expect_success().text()
    };
    must_be_root();
    let answer = ask("65534");
    assert!(answer.contains("\"code\":7114") && answer.contains("user 65534"), "{answer}");
    let answer = ask("0");
    assert!(answer.contains("\"code\":7111"), "{answer}");
    let records = server.records();
    assert!(
        records.iter().any(|record| record["uid"] == 65_534 && record["outcome"] == "refused"),
        "{records:?}"
    );
    server.end().expect_success();
}

/// To be another user a test must be root.
#[track_caller]
fn must_be_root() {
    assert!(rustix::process::geteuid().is_root(), "this test must run as root");
}

#[test]
fn what_is_no_request_of_administration_is_refused_and_the_server_goes_on() {
    let home = Home::new();
    let server = home.serve();
    let ask = |bytes: &[u8]| {
        let path = home.realm_folder().join("admin.sock");
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        // The server may close before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for bytes in [&b""[..], b"\n", b"{}\n", b"{\"remove\":", &[0xFF; 1_000], b"[[[[[[[[[[[[[[[[\n"] {
        assert!(ask(bytes).contains("\"code\":7114"), "{bytes:?}");
    }
    ask(&vec![b'x'; 1 << 20]);
    assert_eq!(home.accounts().len(), 1);
    server.end().expect_success();
}

#[test]
fn every_acknowledged_change_survives_kill_9() {
    let home = Home::new();
    let acknowledged = Mutex::new(BTreeSet::new());
    let next = AtomicU32::new(0);
    for round in 0..8_u64 {
        let server = home.serve_with(&["--log", "changes"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| add_services_until_killed(&home, &next, &acknowledged));
            }
            // At another moment in each round; the last rounds go on until there were a thousand.
            let before = acknowledged.lock().unwrap().len();
            let wanted = if round == 7 { 1_000 } else { before + 100 };
            let end = Instant::now() + DEADLINE;
            while acknowledged.lock().unwrap().len() < wanted {
                assert!(
                    Instant::now() < end,
                    "{} changes in {DEADLINE:?}",
                    acknowledged.lock().unwrap().len()
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(300 * round));
            server.kill();
        });
        let there: BTreeSet<String> = RealmNames::of(&home).collect();
        let lost: Vec<_> =
            acknowledged.lock().unwrap().iter().filter(|name| !there.contains(*name)).cloned().collect();
        assert_eq!(lost, Vec::<String>::new(), "round {round}");
    }
    assert!(acknowledged.lock().unwrap().len() >= 1_000);
}

/// Adds one service after the other until the server is gone.
fn add_services_until_killed(home: &Home, next: &AtomicU32, acknowledged: &Mutex<BTreeSet<String>>) {
    let socket = home.realm_folder().join("admin.sock");
    loop {
        let name = format!("HTTP/h{:05}.example.test", next.fetch_add(1, Ordering::Relaxed));
        let request = Request::AddService { name: name.clone(), changes: Changes::default() };
        let line = request.to_line().unwrap();
        let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&socket) else { return };
        if stream.write_all(line.expose()).is_err() {
            return;
        }
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_err() || !answer.ends_with('\n') {
            return;
        }
        assert!(answer.starts_with("{\"account\":"), "{answer}");
        acknowledged.lock().unwrap().insert(name);
    }
}

/// The names of all accounts, read from the folder by this process.
struct RealmNames;

impl RealmNames {
    fn of(home: &Home) -> impl Iterator<Item = String> + use<> {
        let folder = RealmFolder::new(home.realm_folder());
        let mut names: Vec<String> = Vec::new();
        loop {
            let request = Request::List { after: names.last().cloned() };
            let Ok(countersign_realm::admin::Response::Accounts { accounts, more }) =
                folder.administer(&request)
            else {
                panic!("the realm does not open");
            };
            names.extend(accounts.into_iter().map(|account| account.name));
            if !more {
                return names.into_iter();
            }
        }
    }
}

#[test]
fn failures_outlive_a_server_that_ends() {
    let home = Home::new();
    home.add_user("alice", &[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    for _ in 0..2 {
        client.kinit("Wrong.Password.1", &["alice"]).expect_code(1);
    }
    let failures = home.account("alice").unwrap()["failures"].clone();
    assert_eq!(failures, 2);
    server.end().expect_success();
    assert_eq!(home.account("alice").unwrap()["failures"], failures);
    let server = home.serve();
    assert_eq!(home.account("alice").unwrap()["failures"], failures);
    home.realm("modify", &["alice", "--unlock"]).expect_success();
    assert_eq!(home.account("alice").unwrap()["failures"], 0);
    server.end().expect_success();
}

#[test]
fn datagrams_that_are_no_request_get_no_answer() {
    let home = Home::new();
    let server = home.serve();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for datagram in [&b""[..], b"hello", &[0x6A; 2_000], &[0; 65_000]] {
        socket.send(datagram).unwrap();
    }
    assert!(socket.recv(&mut [0; 100]).is_err());
    assert_eq!(server.records().iter().filter(|record| record["outcome"] == "ignored").count(), 4);
    server.end().expect_success();
}

#[test]
fn a_request_on_a_connection_that_is_too_long_is_told_so_and_the_connection_ends() {
    let home = Home::new();
    let server = home.serve();
    for length in [65_537_u32, 0x8000_0000, u32::MAX] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        // KRB-ERROR with error-code 61, KRB_ERR_FIELD_TOOLONG.
        assert_eq!(answer[4], 0x7E);
        assert!(answer.windows(5).any(|window| window == [0xA6, 0x03, 0x02, 0x01, 61]), "{answer:02x?}");
    }
    server.end().expect_success();
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let home = Home::new();
    home.add_user("alice", &[]);
    let server = home.serve();
    let silent: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let client = Client::of(server.address, "udp_preference_limit = 1");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    assert!(client.trace().contains("Sending TCP request"), "{}", client.trace());
    assert!(
        server.records().iter().any(|record| record["transport"] == "tcp" && record["outcome"] == "granted")
    );
    drop(silent);
    server.end().expect_success();
}

#[test]
fn a_port_that_is_taken_is_told_with_exit_code_3() {
    let home = Home::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let done = home.realm("serve", &["--listen", &address]).expect_code(3);
    assert!(done.stderr.contains("CS-8009") && done.stderr.contains(&address), "{done:?}");
    assert!(!home.realm_folder().join("admin.sock").exists());
    home.realm("list", &[]).expect_success();
}

#[test]
fn several_addresses_are_listened_on() {
    let home = Home::new();
    home.add_user("alice", &[]);
    let mut command = home.command("serve", &["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    let process = Process::start(&mut command);
    let second = process.wait_for_line("listening on [::1]:", DEADLINE);
    let address = format!("[::1]:{second}").parse().unwrap();
    Client::of(address, "").kinit(PASSWORD, &["alice"]).expect_success();
    let server = Server::of(process, address);
    server.end().expect_success();
}
