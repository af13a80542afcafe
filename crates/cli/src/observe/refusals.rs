//! Refusals in the log: each before authentication is logged only as far as its address has lines left.

use crate::report;
use countersign::attempts::proves_a_client;
use countersign::metrics::Metrics;
use countersign::throttle::{RefusalThrottle, Summary, ThrottleLimits};
use countersign::{Code, Failure, Refusal};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked whether there is something to tell.
const TICK: Duration = Duration::from_secs(1);

/// Logs refusals.
pub(crate) struct RefusalLog {
    throttle: Mutex<RefusalThrottle>,
    metrics: Metrics,
}

impl RefusalLog {
    /// Nothing was refused yet.
    pub(crate) fn new(limits: ThrottleLimits, metrics: Metrics) -> Self {
        Self { throttle: Mutex::new(RefusalThrottle::new(limits)), metrics }
    }

    /// Logs that a client was not let in, or counts it.
    pub(crate) fn refused(&self, listener: &str, peer: SocketAddr, failure: &Failure) {
        // A client that is known by now proved something, which not everybody can.
        if proves_a_client(failure) || self.has_line(peer, failure.refusal.code()) {
            report::refused(listener, peer, &failure.refusal);
        } else {
            self.metrics.log_line_suppressed();
        }
    }

    /// Logs that a connection was closed because its address is shut out, or counts it.
    pub(crate) fn shut_out(&self, listener: &str, peer: SocketAddr, refusal: &Refusal) {
        if self.has_line(peer, refusal.code()) {
            report::refused(listener, peer, refusal);
        } else {
            self.metrics.log_line_suppressed();
        }
    }

    /// Tells each second what was not logged, for as long as it is polled.
    pub(crate) async fn tell(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            told(&self.lock().over(Instant::now()));
        }
    }

    /// Tells what was not logged yet: for a program that ends.
    pub(crate) fn end(&self) {
        told(&self.lock().end());
    }

    fn has_line(&self, peer: SocketAddr, code: Code) -> bool {
        let decision = self.lock().refused(peer.ip(), code, Instant::now());
        told(&decision.over);
        decision.log
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RefusalThrottle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(summaries: &[Summary]) {
    summaries.iter().for_each(report::suppressed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFormat, LogLevel};
    use crate::logging::tests::logged;
    use countersign::proto::context::{Facts, Rejected};
    use countersign::proto::error::code;
    use countersign::proto::krb5::facts::BindingsState;
    use countersign::proto::ntlm::{Facts as NtlmFacts, NegotiateFlags, accounts::Identity};

    fn failure(facts: Option<Facts>) -> Failure {
        let refusal = Refusal::new(code::TOKEN_UNRECOGNISED, "garbage", "nothing");
        Box::new(Rejected { refusal, claimed_service: None, facts })
    }

    fn known() -> Facts {
        let client = Identity { user: "alice".into(), domain: String::new(), guest: false };
        let (workstation, flags) = (String::new(), NegotiateFlags::default());
        let bindings = BindingsState::NotCompared;
        let facts = NtlmFacts { client, workstation, target_name: None, flags, mutual: false, bindings };
        Facts::Ntlm { facts, waivers: Vec::new() }
    }

    #[test]
    fn what_is_not_logged_is_counted_and_told_once_and_known_clients_are_always_logged() {
        let metrics = Metrics::default();
        let log = RefusalLog::new(ThrottleLimits::default(), metrics.clone());
        let refused = |facts: Option<Facts>| {
            log.refused("echo", "127.0.0.9:7".parse().unwrap(), &failure(facts));
        };
        let lines = logged(LogFormat::Text, LogLevel::Info, || {
            (0..15).for_each(|_| refused(None));
            (0..15).for_each(|_| refused(Some(known())));
            log.end();
            log.end();
        });
        assert_eq!(lines.len(), 26, "{lines:?}");
        assert_eq!(lines[25], "127.0.0.9: 5 more refusals in 1 s, most often CS-1001\n");
        assert!(metrics.render().unwrap().contains("\ncountersign_log_lines_suppressed_total 5\n"));
    }

    #[test]
    fn what_was_not_logged_is_told_when_the_second_is_over() {
        let log = RefusalLog::new(ThrottleLimits::default(), Metrics::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lines = logged(LogFormat::Text, LogLevel::Info, || {
            (0..12).for_each(|_| log.refused("echo", "127.0.0.9:7".parse().unwrap(), &failure(None)));
            let patience = Duration::from_millis(2_500);
            runtime.block_on(async { tokio::time::timeout(patience, log.tell()).await }).unwrap_err();
        });
        assert_eq!(lines.last().unwrap(), "127.0.0.9: 2 more refusals in 1 s, most often CS-1001\n");
    }
}
