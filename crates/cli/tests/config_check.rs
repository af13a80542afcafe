//! `countersign check-config`: what it prints of a file that is right, what it finds in the files that are named, and that it
//! tells everything that is wrong at once, with exit code 2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::mint::{self, Mint};
use countersign_testkit::{Finished, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{DEADLINE, countersign, file};
use tempfile::TempDir;

/// A folder with what a configuration may name.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Self { folder };
        files.write("keytab", 0o600, &mint::keytab_bytes(&Mint::default().keytab()));
        files.write("password", 0o600, b"hunter2\n");
        files.write("accounts", 0o600, b"");
        files
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, mode: u32, contents: &[u8]) {
        file(self.folder.path(), name, contents);
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// `check-config` of a file with these lines, in which `~/` stands for the folder.
    fn check(&self, lines: &str) -> Command {
        let text = lines.replace("~/", &format!("{}/", self.folder.path().display()));
        self.write("serve.toml", 0o600, text.as_bytes());
        countersign(&["check-config", &self.path("serve.toml")])
    }

    /// The lines are refused with each of `texts` on one line of standard error.
    #[track_caller]
    fn refuses(&self, lines: &str, texts: &[&str]) -> Finished {
        let done = run(&mut self.check(lines), DEADLINE).expect_code(2);
        let told = |line: &str| texts.iter().all(|text| line.contains(&text.replace("~/", &self.path(""))));
        assert!(done.stderr.lines().any(told), "{done:?} lacks {texts:?}");
        assert_eq!(done.text(), "", "nothing is served, so nothing is on standard output");
        done
    }

    /// The lines are taken, with `text` in a note.
    #[track_caller]
    fn notes(&self, lines: &str, text: &str) {
        let done = run(&mut self.check(lines), DEADLINE).expect_success();
        let told = |line: &str| line.starts_with("note: ") && line.contains(text);
        assert!(done.stderr.lines().any(told), "{done:?} lacks {text:?}");
    }
}

const LISTENER: &str = "[[listener]]\nkeytab = \"~/keytab\"\n";

#[test]
fn what_would_be_served_is_printed() {
    let files = Files::new();
    let text = format!(
        "state = \"~/state\"\n{LISTENER}name = \"web\"\nlisten = \"127.0.0.1:2001\"\nupstream = \"127.0.0.1:80\"\n\
         upstream_identity = \"proxy-v2\"\nallow = [\"alice@EXAMPLE.TEST\", \"*@PARTNER.TEST\"]\n\
         [[listener]]\nname = \"net\"\nframing = \"nns\"\nkeytab = \"~/keytab\"\nallow_ntlm = true\nntlm_accounts = \"~/accounts\"\n\
         [audit]\nfile = \"~/audit\"\n[metrics]\nlisten = \"127.0.0.1:9464\"\n[replay]\ncapacity = 5000\n"
    );
    let done = run(&mut files.check(&text), DEADLINE).expect_success();
    let printed = done.text();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], format!("{}: ok, 2 listeners", files.path("serve.toml")));
    assert!(lines[1].starts_with("LISTENER  LISTENS ON      FRAMING  KEYS"), "{printed}");
    let row = |line: &str| {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let keytab = files.path("keytab");
    assert_eq!(
        row(lines[2]),
        [
            "web",
            "127.0.0.1:2001",
            "dword",
            &keytab,
            "kerberos",
            "none",
            "alice@EXAMPLE.TEST *@PARTNER.TEST",
            "127.0.0.1:80 (proxy-v2)"
        ]
    );
    assert_eq!(
        row(lines[3]),
        ["net", "127.0.0.1:2000", "nns", &keytab, "kerberos, ntlm", "none", "any", "echo"]
    );
    for part in [
        "net gives up: allow_ntlm".to_owned(),
        format!("state: {}", files.path("state")),
        format!("replay store: {}, durability process; 5000 authenticators", files.path("state/replay")),
        format!("audit: {}; clients are refused while it cannot be written", files.path("audit")),
        "metrics: http://127.0.0.1:9464/metrics".to_owned(),
        "limits: 16384 handshakes at once, 1024 of them from one address; 8192 sessions".to_owned(),
        "drain deadline: 30s".to_owned(),
    ] {
        assert!(lines.contains(&part.as_str()), "{printed} lacks {part:?}");
    }
    assert!(!Path::new(&files.path("state")).exists() && !Path::new(&files.path("audit")).exists());
}

#[test]
fn a_file_that_says_nothing_is_one_listener() {
    let files = Files::new();
    let mut command = files.check("");
    command.env("KRB5_KTNAME", files.path("keytab"));
    let done = run(&mut command, DEADLINE).expect_success();
    assert!(done.text().starts_with(&format!("{}: ok, 1 listener\n", files.path("serve.toml"))), "{done:?}");
}

#[test]
fn every_fault_is_told_and_the_file_is_left_alone() {
    let files = Files::new();
    let done = files.refuses(
        "clock = 1\n[[listener]]\nlisten = 5\nkeytab = \"~/missing\"\n[limits]\nhandshakes = -1\n",
        &["CS-7223", "serve.toml:3:1 listen = 5"],
    );
    assert!(done.stderr.contains("serve.toml:1:1 \"clock\""), "{done:?}");
    assert!(done.stderr.contains("serve.toml:6:1 handshakes = -1"), "{done:?}");
    assert_eq!(done.stderr.lines().count(), 3, "{done:?}");
}

#[test]
fn files_that_are_not_there_are_all_told_with_the_lines_that_name_them() {
    let files = Files::new();
    let done = files.refuses(
        "state = \"~/no/state\"\n[[listener]]\nkeytab = \"~/no-keytab\"\nchannel_binding_values = [\"cert:~/no-certificate\"]\n\
         allow_ntlm = true\nntlm_accounts = \"~/no-accounts\"\n[audit]\nfile = \"~/no/audit\"\n",
        &["CS-7001", "serve.toml:3:1 keytab", "~/no-keytab"],
    );
    for (code, place) in [
        ("CS-7226", "serve.toml:1:1 state"),
        ("CS-1101", "serve.toml:4:1 channel_binding_values"),
        ("CS-7007", "serve.toml:6:1 ntlm_accounts"),
        ("CS-8010", "serve.toml:8:1 file"),
    ] {
        let told = done.stderr.lines().any(|line| line.contains(code) && line.contains(place));
        assert!(told, "{done:?} lacks {code} {place}");
    }
}

#[test]
fn a_realm_that_is_not_there_is_told_and_one_that_is_can_be_served() {
    let files = Files::new();
    for folder in ["~/realm", "~/keytab", "~/"] {
        let texts = ["CS-7102", &format!("serve.toml:2:1 realm {folder}"), "realm.redb", "realm init"];
        files.refuses(&format!("[[listener]]\nrealm = \"{folder}\"\n"), &texts);
    }
    let realm = files.path("realm");
    run(&mut countersign(&["realm", "init", "--realm", &realm, "EXAMPLE.TEST"]), DEADLINE).expect_success();
    let lines = "[[listener]]\nrealm = \"~/realm\"\n";
    let done = run(&mut files.check(lines), DEADLINE).expect_success();
    assert!(
        done.text().contains(&format!("realm {realm}")) && done.text().contains("kerberos, iakerb"),
        "{done:?}"
    );
    files.refuses(
        &format!("{lines}master_key_file = \"~/nothing\"\n"),
        &["CS-7226", "serve.toml:3:1 master_key_file"],
    );
}

#[test]
fn a_helper_program_that_is_not_there_is_told() {
    let lines = format!("{LISTENER}allow_ntlm = true\nntlm_winbind = \"no-such-helper\"\n");
    Files::new()
        .refuses(&lines, &["CS-7226", "serve.toml:4:1 ntlm_winbind no-such-helper", "no such program"]);
}

#[test]
fn a_keytab_whose_keys_no_client_can_use_is_told() {
    let files = Files::new();
    files.refuses(
        &format!("{LISTENER}permitted_enctypes = [\"aes128-sha2\"]\n"),
        &[
            "CS-7228",
            "serve.toml:3:1 permitted_enctypes ~/keytab",
            "aes256-cts-hmac-sha1-96, which are not permitted",
        ],
    );
    files.refuses(
        &format!("{LISTENER}accept_principals = [\"HTTP/elsewhere@EXAMPLE.TEST\"]\n"),
        &["CS-7228", "serve.toml:3:1 accept_principals ~/keytab", "keys of others only"],
    );
    files.write("keytab", 0o600, b"\x05\x02");
    files.refuses(LISTENER, &["CS-2002", "serve.toml:2:1 keytab", "0 keys"]);
    files.write("keytab", 0o600, b"no keytab");
    files.refuses(LISTENER, &["CS-7002", "serve.toml:2:1 keytab"]);
}

#[test]
fn a_password_that_others_may_read_is_refused_and_never_shown() {
    let files = Files::new();
    let valkey = format!(
        "{LISTENER}[replay]\nstore = \"valkey\"\nurl = \"redis://127.0.0.1:9\"\npassword_file = \"~/password\"\n"
    );
    let done = run(&mut files.check(&valkey), DEADLINE).expect_success();
    assert!(!done.text().contains("hunter2"), "{done:?}");
    for mode in [0o644, 0o640, 0o604] {
        files.write("password", mode, b"hunter2\n");
        let done = files.refuses(
            &valkey,
            &["CS-7227", "serve.toml:6:1 password_file ~/password", &format!("(mode {mode:04o})")],
        );
        assert!(!done.stderr.contains("hunter2"), "{done:?}");
    }
    files.write("password", 0o600, b"\n");
    files.refuses(&valkey, &["CS-7009", "serve.toml:6:1 password_file"]);
    files.write("accounts", 0o644, b"");
    let ntlm = format!("{LISTENER}allow_ntlm = true\nntlm_accounts = \"~/accounts\"\n");
    files.refuses(&ntlm, &["CS-7008", "serve.toml:4:1 ntlm_accounts"]);
}

#[test]
fn what_is_no_fault_and_worth_a_look_is_noted() {
    let files = Files::new();
    let memory = format!("{LISTENER}[replay]\nstore = \"memory\"\n");
    files.notes(&memory, "replays are remembered until restart only");
    let upstream = format!("{LISTENER}upstream = \"unix:~/socket\"\n");
    files.notes(
        &upstream,
        "serve.toml:3:1 upstream and no allow: only clients of the service's own realm may come in",
    );
    files.notes(&upstream, "upstream is not there yet");
    files.notes(&format!("{LISTENER}allow_rc4 = true\n"), "allow_rc4 has no effect");
    let ntlm = "allow_ntlm = true\nntlm_accounts = \"~/accounts\"\n";
    files.notes(&format!("{LISTENER}{ntlm}upstream = \"h:1\"\n"), "own realm may come in, and none by NTLM");
    files.notes(&format!("{LISTENER}{ntlm}allow = [\"*@A\"]\n"), "allow names no account of NTLM");
    files.write("keytab", 0o644, &mint::keytab_bytes(&Mint::default().keytab()));
    files.notes(LISTENER, "has mode 0644: every user of this machine can be the service");
}

#[test]
fn variables_count_as_they_do_for_serve() {
    let files = Files::new();
    let mut command = files.check(LISTENER);
    command.env("COUNTERSIGN_LISTENER_DEFAULT_LISTEN", "127.0.0.1:2999");
    let done = run(&mut command, DEADLINE).expect_success();
    assert!(done.text().contains("127.0.0.1:2999"), "{done:?}");
    let mut command = files.check(LISTENER);
    command.env("COUNTERSIGN_LISTENER_DEFAULT_LISTENS", "hunter2");
    let done = run(&mut command, DEADLINE).expect_code(2);
    assert!(done.stderr.contains("CS-7225 saw COUNTERSIGN_LISTENER_DEFAULT_LISTENS"), "{done:?}");
    assert!(done.stderr.contains("did you mean COUNTERSIGN_LISTENER_DEFAULT_LISTEN?"), "{done:?}");
    assert!(!done.stderr.contains("hunter2"), "{done:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    for (name, why) in [("missing.toml", "No such file"), (".", "is a directory"), ("binary", "valid UTF-8")]
    {
        file(folder.path(), "binary", &[0xff, 0xfe]);
        let done =
            run(&mut countersign(&["check-config", &format!("{path}/{name}")]), DEADLINE).expect_code(2);
        assert!(done.stderr.contains("CS-7221") && done.stderr.contains(why), "{done:?}");
    }
    file(folder.path(), "large", &vec![b'#'; (1 << 20) + 1]);
    let done = run(&mut countersign(&["check-config", &format!("{path}/large")]), DEADLINE).expect_code(2);
    assert!(done.stderr.contains("more than the 1048576 bytes"), "{done:?}");
}
