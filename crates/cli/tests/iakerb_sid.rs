//! IAKERB as MIT krb5 1.22 speaks it, in a root of Debian sid: a user with a password and no KDC within reach, and a
//! service that relays to one. First MIT with itself, then each of its ends with ours. `scripts/test-sid` makes the root and
//! runs these tests; they are ignored without it.
//!
//! With COUNTERSIGN_CAPTURE naming a folder, what MIT's two ends send each other is left there as vectors
//! (`scripts/test-sid --capture`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod iakerb_support;
mod realm_support;
mod support;

use countersign_testkit::{Config, Etype, KdcOptions, SpakeGroup};
use iakerb_support::{Mit, PASSWORD, SPN, Stranger};
use realm_support::Home;
use support::{Serve, countersign};

/// The options of `gss_peer` for IAKERB with nothing around it.
const BARE: [&str; 2] = ["--mech", "iakerb"];

/// The same inside SPNEGO.
const NEGOTIATED: [&str; 4] = ["--mech", "spnego", "--cred-mechs", "iakerb"];

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_password_and_no_kdc_suffice_by_encrypted_timestamp() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("encrypted-timestamp", &BARE, &["--user", "alice@CAPTURE.TEST"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    // Asked, told to prove himself, TGT, service ticket, AP-REQ.
    assert_eq!(shown.tokens(), (4, 4));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_password_and_no_kdc_suffice_by_spake() {
    let mit =
        Mit::with(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    mit.realm.require_auth("krbtgt/CAPTURE.TEST", "spake");
    let shown = mit.handshake("spake", &BARE, &["--user", "alice@CAPTURE.TEST"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn spnego_negotiates_it_if_both_ends_have_credentials_of_it() {
    let mit =
        Mit::with(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    let shown = mit.handshake("spnego-spake", &NEGOTIATED, &["--user", "alice@CAPTURE.TEST"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_user_without_a_realm_is_told_the_services() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("realm-discovery", &BARE, &["--user", "alice"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn the_finished_checksum_is_of_the_etype_of_the_initiators_subkey() {
    let sha2_first =
        Config { permitted_enctypes: vec![Etype::Aes256Sha384, Etype::Aes256Sha1], ..Config::default() };
    let mit = Mit::with(&KdcOptions::default()).relaying_as(&sha2_first);
    mit.realm.set_session_enctypes(SPN, &[Etype::Aes256Sha384]);
    let shown = mit.handshake("sha2", &BARE, &["--user", "alice@CAPTURE.TEST"]);
    shown.authenticated("alice@CAPTURE.TEST", 20);
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_ticket_that_is_there_already_is_used_without_any_relaying() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("cached-ticket", &BARE, &["--user", "alice@CAPTURE.TEST", "--count", "2"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    // The first context as ever, the second an AP-REQ and an AP-REP.
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn spnego_carries_the_question_for_the_realm_too() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("spnego-realm-discovery", &NEGOTIATED, &["--user", "alice"]);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_service_in_another_realm_relays_to_both() {
    // Within SPNEGO the service's name says that it is a host's, which KDCs want for a referral.
    let options = ["--user", "alice@CAPTURE.TEST"];
    let shown = Mit::across_realms().handshake("spnego-cross-realm", &NEGOTIATED, &options);
    shown.authenticated("alice@CAPTURE.TEST", 18);
    // Once more asked than within a realm: the first KDC answers with a ticket for the second.
    assert_eq!(shown.tokens(), (5, 5));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_wrong_password_ends_with_the_kdcs_error() {
    let mit = Mit::with(&KdcOptions::default());
    let shown =
        mit.handshake_as("wrong-password", &BARE, &["--user", "alice@CAPTURE.TEST"], "not her password");
    shown.refused("Preauthentication failed");
    assert_eq!(shown.tokens(), (2, 2));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_wrong_password_under_spake_ends_with_the_kdcs_error() {
    let mit =
        Mit::with(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    let shown = mit.handshake_as(
        "wrong-password-spake",
        &BARE,
        &["--user", "alice@CAPTURE.TEST"],
        "not her password",
    );
    shown.refused("Preauthentication failed");
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn an_unknown_user_ends_with_the_kdcs_error() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("unknown-user", &BARE, &["--user", "nobody@CAPTURE.TEST"]);
    shown.refused("Client not found in Kerberos database");
    assert_eq!(shown.tokens(), (1, 1));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_realm_that_the_service_does_not_know_is_answered_with_an_error_of_its_own() {
    let mit = Mit::with(&KdcOptions::default());
    let shown = mit.handshake("unknown-realm", &BARE, &["--user", "alice@ELSEWHERE.TEST"]);
    shown.refused("The IAKERB proxy could not find a KDC");
    assert_eq!(shown.tokens(), (1, 1));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_kdc_that_is_silent_is_answered_with_an_error_of_its_own() {
    // Nobody listens on port 1.
    let nobody = Config { kdcs: vec!["127.0.0.1:1".to_owned()], ..Config::default() };
    let mit = Mit::with(&KdcOptions::default()).relaying_as(&nobody);
    let shown = mit.handshake("silent-kdc", &BARE, &["--user", "alice@CAPTURE.TEST"]);
    shown.refused("The KDC did not respond to the IAKERB proxy");
    assert_eq!(shown.tokens(), (1, 1));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn a_service_without_the_tickets_key_says_so() {
    let mit = Mit::with(&KdcOptions::default());
    mit.realm.rekey(SPN, &[Etype::Aes256Sha1]);
    let shown = mit.handshake("wrong-service", &BARE, &["--user", "alice@CAPTURE.TEST"]);
    shown.refused("KRB-ERROR 44");
    assert_eq!(shown.tokens(), (4, 4));
}

/// A realm of ours with alice and the service.
fn own_realm() -> Home {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.add_service(SPN);
    home
}

/// `countersign serve` with that realm's folder and nothing else.
fn serve(home: &Home) -> Serve {
    Serve::start_command(countersign(&["serve", "--realm"]).arg(home.realm_folder()))
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn mits_initiator_logs_in_to_a_realm_of_ours_through_our_service() {
    let home = own_realm();
    let serve = serve(&home);
    let as_alice = ["--user", "alice@OWN.TEST"];
    for mech in [&BARE[..], &NEGOTIATED] {
        let shown =
            Stranger::new().gss_peer(serve.address, &[mech, &as_alice].concat(), realm_support::PASSWORD);
        shown.authenticated("alice@OWN.TEST", 18);
        assert_eq!(shown.tokens(), (5, 5));
    }
    let records = serve.wait_for_records(2);
    assert_eq!(records[0]["outcome"], "accepted", "{records:?}");
    assert_eq!(records[0]["client"], "alice@OWN.TEST", "{records:?}");
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_service_tells_mits_initiator_its_realm() {
    let home = own_realm();
    let serve = serve(&home);
    for mech in [&BARE[..], &NEGOTIATED] {
        let options = [mech, &["--user", "alice"]].concat();
        let shown = Stranger::new().gss_peer(serve.address, &options, realm_support::PASSWORD);
        shown.authenticated("alice@OWN.TEST", 18);
        assert_eq!(shown.tokens(), (6, 6));
    }
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_service_takes_a_ticket_that_mits_initiator_has_already() {
    let home = own_realm();
    let serve = serve(&home);
    let options = [&BARE[..], &["--user", "alice@OWN.TEST", "--count", "2"]].concat();
    let shown = Stranger::new().gss_peer(serve.address, &options, realm_support::PASSWORD);
    shown.authenticated("alice@OWN.TEST", 18);
    assert_eq!(shown.tokens(), (6, 6));
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn mits_initiator_cannot_tell_a_wrong_password_from_an_unknown_user() {
    let home = own_realm();
    let serve = serve(&home);
    for (user, password) in [("alice@OWN.TEST", "not her password"), ("nobody@OWN.TEST", PASSWORD)] {
        let shown =
            Stranger::new().gss_peer(serve.address, &[&BARE[..], &["--user", user]].concat(), password);
        shown.refused("Preauthentication failed");
        assert_eq!(shown.tokens(), (3, 3));
    }
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_service_carries_nothing_to_realms_that_it_does_not_name() {
    let home = own_realm();
    let serve = serve(&home);
    let options = [&BARE[..], &["--user", "alice@ELSEWHERE.TEST"]].concat();
    let shown = Stranger::new().gss_peer(serve.address, &options, PASSWORD);
    shown.refused("The IAKERB proxy could not find a KDC");
    serve.refused("CS-1302");
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_service_relays_mits_initiator_to_mits_kdc() {
    let mit = Mit::with(&KdcOptions::default());
    let serve = Serve::start_command(
        countersign(&["serve", "--relay-realm", "CAPTURE.TEST"]).envs(mit.acceptor_env()),
    );
    for user in ["alice@CAPTURE.TEST", "alice"] {
        let options = [&BARE[..], &["--user", user]].concat();
        Stranger::new().gss_peer(serve.address, &options, PASSWORD).authenticated("alice@CAPTURE.TEST", 18);
    }
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_client_logs_in_through_mits_acceptor() {
    let mit =
        Mit::with(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    mit.realm.require_auth("krbtgt/CAPTURE.TEST", "spake");
    for user in ["alice@CAPTURE.TEST", "alice"] {
        let bare = mit.acceptor(&BARE);
        let done = Stranger::new().connect(bare.listening(), &["--user", user], PASSWORD).expect_success();
        assert_eq!(done.text().trim_end(), "hello", "{done:?}");
        assert!(bare.stdout().contains("authenticated alice@CAPTURE.TEST to"), "{}", bare.stdout());

        let negotiating = mit.acceptor(&NEGOTIATED);
        let options = ["--user", user, "--negotiate"];
        let done = Stranger::new().connect(negotiating.listening(), &options, PASSWORD).expect_success();
        assert_eq!(done.text().trim_end(), "hello", "{done:?}");
    }
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_client_proves_a_password_by_encrypted_timestamp_only_if_it_is_told_to() {
    let mit = Mit::with(&KdcOptions::default());
    let acceptor = mit.acceptor(&BARE);
    let options = ["--user", "alice@CAPTURE.TEST"];
    let refused = Stranger::new().connect(acceptor.listening(), &options, PASSWORD);
    assert_ne!(refused.code(), 0, "{refused:?}");
    assert!(refused.stderr.contains("CS-6014"), "{refused:?}");

    let options = ["--user", "alice@CAPTURE.TEST", "--allow-encrypted-timestamp"];
    Stranger::new().connect(acceptor.listening(), &options, PASSWORD).expect_success();
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_client_follows_a_referral_through_mits_acceptor() {
    let mit = Mit::across_realms();
    let acceptor = mit.acceptor(&BARE);
    let options = ["--user", "alice@CAPTURE.TEST", "--allow-encrypted-timestamp"];
    Stranger::new().connect(acceptor.listening(), &options, PASSWORD).expect_success();
    assert!(acceptor.stdout().contains("authenticated alice@CAPTURE.TEST to"), "{}", acceptor.stdout());
}

#[test]
#[ignore = "needs a root of Debian sid: scripts/test-sid"]
fn our_client_says_which_error_came_through_mits_acceptor() {
    let mit =
        Mit::with(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    let acceptor = mit.acceptor(&BARE);
    for (user, password, exit, code) in [
        ("alice@CAPTURE.TEST", "not her password", 1, "CS-6003"),
        ("nobody@CAPTURE.TEST", PASSWORD, 1, "CS-6001"),
        ("alice@ELSEWHERE.TEST", PASSWORD, 3, "CS-1304"),
    ] {
        let refused = Stranger::new().connect(acceptor.listening(), &["--user", user], password);
        let refused = refused.expect_code(exit);
        assert!(refused.stderr.contains(code), "{refused:?}");
    }
}
