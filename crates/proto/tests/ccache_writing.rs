//! Credential caches that are written: the same bytes that MIT's library writes, and additions where the file lies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_proto::ccache::{Addition, Ccache, CcacheError, Credential, Element};
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use proptest::prelude::*;

const TWO: &[u8] = include_bytes!("vectors/ccache/two.ccache");
const REMOVED: &[u8] = include_bytes!("vectors/ccache/removed.ccache");
const NO_REALM: &[u8] = include_bytes!("vectors/ccache/no_realm.ccache");
const HEIMDAL: &[u8] = include_bytes!("vectors/ccache/heimdal.ccache");

fn written(cache: &Ccache) -> Vec<u8> {
    cache.to_bytes().unwrap().expose().to_vec()
}

fn two() -> Ccache {
    Ccache::parse(TWO).unwrap()
}

#[test]
fn what_mit_wrote_is_written_again_byte_for_byte() {
    for file in [TWO, NO_REALM] {
        let bytes = written(&Ccache::parse(file).unwrap());
        let differs = bytes.iter().zip(file).position(|(new, old)| new != old);
        assert_eq!((differs, bytes.len()), (None, file.len()));
    }
}

#[test]
fn what_heimdal_wrote_is_written_again_but_for_the_times_of_settings() {
    let cache = Ccache::parse(HEIMDAL).unwrap();
    let settings: Vec<_> = cache.config.iter().map(|entry| (&entry.key[..], entry.tickets_before)).collect();
    assert_eq!(settings, [(&b"start_realm"[..], 1), (b"fast_avail", 1)]);
    let bytes = written(&cache);
    let differences: Vec<_> =
        bytes.iter().zip(HEIMDAL).filter(|(new, old)| new != old).map(|(new, _)| *new).collect();
    assert_eq!((bytes.len(), differences.iter().any(|byte| *byte != 0)), (HEIMDAL.len(), false));
    assert!(differences.len() <= 2 * 8, "authtime and endtime of two settings");
}

#[test]
fn deleted_entries_are_not_written_again() {
    let cache = Ccache::parse(REMOVED).unwrap();
    let bytes = written(&cache);
    assert!(bytes.len() < REMOVED.len());
    let again = Ccache::parse(&bytes).unwrap();
    assert_eq!(again.config, cache.config);
    assert_eq!(written(&again), bytes);
}

#[test]
fn a_cache_without_tickets_and_offset_is_a_header_and_a_principal() {
    let bytes = written(&Ccache::new(Principal::new("R", &["c"])));
    assert_eq!(bytes, b"\x05\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01R\x00\x00\x00\x01c");
    assert!(Ccache::parse(&bytes).unwrap().credentials.is_empty());
}

#[test]
fn a_setting_is_read_under_the_text_of_its_principal() {
    let tgs = Principal::new("EXAMPLE.TEST", &["krbtgt", "EXAMPLE.TEST"]);
    let mut cache = two();
    assert_eq!(cache.config(b"fast_avail", Some(&tgs)), Some(&b"yes"[..]));
    assert_eq!(cache.config(b"fast_avail", None), None);
    assert_eq!(cache.config(b"refresh_time", None), None);
    cache.set_config(b"refresh_time", None, b"42");
    cache.set_config(b"pa_type", Some(&tgs), b"151");
    let again = Ccache::parse(&written(&cache)).unwrap();
    assert_eq!(again.config.len(), 3);
    assert_eq!(again.config(b"refresh_time", None), Some(&b"42"[..]));
    assert_eq!(again.config(b"pa_type", Some(&tgs)), Some(&b"151"[..]));
    assert_eq!(written(&again), written(&cache));
}

#[test]
fn the_principal_of_a_setting_is_escaped_as_mit_does() {
    let odd = Principal {
        realm: b"A@B\\".to_vec(),
        components: vec![b"a/b\n\t\x08\0".to_vec(), b"\xff".to_vec()],
        name_type: 1,
    };
    let mut cache = Ccache::new(Principal::new("R", &["c"]));
    cache.set_config(b"k", Some(&odd), b"v");
    assert_eq!(cache.config[0].principal.as_deref(), Some(&b"a\\/b\\n\\t\\b\\0/\xff@A\\@B\\\\"[..]));
}

#[test]
fn a_ticket_takes_the_place_of_the_one_before() {
    let mut cache = two();
    let mut newer = cache.credentials[1].clone();
    newer.ticket = b"newer".to_vec();
    let mut other_etype = newer.clone();
    other_etype.key_etype = 17;
    let mut user_to_user = newer.clone();
    user_to_user.is_skey = true;
    for credential in [newer, other_etype, user_to_user] {
        cache.add(credential);
    }
    assert_eq!(cache.credentials.len(), 5);
    assert_eq!(cache.credentials[1].ticket, b"newer");
}

/// The file after the addition, as a caller carries it out; `writes` is how many of its writes are done.
fn added(file: &[u8], credentials: &[Credential], writes: usize) -> Vec<u8> {
    let addition = Addition::plan(file, credentials).unwrap();
    let mut bytes = file.to_vec();
    if writes > 0 {
        bytes.truncate(addition.end);
        bytes.extend(addition.append.expose());
    }
    for removal in addition.removals.iter().take(writes.saturating_sub(1)) {
        bytes[removal.offset..removal.offset + 12].copy_from_slice(&removal.times);
    }
    bytes
}

const ALL: usize = usize::MAX;

fn ticket(number: u8) -> Credential {
    let mut credential = two().credentials[2].clone();
    credential.ticket = vec![number; 40];
    credential
}

#[test]
fn an_added_ticket_stands_at_the_end_and_the_one_before_is_deleted_as_mit_does() {
    let bytes = added(TWO, &[ticket(1)], ALL);
    assert!(bytes.len() > TWO.len());
    let different = bytes.iter().zip(TWO).filter(|(new, old)| new != old).count();
    assert!((4..=8).contains(&different), "only authtime and endtime are overwritten");
    let cache = Ccache::parse(&bytes).unwrap();
    assert_eq!(cache.credentials.len(), 3);
    assert_eq!(cache.credentials[2].ticket, [1; 40]);
    assert_eq!(cache.config, two().config);
}

#[test]
fn after_every_write_of_an_addition_one_ticket_at_least_is_there() {
    let tickets = [ticket(1), ticket(2)];
    let twice = [TWO, &added(TWO, &[ticket(1)], 1)[TWO.len()..]].concat();
    for writes in 0..=3 {
        let cache = Ccache::parse(&added(&twice, &tickets, writes)).unwrap();
        assert!(cache.credentials.iter().any(|credential| credential.server == tickets[0].server));
    }
    let done = Ccache::parse(&added(&twice, &tickets, ALL)).unwrap();
    assert_eq!((done.credentials.len(), &done.credentials[2].ticket[..]), (3, &[2; 40][..]));
}

#[test]
fn a_ticket_that_is_there_already_is_not_added_again() {
    let held = two().credentials[2].clone();
    assert_eq!(added(TWO, std::slice::from_ref(&held), ALL), TWO);
    let older = added(TWO, &[ticket(1)], 1);
    let cache = Ccache::parse(&added(&older, &[ticket(1)], ALL)).unwrap();
    assert_eq!((cache.credentials.len(), &cache.credentials[2].ticket[..]), (3, &[1; 40][..]));
}

#[test]
fn an_entry_that_was_never_finished_is_cut_off_before_a_ticket_is_added() {
    let mut last = Ccache::parse(TWO).unwrap();
    last.credentials.truncate(2);
    let start = written(&last).len();
    for length in start + 1..TWO.len() {
        let torn = &TWO[..length];
        assert!(matches!(Ccache::parse(torn), Err(CcacheError::Truncated(_))));
        let (cache, left_out) = Ccache::parse_whole_entries(torn).unwrap();
        assert_eq!((cache.credentials.len(), left_out), (2, length - start));
        let mended = Ccache::parse(&added(torn, &[ticket(1)], ALL)).unwrap();
        assert_eq!(mended.credentials.len(), 3);
    }
}

#[test]
fn a_cache_with_nothing_whole_in_it_is_damaged() {
    let header = written(&Ccache::new(two().default_principal));
    let torn = [&header[..], &TWO[0x31..0x80]].concat();
    assert!(matches!(Ccache::parse_whole_entries(&torn), Err(CcacheError::Truncated(_))));
    assert!(Addition::plan(&torn, &[ticket(1)]).is_err());
    assert!(Ccache::parse_whole_entries(&header).is_ok());
}

#[test]
fn what_does_not_fit_the_format_is_not_written() {
    type Change = fn(&mut Ccache);
    let changes: [(&str, Change); 6] = [
        ("an etype", |cache| cache.credentials[0].key_etype = 40_000),
        ("a time", |cache| cache.credentials[0].endtime = Timestamp::new(1 << 32, 0)),
        ("a time", |cache| cache.credentials[0].authtime = Timestamp::new(-1, 0)),
        ("a time offset", |cache| cache.kdc_offset = Some(i64::MAX)),
        ("a number of components", |cache| cache.default_principal.components = vec![vec![b'x']; 33]),
        ("a number of addresses", |cache| {
            cache.credentials[0].addresses = vec![Element { element_type: 2, data: vec![] }; 257];
        }),
    ];
    for (what, change) in changes {
        let mut cache = two();
        change(&mut cache);
        let error = cache.to_bytes().err().unwrap();
        assert_eq!(error.code(), code::CCACHE_UNWRITABLE);
        assert!(error.saw().contains(what), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(
        offset in prop::option::of(-2_000_000_000_000_000_i64..2_000_000_000_000_000),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
        numbers in any::<[u32; 5]>(),
        etype in any::<i16>(),
        before in 0_usize..4,
    ) {
        let server = Principal { components: parts.clone(), ..Principal::new("S", &[]) };
        let elements = parts.iter().map(|data| Element { element_type: etype.into(), data: data.clone() });
        let [start, end, till, flags, authtime] = numbers;
        let credential = Credential {
            client: Principal::new("R", &["c"]),
            server,
            key_etype: etype.into(),
            key: Secret::from(&flags.to_be_bytes()[..]),
            // Together with an endtime of zero any other would say that the entry is deleted.
            authtime: Timestamp::new(if end == 0 { 0 } else { authtime.into() }, 0),
            starttime: Timestamp::new(start.into(), 0),
            endtime: Timestamp::new(end.into(), 0),
            renew_till: Timestamp::new(till.into(), 0),
            is_skey: flags % 2 == 1,
            flags,
            addresses: elements.clone().collect(),
            authdata: elements.rev().collect(),
            ticket: parts.concat(),
            second_ticket: vec![7; 3],
        };
        let mut cache = Ccache { kdc_offset: offset, ..Ccache::new(Principal::new("R", &["c"])) };
        cache.credentials = vec![credential.clone(), credential];
        cache.set_config(b"key", None, b"value");
        cache.config[0].tickets_before = before;
        let bytes = written(&cache);
        let again = Ccache::parse(&bytes).unwrap();
        prop_assert_eq!(again.kdc_offset, offset);
        prop_assert_eq!(again.config[0].tickets_before, before.min(2));
        prop_assert_eq!(format!("{:?}", again.credentials), format!("{:?}", cache.credentials));
        prop_assert_eq!(written(&again), bytes);
    }
}
