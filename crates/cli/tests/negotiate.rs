//! SPNEGO and NTLM against real peers, in both roles.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::{Domain, Env, Finished, Library, NtlmUsers, Peers, Process, run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{DEADLINE, FULL_SPN, SPN, Scene, Serve, connect};

const PASSWORD: &str = "Secret.123";
// gss-ntlmssp does not wrap an empty message.
const SIZES: &str = "1,100,65536,1048576";

fn scene() -> std::sync::Arc<Scene> {
    Scene::shared(|_| {})
}

fn with(mut command: Command, env: Env) -> Command {
    command.envs(env);
    command
}

fn mit(env: Env) -> Command {
    with(Peers::get().command(Library::Mit), env)
}

fn heimdal(env: Env) -> Command {
    with(Peers::get().command(Library::Heimdal), env)
}

fn pyspnego(env: Env) -> Command {
    with(Peers::get().pyspnego(), env)
}

fn accept(mut peer: Command, options: &[&str]) -> (Process, SocketAddr) {
    let process = Process::start(peer.args(["accept", "0"]).args(options));
    let address = process.listening();
    (process, address)
}

fn initiate(mut peer: Command, address: SocketAddr, options: &[&str]) -> Finished {
    peer.args(["initiate", &address.ip().to_string(), &address.port().to_string(), FULL_SPN]);
    run(peer.args(options), DEADLINE)
}

/// A folder with a password in a file, and accounts for `serve` that know it.
struct Accounts {
    folder: tempfile::TempDir,
}

impl Accounts {
    fn new() -> Self {
        let accounts = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(accounts.password(), format!("{PASSWORD}\n")).unwrap();
        let mut add = Command::new(env!("CARGO_BIN_EXE_countersign"));
        add.args(["ntlm", "add", "--user", r"DOM\alice", "--file"]).arg(accounts.file());
        run(add.arg("--password-file").arg(accounts.password()), DEADLINE).expect_success();
        accounts
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("accounts")
    }

    fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    fn serve(&self, options: &[&str]) -> Serve {
        let file = self.file();
        let ntlm = ["--allow-ntlm", "--ntlm-accounts", file.to_str().unwrap()];
        scene().serve(&[&ntlm, options].concat())
    }
}

/// `connect` with a password for NTLM and no ticket.
fn connect_by_ntlm(address: SocketAddr, password: &Path, options: &[&str]) -> Finished {
    let mut command = connect(address, SPN, Path::new("/nonexistent"));
    command.args(["--allow-ntlm", "--user", "alice@DOM", "--password-file"]).arg(password);
    run(command.args(["--message", "hello"]).args(options), DEADLINE)
}

fn ntlm_env() -> (NtlmUsers, Env) {
    let users = NtlmUsers::new(&[("DOM", "alice", PASSWORD)]);
    let env = [scene().realm.env(), users.env()].concat();
    (users, env)
}

#[test]
fn serve_negotiates_kerberos_with_mit_heimdal_and_pyspnego() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let address = serve.address;
    let spnego = ["--mech", "spnego", "--sizes", SIZES, "--message", "hello"];
    let python = ["--protocol", "negotiate", "--sizes", SIZES, "--message", "hello"];
    for (peer, options) in [
        (mit(scene.client_env()), &spnego[..]),
        (heimdal(scene.client_env()), &spnego),
        (pyspnego(scene.client_env()), &python),
    ] {
        let done = initiate(peer, address, options).expect_success();
        assert!(done.text().contains("negotiated krb5\n"), "{done:?}");
        assert!(done.text().contains("reply hello\n"), "{done:?}");
    }
}

#[test]
fn serve_takes_kerberos_from_a_client_that_prefers_ntlm() {
    let scene = scene();
    let (_users, ntlm) = ntlm_env();
    let serve = scene.serve(&[]);
    let ntlm_first = ["--mech", "spnego", "--neg-mechs", "ntlm,krb5,iakerb", "--message", "hello"];
    let done =
        initiate(mit([ntlm, scene.client_env()].concat()), serve.address, &ntlm_first).expect_success();
    assert!(done.text().contains("negotiated krb5\n"), "{done:?}");
}

#[test]
fn connect_negotiates_kerberos_with_mit_heimdal_and_pyspnego() {
    let scene = scene();
    let env = || scene.realm.service_env(&scene.keytab);
    for (peer, options) in [
        (mit(env()), &["--mech", "spnego"][..]),
        (heimdal(env()), &["--mech", "spnego"]),
        (pyspnego(env()), &["--protocol", "negotiate"]),
    ] {
        let (process, address) = accept(peer, options);
        let done = scene.connect(address, &["--negotiate", "--message", "hello"]).expect_success();
        assert!(done.stderr.contains(&format!("authenticated {FULL_SPN} by kerberos ")), "{done:?}");
        assert_eq!(process.wait_for_line("negotiated ", DEADLINE), "krb5");
    }
}

#[test]
fn connect_with_a_ticket_alone_is_understood_by_a_negotiating_acceptor() {
    let scene = scene();
    let (_process, address) =
        accept(pyspnego(scene.realm.service_env(&scene.keytab)), &["--protocol", "negotiate"]);
    scene.connect(address, &["--message", "hello"]).expect_success();
}

#[test]
fn serve_and_connect_negotiate_ntlm_with_each_other_and_say_that_it_is_not_mutual() {
    let accounts = Accounts::new();
    let serve = accounts.serve(&[]);
    let done = connect_by_ntlm(serve.address, &accounts.password(), &[]).expect_success();
    assert_eq!(done.stdout, b"hello\n");
    assert!(done.stderr.contains(&format!("NOT mutually authenticated: {SPN} by ntlm\n")), "{done:?}");
    let record = serve.accepted();
    assert_eq!(record["mech"], "ntlm");
    assert_eq!(record["client"], r"DOM\alice");
    assert_eq!(record["mutual"], false);
    assert_eq!(record["waivers"], serde_json::json!(["allow_ntlm"]));
}

#[test]
fn connect_prefers_kerberos_when_it_has_both() {
    let scene = scene();
    let accounts = Accounts::new();
    let serve = accounts.serve(&[]);
    let mut command = connect(serve.address, FULL_SPN, &scene.ccache_for(&[SPN]));
    command.args(["--allow-ntlm", "--user", "alice@DOM", "--message", "hello", "--password-file"]);
    let done = run(command.arg(accounts.password()), DEADLINE).expect_success();
    assert!(done.stderr.contains(" by kerberos "), "{done:?}");
}

#[test]
fn serve_refuses_a_wrong_ntlm_password_and_says_which_account() {
    let accounts = Accounts::new();
    let serve = accounts.serve(&[]);
    let wrong = accounts.folder.path().join("wrong");
    std::fs::write(&wrong, "guess\n").unwrap();
    connect_by_ntlm(serve.address, &wrong, &[]).expect_code(1);
    let record = serve.refused("CS-3106");
    assert!(record["reason"].as_str().unwrap().contains("alice"), "{record}");
}

#[test]
fn serve_without_allow_ntlm_refuses_ntlm_with_the_usual_reasons_and_the_client_is_told() {
    let accounts = Accounts::new();
    let serve = scene().serve(&[]);
    let done = connect_by_ntlm(serve.address, &accounts.password(), &[]).expect_code(1);
    assert!(done.stderr.contains("CS-1203"), "a clean reject, no hang: {done:?}");
    let record = serve.refused("CS-1202");
    assert!(record["reason"].as_str().unwrap().contains("IP address"), "{record}");
}

#[test]
fn serve_accepts_ntlm_of_gss_ntlmssp_and_pyspnego() {
    let accounts = Accounts::new();
    let serve = accounts.serve(&[]);
    let (_users, ntlm) = ntlm_env();
    let gss = ["--mech", "spnego", "--sizes", SIZES, "--message", "hello"];
    let done = initiate(mit(ntlm), serve.address, &gss).expect_success();
    assert!(done.text().contains("negotiated ntlm\n") && done.text().contains("reply hello\n"), "{done:?}");
    for protocol in ["negotiate", "ntlm"] {
        let account =
            ["--user", r"DOM\alice", "--password", PASSWORD, "--sizes", SIZES, "--message", "hello"];
        let python = [&["--protocol", protocol][..], &account].concat();
        let done = initiate(pyspnego(scene().realm.env()), serve.address, &python).expect_success();
        assert!(done.text().contains("reply hello\n"), "{done:?}");
    }
}

#[test]
fn connect_reaches_ntlm_acceptors_of_gss_ntlmssp_and_pyspnego() {
    let accounts = Accounts::new();
    let (_users, ntlm) = ntlm_env();
    for (peer, options) in [
        (mit(ntlm.clone()), &["--mech", "spnego"][..]),
        (pyspnego(ntlm.clone()), &["--protocol", "negotiate"]),
    ] {
        let (process, address) = accept(peer, options);
        let done = connect_by_ntlm(address, &accounts.password(), &[]).expect_success();
        assert!(done.stderr.contains("NOT mutually authenticated"), "{done:?}");
        assert_eq!(process.wait_for_line("negotiated ", DEADLINE), "ntlm");
    }
}

#[test]
fn bindings_of_an_ntlm_client_are_compared() {
    let accounts = Accounts::new();
    let serve = accounts.serve(&["--channel-bindings", "0102"]);
    connect_by_ntlm(serve.address, &accounts.password(), &["--channel-bindings", "0102"]).expect_success();
    connect_by_ntlm(serve.address, &accounts.password(), &["--channel-bindings", "0103"]).expect_code(1);
}

#[test]
fn winbind_verifies_a_right_password_and_refuses_a_wrong_one_through_serve() {
    let domain = Domain::new();
    domain.add_user("bob", PASSWORD);
    let accounts = Accounts::new();
    let scene = scene();
    let mut env = scene.realm.env();
    env.extend(domain.ntlm_auth_env());
    let serve = Serve::start_as(&env, &scene.keytab, &["--allow-ntlm", "--ntlm-winbind", "ntlm_auth"]);
    let wrong = accounts.folder.path().join("wrong");
    std::fs::write(&wrong, "guess\n").unwrap();
    for (password, code) in [(accounts.password(), 0), (wrong, 1), (accounts.password(), 0)] {
        let mut command = connect(serve.address, SPN, Path::new("/nonexistent"));
        command.args(["--allow-ntlm", "--user", &format!("bob@{}", Domain::NETBIOS), "--message", "hello"]);
        run(command.arg("--password-file").arg(password), DEADLINE).expect_code(code);
    }
}

#[test]
fn an_accounts_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let accounts = Accounts::new();
    std::fs::set_permissions(accounts.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut command =
        support::countersign(&["serve", "--listen", "127.0.0.1:0", "--allow-ntlm", "--ntlm-accounts"]);
    let done =
        run(command.arg(accounts.file()).arg("--keytab").arg(&scene().keytab), DEADLINE).expect_code(2);
    assert!(done.stderr.contains("CS-7008") && done.stderr.contains("0640"), "{done:?}");
}
