//! Lines for people, on standard error.

use std::io::{self, Write};

/// Writes one line. That nobody reads any more is no reason to fail.
pub(crate) fn line(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
