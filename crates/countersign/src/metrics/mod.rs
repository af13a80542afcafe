//! Counters for Prometheus. docs/metrics.md lists every one, and a test holds the two together.
//!
//! Labels have values that this end chose: names of listeners, codes, mechs, etypes, and versions of its own keys. Nothing
//! that a client says becomes one, so their number is bounded. Counting takes no lock; only [`Metrics::render`] and
//! [`Metrics::listener`] do.

mod exposition;
mod listener;
mod tally;

pub use crate::tunnel::TunnelEnd;
pub use listener::{InFlight, ListenerMetrics, Tunnel};

use crate::mutex::lock;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Everything that is counted. Cloning it gives another handle to the same counters.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    listeners: Mutex<Vec<Arc<ListenerMetrics>>>,
    audit_failures: AtomicU64,
    log_lines_suppressed: AtomicU64,
    replay_fallbacks: AtomicU64,
}

impl Metrics {
    /// The counters of the listener of this name, made when it is first asked for: once for each listener that is
    /// configured, before it accepts.
    #[must_use]
    pub fn listener(&self, name: &str) -> Arc<ListenerMetrics> {
        let mut listeners = lock(&self.0.listeners);
        if let Some(known) = listeners.iter().find(|listener| listener.name() == name) {
            return Arc::clone(known);
        }
        let listener = Arc::new(ListenerMetrics::new(name));
        listeners.push(Arc::clone(&listener));
        listener
    }

    /// A record could not be written.
    pub fn audit_failed(&self) {
        self.0.audit_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A refusal was counted instead of logged.
    pub fn log_line_suppressed(&self) {
        self.0.log_lines_suppressed.fetch_add(1, Ordering::Relaxed);
    }

    /// A shared replay store did not answer, and this instance's memory alone answered in its place.
    pub fn replay_store_fell_back(&self) {
        self.0.replay_fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// None that is known: the encoder's type has one.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listeners = lock(&self.0.listeners);
        f.debug_list().entries(listeners.iter().map(|listener| listener.name())).finish()
    }
}
