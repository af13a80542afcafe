//! The graceful end: nobody new is let in, those who are in may finish until a deadline, then they are closed.

use countersign::Refusal;
use countersign::proto::error::code;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long connections have to end once they are told that their time is over.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Where a service stands. All clones are the same service.
///
/// Listeners stop accepting at [`Drain::begun`], connections hold an [`Open`] as long as they last and stop at
/// [`Drain::over`], and whoever ends the service calls [`Drain::end`].
#[derive(Clone)]
pub(crate) struct Drain {
    phase: Arc<watch::Sender<Phase>>,
    open: Arc<watch::Sender<usize>>,
}

/// The phases of a service's life, which only follow one another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Serving,
    Draining,
    Closing,
}

/// How a service ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drained {
    /// Connections that were open when their time was over, and were closed.
    pub(crate) closed: usize,
}

impl Drain {
    /// A service that serves.
    pub(crate) fn new() -> Self {
        Self { phase: Arc::new(watch::Sender::new(Phase::Serving)), open: Arc::new(watch::Sender::new(0)) }
    }

    /// A connection: it is waited for until what this returns is dropped.
    pub(crate) fn opened(&self) -> Open {
        self.open.send_modify(|open| *open = open.saturating_add(1));
        Open(Arc::clone(&self.open))
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Whether the service was told to end.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Waits until the service is told to end: nobody new is let in from then on.
    pub(crate) async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until the time of the connections that are open is over: they are to close.
    pub(crate) async fn over(&self) {
        self.reached(Phase::Closing).await;
    }

    /// Why a connection that was open then is closed.
    pub(crate) fn refusal() -> Refusal {
        Refusal::new(
            code::DRAINED,
            "a connection that was still open",
            "a service whose time to end has come",
        )
    }

    /// Ends the service: waits for its connections until `deadline`, or until `hurry` is done (a second signal), then has
    /// those that are left closed and gives them a moment for it.
    pub(crate) async fn end(&self, deadline: Duration, hurry: impl Future<Output = ()>) -> Drained {
        self.advance(Phase::Draining);
        tokio::select! {
            _ = timeout(deadline, self.emptied()) => (),
            () = hurry => (),
        }
        let closed = self.open();
        self.advance(Phase::Closing);
        if closed > 0 {
            // Whoever does not end now is cut off with the process.
            let _ = timeout(LAST_MOMENT, self.emptied()).await;
        }
        Drained { closed }
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            *phase = to.max(*phase);
            later
        });
    }

    async fn reached(&self, wanted: Phase) {
        // It cannot fail: the sender is held by `self`.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= wanted).await;
    }

    async fn emptied(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// A connection that is open.
pub(crate) struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    fn in_time<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(LONG, test).await.expect("it ends") })
    }

    /// A connection that lasts until its service has no more patience, or until `done`.
    fn connect(drain: &Drain, done: impl Future<Output = ()> + Send + 'static) {
        let (drain, open) = (drain.clone(), drain.opened());
        tokio::spawn(async move {
            tokio::select! { () = drain.over() => (), () = done => () }
            drop(open);
        });
    }

    #[test]
    fn a_service_without_connections_ends_at_once() {
        in_time(async {
            let drain = Drain::new();
            assert_eq!(drain.end(LONG, pending()).await, Drained { closed: 0 });
            assert!(drain.is_draining());
        });
    }

    #[test]
    fn connections_that_finish_are_waited_for() {
        in_time(async {
            let drain = Drain::new();
            connect(&drain, tokio::time::sleep(SHORT));
            connect(&drain, tokio::time::sleep(SHORT * 2));
            let began = Instant::now();
            assert_eq!(drain.end(LONG, pending()).await, Drained { closed: 0 });
            assert!(began.elapsed() >= SHORT && drain.open() == 0);
        });
    }

    #[test]
    fn connections_that_do_not_finish_are_closed_at_the_deadline() {
        in_time(async {
            let drain = Drain::new();
            connect(&drain, pending());
            connect(&drain, tokio::time::sleep(Duration::ZERO));
            assert_eq!((drain.end(SHORT, pending()).await, drain.open()), (Drained { closed: 1 }, 0));
        });
    }

    #[test]
    fn a_second_signal_hurries() {
        in_time(async {
            let drain = Drain::new();
            connect(&drain, pending());
            assert_eq!(drain.end(LONG, tokio::time::sleep(SHORT)).await, Drained { closed: 1 });
        });
    }

    #[test]
    fn a_connection_that_does_not_hear_does_not_hold_the_end_up() {
        in_time(async {
            let drain = Drain::new();
            let _deaf = drain.opened();
            assert_eq!((drain.end(SHORT, pending()).await, drain.open()), (Drained { closed: 1 }, 1));
        });
    }

    #[test]
    fn who_listens_is_told_at_the_beginning_and_who_asks_late_too() {
        in_time(async {
            let drain = Drain::new();
            assert!(timeout(SHORT, drain.begun()).await.is_err() && !drain.is_draining());
            let (waiting, open) = (drain.clone(), drain.opened());
            let listener = tokio::spawn(async move {
                waiting.begun().await;
                assert!(timeout(SHORT, waiting.over()).await.is_err(), "connections have time yet");
                drop(open);
            });
            assert_eq!(drain.end(LONG, pending()).await, Drained { closed: 0 });
            listener.await.unwrap();
            drain.begun().await;
            drain.over().await;
        });
    }
}
