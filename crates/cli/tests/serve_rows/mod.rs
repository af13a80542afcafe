//! The rows of serve_configured: keys of the configuration, and what shows that a service heeds each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

pub(crate) mod framings;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod ntlm;
pub(crate) mod policy;
pub(crate) mod process;
pub(crate) mod stores;
pub(crate) mod targets;

use crate::realm_support::{Home, PASSWORD};
use crate::serve_support::{LISTENER, OBSERVED, Running, Scene, exchange};
use crate::support::{DEADLINE, countersign};
use countersign::proto::time::Timestamp;
use countersign_testkit::{Finished, run};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::SystemTime;

/// A key by its table, and what shows that a service heeds it.
pub(crate) type Row = (&'static str, &'static str, fn());

/// A scene and its service, whose one listener has these lines.
pub(crate) fn with(lines: &str) -> (Scene, Running) {
    let scene = Scene::new();
    let serve = scene.serve(&format!("{LISTENER}{lines}\n{OBSERVED}"));
    (scene, serve)
}

/// The same with lines of further tables.
pub(crate) fn and(lines: &str) -> (Scene, Running) {
    with(&format!("\n{lines}"))
}

/// Whether the client of a scene is let in and served.
pub(crate) fn lets_in(scene: &Scene, serve: &Running) -> bool {
    exchange(&scene.client(scene.ticket(2)), serve.address()).is_ok()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(crate) const OWN: &str = "own/a.example.test";

/// A realm with alice and a service.
pub(crate) fn home() -> Home {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.add_service(OWN);
    home
}

/// A client that reaches no KDC, with a name and a password.
pub(crate) fn by_password(home: &Home, address: SocketAddr, spn: &str, flags: &[&str]) -> Finished {
    let conf = home.path().join("krb5.conf");
    fs::write(&conf, "[libdefaults]\ndns_lookup_kdc = false\n").unwrap();
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", "hello"]);
    command.args(["--password-file", &home.password_file(PASSWORD)]).args(flags);
    run(command.env("KRB5_CONFIG", conf), DEADLINE)
}

pub(crate) const ALICE: &[&str] = &["--user", "alice@OWN.TEST"];

/// A file of accounts with `DOM\alice`.
pub(crate) fn accounts(scene: &Scene, name: &str) -> PathBuf {
    let password = scene.write("password", format!("{PASSWORD}\n").as_bytes());
    let mut add = countersign(&["ntlm", "add", "--user", r"DOM\alice", "--file"]);
    add.arg(scene.path(name)).arg("--password-file").arg(password);
    run(&mut add, DEADLINE).expect_success();
    scene.path(name)
}

/// A program in the place of Samba's, which knows nobody and writes down what it is asked.
pub(crate) fn winbind_helper(scene: &Scene) {
    let script = "#!/bin/sh\nwhile read -r line; do\necho \"$line\" >> \"$0.asked\"\n\
                  [ \"$line\" = . ] && printf 'Authenticated: No\\n.\\n.\\n'\ndone\nexit 0\n";
    let helper = scene.write("ntlm_auth", script.as_bytes());
    fs::set_permissions(helper, PermissionsExt::from_mode(0o700)).unwrap();
}

/// What was heard of a connection, and the error that ended it, if one did.
type Heard = (Vec<u8>, Option<ErrorKind>);

/// A service behind that tells what it hears of each connection, and how that ended; it answers each piece with `ok`.
pub(crate) fn listening_upstream() -> (SocketAddr, Receiver<Heard>) {
    let (told, hears) = channel();
    let address = crate::support::wire::service(move |mut stream| {
        let (mut heard, mut piece) = (Vec::new(), [0; 512]);
        let end = loop {
            match stream.read(&mut piece) {
                Ok(0) => break None,
                Ok(count) => heard.extend_from_slice(&piece[..count]),
                Err(error) => break Some(error.kind()),
            }
            let _ = stream.write_all(b"ok");
        };
        let _ = told.send((heard, end));
    });
    (address, hears)
}
