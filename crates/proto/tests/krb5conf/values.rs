//! What values mean, and which are refused.

use crate::{conf, notes};
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5conf::{KdcAddress, Krb5Conf, LibDefaults, PathTokens};
use std::time::Duration;

fn libdefaults(line: &str) -> LibDefaults {
    conf(&format!("[libdefaults]\n{line}\n")).unwrap().libdefaults
}

#[test]
fn an_empty_file_says_what_no_file_says() {
    assert_eq!(conf("").unwrap(), Krb5Conf::default());
    let defaults = LibDefaults::default();
    assert!(defaults.dns_lookup_kdc && !defaults.dns_lookup_realm && defaults.kdc_timesync);
    assert_eq!(defaults.udp_preference_limit, 1_465);
    assert_eq!(defaults.clock_skew, Duration::from_secs(300));
    assert!(defaults.tickets.noaddresses);
}

#[test]
fn values_that_a_key_cannot_have_are_refused_with_the_line() {
    for (line, said) in [
        ("clockskew = five", "clockskew = \"five\""),
        ("clockskew = -1", "clockskew = \"-1\""),
        ("dns_lookup_kdc = maybe", "dns_lookup_kdc = \"maybe\""),
        ("forwardable = \"\"", "forwardable = \"\""),
        ("default_realm = \"\"", "default_realm = \"\""),
        ("ticket_lifetime = 10x", "ticket_lifetime = \"10x\""),
        ("udp_preference_limit = many", "udp_preference_limit = \"many\""),
        ("max_retries = 0", "max_retries = \"0\""),
        ("preferred_preauth_types = 17, encrypted", "preferred_preauth_types"),
        ("permitted_enctypes = des-cbc-crc rc4", "permitted_enctypes = \"des-cbc-crc rc4\""),
        ("dns_canonicalize_hostname = sometimes", "dns_canonicalize_hostname"),
        ("realm_try_domains = all", "realm_try_domains"),
        ("R.TEST = {\nproxiable = 2\n}", "proxiable = \"2\""),
    ] {
        let error = conf(&format!("[libdefaults]\n{line}\n")).unwrap_err();
        assert_eq!(error.code(), code::KRB5_CONF_MALFORMED);
        assert!(
            error.to_string().starts_with("/etc/krb5.conf:") && error.to_string().contains(said),
            "{error}"
        );
    }
    for kdc in ["kdc:x", "750", ":88", "[::1", "kdc:88 # main:"] {
        let text = format!("[realms]\nR = {{\nkdc = {kdc}\n}}\n");
        let read = conf(&text);
        assert_eq!(read.is_ok(), kdc.contains('#'), "{kdc}");
    }
}

#[test]
fn a_comment_after_a_value_is_said_to_belong_to_it() {
    let error = conf("[libdefaults]\nclockskew = 300 # five minutes\n").unwrap_err();
    assert!(error.advice().contains("comment"), "{}", error.advice());
    let error = conf("[libdefaults]\nclockskew = 300 minutes or so\n").unwrap_err();
    assert!(!error.advice().contains("comment"));
}

#[test]
fn a_long_value_is_cut_in_the_error() {
    let error = conf(&format!("[libdefaults]\nclockskew = {}\n", "ü".repeat(5_000))).unwrap_err();
    assert!(error.to_string().len() < 300);
}

#[test]
fn the_first_of_several_values_counts() {
    assert_eq!(libdefaults("clockskew = 10\nclockskew = 20").clock_skew, Duration::from_secs(10));
    assert_eq!(
        libdefaults("default_ccache_name = A:\ndefault_cc_name = B:").default_ccache_name.unwrap().text,
        "A:"
    );
}

#[test]
fn limits_are_read_as_mit_reads_them() {
    for (text, limit) in [("0", 0), ("1465", 1_465), ("-1", 1_465), ("99999", 32_700)] {
        assert_eq!(libdefaults(&format!("udp_preference_limit = {text}")).udp_preference_limit, limit);
    }
    assert_eq!(libdefaults("request_timeout = 0").request_timeout, None);
    assert_eq!(libdefaults("request_timeout = 1m").request_timeout, Some(Duration::from_secs(60)));
    assert_eq!(libdefaults("realm_try_domains = -1").realm_try_domains, None);
    assert_eq!(libdefaults("realm_try_domains = 1").realm_try_domains, Some(1));
    assert_eq!(libdefaults("preferred_preauth_types = 2,151").tickets.preferred_preauth_types, [2, 151]);
}

#[test]
fn dns_fallback_stands_in_for_both_lookups() {
    let defaults = libdefaults("dns_fallback = no\ndns_lookup_realm = yes");
    assert!(!defaults.dns_lookup_kdc && defaults.dns_lookup_realm);
}

#[test]
fn rc4_is_used_only_where_it_is_allowed() {
    use countersign_proto::crypto::Etype::ArcfourHmac;
    assert!(!libdefaults("permitted_enctypes = aes rc4").permitted_enctypes.contains(&ArcfourHmac));
    for allowed in ["allow_rc4 = true", "allow_weak_crypto = true"] {
        assert_eq!(
            libdefaults(&format!("{allowed}\npermitted_enctypes = rc4")).default_tgs_enctypes,
            [ArcfourHmac]
        );
        assert_eq!(libdefaults(allowed).permitted_enctypes.last(), Some(&ArcfourHmac));
    }
}

#[test]
fn the_second_dot_of_a_path_and_words_after_a_realm_have_no_effect() {
    let conf = conf("[capaths]\nA = {\nB = X # main\nB = .\nB = Y Z\nC = .\nC = X\n}\n").unwrap();
    assert_eq!(conf.capaths.path(b"A", b"B"), [&b"A"[..], b"X", b"Y", b"B"]);
    assert_eq!(conf.capaths.path(b"A", b"C"), [b"A", b"C"]);
    assert_eq!(notes(&conf).len(), 3, "{:?}", notes(&conf));
}

#[test]
fn unknown_keys_are_noted_once_and_those_for_others_are_not() {
    let text = "[libdefaults]\nclok_skew = 1\nclok_skew = 2\nrdns = false\npkinit_x = y\nR = {\nz = 1\n}\n\
        [realms]\nA = {\nkdcs = a\nauth_to_local = DEFAULT\n}\nB = {\nkdcs = b\n}\nC = c\n[domain_realm]\nd = {\n}\n[otp]\n";
    assert_eq!(
        notes(&conf(text).unwrap()),
        [
            "2: clok_skew in [libdefaults] is not known and has no effect",
            "7: z in a realm's part of [libdefaults] is not known and has no effect",
            "17: C in [realms] has a value where a subsection is looked for: no effect",
            "11: kdcs in [realms] is not known and has no effect",
            "19: d in [domain_realm] is a subsection where a value is looked for: no effect",
        ]
    );
}

#[test]
fn looking_up_uri_records_is_said_to_have_no_effect() {
    assert_eq!(notes(&conf("[libdefaults]\ndns_uri_lookup = false\n").unwrap()), [""; 0]);
    assert_eq!(notes(&conf("[libdefaults]\ndns_uri_lookup = true\n").unwrap()).len(), 1);
}

#[test]
fn a_program_makes_a_configuration_without_a_file() {
    let conf = Krb5Conf::builder()
        .default_realm("A.TEST")
        .dns_lookup_kdc(false)
        .realm("A.TEST", [KdcAddress::socket("127.0.0.1", 1088)])
        .realm("A.TEST", [KdcAddress::parse("tcp/b").unwrap()])
        .domain_realm(".B.test", "B.TEST")
        .capath("A.TEST", "B.TEST", &["HUB.TEST"])
        .build();
    let text = "[libdefaults]\ndefault_realm = A.TEST\ndns_lookup_kdc = 0\n[realms]\nA.TEST = {\nkdc = 127.0.0.1:1088\n\
        kdc = tcp/b\n}\n[domain_realm]\n.b.test = B.TEST\n[capaths]\nA.TEST = {\nB.TEST = HUB.TEST\n}\n";
    assert_eq!(conf, crate::conf(text).unwrap());
    assert_eq!(conf.realm_of_host("a.b.test"), Some("B.TEST"));
    assert_eq!(conf.kdcs("A.TEST").len(), 2);
}

#[test]
fn an_unknown_token_in_a_name_is_told_with_its_line_when_the_name_is_used() {
    let name =
        libdefaults("default_keytab_name = FILE:%{LOCALSTATEDIR}/%{uid}.keytab").default_keytab_name.unwrap();
    let error = name.expand(&PathTokens::default()).unwrap_err();
    assert!(error.to_string().starts_with("/etc/krb5.conf:2: "), "{error}");
    assert!(error.to_string().ends_with("with %{LOCALSTATEDIR"), "{error}");
}
