//! docs/codes.md is the registry of codes, rendered. `UPDATE_DOCS=1 cargo test --test codes` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "whether to write the file is said in the environment")]

use countersign_proto::error::Code;
use countersign_proto::error::code::ALL;
use countersign_proto::krb5::msg::krb_error::error_name;
use std::collections::BTreeSet;
use std::path::PathBuf;

const INTRODUCTION: &str = "\
# Codes

Every refusal has one of these codes, in the log, in the audit record and in what the program prints. A code keeps its
number and meaning for ever. Beside it stands what was seen, what there is to set against it, and what to do; the
advice here is the general one.

Whose move it is: `peer` - the other end sent what no correct peer sends, or somebody altered it; `mismatch` - both ends
work and do not fit together; `policy` - a rule of this end says no; `configuration` - a file, flag or value of this end
is wrong; `environment` - network, machine or a limit; `caller` - the calling program.

The peer is told the KRB-ERROR and nothing else; where there is none, the connection ends without a token. A KRB-ERROR
is only sent once an AP-REQ was read.

This file is made from the registry in `crates/proto/src/error/code.rs`: a test compares the two.

| code | name | whose move | the peer is told | meaning | what to do |
| --- | --- | --- | --- | --- | --- |
";

fn rendered() -> String {
    let rows: String = ALL.iter().map(|code| row(*code)).collect();
    format!("{INTRODUCTION}{rows}")
}

fn row(code: Code) -> String {
    let told = code
        .krb_error()
        .map_or("-".to_owned(), |number| format!("{number} {}", error_name(number).unwrap_or("(no name)")));
    let cells = [
        code.to_string(),
        code.name().to_owned(),
        code.fault().word().to_owned(),
        told,
        code.title().to_owned(),
        code.advice().to_owned(),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

#[test]
fn the_list_of_codes_in_the_documentation_is_the_registry() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/codes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, rendered()).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(
        written == rendered(),
        "docs/codes.md differs from the registry: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn a_number_and_a_name_stand_for_one_code() {
    let numbers: BTreeSet<_> = ALL.iter().map(|code| code.number()).collect();
    let names: BTreeSet<_> = ALL.iter().map(|code| code.name()).collect();
    assert_eq!((numbers.len(), names.len()), (ALL.len(), ALL.len()));
    assert!(numbers.iter().all(|number| (1_000..10_000).contains(number)));
}

#[test]
fn every_code_says_what_it_means_and_what_to_do_and_what_the_peer_is_told_has_a_name() {
    for code in ALL {
        assert!(code.title().ends_with('.') && !code.advice().is_empty(), "{code:?}");
        assert!(code.krb_error().is_none_or(|number| error_name(number).is_some()), "{code:?}");
    }
}

#[test]
fn codes_are_shown_with_their_prefix() {
    let shown: Vec<_> = ALL.iter().map(ToString::to_string).collect();
    assert!(shown.iter().all(|code| code.len() == 7 && code.starts_with("CS-")), "{shown:?}");
}
