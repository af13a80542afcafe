//! What a realm grants.

use crate::accounts::Failures;
use countersign_proto::crypto::Etype;
use countersign_proto::crypto::spake::SpakeGroup;
use countersign_proto::policy::{DEFAULT_CLOCK_SKEW, DEFAULT_PERMITTED_ENCTYPES};
use countersign_proto::time::Timestamp;
use std::time::Duration;

/// What a realm's KDC grants, and how clients are to prove themselves to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RealmPolicy {
    /// Name of the realm, by convention in upper case.
    pub realm: String,
    /// Etypes of tickets, session keys and replies, the preferred one first: a ticket is under the first that its service
    /// has a key of. RC4 is passed over.
    pub permitted_enctypes: Vec<Etype>,
    /// Longest life of a ticket.
    pub max_life: Duration,
    /// How long a ticket may be renewed, from its start on.
    pub max_renewable_life: Duration,
    /// How far a client's clock may be from ours, either way.
    pub clock_skew: Duration,
    /// Whether a timestamp under the password's key will do. Who sees one can guess the password at leisure.
    pub allow_encrypted_timestamp: bool,
    /// Groups for SPAKE; none switches it off, and leaves FAST's encrypted challenge.
    pub spake_groups: Vec<SpakeGroup>,
    /// How guesses are slowed down.
    pub lockout: Lockout,
}

impl RealmPolicy {
    /// The defaults, for the realm of this name.
    #[must_use]
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            permitted_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            max_life: Duration::from_secs(10 * 60 * 60),
            max_renewable_life: Duration::from_secs(7 * 24 * 60 * 60),
            clock_skew: DEFAULT_CLOCK_SKEW,
            allow_encrypted_timestamp: false,
            spake_groups: vec![SpakeGroup::Edwards25519, SpakeGroup::P256],
            lockout: Lockout::default(),
        }
    }

    /// Whether keys of this etype may be used.
    #[must_use]
    pub fn permits(&self, etype: Etype) -> bool {
        !etype.is_weak() && self.permitted_enctypes.contains(&etype)
    }
}

/// How long an account takes no password after wrong ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lockout {
    /// Failures that cost nothing.
    pub threshold: u32,
    /// Delay after the first failure beyond those; each further one doubles it.
    pub first_delay: Duration,
    /// Longest delay.
    pub longest_delay: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            threshold: 5,
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(15 * 60),
        }
    }
}

impl Lockout {
    /// How long after the last of `count` failures no password is taken.
    #[must_use]
    pub fn delay(&self, count: u32) -> Duration {
        let Some(doublings) = count.checked_sub(self.threshold).and_then(|beyond| beyond.checked_sub(1))
        else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.first_delay.saturating_mul(factor).min(self.longest_delay)
    }

    /// Until when no password is taken, if not at `now`. A last failure that lies further ahead than its delay comes of a
    /// clock that was set back since, and delays nothing.
    #[must_use]
    pub fn delayed_until(&self, failures: &Failures, now: Timestamp) -> Option<Timestamp> {
        let (last, delay) = (failures.last?, self.delay(failures.count));
        (last.abs_diff(now) < delay).then(|| last.saturating_add(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_from_the_first_failure_beyond_the_free_ones_to_its_bound() {
        let lockout = Lockout::default();
        let seconds = |count| lockout.delay(count).as_secs();
        assert_eq!([0, 5, 6, 7, 8, 15, 16, 17].map(seconds), [0, 0, 1, 2, 4, 512, 900, 900]);
        assert_eq!([37, 38, 39, 70, u32::MAX].map(seconds), [900; 5]);
    }

    #[test]
    fn a_threshold_of_none_delays_after_the_first_failure() {
        let lockout = Lockout { threshold: 0, ..Lockout::default() };
        assert_eq!(lockout.delay(0), Duration::ZERO);
        assert_eq!(lockout.delay(1), Duration::from_secs(1));
    }

    #[test]
    fn a_delay_ends_with_its_last_microsecond() {
        let lockout = Lockout::default();
        let last = Timestamp::new(1_790_000_000, 0);
        let failures = Failures { count: 7, last: Some(last) };
        let until = last.saturating_add(Duration::from_secs(2));
        assert_eq!(
            lockout.delayed_until(&failures, last.saturating_add(Duration::from_micros(1_999_999))),
            Some(until)
        );
        assert_eq!(lockout.delayed_until(&failures, until), None);
        assert_eq!(lockout.delayed_until(&Failures { count: 5, ..failures }, last), None);
        assert_eq!(lockout.delayed_until(&Failures::default(), last), None);
        assert_eq!(
            lockout.delayed_until(&failures, last.saturating_sub(Duration::from_secs(1))),
            Some(until)
        );
        assert_eq!(lockout.delayed_until(&failures, last.saturating_sub(Duration::from_secs(2))), None);
    }
}
