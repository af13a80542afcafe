//! Runs futures in an order that follows from a seed, and only those that were woken: a wake that is lost is a failure, not a
//! delay.

use super::pipe::Dice;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Whether a task is to be polled.
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A future that is run.
pub(crate) type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Futures that are run beside each other.
pub(crate) struct Tasks<'t> {
    tasks: Vec<Option<(Task<'t>, Arc<Woken>)>>,
    dice: Dice,
}

impl<'t> Tasks<'t> {
    pub(crate) fn new(tasks: Vec<Task<'t>>, dice: Dice) -> Self {
        let woken = || Arc::new(Woken(AtomicBool::new(true)));
        Self { tasks: tasks.into_iter().map(|task| Some((task, woken()))).collect(), dice }
    }

    /// Runs them until they are done or nobody is woken.
    pub(crate) fn settle(&mut self) {
        loop {
            let is_woken = |index: &usize| {
                self.tasks[*index].as_ref().is_some_and(|(_, woken)| woken.0.load(Ordering::SeqCst))
            };
            let woken: Vec<_> = (0..self.tasks.len()).filter(is_woken).collect();
            if woken.is_empty() {
                return;
            }
            let index = woken[self.dice.below(woken.len())];
            let Some((task, flag)) = &mut self.tasks[index] else { unreachable!("it was woken") };
            flag.0.store(false, Ordering::SeqCst);
            let waker = Waker::from(flag.clone());
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks[index] = None;
            }
        }
    }

    /// Gives one of them up.
    pub(crate) fn give_up(&mut self, index: usize) {
        self.tasks[index] = None;
    }

    /// How many are not done.
    pub(crate) fn left(&self) -> usize {
        self.tasks.iter().flatten().count()
    }
}

/// Runs all of them to their ends.
pub(crate) fn run(tasks: Vec<Task<'_>>, dice: Dice) {
    let mut tasks = Tasks::new(tasks, dice);
    tasks.settle();
    assert_eq!(tasks.left(), 0, "tasks wait and nobody wakes them");
}

/// What a future gives when it is polled once, or `None`; then it is dropped.
pub(crate) fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// What a future gives that has nothing to wait for.
#[track_caller]
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    poll_once(future).expect("a future that need not wait")
}
