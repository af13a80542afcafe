//! What a command was asked for, on standard output.

use countersign::Refusal;
use countersign::proto::error::code;
use std::io::{self, ErrorKind, Write};

/// Writes `text` as it is. That nobody reads it to its end is no failure.
pub(crate) fn print(text: &str) -> Result<(), Refusal> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let saw = format!("standard output ({error})");
            Err(Refusal::new(code::CONNECTION_FAILED, saw, "nowhere else to write"))
        }
        _ => Ok(()),
    }
}
