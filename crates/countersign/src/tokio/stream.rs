use super::io::{Incoming, Outgoing};
use crate::session::{About, Inbound};
use ::tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use countersign_proto::context::Facts;
use countersign_proto::error::Refusal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

/// A stream of bytes between two ends that proved themselves to each other: what is written is sealed, what is read was
/// verified.
///
/// It is used as any other stream of tokio. [`AsyncWriteExt::shutdown`](::tokio::io::AsyncWriteExt::shutdown) ends what is
/// sent, and authenticates the end: without it the peer's reads end in [`io::ErrorKind::UnexpectedEof`], as they do when
/// somebody cuts the connection. What `write` has taken is sent by the next write, flush or shutdown at the latest, also if
/// a call was cancelled in between. Reads and writes can be cancelled without losing a byte.
///
/// Every error has a [`Refusal`] inside that says why: [`crate::refusal_in`].
pub struct AuthStream<S> {
    about: Arc<About>,
    outgoing: Outgoing,
    incoming: Incoming,
    waiting: Waiting,
    stream: S,
}

/// The half of an [`AuthStream`] that reads.
pub struct ReadHalf<S> {
    about: Arc<About>,
    incoming: Incoming,
    stream: ::tokio::io::ReadHalf<S>,
}

/// The half of an [`AuthStream`] that writes.
pub struct WriteHalf<S> {
    about: Arc<About>,
    outgoing: Outgoing,
    stream: ::tokio::io::WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> AuthStream<S> {
    pub(super) fn new(about: Arc<About>, outgoing: Outgoing, incoming: Incoming, stream: S) -> Self {
        Self { about, outgoing, incoming, waiting: Waiting::default(), stream }
    }

    /// Who the ends are, by which mechanism and keys, under which conditions, until when.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Whether the peer has shown that it holds the session's key: at a client from the start, at a service once bytes came
    /// (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.incoming.inbound.peer_confirmed()
    }

    /// When the stream ends by itself, if it is to end with its ticket.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.about.ends
    }

    /// `length` bytes, at most 65,536, of a key for a protocol above this stream, which the peer gets for the same `label`
    /// too and nobody else (GSS_Pseudo_random, RFC 4401 and RFC 7802).
    ///
    /// # Errors
    /// If NTLM authenticated, or `length` is too much.
    pub fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        self.about.export_key(label, length)
    }

    /// The connection below, for its addresses and options.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Both halves, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf<S>, WriteHalf<S>) {
        let Self { about, outgoing, incoming, stream, .. } = self;
        let (read, write) = ::tokio::io::split(stream);
        (
            ReadHalf { about: about.clone(), incoming, stream: read },
            WriteHalf { about, outgoing, stream: write },
        )
    }
}

impl<S> ReadHalf<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Whether the peer has shown that it holds the session's key; see [`AuthStream::peer_confirmed`].
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.incoming.inbound.peer_confirmed()
    }
}

impl<S> WriteHalf<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for AuthStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { incoming, outgoing, waiting, stream, .. } = self.get_mut();
        waiting.deliver(outgoing, stream, context);
        poll_fill(incoming, stream, context)
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().incoming.inbound.consume(count);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for AuthStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(self, context, space)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AuthStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { outgoing, waiting, stream, .. } = self.get_mut();
        waiting.noting(context, |context| poll_write(outgoing, stream, context, std::iter::once(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { outgoing, waiting, stream, .. } = self.get_mut();
        let parts = parts.iter().map(|part| &**part);
        waiting.noting(context, |context| poll_write(outgoing, stream, context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { outgoing, waiting, stream, .. } = self.get_mut();
        let flushed = ready!(waiting.noting(context, |context| outgoing.poll_flush(stream, context)));
        as_io(outgoing, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { outgoing, waiting, stream, .. } = self.get_mut();
        let finished = ready!(waiting.noting(context, |context| outgoing.poll_finish(stream, context)));
        as_io(outgoing, finished)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for ReadHalf<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { incoming, stream, .. } = self.get_mut();
        poll_fill(incoming, stream, context)
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().incoming.inbound.consume(count);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ReadHalf<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        poll_read(self, context, space)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WriteHalf<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { outgoing, stream, .. } = self.get_mut();
        poll_write(outgoing, stream, context, std::iter::once(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { outgoing, stream, .. } = self.get_mut();
        poll_write(outgoing, stream, context, parts.iter().map(|part| &**part))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { outgoing, stream, .. } = self.get_mut();
        let flushed = ready!(outgoing.poll_flush(stream, context));
        as_io(outgoing, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { outgoing, stream, .. } = self.get_mut();
        let finished = ready!(outgoing.poll_finish(stream, context));
        as_io(outgoing, finished)
    }
}

/// What is there of the plaintext, or what comes next; nothing at the end.
fn poll_fill<'i, R>(
    incoming: &'i mut Incoming,
    stream: &mut R,
    context: &mut Context<'_>,
) -> Poll<io::Result<&'i [u8]>>
where
    R: AsyncRead + Unpin,
{
    if incoming.inbound.message().is_empty() {
        let pulled = ready!(incoming.poll_pull(Inbound::pull, stream, context));
        pulled.map_err(|refusal| incoming.inbound.stream_error(refusal))?;
    }
    Poll::Ready(Ok(incoming.inbound.message()))
}

/// Reads through the buffer that a stream or half has.
fn poll_read<T>(
    mut stream: Pin<&mut T>,
    context: &mut Context<'_>,
    space: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>>
where
    T: AsyncBufRead,
{
    if space.remaining() == 0 {
        return Poll::Ready(Ok(()));
    }
    let bytes = ready!(stream.as_mut().poll_fill_buf(context))?;
    let count = bytes.len().min(space.remaining());
    space.put_slice(bytes.get(..count).unwrap_or_default());
    stream.consume(count);
    Poll::Ready(Ok(()))
}

/// Takes bytes once those before them are written, and begins to write them.
fn poll_write<'a, W>(
    outgoing: &mut Outgoing,
    stream: &mut W,
    context: &mut Context<'_>,
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Poll<io::Result<usize>>
where
    W: AsyncWrite + Unpin,
{
    let taken = match ready!(outgoing.poll_deliver(stream, context)) {
        Ok(()) => outgoing.outbound.seal_some(parts),
        Err(refusal) => Err(refusal),
    };
    let written = taken.and_then(|count| match outgoing.poll_deliver(stream, context) {
        Poll::Ready(Err(refusal)) => Err(refusal),
        Poll::Ready(Ok(())) | Poll::Pending => Ok(count),
    });
    as_io(outgoing, written)
}

/// What became of writing, as a stream tells it.
fn as_io<T>(outgoing: &Outgoing, outcome: Result<T, Refusal>) -> Poll<io::Result<T>> {
    Poll::Ready(outcome.map_err(|refusal| outgoing.outbound.stream_error(refusal)))
}

/// Who waits to write on a stream that is not split. A connection wakes only the last who asked it for room, and where the
/// stream is shared by two tasks (`tokio::io::split`) that may be the one that reads.
#[derive(Default)]
struct Waiting(Option<Waker>);

impl Waiting {
    /// Polls for who writes, and keeps in mind that it waits.
    fn noting<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let polled = poll(context);
        match (&polled, &mut self.0) {
            (Poll::Ready(_), waiting) => *waiting = None,
            (Poll::Pending, Some(waiting)) => waiting.clone_from(context.waker()),
            (Poll::Pending, waiting) => *waiting = Some(context.waker().clone()),
        }
        polled
    }

    /// Delivers for who reads: who waits for an answer must have sent the question. A failure is told to who writes.
    fn deliver<W>(&self, outgoing: &mut Outgoing, stream: &mut W, context: &mut Context<'_>)
    where
        W: AsyncWrite + Unpin,
    {
        if outgoing.outbound.remaining().is_ok_and(<[u8]>::is_empty) {
            return;
        }
        let Some(waiting) = self.0.as_ref().filter(|waiting| !waiting.will_wake(context.waker())) else {
            let _ = outgoing.poll_deliver(stream, context);
            return;
        };
        let both = Waker::from(Arc::new(Both(context.waker().clone(), waiting.clone())));
        if outgoing.poll_deliver(stream, &mut Context::from_waker(&both)).is_ready() {
            waiting.wake_by_ref();
        }
    }
}

/// Wakes two tasks.
struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
