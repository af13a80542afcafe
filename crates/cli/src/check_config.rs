//! `countersign check-config`: what would be served, or everything that is wrong.

use crate::args::CheckConfigArguments;
use crate::config::{Config, Fault, Findings};
use crate::{output, report};
use countersign::Refusal;
use std::ffi::OsString;

/// Reads the file as `serve` would with the same environment, and looks at the files that it names.
pub(crate) fn run(arguments: &CheckConfigArguments) -> Result<(), Refusal> {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let loaded = match Config::load(Some(&arguments.file), &variables, Vec::new()) {
        Ok(loaded) => loaded,
        Err(faults) => return tell(&faults),
    };
    let Findings { faults, notes } = loaded.inspect();
    notes.iter().for_each(|note| report::line(&format!("note: {note}")));
    tell(&faults)?;
    let listeners = match loaded.config.listeners.len() {
        1 => "1 listener".to_owned(),
        several => format!("{several} listeners"),
    };
    output::print(&format!("{}: ok, {listeners}\n{}", arguments.file.display(), loaded.config.summary()))
}

/// How many faults are told at once.
const MAX_TOLD: usize = 50;

/// Tells every fault but the last, with which the command then ends; does nothing if there is none.
pub(crate) fn tell(faults: &[Fault]) -> Result<(), Refusal> {
    let more = faults.len().saturating_sub(MAX_TOLD);
    let Some((last, others)) = faults.get(..MAX_TOLD).unwrap_or(faults).split_last() else { return Ok(()) };
    for fault in others {
        report::line(&format!("countersign: {}", Refusal::from_error(fault)));
    }
    if more > 0 {
        report::line(&format!("countersign: {more} more faults are told when these are mended"));
    }
    Err(Refusal::from_error(last))
}
