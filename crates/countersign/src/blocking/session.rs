use super::io::{deliver, finish, pull, second_handle, unbound};
use super::stream::AuthStream;
use super::transport::Transport;
use crate::handshake::{Agreed, Failure, network};
use crate::session::{self, About, Inbound, Outbound, Pulled, Terms};
use countersign_proto::context::Facts;
use countersign_proto::error::Refusal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use std::net::Shutdown;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A connection whose ends proved themselves to each other, on which protected messages go both ways. For a stream of bytes
/// see [`Session::into_stream`].
pub struct Session<S> {
    about: Arc<About>,
    outbound: Outbound,
    inbound: Inbound,
    timeout: Option<Duration>,
    stream: S,
    /// A handle for those who may close it.
    closing: Option<Arc<S>>,
}

/// The direction to the peer.
pub struct Sending<S> {
    about: Arc<About>,
    outbound: Outbound,
    timeout: Option<Duration>,
    stream: S,
    /// Keeps it for those who may close it.
    _closing: Option<Arc<S>>,
}

/// The direction from the peer.
pub struct Receiving<S> {
    about: Arc<About>,
    inbound: Inbound,
    timeout: Option<Duration>,
    stream: S,
    /// Keeps it for those who may close it.
    _closing: Option<Arc<S>>,
}

/// Ends a session's connection from another thread, also while that one waits. It does not keep the connection open: it
/// ends with the session all the same.
pub struct Closer<S>(Weak<S>);

impl<S: Transport> Session<S> {
    pub(super) fn new(stream: S, agreed: Agreed, terms: Terms) -> Result<Self, Failure> {
        let unbounded = stream.bound_reads(None).and_then(|()| stream.bound_writes(None));
        if let Err(error) = unbounded {
            return Err(agreed.failed(network(&error)));
        }
        let (about, outbound, inbound) = session::begin(agreed, terms);
        Ok(Self { about: Arc::new(about), outbound, inbound, timeout: None, stream, closing: None })
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
        self.inbound.peer_confirmed()
    }

    /// When the session ends by itself, if it is to end with its ticket.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.about.ends
    }

    /// Longest message that can be sent, in bytes.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.outbound.max_message()
    }

    /// `length` bytes, at most 65,536, of a key for a protocol above this session, which the peer gets for the same `label`
    /// too and nobody else (GSS_Pseudo_random, RFC 4401 and RFC 7802).
    ///
    /// # Errors
    /// If NTLM authenticated, or `length` is too much.
    pub fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        self.about.export_key(label, length)
    }

    /// Bounds how long each call that sends or receives may take from now on, in all; `None` lets it wait for ever, as it
    /// does in the beginning. See [`Sending::set_timeout`] and [`Receiving::set_timeout`] for what a call does that has
    /// taken too long.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_reads(None))?;
        unbound(self.stream.bound_writes(None))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Seals and sends one message; see [`Sending::send`].
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        send(&mut self.outbound, &mut self.stream, self.timeout, message)
    }

    /// Receives one message; see [`Receiving::receive`].
    ///
    /// # Errors
    /// As [`Receiving::receive`].
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.inbound, Inbound::pull, &mut self.stream, self.timeout)
    }

    /// Receives one message, empty ones too; see [`Receiving::receive_any`].
    ///
    /// # Errors
    /// As [`Receiving::receive_any`].
    pub fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.inbound, Inbound::pull_any, &mut self.stream, self.timeout)
    }

    /// Marks the end of what is sent; see [`Sending::finish`].
    ///
    /// # Errors
    /// As [`Sending::finish`].
    pub fn finish(&mut self) -> Result<(), Refusal> {
        finish(&mut self.outbound, &mut self.stream, self.timeout)
    }

    /// A handle with which another thread can end the connection, also after it was split.
    ///
    /// # Errors
    /// If the system has no handle left.
    pub fn closer(&mut self) -> Result<Closer<S>, Refusal> {
        let handle = match &self.closing {
            Some(handle) => handle,
            None => self.closing.insert(Arc::new(second_handle(&self.stream)?)),
        };
        Ok(Closer(Arc::downgrade(handle)))
    }

    /// Both directions apart, for two threads.
    ///
    /// # Errors
    /// If the system has no handle left for the second; the connection ends then.
    pub fn into_split(self) -> Result<(Sending<S>, Receiving<S>), Refusal> {
        let Self { about, outbound, inbound, timeout, stream, closing } = self;
        let second = second_handle(&stream)?;
        let receiving = Receiving {
            about: Arc::clone(&about),
            inbound,
            timeout,
            stream: second,
            _closing: closing.clone(),
        };
        Ok((Sending { about, outbound, timeout, stream, _closing: closing }, receiving))
    }

    /// The same connection as a stream of bytes, which goes on after the last message that was received; timeouts go on.
    #[must_use]
    pub fn into_stream(self) -> AuthStream<S> {
        let Self { about, outbound, mut inbound, timeout, stream, closing } = self;
        inbound.consume_all();
        AuthStream::new(about, outbound, inbound, stream, timeout, closing)
    }
}

impl<S: Transport> Sending<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Bounds how long each call that sends may take from now on; `None` lets it wait for ever. A message for which that
    /// was too short may be cut off, so afterwards every call fails as that one did.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_writes(None))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Seals and sends one message of at most `max_message` bytes. An empty one is the mark of the end: see
    /// [`Sending::finish`]. In the SDK sample's framing there is one message, whose end is that of this direction.
    ///
    /// # Errors
    /// If it is too long, or the connection fails or does not take it in time; after a failure of the connection always
    /// the same, because nobody knows how much the peer got.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        send(&mut self.outbound, &mut self.stream, self.timeout, message)
    }

    /// Sends the mark of the end if it was not the last message already, and ends this direction of the connection.
    ///
    /// # Errors
    /// If the connection fails, as for [`Sending::send`].
    pub fn finish(&mut self) -> Result<(), Refusal> {
        finish(&mut self.outbound, &mut self.stream, self.timeout)
    }
}

impl<S: Transport> Receiving<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.about.facts
    }

    /// Whether the peer has shown that it holds the session's key; see [`Session::peer_confirmed`].
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.inbound.peer_confirmed()
    }

    /// Bounds how long each call that receives may take from now on; `None` lets it wait for ever. A call for which that
    /// was too short fails and loses nothing: the next one goes on where it stopped.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_reads(None))?;
        self.timeout = timeout;
        Ok(())
    }

    /// The next message, or `None` at the mark of the end (an empty message), and from then on, without waiting. In NNS,
    /// where an empty message may be followed by others, it is the mark if the connection ends after it.
    ///
    /// # Errors
    /// If a message is refused, the connection fails or ends without the mark, or a further message has come after the
    /// mark; from then on always the same. Also if nothing comes in time, which is not kept.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.inbound, Inbound::pull, &mut self.stream, self.timeout)
    }

    /// The next message even if it is empty, or `None` if the connection ended after an empty one: for protocols in
    /// which an empty message marks no end.
    ///
    /// # Errors
    /// As [`Receiving::receive`], but that messages may follow on an empty one.
    pub fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        receive(&mut self.inbound, Inbound::pull_any, &mut self.stream, self.timeout)
    }
}

impl<S: Transport> Closer<S> {
    /// Ends both directions of the connection: a call that waits fails, at this end as for a connection that was cut.
    pub fn close(&self) {
        if let Some(handle) = self.0.upgrade() {
            // It may have ended by itself.
            let _ = handle.end(Shutdown::Both);
        }
    }
}

impl<S: Transport> Closer<S> {
    pub(super) fn of(handle: &Arc<S>) -> Self {
        Self(Arc::downgrade(handle))
    }
}

fn send<S: Transport>(
    outbound: &mut Outbound,
    stream: &mut S,
    timeout: Option<Duration>,
    message: &[u8],
) -> Result<(), Refusal> {
    outbound.remaining()?;
    outbound.seal(message)?;
    if outbound.is_at_its_end() {
        return finish(outbound, stream, timeout);
    }
    deliver(outbound, stream, timeout)
}

fn receive<'i, S: Transport>(
    inbound: &'i mut Inbound,
    next: fn(&mut Inbound) -> Result<Pulled, Refusal>,
    stream: &mut S,
    timeout: Option<Duration>,
) -> Result<Option<&'i [u8]>, Refusal> {
    let come = pull(inbound, next, stream, timeout)?;
    Ok(come.then(|| inbound.message()))
}
