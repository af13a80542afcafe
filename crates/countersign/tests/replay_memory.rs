//! The contract of the replay store in memory: no authenticator is accepted twice, whatever clocks and threads do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use countersign::replay::{Check, MemoryReplayStore, ReplayStore};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::replay::ReplayUnavailable::{ClientShare, Full, Horizon};
use countersign_proto::krb5::replay::ReplayVerdict::{Fresh, Seen, Unavailable};
use countersign_proto::krb5::replay::{Presented, TAG_LEN};
use countersign_proto::time::Timestamp;
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SKEW: Duration = Duration::from_secs(300);
/// 2 × skew + 60 s.
const LIFETIME: Duration = Duration::from_secs(660);
const MICRO: Duration = Duration::from_micros(1);

fn store(capacity: usize) -> MemoryReplayStore {
    MemoryReplayStore::new(capacity, SKEW, &mut rand::rng())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + seconds, 0)
}

fn presented(number: u32, ctime: Timestamp, client: u32) -> Presented {
    let mut tag = [0; TAG_LEN];
    tag[..4].copy_from_slice(&number.to_be_bytes());
    Presented { tag, ctime, client: Principal::new("EXAMPLE.TEST", &[&format!("user{client}")]) }
}

/// Lets the store visit every shard: with tags that the tests do not use otherwise, from as many clients.
fn visit_every_shard(store: &MemoryReplayStore, now: Timestamp) {
    for number in 1_000_000..1_003_000 {
        store.verdict(&presented(number, now, number), now);
    }
}

#[test]
fn an_authenticator_is_fresh_once() {
    let store = store(1_000);
    let first = presented(1, at(0), 1);
    assert_eq!(store.verdict(&first, at(0)), Fresh);
    assert_eq!(store.verdict(&first, at(0)), Seen);
    assert_eq!(store.verdict(&first, at(299)), Seen);
    assert_eq!(store.verdict(&presented(2, at(0), 1), at(0)), Fresh);
    assert_eq!(store.len(), 2);
}

#[test]
fn the_handshake_never_waits_for_memory() {
    let store = store(1_000);
    for verdict in [Fresh, Seen] {
        assert!(matches!(store.check(&presented(1, at(0), 1), at(0)), Check::Now(said) if said == verdict));
    }
}

#[test]
fn the_tag_alone_is_identity() {
    let store = store(1_000);
    store.verdict(&presented(1, at(0), 1), at(0));
    assert_eq!(store.verdict(&presented(1, at(0), 2), at(0)), Seen);
    assert_eq!(store.verdict(&presented(1, at(5), 1), at(0)), Seen);
}

#[test]
fn an_entry_stays_two_skews_and_a_minute_after_its_ctime() {
    let store = store(100_000);
    let first = presented(1, at(0).saturating_add(MICRO), 1);
    store.verdict(&first, at(0));
    visit_every_shard(&store, at(0).saturating_add(LIFETIME));
    assert_eq!(store.verdict(&first, at(0).saturating_add(LIFETIME)), Seen);
}

#[test]
fn what_has_expired_is_forgotten_and_refused_by_the_horizon() {
    let store = store(100_000);
    let first = presented(1, at(0), 1);
    store.verdict(&first, at(0));
    let later = at(1).saturating_add(LIFETIME);
    visit_every_shard(&store, later);
    assert_eq!(store.len(), 3_000, "of 3,001");
    assert_eq!(store.verdict(&first, later), Unavailable(Horizon));
}

#[test]
fn a_clock_that_is_set_back_lets_no_replay_in() {
    let store = store(100_000);
    let recorded: Vec<_> =
        (0..500).map(|number| presented(number, at(i64::from(number % 60)), number)).collect();
    for authenticator in &recorded {
        assert_eq!(store.verdict(authenticator, at(30)), Fresh);
    }
    visit_every_shard(&store, at(100_000));
    for now in [at(30), at(0), at(200), at(-500)] {
        for authenticator in &recorded {
            assert_eq!(store.verdict(authenticator, now), Unavailable(Horizon));
        }
    }
    // The wrong time's own entries were never forgotten, so they are no horizon for the right time.
    assert_eq!(store.verdict(&presented(501, at(60), 1), at(30)), Fresh);
}

/// A store that has forgotten exactly the entries with these ctimes, one after the other.
fn with_forgotten(ctimes: &[Timestamp]) -> MemoryReplayStore {
    let store = store(100_000);
    for (number, &ctime) in (0..).zip(ctimes) {
        assert_eq!(store.verdict(&presented(number, ctime, 1), ctime), Fresh);
    }
    visit_every_shard(&store, at(50_000));
    assert_eq!(store.len(), 3_000);
    store
}

#[test]
fn a_ctime_exactly_at_the_horizon_is_refused_and_one_microsecond_later_is_not() {
    let horizon = Timestamp::new(at(0).seconds(), 123_456);
    let store = with_forgotten(&[horizon]);
    assert_eq!(store.verdict(&presented(7, horizon, 1), horizon), Unavailable(Horizon));
    assert_eq!(store.verdict(&presented(8, horizon.saturating_sub(MICRO), 1), horizon), Unavailable(Horizon));
    assert_eq!(store.verdict(&presented(9, horizon.saturating_add(MICRO), 1), horizon), Fresh);
    assert_eq!(store.verdict(&presented(9, horizon.saturating_add(MICRO), 1), horizon), Seen);
}

#[test]
fn the_horizon_never_falls() {
    let store = with_forgotten(&[at(500), at(0), at(200)]);
    assert_eq!(store.verdict(&presented(7, at(500), 1), at(500)), Unavailable(Horizon));
    assert_eq!(store.verdict(&presented(8, at(500).saturating_add(MICRO), 1), at(500)), Fresh);
}

#[test]
fn an_entry_older_than_the_horizon_is_still_seen_while_it_is_there() {
    let store = store(1);
    let first = presented(1, at(0), 1);
    assert_eq!(store.verdict(&first, at(0)), Fresh);
    // The second takes the place of the first, which raises the horizon; the clock then goes back.
    assert_eq!(store.verdict(&presented(2, at(700), 1), at(700)), Fresh);
    assert_eq!(store.verdict(&presented(2, at(700), 1), at(0)), Seen);
    assert_eq!(store.verdict(&first, at(0)), Unavailable(Horizon));
}

#[test]
fn an_authenticator_that_has_already_expired_is_refused_and_not_stored() {
    let store = store(1_000);
    assert_eq!(store.verdict(&presented(1, at(0), 1), at(0).saturating_add(LIFETIME)), Unavailable(Horizon));
    assert!(store.is_empty());
    assert_eq!(
        store.verdict(&presented(1, at(0).saturating_add(MICRO), 1), at(0).saturating_add(LIFETIME)),
        Fresh
    );
}

#[test]
fn a_full_store_refuses_new_authenticators_and_evicts_none() {
    let store = store(160);
    for number in 0..160 {
        assert_eq!(store.verdict(&presented(number, at(0), number), at(0)), Fresh);
    }
    for number in 160..400 {
        assert_eq!(store.verdict(&presented(number, at(5), number), at(5)), Unavailable(Full));
    }
    for number in 0..160 {
        assert_eq!(store.verdict(&presented(number, at(0), number), at(5)), Seen);
    }
    assert_eq!(store.len(), 160);
}

#[test]
fn a_store_full_of_expired_entries_makes_room_in_whichever_shard_they_lie() {
    let store = store(160);
    for round in 0..5 {
        let now = at(round * 700);
        for number in 0..160 {
            let fresh = presented(u32::try_from(round).unwrap() * 1_000 + number, now, number);
            assert_eq!(store.verdict(&fresh, now), Fresh, "round {round}");
        }
    }
}

#[test]
fn a_store_without_room_accepts_nothing() {
    assert_eq!(store(0).verdict(&presented(1, at(0), 1), at(0)), Unavailable(Full));
}

#[test]
fn one_client_holds_at_most_a_sixteenth_of_the_whole_store() {
    let store = store(1_600);
    for number in 0..100 {
        assert_eq!(store.verdict(&presented(number, at(0), 1), at(0)), Fresh);
    }
    for number in 100..200 {
        assert_eq!(store.verdict(&presented(number, at(0), 1), at(0)), Unavailable(ClientShare));
    }
    assert_eq!(store.verdict(&presented(5, at(0), 1), at(0)), Seen);
    assert_eq!(store.verdict(&presented(200, at(0), 2), at(0)), Fresh);
    assert_eq!(store.len(), 101);
}

#[test]
fn a_clients_share_comes_back_as_its_entries_expire() {
    let store = store(1_600);
    for round in 0..5_u32 {
        let now = at(i64::from(round) * 700);
        for number in 0..100 {
            assert_eq!(
                store.verdict(&presented(round * 1_000 + number, now, 1), now),
                Fresh,
                "round {round}"
            );
        }
        assert_eq!(store.verdict(&presented(round * 1_000 + 100, now, 1), now), Unavailable(ClientShare));
    }
}

#[test]
fn clients_are_told_apart_by_realm_and_every_component_but_not_by_name_type() {
    let store = store(16);
    let mut other_type = Principal::new("R", &["a", "b"]);
    other_type.name_type = 10;
    for (number, client, verdict) in [
        (1, Principal::new("R", &["a", "b"]), Fresh),
        (2, Principal::new("R", &["a/b"]), Fresh),
        (3, Principal::new("R", &["ab"]), Fresh),
        (4, Principal::new("Ra", &["b"]), Fresh),
        (5, Principal::new("S", &["a", "b"]), Fresh),
        (6, Principal::new("R", &["a", "b"]), Unavailable(ClientShare)),
        (7, other_type, Unavailable(ClientShare)),
    ] {
        let authenticator = Presented { client, ..presented(number, at(0), 0) };
        assert_eq!(store.verdict(&authenticator, at(0)), verdict, "{number}");
    }
}

#[test]
fn times_at_the_ends_of_the_range_are_answered() {
    let ends = [Timestamp::new(i64::MIN, 0), Timestamp::new(i64::MAX, 0), at(0)];
    let store = store(1_000);
    for (number, ctime) in (0..).zip(ends) {
        for now in ends {
            let first = store.verdict(&presented(number, ctime, 1), now);
            let again = store.verdict(&presented(number, ctime, 1), now);
            assert_ne!(again, Fresh, "{ctime:?} at {now:?} after {first:?}");
        }
    }
}

#[test]
fn of_racing_threads_exactly_one_is_first() {
    const THREADS: usize = 8;
    const TAGS: u32 = 3_000;
    let store = store(1_000_000);
    let fresh: Vec<_> = (0..TAGS).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for number in 0..TAGS {
                    match store.verdict(&presented(number, at(0), number), at(0)) {
                        Fresh => _ = fresh[number as usize].fetch_add(1, Ordering::SeqCst),
                        Seen => {}
                        unavailable => panic!("{unavailable:?}"),
                    }
                }
            });
        }
    });
    assert!(fresh.iter().all(|count| count.load(Ordering::SeqCst) == 1));
    assert_eq!(store.len(), TAGS as usize);
}

#[test]
fn of_threads_whose_clocks_jump_at_most_one_is_first() {
    const TAGS: u32 = 400;
    let store = store(1_000_000);
    let fresh: Vec<_> = (0..TAGS).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..8_i64 {
            let (store, fresh) = (&store, &fresh);
            scope.spawn(move || {
                for round in 0..50_i64 {
                    let now = at((round * (thread + 3) * 211) % 2_000);
                    for number in 0..TAGS {
                        let ctime = at(i64::from(number) * 5);
                        if store.verdict(&presented(number, ctime, number), now) == Fresh {
                            fresh[number as usize].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    let accepted: usize = fresh.iter().map(|count| count.load(Ordering::SeqCst)).sum();
    assert!(fresh.iter().all(|count| count.load(Ordering::SeqCst) <= 1));
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn racing_threads_do_not_pass_the_capacity_or_a_share() {
    let store = store(320);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..1_000 {
                    store.verdict(&presented(thread * 1_000 + number, at(0), number % 100), at(0));
                }
            });
        }
    });
    assert_eq!(store.len(), 320);
    for client in 0..100 {
        let mut seen = 0;
        for number in (0..8_000).filter(|number| number % 1_000 % 100 == client) {
            seen += usize::from(store.verdict(&presented(number, at(0), client), at(0)) == Seen);
        }
        assert!(seen <= 20, "{client} holds {seen}");
    }
}

/// What a store may answer, by the contract and no cleverness: a list, looked through from end to end.
#[derive(Default)]
struct Model {
    accepted: Vec<Accepted>,
}

struct Accepted {
    authenticator: Presented,
    /// Whether `now` was ever so late that it may have been forgotten.
    may_be_gone: bool,
}

const MODEL_CAPACITY: usize = 32;
const MODEL_SHARE: usize = 2;
const MODEL_LIFETIME: Duration = Duration::from_secs(70);

/// Entries may be kept to the end of the second in which they expire.
fn forgettable(authenticator: &Presented, now: Timestamp) -> bool {
    authenticator.ctime.saturating_add(MODEL_LIFETIME).seconds() < now.seconds()
}

impl Model {
    fn observe(
        &mut self,
        authenticator: &Presented,
        now: Timestamp,
        verdict: countersign_proto::krb5::replay::ReplayVerdict,
    ) {
        for known in &mut self.accepted {
            known.may_be_gone |= forgettable(&known.authenticator, now);
        }
        let known = self.accepted.iter().find(|known| known.authenticator.tag == authenticator.tag);
        let expired = authenticator.ctime.saturating_add(MODEL_LIFETIME) <= now;
        let horizon = self.accepted.iter().filter(|k| k.may_be_gone).map(|k| k.authenticator.ctime).max();
        let count =
            |which: &dyn Fn(&Accepted) -> bool| self.accepted.iter().filter(|known| which(known)).count();
        let same_client = |known: &Accepted| known.authenticator.client == authenticator.client;
        let still_held = |known: &Accepted| !forgettable(&known.authenticator, now);
        if known.is_some_and(|known| !known.may_be_gone) {
            assert_eq!(verdict, Seen);
        }
        match verdict {
            Fresh => {
                assert!(known.is_none() && !expired);
                assert!(count(&|known| !known.may_be_gone) < MODEL_CAPACITY);
                assert!(count(&|known| !known.may_be_gone && same_client(known)) < MODEL_SHARE);
                self.accepted.push(Accepted { authenticator: authenticator.clone(), may_be_gone: false });
            }
            Seen => assert!(known.is_some()),
            Unavailable(Horizon) => assert!(expired || horizon.is_some_and(|h| authenticator.ctime <= h)),
            Unavailable(Full) => assert!(!expired && count(&still_held) >= MODEL_CAPACITY),
            Unavailable(ClientShare) => {
                assert!(!expired && count(&|known| still_held(known) && same_client(known)) >= MODEL_SHARE);
            }
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn every_answer_is_one_that_a_naive_store_may_give(
        authenticators in prop::collection::vec((0..120_000_000_i64, 0..24_u32), 60..120),
        steps in prop::collection::vec((any::<prop::sample::Index>(), -20..30_i64, prop::bool::weighted(0.03)), 1..400),
    ) {
        let store = MemoryReplayStore::new(MODEL_CAPACITY, Duration::from_secs(5), &mut rand::rng());
        let mut model = Model::default();
        let mut now = at(0);
        for (which, step, leap) in steps {
            now = now.shifted(step * if leap { 5_000_000 } else { 100_000 });
            let index = which.index(authenticators.len());
            let (ctime, client) = authenticators[index];
            let authenticator = presented(u32::try_from(index).unwrap(), at(-60).shifted(ctime), client);
            let verdict = store.verdict(&authenticator, now);
            model.observe(&authenticator, now, verdict);
        }
    }
}
