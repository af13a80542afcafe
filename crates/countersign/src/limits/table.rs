use super::evicted::{Cause, Evicted, Eviction};
use super::{HandshakeLimits, KIB};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The handshakes that are open. Numbers rise, so that a lower one has waited longer.
#[derive(Default)]
pub(super) struct Table {
    by_source: BTreeMap<IpAddr, BTreeMap<u64, Arc<Eviction>>>,
    /// Sources by how many they have open, then by how long the first of these waits: the last one gives way.
    ranking: BTreeMap<Rank, IpAddr>,
    /// Those that hold more than is free, with how many KiB more.
    holders: BTreeMap<u64, (IpAddr, u32)>,
    open: usize,
    next_number: u64,
}

/// No two sources have the same, since no two handshakes have the same number.
type Rank = (usize, Reverse<u64>);

impl Table {
    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn add(&mut self, source: IpAddr, eviction: &Arc<Eviction>) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        self.open = self.open.saturating_add(1);
        self.change(source, |waiting| waiting.insert(number, Arc::clone(eviction)));
        number
    }

    pub(super) fn remove(&mut self, source: IpAddr, number: u64) -> Option<Arc<Eviction>> {
        let removed = self.change(source, |waiting| waiting.remove(&number));
        if removed.is_some() {
            self.open = self.open.saturating_sub(1);
            self.holders.remove(&number);
        }
        removed
    }

    /// Notes that a handshake holds so many KiB more than is free, so that it can be evicted for them; one that was evicted
    /// already is left out.
    pub(super) fn holds(&mut self, source: IpAddr, number: u64, kib: u32) {
        if kib == 0 {
            self.holders.remove(&number);
        } else if self.by_source.get(&source).is_some_and(|waiting| waiting.contains_key(&number)) {
            self.holders.insert(number, (source, kib));
        }
    }

    /// Evicts one handshake if there is one too many. Each newcomer asks, so there is never more than one.
    pub(super) fn make_room(
        &mut self,
        newcomer: IpAddr,
        limits: HandshakeLimits,
    ) -> Option<(Arc<Eviction>, Evicted)> {
        let of_newcomer = self.by_source.get(&newcomer).map_or(0, BTreeMap::len);
        if of_newcomer > limits.per_address {
            self.evict_of(newcomer, Cause::Places(limits))
        } else if self.open > limits.total {
            self.evict_of(*self.ranking.last_key_value()?.1, Cause::Places(limits))
        } else {
            None
        }
    }

    /// Evicts the handshake that ranks last, if there is any.
    pub(super) fn shed(&mut self) -> Option<(Arc<Eviction>, Evicted)> {
        self.evict_of(*self.ranking.last_key_value()?.1, Cause::Descriptors)
    }

    /// Evicts the handshake that waits longest of those that hold more than is free, if there is any, and says how many KiB
    /// that will give back. `limit` is what all may hold, in bytes.
    pub(super) fn evict_holder(&mut self, limit: usize) -> Option<(Arc<Eviction>, Evicted, u32)> {
        let (&number, &(source, kib)) = self.holders.first_key_value()?;
        let held = usize::try_from(kib).unwrap_or(usize::MAX).saturating_mul(KIB);
        let (loser, why) = self.evict(source, number, Cause::Memory { held, limit })?;
        Some((loser, why, kib))
    }

    /// Evicts the handshake of this source that waits longest.
    fn evict_of(&mut self, source: IpAddr, cause: Cause) -> Option<(Arc<Eviction>, Evicted)> {
        let (&longest, _) = self.by_source.get(&source)?.first_key_value()?;
        self.evict(source, longest, cause)
    }

    fn evict(
        &mut self,
        source_address: IpAddr,
        number: u64,
        cause: Cause,
    ) -> Option<(Arc<Eviction>, Evicted)> {
        let open = self.by_source.get(&source_address)?.len();
        let loser = self.remove(source_address, number)?;
        Some((loser, Evicted { source_address, open, cause }))
    }

    /// Changes what one source has open and keeps the ranking in step.
    fn change<T>(
        &mut self,
        source: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, Arc<Eviction>>) -> T,
    ) -> T {
        let waiting = self.by_source.entry(source).or_default();
        if let Some(rank) = rank(waiting) {
            self.ranking.remove(&rank);
        }
        let changed = change(waiting);
        match rank(waiting) {
            Some(rank) => drop(self.ranking.insert(rank, source)),
            None => drop(self.by_source.remove(&source)),
        }
        changed
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open == 0 && self.by_source.is_empty() && self.ranking.is_empty() && self.holders.is_empty()
    }
}

fn rank(waiting: &BTreeMap<u64, Arc<Eviction>>) -> Option<Rank> {
    waiting.first_key_value().map(|(&longest, _)| (waiting.len(), Reverse(longest)))
}
