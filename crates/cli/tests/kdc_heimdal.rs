//! `countersign ticket get` with Heimdal's KDC. What was got is shown by Heimdal's and MIT's own programs.
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

use countersign_testkit::kdc_message::{PA_ENC_TIMESTAMP, PA_FX_FAST};
use countersign_testkit::{Clock, Config, Etype, HeimdalRealm, KdcProxy, Library, run};
use kdc_support::{Client, PASSWORD, SPN, services};
use support::{DEADLINE, acceptor};

const ALICE: &str = "alice@HEIMDAL.TEST";
const FULL_SPN: &str = "echo/a.example.test@HEIMDAL.TEST";
const TGT: &str = "krbtgt/HEIMDAL.TEST@HEIMDAL.TEST";

fn realm(clock: Option<Clock>) -> HeimdalRealm {
    let realm = HeimdalRealm::new("HEIMDAL.TEST", clock);
    realm.add_user("alice", PASSWORD, &Etype::DEFAULT);
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm
}

fn full(name: &str) -> String {
    format!("{name}@HEIMDAL.TEST")
}

#[test]
fn a_right_password_or_keytab_gets_tickets_that_heimdal_and_mit_use() {
    let realm = realm(None);
    let client = Client::new(realm.env());
    let ccache = client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    assert_eq!(services(&client.klist(&ccache)), [TGT, FULL_SPN]);
    let list = realm.klist(&ccache);
    assert!(list.contains(&format!("Server: {FULL_SPN}")), "{list}");
    realm.add_service("echo/second", &[Etype::Aes128Sha1]);
    assert_eq!(realm.kgetcred("echo/second", &ccache, &[]).code(), 0);
    realm.add_service("echo/third", &[Etype::Aes128Sha256]);
    client.kvno("echo/third", &ccache).expect_success();
    client.login_by_keytab(ALICE, &realm.keytab(&["alice"]), &[]).got();
}

#[test]
fn the_kdc_says_why_an_account_gets_nothing() {
    let realm = realm(None);
    let client = Client::new(realm.env());
    client.login(ALICE, "Wrong.789", &[]).refused(1, "CS-6003");
    client.login("nobody@HEIMDAL.TEST", PASSWORD, &[]).refused(1, "CS-6001");
    for (user, option, code) in [
        ("expired", "--expiration-time=2020-01-01", "CS-6004"),
        ("stale", "--pw-expiration-time=2020-01-01", "CS-6005"),
        ("locked", "--attributes=disallow-all-tix", "CS-6006"),
    ] {
        realm.add_user_with(user, PASSWORD, &Etype::DEFAULT, &[option]);
        client.login(&full(user), PASSWORD, &[]).refused(1, code);
    }
    let login = client.login(ALICE, PASSWORD, &["--service", "nothing/a.example.test"]);
    let done = login.done.expect_code(1);
    assert!(done.stderr.contains("CS-6002"), "{done:?}");
}

#[test]
fn keys_of_users_and_services_of_every_etype_will_do() {
    let realm = realm(None);
    let client = Client::new(realm.env());
    for etype in Etype::DEFAULT {
        let (user, spn) = (format!("user{}", etype.number()), format!("echo/e{}", etype.number()));
        realm.add_user(&user, PASSWORD, &[etype]);
        realm.add_service(&spn, &[etype]);
        let ccache = client.login(&full(&user), PASSWORD, &["--service", &spn]).got();
        let list = client.klist(&ccache);
        let (_, of_service) = list.split_once(&full(&spn)).unwrap();
        assert!(of_service.contains(&format!(", {}", etype.name())), "{list}");
    }
}

#[test]
fn an_alias_becomes_the_principal_only_where_canonicalization_is_asked_for() {
    let realm = realm(None);
    realm.add_alias("al@HEIMDAL.TEST", "alice");
    let client = Client::new(realm.env());
    let ccache = client.login("al@HEIMDAL.TEST", PASSWORD, &["--canonicalize"]).got();
    let list = client.klist(&ccache);
    assert!(list.contains("Default principal: alice@HEIMDAL.TEST\n"), "{list}");
    // Heimdal's KDC may answer with the other name unasked; that is then not the answer to this request.
    let login = client.login("al@HEIMDAL.TEST", PASSWORD, &[]);
    if login.done.code() == 0 {
        let list = client.klist(&login.ccache);
        assert!(list.contains("Default principal: al@HEIMDAL.TEST\n"), "{list}");
    } else {
        login.done.expect_code(1);
    }
}

#[test]
fn armor_is_spoken_with_heimdal() {
    let realm = realm(None);
    let armor = realm.kinit("alice", PASSWORD, &[]).unwrap();
    let proxy = KdcProxy::before(realm.address());
    let kdcs = vec![proxy.address().to_string()];
    let client = Client::new(realm.env_as(&Config { kdcs, ..Config::default() }));
    let option = ["--armor-ccache", armor.to_str().unwrap()];
    client.login(ALICE, PASSWORD, &option).got();
    for request in proxy.requests() {
        assert!(request.padata_types().contains(&PA_FX_FAST), "{request:?}");
        assert!(!request.padata_types().contains(&PA_ENC_TIMESTAMP), "{request:?}");
    }
    client.login(ALICE, "Wrong.789", &option).refused(1, "CS-6003");
}

#[test]
fn a_clock_that_is_off_by_an_hour_is_learnt() {
    let realm = realm(Some(Clock::offset(3600)));
    let client = Client::new(realm.env());
    let ccache = client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    assert_eq!(services(&client.klist(&ccache)), [TGT, FULL_SPN]);
    realm.add_service("echo/later", &[Etype::Aes256Sha1]);
    client.kvno("echo/later", &ccache).expect_success();
}

#[test]
fn one_command_logs_in_at_heimdals_kdc_and_reaches_heimdals_acceptor() {
    let realm = realm(None);
    let client = Client::new(realm.env());
    let service = realm.service_env(&realm.keytab(&[SPN]));
    let (_process, address) = acceptor(Library::Heimdal, &service, &[]);
    let mut command = support::countersign(&["connect", &address.to_string(), "--spn", SPN, "--user", ALICE]);
    command.arg("--password-file").arg(client.password_file(PASSWORD));
    let done = run(command.args(["--message", "hello"]).envs(client.env()), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
}
