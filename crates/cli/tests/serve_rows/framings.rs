//! Keys about what a listener is called, where it listens and how it speaks.

use super::{Row, lets_in, with};
use crate::serve_support::recorder::Recorder;
use crate::serve_support::{LISTENER, OBSERVED, Running, Scene, exchange, session};
use crate::support::wire::Wire;
use countersign_testkit::Library;
use serde_json::json;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

pub(crate) const FRAMINGS: &[Row] = &[
    ("listener", "name", name),
    ("listener", "listen", listen),
    ("listener", "framing", framing),
    ("listener", "nns_protection", nns_protection),
    ("listener", "nns_error_order", nns_error_order),
    ("listener", "sample_data", sample_data),
    ("listener", "allow_unsealed", allow_unsealed),
    ("listener", "max_message", max_message),
];

fn name() {
    let (scene, serve) = with("name = \"db-1\"");
    assert!(lets_in(&scene, &serve));
    assert_eq!(serve.metric("countersign_handshakes_total", &["listener=\"db-1\"", "accepted"]), 1.0);
    assert_eq!(serve.record(1)["listener"], "db-1");
}

fn listen() {
    let scene = Scene::new();
    let lines = "[[listener]]\nlisten = [\"127.0.0.1:0\", \"127.0.0.7:0\"]\nkeytab = \"~/keytab\"\n";
    let serve = Running::start(&mut scene.command(lines), 2, scene.path("audit"));
    let addresses: Vec<IpAddr> = serve.addresses.iter().map(SocketAddr::ip).collect();
    assert_eq!(addresses, ["127.0.0.1".parse::<IpAddr>().unwrap(), "127.0.0.7".parse().unwrap()]);
    for address in &serve.addresses {
        exchange(&scene.client(scene.ticket(2)), *address).unwrap();
    }
}

fn framing() {
    for (framing, other) in [("nns", "dword"), ("dword", "nns"), ("sample", "nns")] {
        let (scene, serve) = with(&format!("framing = \"{framing}\""));
        let done = scene.connect(serve.address(), &["--framing", framing]).expect_success();
        assert_eq!((done.text().as_str(), &serve.record(1)["framing"]), ("hello\n", &framing.into()));
        assert_ne!(scene.connect(serve.address(), &["--framing", other]).code(), 0);
    }
}

fn nns_protection() {
    let sign = ["--framing", "nns", "--nns-protection", "sign", "--allow-unsealed"];
    for (level, exit) in [("sign", 0), ("encrypt-and-sign", 1)] {
        let lines = format!("framing = \"nns\"\nnns_protection = \"{level}\"\nallow_unsealed = true");
        let (scene, serve) = with(&lines);
        scene.connect(serve.address(), &sign).expect_code(exit);
        scene.connect(serve.address(), &["--framing", "nns"]).expect_success();
    }
}

fn nns_error_order() {
    let payload = |order: &str| {
        let (_scene, serve) = with(&format!("framing = \"nns\"\nnns_error_order = \"{order}\""));
        let mut wire = Wire::connect(serve.address());
        wire.send_bytes(&[0x16, 1, 0, 0, 4, 0, 0, 0, 0]);
        let mut record = [0; 13];
        wire.into_inner().read_exact(&mut record).unwrap();
        assert_eq!(record[0], 0x15, "an error: {record:02x?}");
        record[5..].to_vec()
    };
    // The number is one of 64 bits, of which those that matter are the lowest.
    let (big, mut little) = (payload("big-endian"), payload("little-endian"));
    little.reverse();
    assert_eq!((&big[4..], big[4]), (&little[4..], 0x80), "{big:02x?} {little:02x?}");
}

fn sample_data() {
    let heard = |data: &str, flags: &[&str]| {
        let (scene, serve) =
            with(&format!("framing = \"sample\"\nsample_data = \"{data}\"\nallow_unsealed = true"));
        let recorder = Recorder::before(serve.address());
        let flags = [&["--framing", "sample"][..], flags].concat();
        assert_eq!(scene.connect(recorder.address, &flags).expect_success().text(), "hello\n");
        recorder.conversations()[0].windows(5).any(|window| window == b"hello")
    };
    assert!(heard("signed", &["--sample-data", "signed", "--allow-unsealed"]));
    assert!(!heard("sealed", &[]));
}

fn allow_unsealed() {
    let (realm, scene) = (crate::support::Scene::shared(|_| ()), Scene::new());
    let listener = LISTENER.replace("~/keytab", realm.keytab.to_str().unwrap());
    for (allowed, waivers) in [(true, json!(["allow_unsealed"])), (false, json!([]))] {
        let serve = scene.serve(&format!("{listener}allow_unsealed = {allowed}\n{OBSERVED}"));
        let done = realm.initiate(Library::Mit, serve.address(), &["--unsealed", "--sizes", "100"]);
        // The reply to a message that is taken is sealed nevertheless, which this peer calls a difference.
        assert_eq!(done.stderr.contains("the reply has sealed 1"), allowed, "{done:?}");
        assert_eq!(serve.wait_for("a record", || serve.records().into_iter().next())["waivers"], waivers);
        if !allowed {
            serve.refused_with("CS-5005");
        }
        fs::remove_file(scene.path("audit")).unwrap();
    }
}

fn max_message() {
    for (longest, taken) in [("1 KiB", false), ("4 KiB", true)] {
        let (scene, serve) = with(&format!("max_message = \"{longest}\""));
        let client = scene.client(scene.ticket(2));
        let mut session = session(&client, serve.address()).unwrap_or_else(|_| panic!("a session"));
        session.send(&[7; 3_000]).unwrap();
        assert_eq!(session.receive().is_ok_and(|message| message == Some(&[7; 3_000])), taken, "{longest}");
    }
}
