//! What a service does with its audit file: no handshake succeeds without its record, unless it may.

use super::AuditFile;
use super::file::Appended;
use countersign_proto::error::{Code, Explain, Refusal, code};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// What becomes of clients whose record cannot be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnAuditFailure {
    /// They are refused.
    #[default]
    Refuse,
    /// They are let in, and the lost records are counted.
    Continue,
}

/// What befell an audit file, for the log and the metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditEvent {
    /// A record is lost.
    Lost {
        /// Why.
        refusal: Refusal,
        /// Whether records could be written until now: the one time at which it is told to people.
        first: bool,
    },
    /// Records can be written again.
    Resumed {
        /// How many were lost meanwhile.
        lost: u64,
    },
    /// The file was renamed away, and no new one can be opened under its name. Told once until one can.
    Renamed(Refusal),
}

/// An audit file and what is done when it fails.
///
/// A service asks [`AuditTrail::ready`] in its `authorize` step, so that a client whose record could not be written is
/// refused before the last token; and closes the connection when [`AuditTrail::record`] fails nevertheless.
pub struct AuditTrail {
    file: AuditFile,
    on_failure: OnAuditFailure,
    told: Box<dyn Fn(&AuditEvent) + Send + Sync>,
    /// Records lost since the last one that was written.
    lost: AtomicU64,
    /// Whether it was told that the file was renamed away.
    renamed: AtomicBool,
}

impl AuditTrail {
    /// A trail into `file`. `told` learns what befalls it; it must not block.
    #[must_use]
    pub fn new(
        file: AuditFile,
        on_failure: OnAuditFailure,
        told: impl Fn(&AuditEvent) + Send + Sync + 'static,
    ) -> Self {
        let (lost, renamed) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { file, on_failure, told: Box::new(told), lost, renamed }
    }

    /// Whether a client may be let in, as far as its record goes.
    ///
    /// # Errors
    /// [`NotRecorded`], if its record could not be written and [`OnAuditFailure::Refuse`] holds.
    pub fn ready(&self) -> Result<(), NotRecorded> {
        match self.on_failure {
            OnAuditFailure::Refuse => self.file.ready().map_err(NotRecorded),
            OnAuditFailure::Continue => Ok(()),
        }
    }

    /// Writes a record. A connection that was accepted must be closed if this fails.
    ///
    /// # Errors
    /// [`NotRecorded`], if it cannot be written and [`OnAuditFailure::Refuse`] holds.
    pub fn record(&self, record: &impl Serialize) -> Result<(), NotRecorded> {
        match self.file.append_at(record, Instant::now()) {
            Ok(appended) => {
                self.resumed();
                self.followed(appended);
                Ok(())
            }
            Err(refusal) => {
                let first = self.lost.fetch_add(1, Ordering::Relaxed) == 0;
                (self.told)(&AuditEvent::Lost { refusal: refusal.clone(), first });
                match self.on_failure {
                    OnAuditFailure::Refuse => Err(NotRecorded(refusal)),
                    OnAuditFailure::Continue => Ok(()),
                }
            }
        }
    }

    /// Opens the file anew, after rotation.
    ///
    /// # Errors
    /// As [`AuditFile::reopen`]: records go on into the old one.
    pub fn reopen(&self) -> Result<(), Refusal> {
        self.file.reopen()
    }

    fn resumed(&self) {
        // Read first: every record comes by here, and only a write makes other cores wait.
        if self.lost.load(Ordering::Relaxed) > 0 {
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                (self.told)(&AuditEvent::Resumed { lost });
            }
        }
    }

    fn followed(&self, appended: Appended) {
        match appended {
            Appended::Written if self.renamed.load(Ordering::Relaxed) => {
                self.renamed.store(false, Ordering::Relaxed);
            }
            Appended::InRenamed(refusal) if !self.renamed.swap(true, Ordering::Relaxed) => {
                (self.told)(&AuditEvent::Renamed(refusal));
            }
            Appended::Written | Appended::InRenamed(_) => (),
        }
    }
}

/// A client was not let in because its record could not be written, for the reason inside.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.saw())]
pub struct NotRecorded(pub Refusal);

impl Explain for NotRecorded {
    fn code(&self) -> Code {
        code::NOT_RECORDED
    }

    fn saw(&self) -> Cow<'static, str> {
        format!("a client whose record cannot be written: {}", self.0.saw()).into()
    }

    fn have(&self) -> Cow<'static, str> {
        "on_audit_failure = refuse".into()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::mutex::lock;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use tempfile::TempDir;

    type Events = Arc<Mutex<Vec<AuditEvent>>>;

    fn trail(path: &Path, on_failure: OnAuditFailure) -> (AuditTrail, Events) {
        let events = Events::default();
        let told = Arc::clone(&events);
        let told = move |event: &AuditEvent| lock(&told).push(event.clone());
        (AuditTrail::new(AuditFile::open(path).unwrap(), on_failure, told), events)
    }

    #[test]
    fn by_default_a_client_without_a_record_is_refused_and_told_of_once() {
        let (trail, events) = trail(Path::new("/dev/full"), OnAuditFailure::default());
        let refused = trail.record(&1).unwrap_err();
        assert_eq!(refused.code(), code::NOT_RECORDED);
        assert!(refused.saw().contains("/dev/full"), "{}", refused.saw());
        assert!(trail.ready().is_err());
        assert!(trail.record(&2).is_err());
        let firsts: Vec<_> =
            lock(&events).iter().map(|event| matches!(event, AuditEvent::Lost { first: true, .. })).collect();
        assert_eq!(firsts, [true, false]);
    }

    #[test]
    fn where_it_may_go_on_nobody_is_refused_and_every_lost_record_is_told_of() {
        let (trail, events) = trail(Path::new("/dev/full"), OnAuditFailure::Continue);
        assert_eq!((trail.record(&1), trail.record(&2), trail.ready()), (Ok(()), Ok(()), Ok(())));
        assert_eq!(lock(&events).len(), 2);
    }

    #[test]
    fn the_first_record_that_goes_in_again_tells_how_many_were_lost() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("audit");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let (trail, events) = trail(&path, OnAuditFailure::Refuse);
        for _ in 0..3 {
            assert!(trail.record(&1).is_err());
        }
        std::fs::remove_file(&path).unwrap();
        trail.reopen().unwrap();
        assert_eq!((trail.ready(), trail.record(&2), trail.record(&3)), (Ok(()), Ok(()), Ok(())));
        let resumed: Vec<_> =
            lock(&events).iter().filter(|event| !matches!(event, AuditEvent::Lost { .. })).cloned().collect();
        assert_eq!(resumed, [AuditEvent::Resumed { lost: 3 }]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "2\n3\n");
    }
}
