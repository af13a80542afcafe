//! Credential caches between `countersign ticket` and MIT's kinit, klist, kvno and kswitch.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod kdc_support;
mod support;

use countersign_testkit::kdc_message::Kind;
use countersign_testkit::{Clock, Config, Etype, KdcOptions, KdcProxy, Process, run};
use kdc_support::{Client, PASSWORD, SPN, lines, realm, services, through};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{DEADLINE, countersign};

const ALICE: &str = "alice@KDC.TEST";
const TGT: &str = "krbtgt/KDC.TEST@KDC.TEST";
const FULL_SPN: &str = "echo/a.example.test@KDC.TEST";

fn klist(client: &Client, cache: &str) -> String {
    let mut command = Command::new("klist");
    run(command.args(["-c", cache]).envs(client.env()), DEADLINE).expect_success().text()
}

fn get_service(client: &Client, ccache: &Path) -> countersign_testkit::Finished {
    run(client.ticket_get(ccache).args(["--service", SPN]), DEADLINE)
}

#[test]
fn a_cache_made_by_kinit_is_used_and_added_to() {
    let realm = realm(&KdcOptions::default());
    let client = Client::new(realm.env());
    let ccache = realm.kinit("alice", PASSWORD, &[]);
    get_service(&client, &ccache).expect_success();
    assert_eq!(services(&client.klist(&ccache)), [TGT, FULL_SPN]);
}

#[test]
fn a_ticket_that_is_there_is_not_fetched_again() {
    let realm = realm(&KdcOptions::default());
    let proxy = KdcProxy::before(realm.kdc().address());
    let client = through(&realm, &proxy, Config::default());
    let ccache = realm.kinit("alice", PASSWORD, &[]);
    get_service(&client, &ccache).expect_success();
    assert_eq!(proxy.count(Kind::TgsReq), 1);
    get_service(&client, &ccache).expect_success();
    assert_eq!(proxy.count(Kind::TgsReq), 1);
    assert_eq!(services(&client.klist(&ccache)), [TGT, FULL_SPN], "and stands there once");
    client.kvno(SPN, &ccache).expect_success();
    assert_eq!(proxy.count(Kind::TgsReq), 1, "MIT takes ours too");
}

#[test]
fn a_new_login_replaces_the_cache_and_is_for_its_owner_alone() {
    let realm = realm(&KdcOptions::default());
    realm.add_user("bob", PASSWORD);
    let client = Client::new(realm.env());
    let ccache = realm.kinit("bob", PASSWORD, &[]);
    std::fs::set_permissions(&ccache, PermissionsExt::from_mode(0o644)).unwrap();
    let mut command = client.ticket_get(&ccache);
    command.args(["--user", ALICE, "--password-file"]).arg(client.password_file(PASSWORD));
    run(&mut command, DEADLINE).expect_success();
    let list = client.klist(&ccache);
    assert!(list.contains("Default principal: alice@KDC.TEST\n"), "{list}");
    assert_eq!(services(&list), [TGT]);
    assert_eq!(ccache.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_failed_login_leaves_the_cache_as_it_was() {
    let realm = realm(&KdcOptions::default());
    let client = Client::new(realm.env());
    let ccache = realm.kinit("alice", PASSWORD, &[]);
    let before = std::fs::read(&ccache).unwrap();
    let mut command = client.ticket_get(&ccache);
    command.args(["--user", ALICE, "--password-file"]).arg(client.password_file("Wrong.789"));
    run(&mut command, DEADLINE).expect_code(1);
    assert_eq!(std::fs::read(&ccache).unwrap(), before);
}

#[test]
fn the_cache_is_named_by_option_then_environment_then_configuration() {
    let realm = realm(&KdcOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let [by_option, by_environment, by_configuration] =
        ["option", "environment", "configuration"].map(|name| folder.path().join(name));
    let name = format!("FILE:{}", by_configuration.display());
    let libdefaults = lines(&[("default_ccache_name", &name)]);
    let client = Client::new(realm.env_as(&Config { libdefaults, ..Config::default() }));
    let login = |options: &[&str], environment: Option<&Path>| {
        let mut command = countersign(&["ticket", "get", "--user", ALICE, "--password-file"]);
        command.arg(client.password_file(PASSWORD)).args(options).envs(client.env());
        match environment {
            Some(path) => command.env("KRB5CCNAME", path),
            None => command.env_remove("KRB5CCNAME"),
        };
        run(&mut command, DEADLINE).expect_success();
    };
    login(&[], None);
    assert!(by_configuration.exists() && !by_environment.exists());
    login(&[], Some(&by_environment));
    assert!(by_environment.exists() && !by_option.exists());
    std::fs::remove_file(&by_environment).unwrap();
    login(&["--ccache", by_option.to_str().unwrap()], Some(&by_environment));
    assert!(by_option.exists() && !by_environment.exists());
}

#[test]
fn collections_hold_a_cache_for_each_user_as_mit_keeps_them() {
    let realm = realm(&KdcOptions::default());
    realm.add_user("bob", PASSWORD);
    let client = Client::new(realm.env());
    let folder = client.folder().join("collection");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    let name = format!("DIR:{}", folder.display());
    let env = [client.env(), vec![("KRB5CCNAME".to_owned(), name.clone().into())]].concat();
    let mut kinit = Process::start(Command::new("kinit").arg("bob").envs(env.clone()));
    writeln!(kinit.stdin().unwrap(), "{PASSWORD}").unwrap();
    kinit.finish(DEADLINE).expect_success();

    let mut command = client.ticket_get(Path::new(&name));
    command.args(["--user", ALICE, "--password-file"]).arg(client.password_file(PASSWORD));
    run(&mut command, DEADLINE).expect_success();
    let all = run(Command::new("klist").arg("-l").envs(env.clone()), DEADLINE).expect_success().text();
    assert!(all.contains(ALICE) && all.contains("bob@KDC.TEST"), "{all}");
    for user in [ALICE, "bob@KDC.TEST"] {
        run(Command::new("kswitch").args(["-p", user]).envs(env.clone()), DEADLINE).expect_success();
        assert!(klist(&client, &name).contains(&format!("Default principal: {user}\n")));
        get_service(&client, Path::new(&name)).expect_success();
        assert!(klist(&client, &name).contains(FULL_SPN));
        let mut list = countersign(&["ticket", "list", "--ccache", &name]);
        let done = run(list.envs(client.env()), DEADLINE).expect_success();
        assert!(done.text().contains(user) && done.text().contains(FULL_SPN), "{done:?}");
    }
}

#[test]
fn ticket_list_tells_what_klist_tells() {
    let realm = realm(&KdcOptions::default());
    let client = Client::new(realm.env());
    let ccache = client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    let mut command = countersign(&["ticket", "list", "--ccache"]);
    let done = run(command.arg(&ccache).envs(client.env()), DEADLINE).expect_success();
    for text in [ALICE, TGT, FULL_SPN, "aes256-cts-hmac-sha1-96", ccache.to_str().unwrap()] {
        assert!(done.text().contains(text), "{done:?} lacks {text}");
    }
    let mut command = countersign(&["ticket", "destroy", "--ccache"]);
    run(command.arg(&ccache).envs(client.env()), DEADLINE).expect_success();
    assert!(!ccache.exists());
    let mut command = countersign(&["ticket", "list", "--ccache"]);
    assert_ne!(run(command.arg(&ccache).envs(client.env()), DEADLINE).code(), 0);
}

#[test]
fn without_a_cache_or_with_an_expired_one_there_is_nothing_to_get_a_ticket_with() {
    let realm = realm(&KdcOptions::default());
    let client = Client::new(realm.env());
    let done = get_service(&client, &client.ccache("none")).expect_code(2);
    assert!(done.stderr.contains("CS-"), "{done:?}");

    // A login that was for ten minutes, two days ago.
    let clock = Clock::offset(-172_800);
    let kdc = realm.kdc_at(clock);
    let config = Config { libdefaults: lines(&[("kdc_timesync", "0")]), ..Config::default() };
    let then =
        [realm.env(), vec![("KRB5_CONFIG".to_owned(), kdc.config(&config).into())], clock.env()].concat();
    let expired = realm.kinit_as(&then, "alice", PASSWORD, &["-l", "10m"]);
    let done = get_service(&client, &expired);
    assert_ne!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("CS-6018") || done.stderr.contains("expired"), "{done:?}");
    assert_eq!(services(&client.klist(&expired)), [TGT]);
}

#[test]
fn logins_and_services_at_the_same_time_lose_nothing() {
    let realm = realm(&KdcOptions::default());
    let client = Client::new(realm.env());
    let spns: Vec<_> = (0..8).map(|index| format!("echo/host{index}.test")).collect();
    spns.iter().for_each(|spn| realm.add_service(spn, &[Etype::Aes256Sha1]));
    let ccache = client.login(ALICE, PASSWORD, &[]).got();
    std::thread::scope(|scope| {
        for (index, spn) in spns.iter().enumerate() {
            let (client, ccache) = (&client, &ccache);
            scope.spawn(move || {
                if index % 2 == 0 {
                    client.kvno(spn, ccache).expect_success();
                } else {
                    run(client.ticket_get(ccache).args(["--service", spn]), DEADLINE).expect_success();
                }
            });
        }
    });
    let list = client.klist(&ccache);
    for spn in &spns {
        assert!(services(&list).contains(&format!("{spn}@KDC.TEST").as_str()), "{list} lacks {spn}");
    }
}

#[test]
fn a_renewable_ticket_is_renewed_in_its_cache() {
    let realm = realm(&KdcOptions::default());
    let proxy = KdcProxy::before(realm.kdc().address());
    let client = through(&realm, &proxy, Config::default());
    let ccache = realm.kinit("alice", PASSWORD, &["-r", "2d", "-l", "10m"]);
    let before = std::fs::read(&ccache).unwrap();
    run(client.ticket_get(&ccache).arg("--renew"), DEADLINE).expect_success();
    assert_ne!(std::fs::read(&ccache).unwrap(), before);
    let renewal = proxy.requests().pop().unwrap();
    // RENEW is bit 30.
    assert_eq!((renewal.kind(), renewal.options() & 2), (Kind::TgsReq, 2));
    assert_eq!(services(&client.klist(&ccache)), [TGT]);
    client.kvno(SPN, &ccache).expect_success();
    // MIT renews what was renewed.
    let env = [client.env(), vec![("KRB5CCNAME".to_owned(), ccache.into())]].concat();
    run(Command::new("kinit").arg("-R").envs(env), DEADLINE).expect_success();

    let ccache = realm.kinit("alice", PASSWORD, &[]);
    let before = std::fs::read(&ccache).unwrap();
    let done = run(client.ticket_get(&ccache).arg("--renew"), DEADLINE);
    assert_ne!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("CS-60"), "{done:?}");
    assert_eq!(std::fs::read(&ccache).unwrap(), before);
}
