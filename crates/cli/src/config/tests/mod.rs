#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

mod every_key;
mod faults;
mod layers;

use super::{Config, Fault, FlagSetting, Loaded, document};
use std::ffi::OsString;
use std::path::Path;

/// docs/countersign.sample.toml as it stands.
const SAMPLE: &str = include_str!("../../../../../docs/countersign.sample.toml");

/// What tests call the file.
const FILE: &str = "serve.toml";

/// The sample with the lines for Valkey in the place of those that they replace.
fn sample_with_valkey() -> String {
    let mut in_replay = false;
    let replaced = |line: &str| ["store = \"file\"", "durability = "].iter().any(|old| line.starts_with(old));
    let lines = SAMPLE.lines().filter_map(|line| {
        if line.starts_with('[') {
            in_replay = line == "[replay]";
        }
        match line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()) {
            Some(rest) => Some(rest.to_owned()),
            None => (!(in_replay && replaced(line))).then(|| line.to_owned()),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn load(text: &str) -> Result<Loaded, Vec<Fault>> {
    load_with(text, &[], Vec::new())
}

fn load_with(text: &str, variables: &[(&str, &str)], flags: Vec<FlagSetting>) -> Result<Loaded, Vec<Fault>> {
    let mut faults = Vec::new();
    let settings = document::parse(text, FILE.into(), &mut faults);
    if faults.iter().any(Fault::ends_reading) {
        return Err(faults);
    }
    let variables: Vec<(OsString, OsString)> =
        variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
    Config::from_settings(settings, &variables, flags, faults)
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let faults = Config::load(Some(Path::new("/nonexistent/serve.toml")), &[], Vec::new()).unwrap_err();
    assert!(faults[0].to_string().contains("/nonexistent/serve.toml (No such file"), "{faults:?}");
}
