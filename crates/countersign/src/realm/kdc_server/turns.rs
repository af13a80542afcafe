//! Whose request is next: so many at once, at most half of them of one address.

use crate::mutex::lock;
use ::tokio::sync::{OwnedSemaphorePermit, Semaphore};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Most requests of one address that wait or are answered now.
const OF_ONE: usize = 64;

/// Most in all. At 64 KiB a request this is a bound on what they take.
const OF_ALL: usize = 1_024;

/// The queue. Clones are handles to the same one.
#[derive(Clone)]
pub(super) struct Turns {
    all: Arc<Semaphore>,
    share: usize,
    present: Arc<Mutex<Present>>,
}

/// The requests that wait or are answered now.
#[derive(Default)]
struct Present {
    addresses: BTreeMap<IpAddr, Queue>,
    in_all: usize,
}

/// The requests of one address.
struct Queue {
    own: Arc<Semaphore>,
    length: usize,
}

/// The right to be answered, until it is dropped.
pub(super) struct Turn {
    _place: Place,
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Counts a request among those of its address.
struct Place {
    address: IpAddr,
    present: Arc<Mutex<Present>>,
}

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        let share = (at_once / 2).max(1);
        Self { all: Arc::new(Semaphore::new(at_once)), share, present: Arc::default() }
    }

    /// Waits until a request of `address` may be answered; `None` if too many wait already.
    pub(super) async fn wait(&self, address: IpAddr) -> Option<Turn> {
        let (place, own) = self.enter(address)?;
        // First among its own, so that no address has more than its share of places in the common queue.
        let own = own.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn { _place: place, _own: own, _all: all })
    }

    fn enter(&self, address: IpAddr) -> Option<(Place, Arc<Semaphore>)> {
        let mut present = lock(&self.present);
        let length = present.addresses.get(&address).map_or(0, |queue| queue.length);
        if length >= OF_ONE || present.in_all >= OF_ALL {
            return None;
        }
        present.in_all = present.in_all.saturating_add(1);
        let fresh = || Queue { own: Arc::new(Semaphore::new(self.share)), length: 0 };
        let queue = present.addresses.entry(address).or_insert_with(fresh);
        queue.length = length.saturating_add(1);
        let own = Arc::clone(&queue.own);
        Some((Place { address, present: Arc::clone(&self.present) }, own))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = lock(&self.present);
        present.in_all = present.in_all.saturating_sub(1);
        if let Some(queue) = present.addresses.get_mut(&self.address) {
            queue.length = queue.length.saturating_sub(1);
            if queue.length == 0 {
                present.addresses.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn at_once(turns: &Turns, address: IpAddr) -> Option<Turn> {
        match poll(pin!(turns.wait(address))) {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_address_has_half_of_the_turns_and_leaves_the_rest_to_others() {
        let turns = Turns::new(4);
        let first: Vec<Turn> = (0..2).map(|_| at_once(&turns, address(1)).unwrap()).collect();
        assert!(at_once(&turns, address(1)).is_none());
        let second: Vec<Turn> = (0..2).map(|_| at_once(&turns, address(2)).unwrap()).collect();
        assert!(at_once(&turns, address(3)).is_none());
        drop(first);
        assert!(at_once(&turns, address(3)).is_some());
        drop(second);
        assert!(lock(&turns.present).addresses.is_empty());
        assert_eq!(lock(&turns.present).in_all, 0);
    }

    #[test]
    fn who_waits_has_the_next_turn() {
        let turns = Turns::new(2);
        let held = at_once(&turns, address(1)).unwrap();
        let mut waiting = pin!(turns.wait(address(1)));
        assert!(poll(waiting.as_mut()).is_pending());
        drop(held);
        assert!(matches!(poll(waiting.as_mut()), Poll::Ready(Some(_))));
    }

    #[test]
    fn more_than_may_wait_are_turned_away() {
        let turns = Turns::new(2);
        let mut waiting: Vec<_> = (0..OF_ONE).map(|_| Box::pin(turns.wait(address(1)))).collect();
        let had: Vec<Turn> = waiting
            .iter_mut()
            .filter_map(|one| match poll(one.as_mut()) {
                Poll::Ready(turn) => turn,
                Poll::Pending => None,
            })
            .collect();
        assert_eq!(had.len(), 1);
        assert!(matches!(poll(pin!(turns.wait(address(1)))), Poll::Ready(None)));
        assert!(at_once(&turns, address(2)).is_some());
        drop(waiting);
        drop(had);
        assert!(at_once(&turns, address(1)).is_some());
    }

    #[test]
    fn many_addresses_together_are_bounded_too() {
        let turns = Turns::new(2);
        let places: Vec<_> =
            (0..32).flat_map(|last| vec![last; OF_ONE]).map(|last| turns.enter(address(last))).collect();
        assert_eq!(places.iter().flatten().count(), OF_ALL);
    }
}
