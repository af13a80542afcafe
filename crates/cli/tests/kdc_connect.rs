//! `countersign connect` that gets its tickets itself, with a password, a keytab, or a ticket-granting ticket, towards
//! `countersign serve` and the acceptors of MIT and Heimdal.
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
use countersign_testkit::{
    Clock, Config, Etype, Finished, KdcOptions, KdcProxy, Library, Process, Realm, run,
};
use kdc_support::{Client, PASSWORD, SPN, nobody, realm, through};
use std::net::SocketAddr;
use std::process::Command;
use support::{DEADLINE, Serve, acceptor, countersign};

const ALICE: &str = "alice@KDC.TEST";
const FULL_SPN: &str = "echo/a.example.test@KDC.TEST";

struct Scene {
    realm: Realm,
    client: Client,
    serve: Serve,
}

impl Scene {
    fn new(options: &KdcOptions) -> Self {
        let realm = realm(options);
        let serve = Serve::start(&realm.keytab(&[SPN]), &[]);
        Self { client: Client::new(realm.env()), realm, serve }
    }
}

/// `countersign connect` to `address`, with one message.
fn connect(client: &Client, address: SocketAddr, spn: &str, options: &[&str]) -> Command {
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", "hello"]);
    command.args(options).envs(client.env());
    command
}

fn with_password(client: &Client, address: SocketAddr, spn: &str, password: &str) -> Finished {
    let file = client.password_file(password);
    let options = ["--user", ALICE, "--password-file", file.to_str().unwrap()];
    run(&mut connect(client, address, spn, &options), DEADLINE)
}

#[test]
fn a_password_is_all_that_connect_needs() {
    let scene = Scene::new(&KdcOptions::default());
    let done = with_password(&scene.client, scene.serve.address, SPN, PASSWORD).expect_success();
    assert_eq!(done.text(), "hello\n");
    assert!(done.stderr.contains(&format!("authenticated {FULL_SPN} by kerberos")), "{done:?}");
    let record = scene.serve.accepted();
    assert_eq!((&record["client"], &record["mutual"]), (&ALICE.into(), &true.into()));
}

#[test]
fn a_keytab_is_all_that_connect_needs() {
    let scene = Scene::new(&KdcOptions::default());
    let keytab = scene.realm.keytab(&["alice"]);
    let options = ["--user", ALICE, "--client-keytab", keytab.to_str().unwrap()];
    let done = run(&mut connect(&scene.client, scene.serve.address, FULL_SPN, &options), DEADLINE);
    assert_eq!(done.expect_success().text(), "hello\n");
    assert_eq!(scene.serve.accepted()["client"], ALICE);
}

#[test]
fn acceptors_of_other_libraries_are_reached_by_one_command() {
    let scene = Scene::new(&KdcOptions::default());
    let service = scene.realm.service_env(&scene.realm.keytab(&[SPN]));
    for library in [Library::Mit, Library::Heimdal] {
        let (process, address): (Process, _) = acceptor(library, &service, &[]);
        let done = with_password(&scene.client, address, SPN, PASSWORD).expect_success();
        assert_eq!(done.text(), "hello\n");
        process.wait_for_line("authenticated alice@KDC.TEST to ", DEADLINE);
    }
}

#[test]
fn nobody_is_reached_with_a_wrong_password() {
    let scene = Scene::new(&KdcOptions::default());
    let done = with_password(&scene.client, scene.serve.address, SPN, "Wrong.789").expect_code(1);
    assert!(done.stderr.contains("CS-6003"), "{done:?}");
    assert!(done.stdout.is_empty(), "{done:?}");
}

#[test]
fn an_unknown_service_and_a_kdc_that_is_down_are_told_apart() {
    let scene = Scene::new(&KdcOptions::default());
    let address = scene.serve.address;
    let done = with_password(&scene.client, address, "nothing/a.example.test", PASSWORD).expect_code(1);
    assert!(done.stderr.contains("CS-6002"), "{done:?}");
    let kdcs = vec![nobody().to_string()];
    let cut_off = Client::new(scene.realm.env_as(&Config { kdcs, ..Config::default() }));
    let done = with_password(&cut_off, address, SPN, PASSWORD).expect_code(3);
    assert!(done.stderr.contains("CS-61"), "{done:?}");
    assert!(scene.serve.records().iter().all(|record| record["outcome"] != "accepted"));
}

#[test]
fn a_ticket_granting_ticket_in_the_cache_is_enough() {
    let scene = Scene::new(&KdcOptions::default());
    let proxy = KdcProxy::before(scene.realm.kdc().address());
    let client = through(&scene.realm, &proxy, Config::default());
    let ccache = scene.realm.kinit("alice", PASSWORD, &[]);
    let options = ["--ccache", ccache.to_str().unwrap()];
    let done = run(&mut connect(&client, scene.serve.address, SPN, &options), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
    assert_eq!((proxy.count(Kind::AsReq), proxy.count(Kind::TgsReq)), (0, 1));
}

#[test]
fn a_ticket_for_the_service_in_the_cache_asks_no_kdc() {
    let scene = Scene::new(&KdcOptions::default());
    let ccache = scene.client.login(ALICE, PASSWORD, &["--service", SPN]).got();
    let kdcs = vec![nobody().to_string()];
    let cut_off = Client::new(scene.realm.env_as(&Config { kdcs, ..Config::default() }));
    let options = ["--ccache", ccache.to_str().unwrap()];
    let done = run(&mut connect(&cut_off, scene.serve.address, FULL_SPN, &options), DEADLINE);
    assert_eq!(done.expect_success().text(), "hello\n");
}

#[test]
fn a_realm_whose_clock_is_off_by_an_hour_is_reached() {
    let clock = Clock::offset(3600);
    let realm = realm(&KdcOptions { clock: Some(clock), ..KdcOptions::default() });
    let client = Client::new(realm.env());
    let serve = Serve::start_as(&clock.env(), &realm.keytab(&[SPN]), &[]);
    let done = with_password(&client, serve.address, SPN, PASSWORD).expect_success();
    assert_eq!(done.text(), "hello\n");
}

/// `connect` with a forwardable login and `--delegate` towards both libraries; returns whether each was given a ticket.
fn delegated(scene: &Scene, delegate: &str) -> [bool; 2] {
    let service = scene.realm.service_env(&scene.realm.keytab(&[SPN]));
    [Library::Mit, Library::Heimdal].map(|library| {
        let cache = scene.client.ccache(&format!("delegated-{delegate}-{library:?}"));
        let (process, address) = acceptor(library, &service, &["--delegated", cache.to_str().unwrap()]);
        let password = scene.client.password_file(PASSWORD);
        let options = ["--user", ALICE, "--password-file", password.to_str().unwrap(), delegate];
        let done = run(&mut connect(&scene.client, address, SPN, &options), DEADLINE).expect_success();
        assert_eq!(done.text(), "hello\n");
        process.wait_for_line("authenticated alice@KDC.TEST to ", DEADLINE);
        if cache.exists() {
            assert_eq!(process.wait_for_line("delegated ", DEADLINE), ALICE);
            // What a service may do with it: be alice towards another one.
            scene.client.kvno("echo/beyond.example.test", &cache).expect_success();
        }
        cache.exists()
    })
}

#[test]
fn a_service_is_given_a_ticket_if_the_kdc_trusts_it_with_one_or_always() {
    let scene = Scene::new(&KdcOptions::default());
    scene.realm.add_service("echo/beyond.example.test", &[Etype::Aes256Sha1]);
    assert_eq!(delegated(&scene, "--delegate=trusted"), [false, false]);
    assert_eq!(delegated(&scene, "--delegate=always"), [true, true]);
    scene.realm.modify(SPN, &["+ok_as_delegate"]);
    assert_eq!(delegated(&scene, "--delegate"), [true, true]);
}
