//! The engine's two directions on a tokio stream: what messages and streams of bytes have in common.

use crate::session::{Inbound, Outbound, Pulled};
use ::tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use countersign_proto::error::Refusal;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Writes what is left of the last frame.
pub(super) fn poll_deliver<W>(
    outbound: &mut Outbound,
    stream: &mut W,
    context: &mut Context<'_>,
) -> Poll<Result<(), Refusal>>
where
    W: AsyncWrite + Unpin,
{
    loop {
        let remaining = outbound.remaining()?;
        if remaining.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let written = ready!(Pin::new(&mut *stream).poll_write(context, remaining));
        outbound.wrote(written)?;
    }
}

/// The same, and what the stream itself keeps.
pub(super) fn poll_flush<W>(
    outbound: &mut Outbound,
    stream: &mut W,
    context: &mut Context<'_>,
) -> Poll<Result<(), Refusal>>
where
    W: AsyncWrite + Unpin,
{
    ready!(poll_deliver(outbound, stream, context))?;
    let flushed = ready!(Pin::new(stream).poll_flush(context));
    Poll::Ready(flushed.map_err(|error| outbound.failed(&error)))
}

/// Sends the mark of the end, and ends this direction of the connection.
pub(super) fn poll_finish<W>(
    outbound: &mut Outbound,
    stream: &mut W,
    context: &mut Context<'_>,
) -> Poll<Result<(), Refusal>>
where
    W: AsyncWrite + Unpin,
{
    ready!(poll_deliver(outbound, stream, context))?;
    outbound.seal_end()?;
    ready!(poll_flush(outbound, stream, context))?;
    let ended = ready!(Pin::new(stream).poll_shutdown(context));
    Poll::Ready(ended.map_err(|error| outbound.failed(&error)))
}

/// Reads until `pull` has something to give: whether that is a message, or the end.
pub(super) fn poll_pull<R>(
    inbound: &mut Inbound,
    pull: fn(&mut Inbound) -> Result<Pulled, Refusal>,
    stream: &mut R,
    context: &mut Context<'_>,
) -> Poll<Result<bool, Refusal>>
where
    R: AsyncRead + Unpin,
{
    loop {
        match pull(inbound)? {
            Pulled::Message => return Poll::Ready(Ok(true)),
            Pulled::End => return Poll::Ready(Ok(false)),
            Pulled::NeedBytes => ready!(poll_read_some(inbound, stream, context))?,
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
