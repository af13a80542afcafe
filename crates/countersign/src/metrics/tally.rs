//! Counters that many threads add to without a lock.

use countersign_proto::error::Code;
use countersign_proto::error::code::ALL;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A counter for each code there is.
pub(super) struct ByCode(Vec<AtomicU64>);

impl Default for ByCode {
    fn default() -> Self {
        Self(ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl ByCode {
    pub(super) fn add(&self, code: Code) {
        let place = ALL.binary_search_by_key(&code.number(), |code| code.number());
        if let Some(counter) = place.ok().and_then(|place| self.0.get(place)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The codes that were counted, and how often.
    pub(super) fn counted(&self) -> impl Iterator<Item = (Code, u64)> {
        let counts = self.0.iter().map(|counter| counter.load(Ordering::Relaxed));
        ALL.iter().copied().zip(counts).filter(|(_, count)| *count > 0)
    }

    pub(super) fn of(&self, code: Code) -> u64 {
        self.counted().find(|(counted, _)| *counted == code).map_or(0, |(_, count)| count)
    }
}

/// How many versions of keys are counted apart: more are in no keytab for long.
const VERSIONS: usize = 32;

/// A counter for each version of a key.
#[derive(Default)]
pub(super) struct ByVersion {
    slots: [Slot; VERSIONS],
    others: AtomicU64,
}

/// A version's counter; the version is held as one more than it is, and 0 says that the slot is free.
#[derive(Default)]
struct Slot {
    version: AtomicU64,
    count: AtomicU64,
}

impl ByVersion {
    pub(super) fn add(&self, version: u32) {
        let held = u64::from(version).saturating_add(1);
        let counter =
            self.slots.iter().find(|slot| slot.holds(held)).map_or(&self.others, |slot| &slot.count);
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The versions that were counted, and how often; `None` are those that had no slot.
    pub(super) fn counted(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let slots = self.slots.iter().map(|slot| {
            let version = slot.version.load(Ordering::Relaxed).saturating_sub(1);
            (Some(version), slot.count.load(Ordering::Relaxed))
        });
        let others = (None, self.others.load(Ordering::Relaxed));
        slots.chain([others]).filter(|(_, count)| *count > 0)
    }
}

impl Slot {
    /// Whether this is the version's slot, taken for it now if it was free.
    fn holds(&self, held: u64) -> bool {
        match self.version.load(Ordering::Relaxed) {
            0 => match self.version.compare_exchange(0, held, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(taken) => taken == held,
            },
            taken => taken == held,
        }
    }
}

/// Upper bounds of the buckets of durations, in seconds.
pub(super) const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long handshakes took.
#[derive(Default)]
pub(super) struct Durations {
    buckets: [AtomicU64; BOUNDS.len()],
    over: AtomicU64,
    nanos: AtomicU64,
}

/// A reading of [`Durations`].
pub(super) struct Reading {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// Upper bound in seconds, and how many lie between it and the one before.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Durations {
    pub(super) fn add(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BOUNDS.iter().position(|bound| seconds <= *bound);
        let bucket = place.and_then(|place| self.buckets.get(place)).unwrap_or(&self.over);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Reading {
        let counters = self.buckets.iter().chain([&self.over]);
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counters.map(|counter| counter.load(Ordering::Relaxed))).collect();
        // Counted from the buckets, so that one scrape agrees with itself.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        Reading { sum, count, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::error::code;

    #[test]
    fn every_code_has_a_counter_of_its_own() {
        let tally = ByCode::default();
        ALL.iter().for_each(|code| tally.add(*code));
        tally.add(code::REPLAY);
        assert_eq!((tally.counted().count(), tally.of(code::REPLAY)), (ALL.len(), 2));
    }

    #[test]
    fn versions_beyond_the_slots_share_a_counter_and_none_is_lost() {
        let tally = ByVersion::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..40).for_each(|version| tally.add(version)));
            }
        });
        let counted: Vec<_> = tally.counted().collect();
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 160);
        assert!(
            counted.len() <= VERSIONS + 1 && counted.last().is_some_and(|(version, _)| version.is_none())
        );
        assert!(counted.contains(&(Some(0), 4)), "{counted:?}");
    }

    #[test]
    fn a_duration_is_counted_under_the_first_bound_that_it_does_not_pass() {
        let durations = Durations::default();
        for micros in [500, 501, 10_000_000, 10_000_001] {
            durations.add(Duration::from_micros(micros));
        }
        let reading = durations.read();
        let filled: Vec<_> = reading.buckets.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [&(0.0005, 1), &(0.001, 1), &(10.0, 1), &(f64::INFINITY, 1)]);
        assert!(reading.count == 4 && (reading.sum - 20.001_002).abs() < 1e-9, "{}", reading.sum);
    }
}
