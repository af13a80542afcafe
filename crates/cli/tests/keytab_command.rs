//! `countersign keytab`, held against MIT's klist, ktutil, kinit and kadmin.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::{Etype, Finished, Realm, run};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{DEADLINE, countersign, file};
use tempfile::TempDir;

const HTTP: &str = "HTTP/a.example.test@EXAMPLE.TEST";

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, contents: &str) -> String {
        file(self.0.path(), name, contents.as_bytes()).display().to_string()
    }
}

#[track_caller]
fn keytab(arguments: &[&str]) -> Finished {
    run(countersign(&["keytab"]).args(arguments), DEADLINE)
}

/// `keytab add` of random keys.
#[track_caller]
fn add_random(path: &str, principal: &str, kvno: &str, etypes: &str) {
    let key = ["--random-key", "--kvno", kvno, "--etype", etypes];
    keytab(&[&["add", "--keytab", path, "--principal", principal], &key[..]].concat()).expect_success();
}

/// `(kvno, principal, etype, key)` of `klist -k -t -e -K`.
fn klist(path: &str) -> Vec<(String, String, String, String)> {
    let mut command = Command::new("klist");
    command.envs([("KRB5_CONFIG", "/dev/null"), ("TZ", "UTC")]).args(["-kteK", path]);
    let text = run(&mut command, DEADLINE).expect_success().text();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let trimmed = |word: &str| word.trim_matches(['(', ')']).replace("DEPRECATED:", "");
        (words[0].to_owned(), words[3].to_owned(), trimmed(words[4]), trimmed(words[5]))
    };
    text.lines().skip(3).map(row).collect()
}

/// `(kvno, principal, etype)` of our own list.
fn listed(path: &str) -> Vec<(String, String, String)> {
    let done = keytab(&["list", "--keytab", path]).expect_success();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[0].to_owned(), words[2].to_owned(), words[3].trim_matches(['(', ')']).to_owned())
    };
    done.text().lines().skip(3).map(row).collect()
}

#[track_caller]
fn assert_listed_alike(path: &str) {
    let theirs: Vec<_> = klist(path).into_iter().map(|(kvno, name, etype, _)| (kvno, name, etype)).collect();
    assert_eq!(listed(path), theirs);
}

#[test]
fn a_keytab_is_listed_as_klist_lists_it_and_no_key_is_shown() {
    let realm = Realm::new("CLI.TEST");
    for spn in ["HTTP/a.cli.test", "HTTP/b.cli.test"] {
        realm.add_service(spn, &Etype::DEFAULT);
    }
    let path = realm.keytab(&["HTTP/a.cli.test", "HTTP/b.cli.test"]).display().to_string();
    assert_listed_alike(&path);
    let named = keytab(&["list", "--keytab", &path]).expect_success().text();
    assert!(
        named
            .starts_with(&format!("Keytab name: FILE:{path}\nKVNO Timestamp            Principal\n---- ---")),
        "{named}"
    );
    let mut command = countersign(&["keytab", "list"]);
    let by_variable = run(command.env("KRB5_KTNAME", format!("FILE:{path}")), DEADLINE).expect_success();
    assert_eq!(by_variable.text(), named);
    for (.., key) in klist(&path) {
        assert!(!named.contains(&key[2..10]), "{named}");
    }
}

#[test]
fn a_key_from_a_password_is_the_one_of_ktutil() {
    let files = Files::new();
    let (ours, theirs) = (files.path("ours"), files.path("theirs"));
    let password = files.write("password", "pässword\nand no more");
    let etypes = ["aes256-cts", "aes128-cts", "aes256-sha2", "aes128-sha2", "arcfour-hmac"];
    let source = ["--password-file", &password, "--kvno", "7", "--etype", &etypes.join(",")];
    keytab(&[&["add", "--keytab", &ours, "--principal", HTTP], &source[..]].concat()).expect_success();
    let lines = etypes.map(|etype| format!("addent -password -p {HTTP} -k 7 -e {etype}\npässword\n"));
    let mut ktutil =
        countersign_testkit::Process::start(Command::new("ktutil").env("KRB5_CONFIG", "/dev/null"));
    let input = format!("{}wkt {theirs}\nquit\n", lines.concat());
    std::io::Write::write_all(&mut ktutil.stdin().unwrap(), input.as_bytes()).unwrap();
    ktutil.finish(DEADLINE).expect_success();
    assert_eq!(klist(&ours), klist(&theirs));
    assert_eq!(Path::new(&ours).metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    // Another salt is another key.
    let salted = [&source[..4], &["--etype", "aes256-cts", "--salt", "EXAMPLE.TESTother"]].concat();
    let done =
        keytab(&[&["add", "--keytab", &ours, "--principal", HTTP], &salted[..]].concat()).expect_success();
    assert!(done.stderr.contains(&format!("replaced {HTTP} kvno 7 aes256-cts-hmac-sha1-96")), "{done:?}");
    assert_ne!(klist(&ours).last().unwrap().3, klist(&theirs)[0].3);
}

#[test]
fn a_key_that_was_added_opens_the_door_of_the_kdc() {
    let realm = Realm::new("CLI.TEST");
    realm.add_user("service", "its password");
    let path = realm.folder().join("keytab").display().to_string();
    let password = file(realm.folder(), "password", b"its password\n").display().to_string();
    let source = ["--password-file", &password, "--kvno", "1", "--etype", "aes256-cts"];
    let principal = ["add", "--keytab", &path, "--principal", "service@CLI.TEST"];
    keytab(&[&principal[..], &source].concat()).expect_success();
    let mut kinit = Command::new("kinit");
    let ccache = format!("FILE:{}", realm.folder().join("tickets").display());
    kinit.envs(realm.env()).env("KRB5CCNAME", ccache).args(["-k", "-t", &path, "service"]);
    run(&mut kinit, DEADLINE).expect_success();
}

#[test]
fn a_key_in_hexadecimal_is_taken_as_it_is() {
    let files = Files::new();
    let path = files.path("keytab");
    let hex = "00112233445566778899aAbBcCdDeEfF";
    let key = files.write("key", &format!("{hex}\n"));
    let add = |etype: &str, file: &str| {
        keytab(&[
            "add",
            "--keytab",
            &path,
            "--principal",
            HTTP,
            "--key-hex-file",
            file,
            "--kvno",
            "300",
            "--etype",
            etype,
        ])
    };
    add("aes128-cts", &key).expect_success();
    let expected = (
        "300".to_owned(),
        HTTP.to_owned(),
        "aes128-cts-hmac-sha1-96".to_owned(),
        format!("0x{}", hex.to_lowercase()),
    );
    assert_eq!(klist(&path), [expected]);
    let done = add("aes128-cts", &key).expect_success();
    assert!(done.stderr.contains("1 of 1 keys were there already"), "{done:?}");
    for (etype, file, texts) in [
        ("aes256-cts", key.as_str(), ["CS-7006", "32 bytes for aes256"]),
        ("aes256-cts,aes128-cts", key.as_str(), ["CS-9001", "one etype"]),
        ("aes128-cts", &files.write("odd", "001"), ["CS-7009", "hexadecimal"]),
        ("aes128-cts", &files.write("letters", "a letter"), ["CS-7009", "hexadecimal"]),
        ("aes128-cts", &files.path("missing"), ["CS-7009", "missing"]),
    ] {
        let done = add(etype, file).expect_code(2);
        texts.iter().for_each(|text| assert!(done.stderr.contains(text), "{done:?} lacks {text:?}"));
        assert!(!done.stderr.contains("0011"), "{done:?}");
    }
}

#[test]
fn keys_are_removed_by_principal_version_etype_and_age() {
    let files = Files::new();
    let path = files.path("keytab");
    for kvno in ["1", "2", "3"] {
        add_random(&path, HTTP, kvno, "aes256-cts,aes128-cts");
    }
    add_random(&path, "ldap/a.example.test@EXAMPLE.TEST", "1", "aes256-cts");
    let remove =
        |options: &[&str]| keytab(&[&["remove", "--keytab", &path, "--principal", HTTP], options].concat());
    let done = remove(&["--kvno", "1", "--etype", "aes128-cts"]).expect_success();
    assert_eq!(done.stderr, format!("removed {HTTP} kvno 1 aes128-cts-hmac-sha1-96\n"));
    assert_eq!(listed(&path).len(), 6);
    remove(&["--etype", "17"]).expect_success();
    assert_eq!(listed(&path).len(), 4);
    let done = remove(&["--old"]).expect_success();
    assert_eq!(done.stderr.lines().count(), 2);
    assert_listed_alike(&path);
    let done = remove(&["--old"]).expect_code(2);
    assert!(done.stderr.contains("CS-7018") && done.stderr.contains("older than the newest"), "{done:?}");
    remove(&[]).expect_success();
    assert_eq!(listed(&path).len(), 1);
    let done = remove(&["--kvno", "3"]).expect_code(2);
    assert!(
        done.stderr.contains("CS-7018") && done.stderr.contains("0 entries of that principal, 1 in all"),
        "{done:?}"
    );
    assert!(remove(&["--old", "--kvno", "3"]).expect_code(2).stderr.contains("--kvno"));
}

#[test]
fn keytabs_are_merged_and_the_key_read_later_counts() {
    let files = Files::new();
    let [into, first, second] = ["into", "first", "second"].map(|name| files.path(name));
    add_random(&first, HTTP, "1", "aes256-cts,aes128-cts");
    add_random(&second, HTTP, "1", "aes256-cts");
    add_random(&second, HTTP, "2", "aes256-cts");
    let done = keytab(&["merge", "--into", &into, &first, &second]).expect_success();
    assert!(done.stderr.contains(&format!("passed over {HTTP} kvno 1 aes256-cts-hmac-sha1-96")), "{done:?}");
    assert!(done.stderr.contains(&format!("3 keys added to {into}")), "{done:?}");
    let keys = |path: &str| klist(path).into_iter().map(|row| row.3).collect::<Vec<_>>();
    let [merged, of_first, of_second] = [&into, &first, &second].map(|path| keys(path));
    assert_eq!(merged, [of_first[1].clone(), of_second[0].clone(), of_second[1].clone()]);
    let done = keytab(&["merge", "--into", &into, &first]).expect_success();
    assert!(done.stderr.contains(&format!("replaced {HTTP} kvno 1 aes256-cts-hmac-sha1-96")), "{done:?}");
    assert!(done.stderr.contains("1 of 2 keys were there already"), "{done:?}");
    let missing = files.path("missing");
    let done = keytab(&["merge", "--into", &into, &second, &missing]).expect_code(2);
    assert!(done.stderr.contains("CS-7001") && done.stderr.contains(&missing), "{done:?}");
    assert_eq!(keys(&into), [of_first[1].clone(), of_second[1].clone(), of_first[0].clone()].map(|key| key));
}

#[test]
fn keys_are_added_while_kadmin_adds_others() {
    let realm = Realm::new("CLI.TEST");
    let services: Vec<String> = (0..4).map(|number| format!("HTTP/mit{number}.cli.test")).collect();
    services.iter().for_each(|spn| realm.add_service(spn, &[Etype::Aes256Sha1]));
    let path: PathBuf = realm.keytab(&[&services[0]]);
    let text = path.display().to_string();
    let ours = || {
        for kvno in 1..=10 {
            add_random(&text, "HTTP/ours.cli.test@CLI.TEST", &kvno.to_string(), "aes256-cts");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(ours);
        services[1..].iter().for_each(|spn| realm.ktadd(spn, &path));
    });
    assert_eq!(listed(&text).len(), services.len() + 10);
    assert_listed_alike(&text);
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let files = Files::new();
    let letter = files.write("letter", "a letter");
    let missing = files.path("missing/keytab");
    let key = ["--random-key", "--kvno", "1", "--etype", "aes256-cts"];
    let add = |path: &str, principal: &str, key: &[&str]| {
        keytab(&[&["add", "--keytab", path, "--principal", principal], key].concat()).expect_code(2).stderr
    };
    for (said, texts) in [
        (keytab(&["list", "--keytab", &missing]).expect_code(2).stderr, vec!["CS-7001", &missing]),
        (keytab(&["list", "--keytab", &letter]).expect_code(2).stderr, vec!["CS-7002", &letter]),
        (add(&letter, HTTP, &key), vec!["CS-7002", &letter]),
        (add(&missing, HTTP, &key), vec!["CS-7017", &missing, "No such file"]),
        (add(&letter, "HTTP/a", &key), vec!["CS-9001", "--principal HTTP/a without a realm"]),
        (add(&letter, "a//b@R", &key), vec!["CS-7005"]),
        (
            add(&letter, HTTP, &[&key[..3], &["--etype", "des-cbc-crc"]].concat()),
            vec!["CS-9001", "\"des-cbc-crc\" in --etype"],
        ),
        (add(&letter, HTTP, &key[1..]), vec!["--password-file", "--random-key"]),
        (add(&letter, HTTP, &[&key[..], &["--salt", "x"]].concat()), vec!["--salt", "--random-key"]),
        (
            add(&letter, HTTP, &[&key[..1], &["--kvno", "0", "--etype", "aes256-cts"]].concat()),
            vec!["--kvno", "1.."],
        ),
        (keytab(&["merge", "--into", &missing]).expect_code(2).stderr, vec!["<FROM>"]),
    ] {
        texts.iter().for_each(|text| assert!(said.contains(text), "{said} lacks {text:?}"));
    }
    assert_eq!(std::fs::read(letter).unwrap(), b"a letter");
}
