//! Real Kerberos clients whose only KDC is `countersign realm serve`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod realm_support;
mod support;

use countersign_testkit::{HeimdalRealm, Library, run};
use realm_support::{Client, Home, PASSWORD, REALM};
use support::{DEADLINE, Serve, countersign, initiate};

const SPN: &str = "echo/a.example.test";

/// A realm with alice and the service.
fn home(options: &[&str]) -> Home {
    let home = Home::with(options);
    home.add_user("alice", &[]);
    home.add_service(SPN);
    home
}

#[test]
fn mits_programs_log_in_by_spake_and_get_tickets_in_every_etype() {
    let home = home(&[]);
    let server = home.serve();
    for etype in [
        "aes256-cts-hmac-sha1-96",
        "aes128-cts-hmac-sha1-96",
        "aes256-cts-hmac-sha384-192",
        "aes128-cts-hmac-sha256-128",
    ] {
        let client = Client::of(server.address, &format!("permitted_enctypes = {etype}"));
        client.kinit(PASSWORD, &["alice"]).expect_success();
        client.run("kvno", &[SPN]).expect_success();
        let trace = client.trace();
        assert!(trace.contains("SPAKE"), "{trace}");
        assert!(!trace.contains("Encrypted timestamp"), "{trace}");
        let list = client.run("klist", &["-e"]).expect_success().text();
        assert!(list.contains(&format!("Etype (skey, tkt): {etype}")), "{list}");
    }
    server.end().expect_success();
}

#[test]
fn mits_kinit_logs_in_with_either_group() {
    let home = home(&[]);
    let server = home.serve();
    for group in ["edwards25519", "P-256"] {
        let client = Client::of(server.address, &format!("spake_preauth_groups = {group}"));
        let conf = client.env()[0].1.clone();
        let text = std::fs::read_to_string(&conf).unwrap();
        std::fs::write(&conf, text.replacen("spake_preauth_groups = edwards25519 P-256\n", "", 1)).unwrap();
        client.kinit(PASSWORD, &["alice"]).expect_success();
    }
    server.end().expect_success();
}

#[test]
fn mits_kinit_logs_in_armored_by_another_ticket() {
    let home = home(&[]);
    home.add_user("bob", &[]);
    let server = home.serve();
    let armor = Client::of(server.address, "");
    armor.kinit(PASSWORD, &["bob"]).expect_success();
    let client = Client::of(server.address, "");
    let ccache = armor.ccache();
    client.kinit(PASSWORD, &["-T", ccache.to_str().unwrap(), "alice"]).expect_success();
    assert!(client.trace().contains("FAST"), "{}", client.trace());
    client.run("kvno", &[SPN]).expect_success();
    let granted = |record: &serde_json::Value| record["outcome"] == "granted" && record["armored"] == true;
    assert!(server.records().iter().any(granted));
    server.end().expect_success();
}

#[test]
fn tickets_are_forwardable_and_renewed_as_asked() {
    let home = home(&[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["-f", "-r", "2d", "-l", "1h", "alice"]).expect_success();
    let flags =
        |list: String| list.lines().find_map(|line| line.split_once("Flags: ").map(|(_, f)| f.to_owned()));
    let list = client.run("klist", &["-f"]).expect_success().text();
    assert!(list.contains("renew until"), "{list}");
    let before = flags(list).unwrap();
    assert!(before.contains('F') && before.contains('R') && before.contains('I'), "{before}");
    client.run("kinit", &["-R"]).expect_success();
    let after = flags(client.run("klist", &["-f"]).expect_success().text()).unwrap();
    assert!(after.contains('F') && after.contains('R') && !after.contains('I'), "{after}");
    server.end().expect_success();
}

#[test]
fn a_service_logs_in_with_its_exported_keytab() {
    let home = home(&[]);
    let keytab = home.keytab(&[SPN]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.run("kinit", &["-k", "-t", keytab.to_str().unwrap(), SPN]).expect_success();
    let list = client.run("klist", &[]).expect_success().text();
    assert!(list.contains(&format!("Default principal: {SPN}@{REALM}")), "{list}");
    server.end().expect_success();
}

#[test]
fn mits_client_and_ours_prove_themselves_to_a_service_of_the_realm() {
    let home = home(&[]);
    let keytab = home.keytab(&[SPN]);
    let server = home.serve();
    let serve = Serve::start(&keytab, &[]);
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    let full = format!("{SPN}@{REALM}");
    initiate(Library::Mit, &client.env(), serve.address, &full, &[]).expect_success();
    let address = serve.address.to_string();
    let file = home.password_file(PASSWORD);
    let mut connect =
        countersign(&["connect", &address, "--spn", &full, "--user", "alice", "--message", "hello"]);
    let done = run(connect.args(["--password-file", &file]).envs(client.env()), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
    server.end().expect_success();
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let home = home(&[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    let wrong = client.kinit("Wrong.Password.1", &["alice"]).expect_code(1);
    let unknown = client.kinit("Wrong.Password.1", &["nobody"]).expect_code(1);
    assert_eq!(wrong.stderr.replace("alice", "nobody"), unknown.stderr);
    server.end().expect_success();
}

#[test]
fn nobody_gets_a_ticket_for_a_user() {
    let home = home(&[]);
    home.add_user("bob", &[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    client.run("kvno", &["bob"]).expect_code(1);
    server.end().expect_success();
}

#[test]
fn disabled_and_expired_accounts_are_refused_and_enabled_ones_let_in_again() {
    let home = home(&[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    for (change, back) in [
        (["alice", "--disable"].as_slice(), ["alice", "--enable"].as_slice()),
        (&["alice", "--expires", "2020-01-01"], &["alice", "--expires", "never"]),
        (&["alice", "--password-expires", "2020-01-01"], &["alice", "--password-expires", "never"]),
    ] {
        home.realm("modify", change).expect_success();
        client.kinit(PASSWORD, &["alice"]).expect_code(1);
        home.realm("modify", back).expect_success();
        client.kinit(PASSWORD, &["alice"]).expect_success();
    }
    server.end().expect_success();
}

#[test]
fn a_service_answers_to_its_alias() {
    let home = home(&[]);
    home.realm("modify", &[SPN, "--alias", "echo/alias.example.test"]).expect_success();
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    client.run("kvno", &["echo/alias.example.test"]).expect_success();
    server.end().expect_success();
}

#[test]
fn tickets_under_the_realms_old_keys_stay_good_after_new_ones() {
    let home = home(&[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    client.kinit(PASSWORD, &["alice"]).expect_success();
    home.realm("passwd", &["--random", &format!("krbtgt/{REALM}")]).expect_success();
    client.run("kvno", &[SPN]).expect_success();
    client.kinit(PASSWORD, &["alice"]).expect_success();
    client.run("kvno", &[SPN]).expect_success();
    server.end().expect_success();
}

#[test]
fn guesses_at_one_account_leave_another_users_logins_alone() {
    let home =
        home(&["--lockout-threshold", "1", "--lockout-first-delay", "1h", "--lockout-longest-delay", "1h"]);
    home.add_user("bob", &[]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    for _ in 0..3 {
        client.kinit("Wrong.Password.1", &["alice"]).expect_code(1);
    }
    // Locked: even the right password is refused, and the account shows it.
    client.kinit(PASSWORD, &["alice"]).expect_code(1);
    let alice = home.account("alice").unwrap();
    assert_eq!(alice["failures"], 2, "those during the delay do not count");
    assert!(alice["locked_until"].is_string());
    client.kinit(PASSWORD, &["bob"]).expect_success();
    home.realm("modify", &["alice", "--unlock"]).expect_success();
    client.kinit(PASSWORD, &["alice"]).expect_success();
    server.end().expect_success();
}

#[test]
fn heimdals_kinit_logs_in_where_the_realm_allows_its_timestamp_and_nowhere_else() {
    let home = home(&["--allow-encrypted-timestamp", "true"]);
    let server = home.serve();
    let client = Client::of(server.address, "");
    // Its own KDC is not asked; its programs are.
    let heimdal = HeimdalRealm::new("HEIMDAL.TEST", None);
    let alice = format!("alice@{REALM}");
    let ccache =
        heimdal.kinit_as(&client.env(), &alice, PASSWORD, &[]).unwrap_or_else(|done| panic!("{done:?}"));
    let list = client.run("klist", &[ccache.to_str().unwrap()]).expect_success().text();
    assert!(list.contains(&format!("krbtgt/{REALM}@{REALM}")), "{list}");
    home.realm("policy", &["--allow-encrypted-timestamp", "false"]).expect_success();
    assert!(heimdal.kinit_as(&client.env(), &alice, PASSWORD, &[]).is_err());
    server.end().expect_success();
}
