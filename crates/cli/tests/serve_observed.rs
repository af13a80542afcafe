//! What operators see of `serve`: every field of the audit record is written, the audit file can be rotated, logs have the
//! form that is asked for, and the program ends with the exit code that says how.
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

use countersign::proto::gss::{BindingsHash, GssFlags};
use countersign::proto::krb5::msg::ap_req::ApOptions;
use countersign_testkit::mint;
use countersign_testkit::pair::Direction;
use rustix::process::Signal;
use serde_json::{Value, json};
use serve_household::{Household, break_a_session, document, rows};
use serve_support::{LISTENER, OBSERVED, Scene, exchange, session};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};
use support::DEADLINE;
use support::wire::{Wire, relay};

/// Passes connections on, and changes what is as long as the message of these tests.
fn damaged(address: SocketAddr) -> SocketAddr {
    relay(address, |direction, frame| {
        if direction == Direction::ToAcceptor && frame.len() > LONG {
            *frame.last_mut().unwrap() ^= 1;
        }
    })
}

/// Longer than any token of these tests.
const LONG: usize = 20_000;

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Every field of `record`, those of objects by their path, with the word that docs/audit.md has for its type.
fn fields(prefix: &str, record: &Value, found: &mut BTreeMap<String, String>) {
    for (name, value) in record.as_object().unwrap() {
        let name = format!("{prefix}{name}");
        let kind = match value {
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "boolean",
            Value::Array(_) => "array of strings",
            Value::Object(_) => "object",
            Value::Null => "null",
        };
        if value.is_object() {
            fields(&format!("{name}."), value, found);
        }
        found.insert(name, kind.to_owned());
    }
}

/// Asserts that `record` has these values, and no field besides `more` and those that every record has.
#[track_caller]
fn assert_record(record: &Value, values: Value, more: &[&str]) {
    const ALWAYS: [&str; 3] = ["time", "peer", "duration_us"];
    for (name, value) in values.as_object().unwrap() {
        assert_eq!(&record[name], value, "{name} of {record}");
    }
    let expected: BTreeSet<&str> = values
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .chain(ALWAYS)
        .chain(more.iter().copied())
        .collect();
    let written: BTreeSet<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(written, expected, "{record}");
    let time = record["time"].as_str().unwrap();
    assert!(time.len() == "2026-11-23T01:46:00.000000Z".len() && time.ends_with('Z'), "{time}");
    assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    let took = record["duration_us"].as_u64().unwrap();
    assert!(took > 0 && took < DEADLINE.as_micros() as u64, "{record}");
}

#[test]
fn every_field_of_the_audit_record_is_written_by_every_mech_and_outcome() {
    let (scene, household) = (Scene::new(), Household::new());
    let keytab = format!("{LISTENER}name = \"plain\"\nallow_no_mutual = true\n");
    let serve = scene.serve(&format!("{keytab}{}{OBSERVED}", household.listener()));
    let [plain, own] = serve.addresses[..] else { panic!("two listeners") };
    let aes = "aes256-cts-hmac-sha1-96";
    let etypes = json!({"ticket": aes, "session": aes, "message": aes});
    let no_waivers = json!([]);

    scene.connect(plain, &[]).expect_success();
    let kerberos = json!({
        "listener": "plain", "framing": "dword", "outcome": "accepted", "client": "alice@EXAMPLE.TEST",
        "service": "HTTP/a.example.test@EXAMPLE.TEST", "claimed_service": "HTTP/a.example.test@EXAMPLE.TEST",
        "mech": "kerberos", "etypes": etypes, "kvno": 2, "mutual": true, "waivers": no_waivers,
    });
    let record = serve.record(1);
    assert_record(&record, kerberos.clone(), &["flags", "bindings"]);
    assert!(record["flags"].as_str().unwrap().contains("mutual"), "{record}");
    assert!(!record["bindings"].as_str().unwrap().is_empty(), "{record}");

    // Refused before anything is proved, after the ticket was opened, and after the handshake.
    Wire::connect(plain).send(b"\x00\x01 no token");
    let garbage = json!({
        "listener": "plain", "framing": "dword", "outcome": "refused", "code": "CS-1001", "mutual": false,
        "waivers": no_waivers,
    });
    assert_record(&serve.record(2), garbage, &["reason"]);
    exchange(&scene.client(scene.ticket(7)), plain).unwrap_err();
    let unknown_key = json!({
        "listener": "plain", "framing": "dword", "outcome": "refused", "code": "CS-2003", "mutual": false,
        "waivers": no_waivers, "claimed_service": "HTTP/a.example.test@EXAMPLE.TEST",
    });
    assert_record(&serve.record(3), unknown_key, &["reason"]);
    let said = scene.mint.ap_req().token();
    for _ in 0..2 {
        let mut wire = Wire::connect(plain);
        wire.send(&said);
        wire.receive();
    }
    let mut replayed = kerberos.clone();
    for (name, value) in [("outcome", json!("refused")), ("code", json!("CS-3005")), ("mutual", json!(false))]
    {
        replayed[name] = value;
    }
    assert_record(&serve.record(5), replayed, &["reason", "flags", "bindings"]);
    break_a_session(&scene, plain, 2);
    let mut broken = kerberos.clone();
    broken["outcome"] = json!("broken");
    broken["code"] = json!("CS-5001");
    assert_record(&serve.record(7), broken, &["reason", "flags", "bindings"]);
    let mut request = scene.mint.ap_req();
    let flags = GssFlags(mint::FLAGS.0 & !GssFlags::MUTUAL.0);
    request.authenticator.checksum = Some(mint::gss_checksum(BindingsHash::NONE, flags));
    (request.ap_options, request.seed) = (ApOptions(0), 3);
    Wire::connect(plain).send(&request.token());
    let mut waived = kerberos;
    (waived["mutual"], waived["waivers"]) = (json!(false), json!(["allow_no_mutual"]));
    assert_record(&serve.record(8), waived, &["flags", "bindings"]);

    // Through the service to its own realm.
    household.iakerb(own, "hello").expect_success();
    let iakerb = json!({
        "listener": "own", "framing": "dword", "outcome": "accepted", "client": "alice@OWN.TEST",
        "service": "own/a.example.test@OWN.TEST", "claimed_service": "own/a.example.test@OWN.TEST",
        "mech": "iakerb", "etypes": etypes, "kvno": 1, "mutual": true, "waivers": no_waivers,
    });
    assert_record(&serve.record(9), iakerb.clone(), &["flags", "bindings"]);
    let (damaged, long) = (damaged(own), "x".repeat(LONG));
    household.iakerb(damaged, &long).expect_code(1);
    let mut broken = iakerb;
    (broken["outcome"], broken["code"]) = (json!("broken"), json!("CS-5002"));
    assert_record(&serve.record(11), broken, &["reason", "flags", "bindings"]);

    // By NTLM, which has no keys of ours.
    household.ntlm(own, &household.password, "hello").expect_success();
    let ntlm = json!({
        "listener": "own", "framing": "dword", "outcome": "accepted", "client": r"DOM\alice",
        "claimed_service": "own/a.example.test", "mech": "ntlm", "mutual": false, "waivers": ["allow_ntlm"],
    });
    assert_record(&serve.record(12), ntlm.clone(), &["bindings"]);
    household.ntlm(own, &household.wrong, "hello").expect_code(1);
    let wrong = json!({
        "listener": "own", "framing": "dword", "outcome": "refused", "code": "CS-3106", "mutual": false,
        "waivers": no_waivers,
    });
    assert_record(&serve.record(13), wrong, &["reason"]);
    household.ntlm(damaged, &household.password, &long).expect_code(1);
    let mut broken = ntlm;
    (broken["outcome"], broken["code"]) = (json!("broken"), json!("CS-5002"));
    assert_record(&serve.record(15), broken, &["reason", "bindings"]);

    let mut written = BTreeMap::new();
    serve.records().iter().for_each(|record| fields("", record, &mut written));
    let kinds = ["string", "number", "boolean", "object", "array of strings"];
    assert_eq!(written, rows(&document("audit.md"), |kind| kinds.contains(&kind)));
}

#[test]
fn records_go_into_a_new_file_after_a_rename_within_a_second_and_after_a_signal_at_once() {
    let scene = Scene::new();
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}"));
    let client = scene.client(scene.ticket(2));
    let lines = |name: &str| {
        let text = fs::read_to_string(scene.path(name)).unwrap_or_default();
        text.lines().inspect(|line| drop(serde_json::from_str::<Value>(line).unwrap())).count()
    };
    exchange(&client, serve.address()).unwrap();
    fs::rename(scene.path("audit"), scene.path("audit.1")).unwrap();
    thread::sleep(Duration::from_millis(1_100));
    exchange(&client, serve.address()).unwrap();
    assert_eq!((lines("audit.1"), lines("audit")), (1, 1));
    fs::rename(scene.path("audit"), scene.path("audit.2")).unwrap();
    serve.signal(Signal::HUP);
    serve.wait_for_stderr("read keys and opened the audit file anew");
    exchange(&client, serve.address()).unwrap();
    assert_eq!((lines("audit.2"), lines("audit")), (1, 1));
    // Where no new one can be made they go on into the old one, which is told.
    fs::rename(scene.path("audit"), scene.path("audit.3")).unwrap();
    fs::create_dir(scene.path("audit")).unwrap();
    serve.signal(Signal::HUP);
    serve.wait_for_stderr("CS-8010");
    exchange(&client, serve.address()).unwrap();
    assert_eq!(lines("audit.3"), 2);
}

#[test]
fn the_log_is_text_or_json_and_has_what_its_level_says() {
    let scene = Scene::new();
    for format in ["text", "json"] {
        let serve = scene.serve(&format!("{LISTENER}{OBSERVED}[log]\nformat = \"{format}\"\n"));
        exchange(&scene.client(scene.ticket(2)), serve.address()).unwrap();
        exchange(&scene.client(scene.ticket(9)), serve.address()).unwrap_err();
        serve.wait_for_stderr("CS-2003");
        let done = serve.end().expect_success();
        if format == "text" {
            let accepted = " accepted: alice@EXAMPLE.TEST for HTTP/a.example.test@EXAMPLE.TEST by kerberos";
            assert!(
                done.stderr.contains(accepted) && done.stderr.contains(" refused: CS-2003 saw "),
                "{done:?}"
            );
            continue;
        }
        let lines: Vec<Value> = done.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found = |text: &str| {
            lines.iter().find(|line| line["message"].as_str().unwrap().contains(text)).expect("a line")
        };
        let accepted = found(" accepted: ");
        assert_eq!((&accepted["level"], &accepted["client"]), (&json!("info"), &json!("alice@EXAMPLE.TEST")));
        let refused = found(" refused: ");
        assert_eq!((&refused["listener"], &refused["code"]), (&json!("default"), &json!("CS-2003")));
        assert!(refused["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{refused}");
        assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')), "{lines:?}");
    }
    let quiet = scene.serve(&format!("{LISTENER}[audit]\nfile = \"~/audit\"\n[log]\nlevel = \"error\"\n"));
    exchange(&scene.client(scene.ticket(2)), quiet.address()).unwrap();
    assert_eq!(quiet.end().expect_success().stderr, "");
}

#[test]
fn the_exit_code_says_how_it_ended() {
    let scene = Scene::new();
    for signal in [Signal::TERM, Signal::INT] {
        let serve = scene.serve(LISTENER);
        serve.signal(signal);
        serve.process.finish(DEADLINE).expect_code(0);
    }
    // A session that does not end is closed at the deadline, which is an end in order.
    let serve = scene.serve(&format!("drain_deadline = \"500ms\"\n{LISTENER}"));
    let open =
        session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
    let began = Instant::now();
    serve.end().expect_code(0);
    assert!(began.elapsed() >= Duration::from_millis(500) && began.elapsed() < Duration::from_secs(20));
    drop(open);
    // A second signal hurries it.
    let serve = scene.serve(&format!("drain_deadline = \"1h\"\n{LISTENER}"));
    let open =
        session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
    serve.signal(Signal::TERM);
    serve.wait_for_stderr("told to end: 1 connections may go on for 3600 s");
    serve.end().expect_code(0);
    drop(open);
    // The client is refused.
    let serve = scene.serve(&format!("{LISTENER}allow = [\"nobody@EXAMPLE.TEST\"]\n"));
    scene.connect(serve.address(), &[]).expect_code(1);
    scene.refused("[[listener]]\nkeytab = \"~/none\"\n", 2, "CS-7001");
    scene.refused("[[listener]]\nlisten = 7\n", 2, "CS-7223");
    // The address is taken, the store is absent.
    let taken = format!("[[listener]]\nlisten = \"{}\"\nkeytab = \"~/keytab\"\n", serve.address());
    scene.refused(&taken, 3, &serve.address().to_string());
    let absent = format!("{LISTENER}[replay]\nstore = \"valkey\"\nurl = \"redis://{}\"\n", nobody());
    scene.refused(&absent, 3, "CS-7209");
}
