//! What an authenticator decides: who sent it, what it asks for, and what it says beyond that.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::error::{Code, code};
use countersign_proto::gss::{BindingsHash, GssFlags};
use countersign_proto::krb5::msg::ap_req::ApOptions;
use countersign_proto::krb5::msg::authorization_data::ad_type;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::policy::{AcceptorPolicy, Waiver};
use countersign_testkit::mint::authorization_data::{client_target, critical, etype_list, if_relevant};
use countersign_testkit::mint::{ApReq, FLAGS, Mint, RawChecksum, RawKey, gss_checksum};
use countersign_testkit::pair::{Service, acceptor_policy};

fn service() -> Service {
    Service::new(&Mint::default(), AcceptorPolicy::default())
}

fn altered(alter: impl FnOnce(&mut ApReq)) -> ApReq {
    let mut request = Mint::default().ap_req();
    alter(&mut request);
    request
}

fn refuses(alter: impl FnOnce(&mut ApReq), code: Code, error_code: i32) {
    service().refuses(&altered(alter), code, error_code);
}

fn with_data(data: Vec<u8>) -> ApReq {
    altered(|request| request.authenticator.authorization_data = Some(data))
}

fn asking(flags: GssFlags) -> ApReq {
    altered(|request| request.authenticator.checksum = Some(gss_checksum(BindingsHash::NONE, flags)))
}

// weaknesses 1 and 2
#[test]
fn an_initiator_that_does_not_ask_for_mutual_authentication_is_refused() {
    for flags in [0, FLAGS.0 & !GssFlags::MUTUAL.0, !(GssFlags::MUTUAL.0 | GssFlags::DCE_STYLE.0 | 1)] {
        service().refuses(&asking(GssFlags(flags)), code::MUTUAL_NOT_REQUESTED, 46);
    }
}

#[test]
fn the_ap_options_do_not_stand_in_for_the_protected_mutual_flag() {
    let without = altered(|request| request.ap_options = ApOptions(0));
    service().offer(&without.token()).accepted();
    let mut only = asking(GssFlags(FLAGS.0 & !GssFlags::MUTUAL.0));
    only.ap_options = ApOptions::MUTUAL_REQUIRED;
    service().refuses(&only, code::MUTUAL_NOT_REQUESTED, 46);
}

#[test]
fn mutual_authentication_given_up_by_policy_is_a_waiver_and_sends_no_token() {
    let policy = acceptor_policy(|policy| {
        policy.dangerous().allow_no_mutual();
    });
    let mut service = Service::new(&Mint::default(), policy);
    let (context, sent) = service.offer(&asking(GssFlags::CONF).token()).accepted();
    assert!(sent.is_empty() && !context.facts().kerberos().unwrap().mutual);
    assert_eq!(context.facts().kerberos().unwrap().waivers, [Waiver::AllowNoMutual]);
    // Who asks gets it all the same.
    let (context, sent) = service.offer(&Mint::default().ap_req().token()).accepted();
    assert!(!sent.is_empty() && context.facts().kerberos().unwrap().mutual);
    assert_eq!(context.facts().kerberos().unwrap().waivers, []);
}

// weakness 6
#[test]
fn only_flags_that_were_asked_for_and_mean_something_here_are_granted() {
    let asked = GssFlags::MUTUAL.union(GssFlags::IDENTIFY).union(GssFlags(0x8000_0100));
    let (context, _) = service().offer(&asking(asked).token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().flags, GssFlags::MUTUAL.union(GssFlags::IDENTIFY));
    let everything = FLAGS.union(GssFlags::IDENTIFY).union(GssFlags::EXTENDED_ERROR);
    let (context, _) = service().offer(&asking(everything).token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().flags, everything);
}

#[test]
fn delegation_is_never_granted_whether_a_credential_follows_or_not() {
    let flags = FLAGS.union(GssFlags::DELEG);
    let (context, _) = service().offer(&asking(flags).token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().flags, FLAGS);
    let mut with_credential = asking(flags);
    let checksum = with_credential.authenticator.checksum.as_mut().unwrap();
    checksum.bytes.extend([1, 0, 3, 0, 0x76, 1, 0]);
    let (context, _) = service().offer(&with_credential.token()).accepted();
    assert_eq!(context.facts().kerberos().unwrap().flags, FLAGS);
}

#[test]
fn dce_style_is_refused() {
    service().refuses(&asking(FLAGS.union(GssFlags::DCE_STYLE)), code::DCE_STYLE_UNSUPPORTED, 60);
}

#[test]
fn a_ticket_under_a_session_key_is_user_to_user_and_refused() {
    refuses(|request| request.ap_options = ApOptions::USE_SESSION_KEY, code::USER_TO_USER_UNSUPPORTED, 67);
}

#[test]
fn an_authenticator_of_another_key_usage_or_etype_is_refused() {
    let other = Mint::default().key(&Principal::new("R", &["x"]), 1, Etype::Aes256CtsHmacSha1_96);
    refuses(|request| request.key = other, code::AUTHENTICATOR_INTEGRITY, 31);
    refuses(|request| request.usage = KeyUsage(7), code::AUTHENTICATOR_INTEGRITY, 31);
    refuses(|request| request.etype = 17, code::AUTHENTICATOR_INTEGRITY, 31);
    refuses(|request| request.etype = 26, code::AUTHENTICATOR_INTEGRITY, 31);
}

#[test]
fn an_authenticator_too_short_to_be_one_is_refused() {
    let mut body = Vec::new();
    let request = Mint::default().ap_req();
    let sealed = countersign_proto::krb5::msg::encrypted_data::EncryptedData {
        etype: 18,
        kvno: None,
        cipher: &[0; 27],
    };
    countersign_proto::gss::framing::wrap(
        countersign_proto::gss::framing::TokenId::ApReq,
        &mut body,
        |writer| {
            countersign_proto::krb5::msg::ap_req::ApReq::write(
                writer,
                request.ap_options,
                &request.ticket.encode(),
                &sealed,
            );
        },
    );
    let (rejected, _) = service().offer(&body).refused();
    assert_eq!(rejected.refusal.code(), code::AUTHENTICATOR_INTEGRITY);
}

#[test]
fn an_authenticator_that_opens_to_something_else_is_refused() {
    refuses(|request| request.authenticator.appended = vec![0], code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn a_client_other_than_the_tickets_is_refused_in_realm_and_in_every_component() {
    for client in [
        Principal::new("OTHER.TEST", &["alice"]),
        Principal::new("EXAMPLE.TEST", &["Alice"]),
        Principal::new("EXAMPLE.TEST", &["alice", "admin"]),
        Principal::new("EXAMPLE.TEST", &["mallory"]),
        Principal::new("example.test", &["alice"]),
    ] {
        refuses(|request| request.authenticator.client = client, code::CLIENT_MISMATCH, 36);
    }
}

#[test]
fn a_slash_inside_of_a_component_does_not_make_two() {
    let mint = Mint { client: Principal::new("EXAMPLE.TEST", &["alice", "admin"]), ..Mint::default() };
    let mut request = mint.ap_req();
    request.authenticator.client = Principal::new("EXAMPLE.TEST", &["alice/admin"]);
    service().refuses(&request, code::CLIENT_MISMATCH, 36);
}

// weakness 8
#[test]
fn an_anonymous_client_is_refused_however_the_kdc_says_that_it_is_one() {
    let of = |realm, components: &[&str]| {
        Mint { client: Principal::new(realm, components), ..Mint::default() }.ap_req()
    };
    let mut flagged = Mint::default().ap_req();
    flagged.ticket.flags = TicketFlags(1 << 15);
    for request in [
        flagged,
        of("EXAMPLE.TEST", &["WELLKNOWN", "ANONYMOUS"]),
        of("WELLKNOWN:ANONYMOUS", &["WELLKNOWN", "ANONYMOUS"]),
        of("WELLKNOWN:ANONYMOUS", &["alice"]),
    ] {
        service().refuses(&request, code::ANONYMOUS_CLIENT, 60);
    }
    service().offer(&of("EXAMPLE.TEST", &["WELLKNOWN", "alice"]).token()).accepted();
}

#[test]
fn a_name_is_bounded_in_components_and_bytes() {
    let of = |client: Principal| Mint { client, ..Mint::default() }.ap_req();
    let named = |length: usize| of(Principal::new("EXAMPLE.TEST", &[&"x".repeat(length - 12)]));
    service().offer(&named(1_024).token()).accepted();
    service().refuses(&named(1_025), code::TICKET_MALFORMED, 60);
    let counted = |count| of(Principal::new("EXAMPLE.TEST", &vec!["x"; count]));
    service().offer(&counted(32).token()).accepted();
    service().refuses(&counted(33), code::TICKET_MALFORMED, 60);
}

#[test]
fn the_name_type_is_no_part_of_an_identity() {
    let request = altered(|request| request.authenticator.client.name_type = 10);
    service().offer(&request.token()).accepted();
}

#[test]
fn an_authenticator_without_a_gss_checksum_is_refused() {
    refuses(|request| request.authenticator.checksum = None, code::CHECKSUM_ABSENT, 50);
    // What Samba's clients send: a checksum under the session key over nothing.
    let session = Mint::default().ticket().session_key;
    let keyed = session.checksum(KeyUsage::AP_REQ_CHECKSUM).sign(&[]).as_ref().to_vec();
    let checksum = RawChecksum { cksumtype: 16, bytes: keyed };
    refuses(|request| request.authenticator.checksum = Some(checksum), code::CHECKSUM_ABSENT, 50);
}

#[test]
fn a_gss_checksum_of_every_shorter_length_is_refused() {
    for length in 0..24 {
        let mut checksum = gss_checksum(BindingsHash::NONE, FLAGS);
        checksum.bytes.truncate(length);
        refuses(|request| request.authenticator.checksum = Some(checksum), code::CHECKSUM_MALFORMED, 60);
    }
}

#[test]
fn a_gss_checksum_that_breaks_its_layout_is_refused() {
    let base = gss_checksum(BindingsHash::NONE, FLAGS.union(GssFlags::DELEG));
    let mut bindings_length = base.clone();
    bindings_length.bytes[0] = 15;
    let appended = |tail: &[u8]| {
        let mut checksum = base.clone();
        checksum.bytes.extend(tail);
        checksum
    };
    for checksum in [
        bindings_length,
        appended(&[2, 0, 0, 0]),
        appended(&[1, 0, 5, 0, 1]),
        appended(&[1, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 1]),
        appended(&[1, 0, 0, 0, 0, 0, 0, 9]),
    ] {
        refuses(|request| request.authenticator.checksum = Some(checksum), code::CHECKSUM_MALFORMED, 60);
    }
}

#[test]
fn extensions_of_the_gss_checksum_are_passed_over() {
    let mut checksum = gss_checksum(BindingsHash::NONE, FLAGS);
    checksum.bytes.extend([0, 0, 0, 2, 0, 0, 0, 1, 7]);
    let request = altered(|request| request.authenticator.checksum = Some(checksum));
    service().offer(&request.token()).accepted();
}

#[test]
fn a_subkey_of_an_etype_or_length_that_cannot_be_is_refused() {
    let subkey = |etype, length| Some(RawKey { etype, bytes: vec![1; length] });
    refuses(|request| request.authenticator.subkey = subkey(26, 32), code::ETYPE_UNKNOWN, 60);
    refuses(|request| request.authenticator.subkey = subkey(23, 16), code::ETYPE_NOT_PERMITTED, 60);
    refuses(|request| request.authenticator.subkey = subkey(18, 16), code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn an_initiator_without_subkey_and_sequence_number_is_accepted() {
    let request = altered(|request| {
        request.authenticator.subkey = None;
        request.authenticator.seq_number = None;
    });
    service().offer(&request.token()).accepted();
}

#[test]
fn critical_authorization_data_that_is_not_understood_is_refused_and_optional_is_not() {
    service().refuses(&with_data(critical(&[(12_345, b"x")])), code::AUTHORIZATION_DATA_UNKNOWN, 60);
    service().offer(&with_data(if_relevant(&[(12_345, b"x")])).token()).accepted();
    for known in [ad_type::KERB_AUTH_DATA_TOKEN_RESTRICTIONS, ad_type::KERB_LOCAL] {
        service().offer(&with_data(if_relevant(&[(known, b"x")])).token()).accepted();
    }
}

/// Authorization data in containers of which each holds the next, `depth` lists in all.
fn nested(depth: usize) -> Vec<u8> {
    (1..depth).fold(critical(&[]), |inner, _| critical(&[(ad_type::AD_IF_RELEVANT, &inner)]))
}

#[test]
fn authorization_data_is_bounded_in_depth_and_count() {
    service().offer(&with_data(nested(4)).token()).accepted();
    service().refuses(&with_data(nested(5)), code::AUTHENTICATOR_MALFORMED, 60);
    let many = |count| if_relevant(&vec![(12_345, &b""[..]); count]);
    service().offer(&with_data(many(64)).token()).accepted();
    service().refuses(&with_data(many(65)), code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn ap_options_twice_or_of_another_length_than_four_are_refused() {
    fn element(data: &[u8]) -> (i32, &[u8]) {
        (ad_type::KERB_AP_OPTIONS, data)
    }
    service().offer(&with_data(if_relevant(&[element(&[0, 0, 0, 0])])).token()).accepted();
    for data in [&[][..], &[0; 3], &[0; 5], &[0; 8]] {
        service().refuses(&with_data(if_relevant(&[element(data)])), code::AUTHENTICATOR_MALFORMED, 60);
    }
    let twice = if_relevant(&[element(&[0; 4]), element(&[0; 4])]);
    service().refuses(&with_data(twice), code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn ap_options_in_two_containers_are_twice_too() {
    let inner = critical(&[(ad_type::KERB_AP_OPTIONS, &[0; 4])]);
    let twice = critical(&[(ad_type::AD_IF_RELEVANT, &inner), (ad_type::AD_IF_RELEVANT, &inner)]);
    service().refuses(&with_data(twice), code::AUTHENTICATOR_MALFORMED, 60);
}

fn targeting(data: &[u8]) -> ApReq {
    with_data(if_relevant(&[(ad_type::KERB_CLIENT_TARGET, data)]))
}

fn accepting_one() -> Service {
    let policy = acceptor_policy(|policy| policy.accept_principals = vec![Mint::default().service]);
    Service::new(&Mint::default(), policy)
}

// weakness 9
#[test]
fn a_client_that_means_another_service_is_refused() {
    for target in ["HTTP/b.example.test@EXAMPLE.TEST", "ldap/a.example.test", "HTTP/a.example.test@OTHER", ""]
    {
        accepting_one().refuses(&targeting(&client_target(target)), code::TARGET_NAME_MISMATCH, 35);
    }
}

#[test]
fn without_accept_principals_a_client_may_mean_an_alias_that_only_the_kdc_knows() {
    service().offer(&targeting(&client_target("HTTP/alias@EXAMPLE.TEST")).token()).accepted();
}

#[test]
fn a_client_that_means_this_service_is_accepted_in_any_case_and_without_realm() {
    for target in
        ["HTTP/a.example.test@EXAMPLE.TEST", "http/A.EXAMPLE.TEST@example.test", "HTTP/a.example.test"]
    {
        accepting_one().offer(&targeting(&client_target(target)).token()).accepted();
    }
}

#[test]
fn a_target_that_the_client_took_from_an_untrusted_source_is_no_evidence() {
    let options = 0x8000_u32.to_le_bytes();
    let target = client_target("HTTP/b.example.test@EXAMPLE.TEST");
    let data = if_relevant(&[(ad_type::KERB_AP_OPTIONS, &options), (ad_type::KERB_CLIENT_TARGET, &target)]);
    accepting_one().offer(&with_data(data).token()).accepted();
}

#[test]
fn a_target_that_accept_principals_names_is_served_though_it_has_no_key() {
    let alias = Principal::new("EXAMPLE.TEST", &["HTTP", "alias"]);
    let policy = acceptor_policy(|policy| policy.accept_principals = vec![Mint::default().service, alias]);
    let mut service = Service::new(&Mint::default(), policy);
    service.offer(&targeting(&client_target("HTTP/alias@EXAMPLE.TEST")).token()).accepted();
}

#[test]
fn a_target_that_is_not_utf16_is_refused() {
    for data in [&[0x48][..], &[0x00, 0xD8], &[0x00, 0xDC, 0x41, 0x00]] {
        service().refuses(&targeting(data), code::AUTHENTICATOR_MALFORMED, 60);
    }
}

#[test]
fn a_target_longer_than_a_name_can_be_is_refused() {
    let longest = client_target(&"x".repeat(1_024));
    service().offer(&targeting(&longest).token()).accepted();
    service().refuses(&targeting(&[&longest[..], b"x\0"].concat()), code::AUTHENTICATOR_MALFORMED, 60);
}

#[test]
fn a_target_name_cannot_forge_a_line_of_the_log() {
    let rejected = accepting_one().refuses(
        &targeting(&client_target("HTTP/x\nCS-0000 all is well")),
        code::TARGET_NAME_MISMATCH,
        35,
    );
    assert!(!rejected.refusal.to_string().contains('\n'), "{}", rejected.refusal);
}

/// Etype of the acceptor's subkey when these are in play.
fn chosen(permitted: &[i32], session: i32, subkey: Option<i32>, named: Option<&[i32]>) -> i32 {
    let etype = |number| Etype::from_wire(number).unwrap();
    let mint = Mint { session_etype: etype(session), ..Mint::default() };
    let mut request = mint.ap_req();
    request.authenticator.subkey = subkey
        .map(|number| RawKey::of(&Key::generate(etype(number), &mut countersign_testkit::TestRng::new(4))));
    request.authenticator.authorization_data =
        named.map(|named| if_relevant(&[(ad_type::AD_ETYPE_NEGOTIATION, &etype_list(named))]));
    let permitted = permitted.iter().map(|number| etype(*number)).collect();
    let policy = acceptor_policy(|policy| policy.permitted_enctypes = permitted);
    let (context, _) = Service::new(&mint, policy).offer(&request.token()).accepted();
    context.facts().kerberos().unwrap().message_etype.wire()
}

#[test]
fn the_subkey_has_the_first_of_our_etypes_that_the_initiator_named_or_used() {
    assert_eq!(chosen(&[18, 17, 20, 19], 17, Some(17), None), 17);
    assert_eq!(chosen(&[18, 17, 20, 19], 17, Some(17), Some(&[20, 18, 17])), 18);
    assert_eq!(chosen(&[20, 18, 17], 17, Some(17), Some(&[18, 20, 17])), 20);
    assert_eq!(chosen(&[18, 17, 20], 17, Some(20), None), 17);
    assert_eq!(chosen(&[20, 18, 17], 17, Some(20), None), 20);
    assert_eq!(chosen(&[18, 17, 20], 20, None, Some(&[19])), 20);
    assert_eq!(chosen(&[18, 20], 20, None, Some(&[26, -133, 18])), 18, "unknown ones are passed over");
    assert_eq!(chosen(&[18, 20], 20, None, Some(&[23])), 20, "one that is not permitted is never chosen");
    assert_eq!(chosen(&[18, 20], 20, None, Some(&[])), 20);
}

#[test]
fn an_etype_list_that_breaks_its_encoding_is_refused() {
    for list in [&[0x30, 3, 2, 1][..], &[0x30, 0, 0], &[2, 1, 18]] {
        let data = if_relevant(&[(ad_type::AD_ETYPE_NEGOTIATION, list)]);
        service().refuses(&with_data(data), code::AUTHENTICATOR_MALFORMED, 60);
    }
}
