//! Lines for people and programs, on standard error. What `serve` reports goes through the log too, with what it is about
//! in fields.

use crate::logging;
use countersign::Refusal;
use countersign::proto::context::Facts;
use std::fmt::Display;
use std::net::SocketAddr;

/// Writes one line. That nobody reads any more is no reason to fail.
pub(crate) fn line(text: &str) {
    logging::ready();
    tracing::info!("{text}");
}

/// Writes one line that helps to find a fault.
pub(crate) fn detail(text: &str) {
    logging::ready();
    tracing::debug!("{text}");
}

/// Writes one line about what somebody should look at.
pub(crate) fn warning(text: &str) {
    logging::ready();
    tracing::warn!("{text}");
}

/// Writes one line about what ends the program or one of its services.
pub(crate) fn failure(refusal: &Refusal) {
    logging::ready();
    tracing::error!(code = %refusal.code(), "countersign: {refusal}");
}

/// Says that a client was let in.
pub(crate) fn accepted(listener: &str, peer: SocketAddr, facts: &Facts) {
    logging::ready();
    tracing::info!(listener, %peer, client = facts.client(), "{peer} accepted: {}", who(facts));
}

/// Says that a client was not let in.
pub(crate) fn refused(listener: &str, peer: SocketAddr, refusal: &Refusal) {
    logging::ready();
    tracing::info!(listener, %peer, code = %refusal.code(), "{peer} refused: {refusal}");
}

/// Says that a client that was let in came to a bad end.
pub(crate) fn ended(listener: &str, peer: SocketAddr, refusal: &Refusal) {
    logging::ready();
    tracing::info!(listener, %peer, code = %refusal.code(), "{peer} ended: {refusal}");
}

/// Says what stands for refusals that were counted instead of logged.
pub(crate) fn suppressed(summary: &impl Display) {
    logging::ready();
    tracing::info!("{summary}");
}

/// The client in words, with what proved it.
fn who(facts: &Facts) -> String {
    match facts.service() {
        Some(service) => format!("{} for {service} by kerberos {}", facts.client(), facts.protection()),
        None => format!("{} by ntlm, NOT mutually authenticated", facts.client()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogLevel};
    use crate::logging::tests::logged;
    use countersign::proto::error::code;
    use serde_json::Value;

    const PEER: &str = "192.0.2.1:4711";

    fn refusal() -> Refusal {
        Refusal::new(code::CLIENT_NOT_ALLOWED, "alice", "a list")
    }

    #[test]
    fn what_a_connection_came_to_is_a_line_with_its_fields() {
        let events = || {
            refused("echo", PEER.parse().unwrap(), &refusal());
            ended("echo", PEER.parse().unwrap(), &refusal());
        };
        let text = logged(LogFormat::Text, LogLevel::Info, events);
        assert!(
            text[0].starts_with("192.0.2.1:4711 refused: CS-3017 saw alice; have a list; do: "),
            "{text:?}"
        );
        assert!(text[1].starts_with("192.0.2.1:4711 ended: CS-3017 saw alice"), "{text:?}");
        for line in logged(LogFormat::Json, LogLevel::Info, events) {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!((&line["listener"], &line["peer"]), (&"echo".into(), &PEER.into()));
            assert_eq!(line["code"], "CS-3017");
        }
    }

    #[test]
    fn the_end_of_the_program_is_told_at_every_level_and_lines_are_information() {
        let events = || {
            line("one");
            warning("two");
            failure(&refusal());
        };
        assert_eq!(logged(LogFormat::Text, LogLevel::Info, events).len(), 3);
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn, events)[0], "two\n");
        let errors = logged(LogFormat::Text, LogLevel::Error, events);
        assert!(errors.len() == 1 && errors[0].starts_with("countersign: CS-3017 saw alice"), "{errors:?}");
    }
}
