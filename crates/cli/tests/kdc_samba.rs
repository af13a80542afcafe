//! `countersign ticket get` and `connect` with an Active Directory, Samba's. What was got is shown by MIT's klist and
//! kvno.
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

use countersign_testkit::kdc_message::PA_FX_FAST;
use countersign_testkit::{Config, Domain, KdcProxy, run};
use kdc_support::{Client, PASSWORD, services};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use support::{DEADLINE, Serve};

const SERVICE: &str = "echo/a.example.test";
const FULL_SERVICE: &str = "echo/a.example.test@SAMBA.TEST";
const TGT: &str = "krbtgt/SAMBA.TEST@SAMBA.TEST";

/// One domain for the tests that run at the same time, with the service [`SERVICE`]; the last of them ends it.
fn domain() -> Arc<Domain> {
    static SHARED: Mutex<Weak<Domain>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let domain = Arc::new(Domain::new());
        domain.add_service("echo-service", SERVICE);
        *shared = Arc::downgrade(&domain);
        domain
    })
}

fn full(user: &str) -> String {
    format!("{user}@SAMBA.TEST")
}

#[test]
fn a_user_of_the_domain_gets_tickets_that_mit_uses() {
    let domain = domain();
    domain.add_user("alice", PASSWORD);
    let client = Client::new(domain.env());
    let ccache = client.login(&full("alice"), PASSWORD, &["--service", SERVICE]).got();
    let list = client.klist(&ccache);
    assert_eq!(services(&list), [TGT, FULL_SERVICE]);
    assert!(list.contains("Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96"), "{list}");
    client.kvno("cifs/dc1.samba.test", &ccache).expect_success();
    let login = client.login(&full("alice"), PASSWORD, &["--service", "nothing/a.example.test"]);
    let done = login.done.expect_code(1);
    assert!(done.stderr.contains("CS-6002"), "{done:?}");
}

#[test]
fn the_domain_says_why_an_account_gets_nothing() {
    let domain = domain();
    for user in ["bob", "frank", "grace", "heidi"] {
        domain.add_user(user, PASSWORD);
    }
    let client = Client::new(domain.env());
    client.login(&full("bob"), "Wrong.789", &[]).refused(1, "CS-6003");
    client.login(&full("nobody"), PASSWORD, &[]).refused(1, "CS-6001");
    domain.disable("frank");
    domain.expire("grace");
    domain.expire_password("heidi");
    for (user, code) in [("frank", "CS-6004"), ("grace", "CS-6004"), ("heidi", "CS-6005")] {
        client.login(&full(user), PASSWORD, &[]).refused(1, code);
    }
}

#[test]
fn an_account_that_was_guessed_at_too_often_is_told_to_be_locked() {
    let domain = domain();
    domain.add_user("ivan", PASSWORD);
    let client = Client::new(domain.env());
    // More than the wrong passwords of any other test.
    domain.lock_out_after(3);
    for _ in 0..3 {
        client.login(&full("ivan"), "Wrong.789", &[]).refused(1, "CS-6003");
    }
    client.login(&full("ivan"), PASSWORD, &[]).refused(1, "CS-6004");
    domain.lock_out_after(0);
}

#[test]
fn tickets_for_a_service_are_of_the_etype_that_its_account_has() {
    let domain = domain();
    domain.add_user("judy", PASSWORD);
    domain.add_service("aes-service", "echo/b.example.test");
    let client = Client::new(domain.env());
    for (bits, etype) in [(24, "aes256-cts-hmac-sha1-96"), (8, "aes128-cts-hmac-sha1-96")] {
        domain.set_enctypes("aes-service", bits);
        let ccache = client.login(&full("judy"), PASSWORD, &["--service", "echo/b.example.test"]).got();
        let list = client.klist(&ccache);
        assert!(list.split_once("echo/b.example.test").unwrap().1.contains(&format!(", {etype}")), "{list}");
    }
}

#[test]
fn a_mail_address_of_the_domain_is_a_name_to_log_in_with() {
    let domain = domain();
    domain.add_user("kate", PASSWORD);
    let client = Client::new(domain.env());
    let login = client.login("kate@samba.test", PASSWORD, &["--enterprise", "--canonicalize"]);
    let list = client.klist(&login.got());
    assert!(list.contains("Default principal: kate@SAMBA.TEST\n"), "{list}");
}

#[test]
fn the_name_is_as_the_domain_spells_it_where_canonicalization_is_asked_for() {
    let domain = domain();
    domain.add_user("laura", PASSWORD);
    let client = Client::new(domain.env());
    let login = client.login("LAURA@SAMBA.TEST", PASSWORD, &["--canonicalize"]);
    let list = client.klist(&login.got());
    assert!(list.contains("Default principal: laura@SAMBA.TEST\n"), "{list}");
}

#[test]
fn armor_is_spoken_with_the_domain() {
    let domain = domain();
    domain.add_user("mike", PASSWORD);
    let armor = domain.kinit("mike", PASSWORD).unwrap();
    let proxy = KdcProxy::before(domain.kdc());
    let kdcs = vec![proxy.address().to_string()];
    let client = Client::new(
        [
            domain.env(),
            vec![("KRB5_CONFIG".to_owned(), domain.config(&Config { kdcs, ..Config::default() }).into())],
        ]
        .concat(),
    );
    client.login(&full("mike"), PASSWORD, &["--armor-ccache", armor.to_str().unwrap()]).got();
    assert!(proxy.requests().iter().all(|request| request.padata_types().contains(&PA_FX_FAST)));
}

#[test]
fn one_command_logs_in_at_the_domain_and_reaches_a_service_of_it() {
    let domain = domain();
    domain.add_user("nina", PASSWORD);
    let client = Client::new(domain.env());
    let serve = Serve::start(&domain.keytab(&[SERVICE]), &[]);
    let address = serve.address.to_string();
    let mut command = support::countersign(&["connect", &address, "--spn", SERVICE, "--user", &full("nina")]);
    command.arg("--password-file").arg(client.password_file(PASSWORD));
    let done = run(command.args(["--message", "hello"]).envs(client.env()), DEADLINE).expect_success();
    assert_eq!(done.text(), "hello\n");
    assert_eq!(serve.accepted()["client"], "nina@SAMBA.TEST");
}
