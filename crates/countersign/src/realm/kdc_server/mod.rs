//! The KDC of a realm on the network: UDP and TCP at one port (RFC 4120 section 7.2).
//!
//! The work itself is done on threads that drive no sockets, as many at a time as there is something to gain from, and one
//! address has at most half of them: a flood of requests, or of guesses that wait for each other, costs others little.

mod datagrams;
mod streams;
mod turns;

use super::ServedRealm;
use crate::ambient;
use ::tokio::net::{TcpListener, UdpSocket};
use ::tokio::task::spawn_blocking;
use countersign_proto::der::Writer;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::kdc_exchange::ticket_granting_service;
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_realm::KdcRecord;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use turns::Turns;

/// How often a port is tried that is to be free for UDP and TCP.
const PORTS_TRIED: usize = 32;

/// Fewest requests that are answered at once.
const LEAST_AT_ONCE: usize = 4;

/// How a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

impl Transport {
    /// The word for logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One request that came, for the log.
#[derive(Clone, Debug)]
pub struct Served {
    /// From where.
    pub peer: SocketAddr,
    /// How.
    pub transport: Transport,
    /// What became of it.
    pub record: KdcRecord,
    /// How long the answer took, waiting for others included.
    pub took: Duration,
}

/// The KDC's sockets, which listen already.
pub struct KdcServer {
    datagrams: UdpSocket,
    streams: TcpListener,
    address: SocketAddr,
}

impl KdcServer {
    /// Listens at `address`, by UDP and by TCP; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// `LISTEN_FAILED`.
    pub async fn bind(address: SocketAddr) -> Result<Self, Refusal> {
        let failed = |error: &io::Error| {
            Refusal::new(code::LISTEN_FAILED, format!("{address} ({error})"), "nowhere else to listen")
        };
        let tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..tries {
            match Self::bind_once(address).await {
                Ok(server) => return Ok(server),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                Err(error) => return Err(failed(&error)),
            }
        }
        Err(failed(&last))
    }

    async fn bind_once(address: SocketAddr) -> io::Result<Self> {
        let streams = TcpListener::bind(address).await?;
        let address = streams.local_addr()?;
        let datagrams = UdpSocket::bind(address).await?;
        Ok(Self { datagrams, streams, address })
    }

    /// Where it listens, with the port as bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with the realm's KDC until it is dropped. `note` is told of each request, and must not block.
    pub async fn serve(self, realm: Arc<ServedRealm>, note: impl Fn(&Served) + Send + Sync + 'static) {
        let desk = Desk { realm, turns: Turns::new(at_once()), note: Arc::new(note) };
        ::tokio::select! {
            () = datagrams::serve(self.datagrams, desk.clone()) => (),
            () = streams::serve(self.streams, desk) => (),
        }
    }
}

/// Requests that are answered at once: SPAKE is computation alone, and some wait for others.
fn at_once() -> usize {
    available_parallelism().map_or(LEAST_AT_ONCE, |cores| cores.get().saturating_mul(2).max(LEAST_AT_ONCE))
}

/// Where every request is answered.
struct Desk<N> {
    realm: Arc<ServedRealm>,
    turns: Turns,
    note: Arc<N>,
}

impl<N> Clone for Desk<N> {
    fn clone(&self) -> Self {
        Self { realm: Arc::clone(&self.realm), turns: self.turns.clone(), note: Arc::clone(&self.note) }
    }
}

impl<N: Fn(&Served) + Send + Sync + 'static> Desk<N> {
    /// The reply to a request, when it is its turn; none if it is no request, or its address has too many waiting already.
    async fn answer(&self, request: Vec<u8>, peer: SocketAddr, transport: Transport) -> Option<Vec<u8>> {
        let began = Instant::now();
        let turn = self.turns.wait(source(peer.ip())).await?;
        let realm = Arc::clone(&self.realm);
        // The turn goes with the work: it cannot be stopped, and counts until it is done.
        let handled = spawn_blocking(move || {
            let handled = realm.handle(&request);
            drop(turn);
            handled
        });
        let handled = handled.await.ok()?;
        (self.note)(&Served { peer, transport, record: handled.record, took: began.elapsed() });
        handled.reply
    }
}

/// A KRB-ERROR about the way a request came, or its answer would go, in the name of the realm's KDC.
fn error(error_code: i32, realm: &str) -> Vec<u8> {
    let service = &ticket_granting_service(realm.as_bytes(), realm.as_bytes());
    let mut out = Vec::new();
    NewKrbError { stime: ambient::now(), error_code, client: None, service, e_data: None }
        .write(&mut Writer::new(&mut out));
    out
}

/// What counts as one address: of IPv6 the network of 64 bits, which one host has all of.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}
