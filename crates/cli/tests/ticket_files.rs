//! `countersign ticket list` and `ticket destroy`, held against MIT's kinit, klist and kswitch.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::mint::{Mint, ccache_bytes};
use countersign_testkit::{Etype, Finished, Realm, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use support::{DEADLINE, countersign, file};

#[track_caller]
fn ticket(arguments: &[&str], ccname: &str) -> Finished {
    run(countersign(&["ticket"]).args(arguments).env("KRB5CCNAME", ccname), DEADLINE)
}

/// What is listed of the cache that KRB5CCNAME names.
#[track_caller]
fn listed(ccname: &str, options: &[&str]) -> String {
    let done = ticket(&[&["list"], options].concat(), ccname).expect_success();
    assert_eq!(done.stderr, "");
    done.text()
}

/// What `klist -e -f` says; in this locale its times are `mm/dd/yy hh:mm:ss`.
fn klist(realm: &Realm, ccname: &str) -> String {
    let mut command = Command::new("klist");
    command.envs(realm.env()).env("KRB5CCNAME", ccname).env("LC_ALL", "C").arg("-ef");
    run(&mut command, DEADLINE).expect_success().text()
}

/// A line of klist with its times in RFC 3339.
fn in_our_form(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for index in 0..words.len().saturating_sub(1) {
        let date = words[index].trim_start_matches('\t').to_owned();
        let fields: Vec<&str> = date.split('/').collect();
        if let [month, day, year] = fields[..] {
            let time = words[index + 1].trim_end_matches(',').to_owned();
            let comma = if words[index + 1].ends_with(',') { "," } else { "" };
            words[index] = format!("20{year}-{month}-{day}T{time}Z{comma}");
            words[index + 1].clear();
        }
    }
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The lines without the spaces that only align, and all that belongs to one ticket in one line.
fn tickets(text: &str) -> Vec<String> {
    let mut tickets: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("Valid starting")) {
        let line = in_our_form(line).replace('\t', " ");
        match tickets.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(&line),
            _ => tickets.push(line),
        }
    }
    let words = |ticket: &String| ticket.replace(',', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    tickets.iter().map(words).collect()
}

#[test]
fn tickets_are_listed_as_klist_lists_them() {
    let realm = Realm::new("CLI.TEST");
    realm.add_user("alice", "secret");
    realm.add_service("HTTP/a.cli.test", &[Etype::Aes256Sha1, Etype::Aes128Sha1]);
    realm.add_service("HTTP/b.cli.test", &[Etype::Aes256Sha384]);
    for options in [&["-f", "-r", "2d", "-p"][..], &["-l", "60s"], &["-s", "1h", "-F"]] {
        let path = realm.kinit("alice", "secret", options);
        if !options.contains(&"-s") {
            realm.kvno("HTTP/a.cli.test", &path, &["-e", Etype::Aes128Sha1.name()]);
            realm.kvno("HTTP/b.cli.test", &path, &[]);
        }
        let name = format!("FILE:{}", path.display());
        let ours = listed(&name, &[]).replace(" (not yet valid)", "");
        assert_eq!(tickets(&ours), tickets(&klist(&realm, &name)), "{ours}\n{}", klist(&realm, &name));
        assert_eq!(
            ours,
            listed("FILE:/nonexistent", &["--ccache", path.to_str().unwrap()])
                .replace(" (not yet valid)", "")
        );
    }
}

#[test]
fn it_is_said_whether_a_ticket_has_expired_or_is_not_yet_valid() {
    let folder = tempfile::tempdir().unwrap();
    let now = countersign::proto::time::Timestamp::from_system(std::time::SystemTime::now());
    let hour = std::time::Duration::from_secs(3_600);
    let mint = |from: countersign::proto::time::Timestamp| Mint { now: from, ..Mint::default() };
    for (from, state) in [
        (now, ""),
        (now.saturating_sub(hour * 24 * 30), " (expired)"),
        (now.saturating_add(hour * 24 * 30), " (not yet valid)"),
    ] {
        let mint = mint(from);
        let path = file(folder.path(), "tickets", &ccache_bytes(&mint.ccache(&[mint.ticket()])));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let text = listed(path.to_str().unwrap(), &[]);
        let line = text.lines().find(|line| line.contains("HTTP/a.example.test")).unwrap();
        assert!(line.ends_with(&format!("HTTP/a.example.test@EXAMPLE.TEST{state}")), "{text}");
    }
}

#[test]
fn a_cache_that_others_may_read_or_that_ends_in_half_a_ticket_is_listed_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::default();
    let bytes = ccache_bytes(&mint.ccache(&[mint.ticket(), mint.ticket()]));
    let path = file(folder.path(), "tickets", &bytes[..bytes.len() - 10]);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let done = ticket(&["list"], path.to_str().unwrap()).expect_success();
    assert_eq!(done.text().matches("HTTP/a.example.test").count(), 1);
    assert!(done.stderr.contains("has mode 0640") && done.stderr.contains("never written whole"), "{done:?}");
}

/// A folder with caches of alice, the primary one, and bob.
fn collection(realm: &Realm) -> String {
    ["alice", "bob"].iter().for_each(|user| realm.add_user(user, "secret"));
    let folder = realm.folder().join("collection");
    let name = format!("DIR:{}", folder.display());
    std::fs::create_dir(&folder).unwrap();
    for (user, member) in [("bob", "tktbob"), ("alice", "tktalice")] {
        std::fs::copy(realm.kinit(user, "secret", &[]), folder.join(member)).unwrap();
    }
    let member = format!("DIR::{}", folder.join("tktalice").display());
    let mut kswitch = Command::new("kswitch");
    kswitch.envs(realm.env()).env("KRB5CCNAME", &name).args(["-c", &member]);
    run(&mut kswitch, DEADLINE).expect_success();
    name
}

#[test]
fn a_collection_is_listed_and_destroyed_by_its_primary_cache_or_whole() {
    let realm = Realm::new("CLI.TEST");
    let name = collection(&realm);
    let folder = realm.folder().join("collection");
    let (alice, bob) = (folder.join("tktalice"), folder.join("tktbob"));
    let primary = listed(&name, &[]);
    assert_eq!(primary.lines().next().unwrap(), format!("Ticket cache: DIR::{}", alice.display()));
    assert_eq!(tickets(&primary), tickets(&klist(&realm, &name)));
    let all = listed(&name, &["--all"]);
    let caches: Vec<_> = all.lines().filter(|line| line.starts_with("Ticket cache:")).collect();
    let [first, second] = [&alice, &bob].map(|path| format!("Ticket cache: DIR::{}", path.display()));
    assert_eq!(caches, [first + " (primary)", second]);
    assert!(all.contains("Default principal: bob@CLI.TEST"));
    assert_eq!(
        listed("FILE:/nonexistent", &["--all", "--ccache", bob.to_str().unwrap()])
            .matches("Ticket cache")
            .count(),
        1
    );

    let done = ticket(&["destroy"], &name).expect_success();
    assert!(done.stderr.contains(&format!("DIR:{} is removed", folder.display())), "{done:?}");
    assert!(!alice.exists() && bob.exists());
    let done = ticket(&["destroy", "--all"], &name).expect_success();
    assert!(done.stderr.contains(&format!("DIR::{} is removed", bob.display())), "{done:?}");
    assert!(!bob.exists());
    for command in [&["list", "--all"][..], &["destroy", "--all"], &["list"], &["destroy"]] {
        let done = ticket(command, &name).expect_code(2);
        assert!(done.stderr.contains("CS-7003") && done.stderr.contains("collection"), "{done:?}");
    }
}

#[test]
fn a_damaged_member_is_told_and_the_others_are_listed_and_destroyed() {
    let realm = Realm::new("CLI.TEST");
    let name = collection(&realm);
    let folder = realm.folder().join("collection");
    let damaged = file(&folder, "tktX", b"a letter");
    let done = ticket(&["list", "--all"], &name).expect_code(2);
    assert!(done.stderr.contains("CS-7004") && done.stderr.contains("tktX"), "{done:?}");
    assert_eq!(done.text().matches("Default principal").count(), 2);
    let done = ticket(&["destroy", "--all"], &name).expect_code(2);
    assert!(done.stderr.contains("CS-7004") && done.stderr.contains("tktX"), "{done:?}");
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.len() == 2 && left.contains(&damaged) && left.contains(&folder.join("primary")), "{left:?}");
}

#[test]
fn a_destroyed_cache_is_gone_for_klist_too() {
    let realm = Realm::new("CLI.TEST");
    realm.add_user("alice", "secret");
    let path = realm.kinit("alice", "secret", &[]);
    let done = ticket(&["destroy", "--ccache", path.to_str().unwrap()], "FILE:/nonexistent").expect_success();
    assert!(done.stderr.contains(&format!("FILE:{} is removed", path.display())), "{done:?}");
    assert!(!path.exists());
}

/// Runs `ticket list` and `ticket destroy`, which must end with code 2 and say each of `texts`.
#[track_caller]
fn refused(ccname: &str, texts: &[&str]) {
    for command in ["list", "destroy"] {
        let done = ticket(&[command], ccname).expect_code(2);
        texts.iter().for_each(|text| assert!(done.stderr.contains(text), "{done:?} lacks {text:?}"));
        assert_eq!(done.text(), "");
    }
}

#[test]
fn a_cache_that_is_none_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing").display().to_string();
    refused(&missing, &["CS-7003", &missing, "No such file", "kinit"]);
    let letter = file(folder.path(), "letter", b"a letter").display().to_string();
    refused(&letter, &["CS-7004", &letter]);
    refused("MEMORY:x", &["CS-7003", "MEMORY:x"]);
    for (name, told) in [
        ("KCM:0", "KRB5CCNAME=FILE:"),
        ("KEYRING:persistent:0", "KRB5CCNAME=FILE:"),
        ("MSLSA:x", "Windows only"),
        ("", "behind the type"),
    ] {
        refused(name, &["CS-7016", "in KRB5CCNAME", told]);
    }
    assert_eq!(std::fs::read(letter).unwrap(), b"a letter");
}

#[test]
fn help_says_in_which_form_times_are() {
    let done = run(&mut countersign(&["ticket", "list", "--help"]), DEADLINE).expect_success();
    for text in ["UTC", "klist", "no cache ends with code 2", "Exit codes"] {
        assert!(done.text().replace("\n", " ").contains(text), "{done:?}");
    }
}

#[test]
fn the_cache_of_krb5_conf_is_the_one_where_nothing_else_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mint = Mint::default();
    let uid = Path::new("/proc/self")
        .metadata()
        .map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata))
        .unwrap();
    file(folder.path(), format!("tickets_{uid}"), &ccache_bytes(&mint.ccache(&[mint.ticket()])));
    let setting =
        format!("[libdefaults]\ndefault_ccache_name = FILE:{}/tickets_%{{uid}}\n", folder.path().display());
    let conf = file(folder.path(), "krb5.conf", setting.as_bytes());
    let done = run(countersign(&["ticket", "list"]).env("KRB5_CONFIG", &conf), DEADLINE).expect_success();
    assert!(done.text().contains(&format!("FILE:{}/tickets_{uid}", folder.path().display())), "{done:?}");
    let conf = file(folder.path(), "krb5.conf", b"[libdefaults]\ndefault_ccache_name = KCM:%{uid}\n");
    let done = run(countersign(&["ticket", "list"]).env("KRB5_CONFIG", &conf), DEADLINE).expect_code(2);
    assert!(done.stderr.contains(&format!("\"KCM:{uid}\" in default_ccache_name of krb5.conf")), "{done:?}");
}
