//! Which key opens a ticket (DESIGN rule 7), and what is said when none does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use countersign_proto::context::Acceptor;
use countersign_proto::crypto::Etype;
use countersign_proto::error::code;
use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::krb5::keys::{MAX_TRIALS, ServiceKeys};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::policy::AcceptorPolicy;
use countersign_proto::secret::Secret;
use countersign_testkit::mint::{ApReq, Mint};
use countersign_testkit::pair::{Service, acceptor_policy};

const AES256: Etype = Etype::Aes256CtsHmacSha1_96;
const AES128: Etype = Etype::Aes128CtsHmacSha1_96;
/// camellia256-cts-cmac, which is not implemented.
const CAMELLIA: i32 = 26;

fn http() -> Principal {
    Principal::new("EXAMPLE.TEST", &["HTTP", "a.example.test"])
}

fn other(name: &str) -> Principal {
    Principal::new("EXAMPLE.TEST", &["HTTP", name])
}

fn service_with(entries: Vec<KeytabEntry>, accept_principals: Vec<Principal>) -> Service {
    let keys = ServiceKeys::from_keytab(&Keytab { entries }).unwrap();
    let policy = acceptor_policy(|policy| policy.accept_principals = accept_principals);
    Service::of(Acceptor::new(keys, policy), Mint::default().now)
}

/// An AP-REQ whose ticket is under the key of `holder` in version `kvno`, and says that it is for `claimed`.
fn request(holder: &Principal, kvno: u32, claimed: &Principal) -> ApReq {
    let mint = Mint { service: holder.clone(), kvno, ..Mint::default() };
    let mut request = mint.ap_req();
    request.ticket.service = claimed.clone();
    request
}

fn unusable(principal: &Principal, kvno: u32) -> KeytabEntry {
    KeytabEntry {
        principal: principal.clone(),
        timestamp: 0,
        kvno,
        etype: CAMELLIA,
        key: Secret::from(&[7; 32][..]),
    }
}

#[test]
fn the_key_of_the_principal_version_and_etype_opens_the_ticket() {
    let mint = Mint::default();
    let entries = vec![
        mint.entry(&other("b"), 2, AES256),
        mint.entry(&http(), 1, AES256),
        mint.entry(&http(), 2, AES128),
        mint.entry(&http(), 2, AES256),
        unusable(&http(), 2),
    ];
    let (context, _) = service_with(entries, vec![]).offer(&mint.ap_req().token()).accepted();
    let facts = context.facts().kerberos().unwrap();
    assert_eq!((&facts.service, &facts.claimed_service), (&http(), &http()));
    assert_eq!((facts.kvno, facts.ticket_etype), (Some(2), 18));
}

#[test]
fn a_key_of_an_older_version_that_is_still_held_opens_its_tickets() {
    let mint = Mint::default();
    let entries = vec![mint.entry(&http(), 3, AES256), mint.entry(&http(), 2, AES256)];
    let (context, _) = service_with(entries, vec![]).offer(&request(&http(), 2, &http()).token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().kvno, Some(2));
}

#[test]
fn a_ticket_that_names_no_version_is_tried_with_every_version() {
    let mint = Mint::default();
    let entries = vec![mint.entry(&http(), 3, AES256), mint.entry(&http(), 2, AES256)];
    let mut request = mint.ap_req();
    request.ticket.kvno = None;
    let (context, _) = service_with(entries, vec![]).offer(&request.token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().kvno, Some(2), "the version of the key that opened it");
}

#[test]
fn a_key_stored_with_the_lowest_eight_bits_of_its_version_is_found() {
    let mint = Mint { kvno: 258, ..Mint::default() };
    let mut entry = mint.entry(&http(), 258, AES256);
    entry.kvno = 2;
    let (context, _) = service_with(vec![entry], vec![]).offer(&mint.ap_req().token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().kvno, Some(2));
    // Told as a version that is held: the bits that are left agree.
    let absent = mint.entry(&http(), 258, AES256);
    let other_key = KeytabEntry { kvno: 2, key: Secret::from(&[9; 32][..]), ..absent };
    service_with(vec![other_key], vec![]).refuses(&mint.ap_req(), code::TICKET_INTEGRITY, 31);
}

#[test]
fn a_negative_version_of_an_old_read_only_controller_is_taken_as_an_unsigned_one() {
    let mint = Mint { kvno: 0xFFFF_0001, ..Mint::default() };
    for written in [0xFFFF_0001, -0xFFFF] {
        let entries = vec![mint.entry(&http(), 0xFFFF_0001, AES256)];
        let mut request = mint.ap_req();
        request.ticket.kvno = Some(written);
        let (context, _) = service_with(entries, vec![]).offer(&request.token()).accepted();
        assert_eq!(context.facts().kerberos().unwrap().kvno, Some(0xFFFF_0001));
    }
}

#[test]
fn the_case_of_a_name_does_not_matter_and_the_key_says_whose_service_it_is() {
    let claimed = Principal::new("EXAMPLE.TEST", &["http", "A.Example.Test"]);
    let entries = vec![Mint::default().entry(&http(), 2, AES256)];
    let (context, _) = service_with(entries, vec![]).offer(&request(&http(), 2, &claimed).token()).accepted();
    assert_eq!(
        (&context.facts().kerberos().unwrap().service, &context.facts().kerberos().unwrap().claimed_service),
        (&http(), &claimed)
    );
}

#[test]
fn the_exact_name_goes_before_one_equal_but_for_case() {
    let upper = Principal::new("EXAMPLE.TEST", &["HTTP", "A.EXAMPLE.TEST"]);
    let mint = Mint::default();
    // The same key under both names, as after a rename: the exact one is reported.
    let same_key = KeytabEntry { principal: upper, ..mint.entry(&http(), 2, AES256) };
    let entries = vec![same_key, mint.entry(&http(), 2, AES256)];
    let (context, _) = service_with(entries, vec![]).offer(&mint.ap_req().token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().service.to_string(), "HTTP/a.example.test@EXAMPLE.TEST");
}

#[test]
fn an_alias_is_opened_by_any_key_of_the_etype() {
    let mint = Mint::default();
    let entries = vec![mint.entry(&other("b"), 2, AES256), mint.entry(&http(), 2, AES256)];
    let request = request(&http(), 2, &other("alias"));
    let (context, _) = service_with(entries, vec![]).offer(&request.token()).accepted();
    assert_eq!(
        (&context.facts().kerberos().unwrap().service, &context.facts().kerberos().unwrap().claimed_service),
        (&http(), &other("alias"))
    );
}

#[test]
fn the_version_in_a_ticket_is_a_claim_that_only_orders_the_trials() {
    let upper = Principal::new("EXAMPLE.TEST", &["HTTP", "A.EXAMPLE.TEST"]);
    for claimed in [http(), upper] {
        let entries = vec![Mint::default().entry(&http(), 2, AES256)];
        let mut request = request(&http(), 2, &claimed);
        request.ticket.kvno = Some(77);
        let (context, _) = service_with(entries, vec![]).offer(&request.token()).accepted();
        assert_eq!(context.facts().kerberos().unwrap().kvno, Some(2));
    }
}

#[test]
fn an_alias_in_another_version_than_the_ticket_says_is_still_tried() {
    let entries = vec![Mint::default().entry(&http(), 2, AES256)];
    let mut request = request(&http(), 2, &other("alias"));
    request.ticket.kvno = Some(77);
    let (context, _) = service_with(entries, vec![]).offer(&request.token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().kvno, Some(2));
}

fn crowd(mint: &Mint, size: usize) -> Vec<KeytabEntry> {
    (0..size).map(|n| mint.entry(&other(&format!("crowd{n}")), 2, AES256)).collect()
}

#[test]
fn at_most_eight_keys_are_tried_on_an_alias() {
    assert_eq!(MAX_TRIALS, 8);
    let mint = Mint::default();
    let alias = request(&http(), 2, &other("alias"));
    let mut reached = crowd(&mint, 7);
    reached.push(mint.entry(&http(), 2, AES256));
    service_with(reached, vec![]).offer(&alias.token()).accepted();
    let mut beyond = crowd(&mint, 8);
    beyond.push(mint.entry(&http(), 2, AES256));
    service_with(beyond, vec![]).refuses(&alias, code::SERVICE_KEY_ABSENT, 35);
}

#[test]
fn keys_of_the_tickets_version_are_tried_before_other_versions() {
    let mint = Mint::default();
    let mut entries: Vec<_> = (0..20).map(|n| mint.entry(&other(&format!("crowd{n}")), 1, AES256)).collect();
    entries.push(mint.entry(&http(), 2, AES256));
    service_with(entries, vec![]).offer(&request(&http(), 2, &other("alias")).token()).accepted();
}

#[test]
fn keys_of_the_named_principal_are_tried_before_a_crowd_of_others() {
    let mint = Mint::default();
    let mut entries = crowd(&mint, 20);
    entries.push(mint.entry(&http(), 2, AES256));
    service_with(entries, vec![]).offer(&mint.ap_req().token()).accepted();
}

// weakness 13
#[test]
fn accept_principals_shuts_out_every_other_key_of_the_keytab() {
    let mint = Mint::default();
    let entries = || vec![mint.entry(&http(), 2, AES256), mint.entry(&other("b"), 2, AES256)];
    let only_b = || vec![other("b")];
    service_with(entries(), vec![http()]).offer(&mint.ap_req().token()).accepted();
    let rejected =
        service_with(entries(), only_b()).refuses(&mint.ap_req(), code::ACCEPT_PRINCIPALS_EXCLUDE, 35);
    assert!(rejected.facts.is_none(), "nothing is known of a client whose ticket was not opened");
    // Nor does another name of the same key help.
    let alias = request(&http(), 2, &other("alias"));
    service_with(entries(), only_b()).refuses(&alias, code::SERVICE_KEY_ABSENT, 35);
}

#[test]
fn accept_principals_ends_the_search_through_other_names() {
    let mint = Mint::default();
    let alias = request(&http(), 2, &other("alias"));
    let entries = vec![mint.entry(&http(), 2, AES256)];
    service_with(entries, vec![http()]).refuses(&alias, code::SERVICE_KEY_ABSENT, 35);
}

#[test]
fn a_keytab_without_keys_is_told_as_that() {
    service_with(vec![], vec![]).refuses(&Mint::default().ap_req(), code::KEYTAB_WITHOUT_KEYS, 45);
}

#[test]
fn a_service_whose_key_is_not_held_is_refused_and_the_log_names_what_is_held() {
    let entries = vec![Mint::default().entry(&other("b"), 2, AES256)];
    let rejected =
        service_with(entries, vec![]).refuses(&Mint::default().ap_req(), code::SERVICE_KEY_ABSENT, 35);
    let text = rejected.refusal.to_string();
    assert!(text.contains("saw ticket for HTTP/a.example.test@EXAMPLE.TEST kvno 2"), "{text}");
    assert!(text.contains("have keys of HTTP/b@EXAMPLE.TEST in the keytab"), "{text}");
}

#[test]
fn a_version_that_is_not_held_is_refused_and_the_log_names_those_that_are() {
    let mint = Mint::default();
    let entries = vec![mint.entry(&http(), 13, AES256), mint.entry(&http(), 12, AES256)];
    let rejected =
        service_with(entries, vec![]).refuses(&request(&http(), 9, &http()), code::KVNO_ABSENT, 44);
    let text = rejected.refusal.to_string();
    assert!(text.contains("kvno 9") && text.contains("kvno 13") && text.contains("kvno 12"), "{text}");
}

#[test]
fn an_etype_that_is_not_held_is_told_apart_from_a_version_that_is_not() {
    let entries = vec![Mint::default().entry(&http(), 2, AES128)];
    service_with(entries, vec![]).refuses(&Mint::default().ap_req(), code::ETYPE_KEY_ABSENT, 44);
}

#[test]
fn keys_of_etypes_that_are_not_known_are_named_in_the_log_and_harm_nothing() {
    let mint = Mint::default();
    let entries = vec![unusable(&http(), 2)];
    let rejected = service_with(entries, vec![]).refuses(&mint.ap_req(), code::ETYPE_KEY_ABSENT, 44);
    assert!(rejected.refusal.have().contains("camellia256"), "{}", rejected.refusal);
    let entries = vec![unusable(&http(), 2), mint.entry(&http(), 2, AES256)];
    service_with(entries, vec![]).offer(&mint.ap_req().token()).accepted();
}

#[test]
fn a_principal_that_is_accepted_but_has_no_usable_key_is_not_told_as_excluded() {
    let entries = vec![unusable(&http(), 2), Mint::default().entry(&other("b"), 2, AES256)];
    service_with(entries, vec![http()]).refuses(&Mint::default().ap_req(), code::ETYPE_KEY_ABSENT, 44);
}

#[test]
fn a_ticket_under_another_key_of_the_same_name_version_and_etype_is_refused() {
    let entry = KeytabEntry { key: Secret::from(&[9; 32][..]), ..Mint::default().entry(&http(), 2, AES256) };
    service_with(vec![entry], vec![]).refuses(&Mint::default().ap_req(), code::TICKET_INTEGRITY, 31);
}

#[test]
fn a_ticket_sealed_for_another_use_of_the_key_is_refused() {
    let mut request = Mint::default().ap_req();
    // The same key bytes under another etype: what is derived from them differs.
    request.ticket.key =
        countersign_proto::crypto::Key::new(Etype::Aes256CtsHmacSha384_192, request.ticket.key.expose())
            .unwrap();
    let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
    service.refuses(&request, code::TICKET_INTEGRITY, 31);
}

#[test]
fn an_etype_that_is_not_known_is_refused_before_any_key_is_tried() {
    let mut request = Mint::default().ap_req();
    request.ticket.etype = CAMELLIA;
    let mut service = Service::new(&Mint::default(), AcceptorPolicy::default());
    service.refuses(&request, code::ETYPE_UNKNOWN, 60);
}

#[test]
fn a_ticket_of_an_etype_that_is_not_permitted_is_refused_though_its_key_is_held() {
    let mint = Mint::of_etype(Etype::ArcfourHmac);
    let mut service = Service::new(&mint, AcceptorPolicy::default());
    let rejected = service.refuses(&mint.ap_req(), code::ETYPE_NOT_PERMITTED, 60);
    assert!(rejected.refusal.saw().contains("arcfour-hmac"), "{}", rejected.refusal);
}

#[test]
fn a_key_of_the_wrong_length_is_refused_when_the_keys_are_loaded() {
    let entry = KeytabEntry { key: Secret::from(&[9; 31][..]), ..Mint::default().entry(&http(), 2, AES256) };
    assert!(ServiceKeys::from_keytab(&Keytab { entries: vec![entry] }).is_err());
}

#[test]
fn a_key_of_the_wrong_length_beside_good_ones_is_told_of_when_it_is_needed() {
    let mint = Mint::default();
    let short = KeytabEntry { key: Secret::from(&[9; 31][..]), ..mint.entry(&http(), 2, AES256) };
    let entries = || vec![short.clone(), mint.entry(&other("b"), 2, AES256)];
    let rejected = service_with(entries(), vec![]).refuses(&mint.ap_req(), code::KEY_MALFORMED, 44);
    assert!(rejected.refusal.have().contains("31 bytes"), "{}", rejected.refusal);
    service_with(entries(), vec![]).offer(&request(&other("b"), 2, &other("b")).token()).accepted();
}

#[test]
fn one_key_under_many_names_counts_as_one_trial() {
    let mint = Mint::default();
    let same = mint.entry(&other("many"), 2, AES256);
    let alias = |n| KeytabEntry { principal: other(&format!("many{n}")), ..same.clone() };
    let mut entries: Vec<_> = (0..20).map(alias).collect();
    entries.push(mint.entry(&http(), 2, AES256));
    service_with(entries, vec![]).offer(&request(&http(), 2, &other("alias")).token()).accepted();
}

#[test]
fn every_permitted_etype_opens_tickets() {
    for etype in AcceptorPolicy::default().permitted_enctypes {
        let mint = Mint::of_etype(etype);
        let mut service = Service::new(&mint, AcceptorPolicy::default());
        let (context, _) = service.offer(&mint.ap_req().token()).accepted();
        assert_eq!(
            (
                context.facts().kerberos().unwrap().ticket_etype,
                context.facts().kerberos().unwrap().session_etype
            ),
            (etype.wire(), etype)
        );
    }
}
