//! Keytabs on disk, changed by us and by MIT's programs at the same time.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod on_disk;

use countersign::keytabs;
use countersign::proto::crypto::Etype;
use countersign::proto::error::code;
use countersign::proto::keytab::{Keytab, KeytabEntry, Selection};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::secret::Secret;
use countersign_testkit::{Process, Realm};
use on_disk::{DEADLINE, Writers, mit, mode, said, writer, writer_name, writer_path};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

fn entry(host: &str, kvno: u32, key: u8) -> KeytabEntry {
    let principal = Principal::new("FILES.TEST", &["HTTP", host]);
    let etype = Etype::Aes256CtsHmacSha1_96.wire();
    KeytabEntry { principal, timestamp: 1_800_000_000, kvno, etype, key: Secret::new(vec![key; 32]) }
}

fn rows(path: &Path) -> Vec<(String, u32, u8)> {
    let row = |entry: &KeytabEntry| (entry.principal.to_string(), entry.kvno, entry.key.expose()[0]);
    keytabs::read(path).unwrap().entries.iter().map(row).collect()
}

fn row(host: &str, kvno: u32, key: u8) -> (String, u32, u8) {
    (format!("HTTP/{host}@FILES.TEST"), kvno, key)
}

fn selection(host: &str) -> Selection {
    Selection { principal: entry(host, 1, 0).principal, kvno: None, etype: None, old: false }
}

/// What `klist -k -t -e` says.
#[track_caller]
fn klist(path: &Path) -> String {
    said(mit("klist").arg("-kte").arg(path))
}

#[track_caller]
fn ktutil(lines: &str) {
    let mut process = Process::start(&mut mit("ktutil"));
    process.stdin().unwrap().write_all(lines.as_bytes()).unwrap();
    let done = process.finish(DEADLINE).expect_success();
    assert_eq!(done.stderr, "");
}

#[test]
fn a_new_keytab_is_its_owners_alone_and_mit_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keytab");
    let changed = keytabs::add(&path, &[entry("a", 1, 1), entry("b", 300, 2)]).unwrap();
    assert_eq!((changed.added, changed.held, changed.removed.len()), (2, 0, 0));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    let text = klist(&path);
    for part in ["   1 ", " 300 ", "HTTP/a@FILES.TEST (aes256-cts-hmac-sha1-96)", "HTTP/b@FILES.TEST"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_ktutil_and_ktadd_wrote_is_written_byte_for_byte() {
    let realm = Realm::new("FILES.TEST");
    for spn in ["HTTP/a.files.test", "HTTP/b.files.test"] {
        realm.add_service(spn, &countersign_testkit::Etype::DEFAULT);
    }
    let added = realm.keytab(&["HTTP/a.files.test", "HTTP/b.files.test"]);
    let ours = keytabs::read(&added).unwrap().to_bytes().unwrap();
    assert!(std::fs::read(&added).unwrap() == ours.expose());
    let again = realm.folder().join("again");
    keytabs::add(&again, &keytabs::read(&added).unwrap().entries).unwrap();
    assert!(std::fs::read(&again).unwrap() == ours.expose());
    // ktutil writes the time of writing, and else what it read of ours.
    let copy = realm.folder().join("copy");
    ktutil(&format!("rkt {}\nwkt {}\nquit\n", again.display(), copy.display()));
    let mut copied = keytabs::read(&copy).unwrap();
    let originals = keytabs::read(&again).unwrap().entries;
    copied.entries.iter_mut().zip(originals).for_each(|(entry, old)| entry.timestamp = old.timestamp);
    assert!(copied.to_bytes().unwrap().expose() == ours.expose());
}

#[test]
fn an_entry_of_the_same_use_is_replaced_and_nothing_of_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keytab");
    keytabs::add(&path, &[entry("a", 1, 0xA1), entry("b", 1, 0xB1)]).unwrap();
    let (inode, length) = (path.metadata().unwrap().ino(), path.metadata().unwrap().len());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let changed =
        keytabs::add(&path, &[entry("a", 1, 0xA2), entry("b", 1, 0xB1), entry("a", 2, 0xA3)]).unwrap();
    assert_eq!((changed.added, changed.held, changed.removed.len()), (2, 1, 1));
    assert_eq!(rows(&path), [row("b", 1, 0xB1), row("a", 1, 0xA2), row("a", 2, 0xA3)]);
    assert!(!std::fs::read(&path).unwrap().contains(&0xA1));
    let after = path.metadata().unwrap();
    assert_eq!((after.ino(), mode(&path)), (inode, 0o640), "mode, owner and file stay");
    assert!(after.len() > length);
    assert_eq!(klist(&path).matches("@FILES.TEST").count(), 3);
}

#[test]
fn removed_entries_are_zeros_and_mit_takes_their_place_again() {
    let realm = Realm::new("FILES.TEST");
    let etypes = [countersign_testkit::Etype::Aes256Sha1];
    ["HTTP/a.files.test", "HTTP/b.files.test"].iter().for_each(|spn| realm.add_service(spn, &etypes));
    let path = realm.keytab(&["HTTP/a.files.test", "HTTP/b.files.test"]);
    let keys: Vec<Secret> =
        keytabs::read(&path).unwrap().entries.into_iter().map(|entry| entry.key).collect();
    let removed = keytabs::remove(&path, &selection("a.files.test")).unwrap();
    assert_eq!(removed.len(), 1);
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(32).any(|window| keys[0].ct_eq(window)));
    assert!(bytes.windows(32).any(|window| keys[1].ct_eq(window)));
    assert!(!klist(&path).contains("HTTP/a.files.test"));
    realm.ktadd("HTTP/a.files.test", &path);
    assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len(), "ktadd fills the hole");
    assert_eq!(rows(&path).len(), 2);
    let refusal =
        keytabs::remove(&path, &Selection { kvno: Some(9), ..selection("a.files.test") }).unwrap_err();
    assert_eq!(refusal.code(), code::KEYTAB_ENTRY_ABSENT);
    assert!(
        refusal.to_string().contains("kvno 9") && refusal.have().contains("1 entries of that principal"),
        "{refusal}"
    );
}

#[test]
#[ignore = "it is a process of keys_of_many_writers_are_all_there"]
fn writer_of_keys() {
    let (path, name) = (writer_path(), writer_name());
    for kvno in 1..=20 {
        keytabs::add(&path, &[entry(&name, kvno, 1), entry(&format!("not-{name}"), kvno, 2)]).unwrap();
        keytabs::remove(&path, &selection(&format!("not-{name}"))).unwrap();
    }
}

#[test]
fn keys_of_many_writers_are_all_there() {
    let realm = Realm::new("FILES.TEST");
    let services: Vec<String> = (0..6).map(|number| format!("HTTP/mit{number}.files.test")).collect();
    services.iter().for_each(|spn| realm.add_service(spn, &[countersign_testkit::Etype::Aes256Sha1]));
    // There is none yet: all of them want to make it.
    let path = realm.folder().join("shared-keytab");
    let writers = Writers::start("writer_of_keys", &path);
    // kadmin refuses a keytab that it finds while another ktadd has made it and not begun it; ours appear whole.
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    services.iter().for_each(|spn| realm.ktadd(spn, &path));
    let names = writers.finish();
    let found = rows(&path);
    for name in &names {
        (1..=20).for_each(|kvno| assert!(found.contains(&row(name, kvno, 1)), "{name} {kvno}"));
    }
    let of_mit = |spn: &String| found.iter().any(|(name, _, _)| name.starts_with(spn.as_str()));
    assert!(services.iter().all(of_mit), "{found:?}");
    assert_eq!(found.len(), 8 * 20 + services.len());
    assert_eq!(klist(&path).matches("@FILES.TEST").count(), found.len());
}

#[test]
#[ignore = "it is the process that a_writer_that_is_killed_leaves_a_keytab_that_mit_reads kills"]
fn writer_without_end() {
    let path = writer_path();
    for kvno in 1.. {
        let entries: Vec<_> = (0..20).map(|number| entry(&format!("host{number}"), kvno, 1)).collect();
        keytabs::add(&path, &entries).unwrap();
        keytabs::remove(&path, &Selection { old: true, ..selection("host0") }).map_or_else(drop, drop);
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_keytab_that_mit_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keytab");
    for round in 0..25 {
        std::fs::write(&path, Keytab { entries: vec![entry("first", 1, 9)] }.to_bytes().unwrap().expose())
            .unwrap();
        let writer = writer("writer_without_end", &path, "endless");
        while path.metadata().unwrap().len() < 1_000 {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(round * 331));
        // Dropping it kills it.
        drop(writer);
        let found = rows(&path);
        assert_eq!(found[0], row("first", 1, 9));
        for kvno in 1..found.iter().map(|row| row.1).max().unwrap() + 1 {
            let seen = found
                .iter()
                .filter(|row| row.1 == kvno && row.0.contains("/host") && !row.0.contains("/host0@"));
            assert!(
                [0, 19].contains(&seen.count()),
                "all keys of an addition are seen, or none: kvno {kvno}"
            );
        }
        assert_eq!(klist(&path).matches("@FILES.TEST").count(), found.len());
    }
}

#[test]
fn a_keytab_that_cannot_be_changed_is_named_and_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keytab");
    let refusal = keytabs::add(&folder.path().join("missing/keytab"), &[entry("a", 1, 1)]).unwrap_err();
    assert_eq!(refusal.code(), code::KEYTAB_UNWRITABLE);
    assert!(refusal.saw().contains("missing/keytab (No such file"), "{refusal}");
    assert_eq!(keytabs::remove(&path, &selection("a")).unwrap_err().code(), code::KEYTAB_UNREADABLE);
    assert_eq!(keytabs::add(folder.path(), &[entry("a", 1, 1)]).unwrap_err().code(), code::KEYTAB_UNWRITABLE);
    for contents in [&b""[..], b"\x05\x01", b"a letter", b"\x05\x02\0\0\0\x09"] {
        std::fs::write(&path, contents).unwrap();
        assert_eq!(keytabs::add(&path, &[entry("a", 1, 1)]).unwrap_err().code(), code::KEYTAB_MALFORMED);
        assert_eq!(std::fs::read(&path).unwrap(), contents);
    }
    std::fs::remove_file(&path).unwrap();
    let refusal = keytabs::add(&path, &[KeytabEntry { etype: 99_999, ..entry("a", 1, 1) }]).unwrap_err();
    assert_eq!(refusal.code(), code::KEYTAB_UNWRITABLE);
    assert!(!path.exists());
}

#[test]
fn keys_are_not_written_to_a_file_that_somebody_laid_out_in_a_shared_folder() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let theirs = folder.path().join("theirs");
    keytabs::add(&theirs, &[entry("a", 1, 1)]).unwrap();
    let link = shared.join("keytab");
    symlink(&theirs, &link).unwrap();
    // Only root can make a file another user's, and only root could write to it.
    if folder.path().metadata().unwrap().uid() == 0 {
        std::os::unix::fs::chown(&theirs, Some(4_321), None).unwrap();
        keytabs::add(&theirs, &[entry("a", 2, 1)]).expect("root writes the keytabs of services");
        keytabs::add(&link, &[entry("a", 3, 1)]).expect("the folder is root's alone");
        std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
        let refusal = keytabs::add(&link, &[entry("a", 4, 1)]).unwrap_err();
        assert_eq!(refusal.code(), code::KEYTAB_UNWRITABLE);
        assert!(refusal.saw().contains("it belongs to user 4321"), "{refusal}");
    } else {
        keytabs::add(&link, &[entry("a", 2, 1)]).expect("what is ours is written to");
    }
    assert!(link.symlink_metadata().unwrap().is_symlink());
}
