//! Services and clients on tokio streams.
//!
//! ```no_run
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! let service = countersign::Service::from_keytab("/etc/krb5.keytab")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:2000").await?;
//! let (socket, peer) = listener.accept().await?;
//! let accepted = countersign::tokio::accept(&service, socket, peer.ip()).await;
//! let mut session = accepted.map_err(|failure| failure.refusal)?;
//! println!("{} is here", session.facts().client());
//! while let Some(message) = session.receive().await? {
//!     let reply = message.to_ascii_uppercase();
//!     session.send(&reply).await?;
//! }
//! session.finish().await?;
//! # Ok(())
//! # }
//! ```

use crate::client::Client;
use crate::handshake::{
    AcceptorMachine, Agreed, Failed, Failure, Handshake, LINGER, LINGER_BYTES, Machine, Question as _, bare,
    late, network,
};
use crate::service::Service;
use crate::session::{self, Inbound, Outbound};
use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use ::tokio::time::timeout;
use countersign_proto::context::Facts;
use countersign_proto::error::Refusal;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Accepts one client on a connection that it opened from `address`. When this returns a failure the client has been
/// told what its protocol has a word for, and the connection is closed.
///
/// # Errors
/// Whatever ends the handshake without a context: the client's fault, the service's policy, the network, the deadline,
/// or that too many handshakes are open.
pub async fn accept<S>(service: &Service, mut stream: S, address: IpAddr) -> Result<Session<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ticket = service.admission().enter(address);
    let mut handshake = Handshake::await_peer(AcceptorMachine::new(service));
    let stopped = ::tokio::select! {
        biased;
        driven = drive(&mut handshake, &mut stream, service.handshake_deadline()) => driven,
        evicted = ticket.evicted() => Err(evicted.into()),
    };
    match handshake.conclude(stopped) {
        Ok(agreed) => match ticket.leave() {
            Ok(()) => Ok(Session::new(stream, agreed, service.max_message())),
            Err(evicted) => Err(agreed.failed(evicted.into())),
        },
        Err(Failed { failure, last_words }) => {
            ::tokio::select! {
                () = end(&mut stream, last_words) => (),
                _ = ticket.evicted() => (),
            }
            Err(failure)
        }
    }
}

/// Proves this client to the service at the other end of `stream`, and the service to it.
///
/// # Errors
/// Whatever ends the handshake before the service has proved itself.
pub async fn connect<S>(client: &Client, mut stream: S) -> Result<Session<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut handshake = Handshake::begin(&client.initiator().await.map_err(bare)?)?;
    let stopped = drive(&mut handshake, &mut stream, client.handshake_deadline()).await;
    match handshake.conclude(stopped) {
        Ok(agreed) => Ok(Session::new(stream, agreed, client.max_message())),
        Err(Failed { failure, last_words }) => {
            end(&mut stream, last_words).await;
            Err(failure)
        }
    }
}

/// Drives a handshake to its end, within the deadline; an error is a cause that lies outside of it.
async fn drive<M, S>(handshake: &mut Handshake<M>, stream: &mut S, deadline: Duration) -> Result<(), Refusal>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(deadline, exchange(handshake, stream)).await {
        Ok(exchanged) => exchanged.map_err(|error| network(&error)),
        Err(_) => Err(late(deadline)),
    }
}

async fn exchange<M, S>(handshake: &mut Handshake<M>, stream: &mut S) -> io::Result<()>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    while handshake.is_open() {
        if !handshake.output().is_empty() {
            send_output(handshake, stream).await?;
        }
        let count = stream.read(handshake.space()).await?;
        handshake.received(count);
        while let Some(question) = handshake.question() {
            let verdict = question.ask().await;
            handshake.answered(verdict);
        }
    }
    if handshake.is_agreed() { send_output(handshake, stream).await } else { Ok(()) }
}

async fn send_output<M, S>(handshake: &mut Handshake<M>, stream: &mut S) -> io::Result<()>
where
    M: Machine,
    S: AsyncWrite + Unpin,
{
    stream.write_all(handshake.output()).await?;
    stream.flush().await?;
    handshake.sent();
    Ok(())
}

/// Ends a connection whose handshake failed.
async fn end<S>(stream: &mut S, last_words: Option<Vec<u8>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(last_words) = last_words {
        // The peer may be gone or silent: what was refused stays refused whether or not it hears of it.
        let _ = timeout(LINGER, tell_and_close(stream, &last_words)).await;
    }
}

/// Sends the last token, ends our direction, and reads on for a moment: closing with bytes unread would reset the
/// connection, and the token could be lost with it.
async fn tell_and_close<S>(stream: &mut S, output: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if output.is_empty() {
        return stream.shutdown().await;
    }
    stream.write_all(output).await?;
    stream.shutdown().await?;
    let mut discarded = [0; 4_096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut discarded).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// A connection whose ends proved themselves to each other, on which sealed messages go both ways.
pub struct Session<S> {
    sending: Sending<S>,
    receiving: Receiving<S>,
}

/// The direction to the peer.
pub struct Sending<S> {
    facts: Arc<Facts>,
    outbound: Outbound,
    stream: WriteHalf<S>,
}

/// The direction from the peer.
pub struct Receiving<S> {
    facts: Arc<Facts>,
    inbound: Inbound,
    stream: ReadHalf<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S, agreed: Agreed, max_message: usize) -> Self {
        let (facts, outbound, inbound) = session::begin(agreed, max_message);
        let facts = Arc::new(facts);
        let (read, write) = ::tokio::io::split(stream);
        Self {
            sending: Sending { facts: facts.clone(), outbound, stream: write },
            receiving: Receiving { facts, inbound, stream: read },
        }
    }

    /// Who the ends are, by which keys, under which conditions.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.sending.facts
    }

    /// Whether the peer has shown that it holds the session's key: at a client from the start, at a service once a
    /// message came (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.receiving.peer_confirmed()
    }

    /// Seals and sends one message; see [`Sending::send`].
    ///
    /// # Errors
    /// As [`Sending::send`].
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.sending.send(message).await
    }

    /// Receives one message; see [`Receiving::receive`].
    ///
    /// # Errors
    /// As [`Receiving::receive`].
    pub async fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        self.receiving.receive().await
    }

    /// Receives one message, empty ones too; see [`Receiving::receive_any`].
    ///
    /// # Errors
    /// As [`Receiving::receive_any`].
    pub async fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        self.receiving.receive_any().await
    }

    /// Marks the end of what is sent; see [`Sending::finish`].
    ///
    /// # Errors
    /// As [`Sending::finish`].
    pub async fn finish(&mut self) -> Result<(), Refusal> {
        self.sending.finish().await
    }

    /// Both directions apart, for two tasks.
    #[must_use]
    pub fn into_split(self) -> (Sending<S>, Receiving<S>) {
        (self.sending, self.receiving)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sending<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Seals and sends one message of at most `max_message` bytes. An empty one is the mark of the end: see
    /// [`Sending::finish`].
    ///
    /// It can be cancelled without harm to the stream. What was left of an earlier message goes first, and may be all
    /// that a cancelled call did. Once the message is sealed it is accepted: whatever is then left of it goes with the next
    /// call, so it arrives, in order, though the call that sent it was cancelled.
    ///
    /// # Errors
    /// If it is too long, or the connection fails; after a failure of the connection always the same, because nobody
    /// knows how much the peer got.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        self.deliver().await?;
        self.outbound.seal(message)?;
        self.deliver().await
    }

    /// Sends the mark of the end if it was not the last message already, and ends this direction of the connection. If
    /// it is cancelled, call it again.
    ///
    /// # Errors
    /// If the connection fails, as for [`Sending::send`].
    pub async fn finish(&mut self) -> Result<(), Refusal> {
        self.deliver().await?;
        self.outbound.seal_mark()?;
        self.deliver().await?;
        self.stream.shutdown().await.map_err(|error| self.outbound.failed(&error))
    }

    /// Writes what is left of the last message.
    async fn deliver(&mut self) -> Result<(), Refusal> {
        loop {
            let remaining = self.outbound.remaining()?;
            if remaining.is_empty() {
                return self.stream.flush().await.map_err(|error| self.outbound.failed(&error));
            }
            let written = self.stream.write(remaining).await;
            self.outbound.wrote(written)?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiving<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the peer has shown that it holds the session's key; see [`Session::peer_confirmed`].
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.inbound.peer_confirmed()
    }

    /// The next message, or `None` at the mark of the end (an empty message), and from then on, without waiting. It can
    /// be cancelled without losing anything.
    ///
    /// # Errors
    /// If a message is refused, the connection fails or ends without the mark, or a further message has come after the
    /// mark; from then on always the same.
    pub async fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        if self.inbound.is_over()? || !self.fill().await? {
            return Ok(None);
        }
        Ok(self.inbound.next()?.filter(|message| !message.is_empty()))
    }

    /// The next message even if it is empty, or `None` if the connection ended after an empty one: for protocols in
    /// which an empty message marks no end. It can be cancelled without losing anything.
    ///
    /// # Errors
    /// As [`Receiving::receive`], but that messages may follow on an empty one.
    pub async fn receive_any(&mut self) -> Result<Option<&[u8]>, Refusal> {
        if self.fill().await? { self.inbound.next() } else { Ok(None) }
    }

    /// Reads until the next frame is there in whole; `false` if the connection ended after the mark of the end.
    async fn fill(&mut self) -> Result<bool, Refusal> {
        while !self.inbound.is_ready()? {
            match self.stream.read(self.inbound.space()).await {
                Ok(0) => return self.inbound.ended().map(|()| false),
                Ok(count) => self.inbound.filled(count),
                Err(error) => return Err(self.inbound.failed(&error)),
            }
        }
        Ok(true)
    }
}
