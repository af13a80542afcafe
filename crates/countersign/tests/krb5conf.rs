//! krb5.conf on a disk, and what KRB5_CONFIG says.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::krb5conf::{load, load_files};
use countersign::proto::error::code;
use countersign::proto::krb5conf::{Krb5Conf, MAX_TOTAL_BYTES};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn realm(conf: &Krb5Conf) -> Option<&str> {
    conf.libdefaults.default_realm.as_deref()
}

#[test]
fn files_are_read_with_what_they_include() {
    let folder = tempfile::tempdir().unwrap();
    let snippets = folder.path().join("d");
    std::fs::create_dir_all(snippets.join("folder")).unwrap();
    written(&snippets, "realm.conf", "[libdefaults]\ndefault_realm = INCLUDED.TEST\n");
    written(&snippets, "realm.conf~", "[libdefaults\n");
    let text = format!("includedir {}\n[libdefaults]\nclockskew = 60\n", snippets.display());
    let main = written(folder.path(), "krb5.conf", &text);
    let conf = load_files(&[folder.path().join("missing"), main]).unwrap();
    assert_eq!(realm(&conf), Some("INCLUDED.TEST"));
    assert_eq!(conf.libdefaults.clock_skew.as_secs(), 60);
    assert_eq!(realm(&load_files(&[snippets]).unwrap()), Some("INCLUDED.TEST"), "a folder in the list");
    assert_eq!(load_files(&["/dev/null".into()]).unwrap(), Krb5Conf::default());
}

#[test]
fn what_cannot_be_read_is_refused_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let include = |name: &str| format!("[s]\ninclude {}\n", path(name).display());
    std::fs::create_dir(path("folder")).unwrap();
    let long = "#".repeat(MAX_TOTAL_BYTES + 1);
    let not_text = folder.path().join(OsStr::from_bytes(b"\xff"));
    for (file, said) in [
        (path("missing"), "no file at "),
        (path("krb5.conf/below"), "(Not a directory"),
        (written(folder.path(), "long", &long), "(it is too long)"),
        (
            written(folder.path(), "krb5.conf", &include("missing")),
            "krb5.conf:2 includes (it does not exist)",
        ),
        (written(folder.path(), "other.conf", &include("folder")), "(it is a folder)"),
        (not_text, "(a path that is not UTF-8)"),
        ("/dev/zero".into(), "(it is too long)"),
    ] {
        // The second needs a file where a folder should be.
        written(folder.path(), "krb5.conf", &include("missing"));
        let refusal = load_files(std::slice::from_ref(&file)).unwrap_err();
        assert_eq!(refusal.code(), code::KRB5_CONF_UNREADABLE, "{refusal}");
        assert!(refusal.saw().contains(said), "{refusal}");
    }
    let refusal = load_files(&[written(folder.path(), "broken", "[s]\nx\n")]).unwrap_err();
    assert_eq!(refusal.code(), code::KRB5_CONF_MALFORMED);
    assert!(refusal.saw().ends_with("broken:2: a line without ="), "{refusal}");
}

/// What [`load`] says in a process with this environment, which a test cannot change for itself.
fn loaded_with(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "what_is_loaded_stays_while_the_files_do", "--nocapture"])
        .env_remove("KRB5_CONFIG");
    let output = command.envs(variables.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.split_once("loaded: ").unwrap().1;
    said.lines().next().unwrap().to_owned()
}

#[test]
fn what_is_loaded_stays_while_the_files_do() {
    let said =
        || load().map_or_else(|refusal| refusal.code().to_string(), |conf| format!("{:?}", realm(&conf)));
    assert_eq!(said(), said());
    // The tests below read this line, of processes that run this test alone.
    println!("loaded: {}", said());
}

#[test]
fn krb5_config_lists_files_and_the_first_counts() {
    let folder = tempfile::tempdir().unwrap();
    let first = written(folder.path(), "first", "[libdefaults]\ndefault_realm = FIRST.TEST\n");
    let second = written(folder.path(), "second", "[libdefaults]\ndefault_realm = SECOND.TEST\n");
    let (first, second) = (first.to_str().unwrap(), second.to_str().unwrap());
    for (list, said) in [
        (format!("{first}:{second}"), "Some(\"FIRST.TEST\")"),
        (format!("{second}:{first}"), "Some(\"SECOND.TEST\")"),
        (format!("/nonexistent/krb5.conf::{second}"), "Some(\"SECOND.TEST\")"),
        ("~/second".into(), "Some(\"SECOND.TEST\")"),
        ("/dev/null".into(), "None"),
        (String::new(), "None"),
        ("/nonexistent/krb5.conf".into(), "CS-7010"),
    ] {
        let home = folder.path().to_str().unwrap();
        assert_eq!(loaded_with(&[("KRB5_CONFIG", &list), ("HOME", home)]), said, "{list}");
    }
}

#[test]
fn without_krb5_config_the_default_file_is_read_if_there_is_one() {
    let expected = if Path::new("/etc/krb5.conf").exists() {
        load_files(&["/etc/krb5.conf".into()])
            .map_or_else(|refusal| refusal.code().to_string(), |conf| format!("{:?}", realm(&conf)))
    } else {
        "None".to_owned()
    };
    assert_eq!(loaded_with(&[]), expected);
}
