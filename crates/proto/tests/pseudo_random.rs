//! Keys for protocols above (RFC 4401, RFC 7802): both ends get the same ones, and nobody gets them from NTLM.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod context_pairs;
#[path = "vectors/reader.rs"]
mod reader;

use context_pairs::{ETYPES, kerberos, kerberos_with, ntlm};
use countersign_proto::context::SecurityContext;
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5::pseudo_random::{ContextKeys, MAX_PSEUDO_RANDOM_LEN, PrfKey, PseudoRandomError};
use reader::{Record, records};
use std::collections::BTreeSet;

fn keys(record: &Record) -> ContextKeys {
    ContextKeys::new(key(record, "initiator_key"), Some(key(record, "acceptor_key")))
}

fn key(record: &Record, name: &str) -> Key {
    let etype = Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap();
    Key::new(etype, &record.bytes(name)).unwrap()
}

fn vectors() -> Vec<Record> {
    let records = records(include_str!("vectors/crypto/gss_pseudo_random.txt"));
    assert_eq!(records.len(), 5);
    records
}

#[test]
fn bytes_are_those_of_mit_for_either_key_and_a_shorter_output_begins_a_longer_one() {
    for record in vectors() {
        let keys = keys(&record);
        for (key, input, output) in [
            (PrfKey::Partial, Vec::new(), record.bytes("partial_of_nothing")),
            (PrfKey::Full, record.bytes("input"), record.bytes("full_of_input")),
        ] {
            for length in [0, 1, output.len() - 1, output.len()] {
                let found = keys.pseudo_random(key, &input, length).ok().unwrap();
                assert_eq!(found.expose(), &output[..length], "etype {}", record.text("etype"));
            }
        }
    }
}

#[test]
fn without_an_acceptor_subkey_the_full_key_is_the_initiators() {
    for record in vectors() {
        let keys = ContextKeys::new(key(&record, "initiator_key"), None);
        let found = keys.pseudo_random(PrfKey::Full, b"", 44).ok().unwrap();
        assert_eq!(found.expose(), record.bytes("partial_of_nothing"));
    }
}

#[test]
fn the_longest_output_repeats_nothing_and_a_longer_one_is_refused() {
    let keys = keys(&vectors()[1]);
    let longest = keys.pseudo_random(PrfKey::Full, b"label", MAX_PSEUDO_RANDOM_LEN).ok().unwrap();
    let blocks: BTreeSet<_> = longest.expose().chunks(16).collect();
    assert_eq!(blocks.len(), MAX_PSEUDO_RANDOM_LEN / 16);
    let length = MAX_PSEUDO_RANDOM_LEN + 1;
    let refused = keys.pseudo_random(PrfKey::Full, b"label", length).err().unwrap();
    assert_eq!(refused, PseudoRandomError::TooLong { length });
    assert_eq!(refused.code(), code::PSEUDO_RANDOM_TOO_LONG);
}

fn made(context: &SecurityContext, key: PrfKey, label: &[u8]) -> Vec<u8> {
    context.pseudo_random(key, label, 48).ok().unwrap().expose().to_vec()
}

#[test]
fn both_ends_make_the_same_bytes_and_other_ones_for_every_key_and_label() {
    for etype in ETYPES {
        let (initiator, acceptor) = kerberos(etype);
        let mut seen = BTreeSet::new();
        for key in [PrfKey::Full, PrfKey::Partial] {
            for label in [&b""[..], b"one", b"two"] {
                let bytes = made(&initiator, key, label);
                assert_eq!(bytes, made(&acceptor, key, label), "{etype}");
                assert!(seen.insert(bytes), "{etype}");
            }
        }
    }
}

#[test]
fn the_keys_outlive_the_context_that_was_taken_apart() {
    let (initiator, acceptor) = kerberos(ETYPES[1]);
    let expected = made(&initiator, PrfKey::Full, b"label");
    let (parts, copy) = (initiator.into_parts(), acceptor.into_parts().export.clone());
    drop((parts.sender, parts.receiver));
    for export in [parts.export, copy] {
        let bytes = export.pseudo_random(PrfKey::Full, b"label", 48).ok().unwrap();
        assert!(bytes.ct_eq(&expected));
    }
}

#[test]
fn without_mutual_authentication_there_is_the_initiators_key_alone() {
    use countersign_proto::gss::{BindingsHash, GssFlags};
    use countersign_proto::krb5::msg::ap_req::ApOptions;
    use countersign_testkit::mint::{Mint, gss_checksum};
    use countersign_testkit::pair::{Service, acceptor_policy};
    let mint = Mint::default();
    let policy = acceptor_policy(|policy| {
        policy.dangerous().allow_no_mutual();
    });
    let mut request = mint.ap_req();
    request.ap_options = ApOptions(0);
    let flags = GssFlags(GssFlags::CONF.0 | GssFlags::INTEG.0);
    request.authenticator.checksum = Some(gss_checksum(BindingsHash::NONE, flags));
    let (context, _) = Service::new(&mint, policy).offer(&request.token()).accepted();
    assert!(!context.facts().mutual());
    assert_eq!(made(&context, PrfKey::Full, b"x"), made(&context, PrfKey::Partial, b"x"));
}

#[test]
fn integrity_alone_changes_nothing_about_keys() {
    let (initiator, acceptor) = kerberos_with(ETYPES[0], |ours, theirs| {
        ours.dangerous().sign_only();
        theirs.dangerous().allow_unsealed();
    });
    assert_eq!(made(&initiator, PrfKey::Full, b"x"), made(&acceptor, PrfKey::Full, b"x"));
}

#[test]
fn a_context_of_ntlm_says_that_it_has_no_such_function() {
    let (initiator, acceptor) = ntlm();
    for context in [initiator, acceptor] {
        let refused = context.pseudo_random(PrfKey::Full, b"label", 16).err().unwrap();
        assert_eq!(refused, PseudoRandomError::NotDefined);
        assert_eq!(refused.code(), code::PSEUDO_RANDOM_NOT_DEFINED);
    }
}
