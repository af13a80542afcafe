//! Lines, one fault or freedom at a time.

use crate::{conf, notes, profile, values};
use countersign_proto::error::{Explain, code};
use countersign_proto::krb5conf::MAX_NESTING;

#[test]
fn values_are_unquoted_and_trimmed() {
    for (line, expected) in [
        ("a = b", "b"),
        ("a=b", "b"),
        ("  a\t=\tb c  \t", "b c"),
        ("a = \"\"", ""),
        ("a = \" b \"  ", " b "),
        (r#"a = "x\n\t\b\"\\\q""#, "x\n\t\x08\"\\q"),
        (r#"a = "no end\"#, "no end\\"),
        (r#"a = b "c""#, r#"b "c""#),
        ("a = b # no comment", "b # no comment"),
        ("a = b = c", "b = c"),
        ("a = {b}", "{b}"),
        ("a = b\r", "b"),
    ] {
        let profile = profile(&format!("[s]\n{line}\n")).unwrap();
        assert_eq!(values(&profile, &["s", "a"]), [expected], "{line:?}");
    }
}

#[test]
fn sections_and_subsections_of_one_name_are_one() {
    let text = "\u{feff}[s]\r\n x = {\r\n k = 1\r\n }\r\n[t]\n k = 9\n[s]\n# comment\n x =\n  {\n ; comment\n k = 2\n\n } # end\n k = 3";
    let profile = profile(text).unwrap();
    assert_eq!(values(&profile, &["s", "x", "k"]), ["1", "2"]);
    assert_eq!(values(&profile, &["s", "k"]), ["3"]);
    assert_eq!(values(&profile, &["t", "k"]), ["9"]);
}

#[test]
fn nothing_is_added_to_what_is_final() {
    for (text, expected) in [
        ("[s]*\nk = 1\nk = 2\n[t]\n[s]\nk = 3\n", vec!["1", "2"]),
        ("[s]\nk* = 1\nk = 2\n", vec!["1"]),
        ("[s]\nk = 1\nk* = 2\nk = 3\n", vec!["1", "2"]),
        ("[s]*\nx = {\n}\n[s]\nx = {\n}*\nk = 1\n[t]\nk = 2\n", vec![]),
    ] {
        assert_eq!(values(&profile(text).unwrap(), &["s", "k"]), expected, "{text}");
    }
    for text in [
        "[s]\nx* = {\nk = 1\n}\nx = {\nk = 2\ny = {\nk = 3\n}*\n}\nz = {\n}",
        "[s]\nx = {\nk = 1\n}*\nx = {\nk = 2\n}\nz = {\n}",
    ] {
        let profile = profile(text).unwrap();
        assert_eq!(values(&profile, &["s", "x", "k"]), ["1"], "{text}");
        assert!(profile.section(&["s", "z"]).is_some(), "{text}");
    }
}

#[test]
fn faults_name_the_line_and_what_to_do() {
    for (text, line, said) in [
        ("[s\n", 1, "without a closing ]"),
        ("[s] # comment\n", 1, "text after the ]"),
        ("[s]\nx = {\n[t]\n", 3, "before the subsection x has ended"),
        ("[s]\n}\n", 2, "closes nothing"),
        ("[s]\nx = {\n}\n}\n", 4, "closes nothing"),
        ("[s]\nnonsense\n", 2, "without ="),
        ("[s]\n = b\n", 2, "without a name"),
        ("[s]\na b = c\n", 2, "\"a b\", which has a space"),
        ("[s]\na =\nb = c\n", 3, "no value after a ="),
        ("[s]\na =\n\n{\n", 3, "no value after a ="),
        ("[s]\na = b\0c\n", 2, "a byte 00"),
        ("module db.so:x\n[s]\n", 1, "a module line"),
        ("[s]\ninclude other\n", 2, "an include of \"other\""),
        ("includedir\n", 1, "an include of \"\""),
        ("include = /x\n", 1, "an include of \"= /x\""),
    ] {
        let error = profile(text).unwrap_err();
        assert_eq!(error.code(), code::KRB5_CONF_MALFORMED);
        let saw = error.saw();
        assert!(
            saw.starts_with(&format!("Kerberos configuration /etc/krb5.conf:{line}: ")),
            "{text:?}: {saw}"
        );
        assert!(saw.contains(said), "{text:?}: {saw}");
        assert!(!error.have().is_empty() && !error.advice().is_empty());
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_outside_comments() {
    let read = |bytes: &[u8]| {
        let mut files = crate::files(&[]);
        files.insert(crate::PATH.into(), bytes.to_vec());
        countersign_proto::krb5conf::Profile::read(&[crate::PATH], &mut files)
    };
    assert!(read(b"\xff\n# \xff\n[s]\n  ; \xff\nk = \xc3\xbc\n").is_ok());
    assert!(read(b"[s]\nk = \xff\n").unwrap_err().to_string().ends_with(":2: bytes that are not UTF-8"));
    assert!(read(b"[s]\ninclude /\xff\n").unwrap_err().to_string().ends_with(":2: bytes that are not UTF-8"));
}

#[test]
fn what_mit_drops_in_silence_is_noted() {
    for (text, note) in [
        ("some words\nmore words\n[s]\n", "1: text before the first section has no effect"),
        ("[plugins]\nx = {\n} y\n", "3: text after a } has no effect"),
        ("[plugins]\nx =\n{ y = 1\n}\n", "3: text after a { has no effect"),
        ("[plugins]\nx = \"a\" b\n", "2: text after a closing quote has no effect"),
        ("[plugins]\nx = \"a\n", "2: a quote is not closed: the value ends with the line"),
        ("[plugins]\nx = { y = 1 }\n", "2: a value that begins with {: a subsection's { must end its line"),
        ("[plugins]\nx = {\n", "2: the file ends before the } of x"),
        (
            "[domain_realm]\n*.a.test = A\n",
            "2: *.a.test is read as \"\": a * ends a name and marks it as final",
        ),
        ("[s]\n", "1: section [s] is not known and has no effect"),
    ] {
        let notes = notes(&conf(text).unwrap());
        assert!(notes.iter().any(|found| found == note), "{text:?}: {notes:?}");
    }
}

#[test]
fn a_section_and_an_include_may_stand_after_blanks() {
    let profile = profile("  [s]\n  k = 1\n include = 2\n").unwrap();
    assert_eq!(values(&profile, &["s", "k"]), ["1"]);
    assert_eq!(values(&profile, &["s", "include"]), ["2"]);
}

#[test]
fn subsections_are_nested_up_to_the_bound() {
    let nested = |depth: usize| profile(&format!("[s]\n{}", "x = {\n".repeat(depth)));
    assert!(nested(MAX_NESTING).is_ok());
    assert!(nested(MAX_NESTING + 1).unwrap_err().to_string().contains("nested too deeply"));
    assert!(nested(100_000).is_err());
}
