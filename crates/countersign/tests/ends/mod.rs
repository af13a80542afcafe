//! A client and a service with hand-made keys and tickets, for tests of the drivers: over sockets and pipes of every
//! kind, without any KDC.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

pub(crate) mod kinds;
pub(crate) mod pipe;
pub(crate) mod tasks;

use countersign::blocking::{self, Transport};
use countersign::proto::context::{Acceptor, Initiator};
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Failure, Service, ServiceConfig};
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::Direction;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};

/// Where all clients of these tests come from.
pub(crate) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Longer than any handshake takes, on machines that are busy.
pub(crate) const AMPLE: Duration = Duration::from_secs(60);

/// So short that a test can wait for it.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

fn mint() -> Mint {
    Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() }
}

/// The parts of a service with everything else as it is by default.
pub(crate) fn service_config() -> ServiceConfig {
    let acceptor = Acceptor::new(mint().service_keys(), AcceptorPolicy::default());
    ServiceConfig { handshake_deadline: AMPLE, ..ServiceConfig::new(acceptor) }
}

/// A service of these parts.
pub(crate) fn service() -> Service {
    Service::new(service_config())
}

/// The parts of a client with a ticket for that service.
pub(crate) fn client_config() -> ClientConfig {
    let mint = mint();
    let ccache = mint.ccache(&[mint.ticket()]);
    let initiator = Initiator::from_ccache(&ccache, &mint.service, InitiatorPolicy::default(), mint.now);
    let config = ClientConfig::new(ClientCredential::Ready(initiator.unwrap()));
    ClientConfig { handshake_deadline: AMPLE, ..config }
}

/// A client of these parts.
pub(crate) fn client() -> Client {
    Client::new(client_config())
}

/// One of the library's two faces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Face {
    Blocking,
    Tokio,
}

/// Both.
pub(crate) const FACES: [Face; 2] = [Face::Blocking, Face::Tokio];

/// A socket that both faces can use.
pub(crate) trait Socket: Transport {
    /// The same for the other face.
    type Async: AsyncRead + AsyncWrite + Unpin + Send;
    /// Must be called where a runtime runs.
    fn into_async(self) -> Self::Async;
}

impl Socket for TcpStream {
    type Async = tokio::net::TcpStream;
    fn into_async(self) -> Self::Async {
        self.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(self).unwrap()
    }
}

impl Socket for UnixStream {
    type Async = tokio::net::UnixStream;
    fn into_async(self) -> Self::Async {
        self.set_nonblocking(true).unwrap();
        tokio::net::UnixStream::from_std(self).unwrap()
    }
}

/// Two ends of a TCP connection.
pub(crate) fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Two ends of a Unix socket.
pub(crate) fn unix() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

/// Runs a future to its end, in this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A session of either face.
pub(crate) enum Session<S: Socket> {
    Blocking(blocking::Session<S>),
    Tokio(tokio::runtime::Runtime, countersign::tokio::Session<S::Async>),
}

/// Accepts with one of the faces.
pub(crate) fn accept<S: Socket>(face: Face, service: &Service, socket: S) -> Result<Session<S>, Failure> {
    match face {
        Face::Blocking => blocking::accept(service, socket, ADDRESS).map(Session::Blocking),
        Face::Tokio => {
            on_runtime(async { countersign::tokio::accept(service, socket.into_async(), ADDRESS).await })
        }
    }
}

/// Connects with one of the faces.
pub(crate) fn connect<S: Socket>(face: Face, client: &Client, socket: S) -> Result<Session<S>, Failure> {
    match face {
        Face::Blocking => blocking::connect(client, socket).map(Session::Blocking),
        Face::Tokio => on_runtime(async { countersign::tokio::connect(client, socket.into_async()).await }),
    }
}

fn on_runtime<S: Socket>(
    handshake: impl Future<Output = Result<countersign::tokio::Session<S::Async>, Failure>>,
) -> Result<Session<S>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let session = runtime.block_on(handshake)?;
    Ok(Session::Tokio(runtime, session))
}

/// What both faces' sessions can do.
impl<S: Socket> Session<S> {
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), countersign::Refusal> {
        match self {
            Self::Blocking(session) => session.send(message),
            Self::Tokio(runtime, session) => runtime.block_on(session.send(message)),
        }
    }

    pub(crate) fn receive(&mut self) -> Result<Option<Vec<u8>>, countersign::Refusal> {
        let message = match self {
            Self::Blocking(session) => session.receive()?,
            Self::Tokio(runtime, session) => runtime.block_on(session.receive())?,
        };
        Ok(message.map(<[u8]>::to_vec))
    }

    pub(crate) fn finish(&mut self) -> Result<(), countersign::Refusal> {
        match self {
            Self::Blocking(session) => session.finish(),
            Self::Tokio(runtime, session) => runtime.block_on(session.finish()),
        }
    }

    pub(crate) fn facts(&self) -> &countersign::proto::context::Facts {
        match self {
            Self::Blocking(session) => session.facts(),
            Self::Tokio(_, session) => session.facts(),
        }
    }

    pub(crate) fn peer_confirmed(&self) -> bool {
        match self {
            Self::Blocking(session) => session.peer_confirmed(),
            Self::Tokio(_, session) => session.peer_confirmed(),
        }
    }
}

/// A service's and a client's session with each other.
pub(crate) fn sessions<S: Socket>(
    (serving, connecting): (Face, Face),
    service: &Service,
    client: &Client,
    (near, far): (S, S),
) -> (Session<S>, Session<S>) {
    std::thread::scope(|scope| {
        let service = scope.spawn(|| succeeds(accept(serving, service, far)));
        let client = succeeds(connect(connecting, client, near));
        (service.join().unwrap(), client)
    })
}

/// The session, or a panic that tells why there is none.
#[track_caller]
pub(crate) fn succeeds<S>(handshake: Result<S, Failure>) -> S {
    handshake.unwrap_or_else(|failure| panic!("{}", failure.refusal))
}

/// Why there is no session.
#[track_caller]
pub(crate) fn fails<S>(handshake: Result<S, Failure>) -> Failure {
    handshake.err().expect("a handshake that fails")
}

/// Two ends of a connection on which `alter` may change each frame of one direction on its way; what it empties is
/// not passed on.
pub(crate) fn tapped(
    direction: Direction,
    alter: impl FnMut(&mut Vec<u8>) + Send + 'static,
) -> (UnixStream, UnixStream) {
    let ((near, inner_near), (inner_far, far)) = (unix(), unix());
    let there = (inner_near.try_clone().unwrap(), inner_far.try_clone().unwrap());
    let back = (inner_far, inner_near);
    let (altered, plain) = match direction {
        Direction::ToAcceptor => (there, back),
        Direction::ToInitiator => (back, there),
    };
    std::thread::spawn(move || pass(altered, alter));
    std::thread::spawn(move || pass(plain, |_| ()));
    (near, far)
}

/// Ends with either end; that one goes away is no failure.
fn pass((mut from, mut to): (UnixStream, UnixStream), mut alter: impl FnMut(&mut Vec<u8>)) {
    while let Ok(mut frame) = frame(&mut from) {
        alter(&mut frame);
        if !frame.is_empty() && to.write_all(&framed(&frame)).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn frame(from: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

/// A frame around `bytes`.
pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes()[..], bytes].concat()
}
