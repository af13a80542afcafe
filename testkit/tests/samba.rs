//! The throwaway Active Directory: its users and services must be what real programs take them for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use countersign_testkit::{Config, Domain, Library, Peers, Process, run};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "Secret.123";

/// One domain for the tests that run at the same time; the last of them ends it.
fn domain() -> Arc<Domain> {
    static SHARED: Mutex<Weak<Domain>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let domain = Arc::new(Domain::new());
        *shared = Arc::downgrade(&domain);
        domain
    })
}

fn ntlm_auth(domain: &Domain, user: &str, password: &str) -> i32 {
    let mut command = domain.ntlm_auth_command();
    command.args(["--domain", Domain::NETBIOS, "--username", user, "--password", password]);
    run(&mut command, DEADLINE).code()
}

/// The answer of the helper protocol to a request about `user`.
fn ntlm_helper(domain: &Domain, user: &str, fields: &[&str]) -> String {
    let mut command = domain.ntlm_auth_command();
    let mut process = Process::start(command.arg("--helper-protocol=ntlm-server-1"));
    let request = format!("Username: {user}\nNT-Domain: {}\n{}\n.\n", Domain::NETBIOS, fields.join("\n"));
    process.stdin().unwrap().write_all(request.as_bytes()).unwrap();
    process.finish(DEADLINE).expect_success().text()
}

#[test]
fn ntlm_auth_tells_a_right_password_from_a_wrong_one() {
    let domain = domain();
    domain.add_user("alice", PASSWORD);
    assert_eq!(ntlm_auth(&domain, "alice", PASSWORD), 0);
    assert_eq!(ntlm_auth(&domain, "alice", "Secret.124"), 1);
    assert_eq!(ntlm_auth(&domain, "nobody-of-this-name", PASSWORD), 1);

    domain.set_password("alice", "Another.456");
    assert_eq!(ntlm_auth(&domain, "alice", "Another.456"), 0);
}

/// MS-NLMP section 3.3.2 for user bob, domain SAMBA, the password above and the server challenge below: time
/// 01d0000000000000, client challenge aa repeated, one AV pair (2, SAMBA). Computed with pyspnego 0.12.4's ntowfv2.
const CHALLENGE: &str = "0123456789abcdef";
const NT_PROOF: &str = "ab72eb8136e0c1a1cf5bf9acceda6c7e";
const TEMP: &str = "0101000000000000000000000000d001aaaaaaaaaaaaaaaa\
                    0000000002000a00530041004d00420041000000000000000000";
const SESSION_BASE_KEY: &str = "de929ae4f5c6459f04daa9c2a14e7a91";

#[test]
fn winbindd_verifies_an_ntlmv2_response_and_returns_its_session_key() {
    let domain = domain();
    domain.add_user("bob", PASSWORD);
    let ask = |proof: &str| {
        let fields = [
            &format!("LANMAN-Challenge: {CHALLENGE}"),
            &format!("NT-Response: {proof}{TEMP}"),
            "Request-User-Session-Key: Yes",
        ];
        ntlm_helper(&domain, "bob", &fields)
    };
    let right = ask(NT_PROOF);
    assert!(right.contains("Authenticated: Yes\n"), "{right}");
    assert!(right.to_lowercase().contains(&format!("user-session-key: {SESSION_BASE_KEY}\n")), "{right}");
    let wrong = ask(&NT_PROOF.replacen(&NT_PROOF[..1], "0", 1));
    assert!(wrong.contains("Authenticated: No\n"), "{wrong}");
    assert!(!wrong.contains("User-Session-Key"), "{wrong}");
}

#[test]
fn a_program_that_runs_ntlm_auth_itself_reaches_winbindd_by_the_environment() {
    let domain = domain();
    domain.add_user("carol", PASSWORD);
    let script = format!("ntlm_auth --domain={} --username=carol --password=\"$1\"", Domain::NETBIOS);
    for (password, code) in [(PASSWORD, 0), ("Wrong.789", 1)] {
        let mut shell = Command::new("sh");
        shell.envs(domain.ntlm_auth_env()).args(["-c", &script, "sh", password]);
        run(&mut shell, DEADLINE).expect_code(code);
    }
}

#[test]
fn kinit_takes_a_right_password_and_refuses_a_wrong_one() {
    let domain = domain();
    domain.add_user("dave", PASSWORD);
    let ccache = domain.kinit("dave", PASSWORD).unwrap();
    let tickets = run(Command::new("klist").envs(domain.client_env(&ccache)), DEADLINE).expect_success();
    assert!(tickets.text().contains("krbtgt/SAMBA.TEST@SAMBA.TEST"), "{tickets:?}");
    let refused = domain.kinit("dave", "Wrong.789").unwrap_err();
    assert!(refused.stderr.contains("Password incorrect"), "{refused:?}");
}

#[test]
fn accounts_of_the_domain_are_refused_for_every_reason_there_is() {
    let domain = domain();
    for user in ["frank", "grace", "heidi", "ivan"] {
        domain.add_user(user, PASSWORD);
    }
    domain.disable("frank");
    domain.expire("grace");
    domain.expire_password("heidi");
    for (user, reason) in [
        ("frank", "Client's credentials have been revoked"),
        ("grace", "Client's credentials have been revoked"),
        ("heidi", "You must change it now"),
    ] {
        let done = domain.kinit(user, PASSWORD).unwrap_err();
        assert!((done.text() + &done.stderr).contains(reason), "{user}: {done:?}");
    }

    // More than the wrong passwords of any other test.
    domain.lock_out_after(3);
    for _ in 0..3 {
        let done = domain.kinit("ivan", "Wrong.789").unwrap_err();
        assert!(done.stderr.contains("Password incorrect"), "{done:?}");
    }
    let done = domain.kinit("ivan", PASSWORD).unwrap_err();
    assert!(done.stderr.contains("Client's credentials have been revoked"), "{done:?}");
    domain.lock_out_after(0);
}

#[test]
fn the_keys_of_an_account_are_of_the_etypes_that_it_is_said_to_support() {
    let domain = domain();
    domain.add_user("judy", PASSWORD);
    domain.add_service("aes-service", "test/b.example.test");
    let ccache = domain.kinit("judy", PASSWORD).unwrap();
    for (bits, etype) in [(24, "aes256-cts-hmac-sha1-96"), (8, "aes128-cts-hmac-sha1-96")] {
        domain.set_enctypes("aes-service", bits);
        let copy = ccache.with_extension(bits.to_string());
        std::fs::copy(&ccache, &copy).unwrap();
        let env = domain.client_env(&copy);
        run(Command::new("kvno").envs(env.clone()).arg("test/b.example.test"), DEADLINE).expect_success();
        let list = run(Command::new("klist").arg("-e").envs(env), DEADLINE).expect_success().text();
        assert!(list.split_once("test/b.example.test").unwrap().1.contains(&format!(", {etype}")), "{list}");
    }
    let done = run(Command::new("kvno").envs(domain.client_env(&ccache)).arg("test/unknown"), DEADLINE);
    assert!(done.stderr.contains("not found in Kerberos database"), "{done:?}");
    assert!(domain.config(&Config::default()).exists());
}

#[test]
fn mit_peers_authenticate_with_the_aes_keys_of_a_service_of_the_domain() {
    let domain = domain();
    domain.add_user("erin", PASSWORD);
    domain.add_service("test-service", "test/a.example.test");
    let keytab = domain.keytab(&["test/a.example.test"]);
    let keys = run(Command::new("klist").args(["-e", "-k"]).arg(&keytab), DEADLINE).expect_success();
    assert!(keys.text().contains("aes256-cts-hmac-sha1-96"), "{keys:?}");
    assert!(!keys.text().contains("arcfour"), "{keys:?}");

    let mut acceptor = Peers::get().command(Library::Mit);
    let acceptor = Process::start(acceptor.envs(domain.service_env(&keytab)).args(["accept", "0"]));
    let port = acceptor.listening().port().to_string();
    let ccache = domain.kinit("erin", PASSWORD).unwrap();
    let mut initiator = Peers::get().command(Library::Mit);
    initiator.args(["initiate", "127.0.0.1", &port, "test/a.example.test@SAMBA.TEST", "--message", "hello"]);
    let done = run(initiator.envs(domain.client_env(&ccache)), DEADLINE).expect_success();
    assert!(done.text().contains("authenticated erin@SAMBA.TEST to "), "{done:?}");
    assert!(done.text().contains("etype 18 "), "{done:?}");
}

#[test]
fn a_dropped_domain_leaves_no_process_and_no_folder() {
    let domain = Domain::new();
    let (folder, address) = (domain.folder().to_owned(), domain.address());
    let name = folder.to_str().unwrap();
    assert!(processes_naming(name) > 0, "winbindd is told the domain's folder");
    drop(domain);
    assert_eq!(processes_naming(name), 0);
    assert!(TcpStream::connect((address, 88)).is_err());
    assert!(!folder.exists());
}

fn processes_naming(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let command_lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    command_lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}
