//! `serve --realm`: a service whose keys and users are a folder, changed while it runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod realm_support;
mod support;

use countersign_testkit::{Finished, run};
use realm_support::{Home, PASSWORD};
use std::net::SocketAddr;
use support::{DEADLINE, Serve, countersign};

const SPN: &str = "echo/a.example.test";

/// A realm with alice and a service, served.
fn scene() -> (Home, Serve) {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.add_service(SPN);
    let serve = serve(&home);
    (home, serve)
}

fn serve(home: &Home) -> Serve {
    let mut command = countersign(&["serve", "--realm"]);
    Serve::start_command(command.arg(home.realm_folder()))
}

/// A client that has nothing but a name and a password.
fn connect(home: &Home, address: SocketAddr, spn: &str, user: &str, password: &str) -> Finished {
    let conf = home.path().join("krb5.conf");
    std::fs::write(&conf, "[libdefaults]\ndns_lookup_kdc = false\n").unwrap();
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", "hello"]);
    command.args(["--user", user, "--password-file", &home.password_file(password)]);
    run(command.env("KRB5_CONFIG", conf), DEADLINE)
}

#[test]
fn a_name_and_a_password_are_all_that_a_client_needs() {
    let (home, serve) = scene();
    let done = connect(&home, serve.address, SPN, "alice@OWN.TEST", PASSWORD).expect_success();
    assert_eq!(done.text(), "hello\n");
    assert!(done.stderr.contains("authenticated echo/a.example.test@OWN.TEST by kerberos"), "{done:?}");
    let record = serve.accepted();
    assert_eq!((&record["client"], &record["mutual"]), (&"alice@OWN.TEST".into(), &true.into()));
}

#[test]
fn accounts_are_changed_while_it_serves_and_count_at_once() {
    let (home, serve) = scene();
    let login = |user: &str, password: &str| connect(&home, serve.address, SPN, user, password);
    let refused = |done: Finished, code: &str| {
        let done = done.expect_code(1);
        assert!(done.stderr.contains(code), "{done:?} lacks {code}");
    };
    refused(login("bob@OWN.TEST", PASSWORD), "CS-6003");
    home.add_user("bob", &[]);
    login("bob@OWN.TEST", PASSWORD).expect_success();
    let other = home.password_file("Other.4567");
    home.realm("passwd", &["--password-file", &other, "bob"]).expect_success();
    refused(login("bob@OWN.TEST", PASSWORD), "CS-6003");
    login("bob@OWN.TEST", "Other.4567").expect_success();
    assert!(home.account("bob").is_some());
    home.realm("remove", &["bob"]).expect_success();
    assert!(home.account("bob").is_none());
    refused(login("bob@OWN.TEST", "Other.4567"), "CS-6003");
    login("alice@OWN.TEST", PASSWORD).expect_success();
}

#[test]
fn services_are_added_and_get_new_keys_while_it_serves() {
    let (home, serve) = scene();
    let alice = |spn: &str| connect(&home, serve.address, spn, "alice@OWN.TEST", PASSWORD);
    let done = alice("files/a.example.test").expect_code(1);
    assert!(done.stderr.contains("CS-6002"), "{done:?}");
    home.add_service("files/a.example.test");
    alice("files/a.example.test").expect_success();
    home.realm("passwd", &["--random", "files/a.example.test"]).expect_success();
    alice("files/a.example.test").expect_success();
    home.realm("remove", &["files/a.example.test"]).expect_success();
    alice("files/a.example.test").expect_code(1);
    alice(SPN).expect_success();
}

#[test]
fn a_second_server_of_the_folder_is_refused_and_told_of_the_first() {
    let (home, serve) = scene();
    let mut command = countersign(&["serve", "--listen", "127.0.0.1:0", "--realm"]);
    let done = run(command.arg(home.realm_folder()), DEADLINE).expect_code(2);
    let first = format!("process {}", serve.process.id());
    assert!(done.stderr.contains("CS-7105") && done.stderr.contains(&first), "{done:?}");
}

#[test]
fn a_folder_without_a_realm_is_told() {
    let home = Home::empty();
    let mut command = countersign(&["serve", "--listen", "127.0.0.1:0", "--realm"]);
    let done = run(command.arg(home.realm_folder()), DEADLINE).expect_code(2);
    assert!(done.stderr.contains("realm init"), "{done:?}");
}
