//! Waiting for a future on this thread, with an end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What the future yields, or `None` if it does not until then; `None` for the end waits for ever.
pub(crate) fn until<T>(
    end: Option<Instant>,
    mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>,
) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return Some(value);
        }
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(left) if left.is_zero() => return None,
            Some(left) => thread::park_timeout(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_value_that_another_thread_sends_is_waited_for() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let sender = thread::spawn(move || send.send(7));
        let got = until(None, Box::pin(receive));
        assert_eq!(got.unwrap(), Ok(7));
        sender.join().unwrap().unwrap();
    }

    #[test]
    fn a_value_that_never_comes_is_given_up() {
        let end = Instant::now() + Duration::from_millis(20);
        assert!(until(Some(end), Box::pin(std::future::pending::<()>())).is_none());
    }
}
