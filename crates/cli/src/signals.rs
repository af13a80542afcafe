//! The signals by which a program is told to end, or to read its files anew.

use countersign::Refusal;
use countersign::proto::error::code;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a program was told by a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// SIGTERM or SIGINT: to end.
    End,
    /// SIGHUP: to read keys anew and to reopen the audit file.
    Reload,
}

/// The signals that a program heeds.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them from this call on.
    pub(crate) fn caught() -> Result<Self, Refusal> {
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup: caught(SignalKind::hangup())?,
        })
    }

    /// Waits for the next. It can be cancelled without losing one.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Waits until the program is told to end, whatever else it is told.
    pub(crate) async fn end(&mut self) {
        while self.next().await != Told::End {}
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};

    #[test]
    fn a_hangup_is_told_apart_from_an_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut signals = Signals::caught().unwrap();
            for (number, told) in
                [(Number::HUP, Told::Reload), (Number::TERM, Told::End), (Number::INT, Told::End)]
            {
                kill_process(getpid(), number).unwrap();
                assert_eq!(signals.next().await, told, "{number:?}");
            }
            kill_process(getpid(), Number::HUP).unwrap();
            let mut later = Signals::caught().unwrap();
            kill_process(getpid(), Number::TERM).unwrap();
            signals.end().await;
            later.end().await;
        });
    }
}
