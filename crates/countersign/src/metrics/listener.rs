//! What is counted of one listener.

use super::tally::{ByCode, ByVersion, Durations};
use crate::ambient;
use crate::handshake::Failure;
use crate::tunnel::{Observer, TunnelEnd};
use countersign_proto::context::Facts;
use countersign_proto::crypto::Etype;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::MechChoice;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Every way by which messages of a context are protected, and the mech that it came by.
pub(super) const PROTECTIONS: [(MechChoice, &str, Option<Etype>); 11] = [
    (MechChoice::Kerberos, "kerberos", Some(Etype::Aes128CtsHmacSha1_96)),
    (MechChoice::Kerberos, "kerberos", Some(Etype::Aes256CtsHmacSha1_96)),
    (MechChoice::Kerberos, "kerberos", Some(Etype::Aes128CtsHmacSha256_128)),
    (MechChoice::Kerberos, "kerberos", Some(Etype::Aes256CtsHmacSha384_192)),
    (MechChoice::Kerberos, "kerberos", Some(Etype::ArcfourHmac)),
    (MechChoice::Iakerb, "iakerb", Some(Etype::Aes128CtsHmacSha1_96)),
    (MechChoice::Iakerb, "iakerb", Some(Etype::Aes256CtsHmacSha1_96)),
    (MechChoice::Iakerb, "iakerb", Some(Etype::Aes128CtsHmacSha256_128)),
    (MechChoice::Iakerb, "iakerb", Some(Etype::Aes256CtsHmacSha384_192)),
    (MechChoice::Iakerb, "iakerb", Some(Etype::ArcfourHmac)),
    (MechChoice::Ntlm, "ntlm", None),
];

/// The codes with which a replay store does not answer, and their reason in a word.
pub(super) const UNAVAILABLE: [(Code, &str); 5] = [
    (code::REPLAY_STORE_FULL, "full"),
    (code::REPLAY_CLIENT_SHARE_USED, "client-share"),
    (code::REPLAY_HORIZON, "horizon"),
    (code::REPLAY_STORE_UNAVAILABLE, "down"),
    (code::REPLAY_STORE_CHANGED, "changed"),
];

/// The counters of one listener.
pub struct ListenerMetrics {
    name: String,
    pub(super) in_flight: AtomicI64,
    pub(super) accepted: [AtomicU64; PROTECTIONS.len()],
    pub(super) by_kvno: ByVersion,
    pub(super) refused: ByCode,
    pub(super) broken: ByCode,
    pub(super) accepted_in: Durations,
    pub(super) refused_in: Durations,
    pub(super) ntlm_seen: AtomicU64,
    pub(super) blocked: AtomicU64,
    pub(super) delayed: AtomicU64,
    pub(super) keys: Keys,
    pub(super) tunnels_open: AtomicI64,
    pub(super) to_upstream: AtomicU64,
    pub(super) to_client: AtomicU64,
    pub(super) tunnels_ended: [AtomicU64; TunnelEnd::ALL.len()],
}

/// What is known of the keys. Times are in microseconds since 1970; 0 is none.
#[derive(Default)]
pub(super) struct Keys {
    loaded: AtomicI64,
    modified: AtomicI64,
    /// One more than it is; 0 is none.
    newest: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) failed_loads: AtomicU64,
}

impl ListenerMetrics {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            in_flight: AtomicI64::new(0),
            accepted: Default::default(),
            by_kvno: ByVersion::default(),
            refused: ByCode::default(),
            broken: ByCode::default(),
            accepted_in: Durations::default(),
            refused_in: Durations::default(),
            ntlm_seen: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            keys: Keys::default(),
            tunnels_open: AtomicI64::new(0),
            to_upstream: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            tunnels_ended: Default::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection was accepted and its handshake begins; it is in flight until what this returns is dropped.
    #[must_use]
    pub fn handshake_began(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// A handshake led to a context, in `took` from its connection on.
    pub fn accepted(&self, facts: &Facts, took: Duration) {
        let etype = facts.kerberos().map(|facts| facts.message_etype);
        let place = PROTECTIONS.iter().position(|(mech, _, by)| *mech == facts.mech() && *by == etype);
        if let Some(counter) = place.and_then(|place| self.accepted.get(place)) {
            add(counter);
        }
        match facts {
            Facts::Kerberos(facts) => facts.kvno.into_iter().for_each(|kvno| self.by_kvno.add(kvno)),
            Facts::Ntlm { .. } => add(&self.ntlm_seen),
        }
        self.accepted_in.add(took);
    }

    /// A handshake did not, in `took` from its connection on.
    pub fn refused(&self, failure: &Failure, took: Duration) {
        let code = failure.refusal.code();
        self.refused.add(code);
        if code == code::NTLM_OFF || is_of_ntlm(code) || matches!(failure.facts, Some(Facts::Ntlm { .. })) {
            add(&self.ntlm_seen);
        }
        self.refused_in.add(took);
    }

    /// A message was refused after the handshake.
    pub fn broken(&self, refusal: &Refusal) {
        self.broken.add(refusal.code());
    }

    /// A connection was closed at once because its address is shut out.
    pub fn connection_blocked(&self) {
        add(&self.blocked);
    }

    /// A refusal was made to wait.
    pub fn refusal_delayed(&self) {
        add(&self.delayed);
    }

    /// These keys were put in place, from a file that was changed at `modified`, if they are from one.
    pub fn keys_loaded(&self, keys: &ServiceKeys, modified: Option<SystemTime>) {
        let modified = modified.map_or(0, |time| Timestamp::from_system(time).total_micros());
        self.keys.loaded.store(ambient::now().total_micros(), Ordering::Relaxed);
        self.keys.modified.store(modified, Ordering::Relaxed);
        let newest = keys.iter().map(|key| u64::from(key.kvno()).saturating_add(1)).max().unwrap_or(0);
        self.keys.newest.store(newest, Ordering::Relaxed);
        add(&self.keys.loads);
    }

    /// New keys could not be read, and those that there were stay.
    pub fn keys_failed(&self) {
        add(&self.keys.failed_loads);
    }

    /// A tunnel was opened; it is open until what this returns is dropped.
    #[must_use]
    pub fn tunnel_opened(self: &Arc<Self>) -> Tunnel {
        self.tunnels_open.fetch_add(1, Ordering::Relaxed);
        Tunnel { metrics: Arc::clone(self), end: TunnelEnd::Abandoned }
    }
}

impl Keys {
    pub(super) fn since_loaded(&self, now: Timestamp) -> Option<f64> {
        since(&self.loaded, now)
    }

    pub(super) fn since_modified(&self, now: Timestamp) -> Option<f64> {
        since(&self.modified, now)
    }

    pub(super) fn newest(&self) -> Option<u64> {
        self.newest.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// Seconds since a time that was stored, if one was.
fn since(stored: &AtomicI64, now: Timestamp) -> Option<f64> {
    let micros = stored.load(Ordering::Relaxed);
    let then = Timestamp::default().shifted(micros);
    (micros != 0).then(|| now.micros_since(then).max(0) as f64 / 1e6)
}

/// A handshake that has begun and not ended.
pub struct InFlight(Arc<ListenerMetrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A tunnel that is open.
pub struct Tunnel {
    metrics: Arc<ListenerMetrics>,
    end: TunnelEnd,
}

/// At a service the plain side is the upstream, the sealed one the client.
impl Observer for Tunnel {
    fn to_plain(&self, bytes: usize) {
        self.metrics.to_upstream.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn to_sealed(&self, bytes: usize) {
        self.metrics.to_client.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Tunnel {
    /// It ended.
    pub fn ended(mut self, end: TunnelEnd) {
        self.end = end;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.metrics.tunnels_open.fetch_sub(1, Ordering::Relaxed);
        let place = TunnelEnd::ALL.iter().position(|end| *end == self.end);
        if let Some(counter) = place.and_then(|place| self.metrics.tunnels_ended.get(place)) {
            add(counter);
        }
    }
}

/// Whether only NTLM has this code.
fn is_of_ntlm(code: Code) -> bool {
    code.name().starts_with("NTLM_")
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::error::code::ALL;

    #[test]
    fn every_refusal_of_a_replay_store_has_a_reason() {
        let of_a_handshake = ALL.iter().filter(|code| (3_000..4_000).contains(&code.number()));
        let of_the_store: Vec<_> = of_a_handshake.filter(|code| code.name().starts_with("REPLAY_")).collect();
        assert_eq!(of_the_store.len(), UNAVAILABLE.len());
        assert!(of_the_store.iter().all(|code| UNAVAILABLE.iter().any(|(known, _)| known == *code)));
    }
}
