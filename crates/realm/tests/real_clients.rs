//! Real clients with this KDC as their only one: MIT's kinit and kvno, and Heimdal's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::keytab::{Keytab, KeytabEntry};
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use countersign_realm::{AccountKey, KdcRecord, Outcome, Preauth, RealmPolicy, Reason};
use countersign_testkit::{Config, Etype, HeimdalRealm};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::served::{DEADLINE, Served};
use support::{PASSWORD, REALM, SECOND_SERVICE, SERVICE, named};

const ETYPES: [Etype; 4] = [Etype::Aes256Sha1, Etype::Aes128Sha1, Etype::Aes256Sha384, Etype::Aes128Sha256];

fn served() -> Served {
    Served::new(RealmPolicy::new(REALM))
}

fn of_etype(etype: Etype) -> Config {
    Config { permitted_enctypes: vec![etype], ..Config::default() }
}

fn with(key: &str, value: &str) -> Config {
    Config { libdefaults: vec![(key.to_owned(), value.to_owned())], ..Config::default() }
}

fn granted(records: &[KdcRecord]) -> &KdcRecord {
    let last = records.last().unwrap();
    assert_eq!(last.outcome, Outcome::Granted, "{records:?}");
    last
}

/// A keytab with these keys.
fn keytab(served: &Served, name: &str, keys: &[AccountKey]) -> PathBuf {
    let entries = keys.iter().map(|key| KeytabEntry {
        principal: named(name),
        timestamp: 1,
        kvno: key.kvno,
        etype: key.key.etype().wire(),
        key: Secret::from(key.key.expose()),
    });
    let bytes = Keytab { entries: entries.collect() }.to_bytes().unwrap();
    let path = served.file("keytab");
    std::fs::write(&path, bytes.expose()).unwrap();
    path
}

#[test]
fn mit_logs_in_by_spake_with_every_etype_and_gets_services_tickets() {
    let served = served();
    for etype in ETYPES {
        let config = of_etype(etype);
        let ccache = served.kinit(&config, "alice", PASSWORD, &[]).unwrap();
        let records = served.records();
        assert_eq!(granted(&records).preauth, Some(Preauth::Spake));
        assert_eq!(
            records.iter().map(|record| record.krb_error).collect::<Vec<_>>(),
            [Some(25), Some(91), None]
        );
        served.kvno(&config, &ccache, SERVICE);
        let service = served.accounts().account(SERVICE);
        let keys = keytab(&served, SERVICE, &service.keys);
        let said =
            served.with_ccache(&Config::default(), &ccache, "kvno", &["-k", keys.to_str().unwrap(), SERVICE]);
        assert!(said.expect_success().text().contains("keytab entry valid"));
        let list = served.klist(&ccache);
        assert!(
            list.contains(&format!("skey): {}, ", etype.name()))
                || list.contains(&format!("tkt): {}", etype.name())),
            "{list}"
        );
        assert!(list.contains("Flags: "), "{list}");
        assert_eq!(granted(&served.records()).session_etype.unwrap().name(), etype.name());
    }
}

#[test]
fn mit_logs_in_by_spake_in_p256() {
    let served = served();
    served.kinit(&with("spake_preauth_groups", "P-256"), "alice", PASSWORD, &[]).unwrap();
    assert_eq!(granted(&served.records()).preauth, Some(Preauth::Spake));
    let both = with("spake_preauth_groups", "P-521 P-256 edwards25519");
    served.kinit(&both, "alice", PASSWORD, &[]).unwrap();
    assert_eq!(granted(&served.records()).preauth, Some(Preauth::Spake));
    let neither = served.kinit(&with("spake_preauth_groups", "P-521"), "alice", PASSWORD, &[]);
    assert!(neither.is_err());
}

#[test]
fn mit_logs_in_in_armor_by_spake_and_by_encrypted_challenge_with_every_etype() {
    let without_spake =
        RealmPolicy { spake_groups: Vec::new(), allow_encrypted_timestamp: true, ..RealmPolicy::new(REALM) };
    for (policy, preauth) in
        [(RealmPolicy::new(REALM), Preauth::Spake), (without_spake, Preauth::EncryptedChallenge)]
    {
        let served = Served::new(policy);
        for etype in ETYPES {
            let config = of_etype(etype);
            let armor = served.kinit(&config, "alice", PASSWORD, &[]).unwrap();
            served.records();
            let options = ["-T", armor.to_str().unwrap()];
            let ccache = served.kinit(&config, "alice", PASSWORD, &options).unwrap();
            let records = served.records();
            let record = granted(&records);
            assert_eq!((record.armored, record.preauth), (true, Some(preauth)));
            served.kvno(&config, &ccache, SERVICE);
            // MIT's library armors its TGS requests too, once it knows that the KDC speaks FAST.
            assert_eq!(
                granted(&served.records()).kind,
                Some(countersign_proto::krb5::msg::kdc_req::KdcReqKind::Tgs)
            );
            let refusal = served.kinit(&config, "alice", "Wrong.789", &options).unwrap_err();
            assert!(refusal.stderr.contains("Password incorrect"), "{refusal:?}");
            assert!(served.records().iter().all(|record| record.armored));
        }
    }
}

#[test]
fn mit_logs_in_by_timestamp_where_the_realm_allows_it_and_not_else() {
    let allowed =
        RealmPolicy { spake_groups: Vec::new(), allow_encrypted_timestamp: true, ..RealmPolicy::new(REALM) };
    let served = Served::new(allowed.clone());
    for etype in ETYPES {
        served.kinit(&of_etype(etype), "alice", PASSWORD, &[]).unwrap();
        assert_eq!(granted(&served.records()).preauth, Some(Preauth::EncryptedTimestamp));
    }
    let served = Served::new(RealmPolicy { allow_encrypted_timestamp: false, ..allowed });
    assert!(served.kinit(&Config::default(), "alice", PASSWORD, &[]).is_err());
}

#[test]
fn mit_is_told_the_same_of_a_wrong_password_and_an_unknown_user() {
    let served = served();
    let said = |user: &str| {
        let done = served.kinit(&Config::default(), user, "Wrong.789", &[]).unwrap_err();
        done.stderr.replace(user, "USER").replace("carol", "USER")
    };
    assert_eq!(said("alice"), said("carol"));
    assert!(said("alice").contains("Password incorrect"));
}

#[test]
fn mit_renews_and_forwards() {
    let served = served();
    let config = Config::default();
    let ccache = served.kinit(&config, "alice", PASSWORD, &["-f", "-r", "2d", "-l", "1h"]).unwrap();
    let list = served.klist(&ccache);
    assert!(list.contains("renew until"), "{list}");
    let flags = list.split("Flags: ").nth(1).unwrap().split('\n').next().unwrap();
    for flag in ["F", "R", "I", "A"] {
        assert!(flags.contains(flag), "{flag} in {flags}");
    }
    let mut command = Command::new("kinit");
    command.envs(served.env(&config)).arg("-c").arg(&ccache).arg("-R");
    countersign_testkit::run(&mut command, DEADLINE).expect_success();
    let record = granted(&served.records()).clone();
    assert_eq!(record.kind, Some(countersign_proto::krb5::msg::kdc_req::KdcReqKind::Tgs));
    served.kvno(&config, &ccache, SERVICE);
    let plain = served.kinit(&config, "alice", PASSWORD, &["-F", "-l", "1h"]).unwrap();
    let mut command = Command::new("kinit");
    command.envs(served.env(&config)).arg("-c").arg(&plain).arg("-R");
    countersign_testkit::run(&mut command, DEADLINE).expect_code(1);
    assert_eq!(served.records().last().unwrap().outcome, Outcome::Refused(Reason::NotOfThatKind));
}

#[test]
fn mit_is_refused_what_there_is_not() {
    let served = served();
    let refused = |options: &[&str]| {
        served.kinit(&Config::default(), "alice", PASSWORD, options).unwrap_err();
        served.records().last().unwrap().outcome
    };
    assert_eq!(refused(&["-s", "1h"]), Outcome::Refused(Reason::Postdated));
    assert_eq!(refused(&["-S", SERVICE]), Outcome::Refused(Reason::NotTheGrantingService));
    let proxiable = served.kinit(&Config::default(), "alice", PASSWORD, &["-p"]).unwrap();
    let list = served.klist(&proxiable);
    assert!(!list.split("Flags: ").nth(1).unwrap().split('\n').next().unwrap().contains('P'), "{list}");
    let ccache = served.kinit(&Config::default(), "alice", PASSWORD, &[]).unwrap();
    for (service, reason) in
        [("HTTP/none.example.test", Reason::ServiceUnknown), ("alice", Reason::ServiceHasPassword)]
    {
        let done = served.with_ccache(&Config::default(), &ccache, "kvno", &[service]).expect_code(1);
        assert!(done.stderr.contains("not found in Kerberos database"), "{done:?}");
        assert_eq!(served.records().last().unwrap().outcome, Outcome::Refused(reason));
    }
}

#[test]
fn mit_uses_aliases_enterprise_names_and_keytabs() {
    let served = served();
    let config = Config::default();
    for (user, options) in
        [("al", &["-C"][..]), ("alice@realm.test", &["-E"]), ("alice@realm.test", &["-C"]), ("al", &["-E"])]
    {
        let ccache = served.kinit(&config, user, PASSWORD, options).unwrap();
        assert!(served.klist(&ccache).contains("Default principal: alice@REALM.TEST"), "{user}");
        served.kvno(&config, &ccache, "HTTP/alias.example.test");
        assert!(served.klist(&ccache).contains("HTTP/alias.example.test@REALM.TEST"));
    }
    let keys = keytab(&served, SECOND_SERVICE, &served.accounts().account(SECOND_SERVICE).keys);
    let ccache = served.kinit(&config, SECOND_SERVICE, "", &["-k", "-t", keys.to_str().unwrap()]).unwrap();
    served.kvno(&config, &ccache, SERVICE);
}

#[test]
fn mit_speaks_by_tcp_too() {
    let served = served();
    let config = with("udp_preference_limit", "1");
    let ccache = served.kinit(&config, "alice", PASSWORD, &[]).unwrap();
    served.kvno(&config, &ccache, SERVICE);
}

#[test]
fn mit_gets_a_ticket_from_user_to_user() {
    let served = served();
    let config = Config::default();
    let ccache = served.kinit(&config, "alice", PASSWORD, &[]).unwrap();
    let second = served.kinit(&config, "alice", PASSWORD, &[]).unwrap();
    let arguments = ["--u2u", second.to_str().unwrap(), "alice"];
    served.with_ccache(&config, &ccache, "kvno", &arguments).expect_success();
    assert_eq!(granted(&served.records()).service, Some(named("alice")));
}

#[test]
fn mit_tells_its_user_what_became_of_the_account() {
    let served = served();
    let said = || served.kinit(&Config::default(), "alice", PASSWORD, &[]).unwrap_err().stderr;
    served.accounts().change("alice", |alice| alice.disabled = true);
    assert!(said().contains("credentials have been revoked"), "{}", said());
    served.accounts().change("alice", |alice| {
        alice.disabled = false;
        alice.expires = Some(Timestamp::new(1, 0));
    });
    assert!(said().contains("expired"), "{}", said());
    #[allow(clippy::disallowed_methods, reason = "a program of its own has this clock")]
    let now = Timestamp::from_system(SystemTime::now());
    served.accounts().change("alice", |alice| {
        alice.expires = None;
        alice.password_expires = Some(now.saturating_add(Duration::from_secs(86_400)));
    });
    let ccache = served.kinit(&Config::default(), "alice", PASSWORD, &[]).unwrap();
    served.kvno(&Config::default(), &ccache, SERVICE);
}

/// Heimdal's programs; its own KDC is asked for nothing.
fn heimdal() -> HeimdalRealm {
    HeimdalRealm::new("HEIMDAL.TEST", None)
}

fn lenient() -> Served {
    Served::new(RealmPolicy { allow_encrypted_timestamp: true, ..RealmPolicy::new(REALM) })
}

#[test]
fn heimdal_logs_in_with_every_etype_where_its_timestamp_is_allowed() {
    let (served, heimdal) = (lenient(), heimdal());
    for etype in ETYPES {
        let env = served.env(&of_etype(etype));
        let options = ["--forwardable", "--renewable"];
        let ccache = heimdal.kinit_as(&env, "alice", PASSWORD, &options).unwrap();
        let record = granted(&served.records()).clone();
        assert_eq!((record.preauth, record.armored), (Some(Preauth::EncryptedTimestamp), false));
        assert_eq!(record.reply_etype.unwrap().name(), etype.name());
        let mut command = Command::new("kvno");
        command.envs(env).env("KRB5CCNAME", &ccache).arg(SERVICE);
        countersign_testkit::run(&mut command, DEADLINE).expect_success();
        let flags = served.klist(&ccache);
        assert!(flags.contains("Flags: F") && flags.contains("renew until"), "{flags}");
    }
    let refusal = heimdal.kinit_as(&served.env(&Config::default()), "alice", "Wrong.789", &[]).unwrap_err();
    assert!(refusal.stderr.contains("Password incorrect"), "{refusal:?}");
}

#[test]
fn heimdal_is_refused_where_its_timestamp_is_not_allowed() {
    let (served, heimdal) = (served(), heimdal());
    let refusal = heimdal.kinit_as(&served.env(&Config::default()), "alice", PASSWORD, &[]);
    assert!(refusal.is_err());
    assert!(served.records().iter().all(|record| record.outcome != Outcome::Granted));
}
