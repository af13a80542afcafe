//! docs/audit.md lists every field of the audit record, and no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign::audit::{Etypes, Outcome, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A record with every field. Written out, so that a new one does not compile until it stands here.
fn whole() -> Record {
    Record {
        time: "2026-11-23T01:46:00.000000Z".into(),
        peer: "192.0.2.1:4711".parse().unwrap(),
        listener: Some("echo".into()),
        framing: Some("dword"),
        outcome: Outcome::Accepted,
        code: Some("CS-2003".into()),
        reason: Some("reason".into()),
        client: Some("alice@EXAMPLE.TEST".into()),
        service: Some("echo/a.example.test@EXAMPLE.TEST".into()),
        claimed_service: Some("echo/a@EXAMPLE.TEST".into()),
        mech: Some("kerberos"),
        etypes: Some(Etypes { ticket: "a".into(), session: "b".into(), message: "c".into() }),
        kvno: Some(2),
        flags: Some("mutual".into()),
        bindings: Some("matched".into()),
        mutual: true,
        waivers: vec!["allow_ntlm".into()],
        duration_us: 1_234,
    }
}

fn fields(prefix: &str, value: &Value, found: &mut BTreeMap<String, &'static str>) {
    for (name, value) in value.as_object().unwrap() {
        let name = format!("{prefix}{name}");
        if value.is_object() {
            fields(&format!("{name}."), value, found);
        }
        found.insert(name, kind(value));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array of strings",
        Value::Object(_) => "object",
        Value::Null => "null",
    }
}

#[test]
fn the_documentation_lists_the_fields_of_the_record_and_their_types() {
    let mut written = BTreeMap::new();
    fields("", &serde_json::to_value(whole()).unwrap(), &mut written);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit.md");
    let text = std::fs::read_to_string(file).unwrap();
    let documented: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.split(" | ").next().unwrap()))
        .collect();
    assert_eq!(documented, written);
}

#[test]
fn a_record_says_where_its_client_came_to() {
    let told = Record { listener: None, framing: None, ..whole() }.at("tunnel", "nns");
    assert_eq!((told.listener.as_deref(), told.framing), (Some("tunnel"), Some("nns")));
}
