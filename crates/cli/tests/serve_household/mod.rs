//! What the tests of what operators see share: a realm of one's own with a client of every mech, a session that is broken,
//! and the tables of the documents.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

use super::realm_support::{Home, PASSWORD};
use super::serve_support::Scene;
use super::support::wire::Wire;
use super::support::{DEADLINE, countersign};
use countersign_testkit::{Finished, run};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A document of this repository.
pub(crate) fn document(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

/// The first cells of the rows of a document's tables that hold `second` in their second cell, without their back quotes.
pub(crate) fn rows(document: &str, second: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = document.lines().filter(|line| line.starts_with("| `")).map(cells);
    let rows = rows.filter(|cells| second(&cells[2]));
    rows.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone())).collect()
}

/// A message after the handshake that nobody could have sealed.
pub(crate) fn break_a_session(scene: &Scene, address: SocketAddr, seed: u64) {
    let mut request = scene.mint.ap_req();
    request.seed = seed;
    let mut wire = Wire::connect(address);
    wire.send(&request.token());
    assert!(wire.receive().is_some(), "an AP-REP");
    wire.send(&[0x55; 100]);
    wire.assert_closed();
}

/// A client with a name and a password: through the service's realm, or by NTLM.
pub(crate) fn by_password(
    home: &Home,
    address: SocketAddr,
    spn: &str,
    message: &str,
    flags: &[&str],
) -> Finished {
    let conf = home.path().join("krb5.conf");
    fs::write(&conf, "[libdefaults]\ndns_lookup_kdc = false\n").unwrap();
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", message]);
    command.args(flags).env("KRB5_CONFIG", conf);
    run(&mut command, DEADLINE)
}

/// A realm with alice and a service, and an NTLM account of hers.
pub(crate) struct Household {
    home: Home,
    pub(crate) password: String,
    pub(crate) wrong: String,
    accounts: String,
}

pub(crate) const SPN: &str = "own/a.example.test";

impl Household {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        home.add_user("alice", &[]);
        home.add_service(SPN);
        let password = home.password_file(PASSWORD);
        let wrong = home.path().join("wrong").display().to_string();
        fs::write(&wrong, "guess\n").unwrap();
        let accounts = home.path().join("accounts").display().to_string();
        let add = ["ntlm", "add", "--user", r"DOM\alice", "--file", &accounts, "--password-file", &password];
        run(&mut countersign(&add), DEADLINE).expect_success();
        Self { home, password, wrong, accounts }
    }

    /// A listener with that realm, which accepts NTLM.
    pub(crate) fn listener(&self) -> String {
        let realm = self.home.realm_folder();
        format!(
            "[[listener]]\nname = \"own\"\nlisten = \"127.0.0.1:0\"\nrealm = \"{}\"\nallow_ntlm = true\nntlm_accounts = \"{}\"\n",
            realm.display(),
            self.accounts
        )
    }

    pub(crate) fn iakerb(&self, address: SocketAddr, message: &str) -> Finished {
        let flags = ["--user", "alice@OWN.TEST", "--password-file", &self.password];
        by_password(&self.home, address, SPN, message, &flags)
    }

    pub(crate) fn ntlm(&self, address: SocketAddr, password: &str, message: &str) -> Finished {
        let flags = ["--allow-ntlm", "--user", r"DOM\alice", "--password-file", password];
        by_password(&self.home, address, SPN, message, &flags)
    }
}
