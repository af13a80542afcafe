//! Keys about the whole process, and what operators see of it.

use super::{Row, and, lets_in};
use crate::serve_support::{LISTENER, OBSERVED, Scene, limit_files, session};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

pub(crate) const OBSERVATION: &[Row] = &[
    ("audit", "file", audit_file),
    ("audit", "on_failure", on_failure),
    ("log", "format", log_format),
    ("log", "level", log_level),
    ("metrics", "listen", metrics_listen),
];

pub(crate) const TOP: &[Row] = &[("", "state", state), ("", "drain_deadline", drain_deadline)];

fn state() {
    let (scene, serve) = (Scene::new(), |scene: &Scene, top: &str| scene.serve(&format!("{top}{LISTENER}")));
    drop(serve(&scene, ""));
    assert!(!scene.path("state").exists());
    drop(serve(&scene, "state = \"~/state\"\n"));
    assert!(scene.path("state/replay").is_dir());
}

fn drain_deadline() {
    let scene = Scene::new();
    let serve = scene.serve(&format!("drain_deadline = \"300ms\"\n{LISTENER}"));
    let mut open =
        session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
    serve.signal(Signal::TERM);
    serve.wait_for_stderr("1 connections may go on for 0.3 s");
    assert!(open.receive().is_err(), "it was closed");
    serve.process.finish(Duration::from_secs(20)).expect_success();
}

fn audit_file() {
    let scene = Scene::new();
    let serve = scene.serve(&format!("{LISTENER}[audit]\nfile = \"~/elsewhere.jsonl\"\n"));
    assert!(lets_in(&scene, &serve));
    let text = fs::read_to_string(scene.path("elsewhere.jsonl")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(text.trim()).unwrap()["outcome"], "accepted");
    let mode = fs::metadata(scene.path("elsewhere.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn on_failure() {
    for (on_failure, taken) in [("refuse", false), ("continue", true)] {
        let scene = Scene::new();
        let lines =
            format!("{LISTENER}{OBSERVED}on_failure = \"{on_failure}\"\n[replay]\nstore = \"memory\"\n");
        let serve = scene.serve(&lines);
        limit_files(&serve.process, Some(0));
        assert_eq!(lets_in(&scene, &serve), taken, "{on_failure}");
    }
}

fn log_format() {
    for (format, is_json) in [("json", true), ("text", false)] {
        let (scene, serve) = and(&format!("[log]\nformat = \"{format}\""));
        assert!(lets_in(&scene, &serve));
        serve.wait_for_stderr(" accepted: ");
        let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object());
        assert!(serve.end().stderr.lines().all(|line| is_object(line) == is_json));
    }
}

fn log_level() {
    for (level, told) in [("info", true), ("error", false)] {
        let scene = Scene::new();
        let serve = scene.serve(&format!("{LISTENER}[log]\nlevel = \"{level}\"\n"));
        assert!(lets_in(&scene, &serve));
        assert_eq!(serve.end().stderr.contains(" accepted: "), told, "{level}");
    }
}

fn metrics_listen() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scene = Scene::new();
    let _serve = scene.serve(&format!("{LISTENER}[metrics]\nlisten = \"{free}\"\n"));
    assert_eq!(crate::serve_support::get(free, "/healthz"), (200, "ok\n".to_owned()));
    let without = scene.serve(LISTENER);
    assert!(!without.process.stderr().contains("metrics at"));
}
