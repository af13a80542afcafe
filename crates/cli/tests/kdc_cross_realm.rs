//! Tickets from other realms: referrals by KDCs, paths by capaths, and what goes astray.
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

use countersign_testkit::{Capath, Config, Etype, KdcOptions, KdcProxy, Realm, run};
use kdc_support::{Client, PASSWORD, services};
use support::{DEADLINE, Serve};

const SPN: &str = "echo/host.b.test";
const ALICE: &str = "alice@A.TEST";

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// A realm whose KDC believes `domain` to be of the realm `of`, and refers its clients there.
fn referring(name: &str, domain: &str, of: &str) -> Realm {
    let config = Config { domain_realm: vec![pair(domain, of)], ..Config::default() };
    let realm =
        Realm::with(name, &KdcOptions { refer_host_based_services: true, config, ..KdcOptions::default() });
    realm.add_user_with("alice", PASSWORD, &["+requires_preauth"]);
    realm
}

/// Realm A with alice, which refers to realm B with the service [`SPN`].
fn neighbours() -> [Realm; 2] {
    let (a, b) = (referring("A.TEST", ".b.test", "B.TEST"), Realm::new("B.TEST"));
    b.add_service(SPN, &[Etype::Aes256Sha1]);
    a.let_into(&b);
    [a, b]
}

/// A machine of realm `a` that knows where the KDCs of `others` are.
fn client(a: &Realm, others: &[&Realm], config: Config) -> Client {
    let other_realms = others.iter().map(|realm| (realm.name().to_owned(), realm.kdc().address())).collect();
    Client::new(a.env_as(&Config { other_realms, ..config }))
}

#[test]
fn a_kdc_refers_the_client_to_the_realm_of_the_host() {
    let [a, b] = neighbours();
    let client = client(&a, &[&b], Config::default());
    let ccache = client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    let list = client.klist(&ccache);
    assert!(services(&list).contains(&"krbtgt/A.TEST@A.TEST"), "{list}");
    assert!(services(&list).iter().any(|service| service.starts_with(SPN)), "{list}");
    // MIT takes up what is there, and knows where to go on.
    client.kvno(&format!("{SPN}@B.TEST"), &ccache).expect_success();
}

#[test]
fn a_service_of_another_realm_is_found_by_its_realm_or_by_its_host() {
    let [a, b] = neighbours();
    let plain = client(&a, &[&b], Config::default());
    let ccache = plain.login(ALICE, PASSWORD, &["--service", "echo/host.b.test@B.TEST"]).got();
    assert!(services(&plain.klist(&ccache)).contains(&"echo/host.b.test@B.TEST"));

    let domain_realm = vec![pair(".b.test", "B.TEST")];
    let knowing = client(&a, &[&b], Config { domain_realm, ..Config::default() });
    let ccache = knowing.login(ALICE, PASSWORD, &["--service", SPN]).got();
    assert!(services(&knowing.klist(&ccache)).contains(&"echo/host.b.test@B.TEST"));
}

#[test]
fn each_kdc_is_asked_for_its_own_realm_alone() {
    let [a, b] = neighbours();
    let [to_a, to_b] = [&a, &b].map(|realm| KdcProxy::before(realm.kdc().address()));
    let client = Client::new(a.env_as(&Config {
        kdcs: vec![to_a.address().to_string()],
        other_realms: vec![("B.TEST".to_owned(), to_b.address())],
        ..Config::default()
    }));
    client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    assert!(to_a.requests().iter().all(|request| request.realm() == "A.TEST"));
    let asked: Vec<_> = to_b.requests().iter().map(|request| (request.realm(), request.service())).collect();
    assert_eq!(asked, [pair("B.TEST", SPN)]);
}

#[test]
fn a_referred_ticket_opens_the_service_to_the_client_of_the_other_realm() {
    let [a, b] = neighbours();
    let client = client(&a, &[&b], Config::default());
    let serve = Serve::start(&b.keytab(&[SPN]), &[]);
    let mut command = support::countersign(&["connect", &serve.address.to_string(), "--spn", SPN]);
    command.args(["--user", ALICE, "--message", "hello", "--password-file"]);
    let done = run(command.arg(client.password_file(PASSWORD)).envs(client.env()), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
    let record = serve.accepted();
    assert_eq!((&record["client"], &record["service"]), (&ALICE.into(), &"echo/host.b.test@B.TEST".into()));
}

fn path(from: &str, to: &str, through: &[&str]) -> Capath {
    let through = through.iter().map(|realm| (*realm).to_owned()).collect();
    Capath { from: from.to_owned(), to: to.to_owned(), through }
}

/// Three realms in a row, of which the outer ones do not know each other; their KDCs check paths by `capaths`.
fn row(capaths: &[Capath]) -> [Realm; 3] {
    let config = Config { capaths: capaths.to_vec(), ..Config::default() };
    let options = KdcOptions { config, ..KdcOptions::default() };
    let [a, b, c] = ["A.TEST", "B.TEST", "C.TEST"].map(|name| Realm::with(name, &options));
    a.let_into(&b);
    b.let_into(&c);
    a.add_user_with("alice", PASSWORD, &["+requires_preauth"]);
    c.add_service("echo/host", &[Etype::Aes256Sha1]);
    [a, b, c]
}

#[test]
fn a_path_over_a_realm_between_is_gone_by_capaths() {
    let capaths = vec![path("A.TEST", "C.TEST", &["B.TEST"]), path("B.TEST", "C.TEST", &[])];
    let [a, b, c] = row(&capaths);
    let client = client(&a, &[&b, &c], Config { capaths, ..Config::default() });
    let ccache = client.login(ALICE, PASSWORD, &["--service", "echo/host@C.TEST"]).got();
    let list = client.klist(&ccache);
    assert!(services(&list).contains(&"echo/host@C.TEST"), "{list}");
}

#[test]
fn without_a_path_the_service_is_not_reached_and_its_realm_is_named() {
    let [a, b, c] = row(&[]);
    let client = client(&a, &[&b, &c], Config::default());
    let done = client.login(ALICE, PASSWORD, &["--service", "echo/host@C.TEST"]).done.expect_code(1);
    assert!(done.stderr.contains("CS-60") && done.stderr.contains("C.TEST"), "{done:?}");
}

#[test]
fn a_kdc_of_another_realm_that_is_down_is_told() {
    let [a, b] = neighbours();
    let other_realms = vec![("B.TEST".to_owned(), kdc_support::nobody())];
    let client = Client::new(a.env_as(&Config { other_realms, ..Config::default() }));
    let done = client.login(ALICE, PASSWORD, &["--service", SPN]).done.expect_code(3);
    assert!(done.stderr.contains("CS-61") && done.stderr.contains("B.TEST"), "{done:?}");
    drop(b);
}

#[test]
fn realms_that_refer_to_each_other_are_left_after_a_while() {
    let domain = ".loop.test";
    let (a, b) = (referring("A.TEST", domain, "B.TEST"), referring("B.TEST", domain, "A.TEST"));
    a.let_into(&b);
    b.let_into(&a);
    let client = client(&a, &[&b], Config::default());
    let done = client.login(ALICE, PASSWORD, &["--service", "echo/host.loop.test"]).done.expect_code(1);
    assert!(done.stderr.contains("CS-6016") || done.stderr.contains("CS-6002"), "{done:?}");
}

#[test]
fn a_user_of_another_realm_logs_in_there() {
    let [a, b] = neighbours();
    b.add_user_with("bob", PASSWORD, &["+requires_preauth"]);
    let client = client(&a, &[&b], Config::default());
    let ccache = client.login("bob@B.TEST", PASSWORD, &["--service", "echo/host.b.test@B.TEST"]).got();
    assert_eq!(services(&client.klist(&ccache)), ["krbtgt/B.TEST@B.TEST", "echo/host.b.test@B.TEST"]);
}
