//! Services and clients on tokio streams.
//!
//! A [`Listener`] accepts clients and a [`Connector`] reaches a service; what both give is an [`AuthStream`], which reads and
//! writes bytes as any other stream does. For protocols that have messages of their own there is [`Session`], by [`accept`]
//! and [`connect`] on a stream of any kind, each message sealed as one.
//!
//! ```no_run
//! use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//!
//! # async fn service() -> Result<(), Box<dyn std::error::Error>> {
//! let service = countersign::Service::from_keytab("/etc/krb5.keytab")?;
//! let mut listener = countersign::tokio::Listener::bind(&service, "127.0.0.1:2000").await?;
//! loop {
//!     let (mut stream, peer) = listener.accept().await;
//!     tokio::spawn(async move {
//!         println!("{} is here from {peer}", stream.facts().client());
//!         stream.write_all(b"welcome\n").await?;
//!         stream.shutdown().await
//!     });
//! }
//! # }
//! ```

mod connector;
mod drive;
mod io;
mod listener;
mod session;
mod stream;

pub use connector::Connector;
pub use listener::Listener;
pub use session::{Receiving, Sending, Session};
pub use stream::{AuthStream, ReadHalf, WriteHalf};

use crate::client::Client;
use crate::handshake::{AcceptorMachine, Failed, Failure, Handshake, bare};
use crate::service::Service;
use ::tokio::io::{AsyncRead, AsyncWrite};
use drive::{drive, end};
use std::net::IpAddr;

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
    let mut handshake = Handshake::await_peer(AcceptorMachine::new(service), service.framing());
    let stopped = ::tokio::select! {
        biased;
        driven = drive(&mut handshake, &mut stream, service.handshake_deadline(), Some(&ticket)) => driven,
        evicted = ticket.evicted() => Err(evicted.into()),
    };
    match handshake.conclude(stopped) {
        Ok(agreed) => match ticket.leave() {
            Ok(()) => Ok(Session::new(stream, agreed, service.terms())),
            Err(evicted) => Err(agreed.failed(evicted.into())),
        },
        Err(Failed { failure, last_words }) => {
            // What a client whose ticket was opened said of itself is kept in the failure.
            if failure.facts.is_none() {
                ticket.let_go();
            }
            let held = service.hold_refusal(address, &failure);
            let told = async {
                if !held.is_zero() {
                    ::tokio::time::sleep(held).await;
                }
                end(&mut stream, last_words).await;
            };
            ::tokio::select! {
                () = told => (),
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
    client.protects_enough().map_err(bare)?;
    let mut handshake = Handshake::begin(&client.initiator().await.map_err(bare)?, client.framing())?;
    let stopped = drive(&mut handshake, &mut stream, client.handshake_deadline(), None).await;
    match handshake.conclude(stopped) {
        Ok(agreed) => Ok(Session::new(stream, agreed, client.terms())),
        Err(Failed { failure, last_words }) => {
            end(&mut stream, last_words).await;
            Err(failure)
        }
    }
}
