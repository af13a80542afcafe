//! Heimdal's realm, shown by Heimdal's and MIT's own programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_testkit::{Clock, Config, Etype, HeimdalRealm, KdcMessage, KdcProxy, Process, run};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DEADLINE: Duration = Duration::from_secs(60);
const REALM: &str = "HEIMDAL.TEST";
const SPN: &str = "test/a.example.test";

fn realm() -> HeimdalRealm {
    let realm = HeimdalRealm::new(REALM, None);
    realm.add_user("alice", "secret", &Etype::DEFAULT);
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm
}

#[track_caller]
fn refused(realm: &HeimdalRealm, user: &str, password: &str) -> String {
    realm.kinit(user, password, &[]).expect_err("kinit must fail").stderr
}

#[test]
fn heimdal_clients_get_tickets_and_say_why_they_do_not() {
    let realm = realm();
    let ccache = realm.kinit("alice", "secret", &[]).unwrap();
    let done = realm.kgetcred(SPN, &ccache, &[]);
    assert_eq!(done.code(), 0, "{done:?}");
    let list = realm.klist(&ccache);
    assert!(list.contains("Server: test/a.example.test@HEIMDAL.TEST"), "{list}");
    assert_eq!(realm.kgetcred("test/unknown", &ccache, &[]).code(), 1);

    assert!(refused(&realm, "alice", "wrong").contains("Password incorrect"));
    for (user, option, reason) in [
        ("expired", "--expiration-time=2020-01-01", "expired"),
        ("stale", "--pw-expiration-time=2020-01-01", "expired"),
        ("locked", "--attributes=disallow-all-tix", "policy"),
    ] {
        realm.add_user_with(user, "secret", &Etype::DEFAULT, &[option]);
        let said = refused(&realm, user, "secret");
        assert!(said.contains(reason), "{user}: {said}");
    }
}

#[test]
fn users_and_services_have_keys_of_the_etypes_that_were_asked_for() {
    let realm = realm();
    for etype in Etype::DEFAULT {
        let (user, spn) = (format!("user{}", etype.number()), format!("test/e{}", etype.number()));
        realm.add_user(&user, "secret", &[etype]);
        realm.add_service(&spn, &[etype]);
        let ccache = realm.kinit(&user, "secret", &[]).unwrap();
        let done = realm.kgetcred(&spn, &ccache, &[]);
        assert_eq!(done.code(), 0, "{done:?}");
        let list = realm.klist(&ccache);
        let (_, of_service) = list.split_once(&format!("Server: {spn}")).unwrap();
        assert!(of_service.contains(&format!("Ticket etype: {}", etype.name())), "{list}");
        let keys = run(Command::new("klist").args(["-e", "-k"]).arg(realm.keytab(&[&spn])), DEADLINE);
        assert!(keys.expect_success().text().contains(etype.name()));
    }
}

#[test]
fn mit_clients_use_the_realm_too() {
    let realm = realm();
    let ccache = realm.folder().join("mit");
    let env = realm.client_env(&ccache);
    let mut kinit = Process::start(Command::new("kinit").envs(env.clone()).arg("alice"));
    writeln!(kinit.stdin().unwrap(), "secret").unwrap();
    kinit.finish(DEADLINE).expect_success();
    run(Command::new("kvno").envs(env).arg(SPN), DEADLINE).expect_success();
}

#[test]
fn a_principal_is_found_by_its_alias_where_canonicalization_is_asked_for() {
    let realm = realm();
    realm.add_alias("al@HEIMDAL.TEST", "alice");
    let ccache = realm.kinit("al", "secret", &["--canonicalize"]).unwrap();
    let list = realm.klist(&ccache);
    assert!(list.contains("Principal: alice@HEIMDAL.TEST"), "{list}");
}

#[test]
fn armor_is_taken_by_the_kdc() {
    let realm = realm();
    let armor = realm.kinit("alice", "secret", &[]).unwrap();
    let option = format!("--fast-armor-cache=FILE:{}", armor.display());
    realm.kinit("alice", "secret", &[&option]).unwrap();
    let log = std::fs::read_to_string(realm.folder().join("kdc.log")).unwrap();
    assert!(log.contains("FAST"), "{log}");
}

#[test]
fn the_kdc_can_live_in_another_time() {
    let realm = HeimdalRealm::new(REALM, Some(Clock::offset(3600)));
    realm.add_user("alice", "secret", &Etype::DEFAULT);
    // Heimdal's client learns the KDC's time from its error, and keeps it in the cache.
    let proxy = KdcProxy::before(realm.address());
    let kdcs = vec![proxy.address().to_string()];
    let env = realm.env_as(&Config { kdcs, ..Config::default() });
    realm.kinit_as(&env, "alice", "secret", &[]).unwrap();
    let error = proxy.exchanges()[0].from_kdc.clone().unwrap();
    let hour = u64::try_from(KdcMessage::of(&error).time().unwrap()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(hour.abs_diff(now + 3600) < 60, "{hour} {now}");
}

#[test]
fn a_dropped_heimdal_realm_leaves_no_process_and_no_folder() {
    let realm = HeimdalRealm::new(REALM, None);
    let (folder, address) = (realm.folder().to_owned(), realm.address());
    assert!(TcpStream::connect(address).is_ok());
    drop(realm);
    assert!(TcpStream::connect(address).is_err());
    assert!(!Path::new(&folder).exists());
}
