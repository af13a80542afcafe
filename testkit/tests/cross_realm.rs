//! Several MIT realms that trust each other, shown by MIT's own kvno.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign_testkit::{Capath, Config, Env, Etype, KdcOptions, KdcProxy, Realm};
use std::path::Path;

const SPN: &str = "test/host.b.test";

fn owned(from: &str, to: &str, through: &[&str]) -> Capath {
    let through = through.iter().map(|realm| (*realm).to_owned()).collect();
    Capath { from: from.to_owned(), to: to.to_owned(), through }
}

fn pair(one: &str, other: &str) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// Realm A with alice, whose KDC knows that hosts below b.test are realm B's.
fn first() -> Realm {
    let config = Config { domain_realm: vec![pair(".b.test", "B.TEST")], ..Config::default() };
    let realm = Realm::with(
        "A.TEST",
        &KdcOptions { refer_host_based_services: true, config, ..KdcOptions::default() },
    );
    realm.add_user("alice", "secret");
    realm
}

fn tickets(realm: &Realm, ccache: &Path) -> Vec<String> {
    let list = realm.klist(ccache);
    list.lines().filter_map(|line| line.split_once("  ")?.1.rsplit("  ").next()).map(str::to_owned).collect()
}

fn client(a: &Realm, others: &[&Realm], config: Config) -> Env {
    let other_realms = others.iter().map(|realm| (realm.name().to_owned(), realm.kdc().address())).collect();
    a.env_as(&Config { other_realms, ..config })
}

#[test]
fn trust_goes_both_ways_if_it_is_made_both_ways() {
    let (a, b) = (Realm::new("A.TEST"), Realm::new("B.TEST"));
    a.let_into(&b);
    for (realm, user) in [(&a, "alice"), (&b, "bob")] {
        realm.add_user(user, "secret");
        realm.add_service("test/host", &[Etype::Aes256Sha1]);
    }
    let env = client(&a, &[&b], Config::default());
    let ccache = a.kinit_as(&env, "alice", "secret", &[]);
    a.kvno_as(&env, "test/host@B.TEST", &ccache, &[]);
    let held = tickets(&a, &ccache);
    for ticket in ["krbtgt/A.TEST@A.TEST", "krbtgt/B.TEST@A.TEST", "test/host@B.TEST"] {
        assert!(held.iter().any(|known| known == ticket), "{held:?} lacks {ticket}");
    }

    let env = client(&b, &[&a], Config::default());
    let ccache = b.kinit_as(&env, "bob", "secret", &[]);
    assert_ne!(b.try_kvno_as(&env, "test/host@A.TEST", &ccache, &[]).code(), 0);
    b.let_into(&a);
    b.kvno_as(&env, "test/host@A.TEST", &ccache, &[]);
}

#[test]
fn a_kdc_refers_a_client_to_the_realm_of_a_host() {
    let (a, b) = (first(), Realm::new("B.TEST"));
    b.add_service(SPN, &[Etype::Aes256Sha1]);
    a.let_into(&b);
    let env = client(&a, &[&b], Config::default());
    let ccache = a.kinit_as(&env, "alice", "secret", &[]);
    // With an empty realm the client asks its own realm's KDC, which knows better.
    a.kvno_as(&env, &format!("{SPN}@"), &ccache, &[]);
    let held = tickets(&a, &ccache);
    assert!(held.iter().any(|ticket| ticket == "krbtgt/B.TEST@A.TEST"), "{held:?}");
    assert!(held.iter().any(|ticket| ticket.starts_with(SPN)), "{held:?}");
}

/// Three realms in a row, of which the outer ones do not know each other.
fn row(capaths: &[Capath]) -> [Realm; 3] {
    let options = || {
        let config = Config { capaths: capaths.to_vec(), ..Config::default() };
        KdcOptions { config, ..KdcOptions::default() }
    };
    let [a, b, c] = ["A.TEST", "B.TEST", "C.TEST"].map(|name| Realm::with(name, &options()));
    a.let_into(&b);
    b.let_into(&c);
    a.add_user("alice", "secret");
    c.add_service("test/host", &[Etype::Aes256Sha1]);
    [a, b, c]
}

#[test]
fn a_path_over_a_realm_between_is_gone_by_capaths() {
    let path = [owned("A.TEST", "C.TEST", &["B.TEST"]), owned("B.TEST", "C.TEST", &[])];
    let [a, b, c] = row(&path);
    let env = client(&a, &[&b, &c], Config { capaths: path.to_vec(), ..Config::default() });
    let ccache = a.kinit_as(&env, "alice", "secret", &[]);
    a.kvno_as(&env, "test/host@C.TEST", &ccache, &[]);
    let held = tickets(&a, &ccache);
    // MIT keeps the ticket for the service's realm alone, and who gave it.
    for ticket in ["krbtgt/C.TEST@B.TEST", "test/host@C.TEST"] {
        assert!(held.iter().any(|known| known == ticket), "{held:?} lacks {ticket}");
    }
}

#[test]
fn without_a_path_there_is_no_ticket() {
    let [a, b, c] = row(&[]);
    let env = client(&a, &[&b, &c], Config::default());
    let ccache = a.kinit_as(&env, "alice", "secret", &[]);
    let done = a.try_kvno_as(&env, "test/host@C.TEST", &ccache, &[]);
    assert_eq!(done.code(), 1, "{done:?}");
}

#[test]
fn requests_to_each_realm_go_to_its_own_kdc() {
    let (a, b) = (first(), Realm::new("B.TEST"));
    b.add_service(SPN, &[Etype::Aes256Sha1]);
    a.let_into(&b);
    let [to_a, to_b] = [&a, &b].map(|realm| KdcProxy::before(realm.kdc().address()));
    let env = a.env_as(&Config {
        kdcs: vec![to_a.address().to_string()],
        other_realms: vec![("B.TEST".to_owned(), to_b.address())],
        ..Config::default()
    });
    let ccache = a.kinit_as(&env, "alice", "secret", &[]);
    a.kvno_as(&env, &format!("{SPN}@"), &ccache, &[]);
    assert!(to_a.requests().iter().all(|request| request.realm() == "A.TEST"));
    let asked: Vec<_> = to_b.requests().iter().map(|request| (request.realm(), request.service())).collect();
    assert_eq!(asked, [("B.TEST".to_owned(), SPN.to_owned())]);
}
