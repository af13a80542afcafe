//! Keytabs that are written: the same bytes that MIT's tools write, and changes where the file lies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::error::{Explain, code};
use countersign_proto::keytab::{Change, Keytab, KeytabEntry, Selection};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;

const HOLE: &[u8] = include_bytes!("vectors/keytab/hole.keytab");
const ETYPES: &[u8] = include_bytes!("vectors/keytab/etypes.keytab");
const KVNO: &[u8] = include_bytes!("vectors/keytab/kvno.keytab");

fn written(keytab: &Keytab) -> Vec<u8> {
    keytab.to_bytes().unwrap().expose().to_vec()
}

#[test]
fn what_mit_wrote_is_written_again_byte_for_byte() {
    for file in [ETYPES, KVNO] {
        assert_eq!(written(&Keytab::parse(file).unwrap()), file);
    }
    let without_holes = written(&Keytab::parse(HOLE).unwrap());
    assert!(without_holes.len() < HOLE.len());
    assert_eq!(rows(&without_holes), rows(HOLE));
}

fn entry(name: &str, kvno: u32, etype: i32, key: &[u8]) -> KeytabEntry {
    let principal = Principal::new("R", &[name]);
    KeytabEntry { principal, timestamp: 1_000, kvno, etype, key: Secret::from(key) }
}

fn keytab(entries: &[KeytabEntry]) -> Vec<u8> {
    written(&Keytab { entries: entries.to_vec() })
}

fn rows(bytes: &[u8]) -> Vec<(String, u32, i32, Vec<u8>)> {
    let row = |entry: &KeytabEntry| {
        (entry.principal.to_string(), entry.kvno, entry.etype, entry.key.expose().to_vec())
    };
    Keytab::parse(bytes).unwrap().entries.iter().map(row).collect()
}

/// The file after each write of a change, in the order of a caller.
fn states(file: &[u8], change: &Change) -> Vec<Vec<u8>> {
    let mut bytes = file.to_vec();
    let mut states = Vec::new();
    bytes.truncate(change.end);
    if let Some((length, rest)) = change.append.expose().split_first_chunk::<4>() {
        bytes.extend([0; 4]);
        bytes.extend(rest);
        states.push(bytes.clone());
        bytes[change.end..change.end + 4].copy_from_slice(length);
        states.push(bytes.clone());
    }
    for hole in &change.holes {
        let (length, rest) = bytes[hole.clone()].split_first_chunk_mut::<4>().unwrap();
        *length = (-i32::from_be_bytes(*length)).to_be_bytes();
        rest.fill(0);
        states.push(bytes.clone());
    }
    states
}

#[test]
fn added_entries_are_seen_all_at_once() {
    let file = keytab(&[entry("a", 1, 18, b"one")]);
    let change = Change::adding(&file, &[entry("a", 2, 18, b"two"), entry("a", 2, 17, b"three")]).unwrap();
    let seen: Vec<_> = states(&file, &change).iter().map(|state| rows(state).len()).collect();
    assert_eq!(seen, [1, 3]);
    assert!(change.holes.is_empty() && change.removed.is_empty() && change.held == 0);
}

#[test]
fn an_entry_of_the_same_principal_kvno_and_etype_is_replaced_and_leaves_no_trace() {
    let file = keytab(&[
        entry("a", 1, 18, b"old key one"),
        entry("b", 1, 18, b"other key"),
        entry("a", 1, 18, b"old key two"),
    ]);
    let new = [entry("a", 1, 18, b"neither"), entry("a", 1, 18, b"new key")];
    let change = Change::adding(&file, &new).unwrap();
    assert_eq!(change.removed.len(), 2);
    let states = states(&file, &change);
    let last = states.last().unwrap();
    let keys: Vec<_> = rows(last).into_iter().map(|row| row.3).collect();
    assert_eq!(keys, [b"other key".to_vec(), b"new key".to_vec()]);
    for gone in [&b"old key"[..], b"neither"] {
        assert!(!last.windows(gone.len()).any(|window| window == gone));
    }
}

#[test]
fn an_entry_that_is_there_already_is_left_alone() {
    let file = keytab(&[entry("a", 1, 18, b"key")]);
    let change = Change::adding(&file, &[entry("a", 1, 18, b"key")]).unwrap();
    assert_eq!((change.append.len(), change.holes.len(), change.held), (0, 0, 1));
}

#[test]
fn entries_are_added_where_a_length_of_zero_ends_the_keytab() {
    let file = [&keytab(&[entry("a", 1, 18, b"key")])[..], b"\0\0\0\0 and what no reader sees"].concat();
    let change = Change::adding(&file, &[entry("b", 1, 18, b"key")]).unwrap();
    let states = states(&file, &change);
    let last = states.last().unwrap();
    assert_eq!(*last, keytab(&[entry("a", 1, 18, b"key"), entry("b", 1, 18, b"key")]));
}

fn selection(name: &str) -> Selection {
    Selection { principal: Principal::new("R", &[name]), kvno: None, etype: None, old: false }
}

fn left(file: &[u8], selection: &Selection) -> Vec<(u32, i32)> {
    let change = Change::removing(file, selection).unwrap();
    let states = states(file, &change);
    let last = states.last().map_or(file, |state| &state[..]);
    assert_eq!(rows(last).len() + change.removed.len(), rows(file).len());
    rows(last).into_iter().map(|(_, kvno, etype, _)| (kvno, etype)).collect()
}

#[test]
fn entries_are_removed_by_principal_kvno_etype_and_age() {
    let file = keytab(&[
        entry("a", 1, 18, b"1"),
        entry("a", 1, 17, b"2"),
        entry("b", 7, 18, b"3"),
        entry("a", 2, 18, b"4"),
        entry("a", 2, 17, b"5"),
    ]);
    assert_eq!(left(&file, &selection("a")), [(7, 18)]);
    assert_eq!(left(&file, &Selection { kvno: Some(2), ..selection("a") }), [(1, 18), (1, 17), (7, 18)]);
    assert_eq!(left(&file, &Selection { etype: Some(18), ..selection("a") }), [(1, 17), (7, 18), (2, 17)]);
    let both = Selection { etype: Some(18), kvno: Some(1), ..selection("a") };
    assert_eq!(left(&file, &both), [(1, 17), (7, 18), (2, 18), (2, 17)]);
    assert_eq!(left(&file, &Selection { old: true, ..selection("a") }), [(7, 18), (2, 18), (2, 17)]);
    assert_eq!(left(&file, &selection("c")).len(), 5);
}

#[test]
fn a_kvno_that_began_anew_after_255_is_the_newest() {
    let late = KeytabEntry { timestamp: 2_000, ..entry("a", 1, 18, b"2") };
    let file = keytab(&[entry("a", 255, 18, b"1"), late]);
    assert_eq!(left(&file, &Selection { old: true, ..selection("a") }), [(1, 18)]);
    let early = KeytabEntry { timestamp: 500, ..entry("a", 1, 18, b"2") };
    let file = keytab(&[entry("a", 255, 18, b"1"), early]);
    assert_eq!(left(&file, &Selection { old: true, ..selection("a") }), [(255, 18)]);
}

#[test]
fn what_does_not_fit_the_format_is_not_written() {
    let nameless = KeytabEntry { principal: Principal::new("R", &[]), ..entry("a", 1, 18, b"k") };
    let without_realm = KeytabEntry { principal: Principal::new("", &["a"]), ..entry("a", 1, 18, b"k") };
    for (what, wrong) in [
        ("a number of components", nameless),
        ("a realm", without_realm),
        ("a name component", entry("", 1, 18, b"k")),
        ("a name component", entry(&"x".repeat(32_768), 1, 18, b"k")),
        ("an etype", entry("a", 1, 40_000, b"k")),
        ("a key", entry("a", 1, 18, b"")),
    ] {
        let error = Keytab { entries: vec![wrong.clone()] }.to_bytes().err().unwrap();
        assert_eq!(error.code(), code::KEYTAB_UNWRITABLE);
        assert!(error.saw().contains(what), "{error}");
        assert!(Change::adding(b"\x05\x02", &[wrong]).is_err());
    }
}
