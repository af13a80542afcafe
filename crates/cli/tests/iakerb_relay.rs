//! `serve` that carries messages of clients to KDCs which those cannot reach, MIT's and Samba's, and nothing else.
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

use countersign::proto::gss::framing::{self, Mech, TokenId};
use countersign::proto::iakerb::ProxyMessage;
use countersign_testkit::kdc_message::{Kind, PA_ENC_TIMESTAMP};
use countersign_testkit::{Config, Domain, Env, Finished, KdcOptions, KdcProxy, SpakeGroup, run};
use kdc_support::{PASSWORD, SPN, realm};
use std::net::SocketAddr;
use std::path::PathBuf;
use support::wire::Wire;
use support::{DEADLINE, Serve, countersign};
use tempfile::TempDir;

/// A client on a machine that knows no KDC and no realm.
struct Away {
    folder: TempDir,
}

impl Away {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("krb5.conf"), "[libdefaults]\ndns_lookup_kdc = false\n").unwrap();
        Self { folder }
    }

    fn env(&self) -> Env {
        vec![("KRB5_CONFIG".to_owned(), self.folder.path().join("krb5.conf").into())]
    }

    fn password_file(&self, password: &str) -> PathBuf {
        let path = self.folder.path().join("password");
        std::fs::write(&path, password).unwrap();
        path
    }

    fn connect(
        &self,
        address: SocketAddr,
        spn: &str,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Finished {
        let mut command = countersign(&["connect", &address.to_string(), "--spn", spn, "--message", "hello"]);
        command.args(["--user", user, "--password-file"]).arg(self.password_file(password)).args(options);
        run(command.envs(self.env()), DEADLINE)
    }
}

#[test]
fn a_client_that_reaches_no_kdc_logs_in_to_an_mit_realm_through_the_service() {
    let realm = realm(&KdcOptions { spake_groups: vec![SpakeGroup::Edwards25519], ..KdcOptions::default() });
    let proxy = KdcProxy::before(realm.kdc().address());
    let config = Config { kdcs: vec![proxy.address().to_string()], ..Config::default() };
    let env = realm.env_as(&config);
    let serve = Serve::start_as(&env, &realm.keytab(&[SPN]), &["--relay-realm", "KDC.TEST"]);
    for (user, options) in
        [("alice@KDC.TEST", &[][..]), ("alice", &["--iakerb"]), ("alice@KDC.TEST", &["--negotiate"])]
    {
        let done = Away::new().connect(serve.address, SPN, user, PASSWORD, options).expect_success();
        assert_eq!(done.text(), "hello\n");
        let authenticated = format!("authenticated {SPN}@KDC.TEST by kerberos aes256-cts-hmac-sha1-96");
        assert!(done.stderr.contains(&authenticated), "{done:?}");
    }
    let record = serve.accepted();
    assert_eq!((&record["client"], &record["mech"]), (&"alice@KDC.TEST".into(), &"iakerb".into()));
    assert_eq!(proxy.count(Kind::TgsReq), 3);
    // The service is not yet known while it carries a login: nothing that it could guess the password from.
    assert!(proxy.requests().iter().all(|request| !request.padata_types().contains(&PA_ENC_TIMESTAMP)));
}

#[test]
fn a_password_is_proved_by_a_timestamp_through_the_service_only_where_that_is_allowed() {
    let realm = realm(&KdcOptions::default());
    let serve = Serve::start_as(&realm.env(), &realm.keytab(&[SPN]), &["--relay-realm", "KDC.TEST"]);
    let away = Away::new();
    let done = away.connect(serve.address, SPN, "alice@KDC.TEST", PASSWORD, &[]).expect_code(1);
    assert!(done.stderr.contains("CS-6014"), "{done:?}");
    let allowed = ["--allow-encrypted-timestamp"];
    away.connect(serve.address, SPN, "alice@KDC.TEST", PASSWORD, &allowed).expect_success();
    let done = away.connect(serve.address, SPN, "alice@KDC.TEST", "Wrong.789", &allowed).expect_code(1);
    assert!(done.stderr.contains("CS-6003"), "{done:?}");
}

#[test]
fn a_client_that_reaches_no_kdc_logs_in_to_active_directory_through_the_service() {
    let domain = Domain::new();
    domain.add_service("echo-service", SPN);
    domain.add_user("alice", PASSWORD);
    let keytab = domain.keytab(&[SPN]);
    let serve = Serve::start_as(&domain.env(), &keytab, &["--relay-realm", "SAMBA.TEST"]);
    let allowed = ["--allow-encrypted-timestamp"];
    let done =
        Away::new().connect(serve.address, SPN, "alice@SAMBA.TEST", PASSWORD, &allowed).expect_success();
    assert!(done.stderr.contains(&format!("authenticated {SPN}@SAMBA.TEST by kerberos")), "{done:?}");
    let done =
        Away::new().connect(serve.address, SPN, "alice@SAMBA.TEST", "Wrong.789", &allowed).expect_code(1);
    assert!(done.stderr.contains("CS-6003"), "{done:?}");
}

#[test]
fn a_kdc_that_is_down_is_told_to_the_client_and_in_the_log() {
    let realm = realm(&KdcOptions::default());
    let config = Config { kdcs: vec![kdc_support::nobody().to_string()], ..Config::default() };
    let serve =
        Serve::start_as(&realm.env_as(&config), &realm.keytab(&[SPN]), &["--relay-realm", "KDC.TEST"]);
    let done = Away::new().connect(serve.address, SPN, "alice@KDC.TEST", PASSWORD, &[]).expect_code(3);
    assert!(done.stderr.contains("CS-1304") && done.stderr.contains("error 86"), "{done:?}");
    serve.refused("CS-6102");
}

/// A proxy token with `message` for the KDC of `realm`.
fn proxy_token(realm: &str, message: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    ProxyMessage { target_realm: realm, cookie: None, message }.write(&mut token);
    token
}

#[test]
fn nothing_is_carried_for_another_realm_or_of_another_kind() {
    let realm = realm(&KdcOptions::default());
    let proxy = KdcProxy::before(realm.kdc().address());
    let config = Config { kdcs: vec![proxy.address().to_string()], ..Config::default() };
    let serve =
        Serve::start_as(&realm.env_as(&config), &realm.keytab(&[SPN]), &["--relay-realm", "KDC.TEST"]);
    let ours = first_request(&realm);
    let mut ap_req = Vec::new();
    framing::wrap_as(Mech::Iakerb, TokenId::ApRep, &mut ap_req, |body| body.encoded(&[0x6F, 0]));
    let cases = [
        (proxy_token("OTHER.TEST", &ours), "CS-1302"),
        // The header says ours, the request another.
        (proxy_token("KDC.TEST", &replaced(&ours, b"KDC.TEST", b"XDC.TEST")), "CS-1303"),
        (proxy_token("KDC.TEST", b"\x6e\x03\x30\x01\x00"), "CS-1303"),
        (proxy_token("KDC.TEST", b"GET / HTTP/1.1\r\n\r\n"), "CS-1303"),
        (proxy_token("", &ours), "CS-1004"),
        (proxy_token("KDC.TEST", &[]), "CS-1004"),
        (ap_req, "CS-1004"),
    ];
    for (index, (token, code)) in cases.into_iter().enumerate() {
        let mut wire = Wire::connect(serve.address);
        wire.send(&token);
        serve.refused_at(index + 1, code);
    }
    assert_eq!(proxy.exchanges().len(), 0);
    let mut wire = Wire::connect(serve.address);
    wire.send(&proxy_token("KDC.TEST", &ours));
    assert!(wire.receive().is_some());
    assert_eq!(proxy.count(Kind::AsReq), 1);
}

/// An AS-REQ, as kinit's first one.
fn first_request(realm: &countersign_testkit::Realm) -> Vec<u8> {
    let proxy = KdcProxy::before(realm.kdc().address());
    let config = Config { kdcs: vec![proxy.address().to_string()], ..Config::default() };
    let _ = realm.try_kinit_as(&realm.env_as(&config), "alice", PASSWORD, &[]);
    proxy.exchanges()[0].request.clone()
}

/// `bytes` with the first `from` replaced by `to`, of the same length, wherever it stands.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn serve_carries_nothing_unless_it_is_told_to() {
    let realm = realm(&KdcOptions::default());
    let serve = Serve::start_as(&realm.env(), &realm.keytab(&[SPN]), &[]);
    let away = Away::new();
    let cases = [(&["--iakerb"][..], "CS-1003"), (&["--iakerb", "--negotiate"], "CS-1201")];
    for (index, (options, code)) in cases.into_iter().enumerate() {
        away.connect(serve.address, SPN, "alice@KDC.TEST", PASSWORD, options).expect_code(1);
        serve.refused_at(index + 1, code);
    }
}
