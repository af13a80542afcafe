//! How a handshake learns that its place is lost, and why it is.

use super::{FREE_SPACE, HandshakeLimits, KIB};
use crate::mutex::lock;
use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Mutex;
use tokio::sync::Notify;

/// A handshake lost its place to another one, or to the system's want of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Evicted {
    /// The address that it came from; for IPv6 the first of its network of 64 bits.
    pub source_address: IpAddr,
    /// How many handshakes that address had open, the one that lost its place included.
    pub open: usize,
    /// For want of what.
    pub cause: Cause,
}

/// What there was not enough of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Places: so many are permitted.
    Places(HandshakeLimits),
    /// Memory for tokens.
    Memory {
        /// Bytes that this handshake held beyond [`FREE_SPACE`].
        held: usize,
        /// Bytes that all may hold.
        limit: usize,
    },
    /// Descriptors ([`Admission::shed`](super::Admission::shed)).
    Descriptors,
}

impl fmt::Display for Evicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source_address, open, cause } = self;
        match cause {
            Cause::Memory { held, .. } => {
                let held = held.saturating_add(FREE_SPACE) / KIB;
                write!(
                    f,
                    "up to {held} KiB held for {source_address}, longer than any other handshake with long tokens"
                )
            }
            Cause::Places(_) | Cause::Descriptors => {
                write!(f, "{open} handshakes open from {source_address}, of which this one waited longest")
            }
        }
    }
}

impl Explain for Evicted {
    fn code(&self) -> Code {
        code::HANDSHAKES_EXHAUSTED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self.cause {
            Cause::Places(HandshakeLimits { total, per_address, .. }) => {
                format!("room for {total} at once, {per_address} of them from one address").into()
            }
            Cause::Memory { limit, .. } => {
                format!("{} KiB for what all handshakes hold together", limit / KIB).into()
            }
            Cause::Descriptors => "no descriptor left for the next connection".into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self.cause {
            Cause::Places(_) | Cause::Memory { .. } => self.code().advice().into(),
            Cause::Descriptors => {
                "raise the limit of open descriptors (ulimit -n, LimitNOFILE) if the load is honest".into()
            }
        }
    }
}

/// Where the holder of a ticket finds out.
#[derive(Default)]
pub(super) struct Eviction {
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Default)]
struct State {
    evicted: Option<Evicted>,
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl Eviction {
    pub(super) fn evicted(&self) -> Option<Evicted> {
        lock(&self.state).evicted
    }

    pub(super) async fn wait(&self) -> Evicted {
        loop {
            // Made before the look, so that an eviction between the look and the wait is not missed.
            let notified = self.notify.notified();
            if let Some(evicted) = self.evicted() {
                return evicted;
            }
            notified.await;
        }
    }

    /// Sets what [`Self::trip`] runs, or runs it if that was before.
    pub(super) fn on_trip(&self, action: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.state);
        if state.evicted.is_some() {
            drop(state);
            action();
        } else {
            state.action = Some(action);
        }
    }

    pub(super) fn trip(&self, why: Evicted) {
        let mut state = lock(&self.state);
        state.evicted = Some(why);
        // Under the lock, so that a ticket that leaves meanwhile waits: after it has left nothing is shut down.
        if let Some(action) = state.action.take() {
            action();
        }
        drop(state);
        self.notify.notify_waiters();
    }

    /// Takes the action back.
    pub(super) fn disarm(&self) -> Option<Evicted> {
        let mut state = lock(&self.state);
        state.action = None;
        state.evicted
    }
}
