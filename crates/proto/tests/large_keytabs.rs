//! Keytabs with many keys, with the same key under many names, and with keys that cannot be used.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "what a ticket costs is measured")]

use countersign_proto::context::Acceptor;
use countersign_proto::crypto::{CryptoError, Etype};
use countersign_proto::error::code;
use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::krb5::keys::{Absence, Claim, MAX_TRIALS, ServiceKeys};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::secret::Secret;
use countersign_testkit::mint::{ApReq, Mint};
use countersign_testkit::pair::Service;
use std::time::{Duration, Instant};

const AES256: Etype = Etype::Aes256CtsHmacSha1_96;

fn http(host: &str) -> Principal {
    Principal::new("EXAMPLE.TEST", &["HTTP", host])
}

fn service(entries: Vec<KeytabEntry>) -> Service {
    let keys = ServiceKeys::from_keytab(&Keytab { entries }).unwrap();
    Service::of(Acceptor::new(keys, AcceptorPolicy::default()), Mint::default().now)
}

/// An AP-REQ under the key of a.example.test in version `kvno`, for `claimed`, that names the version `written`.
fn request(kvno: u32, claimed: Principal, written: Option<i64>) -> ApReq {
    let mut request = Mint { kvno, ..Mint::default() }.ap_req();
    request.ticket.service = claimed;
    request.ticket.kvno = written;
    request
}

fn entry(host: &str, kvno: u32) -> KeytabEntry {
    Mint::default().entry(&http(host), kvno, AES256)
}

/// `entry` as another principal has it: the same key.
fn shared(entry: &KeytabEntry, host: &str) -> KeytabEntry {
    KeytabEntry { principal: http(host), ..entry.clone() }
}

#[test]
fn the_highest_versions_are_tried_first_among_keys_of_other_versions() {
    for claimed in [http("a.example.test"), http("A.EXAMPLE.TEST"), http("alias")] {
        let rising = || (1..=20).map(|kvno| entry("a.example.test", kvno)).collect::<Vec<_>>();
        for written in [None, Some(77)] {
            for kvno in [13, 20] {
                let request = request(kvno, claimed.clone(), written);
                let (context, _) = service(rising()).offer(&request.token()).accepted();
                assert_eq!(context.facts().kerberos().unwrap().kvno, Some(kvno));
            }
            service(rising()).offer(&request(12, claimed.clone(), written).token()).refused();
        }
    }
}

#[test]
fn the_version_that_a_ticket_names_is_tried_before_higher_ones() {
    let rising = || (1..=20).map(|kvno| entry("a.example.test", kvno)).collect::<Vec<_>>();
    for claimed in [http("a.example.test"), http("alias")] {
        // 257 is 1 in keytabs that keep eight bits.
        for written in [1, 257] {
            service(rising()).offer(&request(1, claimed.clone(), Some(written)).token()).accepted();
        }
    }
}

#[test]
fn a_key_that_many_names_share_is_tried_once() {
    let wrong = entry("wrong", 2);
    let mut entries: Vec<_> = (0..20).map(|n| shared(&wrong, &format!("{n}"))).collect();
    entries.extend((0..20).map(|kvno| KeytabEntry { kvno, ..shared(&wrong, "old") }));
    entries.push(entry("a.example.test", 2));
    for written in [None, Some(2), Some(77)] {
        let request = request(2, http("alias"), written);
        let (context, _) = service(entries.clone()).offer(&request.token()).accepted();
        assert_eq!(context.facts().kerberos().unwrap().service, http("a.example.test"));
    }
    let keys = ServiceKeys::from_keytab(&Keytab { entries }).unwrap();
    let claim = Claim { service: http("alias"), kvno: Some(2), etype: AES256 };
    assert_eq!(keys.candidates(&claim, &[]).count(), 2);
    // Of the same key under names that are accepted and names that are not, the accepted one counts.
    let accepted = [http("7")];
    let claim = Claim { service: http("7"), ..claim };
    let tried: Vec<_> = keys.candidates(&claim, &accepted).map(|key| key.principal().clone()).collect();
    assert_eq!(tried, accepted);
}

#[test]
fn the_name_that_a_ticket_claims_is_reported_of_names_that_share_a_key() {
    let key = entry("a.example.test", 2);
    let entries = vec![shared(&key, "first"), key.clone(), shared(&key, "last")];
    let request = request(2, http("a.example.test"), Some(2));
    let (context, _) = service(entries).offer(&request.token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().service, http("a.example.test"));
}

#[test]
fn the_same_bytes_under_another_etype_are_another_key() {
    let key = entry("a.example.test", 2);
    let sha2 = KeytabEntry { etype: Etype::Aes256CtsHmacSha384_192.wire(), ..key.clone() };
    service(vec![sha2, key]).offer(&Mint::default().ap_req().token()).accepted();
}

#[test]
fn a_key_of_the_wrong_length_does_not_shut_out_the_others() {
    let short = |host: &str| KeytabEntry { key: Secret::from(&[9; 31][..]), ..entry(host, 3) };
    let entries = vec![short("a.example.test"), entry("a.example.test", 2), short("b")];
    service(entries.clone()).offer(&Mint::default().ap_req().token()).accepted();

    let of_short = request(3, http("a.example.test"), Some(3));
    let rejected = service(entries.clone()).refuses(&of_short, code::KEY_MALFORMED, 44);
    let have = rejected.refusal.have();
    assert!(have.contains("kvno 3 aes256-cts-hmac-sha1-96 of 31 bytes"), "{have}");
    // A good key beside it that does not open the ticket is what failed.
    let good = KeytabEntry { principal: http("A.example.test"), ..entry("x", 3) };
    let both = [entries, vec![good]].concat();
    service(both).refuses(&of_short, code::TICKET_INTEGRITY, 31);
}

#[test]
fn a_keytab_in_which_every_key_has_the_wrong_length_is_refused() {
    let short = KeytabEntry { key: Secret::from(&[9; 31][..]), ..entry("a", 3) };
    let refused = ServiceKeys::from_keytab(&Keytab { entries: vec![short] }).err();
    assert_eq!(refused, Some(CryptoError::KeyLength { etype: AES256, length: 31 }));
}

#[test]
fn the_principals_that_a_refusal_names_are_eight_and_a_number() {
    let entries = (10..30).map(|n| entry(&format!("h{n}"), 2)).collect();
    let rejected = service(entries).refuses(&Mint::default().ap_req(), code::SERVICE_KEY_ABSENT, 35);
    let have = rejected.refusal.have().to_owned();
    assert!(have.starts_with("keys of HTTP/h10@EXAMPLE.TEST, HTTP/h11@EXAMPLE.TEST"), "{have}");
    assert!(have.ends_with("HTTP/h17@EXAMPLE.TEST and 12 more in the keytab"), "{have}");
}

/// Keys of `size` principals, a third of them shared, a third unusable.
fn crowd(size: usize) -> ServiceKeys {
    let (one, key) = (entry("one", 2), entry("key", 2));
    let entries = (0..size).map(|n| {
        let host = format!("h{n}");
        match n % 3 {
            0 => shared(&one, &host),
            1 => KeytabEntry { etype: 26, ..shared(&one, &host) },
            _ => {
                let mut bytes = key.key.expose().to_vec();
                bytes.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
                KeytabEntry { key: Secret::new(bytes), ..shared(&key, &host) }
            }
        }
    });
    ServiceKeys::from_keytab(&Keytab { entries: entries.collect() }).unwrap()
}

/// What finding keys for tickets that none opens, and the words about it, take at the least.
fn cost(keys: &ServiceKeys) -> Duration {
    let claims: Vec<_> = [None, Some(2), Some(77)]
        .into_iter()
        .flat_map(|kvno| ["alias", "h1", "h2"].map(|host| Claim { service: http(host), kvno, etype: AES256 }))
        .collect();
    let once = || {
        let begun = Instant::now();
        for claim in &claims {
            assert!(keys.candidates(claim, &[]).count() <= MAX_TRIALS);
            assert_ne!(keys.why_absent(claim, &[]), Absence::NoKeys);
            assert!(!keys.describe(&claim.service).is_empty());
        }
        begun.elapsed()
    };
    (0..20).map(|_| once()).min().unwrap()
}

#[test]
fn a_ticket_that_no_key_opens_costs_the_same_with_a_hundred_times_as_many_keys() {
    let (few, many) = (cost(&crowd(30)), cost(&crowd(3_000)));
    assert!(many < few * 5, "{few:?} with 30 keys, {many:?} with 3,000");
}
