//! Keytabs that MIT's tools made (origin in vectors/keytab/README.md), and what becomes of damaged ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use countersign_proto::error::{Explain, Refusal, code};
use countersign_proto::keytab::{Keytab, KeytabEntry, KeytabError, Truncated};
use countersign_proto::krb5::msg::principal::Principal;
use proptest::prelude::*;

const HOLE: &[u8] = include_bytes!("vectors/keytab/hole.keytab");
const ETYPES: &[u8] = include_bytes!("vectors/keytab/etypes.keytab");
const KVNO: &[u8] = include_bytes!("vectors/keytab/kvno.keytab");

/// What MIT's `klist -k -t -e -K` prints of an entry.
fn row(entry: &KeytabEntry) -> (String, u32, i32, String) {
    let key = entry.key.expose().iter().map(|byte| format!("{byte:02x}")).collect();
    (entry.principal.to_string(), entry.kvno, entry.etype, key)
}

fn rows(bytes: &[u8]) -> Vec<(String, u32, i32, String)> {
    Keytab::parse(bytes).unwrap().entries.iter().map(row).collect()
}

fn expected(name: &str, kvno: u32, etype: i32, key: &str) -> (String, u32, i32, String) {
    (name.to_owned(), kvno, etype, key.to_owned())
}

#[test]
fn entries_on_both_sides_of_a_hole_are_read() {
    const A: &str = "HTTP/a.example.test@EXAMPLE.TEST";
    const C: &str = "ldap/c.example.test@EXAMPLE.TEST";
    let want = [
        expected(A, 2, 18, "a14e10234aa9e26f460aaf6992a6701ee09bd8d0d67be2343216b30706808b59"),
        expected(A, 2, 17, "dec93a044a61dddc1e59d3b8f3f7431e"),
        expected(C, 2, 18, "891a1b0efbcdf2b6dcd39ce028978ae0404200b8c5cb16c739d33b73b78cd265"),
        expected(C, 2, 17, "2e81278570c5e4b6eb9d832524402bbb"),
    ];
    assert_eq!(rows(HOLE), want);
    let first = &Keytab::parse(HOLE).unwrap().entries[0];
    assert_eq!((first.timestamp, first.principal.name_type), (0x6b03_9e90, 1));
    assert_eq!(first.principal, Principal::new("EXAMPLE.TEST", &["HTTP", "a.example.test"]));
}

#[test]
fn every_etype_is_kept() {
    let keys: Vec<_> = rows(ETYPES).into_iter().map(|(_, kvno, etype, key)| (kvno, etype, key)).collect();
    let want = [
        (18, "7f84c73b5f2aedc17dab8508129b2a89a025584185b51d3992719ecbb4cb5a0c"),
        (17, "c1923c4f0eb0b511cc0000ad82af08e4"),
        (19, "20382e3b51a56d86bacd66b7b521ae21"),
        (20, "854d84e2458ef9b7d91a92302c3d85f4c736629da5a7879baa35bb803d8117eb"),
        (23, "8846f7eaee8fb117ad06bdd830b7586c"),
    ];
    assert_eq!(keys, want.map(|(etype, key)| (3, etype, key.to_owned())));
}

#[test]
fn a_kvno_over_255_is_read_from_its_32_bits() {
    let kvnos: Vec<_> = Keytab::parse(KVNO).unwrap().entries.iter().map(|entry| entry.kvno).collect();
    assert_eq!(kvnos, [255, 300, 65_792]);
}

/// A keytab of one record: an entry for `a@R`, kvno 7, etype `etype`, key `key`, and then `tail`.
fn one_record(etype: [u8; 2], tail: &[u8]) -> Vec<u8> {
    let mut record = b"\x00\x01\x00\x01R\x00\x01a\x00\x00\x00\x01\x00\x00\x00\x05\x07".to_vec();
    record.extend(etype);
    record.extend(b"\x00\x03key");
    record.extend(tail);
    let mut file = b"\x05\x02".to_vec();
    file.extend(u32::try_from(record.len()).unwrap().to_be_bytes());
    file.extend(record);
    file
}

#[test]
fn a_record_may_be_longer_than_its_entry() {
    for (tail, kvno) in [
        (&b""[..], 7),
        (b"\x00", 7),
        (b"\xff\xff\xff", 7),
        (b"\x00\x00\x00\x00", 7),
        (b"\x00\x00\x00\x00\xff\xff", 7),
        (b"\x00\x00\x01\x2c", 300),
        (b"\x00\x00\x01\x2cleft over", 300),
    ] {
        assert_eq!(rows(&one_record([0, 18], tail)), [expected("a@R", kvno, 18, "6b6579")], "{tail:?}");
    }
}

#[test]
fn an_etype_is_signed() {
    assert_eq!(rows(&one_record([0xff, 0x7b], b"")), [expected("a@R", 7, -133, "6b6579")]);
}

#[test]
fn a_record_length_of_zero_ends_the_keytab() {
    let mut file = one_record([0, 18], b"");
    file.extend(b"\x00\x00\x00\x00 and what stands here is not looked at");
    assert_eq!(rows(&file).len(), 1);
}

#[test]
fn a_keytab_without_entries_is_a_keytab() {
    assert_eq!(rows(b"\x05\x02").len(), 0);
}

#[test]
fn the_old_format_is_refused_by_name() {
    let error = Keytab::parse(b"\x05\x01\x00\x00\x00\x00").unwrap_err();
    assert_eq!(error, KeytabError::OldFormat);
    assert_eq!(error.code(), code::KEYTAB_MALFORMED);
    let text = Refusal::from_error(&error).to_string();
    assert!(text.contains("0x501") && text.contains("ktutil"), "{text}");
}

#[test]
fn another_file_is_refused_by_its_first_bytes() {
    let error = Keytab::parse(b"-----BEGIN CERTIFICATE-----").unwrap_err();
    assert_eq!(error, KeytabError::NotAKeytab { found: *b"--" });
}

#[test]
fn an_error_names_the_byte_and_what_should_be_there() {
    let error = Keytab::parse(&KVNO[..0x30]).unwrap_err();
    let truncated = Truncated { offset: 6, what: "a record", needed: 0x57, left: 0x2a };
    assert_eq!(error, KeytabError::Truncated(truncated));
    let text = Refusal::from_error(&error).to_string();
    assert!(text.contains("42 bytes left at offset 6"), "{text}");
    assert!(text.contains("87 bytes expected there, of a record"), "{text}");
}

#[test]
fn a_string_does_not_reach_out_of_its_record() {
    let mut file = one_record([0, 18], b"");
    let key_length = file.len() - 4;
    file[key_length] = 4;
    file.extend(one_record([0, 18], b"").split_off(2));
    let truncated = Truncated { offset: key_length + 1, what: "a key", needed: 4, left: 3 };
    assert_eq!(Keytab::parse(&file).unwrap_err(), KeytabError::Truncated(truncated));
}

#[test]
fn a_name_has_between_1_and_32_components() {
    for count in [0_u16, 33, u16::MAX] {
        let mut file = one_record([0, 18], b"");
        file[6..8].copy_from_slice(&count.to_be_bytes());
        let error = Keytab::parse(&file).unwrap_err();
        assert_eq!(error, KeytabError::ComponentCount { offset: 6, count: count.into() });
    }
}

#[test]
fn the_longest_hole_that_can_be_announced_is_an_error() {
    let error = Keytab::parse(b"\x05\x02\x80\x00\x00\x00rest").unwrap_err();
    let truncated = Truncated { offset: 6, what: "a hole", needed: 1 << 31, left: 4 };
    assert_eq!(error, KeytabError::Truncated(truncated));
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_list() {
    for file in [HOLE, ETYPES, KVNO] {
        let whole = rows(file);
        for length in 0..file.len() {
            if let Ok(keytab) = Keytab::parse(&file[..length]) {
                let short: Vec<_> = keytab.entries.iter().map(row).collect();
                assert!(whole.starts_with(&short), "{length}");
            }
        }
    }
}

#[test]
fn debug_output_shows_no_key() {
    let text = format!("{:?}", Keytab::parse(&one_record([0, 18], b"")).unwrap());
    assert!(text.contains("a@R") && !text.contains("key"), "{text}");
    assert!(!text.contains("107, 101, 121"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn altered_bytes_never_panic(
        file in prop::sample::select(vec![HOLE, ETYPES, KVNO]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = file.to_vec();
        for (index, byte) in changes {
            *index.get_mut(&mut bytes) = byte;
        }
        if let Ok(keytab) = Keytab::parse(&bytes) {
            let held: usize = keytab.entries.iter().map(|entry| entry.key.len()).sum();
            prop_assert!(held < bytes.len());
        }
    }
}
