//! One question on its way for all who ask it: the first one asks, the others wait for its answer.

use crate::mutex::lock;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tokio::sync::Notify;

/// The questions that are on their way.
pub(super) struct Flights<K, V> {
    open: Mutex<BTreeMap<K, Arc<Flight<V>>>>,
}

/// A question on its way.
pub(super) struct Flight<V> {
    state: Mutex<State<V>>,
    /// Wakes threads.
    landed: Condvar,
    /// Wakes tasks.
    notify: Notify,
}

enum State<V> {
    Flying,
    Landed(V),
    /// Whoever asked gave up: somebody else must ask.
    Abandoned,
}

/// What somebody with a question is to do.
pub(super) enum Boarding<'a, K: Ord + Clone, V: Clone> {
    /// Ask it.
    Ask(Asker<'a, K, V>),
    /// Wait for the answer.
    Wait(Arc<Flight<V>>),
}

/// Who asks. Dropped without an answer, it leaves the question to one of those who wait.
pub(super) struct Asker<'a, K: Ord + Clone, V: Clone> {
    flights: &'a Flights<K, V>,
    key: K,
    flight: Arc<Flight<V>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { open: Mutex::default() }
    }
}

impl<K: Ord + Clone, V: Clone> Flights<K, V> {
    pub(super) fn board(&self, key: K) -> Boarding<'_, K, V> {
        let mut open = lock(&self.open);
        if let Some(flight) = open.get(&key) {
            return Boarding::Wait(flight.clone());
        }
        let flight = Arc::new(Flight {
            state: Mutex::new(State::Flying),
            landed: Condvar::new(),
            notify: Notify::new(),
        });
        open.insert(key.clone(), flight.clone());
        Boarding::Ask(Asker { flights: self, key, flight })
    }
}

impl<K: Ord + Clone, V: Clone> Asker<'_, K, V> {
    /// Gives the answer to all who wait.
    pub(super) fn land(self, value: V) {
        *lock(&self.flight.state) = State::Landed(value);
    }
}

impl<K: Ord + Clone, V: Clone> Drop for Asker<'_, K, V> {
    fn drop(&mut self) {
        lock(&self.flights.open).remove(&self.key);
        let mut state = lock(&self.flight.state);
        if matches!(*state, State::Flying) {
            *state = State::Abandoned;
        }
        drop(state);
        self.flight.landed.notify_all();
        self.flight.notify.notify_waiters();
    }
}

impl<V: Clone> Flight<V> {
    /// The answer, or nothing if whoever asked gave up.
    pub(super) fn wait_blocking(&self) -> Option<V> {
        let flying = |state: &mut State<V>| matches!(state, State::Flying);
        let state = self.landed.wait_while(lock(&self.state), flying);
        Self::outcome(&state.unwrap_or_else(PoisonError::into_inner)).flatten()
    }

    /// The answer, or nothing if whoever asked gave up.
    pub(super) async fn wait(&self) -> Option<V> {
        loop {
            let mut woken = pin!(self.notify.notified());
            // From here on a wake is not missed; whether it came before is seen in the state.
            woken.as_mut().enable();
            if let Some(outcome) = Self::outcome(&lock(&self.state)) {
                return outcome;
            }
            woken.await;
        }
    }

    /// `None` while it flies.
    fn outcome(state: &State<V>) -> Option<Option<V>> {
        match state {
            State::Flying => None,
            State::Landed(value) => Some(Some(value.clone())),
            State::Abandoned => Some(None),
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "tests say so when something is not as it must be"
)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn answer(flights: &Flights<u8, usize>, asked: &AtomicUsize) -> usize {
        loop {
            match flights.board(1) {
                Boarding::Ask(asker) => {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    let value = asked.fetch_add(1, Ordering::SeqCst) + 40;
                    asker.land(value);
                    return value;
                }
                Boarding::Wait(flight) => {
                    if let Some(value) = flight.wait_blocking() {
                        return value;
                    }
                }
            }
        }
    }

    fn first(flights: &Flights<u8, usize>) -> Asker<'_, u8, usize> {
        match flights.board(1) {
            Boarding::Ask(asker) => asker,
            Boarding::Wait(_) => panic!("nobody asked before"),
        }
    }

    /// What twenty threads were answered that asked while the first asker was on its way, until `end` was done to it; and
    /// how often they asked afresh.
    fn twenty(end: impl FnOnce(Asker<'_, u8, usize>)) -> (Vec<usize>, usize) {
        let (flights, asked) = (Flights::default(), AtomicUsize::new(0));
        let first = first(&flights);
        let answers = std::thread::scope(|scope| {
            let others: Vec<_> = (0..20).map(|_| scope.spawn(|| answer(&flights, &asked))).collect();
            std::thread::sleep(std::time::Duration::from_millis(50));
            end(first);
            others.into_iter().map(|other| other.join().unwrap()).collect()
        });
        (answers, asked.into_inner())
    }

    #[test]
    fn threads_that_ask_at_once_share_one_answer() {
        let (answers, asked) = twenty(|first| first.land(7));
        // Those that came after the landing asked again, once.
        assert!(answers.iter().all(|answer| [7, 40].contains(answer)));
        assert!(asked <= 1);
    }

    #[test]
    fn a_question_that_was_given_up_is_asked_by_one_who_waits() {
        let (answers, asked) = twenty(|first| drop(first));
        assert!(answers.iter().all(|answer| *answer >= 40));
        assert!(asked >= 1);
    }

    #[tokio::test]
    async fn a_task_that_waits_sees_an_answer_that_lands_before_or_after_it_looks() {
        let flights = Flights::default();
        let asker = first(&flights);
        let Boarding::Wait(flight) = flights.board(1) else { panic!("it is on its way") };
        let (waited, ()) = tokio::join!(flight.wait(), async { asker.land(5) });
        assert_eq!(waited, Some(5));
        assert_eq!(flight.wait().await, Some(5));
        assert!(matches!(flights.board(1), Boarding::Ask(_)));
    }
}
