//! `countersign realm` while nobody serves: every command changes the folder itself.

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

use countersign_testkit::{Finished, run};
use realm_support::{Home, PASSWORD, REALM};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use support::{DEADLINE, countersign};

/// The command ended with exit code 2 and this code, with its reason.
#[track_caller]
fn refused(done: Finished, code: &str) -> String {
    let done = done.expect_code(2);
    for part in [code, "saw ", "; have ", "; do: "] {
        assert!(done.stderr.contains(part), "{done:?} lacks {part}");
    }
    done.stderr
}

#[test]
fn a_new_realm_is_its_owners_alone() {
    let home = Home::new();
    assert_eq!(home.mode("."), 0o700);
    for file in ["realm.redb", "master.key", "lock"] {
        assert_eq!(home.mode(file), 0o600, "{file}");
    }
    let mut files: Vec<_> =
        std::fs::read_dir(home.realm_folder()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["lock", "master.key", "realm.redb"]);
    let krbtgt = home.account("krbtgt/OWN.TEST").unwrap();
    assert_eq!((krbtgt["kind"].as_str(), krbtgt["kvno"].as_u64()), (Some("realm"), Some(1)));
}

#[test]
fn a_folder_takes_one_realm() {
    let home = Home::new();
    let key = std::fs::read(home.realm_folder().join("master.key")).unwrap();
    refused(home.realm("init", &["OTHER.TEST"]), "CS-7103");
    assert_eq!(std::fs::read(home.realm_folder().join("master.key")).unwrap(), key);
    assert!(home.account("krbtgt/OWN.TEST").is_some());
}

#[test]
fn a_realm_in_lower_case_is_warned_of_and_a_name_that_is_none_refused() {
    let home = Home::empty();
    let done = home.realm("init", &["own.test"]).expect_success();
    assert!(done.stderr.contains("warning: own.test has lower case"), "{done:?}");
    let home = Home::empty();
    refused(home.realm("init", &["OWN TEST"]), "CS-7109");
    assert!(!home.realm_folder().exists());
}

#[test]
fn accounts_are_added_changed_and_removed() {
    let home = Home::new();
    home.add_user("alice", &["--expires", "2037-01-31", "--alias", "ally", "--forwardable", "false"]);
    home.add_service("HTTP/a.example.test");
    let alice = home.account("alice").unwrap();
    assert_eq!(alice["expires"], "2037-01-31T00:00:00Z");
    assert_eq!(alice["aliases"][0], "ally");
    assert_eq!(alice["forwardable"], false);
    assert_eq!(alice["etypes"].as_array().unwrap().len(), 4);
    let file = home.password_file("Another.456");
    home.realm("passwd", &["--password-file", &file, "ally"]).expect_success();
    assert_eq!(home.account("alice").unwrap()["kvno"], 2);
    home.realm("modify", &["alice", "--disable", "--expires", "never"]).expect_success();
    let alice = home.account("alice").unwrap();
    assert_eq!((&alice["disabled"], alice.get("expires")), (&true.into(), None));
    home.realm("modify", &["alice", "--enable", "--remove-alias", "ally"]).expect_success();
    assert_eq!(home.account("alice").unwrap()["disabled"], false);
    home.realm("passwd", &["--random", "HTTP/a.example.test"]).expect_success();
    let service = home.account("HTTP/a.example.test").unwrap();
    assert_eq!((&service["kvno"], &service["older_kvnos"][0]), (&2.into(), &1.into()));
    home.realm("remove", &["alice", "HTTP/a.example.test"]).expect_success();
    assert_eq!(home.accounts().len(), 1);
}

#[test]
fn a_list_for_people_tells_the_state_of_each_account() {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.realm("modify", &["alice", "--disable", "--alias", "ally"]).expect_success();
    let list = home.realm("list", &[]).expect_success().text();
    let row = list.lines().find(|line| line.starts_with("alice ")).unwrap_or_else(|| panic!("{list}"));
    assert!(row.contains(" user ") && row.ends_with("disabled"), "{row}");
    assert!(list.contains("\taliases ally\n"), "{list}");
    assert!(list.contains("aes256-cts-hmac-sha384-192"), "{list}");
}

#[test]
fn a_random_password_is_printed_once_and_alone() {
    let home = Home::new();
    let done = home.realm("add-user", &["--random-password", "alice"]).expect_success();
    let password = done.text();
    assert_eq!(password.trim_end().len(), 23, "{password:?}");
    assert_eq!(password.lines().count(), 1);
    assert!(!done.stderr.contains(password.trim_end()));
    let other = home.realm("passwd", &["--random", "alice"]).expect_success().text();
    assert_ne!(password, other);
}

#[test]
fn passwords_that_would_be_guessed_are_refused() {
    let home = Home::new();
    for password in ["short", "aaaaaaaaaaaa", "Longuser"] {
        let file = home.password_file(password);
        refused(home.realm("add-user", &["--password-file", &file, "longuser"]), "CS-7113");
    }
    assert!(home.account("longuser").is_none());
}

#[test]
fn a_password_is_asked_for_on_the_terminal_alone() {
    let home = Home::new();
    // In a session of its own a program has no terminal.
    let program = home.command("add-user", &["alice"]);
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(program.get_program()).args(program.get_args());
    refused(run(&mut command, DEADLINE), "CS-7009");
    assert!(home.account("alice").is_none());
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let home = Home::new();
    home.add_user("alice", &[]);
    home.add_service("HTTP/a.example.test");
    let file = home.password_file(PASSWORD);
    let keytab = home.path().join("keytab");
    let keytab = keytab.to_str().unwrap();
    refused(home.realm("add-user", &["--password-file", &file, "alice"]), "CS-7110");
    refused(home.realm("add-user", &["--password-file", &file, "HTTP/b.example.test"]), "CS-7109");
    refused(home.realm("add-service", &["krbtgt/OTHER.TEST"]), "CS-7109");
    refused(home.realm("passwd", &["--password-file", &file, "bob"]), "CS-7111");
    refused(home.realm("passwd", &["--password-file", &file, "HTTP/a.example.test"]), "CS-7112");
    refused(home.realm("remove", &["krbtgt/OWN.TEST"]), "CS-7112");
    refused(home.realm("remove", &["bob"]), "CS-7111");
    refused(home.realm("export-keytab", &["--keytab", keytab, "alice"]), "CS-7112");
    refused(home.realm("export-keytab", &["--keytab", keytab, "krbtgt/OWN.TEST"]), "CS-7112");
    refused(home.realm("modify", &["alice"]), "CS-9001");
    refused(home.realm("modify", &["alice", "--expires", "tomorrow"]), "CS-9001");
    refused(home.realm("modify", &["alice", "--max-life", "1s"]), "CS-9001");
    assert!(!std::path::Path::new(keytab).exists());
}

#[test]
fn wrong_usage_ends_with_2() {
    let home = Home::new();
    for arguments in [
        &["realm"][..],
        &["realm", "init", "X.TEST"],
        &["realm", "serve", "--realm", "x"],
        &["realm", "add-user", "--realm", "x", "--random-password", "--password-file", "f", "alice"],
        &["realm", "modify", "--realm", "x", "alice", "--enable", "--disable"],
        &["realm", "remove", "--realm", "x"],
        &["realm", "export-keytab", "--realm", "x", "HTTP/a"],
    ] {
        run(&mut countersign(arguments), DEADLINE).expect_code(2);
    }
    refused(home.realm("policy", &["--permitted-enctypes", "arcfour-hmac"]), "CS-9001");
    refused(home.realm("policy", &["--spake-groups", "P-521"]), "CS-9001");
}

#[test]
fn no_realm_is_told_as_such() {
    let home = Home::empty();
    refused(home.realm("list", &[]), "CS-7102");
    std::fs::create_dir(home.realm_folder()).unwrap();
    std::fs::set_permissions(home.realm_folder(), Permissions::from_mode(0o700)).unwrap();
    refused(home.realm("list", &[]), "CS-7102");
}

#[test]
fn the_policy_is_shown_and_changed() {
    let home = Home::with(&["--max-life", "8h", "--allow-encrypted-timestamp", "true"]);
    let policy = home.realm("policy", &[]).expect_success().text();
    for line in
        ["realm = OWN.TEST", "max_life = 8h", "max_renewable_life = 7d", "allow_encrypted_timestamp = true"]
    {
        assert!(policy.lines().any(|shown| shown == line), "{policy} lacks {line}");
    }
    let options = ["--permitted-enctypes", "aes256-sha2,aes256-cts", "--spake-groups", "none", "--json"];
    let json = home.realm("policy", &options).expect_success().text();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["permitted_enctypes"][0], "aes256-cts-hmac-sha384-192");
    assert_eq!(json["spake_groups"].as_array().unwrap().len(), 0);
    assert_eq!(json["max_life"], 28_800);
}

#[test]
fn files_that_others_may_read_are_refused() {
    let home = Home::new();
    for (file, mode) in [(".", 0o750), ("master.key", 0o640), ("realm.redb", 0o604)] {
        let path = home.realm_folder().join(file);
        let before = std::fs::metadata(&path).unwrap().permissions();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let told = refused(home.realm("list", &[]), "CS-7104");
        assert!(told.contains(&format!("{mode:04o}")), "{told}");
        std::fs::set_permissions(&path, before).unwrap();
    }
    home.realm("list", &[]).expect_success();
}

#[test]
fn another_master_key_is_told() {
    let home = Home::new();
    let other = Home::new();
    let key = other.realm_folder().join("master.key");
    let options = ["--master-key-file", key.to_str().unwrap()];
    refused(home.realm("list", &options), "CS-7108");
    let path = home.realm_folder().join("master.key");
    std::fs::write(&path, "secret\n").unwrap();
    refused(home.realm("list", &[]), "CS-7108");
    std::fs::remove_file(&path).unwrap();
    refused(home.realm("list", &[]), "CS-7101");
}

#[test]
fn a_master_key_may_lie_elsewhere() {
    let home = Home::empty();
    let key = home.path().join("elsewhere.key");
    let options = ["--master-key-file", key.to_str().unwrap()];
    home.realm("init", &[&options[..], &[REALM]].concat()).expect_success();
    assert!(!home.realm_folder().join("master.key").exists());
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    home.realm("list", &options).expect_success();
    refused(home.realm("list", &[]), "CS-7101");
    // A second realm may be sealed under the same key.
    let second = Home::empty();
    second.realm("init", &[&options[..], &["SECOND.TEST"]].concat()).expect_success();
    second.realm("list", &options).expect_success();
}

#[test]
fn an_exported_keytab_is_what_mits_klist_reads_and_exporting_changes_nothing() {
    let home = Home::new();
    home.add_service("HTTP/a.example.test");
    home.realm("passwd", &["--random", "HTTP/a.example.test"]).expect_success();
    let before = home.account("HTTP/a.example.test");
    let keytab = home.keytab(&["HTTP/a.example.test"]);
    assert_eq!(std::fs::metadata(&keytab).unwrap().permissions().mode() & 0o7777, 0o600);
    let mut klist = Command::new("klist");
    let list = run(klist.arg("-ke").arg(&keytab), DEADLINE).expect_success().text();
    for kvno in [1, 2] {
        for etype in ["aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha256-128"] {
            let row = format!("{kvno} HTTP/a.example.test@{REALM} ({etype})");
            assert!(list.lines().any(|line| line.trim() == row), "{list} lacks {row}");
        }
    }
    assert_eq!(home.account("HTTP/a.example.test"), before);
    // Once more adds nothing.
    home.keytab(&["HTTP/a.example.test"]);
    let again = run(Command::new("klist").arg("-ke").arg(&keytab), DEADLINE).text();
    assert_eq!(list, again);
}

#[test]
fn commands_at_the_same_time_take_turns() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let home = &home;
            scope.spawn(move || home.add_service(&format!("HTTP/h{number}.example.test")));
        }
    });
    assert_eq!(home.accounts().len(), 9);
}
