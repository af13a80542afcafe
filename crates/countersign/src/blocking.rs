//! Services and clients on blocking streams.
//!
//! ```no_run
//! # fn client() -> Result<(), Box<dyn std::error::Error>> {
//! let client = countersign::Client::from_ccache("/tmp/krb5cc_1000", "echo/a.example.test@EXAMPLE.TEST")?;
//! let socket = std::net::TcpStream::connect("a.example.test:2000")?;
//! let mut session = countersign::blocking::connect(&client, socket)?;
//! session.send(b"hello")?;
//! println!("{} says {:?}", session.facts().service, session.receive()?);
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
use countersign_proto::error::Refusal;
use countersign_proto::krb5::facts::Facts;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A stream whose reads and writes can be bounded in time, and whose directions can be ended apart.
pub trait Transport: Read + Write + Sized + Send + 'static {
    /// Bounds each read and write from now on; `None` lets them wait for ever.
    ///
    /// # Errors
    /// If the system refuses.
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Ends directions of the connection.
    ///
    /// # Errors
    /// If the connection has ended already.
    fn end(&self, directions: Shutdown) -> io::Result<()>;
    /// A second handle of the same connection.
    ///
    /// # Errors
    /// If the system has no handle left.
    fn second_handle(&self) -> io::Result<Self>;
}

macro_rules! transport {
    ($stream:ty) => {
        impl Transport for $stream {
            fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.set_read_timeout(timeout)?;
                self.set_write_timeout(timeout)
            }
            fn end(&self, directions: Shutdown) -> io::Result<()> {
                self.shutdown(directions)
            }
            fn second_handle(&self) -> io::Result<Self> {
                self.try_clone()
            }
        }
    };
}

transport!(TcpStream);
#[cfg(unix)]
transport!(std::os::unix::net::UnixStream);

/// Accepts one client on a connection that it opened from `address`. When this returns a failure the client has been
/// told what its protocol has a word for, and the connection is closed.
///
/// # Errors
/// Whatever ends the handshake without a context: the client's fault, the service's policy, the network, the deadline,
/// or that too many handshakes are open.
pub fn accept<S: Transport>(
    service: &Service,
    mut stream: S,
    address: IpAddr,
) -> Result<Session<S>, Failure> {
    let ticket = service.admission().enter(address);
    let second = stream.second_handle().map_err(|error| bare(network(&error)))?;
    ticket.on_evict(move || {
        // It may have ended by itself.
        let _ = second.end(Shutdown::Both);
    });
    let handshake = Handshake::await_peer(AcceptorMachine::new(service));
    let agreed = drive(handshake, &mut stream, service.handshake_deadline());
    ticket.leave().map_err(|evicted| bare(evicted.into()))?;
    Session::new(stream, agreed?, service.max_message())
}

/// Proves this client to the service at the other end of `stream`, and the service to it.
///
/// # Errors
/// Whatever ends the handshake before the service has proved itself.
pub fn connect<S: Transport>(client: &Client, mut stream: S) -> Result<Session<S>, Failure> {
    let mut token = Vec::new();
    let machine = InitiatorMachine::begin(client.initiator(), &mut token);
    let handshake = Handshake::begin_with(machine, &token)?;
    let agreed = drive(handshake, &mut stream, client.handshake_deadline())?;
    Session::new(stream, agreed, client.max_message())
}

/// Drives a handshake to its end, within the deadline; a refusal is told and the connection ended.
fn drive<M: Machine, S: Transport>(
    mut handshake: Handshake<M>,
    stream: &mut S,
    limit: Duration,
) -> Result<Agreed, Failure> {
    let mut timed = Timed { stream, until: Instant::now().checked_add(limit) };
    loop {
        let count = match timed.turn(&mut handshake) {
            Ok(count) => count,
            Err(error) if is_timeout(&error) => return Err(handshake.abandon(late(limit))),
            Err(error) => return Err(handshake.abandon(network(&error))),
        };
        if count == 0 {
            return Err(handshake.closed());
        }
        match handshake.received(count) {
            Progress::Pending(pending) => handshake = pending,
            Progress::Done(agreed) => {
                return timed.write(&agreed.output).map(|()| agreed).map_err(|error| bare(network(&error)));
            }
            Progress::Failed { failure, output } => {
                // The peer may be gone or silent: what was refused stays refused whether or not it hears of it.
                let _ = tell_and_close(timed.stream, &output);
                return Err(failure);
            }
        }
    }
}

/// A stream all of whose reads and writes end at one moment.
struct Timed<'s, S> {
    stream: &'s mut S,
    until: Option<Instant>,
}

impl<S: Transport> Timed<'_, S> {
    /// Sends what is to be sent and reads once.
    fn turn<M: Machine>(&mut self, handshake: &mut Handshake<M>) -> io::Result<usize> {
        self.write(handshake.output())?;
        handshake.sent();
        self.arm()?;
        retried(|| self.stream.read(handshake.space()))
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.arm()?;
            let count = retried(|| self.stream.write(bytes))?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
        self.stream.flush()
    }

    fn arm(&self) -> io::Result<()> {
        let Some(until) = self.until else { return self.stream.set_timeout(None) };
        match until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => self.stream.set_timeout(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Systems tell a timeout in one of two ways.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn retried(mut action: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Sends the last token, ends our direction, and reads on for a moment: closing with bytes unread would reset the
/// connection, and the token could be lost with it.
fn tell_and_close<S: Transport>(stream: &mut S, output: &[u8]) -> io::Result<()> {
    if output.is_empty() {
        return stream.end(Shutdown::Both);
    }
    let mut timed = Timed { stream, until: Instant::now().checked_add(LINGER) };
    timed.write(output)?;
    timed.stream.end(Shutdown::Write)?;
    let mut discarded = [0; 4_096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        timed.arm()?;
        match retried(|| timed.stream.read(&mut discarded))? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    timed.stream.end(Shutdown::Both)
}

/// A connection whose ends proved themselves to each other, on which sealed messages go both ways.
pub struct Session<S> {
    facts: Facts,
    outbound: Outbound,
    inbound: Inbound,
    stream: S,
}

impl<S: Transport> Session<S> {
    fn new(stream: S, agreed: Agreed, max_message: usize) -> Result<Self, Failure> {
        stream.set_timeout(None).map_err(|error| bare(network(&error)))?;
        let (facts, outbound, inbound) = session::begin(agreed, max_message);
        Ok(Self { facts, outbound, inbound, stream })
    }

    /// Who the ends are, by which keys, under which conditions.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the peer has shown by a message that it holds the session's key (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.inbound.has_verified_any()
    }

    /// Seals and sends one message of at most `max_message` bytes. An empty one is the mark of the end: see
    /// [`Session::finish`].
    ///
    /// # Errors
    /// If it is too long, or the connection fails.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let frame = self.outbound.seal(message)?;
        self.stream.write_all(frame).map_err(|error| failed("writing", &error))?;
        self.stream.flush().map_err(|error| failed("writing", &error))
    }

    /// The next message, or `None` at the mark of the end (an empty message).
    ///
    /// # Errors
    /// If a message is refused, the connection fails, or it ends without the mark; from then on always the same.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Refusal> {
        while !self.inbound.is_ready()? {
            let stream = &mut self.stream;
            let space = self.inbound.space();
            let count = retried(|| stream.read(space)).map_err(|error| failed("reading", &error))?;
            if count == 0 {
                return Err(self.inbound.ended());
            }
            self.inbound.filled(count);
        }
        Ok(self.inbound.next()?.filter(|message| !message.is_empty()))
    }

    /// Sends the mark of the end, and ends this direction of the connection.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        self.send(&[])?;
        self.stream.end(Shutdown::Write).map_err(|error| failed("ending", &error))
    }
}
