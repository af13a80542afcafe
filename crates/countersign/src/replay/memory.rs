//! The replay store of one process, in memory.
//!
//! Entries lie in shards, placed by a hash under a random key, so that no sender can aim at one shard. A tag is always
//! looked up, stored and purged under the lock of its own shard: that is what makes one of two racing threads the first.
//! Everything else that shards share is the number of entries, the horizon, and the clients' counts.
//!
//! The order of locks is shard, then client counts; nobody holds two of a kind.

use super::{Check, ReplayStore};
#[cfg(any(unix, feature = "valkey"))]
use crate::mutex::lock;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::replay::{Presented, ReplayUnavailable, ReplayVerdict, TAG_LEN};
use countersign_proto::time::Timestamp;
use rand_core::CryptoRng;
use siphasher::sip::SipHasher13;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use ReplayUnavailable::{ClientShare, Down, Full, Horizon};

const SHARDS: usize = 64;

/// Most entries that one visit to a shard forgets, so that no handshake pays for a burst long ago.
const PURGE_STEP: usize = 32;

/// A client may hold one part in so many of the capacity.
const CLIENT_PARTS: usize = 16;

/// How much longer than two skews an entry stays.
const MARGIN: Duration = Duration::from_secs(60);

/// Remembers authenticators until this process ends.
///
/// An entry stays until its ctime + 2 × skew + 60 s and is never given up before. What is forgotten then raises the
/// *horizon* to its ctime, and an authenticator with a ctime at or before the horizon is refused from then on, so that
/// a clock that is set back opens no way for a replay. Memory grows with the entries, some 100 to 250 bytes each.
pub struct MemoryReplayStore {
    shards: [Mutex<Shard>; SHARDS],
    clients: [Mutex<HashMap<u64, usize, Hashed>>; SHARDS],
    entries: AtomicUsize,
    /// Highest ctime of all that was forgotten, in microseconds since 1970. It only rises.
    horizon: AtomicI64,
    tag_hash: Keyed,
    client_hash: Keyed,
    capacity: usize,
    /// How long after its ctime an entry stays, in microseconds.
    lifetime: i64,
}

#[derive(Default)]
struct Shard {
    tags: HashSet<Tag, Hashed>,
    /// An entry for each of the tags, by the whole second, since 1970, at which all of them have expired.
    expiring: BTreeMap<i64, Vec<Entry>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Tag {
    hash: u64,
    bytes: [u8; TAG_LEN],
}

struct Entry {
    tag: Tag,
    ctime: Timestamp,
    client: u64,
}

impl MemoryReplayStore {
    /// A store of at most `capacity` entries, of which one client may hold a sixteenth, though always one. `skew` is
    /// the clock skew that the acceptor permits. `rng` gives the keys of the hashes.
    #[must_use]
    pub fn new(capacity: usize, skew: Duration, rng: &mut dyn CryptoRng) -> Self {
        Self::with_client_hash(capacity, skew, Keyed::new(rng), rng)
    }

    /// The same, with a hash of clients that outlives it.
    fn with_client_hash(
        capacity: usize,
        skew: Duration,
        client_hash: Keyed,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            clients: std::array::from_fn(|_| Mutex::default()),
            entries: AtomicUsize::new(0),
            horizon: AtomicI64::new(i64::MIN),
            tag_hash: Keyed::new(rng),
            client_hash,
            capacity,
            lifetime: lifetime(skew),
        }
    }

    /// Answers as [`ReplayStore::check`] does. If several answers hold the first of these is given: seen; from before the
    /// horizon, or expired at `now`; the client's share used; full. A thread that panicked inside leaves part of the store
    /// [`Down`].
    pub fn verdict(&self, presented: &Presented, now: Timestamp) -> ReplayVerdict {
        match self.attempt_with_room(presented, now) {
            Ok(()) => ReplayVerdict::Fresh,
            Err(Refused(verdict)) => verdict,
        }
    }

    /// How many entries there are, of which some may have expired and wait to be forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the tag is there; nothing is changed.
    #[cfg(feature = "valkey")]
    pub(super) fn knows(&self, presented: &Presented) -> bool {
        let tag = self.tag(presented.tag);
        place(&self.shards, tag.hash).is_ok_and(|shard| lock(shard).tags.contains(&tag))
    }

    /// One look into the tag's shard. Forgets some of what has expired there.
    fn attempt(&self, presented: &Presented, now: Timestamp) -> Result<(), Refused> {
        let tag = self.tag(presented.tag);
        let mut shard = place(&self.shards, tag.hash)?.lock().map_err(|_| DOWN)?;
        if shard.tags.contains(&tag) {
            return Err(Refused(ReplayVerdict::Seen));
        }
        self.purge(&mut shard, now)?;
        // A tag that another thread forgot was forgotten under this lock, and the horizon raised before: it shows here.
        let forgotten = presented.ctime.total_micros() <= self.horizon.load(Ordering::Acquire);
        if forgotten || presented.ctime.shifted(self.lifetime) <= now {
            return Err(Horizon.into());
        }
        let client = self.client_hash.of_principal(&presented.client);
        self.reserve(client)?;
        shard.insert(Entry { tag, ctime: presented.ctime, client }, self.lifetime);
        Ok(())
    }

    fn tag(&self, bytes: [u8; TAG_LEN]) -> Tag {
        Tag { hash: self.tag_hash.of_bytes(&bytes), bytes }
    }

    /// Counts an entry of `client` in.
    fn reserve(&self, client: u64) -> Result<(), Refused> {
        let share = (self.capacity / CLIENT_PARTS).max(1);
        let mut clients = place(&self.clients, client)?.lock().map_err(|_| DOWN)?;
        let slot = clients.entry(client);
        if matches!(&slot, Slot::Occupied(held) if *held.get() >= share) {
            return Err(ClientShare.into());
        }
        let room = |entries: usize| entries.checked_add(1).filter(|&more| more <= self.capacity);
        self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| Full)?;
        let held = slot.or_default();
        *held = held.saturating_add(1);
        Ok(())
    }

    /// Counts an entry of `client` out.
    fn release(&self, client: u64) -> Result<(), Refused> {
        let mut clients = place(&self.clients, client)?.lock().map_err(|_| DOWN)?;
        if let Slot::Occupied(mut held) = clients.entry(client) {
            match held.get().saturating_sub(1) {
                0 => drop(held.remove()),
                fewer => *held.get_mut() = fewer,
            }
        }
        if let Some(enough) = enough(clients.len(), clients.capacity()) {
            clients.shrink_to(enough);
        }
        self.entries.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Forgets at most [`PURGE_STEP`] expired entries and says how many.
    fn purge(&self, shard: &mut Shard, now: Timestamp) -> Result<usize, Refused> {
        for forgotten in 0..PURGE_STEP {
            let Some(entry) = shard.oldest_expired(now) else { return Ok(forgotten) };
            // Before the entry becomes invisible, or a replay could slip through in between.
            self.horizon.fetch_max(entry.ctime.total_micros(), Ordering::AcqRel);
            if let Some(entry) = shard.forget_oldest() {
                self.release(entry.client)?;
            }
        }
        Ok(PURGE_STEP)
    }

    /// Forgets some expired entries of every shard that can be had, and says whether there were any. A store is full
    /// only if it is full of entries that are still needed.
    fn sweep(&self, now: Timestamp) -> Result<bool, Refused> {
        let mut forgotten = false;
        for mut shard in self.shards.iter().filter_map(|shard| shard.lock().ok()) {
            forgotten |= self.purge(&mut shard, now)? > 0;
        }
        Ok(forgotten)
    }

    fn attempt_with_room(&self, presented: &Presented, now: Timestamp) -> Result<(), Refused> {
        match self.attempt(presented, now) {
            Err(refused) if refused.may_pass() && self.sweep(now)? => self.attempt(presented, now),
            answer => answer,
        }
    }
}

impl ReplayStore for MemoryReplayStore {
    /// The answer of [`verdict`](Self::verdict), at once.
    fn check(&self, presented: &Presented, now: Timestamp) -> Check {
        Check::Now(self.verdict(presented, now))
    }
}

/// What another store keeps of an entry, to put it back into the memory of a later process.
#[cfg(unix)]
impl MemoryReplayStore {
    /// As [`new`](Self::new), with the key under which [`client`](Self::client) was made of clients before.
    pub(super) fn with_client_key(
        capacity: usize,
        skew: Duration,
        key: &[u8; 16],
        rng: &mut dyn CryptoRng,
    ) -> Self {
        Self::with_client_hash(capacity, skew, Keyed(SipHasher13::new_with_key(key)), rng)
    }

    /// What stands for a client in its entries.
    pub(super) fn client(&self, principal: &Principal) -> u64 {
        self.client_hash.of_principal(principal)
    }

    /// Puts an entry back, whatever the capacity and the client's share: what was accepted once must stay known.
    pub(super) fn restore(&self, tag: [u8; TAG_LEN], ctime: Timestamp, client: u64) {
        let tag = self.tag(tag);
        let (Ok(shard), Ok(clients)) = (place(&self.shards, tag.hash), place(&self.clients, client)) else {
            return;
        };
        let mut shard = lock(shard);
        if !shard.tags.contains(&tag) {
            shard.insert(Entry { tag, ctime, client }, self.lifetime);
            let mut clients = lock(clients);
            let held = clients.entry(client).or_default();
            *held = held.saturating_add(1);
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Refuses authenticators with that ctime or an earlier one from now on.
    pub(super) fn raise_horizon(&self, ctime: Timestamp) {
        self.horizon.fetch_max(ctime.total_micros(), Ordering::AcqRel);
    }
}

/// How long after its ctime an entry must be remembered, in microseconds: two skews and a minute.
pub(super) fn lifetime(skew: Duration) -> i64 {
    let lifetime = skew.saturating_mul(2).saturating_add(MARGIN);
    i64::try_from(lifetime.as_micros()).unwrap_or(i64::MAX)
}

/// Any verdict but Fresh.
struct Refused(ReplayVerdict);

const DOWN: Refused = Refused(ReplayVerdict::Unavailable(Down));

impl Refused {
    /// Whether forgetting entries can change the answer.
    fn may_pass(&self) -> bool {
        matches!(self.0, ReplayVerdict::Unavailable(Full | ClientShare))
    }
}

impl From<ReplayUnavailable> for Refused {
    fn from(why: ReplayUnavailable) -> Self {
        Self(ReplayVerdict::Unavailable(why))
    }
}

impl Shard {
    fn insert(&mut self, entry: Entry, lifetime: i64) {
        let expired = entry.ctime.shifted(lifetime).seconds().saturating_add(1);
        self.tags.insert(entry.tag);
        self.expiring.entry(expired).or_default().push(entry);
    }

    /// The entry that [`forget_oldest`](Self::forget_oldest) takes, if it has expired.
    fn oldest_expired(&self, now: Timestamp) -> Option<&Entry> {
        let (_, entries) = self.expiring.first_key_value().filter(|(second, _)| **second <= now.seconds())?;
        entries.last()
    }

    /// Takes out one of the entries that expire first.
    fn forget_oldest(&mut self) -> Option<Entry> {
        let mut first = self.expiring.first_entry()?;
        let entry = first.get_mut().pop()?;
        if first.get().is_empty() {
            first.remove();
        }
        self.tags.remove(&entry.tag);
        if let Some(enough) = enough(self.tags.len(), self.tags.capacity()) {
            self.tags.shrink_to(enough);
        }
        Some(entry)
    }
}

/// To which capacity a table shrinks after a burst, if it should: so seldom that the cost is spread over the removals
/// before.
fn enough(used: usize, capacity: usize) -> Option<usize> {
    const SMALL: usize = 8;
    let used = used.max(SMALL);
    (capacity / 8 > used).then_some(used.saturating_mul(2))
}

fn place<T>(shards: &[T; SHARDS], hash: u64) -> Result<&T, Refused> {
    // Bits from the middle: the tables inside a shard tell keys apart by the lowest and the highest.
    let index = (hash >> 32) as usize % SHARDS;
    shards.get(index).ok_or(DOWN)
}

/// A hash under a random key. Everything is hashed once, and from then on known with its hash.
struct Keyed(SipHasher13);

impl Keyed {
    fn new(rng: &mut dyn CryptoRng) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Self(SipHasher13::new_with_key(&key))
    }

    fn of_bytes(&self, bytes: &[u8]) -> u64 {
        self.0.hash(bytes)
    }

    /// The whole identity: realm and components, each with its length, without the name type.
    fn of_principal(&self, principal: &Principal) -> u64 {
        self.hash_one((&principal.realm, &principal.components))
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        self.0
    }
}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

type Hashed = BuildHasherDefault<HashedBefore>;

/// Takes a number for the hash that it is.
#[derive(Default)]
struct HashedBefore(u64);

impl Hasher for HashedBefore {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
}

/// How full it is; nothing of what is in it, nor the keys of the hashes.
impl std::fmt::Debug for MemoryReplayStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryReplayStore")
            .field("entries", &self.len())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(number: u64, ctime: i64) -> Presented {
        let mut tag = [0; TAG_LEN];
        tag[..8].copy_from_slice(&number.to_be_bytes());
        let client = Principal::new("EXAMPLE.TEST", &[&format!("user{}", number % 1_000)]);
        Presented { tag, ctime: Timestamp::new(ctime, 0), client }
    }

    fn store(capacity: usize) -> MemoryReplayStore {
        MemoryReplayStore::new(capacity, Duration::from_secs(300), &mut rand::rng())
    }

    #[test]
    fn after_a_panic_inside_the_store_is_down() {
        let store = store(1_000);
        let first = presented(1, 0);
        assert_eq!(store.verdict(&first, Timestamp::new(0, 0)), ReplayVerdict::Fresh);
        std::thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _guards: Vec<_> = store.shards.iter().map(|shard| shard.lock().unwrap()).collect();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
        });
        for number in 1..100 {
            let verdict = store.verdict(&presented(number, 0), Timestamp::new(0, 0));
            assert_eq!(verdict, ReplayVerdict::Unavailable(Down));
        }
    }

    #[test]
    fn after_a_panic_among_the_clients_counts_the_store_is_down() {
        let store = store(1_000);
        std::thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _guards: Vec<_> = store.clients.iter().map(|counts| counts.lock().unwrap()).collect();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
        });
        let verdict = store.verdict(&presented(1, 0), Timestamp::new(0, 0));
        assert_eq!(verdict, ReplayVerdict::Unavailable(Down));
        assert!(store.is_empty());
    }

    #[test]
    fn memory_is_given_back_after_a_burst() {
        let store = store(1_000_000);
        let space = |store: &MemoryReplayStore| {
            let tags: usize = store.shards.iter().map(|shard| shard.lock().unwrap().tags.capacity()).sum();
            let clients: usize = store.clients.iter().map(|counts| counts.lock().unwrap().capacity()).sum();
            (tags, clients)
        };
        assert_eq!(space(&store), (0, 0), "a capacity costs nothing before it is used");
        for number in 0..50_000 {
            let client = Principal::new("EXAMPLE.TEST", &[&format!("user{number}")]);
            let authenticator = Presented { client, ..presented(number, 0) };
            assert_eq!(store.verdict(&authenticator, Timestamp::new(0, 0)), ReplayVerdict::Fresh);
        }
        let (tags, clients) = space(&store);
        assert!(tags >= 50_000 && clients >= 50_000);
        // New ones come at the same time: they alone must bring the old ones out.
        for number in 50_000..52_000 {
            let verdict = store.verdict(&presented(number, 10_000), Timestamp::new(10_000, 0));
            assert_eq!(verdict, ReplayVerdict::Fresh);
        }
        let (tags, clients) = space(&store);
        assert!(tags < 20_000 && clients < 20_000, "{tags} and {clients} for {}", store.len());
    }

    #[test]
    fn no_visit_forgets_more_than_its_step() {
        let store = store(1_000_000);
        for number in 0..20_000 {
            store.verdict(&presented(number, 0), Timestamp::new(0, 0));
        }
        store.verdict(&presented(20_000, 10_000), Timestamp::new(10_000, 0));
        assert_eq!(store.len(), 20_001 - PURGE_STEP);
    }

    #[test]
    fn entries_spread_over_the_shards_and_differently_in_each_store() {
        let spread = || {
            let store = store(100_000);
            for number in 0..6_400 {
                store.verdict(&presented(number, 0), Timestamp::new(0, 0));
            }
            store.shards.iter().map(|shard| shard.lock().unwrap().tags.len()).collect::<Vec<_>>()
        };
        let (one, other) = (spread(), spread());
        assert!(one.iter().all(|&entries| (40..=200).contains(&entries)), "{one:?}");
        assert_ne!(one, other);
    }

    #[test]
    fn the_counts_of_clients_end_with_their_entries() {
        let store = store(10_000);
        for number in 0..1_000 {
            store.verdict(&presented(number, 0), Timestamp::new(0, 0));
        }
        while store.sweep(Timestamp::new(10_000, 0)).is_ok_and(|forgotten| forgotten) {}
        assert!(store.is_empty());
        assert!(store.clients.iter().all(|counts| counts.lock().unwrap().is_empty()));
    }
}
