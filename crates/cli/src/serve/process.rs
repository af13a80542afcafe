//! What all listeners of a process have in common.

use super::replay;
use crate::config::Config;
use crate::observe::drain::Drain;
use crate::observe::readiness::{Probe, Readiness};
use crate::observe::refusals::RefusalLog;
use crate::report;
use crate::systemd::Watchdog;
use countersign::attempts::{AttemptLimits, FailedAttempts};
use countersign::audit::{AuditEvent, AuditFile, AuditTrail};
use countersign::limits::Admission;
use countersign::metrics::Metrics;
use countersign::proto::error::Refusal;
use countersign::replay::ReplayStore;
use countersign::throttle::ThrottleLimits;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Shared by every listener and every client.
pub(super) struct Process {
    pub(super) metrics: Metrics,
    /// One store for all: services that share a key must share it.
    pub(super) replay: Arc<dyn ReplayStore>,
    pub(super) audit: Option<Arc<AuditTrail>>,
    /// Counts the handshakes of all listeners.
    pub(super) admission: Admission,
    pub(super) attempts: Arc<FailedAttempts>,
    pub(super) refusals: RefusalLog,
    pub(super) drain: Drain,
    pub(super) readiness: Readiness,
    pub(super) watchdog: Option<Watchdog>,
    /// Places of sessions.
    pub(super) sessions: Arc<Semaphore>,
}

/// How the service stands, before and while it serves.
pub(super) struct Standing {
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    drain: Drain,
    audit: Option<Arc<AuditTrail>>,
}

impl Standing {
    pub(super) fn new(config: &Config) -> Result<Self, Refusal> {
        let (metrics, drain) = (Metrics::default(), Drain::new());
        let audit = audit(config, &metrics)?;
        let readiness = Readiness::new(drain.clone(), audit.clone().map(probe).into_iter().collect());
        Ok(Self { metrics, readiness, drain, audit })
    }
}

impl Process {
    /// It may block for as long as stores take.
    pub(super) fn new(config: &Config, standing: Standing) -> Result<Self, Refusal> {
        let Standing { metrics, readiness, drain, audit } = standing;
        let replay = replay::store(config, &metrics, &readiness)?;
        let throttle = ThrottleLimits {
            per_address: config.limits.refusal_log_lines_per_second,
            ..ThrottleLimits::default()
        };
        Ok(Self {
            readiness,
            refusals: RefusalLog::new(throttle, metrics.clone()),
            admission: Admission::new(config.limits.handshakes),
            attempts: Arc::new(FailedAttempts::new(AttemptLimits {
                delay_after: config.limits.failed_attempts,
                block_after: config.limits.failed_attempts_block,
                ..AttemptLimits::default()
            })),
            watchdog: Watchdog::from_environment(),
            sessions: Arc::new(Semaphore::new(config.limits.tunnels.min(Semaphore::MAX_PERMITS))),
            metrics,
            replay,
            audit,
            drain,
        })
    }
}

fn audit(config: &Config, metrics: &Metrics) -> Result<Option<Arc<AuditTrail>>, Refusal> {
    let Some(audit) = &config.audit else { return Ok(None) };
    let metrics = metrics.clone();
    let told = move |event: &AuditEvent| match event {
        AuditEvent::Lost { refusal, first } => {
            metrics.audit_failed();
            if *first {
                report::failure(refusal);
            }
        }
        AuditEvent::Renamed(refusal) => report::failure(refusal),
        AuditEvent::Resumed { lost } => {
            report::line(&format!("the audit file can be written again; {lost} records are lost"));
        }
    };
    let file = AuditFile::open(&audit.file)?;
    Ok(Some(Arc::new(AuditTrail::new(file, audit.on_failure, told))))
}

/// A client without a record is not let in.
fn probe(audit: Arc<AuditTrail>) -> Probe {
    Box::new(move || audit.ready().map_err(|refusal| format!("audit file: {}", refusal.0.saw())))
}
