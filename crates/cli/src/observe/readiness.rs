//! Whether the service can take clients now, and if not, why.

use super::drain::Drain;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Looks at something that changes by itself, a store or a file; an error says what is wrong. It must not block for long.
pub(crate) type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What stands against readiness. All clones are the same.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Inner>);

struct Inner {
    drain: Drain,
    /// What is not as it must be, by its name, with the reason.
    amiss: Mutex<BTreeMap<String, String>>,
    probes: Vec<Probe>,
}

impl Readiness {
    /// A service that has not started; `probes` are asked each time that somebody asks.
    pub(crate) fn new(drain: Drain, probes: Vec<Probe>) -> Self {
        let starting = ("start".to_owned(), "the service has not started yet".to_owned());
        Self(Arc::new(Inner { drain, amiss: Mutex::new(BTreeMap::from([starting])), probes }))
    }

    /// Every listener listens and has its keys.
    pub(crate) fn started(&self) {
        self.mended("start");
    }

    /// What is called `what` is not as it must be, because of `why`.
    pub(crate) fn amiss(&self, what: &str, why: impl Into<String>) {
        self.lock().insert(what.to_owned(), why.into());
    }

    /// It is as it must be again.
    pub(crate) fn mended(&self, what: &str) {
        self.lock().remove(what);
    }

    /// Whether clients can come.
    ///
    /// # Errors
    /// In a line, the first reason why not.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.0.drain.is_draining() {
            return Err("the service was told to end".to_owned());
        }
        if let Some(why) = self.lock().values().next() {
            return Err(why.clone());
        }
        self.0.probes.iter().try_for_each(|probe| probe())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.amiss.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_service_is_ready_once_it_has_started_nothing_is_amiss_and_all_probes_pass() {
        let down = Arc::new(AtomicBool::new(true));
        let store = Arc::clone(&down);
        let probe: Probe =
            Box::new(move || if store.load(Ordering::Relaxed) { Err("store down".into()) } else { Ok(()) });
        let readiness = Readiness::new(Drain::new(), vec![Box::new(|| Ok(())), probe]);
        assert!(readiness.check().unwrap_err().contains("has not started"));
        readiness.started();
        assert_eq!(readiness.check(), Err("store down".to_owned()));
        down.store(false, Ordering::Relaxed);
        assert_eq!(readiness.check(), Ok(()));
        readiness.amiss("keys of echo", "no keys");
        readiness.amiss("keys of echo", "still no keys");
        assert_eq!(readiness.check(), Err("still no keys".to_owned()));
        readiness.mended("keys of echo");
        assert_eq!(readiness.check(), Ok(()));
    }

    #[test]
    fn a_service_that_was_told_to_end_is_not_ready() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone(), Vec::new());
        readiness.started();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(drain.end(std::time::Duration::ZERO, std::future::pending()));
        assert_eq!(readiness.check(), Err("the service was told to end".to_owned()));
    }
}
