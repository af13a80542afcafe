//! Services and clients on tokio streams.
//!
//! ```no_run
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! let service = countersign::Service::from_keytab("/etc/krb5.keytab")?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:2000").await?;
//! let (socket, peer) = listener.accept().await?;
//! let mut session = countersign::tokio::accept(&service, socket, peer.ip()).await?;
//! println!("{} is here", session.facts().client);
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
    AcceptorMachine, Agreed, Failure, Handshake, InitiatorMachine, LINGER, LINGER_BYTES, Machine, Progress,
    bare, late, network,
};
use crate::service::Service;
use crate::session::{self, Inbound, Outbound, failed};
use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use ::tokio::time::timeout;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::facts::Facts;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

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
    let handshake = Handshake::await_peer(AcceptorMachine::new(service));
    let agreed = ::tokio::select! {
        agreed = drive(handshake, &mut stream, service.handshake_deadline()) => agreed?,
        evicted = ticket.evicted() => return Err(bare(evicted.into())),
    };
    ticket.leave().map_err(|evicted| bare(evicted.into()))?;
    Ok(Session::new(stream, agreed, service.max_message()))
}

/// Proves this client to the service at the other end of `stream`, and the service to it.
///
/// # Errors
/// Whatever ends the handshake before the service has proved itself.
pub async fn connect<S>(client: &Client, mut stream: S) -> Result<Session<S>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut token = Vec::new();
    let machine = InitiatorMachine::begin(client.initiator(), &mut token);
    let handshake = Handshake::begin_with(machine, &token)?;
    let agreed = drive(handshake, &mut stream, client.handshake_deadline()).await?;
    Ok(Session::new(stream, agreed, client.max_message()))
}

/// Where a handshake stands while the driver waits: taken out while a step is made.
struct Driven<M> {
    handshake: Option<Handshake<M>>,
}

/// Drives a handshake to its end, within the deadline; a refusal is told and the connection ended.
async fn drive<M, S>(
    handshake: Handshake<M>,
    stream: &mut S,
    deadline: std::time::Duration,
) -> Result<Agreed, Failure>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut driven = Driven { handshake: Some(handshake) };
    let ended = match timeout(deadline, exchange(&mut driven, stream)).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(driven.abandon(network(&error))),
        Err(_) => return Err(driven.abandon(late(deadline))),
    };
    match ended {
        Ended::Agreed(agreed) => Ok(agreed),
        Ended::Closed(failure) => Err(failure),
        Ended::Refused { failure, output } => {
            // The peer may be gone or silent: what was refused stays refused whether or not it hears of it.
            let _ = timeout(LINGER, tell_and_close(stream, &output)).await;
            Err(failure)
        }
    }
}

impl<M: Machine> Driven<M> {
    fn abandon(&mut self, cause: Refusal) -> Failure {
        match self.handshake.take() {
            Some(handshake) => handshake.abandon(cause),
            None => bare(cause),
        }
    }
}

enum Ended {
    Agreed(Agreed),
    Closed(Failure),
    Refused { failure: Failure, output: Vec<u8> },
}

async fn exchange<M, S>(driven: &mut Driven<M>, stream: &mut S) -> io::Result<Ended>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Some(handshake) = &mut driven.handshake else {
            return Err(io::Error::other("a handshake that has ended was driven on"));
        };
        if !handshake.output().is_empty() {
            stream.write_all(handshake.output()).await?;
            stream.flush().await?;
            handshake.sent();
        }
        let count = stream.read(handshake.space()).await?;
        let Some(handshake) = driven.handshake.take() else { continue };
        if count == 0 {
            return Ok(Ended::Closed(handshake.closed()));
        }
        match handshake.received(count) {
            Progress::Pending(handshake) => driven.handshake = Some(handshake),
            Progress::Failed { failure, output } => return Ok(Ended::Refused { failure, output }),
            Progress::Done(agreed) => {
                stream.write_all(&agreed.output).await?;
                stream.flush().await?;
                return Ok(Ended::Agreed(agreed));
            }
        }
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

    /// Whether the peer has shown by a message that it holds the session's key (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.receiving.inbound.has_verified_any()
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
    /// # Errors
    /// If it is too long, or the connection fails.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let frame = self.outbound.seal(message)?;
        self.stream.write_all(frame).await.map_err(|error| failed("writing", &error))?;
        self.stream.flush().await.map_err(|error| failed("writing", &error))
    }

    /// Sends the mark of the end, and ends this direction of the connection.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn finish(&mut self) -> Result<(), Refusal> {
        self.send(&[]).await?;
        self.stream.shutdown().await.map_err(|error| failed("ending", &error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiving<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The next message, or `None` at the mark of the end (an empty message). It can be cancelled without losing anything.
    ///
    /// # Errors
    /// If a message is refused, the connection fails, or it ends without the mark; from then on always the same.
    pub async fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        while !self.inbound.is_ready()? {
            let count =
                self.stream.read(self.inbound.space()).await.map_err(|error| failed("reading", &error))?;
            if count == 0 {
                return Err(self.inbound.ended());
            }
            self.inbound.filled(count);
        }
        Ok(self.inbound.next()?.filter(|message| !message.is_empty()))
    }
}
