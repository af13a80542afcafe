//! What the configuration of each system says.

use crate::corpus::{SYSTEMS, system};
use crate::notes;
use countersign_proto::crypto::Etype;
use countersign_proto::crypto::spake::SpakeGroup;
use countersign_proto::krb5conf::{DnsCanonicalize, KdcAddress, Krb5Conf};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn read(name: &str) -> Krb5Conf {
    let (_, paths) = SYSTEMS.iter().find(|(system, _)| *system == name).unwrap();
    Krb5Conf::read(paths, &mut system(name)).unwrap()
}

fn shown(addresses: &[KdcAddress]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn wire(etypes: &[Etype]) -> Vec<i32> {
    etypes.iter().map(|etype| etype.wire()).collect()
}

#[test]
fn debian_names_kdcs_and_hosts() {
    let conf = read("debian");
    assert_eq!(conf.libdefaults.default_realm.as_deref(), Some("EXAMPLE.TEST"));
    assert!(conf.libdefaults.tickets.forwardable && conf.libdefaults.tickets.proxiable);
    assert_eq!(
        shown(conf.kdcs("EXAMPLE.TEST")),
        ["kerberos-1.example.test:88", "kerberos-2.example.test:750"]
    );
    assert_eq!(shown(conf.kdcs("ATHENA.TEST")), ["kerberos.athena.test:88", "[2001:db8::88]:88"]);
    assert_eq!(shown(&conf.realms["ATHENA.TEST"].primary_kdcs), ["kerberos.athena.test:88"]);
    assert_eq!(shown(&conf.realms["ATHENA.TEST"].admin_servers), ["kerberos.athena.test:749"]);
    assert_eq!(shown(conf.kdcs("athena.test")), [""; 0]);
    assert_eq!(conf.realm_of_host("www.media.athena.test"), Some("MEDIA-LAB.ATHENA.TEST"));
    assert_eq!(conf.realm_of_host("whoi.athena.test"), Some("ATHENA.TEST"));
    assert_eq!(notes(&conf), [""; 0]);
}

#[test]
fn rhel_takes_in_the_folder_of_settings() {
    let conf = read("rhel");
    let defaults = &conf.libdefaults;
    assert_eq!(defaults.default_realm.as_deref(), Some("CORP.EXAMPLE.TEST"));
    assert_eq!(defaults.udp_preference_limit, 1);
    assert_eq!(wire(&defaults.permitted_enctypes), [20, 19, 18, 17]);
    assert_eq!(defaults.default_tkt_enctypes, defaults.permitted_enctypes);
    assert_eq!(
        defaults.clock_skew,
        Duration::from_secs(300),
        "files that package managers and editors leave"
    );
    assert_eq!(defaults.dns_canonicalize_hostname, DnsCanonicalize::Fallback);
    assert_eq!((defaults.tickets.ticket_lifetime, defaults.tickets.renew_lifetime), (24 * HOUR, 168 * HOUR));
    let ccache = defaults.default_ccache_name.as_ref().unwrap();
    assert_eq!(ccache.text, "KCM:", "the included file comes first");
    assert_eq!(ccache.place.as_ref().unwrap().to_string(), "/etc/krb5.conf.d/kcm_default_ccache:3");
    assert_eq!(
        notes(&conf),
        [
            "2: permitted_enctypes names etypes that are not implemented: camellia256-cts-cmac camellia128-cts-cmac"
        ]
    );
}

#[test]
fn freeipa_has_a_proxy_and_the_paths_that_sssd_wrote() {
    let conf = read("freeipa");
    let realm = &conf.realms["IPA.TEST"];
    assert_eq!(shown(&realm.kdcs), ["ipa1.ipa.test:88", "https://ipa2.ipa.test/KdcProxy"]);
    assert_eq!(shown(&realm.kpasswd_servers), ["ipa1.ipa.test:464"]);
    assert_eq!(realm.http_anchors, ["FILE:/etc/ipa/ca.crt"]);
    assert!(realm.disable_encrypted_timestamp);
    assert!(conf.libdefaults.tickets.canonicalize && conf.libdefaults.dns_lookup_realm);
    assert_eq!(conf.libdefaults.udp_preference_limit, 0);
    assert_eq!(conf.libdefaults.dns_canonicalize_hostname, DnsCanonicalize::No);
    assert_eq!(conf.libdefaults.spake_preauth_groups, [SpakeGroup::Edwards25519, SpakeGroup::P256]);
    assert_eq!(conf.realm_of_host("dc.child.ad.test"), Some("CHILD.AD.TEST"));
    let path = conf.capaths.path(b"CHILD.AD.TEST", b"IPA.TEST");
    assert_eq!(path, [&b"CHILD.AD.TEST"[..], b"AD.TEST", b"IPA.TEST"]);
    assert_eq!(notes(&conf), ["2: spake_preauth_groups names groups that are not implemented: P-384"]);
}

#[test]
fn realmd_names_rc4_which_is_left_out() {
    let conf = read("realmd");
    assert_eq!(wire(&conf.libdefaults.default_tkt_enctypes), [18, 17]);
    assert_eq!(wire(&conf.libdefaults.permitted_enctypes), [18, 17]);
    assert_eq!(conf.ticket_defaults("AD.EXAMPLE.TEST").ticket_lifetime, 8 * HOUR);
    assert!(conf.ticket_defaults("AD.EXAMPLE.TEST").canonicalize);
    assert!(conf.ticket_defaults("AD.EXAMPLE.TEST").forwardable, "what a realm does not set is as for all");
    assert_eq!(conf.ticket_defaults("ELSE.TEST").ticket_lifetime, 10 * HOUR);
    assert!(!conf.ticket_defaults("ELSE.TEST").canonicalize);
    assert_eq!(conf.realm_of_host("FILES.AD.example.test"), Some("AD.EXAMPLE.TEST"));
    assert_eq!(notes(&conf).len(), 4);
    assert!(notes(&conf)[1].contains("rc4-hmac, which is weak"));
}

#[test]
fn heimdal_has_names_and_units_of_its_own() {
    let conf = read("heimdal");
    let defaults = &conf.libdefaults;
    assert_eq!(defaults.clock_skew, Duration::from_secs(300));
    assert_eq!((defaults.kdc_timeout, defaults.max_retries), (Some(Duration::from_secs(10)), Some(2)));
    assert_eq!(defaults.tickets.ticket_lifetime, 26 * HOUR);
    assert!(!defaults.dns_lookup_kdc && defaults.kdc_timesync);
    assert_eq!(wire(&defaults.default_tkt_enctypes), [18]);
    assert_eq!(wire(&defaults.default_tgs_enctypes), [18, 17]);
    assert_eq!(defaults.default_ccache_name.as_ref().unwrap().text, "FILE:/tmp/krb5cc_%{uid}");
    assert_eq!(
        shown(conf.kdcs("SU.TEST")),
        ["udp/kerberos.su.test:88", "tcp/kerberos-2.su.test:89", "[2001:db8::17]:88"]
    );
    assert_eq!(conf.realm_of_host("a.far.test"), None);
    assert_eq!(
        conf.capaths.get(b"SU.TEST", b"FAR.TEST").unwrap(),
        [b"HUB.TEST".to_vec(), b"MIDDLE.TEST".to_vec()]
    );
    assert_eq!(conf.capaths.get(b"SU.TEST", b"NEAR.TEST"), Some(&[][..]));
    assert_eq!(
        notes(&conf),
        [
            "19: kdc = http/kerberos.su.test has no effect: only UDP, TCP and HTTPS are spoken",
            "27: .far.test = dns_locate: realms are not looked for in DNS, the KDC is left to know",
        ]
    );
}

#[test]
fn macos_reads_two_files_of_which_the_first_counts_more() {
    let conf = read("macos");
    assert_eq!(conf.libdefaults.default_realm.as_deref(), Some("OD.TEST"));
    assert_eq!(shown(conf.kdcs("OD.TEST")), ["od.test:88", "od2.test:88"]);
    assert!(conf.libdefaults.dns_lookup_realm && conf.libdefaults.dns_lookup_kdc);
    assert_eq!(notes(&conf), ["15: section [v4 realms] is not known and has no effect"]);
}
