use super::io::{Incoming, Outgoing};
use super::stream::AuthStream;
use crate::handshake::Agreed;
use crate::session::{self, About, Inbound, Pulled, Terms};
use ::tokio::io::{AsyncRead, AsyncWrite};
use countersign_proto::context::Facts;
use countersign_proto::error::Refusal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use std::future::poll_fn;
use std::sync::Arc;

/// A connection whose ends proved themselves to each other, on which protected messages go both ways. For a stream of bytes
/// see [`Session::into_stream`].
pub struct Session<S> {
    about: Arc<About>,
    outgoing: Outgoing,
    incoming: Incoming,
    stream: S,
}

/// The direction to the peer.
pub struct Sending<S> {
    about: Arc<About>,
    outgoing: Outgoing,
    stream: ::tokio::io::WriteHalf<S>,
}

/// The direction from the peer.
pub struct Receiving<S> {
    about: Arc<About>,
    incoming: Incoming,
    stream: ::tokio::io::ReadHalf<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    pub(super) fn new(stream: S, agreed: Agreed, terms: Terms) -> Self {
        let (about, outbound, inbound) = session::begin(agreed, terms);
        let (outgoing, incoming) = (Outgoing::new(outbound), Incoming::new(inbound));
        Self { about: Arc::new(about), outgoing, incoming, stream }
    }

    /// Who the ends are, by which keys, under which conditions.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Whether the peer has shown that it holds the session's key: at a client from the start, at a service once a
    /// message came (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.incoming.inbound.peer_confirmed()
    }

    /// When the session ends by itself, if it is to end with its ticket.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.about.ends
    }

    /// Longest message that can be sent, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.outgoing.outbound.max_message()
    }

    /// `length` bytes, at most 65,536, of a key for a protocol above this session, which the peer gets for the same `label`
    /// too and nobody else (GSS_Pseudo_random, RFC 4401 and RFC 7802).
    ///
    /// # Errors
    /// If NTLM authenticated, or `length` is too much.
    pub fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        self.about.export_key(label, length)
    }

    /// Seals and sends one message; see [`Sending::send`].
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        send(&mut self.outgoing, &mut self.stream, message).await
    }

    /// Receives one message; see [`Receiving::receive`].
    ///
    /// # Errors
    /// As [`Receiving::receive`].
    pub async fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.incoming, Inbound::pull, &mut self.stream).await
    }

    /// Receives one message, empty ones too; see [`Receiving::receive_any`].
    ///
    /// # Errors
    /// As [`Receiving::receive_any`].
    pub async fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.incoming, Inbound::pull_any, &mut self.stream).await
    }

    /// Marks the end of what is sent; see [`Sending::finish`].
    ///
    /// # Errors
    /// As [`Sending::finish`].
    pub async fn finish(&mut self) -> Result<(), Refusal> {
        finish(&mut self.outgoing, &mut self.stream).await
    }

    /// Both directions apart, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (Sending<S>, Receiving<S>) {
        let Self { about, outgoing, incoming, stream } = self;
        let (read, write) = ::tokio::io::split(stream);
        (
            Sending { about: about.clone(), outgoing, stream: write },
            Receiving { about, incoming, stream: read },
        )
    }

    /// The same connection as a stream of bytes, which goes on after the last message that was received.
    #[must_use]
    pub fn into_stream(self) -> AuthStream<S> {
        let Self { about, outgoing, mut incoming, stream } = self;
        incoming.inbound.consume_all();
        AuthStream::new(about, outgoing, incoming, stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sending<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Longest message that can be sent, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.outgoing.outbound.max_message()
    }

    /// Seals and sends one message of at most [`Sending::max_message`] bytes. An empty one is the mark of the end: see
    /// [`Sending::finish`]. In the SDK sample's framing there is one message, whose end is that of this direction.
    ///
    /// It can be cancelled without harm to the stream. What was left of an earlier message goes first, and may be all
    /// that a cancelled call did. Once the message is sealed it is accepted: whatever is then left of it goes with the next
    /// call, so it arrives, in order, though the call that sent it was cancelled.
    ///
    /// # Errors
    /// If it is too long, or the connection fails; after a failure of the connection always the same, because nobody
    /// knows how much the peer got.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        send(&mut self.outgoing, &mut self.stream, message).await
    }

    /// Sends the mark of the end if it was not the last message already, and ends this direction of the connection. If
    /// it is cancelled, call it again.
    ///
    /// # Errors
    /// If the connection fails, as for [`Sending::send`].
    pub async fn finish(&mut self) -> Result<(), Refusal> {
        finish(&mut self.outgoing, &mut self.stream).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiving<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Whether the peer has shown that it holds the session's key; see [`Session::peer_confirmed`].
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.incoming.inbound.peer_confirmed()
    }

    /// The next message, or `None` at the mark of the end (an empty message), and from then on, without waiting. In NNS,
    /// where an empty message may be followed by others, it is the mark if the connection ends after it. It can be
    /// cancelled without losing anything.
    ///
    /// # Errors
    /// If a message is refused, the connection fails or ends without the mark, or a further message has come after the
    /// mark; from then on always the same.
    pub async fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.incoming, Inbound::pull, &mut self.stream).await
    }

    /// The next message even if it is empty, or `None` if the connection ended after an empty one: for protocols in
    /// which an empty message marks no end. It can be cancelled without losing anything.
    ///
    /// # Errors
    /// As [`Receiving::receive`], but that messages may follow on an empty one.
    pub async fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.incoming, Inbound::pull_any, &mut self.stream).await
    }
}

async fn send<W>(outgoing: &mut Outgoing, stream: &mut W, message: &[u8]) -> Result<(), Refusal>
where
    W: AsyncWrite + Unpin,
{
    poll_fn(|context| outgoing.poll_deliver(stream, context)).await?;
    outgoing.outbound.seal(message)?;
    if outgoing.outbound.is_at_its_end() {
        return finish(outgoing, stream).await;
    }
    poll_fn(|context| outgoing.poll_flush(stream, context)).await
}

async fn finish<W>(outgoing: &mut Outgoing, stream: &mut W) -> Result<(), Refusal>
where
    W: AsyncWrite + Unpin,
{
    poll_fn(|context| outgoing.poll_finish(stream, context)).await
}

async fn receive<'i, R>(
    incoming: &'i mut Incoming,
    pull: fn(&mut Inbound) -> Result<Pulled, Refusal>,
    stream: &mut R,
) -> Result<Option<&'i [u8]>, Refusal>
where
    R: AsyncRead + Unpin,
{
    let come = poll_fn(|context| incoming.poll_pull(pull, stream, context)).await?;
    Ok(come.then(|| incoming.inbound.message()))
}
