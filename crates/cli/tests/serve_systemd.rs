//! `serve` under a service manager that is this test: what it is told, the sockets that it passes on, and many listeners of
//! one file side by side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod realm_support;
mod serve_support;
mod support;

use countersign_testkit::{Finished, run};
use realm_support::{Home, PASSWORD};
use rustix::io::FdFlags;
use rustix::process::Signal;
use serde_json::Value;
use serve_support::{LISTENER, OBSERVED, Running, Scene, exchange, session};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use support::{DEADLINE, countersign};

/// The manager's socket.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(scene: &Scene) -> Self {
        let path = scene.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path }
    }

    /// What it is told next.
    fn told(&self) -> String {
        let mut message = [0; 1_024];
        let length = self.socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next of what is no ping of the watchdog.
    fn told_but_pings(&self) -> String {
        loop {
            let told = self.told();
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }
}

#[test]
fn the_manager_is_told_that_it_listens_reloads_and_stops() {
    let scene = Scene::new();
    let manager = Manager::new(&scene);
    let lines = format!("drain_deadline = \"20s\"\n{LISTENER}{OBSERVED}");
    let serve = scene.run(scene.command(&lines).env("NOTIFY_SOCKET", &manager.path), &lines);
    assert_eq!(manager.told(), "READY=1\nSTATUS=1 listeners\n");
    // From then on clients are accepted, and it is ready.
    exchange(&scene.client(scene.ticket(2)), serve.address()).unwrap();
    assert_eq!(serve.get("/readyz"), (200, "ready\n".to_owned()));

    serve.signal(Signal::HUP);
    let reloading = manager.told();
    let since_boot = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    assert!(since_boot.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.told(), "READY=1\nSTATUS=1 listeners\n");
    assert_eq!(serve.metric("countersign_keytab_loads_total", &["loaded"]), 2.0);

    let open = session(&scene.client(scene.ticket(2)), serve.address()).unwrap();
    serve.signal(Signal::TERM);
    assert_eq!(manager.told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\n");
    serve.wait_for_stderr("told to end: 1 connections may go on for 20 s");
    drop(open);
    serve.process.finish(DEADLINE).expect_success();
}

#[test]
fn the_manager_hears_nothing_before_all_listeners_listen() {
    let scene = Scene::new();
    let manager = Manager::new(&scene);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let second =
        format!("name = \"b\"\nlisten = \"{}\"\nkeytab = \"~/keytab\"\n", taken.local_addr().unwrap());
    let lines = format!("{LISTENER}name = \"a\"\n[[listener]]\n{second}");
    let done = run(scene.command(&lines).env("NOTIFY_SOCKET", &manager.path), DEADLINE).expect_code(3);
    assert!(done.text().is_empty(), "{done:?}");
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err(), "it was told something");
}

#[test]
fn the_watchdog_is_pinged_while_it_serves_reloads_and_drains_and_no_more_when_it_stands_still() {
    let scene = Scene::new();
    let manager = Manager::new(&scene);
    let lines = format!("{LISTENER}{OBSERVED}");
    let mut command = scene.command(&lines);
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "1000000");
    let serve = scene.run(&mut command, &lines);
    assert_eq!(manager.told_but_pings(), "READY=1\nSTATUS=1 listeners\n");
    let pings = |during: Duration| {
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < during {
            assert_eq!(manager.told(), "WATCHDOG=1\n");
            count += 1;
        }
        count
    };
    assert!(pings(Duration::from_secs(2)) >= 2);
    let open = session(&scene.client(scene.ticket(2)), serve.address()).unwrap();
    serve.signal(Signal::TERM);
    assert!(manager.told_but_pings().starts_with("STOPPING=1\n"));
    assert!(pings(Duration::from_secs(2)) >= 2);
    serve.signal(Signal::STOP);
    // But for what was sent before it stood still, nothing more comes.
    manager.socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let left = std::iter::from_fn(|| manager.socket.recv(&mut [0; 64]).ok()).take(10).count();
    assert!(left < 4, "{left} pings");
    serve.signal(Signal::CONT);
    drop(open);
    serve.process.finish(DEADLINE).expect_success();
}

/// `command` as systemd starts it, with these sockets from descriptor 3 on, whose names are `names`.
fn activated(command: &Command, sockets: &[TcpListener], names: &str) -> Command {
    // Programs that other tests start at this moment have them too, which changes nothing for anybody.
    sockets.iter().for_each(|socket| rustix::io::fcntl_setfd(socket, FdFlags::empty()).unwrap());
    // Away from where they are to be first, so that none takes another's place.
    let moved: String =
        (0..).zip(sockets).map(|(n, s)| format!("exec {}<&{}; ", 90 + n, s.as_raw_fd())).collect();
    let placed: String = (0..sockets.len()).map(|n| format!("exec {}<&{}; ", 3 + n, 90 + n)).collect();
    let closed: String = (0..sockets.len()).map(|n| format!("exec {}<&-; ", 90 + n)).collect();
    // Only the process itself knows the id that it must name.
    let script = format!("{moved}{placed}{closed}export LISTEN_PID=$$; exec \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, "bash"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    shell
}

fn sockets<const N: usize>() -> [TcpListener; N] {
    std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap())
}

#[test]
fn sockets_that_the_manager_opened_are_each_their_listeners() {
    let scene = Scene::new();
    let sockets = sockets::<4>();
    let ports = sockets.each_ref().map(|socket| socket.local_addr().unwrap());
    let lines = format!(
        "[[listener]]\nname = \"echo\"\nlisten = \"systemd:echo\"\nkeytab = \"~/keytab\"\n\
         [[listener]]\nname = \"net\"\nlisten = [\"systemd:net\", \"systemd:3\"]\nkeytab = \"~/keytab\"\nframing = \"nns\"\n{OBSERVED}"
    );
    let manager = Manager::new(&scene);
    let mut command = activated(&scene.command(&lines), &sockets, "net:spare:echo:unknown");
    let serve = Running::start(command.env("NOTIFY_SOCKET", &manager.path), 3, scene.path("audit"));
    assert_eq!(manager.told(), "READY=1\nSTATUS=2 listeners\n");
    assert_eq!(serve.addresses, [ports[2], ports[0], ports[3]]);
    serve.wait_for_stderr("the inherited socket spare is not used by any listener");
    scene.connect(ports[2], &[]).expect_success();
    scene.connect(ports[0], &["--framing", "nns"]).expect_success();
    scene.connect(ports[3], &["--framing", "nns"]).expect_success();
    let listeners: Vec<Value> = serve.records().iter().map(|record| record["listener"].clone()).collect();
    assert_eq!(listeners, ["echo", "net", "net"]);
}

#[test]
fn a_socket_that_was_not_passed_on_is_told_with_those_that_were() {
    let scene = Scene::new();
    let lines = "[[listener]]\nlisten = \"systemd:web\"\nkeytab = \"~/keytab\"\n";
    let done = run(&mut activated(&scene.command(lines), &sockets::<1>(), "mail"), DEADLINE).expect_code(2);
    assert!(done.stderr.contains("systemd:web") && done.stderr.contains("mail"), "{done:?}");
}

#[test]
fn a_client_that_came_before_the_service_was_started_is_served() {
    let scene = Scene::new();
    let [socket] = sockets();
    let address = socket.local_addr().unwrap();
    let client = scene.client(scene.ticket(2));
    let early = thread::spawn(move || exchange(&client, address));
    thread::sleep(Duration::from_millis(300));
    let lines = "[[listener]]\nlisten = \"systemd:0\"\nkeytab = \"~/keytab\"\n";
    let _serve =
        Running::start(&mut activated(&scene.command(lines), &[socket], "x"), 1, scene.path("audit"));
    early.join().unwrap().unwrap();
}

/// `connect` with a name and a password alone, through the service.
fn connect_by_password(home: &Home, address: SocketAddr, spn: &str) -> Finished {
    let conf = home.path().join("krb5.conf");
    std::fs::write(&conf, "[libdefaults]\ndns_lookup_kdc = false\n").unwrap();
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", "hello"]);
    command.args(["--user", "alice@OWN.TEST", "--password-file", &home.password_file(PASSWORD)]);
    run(command.env("KRB5_CONFIG", conf), DEADLINE)
}

/// A service behind: says back in capitals what it hears.
fn capitals() -> SocketAddr {
    support::wire::service(|mut stream| {
        let mut heard = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut heard) {
            let _ = stream.write_all(&heard[..count].to_ascii_uppercase());
        }
    })
}

#[test]
fn listeners_of_every_framing_key_policy_and_target_serve_at_once() {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.add_service("own/a.example.test");
    let (scene, upstream) = (Scene::new(), capitals());
    let lines = format!(
        "[[listener]]\nname = \"plain\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\n\
         [[listener]]\nname = \"nns\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\nframing = \"nns\"\nallow = [\"nobody@EXAMPLE.TEST\"]\n\
         [[listener]]\nname = \"sample\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\nframing = \"sample\"\n\
         sample_data = \"signed\"\nallow_unsealed = true\n\
         [[listener]]\nname = \"tunnel\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\nupstream = \"{upstream}\"\n\
         [[listener]]\nname = \"own\"\nlisten = \"127.0.0.1:0\"\nrealm = \"{realm}\"\n\
         [[listener]]\nname = \"own-nns\"\nlisten = \"127.0.0.1:0\"\nrealm = \"{realm}/../realm\"\nframing = \"nns\"\n\
         upstream = \"{upstream}\"\n{OBSERVED}",
        realm = home.realm_folder().display()
    );
    let serve = scene.serve(&lines);
    let [plain, nns, sample, tunnel, own, own_nns] = serve.addresses[..] else { panic!("six listeners") };
    thread::scope(|scope| {
        let reply = |flags: &[&str], address| scene.connect(address, flags).expect_success().text();
        for _ in 0..3 {
            scope.spawn(move || assert_eq!(reply(&[], plain), "hello\n"));
            scope.spawn(|| scene.connect(nns, &["--framing", "nns"]).expect_code(1));
            scope.spawn(move || {
                let flags = ["--framing", "sample", "--sample-data", "signed", "--allow-unsealed"];
                assert_eq!(reply(&flags, sample), "hello\n");
            });
            scope.spawn(move || assert_eq!(reply(&[], tunnel), "HELLO\n"));
        }
        scope.spawn(|| {
            let done = connect_by_password(&home, own, "own/a.example.test").expect_success();
            assert_eq!(done.text(), "hello\n");
        });
    });
    // The realm of two listeners is one realm: what its administrator changes counts at both.
    home.add_service("later/a.example.test");
    home.realm("passwd", &["--random", "own/a.example.test"]).expect_success();
    for spn in ["own/a.example.test", "later/a.example.test"] {
        connect_by_password(&home, own, spn).expect_success();
    }
    let newest =
        |name: &str| serve.metric("countersign_keytab_newest_kvno", &[&format!("listener=\"{name}\"")]);
    serve.wait_for("new keys in the metrics", || {
        (newest("own") == 2.0 && newest("own-nns") == 2.0).then_some(())
    });
    let nns_client = {
        let mut command = countersign(&["connect", &own_nns.to_string(), "--spn", "later/a.example.test"]);
        command.args(["--framing", "nns", "--message", "hello", "--user", "alice@OWN.TEST"]);
        command.args(["--password-file", &home.password_file(PASSWORD)]);
        run(command.env("KRB5_CONFIG", home.path().join("krb5.conf")), DEADLINE)
    };
    assert_eq!(nns_client.expect_success().text(), "HELLO\n");
    // Whoever wants to serve it too is told where it is served.
    let mut other = countersign(&["serve", "--listen", "127.0.0.1:0", "--realm"]);
    let done = run(other.arg(home.realm_folder()), DEADLINE).expect_code(2);
    let at = format!("serves {own} {own_nns}");
    assert!(done.stderr.contains("CS-7105") && done.stderr.contains(&at), "{done:?} lacks {at}");
    let counted = |name: &str, outcome: &str| {
        serve.metric("countersign_handshakes_total", &[&format!("listener=\"{name}\""), outcome])
    };
    for (name, accepted, refused) in
        [("plain", 3.0, 0.0), ("nns", 0.0, 3.0), ("sample", 3.0, 0.0), ("tunnel", 3.0, 0.0)]
    {
        let of = (counted(name, "outcome=\"accepted\""), counted(name, "outcome=\"refused\""));
        assert_eq!(of, (accepted, refused), "{name}");
    }
    assert_eq!((counted("own", "accepted"), counted("own-nns", "accepted")), (3.0, 1.0));
}

#[test]
fn one_realm_cannot_have_two_master_keys() {
    let home = Home::new();
    home.add_service("own/a.example.test");
    let scene = Scene::new();
    std::fs::copy(home.realm_folder().join("master.key"), scene.path("master.key")).unwrap();
    let listener = |name: &str| {
        let realm = home.realm_folder();
        format!(
            "[[listener]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\nrealm = \"{}\"\n",
            realm.display()
        )
    };
    let lines = format!("{}{}master_key_file = \"~/master.key\"\n", listener("a"), listener("b"));
    let done = scene.refused(&lines, 2, "CS-7224");
    assert!(done.stderr.contains("master.key"), "{done:?}");
}
