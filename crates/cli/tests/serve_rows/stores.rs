//! Keys about where authenticators are remembered.

use super::{Row, and, lets_in};
use crate::serve_support::{LISTENER, Scene, exchange};
use crate::support::{DEADLINE, countersign};
use countersign_testkit::{Valkey, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

pub(crate) const REPLAY: &[Row] = &[
    ("replay", "store", store),
    ("replay", "durability", durability),
    ("replay", "capacity", capacity),
    ("replay", "url", url),
    ("replay", "username", username),
    ("replay", "password_file", password_file),
    ("replay", "prefix", prefix),
    ("replay", "on_absence", on_absence),
    ("replay", "timeout", timeout),
];

fn store() {
    for (store, in_files) in [("memory", false), ("file", true)] {
        let scene = Scene::new();
        let serve = scene.serve(&format!("state = \"~/state\"\n{LISTENER}[replay]\nstore = \"{store}\"\n"));
        assert!(lets_in(&scene, &serve));
        assert_eq!(scene.path("state/replay").exists(), in_files, "{store}");
        assert_eq!(serve.process.stderr().contains("until restart only"), !in_files);
    }
}

/// That it is on the disk is seen by nobody who does not cut the power: what is seen is that it is understood, and that clients
/// are served.
fn durability() {
    let scene = Scene::new();
    let lines = format!("state = \"~/state\"\n{LISTENER}[replay]\ndurability = \"power\"\n");
    let serve = scene.serve(&lines);
    assert!(lets_in(&scene, &serve));
    let mut check = countersign(&["check-config", &scene.named("serve.toml")]);
    assert!(run(&mut check, DEADLINE).expect_success().text().contains("durability power"));
}

fn capacity() {
    let (scene, serve) = and("[replay]\nstore = \"memory\"\ncapacity = 1000");
    let client = scene.client(scene.ticket(2));
    assert!((0..1_100).any(|_| exchange(&client, serve.address()).is_err()), "full");
}

/// Lines for a replay store at `url`.
fn shared(url: &str, more: &str) -> String {
    format!("[replay]\nstore = \"valkey\"\nurl = \"{url}\"\n{more}")
}

fn url() {
    let server = Valkey::start();
    for (url, database) in
        [(format!("{}/3", server.url()), "3"), (format!("unix://{}?db=4", server.socket().display()), "4")]
    {
        let (scene, serve) = and(&shared(&url, ""));
        assert!(lets_in(&scene, &serve));
        assert_eq!(server.command(&["-n", database, "DBSIZE"]), "1", "{url}");
    }
}

fn username() {
    let server = Valkey::start();
    server.command(&[
        "ACL",
        "SETUSER",
        "service",
        "on",
        ">a secret",
        "+info",
        "+get",
        "+set",
        "~countersign:*",
    ]);
    let scene = Scene::new();
    fs::set_permissions(scene.write("password", b"a secret\n"), PermissionsExt::from_mode(0o600)).unwrap();
    let lines = |user: &str| {
        format!(
            "{LISTENER}{}",
            shared(&server.url(), &format!("password_file = \"~/password\"\nusername = \"{user}\"\n"))
        )
    };
    let serve = scene.serve(&lines("service"));
    assert!(lets_in(&scene, &serve));
    scene.refused(&lines("nobody"), 2, "CS-7208");
}

fn password_file() {
    let server = Valkey::start_with(&["--requirepass", "hunter2"]);
    let scene = Scene::new();
    for (password, is_right) in [("hunter2", true), ("hunter3", false)] {
        let file = scene.write("password", format!("{password}\nnot this\n").as_bytes());
        fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        let lines = format!("{LISTENER}{}", shared(&server.url(), "password_file = \"~/password\"\n"));
        if is_right {
            let serve = scene.serve(&lines);
            assert!(lets_in(&scene, &serve));
        } else {
            let done = scene.refused(&lines, 2, "CS-7208");
            assert!(!done.stderr.contains("hunter3"), "{done:?}");
        }
    }
}

fn prefix() {
    let server = Valkey::start();
    for (prefix, key) in [("", "countersign:replay:"), ("prefix = \"of-mine:\"\n", "of-mine:")] {
        server.command(&["FLUSHALL"]);
        let (scene, serve) = and(&shared(&server.url(), prefix));
        assert!(lets_in(&scene, &serve));
        assert!(server.command(&["KEYS", "*"]).starts_with(key));
    }
}

fn on_absence() {
    for (in_absence, taken) in [("refuse", false), ("memory", true)] {
        let server = Valkey::start();
        let lines = format!("on_absence = \"{in_absence}\"\ntimeout = \"500ms\"\n");
        let (scene, serve) = and(&shared(&server.url(), &lines));
        drop(server);
        serve.wait_for_stderr("CS-7209");
        assert_eq!(lets_in(&scene, &serve), taken, "{in_absence}");
        assert_eq!(serve.get("/readyz").0, if taken { 200 } else { 503 });
    }
}

fn timeout() {
    let found_out = |timeout: &str| {
        let server = Valkey::start();
        let (_scene, serve) = and(&shared(&server.url(), &format!("timeout = \"{timeout}\"\n")));
        server.pause();
        let began = Instant::now();
        serve.wait_for_ready(503);
        server.resume();
        began.elapsed()
    };
    assert!(found_out("200ms") < Duration::from_secs(4));
    assert!(found_out("4s") >= Duration::from_secs(4));
}
