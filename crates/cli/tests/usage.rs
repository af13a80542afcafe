//! What the program says of a wrong flag, file or value: on standard error the thing, the place and the fix, exit
//! code 2, nothing on standard output, and no secret anywhere. No network is used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::proto::crypto::Etype;
use countersign::proto::keytab::{Keytab, KeytabEntry};
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;
use countersign_testkit::mint::{self, Mint};
use countersign_testkit::{Finished, run};
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;
use support::{DEADLINE, countersign, file};
use tempfile::TempDir;

/// A folder with a keytab and a credential cache that are right.
struct Files {
    folder: TempDir,
    mint: Mint,
}

impl Files {
    fn new() -> Self {
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() };
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "keytab", &mint::keytab_bytes(&mint.keytab()));
        file(folder.path(), "ccache", &mint::ccache_bytes(&mint.ccache(&[mint.ticket()])));
        Self { folder, mint }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, contents: &[u8]) -> String {
        file(self.folder.path(), name, contents);
        self.path(name)
    }

    /// `serve` with the right keytab.
    fn serve(&self, options: &[&str]) -> Command {
        let mut command =
            countersign(&["serve", "--listen", "127.0.0.1:0", "--keytab", &self.path("keytab")]);
        command.args(options);
        command
    }

    /// `connect` with the right credential cache, to a port where nobody is asked.
    fn connect(&self, options: &[&str]) -> Command {
        let mut command = countersign(&["connect", "127.0.0.1:9", "--ccache", &self.path("ccache")]);
        command.args(options);
        command
    }
}

const SPN: [&str; 2] = ["--spn", "HTTP/a.example.test"];

/// Runs `command`, which must end with code 2 and say each of `texts` on standard error, and nothing elsewhere.
#[track_caller]
fn says(command: &mut Command, texts: &[&str]) -> Finished {
    let done = run(command, DEADLINE).expect_code(2);
    for text in texts {
        assert!(done.stderr.contains(text), "{done:?} lacks {text:?}");
    }
    assert_eq!(done.text(), "");
    done
}

#[test]
fn the_program_without_a_command_says_which_there_are() {
    says(&mut countersign(&[]), &["Usage: countersign", "serve", "connect", "Exit codes: 0 done, 1 refused"]);
    says(&mut countersign(&["sreve"]), &["'sreve'", "serve"]);
}

#[test]
fn help_goes_to_stdout_and_ends_with_0() {
    for command in ["serve", "connect"] {
        let done = run(&mut countersign(&[command, "--help"]), DEADLINE).expect_success();
        assert!(done.text().contains("Exit codes"), "{done:?}");
        assert_eq!(done.stderr, "");
    }
    let version = run(&mut countersign(&["--version"]), DEADLINE).expect_success();
    assert_eq!(version.text(), concat!("countersign ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn an_unknown_flag_is_named() {
    says(&mut Files::new().serve(&["--keytub", "x"]), &["'--keytub'", "'--keytab'", "--help"]);
}

#[test]
fn a_missing_flag_is_named() {
    says(&mut Files::new().connect(&[]), &["--spn <CLASS/HOST[@REALM]>"]);
    says(&mut countersign(&["connect", "--spn", "a/b"]), &["<HOST:PORT>"]);
    let required = ["--require-channel-bindings"];
    says(&mut Files::new().serve(&required), &["--channel-bindings <HEX|cert:FILE>"]);
}

#[test]
fn flags_that_exclude_each_other_are_named() {
    let options = [&SPN[..], &["--message", "x", "--allow-unmarked-end"]].concat();
    says(&mut Files::new().connect(&options), &["--message <TEXT>", "--allow-unmarked-end"]);
}

#[test]
fn a_number_out_of_range_is_named_with_its_range() {
    let files = Files::new();
    for (flag, value, range) in [
        ("--clock-skew", "0", "1..=86400"),
        ("--clock-skew", "86401", "1..=86400"),
        ("--handshake-deadline", "0", "1..=3600"),
        ("--max-message", "0", "1..=1073741824"),
    ] {
        says(&mut files.serve(&[flag, value]), &[flag, value, range]);
    }
    let options = [&SPN[..], &["--handshake-deadline", "soon"]].concat();
    says(&mut files.connect(&options), &["--handshake-deadline", "'soon'"]);
}

#[test]
fn an_address_that_is_none_is_named() {
    let files = Files::new();
    says(&mut files.serve(&["--listen", "nowhere"]), &["'nowhere'", "--listen <ADDR>"]);
    let ccache = files.path("ccache");
    for address in ["127.0.0.1", "a.example.test:http", ":", ""] {
        let arguments = ["connect", address, "--spn", SPN[1], "--ccache", &ccache];
        says(&mut countersign(&arguments), &["CS-9001", "the form HOST:PORT"]);
    }
}

#[test]
fn a_framing_that_is_not_spoken_is_named() {
    says(&mut Files::new().serve(&["--framing", "morse"]), &["'morse'", "--framing", "dword"]);
}

#[test]
fn an_etype_that_is_not_known_is_named_with_those_that_are() {
    let files = Files::new();
    let etypes = ["--permitted-enctypes", "aes256-cts,des-cbc-crc"];
    let texts = ["CS-9001", "\"des-cbc-crc\"", "--permitted-enctypes", "aes256-sha2", "arcfour-hmac"];
    says(&mut files.serve(&etypes), &texts);
    says(&mut files.connect(&[&SPN[..], &etypes].concat()), &texts);
}

#[test]
fn channel_bindings_that_cannot_be_read_are_named() {
    let files = Files::new();
    let text = files.write("text", b"no certificate");
    let missing = format!("cert:{}", files.path("missing"));
    let both = |value: &str, texts: &[&str]| {
        let bindings = ["--channel-bindings", value];
        says(&mut files.serve(&bindings), texts);
        says(&mut files.connect(&[&SPN[..], &bindings].concat()), texts);
    };
    both("c0ffe", &["CS-1101", "--channel-bindings \"c0ffe\"", "hex"]);
    both("coffee", &["CS-1101", "'o' at position 1", "hexadecimal, or cert:FILE"]);
    both("", &["CS-1101", "--channel-bindings without a byte"]);
    both(&missing, &["CS-1101", "missing (No such file", "cert:FILE"]);
    both(&format!("cert:{text}"), &["CS-1101", &text, "no X.509 certificate"]);
}

#[test]
fn a_principal_that_is_none_is_named_with_the_form_it_should_have() {
    let files = Files::new();
    for spn in ["", "a//b", "a/b@", "/b", "a/b@C@D", "a/b\\"] {
        says(&mut files.connect(&["--spn", spn]), &["CS-7005", "CLASS/HOST@REALM"]);
    }
    says(&mut files.connect(&["--spn", "alice"]), &["CS-9001", "--spn alice", "CLASS/HOST[@REALM]"]);
    let principal = ["--accept-principal", "HTTP/a.example.test"];
    let texts = ["CS-9001", "--accept-principal HTTP/a.example.test without a realm", "CLASS/HOST@REALM"];
    says(&mut files.serve(&principal), &texts);
}

#[test]
fn a_wrong_flag_is_told_before_a_wrong_file() {
    let mut command = countersign(&["serve", "--keytab", "/nonexistent", "--permitted-enctypes", "des"]);
    says(&mut command, &["CS-9001", "\"des\""]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let files = Files::new();
    let (missing, folder) = (files.path("missing"), files.folder.path().display().to_string());
    for path in [&missing, &folder] {
        says(&mut countersign(&["serve", "--keytab", path]), &["CS-7001", path, "keytab"]);
        let arguments = ["connect", "127.0.0.1:9", "--spn", SPN[1], "--ccache", path];
        says(&mut countersign(&arguments), &["CS-7003", path, "credential cache", "kinit"]);
    }
    let audit = format!("{missing}/audit");
    says(&mut files.serve(&["--audit", &audit]), &["CS-8010", &audit, "--audit"]);
}

#[test]
fn a_file_that_is_cut_short_is_named() {
    let files = Files::new();
    for (name, code) in [("keytab", "CS-7002"), ("ccache", "CS-7004")] {
        let whole = std::fs::read(files.path(name)).unwrap();
        let cut = files.write("cut", &whole[..whole.len() - 1]);
        let mut command = match name {
            "keytab" => countersign(&["serve", "--keytab", &cut]),
            _ => countersign(&["connect", "127.0.0.1:9", "--spn", SPN[1], "--ccache", &cut]),
        };
        says(&mut command, &[code, &cut]);
    }
}

#[test]
fn a_keytab_without_a_key_that_can_be_used_is_named() {
    let files = Files::new();
    let entry = KeytabEntry { etype: 26, key: Secret::from(&[7; 32][..]), ..one_entry(&files.mint) };
    for (entries, count) in [(vec![], "0 keys"), (vec![entry], "1 keys")] {
        let path = files.write("other", &mint::keytab_bytes(&Keytab { entries }));
        says(&mut countersign(&["serve", "--keytab", &path]), &["CS-2002", &path, count, "17 to 20"]);
    }
}

fn one_entry(mint: &Mint) -> KeytabEntry {
    mint.entry(&mint.service, 2, Etype::Aes256CtsHmacSha1_96)
}

#[test]
fn a_key_of_a_wrong_length_is_named_without_its_bytes() {
    let files = Files::new();
    let key: Vec<u8> = (0xA0..=0xC0).collect();
    let entry = KeytabEntry { key: Secret::from(&key[..]), ..one_entry(&files.mint) };
    let path = files.write("wrong", &mint::keytab_bytes(&Keytab { entries: vec![entry] }));
    let done = says(&mut countersign(&["serve", "--keytab", &path]), &["CS-7006", &path]);
    assert_hidden(&done, &key);
}

#[test]
fn keytab_and_ccache_given_for_each_other_are_told_apart_without_a_secret() {
    let files = Files::new();
    let (keytab, ccache) = (files.path("keytab"), files.path("ccache"));
    let done = [
        says(&mut countersign(&["serve", "--keytab", &ccache]), &["CS-7002", &ccache, "05 04", "0x502"]),
        says(
            &mut countersign(&["connect", "127.0.0.1:9", "--spn", SPN[1], "--ccache", &keytab]),
            &["CS-7004", &keytab, "version 2"],
        ),
    ];
    for done in done {
        assert_hidden(&done, files.mint.service_key().expose());
        assert_hidden(&done, files.mint.ticket().session_key.expose());
    }
}

/// Neither as it is nor in hexadecimal is any four bytes' part of `secret` in what was written.
#[track_caller]
fn assert_hidden(done: &Finished, secret: &[u8]) {
    let written = [&done.stdout[..], done.stderr.as_bytes()].concat();
    let lower = String::from_utf8_lossy(&written).to_lowercase().replace(' ', "");
    for part in secret.windows(4) {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!written.windows(4).any(|window| window == part) && !lower.contains(&hex), "{done:?}");
    }
}

#[test]
fn a_type_of_keytab_or_ccache_that_is_not_read_is_named_with_the_variable() {
    let mut command = countersign(&["serve"]);
    says(command.env("KRB5_KTNAME", "MEMORY:keys"), &["CS-7001", "MEMORY:keys in KRB5_KTNAME", "FILE"]);
    for ccache in ["KCM:0", "KEYRING:persistent:0", "other:/tmp/tickets"] {
        let mut command = countersign(&["connect", "127.0.0.1:9", "--spn", SPN[1]]);
        let place = format!("{ccache:?} in KRB5CCNAME");
        says(command.env("KRB5CCNAME", ccache), &["CS-7016", &place, "types FILE, DIR and MEMORY only"]);
    }
}

#[test]
fn a_service_without_ticket_is_named_with_the_tickets_there_are() {
    let files = Files::new();
    let texts = ["CS-4006", "IMAP/a.example.test", "HTTP/a.example.test@EXAMPLE.TEST", "kvno CLASS/HOST"];
    says(&mut files.connect(&["--spn", "IMAP/a.example.test"]), &texts);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let files = Files::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = countersign(&["serve", "--listen", &address, "--keytab", &files.path("keytab")]);
    let done = run(&mut command, DEADLINE).expect_code(3);
    assert!(done.stderr.contains("CS-8009") && done.stderr.contains(&address), "{done:?}");
    assert_eq!(done.text(), "");
}

#[test]
fn a_new_audit_file_can_be_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let audit = PathBuf::from(files.path("audit"));
    let serve = countersign_testkit::Process::start(&mut files.serve(&["--audit", &files.path("audit")]));
    serve.listening();
    assert_eq!(audit.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
