//! Which files are read.

use crate::{Files, PATH, files, values};
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5conf::{
    Krb5ConfError, LoadError, Loader, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_TOTAL_BYTES, Profile,
};

fn read(paths: &[&str], mut files: Files) -> Result<Profile, Krb5ConfError> {
    Profile::read(paths, &mut files)
}

#[test]
fn values_of_a_list_of_files_are_joined_and_the_first_file_comes_first() {
    let both = files(&[("/a", "[s]\nk = 1\n[t]*\nk = 1\n"), ("/b", "[s]\nk = 2\n[t]\nk = 2\n")]);
    let profile = read(&["/a", "/b"], both.clone()).unwrap();
    assert_eq!(values(&profile, &["s", "k"]), ["1", "2"]);
    assert_eq!(values(&profile, &["t", "k"]), ["1"]);
    let profile = read(&["/b", "/a"], both.clone()).unwrap();
    assert_eq!(values(&profile, &["s", "k"]), ["2", "1"]);
    assert_eq!(values(&profile, &["t", "k"]), ["2", "1"]);
    assert_eq!(values(&read(&["/none", "/b"], both).unwrap(), &["s", "k"]), ["2"]);
}

#[test]
fn a_list_of_which_nothing_exists_is_refused() {
    for paths in [&["/a", "/b"][..], &[]] {
        let error = read(paths, files(&[])).unwrap_err();
        assert_eq!(error.code(), code::KRB5_CONF_UNREADABLE);
        assert_eq!(
            error,
            Krb5ConfError::Absent { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
        );
    }
}

#[test]
fn included_files_begin_anew_and_stand_where_they_are_included() {
    let files = files(&[
        (PATH, "include /first  \n[s]\nx = {\nk = 1\ninclude /second\nk = 3\n}\n"),
        ("/first", "before\n[s]\nj = 1\n"),
        ("/second", "[s]\nx = {\nk = 2\n"),
    ]);
    let profile = read(&[PATH], files).unwrap();
    assert_eq!(values(&profile, &["s", "x", "k"]), ["1", "2", "3"]);
    assert_eq!(values(&profile, &["s", "j"]), ["1"]);
}

#[test]
fn a_folder_gives_files_of_fit_names_in_order() {
    let fit = ["a", "B-2", "_x", "z.conf", "1.old.conf"];
    let unfit = [".conf", ".a", "a~", "a.rpmnew", "b.conf.bak", "ü", "sub/a"];
    let mut all = files(&[(PATH, "  includedir /d/\n")]);
    for name in fit.iter().chain(&unfit) {
        all.insert(format!("/d/{name}"), format!("[s]\nk = {name}\n").into_bytes());
    }
    assert_eq!(
        values(&read(&[PATH], all.clone()).unwrap(), &["s", "k"]),
        ["1.old.conf", "B-2", "_x", "a", "z.conf"]
    );
    assert_eq!(values(&read(&["/d"], all).unwrap(), &["s", "k"]).len(), fit.len(), "a folder in the list");
}

#[test]
fn an_included_file_that_is_missing_is_refused_with_the_line() {
    for line in ["include /missing", "includedir /missing"] {
        let error = read(&[PATH], files(&[(PATH, &format!("[s]\n{line}\n"))])).unwrap_err();
        assert_eq!(error.code(), code::KRB5_CONF_UNREADABLE);
        assert_eq!(
            error.saw(),
            "Kerberos configuration /missing, which /etc/krb5.conf:2 includes (it does not exist)"
        );
    }
    let error = read(&[PATH], files(&[(PATH, "include /d\n"), ("/d/x", "")])).unwrap_err();
    assert!(error.to_string().ends_with("(it is a folder)"));
}

#[test]
fn a_file_that_cannot_be_read_is_refused_even_if_others_can() {
    struct Locked;
    impl Loader for Locked {
        fn file(&mut self, path: &str, _: usize) -> Result<Vec<u8>, LoadError> {
            if path == "/open" { Ok(Vec::new()) } else { Err(LoadError::Failed("Permission denied".into())) }
        }

        fn folder(&mut self, _: &str) -> Result<Vec<String>, LoadError> {
            Err(LoadError::NotFound)
        }
    }
    let error = Profile::read(&["/open", "/locked"], &mut Locked).unwrap_err();
    assert_eq!(error.to_string(), "/locked (Permission denied)");
}

#[test]
fn a_circle_of_includes_ends_with_a_refusal() {
    let circle = files(&[("/a", "[s]\ninclude /b\n"), ("/b", "include /a\n")]);
    assert!(read(&["/a"], circle).unwrap_err().to_string().ends_with("includes nested too deeply"));
    let chain = |length: usize| {
        let mut files = files(&[]);
        for number in 0..length {
            files.insert(format!("/{number}"), format!("include /{}\n", number + 1).into_bytes());
        }
        files.insert(format!("/{length}"), b"[s]\nk = 1\n".to_vec());
        read(&["/0"], files)
    };
    assert_eq!(values(&chain(MAX_INCLUDE_DEPTH).unwrap(), &["s", "k"]), ["1"]);
    assert!(chain(MAX_INCLUDE_DEPTH + 1).is_err());
}

#[test]
fn files_and_bytes_are_bounded() {
    let many = |count: usize| {
        let text = "include /x\n".repeat(count);
        read(&[PATH], files(&[(PATH, &text), ("/x", "")]))
    };
    assert!(many(MAX_FILES - 1).is_ok());
    assert!(many(MAX_FILES).unwrap_err().to_string().ends_with("too many included files"));
    let large = |size: usize| read(&[PATH], files(&[(PATH, "include /x\n"), ("/x", &" ".repeat(size))]));
    assert!(large(MAX_TOTAL_BYTES - 11).is_ok());
    let error = large(MAX_TOTAL_BYTES - 10).unwrap_err();
    assert!(error.to_string().ends_with("(it is too long)"));
    assert!(error.have().contains(&MAX_TOTAL_BYTES.to_string()));
}
