//! Services and clients on blocking streams.
//!
//! A [`Listener`] accepts clients and a [`Connector`] reaches a service; what both give is an [`AuthStream`], which reads and
//! writes bytes as any other stream does. For protocols that have messages of their own there is [`Session`], by [`accept`]
//! and [`connect`] on a socket, each message sealed as one.
//!
//! ```no_run
//! use std::io::{BufRead, Write};
//!
//! # fn client() -> Result<(), Box<dyn std::error::Error>> {
//! let client = countersign::Client::from_ccache("/tmp/krb5cc_1000", "echo/a.example.test@EXAMPLE.TEST")?;
//! let connector = countersign::blocking::Connector::new(client);
//! let mut stream = connector.connect("a.example.test:2000").map_err(|failure| failure.refusal)?;
//! writeln!(stream, "hello")?;
//! let mut answer = String::new();
//! stream.read_line(&mut answer)?;
//! stream.finish()?;
//! # Ok(())
//! # }
//! ```

mod connector;
mod io;
mod listener;
mod session;
mod stream;
mod transport;
pub(crate) mod wait;

pub use connector::Connector;
pub use listener::Listener;
pub use session::{Closer, Receiving, Sending, Session};
pub use stream::{AuthStream, ReadHalf, WriteHalf};
pub use transport::Transport;

use crate::client::Client;
use crate::handshake::{
    AcceptorMachine, Failed, Failure, Handshake, LINGER, LINGER_BYTES, Machine, Question as _, bare, late,
    network,
};
use crate::service::Service;
use countersign_proto::error::Refusal;
use std::net::{IpAddr, Shutdown};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transport::{Timed, is_timeout};

/// Accepts one client on a connection that it opened from `address`. When this returns a failure the client has been
/// told what its protocol has a word for, and the connection is closed.
///
/// # Errors
/// Whatever ends the handshake without a context: the client's fault, the service's policy, the network, the deadline,
/// or that too many handshakes are open.
pub fn accept<S: Transport>(service: &Service, stream: S, address: IpAddr) -> Result<Session<S>, Failure> {
    accept_closable(service, stream, address, |_| ())
}

/// [`accept`] of a client whose handshake `closable` can end: it is given a handle that lasts as long as the handshake.
fn accept_closable<S: Transport>(
    service: &Service,
    mut stream: S,
    address: IpAddr,
    closable: impl FnOnce(&Arc<S>),
) -> Result<Session<S>, Failure> {
    let ticket = service.admission().enter(address);
    let second = Arc::new(stream.second_handle().map_err(|error| bare(network(&error)))?);
    closable(&second);
    ticket.on_evict(move || {
        // It may have ended by itself.
        let _ = second.end(Shutdown::Both);
    });
    let mut handshake = Handshake::await_peer(AcceptorMachine::new(service), service.framing());
    let evicted = || ticket.eviction().map(Refusal::from);
    let hold = |bytes, until| {
        // It returns when memory is there, this handshake must give way, or the deadline has come: reading shows which.
        let _ = wait::until(until, Box::pin(ticket.hold(bytes)));
    };
    let stopped = drive(&mut handshake, &mut stream, service.handshake_deadline(), &evicted, &hold);
    match handshake.conclude(stopped) {
        Ok(agreed) => match ticket.leave() {
            Ok(()) => Session::new(stream, agreed, service.terms()),
            Err(evicted) => Err(agreed.failed(evicted.into())),
        },
        // The place is held until the last words are said, which being evicted cuts short.
        Err(failed) => {
            // What a client whose ticket was opened said of itself is kept in the failure.
            if failed.failure.facts.is_none() {
                ticket.let_go();
            }
            std::thread::sleep(service.hold_refusal(address, &failed.failure));
            Err(end(&mut stream, failed))
        }
    }
}

/// Proves this client to the service at the other end of `stream`, and the service to it.
///
/// # Errors
/// Whatever ends the handshake before the service has proved itself.
pub fn connect<S: Transport>(client: &Client, mut stream: S) -> Result<Session<S>, Failure> {
    client.protects_enough().map_err(bare)?;
    let mut handshake = Handshake::begin(&client.initiator_blocking().map_err(bare)?, client.framing())?;
    let stopped = drive(&mut handshake, &mut stream, client.handshake_deadline(), &|| None, &|_, _| ());
    match handshake.conclude(stopped) {
        Ok(agreed) => Session::new(stream, agreed, client.terms()),
        Err(failed) => Err(end(&mut stream, failed)),
    }
}

/// Drives a handshake to its end, within the deadline; an error is a cause that lies outside of it. One that is evicted
/// sees its connection fail or end, which is the consequence and not the cause. `hold` is told what the handshake is about to
/// hold, and waits at most until then for room.
fn drive<M: Machine, S: Transport>(
    handshake: &mut Handshake<M>,
    stream: &mut S,
    deadline: Duration,
    evicted: &dyn Fn() -> Option<Refusal>,
    hold: &dyn Fn(usize, Option<Instant>),
) -> Result<(), Refusal> {
    let outside = |error: &std::io::Error| {
        evicted().unwrap_or_else(|| if is_timeout(error) { late(deadline) } else { network(error) })
    };
    let mut timed = Timed::new(stream, Some(deadline));
    while handshake.is_open() {
        send_output(handshake, &mut timed).map_err(|error| outside(&error))?;
        hold(handshake.held(), timed.until());
        let count = timed.read(handshake.space()).map_err(|error| outside(&error))?;
        if let (0, Some(evicted)) = (count, evicted()) {
            return Err(evicted);
        }
        handshake.received(count);
        while let Some(question) = handshake.question() {
            hold(handshake.held(), timed.until());
            let Some(verdict) = wait::until(timed.until(), question.ask()) else {
                return Err(late(deadline));
            };
            handshake.answered(verdict);
        }
    }
    if !handshake.is_agreed() {
        return Ok(());
    }
    send_output(handshake, &mut timed).map_err(|error| outside(&error))
}

fn send_output<M: Machine, S: Transport>(
    handshake: &mut Handshake<M>,
    timed: &mut Timed<'_, S>,
) -> std::io::Result<()> {
    timed.write_all(handshake.output())?;
    handshake.sent();
    Ok(())
}

/// Ends a connection whose handshake failed.
fn end<S: Transport>(stream: &mut S, Failed { failure, last_words }: Failed) -> Failure {
    // The peer may be gone or silent: what was refused stays refused whether or not it hears of it.
    let _ = match last_words {
        Some(last_words) if !last_words.is_empty() => tell_and_close(stream, &last_words),
        _ => stream.end(Shutdown::Both),
    };
    failure
}

/// Sends the last token, ends our direction, and reads on for a moment: closing with bytes unread would reset the
/// connection, and the token could be lost with it.
fn tell_and_close<S: Transport>(stream: &mut S, last_words: &[u8]) -> std::io::Result<()> {
    let mut timed = Timed::new(stream, Some(LINGER));
    timed.write_all(last_words)?;
    timed.end(Shutdown::Write)?;
    let mut discarded = [0; 4_096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match timed.read(&mut discarded)? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    timed.end(Shutdown::Both)
}
