//! Questions that wait for a thread which answers all that wait at once.

use super::Check;
use crate::mutex::lock;
use countersign_proto::krb5::replay::{ReplayUnavailable, ReplayVerdict};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Most questions that wait at once: more than handshakes are open by default, four times over.
const MAX_WAITING: usize = 65_536;

const DOWN: ReplayVerdict = ReplayVerdict::Unavailable(ReplayUnavailable::Down);

/// The questions that wait.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Vec<Waiting<T>>,
    closed: bool,
}

/// A question. If it is dropped its answer is that the store is down.
pub(super) struct Waiting<T> {
    pub(super) asked: T,
    answer: oneshot::Sender<ReplayVerdict>,
}

/// What ended a wait for questions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Woken {
    /// Some wait.
    Asked,
    /// None came in time.
    Idle,
    /// None will come any more.
    Closed,
}

impl<T> Waiting<T> {
    /// Answers. Who asked may have gone.
    pub(super) fn answer(self, verdict: ReplayVerdict) {
        let _ = self.answer.send(verdict);
    }
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        let state = State { waiting: Vec::new(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Puts a question in.
    pub(super) fn ask(&self, asked: T) -> Check {
        let (answer, answered) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.closed || state.waiting.len() >= MAX_WAITING {
            return Check::Now(DOWN);
        }
        state.waiting.push(Waiting { asked, answer });
        let is_first = state.waiting.len() == 1;
        drop(state);
        if is_first {
            self.changed.notify_one();
        }
        Check::Later(Box::pin(async move { answered.await.unwrap_or(DOWN) }))
    }

    /// Waits for questions, `at_most` so long if that is said, and moves all that wait to `batch`, which is empty. Those that
    /// waited when the queue was closed still come.
    pub(super) fn take(&self, batch: &mut Vec<Waiting<T>>, at_most: Option<Duration>) -> Woken {
        let is_idle = |state: &mut State<T>| state.waiting.is_empty() && !state.closed;
        let state = lock(&self.state);
        let mut state = match at_most {
            None => self.changed.wait_while(state, is_idle).unwrap_or_else(PoisonError::into_inner),
            Some(end) => {
                self.changed.wait_timeout_while(state, end, is_idle).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        std::mem::swap(&mut state.waiting, batch);
        match (batch.is_empty(), state.closed) {
            (false, _) => Woken::Asked,
            (true, true) => Woken::Closed,
            (true, false) => Woken::Idle,
        }
    }

    /// Takes no further questions.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

/// Closes the queue when its thread ends, however it ends: nobody waits for an answer that cannot come.
pub(super) struct Closing<'a, T>(pub(super) &'a Queue<T>);

impl<T> Drop for Closing<'_, T> {
    fn drop(&mut self) {
        self.0.close();
        self.0.take(&mut Vec::new(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(check: Check) -> super::super::Answering {
        match check {
            Check::Later(answering) => answering,
            Check::Now(verdict) => panic!("{verdict:?} at once"),
        }
    }

    fn answered(answering: super::super::Answering) -> ReplayVerdict {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answering)
    }

    #[test]
    fn all_that_wait_come_together_and_each_gets_its_own_answer() {
        let queue = Queue::new();
        let (first, second) = (waiting(queue.ask(1)), waiting(queue.ask(2)));
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch, None), Woken::Asked);
        assert_eq!(batch.len(), 2);
        for waiting in batch.drain(..) {
            let verdict = if waiting.asked == 1 { ReplayVerdict::Fresh } else { ReplayVerdict::Seen };
            waiting.answer(verdict);
        }
        assert_eq!((answered(first), answered(second)), (ReplayVerdict::Fresh, ReplayVerdict::Seen));
        assert_eq!(queue.take(&mut batch, Some(Duration::from_millis(1))), Woken::Idle);
    }

    #[test]
    fn who_waits_when_the_thread_ends_is_told_that_the_store_is_down() {
        let queue = Queue::new();
        let first = waiting(queue.ask(1));
        drop(Closing(&queue));
        assert_eq!(answered(first), DOWN);
        assert!(matches!(queue.ask(2), Check::Now(DOWN)));
        assert_eq!(queue.take(&mut Vec::new(), None), Woken::Closed);
    }

    #[test]
    fn more_than_can_wait_are_refused_at_once() {
        let queue = Queue::new();
        let kept: Vec<_> = (0..MAX_WAITING).map(|number| waiting(queue.ask(number))).collect();
        assert!(matches!(queue.ask(0), Check::Now(DOWN)));
        assert_eq!(kept.len(), MAX_WAITING);
    }
}
