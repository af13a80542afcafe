//! krb5.conf as it is found in the field, what is wrong with it, and what MIT's own library makes of the same files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod corpus;
mod damage;
mod differential;
mod loading;
mod syntax;
mod systems;
mod values;

use countersign_proto::krb5conf::{Krb5Conf, Krb5ConfError, Profile};
use std::collections::BTreeMap;

const PATH: &str = "/etc/krb5.conf";

type Files = BTreeMap<String, Vec<u8>>;

fn files(contents: &[(&str, &str)]) -> Files {
    contents.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

/// The profile of one file.
fn profile(text: &str) -> Result<Profile, Krb5ConfError> {
    Profile::read(&[PATH], &mut files(&[(PATH, text)]))
}

/// The configuration in one file.
fn conf(text: &str) -> Result<Krb5Conf, Krb5ConfError> {
    Krb5Conf::read(&[PATH], &mut files(&[(PATH, text)]))
}

/// The values at a path of names.
fn values<'a>(profile: &'a Profile, path: &[&str]) -> Vec<&'a str> {
    let Some((name, sections)) = path.split_last() else { return Vec::new() };
    let Some(section) = profile.section(sections) else { return Vec::new() };
    section.values(name).iter().map(|relation| relation.value.as_str()).collect()
}

/// The notes, without the file.
fn notes(conf: &Krb5Conf) -> Vec<String> {
    conf.notes().iter().map(|note| format!("{}: {}", note.line, note.text)).collect()
}
