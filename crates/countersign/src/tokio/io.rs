//! The engine's two directions on a tokio stream: what messages and streams of bytes have in common.

use crate::ambient;
use crate::session::{Inbound, Outbound, Pulled};
use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use ::tokio::time::{Sleep, sleep};
use countersign_proto::error::Refusal;
use countersign_proto::time::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The direction to the peer, with what ends a wait of its own when the session's time is over.
pub(super) struct Outgoing {
    pub(super) outbound: Outbound,
    end: End,
}

/// The direction from the peer, likewise.
pub(super) struct Incoming {
    pub(super) inbound: Inbound,
    end: End,
}

impl Outgoing {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { end: End::at(outbound.ends()), outbound }
    }

    /// Writes what is left of the last frame.
    pub(super) fn poll_deliver<W>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>>
    where
        W: AsyncWrite + Unpin,
    {
        loop {
            let remaining = self.outbound.remaining()?;
            if remaining.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *stream).poll_write(context, remaining) {
                Poll::Ready(written) => self.outbound.wrote(written)?,
                Poll::Pending => return self.poll_end(context),
            }
        }
    }

    /// The same, and what the stream itself keeps.
    pub(super) fn poll_flush<W>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>>
    where
        W: AsyncWrite + Unpin,
    {
        ready!(self.poll_deliver(stream, context))?;
        match Pin::new(stream).poll_flush(context) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|error| self.outbound.failed(&error))),
            Poll::Pending => self.poll_end(context),
        }
    }

    /// Sends the mark of the end, and ends this direction of the connection.
    pub(super) fn poll_finish<W>(
        &mut self,
        stream: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Refusal>>
    where
        W: AsyncWrite + Unpin,
    {
        ready!(self.poll_deliver(stream, context))?;
        self.outbound.seal_end()?;
        ready!(self.poll_flush(stream, context))?;
        match Pin::new(stream).poll_shutdown(context) {
            Poll::Ready(ended) => Poll::Ready(ended.map_err(|error| self.outbound.failed(&error))),
            Poll::Pending => self.poll_end(context),
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        let Self { outbound, end } = self;
        end.poll(context, || outbound.check_time()).map(Err)
    }
}

impl Incoming {
    pub(super) fn new(inbound: Inbound) -> Self {
        Self { end: End::at(inbound.ends()), inbound }
    }

    /// Reads until `pull` has something to give: whether that is a message, or the end.
    pub(super) fn poll_pull<R>(
        &mut self,
        pull: fn(&mut Inbound) -> Result<Pulled, Refusal>,
        stream: &mut R,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, Refusal>>
    where
        R: AsyncRead + Unpin,
    {
        let Self { inbound, end } = self;
        loop {
            match pull(inbound)? {
                Pulled::Message => return Poll::Ready(Ok(true)),
                Pulled::End => return Poll::Ready(Ok(false)),
                Pulled::NeedBytes => match poll_read_some(inbound, stream, context) {
                    Poll::Ready(read) => read?,
                    Poll::Pending => return end.poll(context, || inbound.check_time()).map(Err),
                },
            }
        }
    }
}

fn poll_read_some<R>(
    inbound: &mut Inbound,
    stream: &mut R,
    context: &mut Context<'_>,
) -> Poll<Result<(), Refusal>>
where
    R: AsyncRead + Unpin,
{
    let mut space = ReadBuf::new(inbound.space());
    let read = ready!(Pin::new(stream).poll_read(context, &mut space));
    let outcome = read.map(|()| space.filled().len());
    Poll::Ready(inbound.read(outcome))
}

/// Wakes who waits when the session's time is over.
struct End {
    ends: Option<Timestamp>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl End {
    fn at(ends: Option<Timestamp>) -> Self {
        Self { ends, sleep: None }
    }

    /// Why the session is over, when its time is: `check` looks at the clock.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut check: impl FnMut() -> Result<(), Refusal>,
    ) -> Poll<Refusal> {
        let Some(ends) = self.ends else { return Poll::Pending };
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(until_after(ends))));
            ready!(sleep.as_mut().poll(context));
            if let Err(refusal) = check() {
                return Poll::Ready(refusal);
            }
            // The clock was set back meanwhile.
            self.sleep = None;
        }
    }
}

/// From now until `ends` is over: its last instant still belongs to the session.
fn until_after(ends: Timestamp) -> Duration {
    let left = u64::try_from(ends.micros_since(ambient::now())).unwrap_or_default();
    Duration::from_micros(left).saturating_add(Duration::from_millis(1))
}
