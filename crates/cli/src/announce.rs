//! What a listener says when it is ready.

use countersign::proto::error::{Refusal, code};
use std::io::{self, Write};
use tokio::net::TcpListener;

/// Tells on standard output that the listener is ready, with the port as bound.
pub(crate) fn listening(listener: &TcpListener) -> Result<(), Refusal> {
    let told = listener.local_addr().and_then(|address| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(format!("listening on {address}\n").as_bytes())?;
        stdout.flush()
    });
    told.map_err(|error| listen_failed("standard output", &error))
}

pub(crate) fn listen_failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::LISTEN_FAILED, format!("{what} ({error})"), "nowhere else to listen")
}
