//! The signals by which a program is told to end.

use countersign::Refusal;
use countersign::proto::error::code;
use std::future::Future;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends when the program is told to (SIGTERM or SIGINT); the signals are caught from this call on.
pub(crate) fn told_to_end() -> Result<impl Future<Output = ()>, Refusal> {
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
    })
}

fn caught(kind: SignalKind) -> Result<Signal, Refusal> {
    signal(kind).map_err(|error: io::Error| {
        Refusal::new(code::LISTEN_FAILED, format!("signals ({error})"), "no other way to be told to end")
    })
}
