//! How many handshakes may be open at once, and who gives way (DESIGN section 5).

use crate::mutex::lock;
use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// How many handshakes may be open at once. A limit of 0 counts as 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandshakeLimits {
    /// In all.
    pub total: usize,
    /// From one address; for IPv6 from one network of 64 bits, because one host has all of it.
    pub per_address: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { total: 16_384, per_address: 1_024 }
    }
}

/// Counts the handshakes that are open. Every newcomer enters; where that is one too many, the handshake that waited
/// longest is evicted: of those of the newcomer's address if the limit of one address is passed, else of those of the
/// address that has most open. So a flood from one address costs that address its places and nobody else.
///
/// Cloning it gives another handle to the same count.
#[derive(Clone)]
pub struct Admission {
    table: Arc<Mutex<Table>>,
    limits: HandshakeLimits,
}

impl Admission {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Self {
        let limits = HandshakeLimits { total: limits.total.max(1), per_address: limits.per_address.max(1) };
        Self { table: Arc::default(), limits }
    }

    /// Counts in a handshake with the peer at `address`. It is counted out when the ticket is dropped or evicted.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Ticket {
        let source = source(address);
        let eviction = Arc::new(Eviction::default());
        let (number, evicted) = {
            let mut table = lock(&self.table);
            let number = table.add(source, &eviction);
            (number, table.make_room(source, self.limits))
        };
        // After the table's lock is gone: what is run on eviction is not ours.
        if let Some((loser, why)) = evicted {
            loser.trip(why);
        }
        Ticket { table: Arc::clone(&self.table), source, number, eviction }
    }

    /// Evicts the handshake that would give way if all places were taken, although they are not: for a listener that
    /// cannot accept because the system has run out of descriptors. Does nothing if no handshake is open.
    pub fn shed(&self) {
        let evicted = lock(&self.table).shed();
        // After the table's lock is gone, as in `enter`.
        if let Some((loser, why)) = evicted {
            loser.trip(why);
        }
    }

    /// How many handshakes are counted now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.table).open
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("open", &self.open()).field("limits", &self.limits).finish()
    }
}

/// The place of one handshake. Dropping it gives the place back.
pub struct Ticket {
    table: Arc<Mutex<Table>>,
    source: IpAddr,
    number: u64,
    eviction: Arc<Eviction>,
}

impl Ticket {
    /// Why this handshake has lost its place, if it has.
    #[must_use]
    pub fn eviction(&self) -> Option<Evicted> {
        lock(&self.eviction.state).evicted
    }

    /// Waits until this handshake loses its place. Dropping the future is harmless.
    pub async fn evicted(&self) -> Evicted {
        loop {
            // Made before the look, so that an eviction between the look and the wait is not missed.
            let notified = self.eviction.notify.notified();
            if let Some(evicted) = self.eviction() {
                return evicted;
            }
            notified.await;
        }
    }

    /// Runs `action` when this handshake loses its place, in the thread that takes it, or at once if it is lost already:
    /// for a driver that blocks, and shuts its socket down this way. It replaces the action set before, and is not run
    /// once the ticket is gone. It must not block nor use this ticket.
    pub fn on_evict(&self, action: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.eviction.state);
        if state.evicted.is_some() {
            drop(state);
            action();
        } else {
            state.action = Some(Box::new(action));
        }
    }

    /// Gives the place back at the end of the handshake; afterwards nothing can evict it.
    ///
    /// # Errors
    /// [`Evicted`] if the place was lost before.
    pub fn leave(self) -> Result<(), Evicted> {
        self.disarm().map_or(Ok(()), Err)
    }

    /// Counts out and takes back the action. Waits for one that is running.
    fn disarm(&self) -> Option<Evicted> {
        lock(&self.table).remove(self.source, self.number);
        let mut state = lock(&self.eviction.state);
        state.action = None;
        state.evicted
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("source", &self.source).field("evicted", &self.eviction()).finish()
    }
}

/// A handshake lost its place to another one, or to the system's want of descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{open} handshakes open from {source_address}, of which this one waited longest")]
pub struct Evicted {
    /// The address that had too many; for IPv6 the first of its network of 64 bits.
    pub source_address: IpAddr,
    /// How many it had, the one that lost its place included.
    pub open: usize,
    /// What was permitted; `None` where it gave way because no descriptor was left ([`Admission::shed`]).
    pub limits: Option<HandshakeLimits>,
}

impl Explain for Evicted {
    fn code(&self) -> Code {
        code::HANDSHAKES_EXHAUSTED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self.limits {
            Some(HandshakeLimits { total, per_address }) => {
                format!("room for {total} at once, {per_address} of them from one address").into()
            }
            None => "no descriptor left for the next connection".into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self.limits {
            Some(_) => self.code().advice().into(),
            None => {
                "raise the limit of open descriptors (ulimit -n, LimitNOFILE) if the load is honest".into()
            }
        }
    }
}

/// How the holder of a ticket learns that its place is lost.
#[derive(Default)]
struct Eviction {
    state: Mutex<EvictionState>,
    notify: Notify,
}

#[derive(Default)]
struct EvictionState {
    evicted: Option<Evicted>,
    action: Option<Box<dyn FnOnce() + Send>>,
}

impl Eviction {
    fn trip(&self, why: Evicted) {
        let mut state = lock(&self.state);
        state.evicted = Some(why);
        // Under the lock, so that a ticket that leaves meanwhile waits: after it has left nothing is shut down.
        if let Some(action) = state.action.take() {
            action();
        }
        drop(state);
        self.notify.notify_waiters();
    }
}

/// The handshakes that are open. Numbers rise, so that a lower one has waited longer.
#[derive(Default)]
struct Table {
    by_source: BTreeMap<IpAddr, BTreeMap<u64, Arc<Eviction>>>,
    /// Sources by how many they have open, then by how long the first of these waits: the last one gives way.
    ranking: BTreeMap<Rank, IpAddr>,
    open: usize,
    next_number: u64,
}

/// No two sources have the same, since no two handshakes have the same number.
type Rank = (usize, Reverse<u64>);

impl Table {
    fn add(&mut self, source: IpAddr, eviction: &Arc<Eviction>) -> u64 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        self.open = self.open.saturating_add(1);
        self.change(source, |waiting| waiting.insert(number, Arc::clone(eviction)));
        number
    }

    fn remove(&mut self, source: IpAddr, number: u64) -> Option<Arc<Eviction>> {
        let removed = self.change(source, |waiting| waiting.remove(&number));
        if removed.is_some() {
            self.open = self.open.saturating_sub(1);
        }
        removed
    }

    /// Evicts one handshake if there is one too many. Each newcomer asks, so there is never more than one.
    fn make_room(&mut self, newcomer: IpAddr, limits: HandshakeLimits) -> Option<(Arc<Eviction>, Evicted)> {
        let of_newcomer = self.by_source.get(&newcomer).map_or(0, BTreeMap::len);
        if of_newcomer > limits.per_address {
            self.evict(newcomer, Some(limits))
        } else if self.open > limits.total {
            self.evict(*self.ranking.last_key_value()?.1, Some(limits))
        } else {
            None
        }
    }

    /// Evicts the handshake that ranks last, if there is any.
    fn shed(&mut self) -> Option<(Arc<Eviction>, Evicted)> {
        self.evict(*self.ranking.last_key_value()?.1, None)
    }

    /// Evicts the handshake of this source that waits longest.
    fn evict(
        &mut self,
        source_address: IpAddr,
        limits: Option<HandshakeLimits>,
    ) -> Option<(Arc<Eviction>, Evicted)> {
        let waiting = self.by_source.get(&source_address)?;
        let open = waiting.len();
        let (&longest, _) = waiting.first_key_value()?;
        let loser = self.remove(source_address, longest)?;
        Some((loser, Evicted { source_address, open, limits }))
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
}

fn rank(waiting: &BTreeMap<u64, Arc<Eviction>>) -> Option<Rank> {
    waiting.first_key_value().map(|(&longest, _)| (waiting.len(), Reverse(longest)))
}

/// What is counted as one address: an IPv4 address, also when it comes mapped into IPv6, or an IPv6 network of 64 bits.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(host) => Ipv6Addr::from_bits(host.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    fn admission(total: usize, per_address: usize) -> Admission {
        Admission::new(HandshakeLimits { total, per_address })
    }

    fn enter(admission: &Admission, address: &str) -> Ticket {
        admission.enter(address.parse().unwrap())
    }

    fn lost(tickets: &[Ticket]) -> Vec<usize> {
        (0..tickets.len()).filter(|&index| tickets[index].eviction().is_some()).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        assert_eq!(HandshakeLimits::default(), HandshakeLimits { total: 16_384, per_address: 1_024 });
    }

    #[test]
    fn nobody_is_evicted_up_to_the_limits() {
        let admission = admission(4, 2);
        let tickets = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|a| enter(&admission, a));
        assert_eq!((admission.open(), lost(&tickets)), (4, vec![]));
    }

    #[test]
    fn when_full_the_address_with_most_open_loses_the_one_waiting_longest() {
        let admission = admission(4, 4);
        let mut tickets = ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
            .into_iter()
            .map(|a| enter(&admission, a))
            .collect::<Vec<_>>();
        tickets.push(enter(&admission, "192.0.2.3"));
        assert_eq!((admission.open(), lost(&tickets)), (4, vec![1]));
        let evicted = tickets[1].eviction().unwrap();
        assert_eq!((evicted.source_address, evicted.open), ("192.0.2.1".parse().unwrap(), 2));
    }

    #[test]
    fn between_addresses_with_equally_many_the_one_waiting_longest_loses() {
        let admission = admission(3, 4);
        let mut tickets = ["192.0.2.2", "192.0.2.9", "192.0.2.1"]
            .into_iter()
            .map(|a| enter(&admission, a))
            .collect::<Vec<_>>();
        tickets.push(enter(&admission, "192.0.2.3"));
        tickets.push(enter(&admission, "192.0.2.4"));
        assert_eq!(lost(&tickets), [0, 1]);
    }

    #[test]
    fn an_address_over_its_limit_loses_its_own() {
        let admission = admission(100, 2);
        let tickets: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.1"]
            .iter()
            .map(|address| enter(&admission, address))
            .collect();
        assert_eq!((admission.open(), lost(&tickets)), (4, vec![0]));
    }

    #[test]
    fn a_flood_from_one_address_takes_no_place_from_others() {
        let admission = admission(10, 8);
        let honest: Vec<_> = (1..=3).map(|host| enter(&admission, &format!("192.0.2.{host}"))).collect();
        let flood: Vec<_> = (0..1_000).map(|_| enter(&admission, "198.51.100.7")).collect();
        let late = enter(&admission, "192.0.2.4");
        assert_eq!(lost(&honest), [0; 0]);
        assert_eq!((late.eviction(), lost(&flood).len(), admission.open()), (None, 994, 10));
    }

    #[test]
    fn an_ipv6_network_of_64_bits_counts_as_one_address() {
        let admission = admission(100, 1);
        let tickets =
            ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:1:ffff::2"].map(|a| enter(&admission, a));
        assert_eq!(lost(&tickets), [0]);
    }

    #[test]
    fn a_mapped_ipv4_address_counts_as_itself() {
        let admission = admission(100, 1);
        let mapped = ["::ffff:192.0.2.1", "::ffff:192.0.2.2"].map(|address| enter(&admission, address));
        assert_eq!(lost(&mapped), [0; 0]);
        let _plain = enter(&admission, "192.0.2.1");
        assert_eq!(lost(&mapped), [0]);
    }

    #[test]
    fn a_dropped_ticket_gives_its_place_back_once() {
        let admission = admission(2, 2);
        let (first, second) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
        drop(first);
        assert_eq!(admission.open(), 1);
        let (third, fourth) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
        assert!(second.eviction().is_some() && third.eviction().is_none());
        drop(second);
        assert_eq!(admission.open(), 2);
        drop((third, fourth));
        let table = lock(&admission.table);
        assert_eq!((table.open, table.by_source.len(), table.ranking.len()), (0, 0, 0));
    }

    #[test]
    fn leaving_tells_whether_the_place_was_lost_and_with_which_code() {
        let admission = admission(1, 1);
        let (first, second) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
        let evicted = first.leave().unwrap_err();
        assert_eq!(evicted.code(), code::HANDSHAKES_EXHAUSTED);
        assert!(evicted.saw().contains("2 handshakes open from 192.0.2.1"), "{}", evicted.saw());
        assert_eq!(second.leave(), Ok(()));
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn a_limit_of_zero_still_lets_one_in() {
        let admission = admission(0, 0);
        let ticket = enter(&admission, "192.0.2.1");
        assert_eq!((ticket.eviction(), admission.open()), (None, 1));
    }

    #[test]
    fn shedding_evicts_the_one_that_ranks_last_though_there_is_room() {
        let admission = admission(100, 100);
        let tickets: Vec<_> = ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
            .iter()
            .map(|address| enter(&admission, address))
            .collect();
        admission.shed();
        assert_eq!((admission.open(), lost(&tickets)), (3, vec![1]));
        let evicted = tickets[1].eviction().unwrap();
        assert_eq!(evicted.code(), code::HANDSHAKES_EXHAUSTED);
        assert!(evicted.have().contains("no descriptor left"), "{}", evicted.have());
        assert!(evicted.advice().contains("ulimit"), "{}", evicted.advice());
        (0..5).for_each(|_| admission.shed());
        assert_eq!((admission.open(), lost(&tickets)), (0, vec![0, 1, 2, 3]));
    }

    fn counter() -> (Arc<AtomicUsize>, impl Fn() + Clone + Send + 'static) {
        let count = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&count);
        (count, move || _ = shared.fetch_add(1, Ordering::SeqCst))
    }

    #[test]
    fn the_action_runs_once_on_eviction_and_at_once_if_too_late() {
        let admission = admission(1, 1);
        let (count, action) = counter();
        let first = enter(&admission, "192.0.2.1");
        first.on_evict(action.clone());
        assert_eq!(count.load(Ordering::SeqCst), 0);
        let _second = enter(&admission, "192.0.2.1");
        assert_eq!(count.load(Ordering::SeqCst), 1);
        first.on_evict(action);
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn the_action_does_not_run_after_the_ticket_left() {
        let admission = admission(1, 1);
        let (count, action) = counter();
        let first = enter(&admission, "192.0.2.1");
        first.on_evict(action);
        // As when the newcomer's thread took it off the table, and is slower than the loser.
        let eviction = Arc::clone(&first.eviction);
        first.leave().unwrap();
        let second = enter(&admission, "192.0.2.1");
        let _third = enter(&admission, "192.0.2.2");
        eviction.trip(second.eviction().unwrap());
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_task_that_waits_is_woken_by_its_eviction() {
        let admission = admission(1, 1);
        let first = enter(&admission, "192.0.2.1");
        let mut context = Context::from_waker(Waker::noop());
        let mut early = Box::pin(first.evicted());
        assert_eq!(early.as_mut().poll(&mut context), Poll::Pending);
        let _second = enter(&admission, "192.0.2.1");
        assert!(early.as_mut().poll(&mut context).is_ready());
        assert!(Box::pin(first.evicted()).as_mut().poll(&mut context).is_ready(), "and again, asked late");
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_behind() {
        let admission = admission(20, 10);
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                let admission = admission.clone();
                scope.spawn(move || {
                    for round in 0..500_u32 {
                        let tickets: Vec<_> =
                            (0..5).map(|_| admission.enter([192, 0, 2, thread % 3].into())).collect();
                        tickets[round as usize % 5].on_evict(|| ());
                        assert!(admission.open() <= 20);
                    }
                });
            }
        });
        let table = lock(&admission.table);
        assert_eq!((table.open, table.by_source.len(), table.ranking.len()), (0, 0, 0));
    }
}
