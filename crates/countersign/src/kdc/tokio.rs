//! The driver for tokio.

use super::Parcel;
use super::blocking::{DATAGRAM, any_port};
use super::delivery::{Delivery, Step};
use super::error::Trouble;
use super::proxy;
use super::reply::{Assembly, framed};
use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpStream, UdpSocket, lookup_host};
use ::tokio::time::timeout_at;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

/// Does what `delivery` says until all is over.
pub(super) async fn drive(
    delivery: &mut Delivery,
    parcel: &Parcel<'_>,
    accepts: &mut (dyn FnMut(&[u8]) -> bool + Send),
) {
    let mut datagrams = Datagrams::default();
    loop {
        let came = match delivery.next(Instant::now()) {
            Step::Over => return,
            Step::Resolve { host, port, until } => {
                let found = within(until, async { Ok(lookup_host((host.as_str(), port)).await?.collect()) });
                delivery.resolved(found.await, Instant::now());
                continue;
            }
            Step::Datagram { to, send, until } => {
                within(until, datagrams.exchange(to, send.then_some(parcel.request))).await
            }
            Step::Connection { to, until } => {
                within(until, connection(to, parcel.request)).await.and_then(|answer| answer)
            }
            Step::Post { url, until } => proxy::post(&url, parcel, until).await,
        };
        delivery.came(came, accepts, Instant::now());
    }
}

async fn within<T>(until: Instant, work: impl Future<Output = io::Result<T>>) -> Result<T, Trouble> {
    match timeout_at(until.into(), work).await {
        Ok(done) => done.map_err(|error| Trouble::from(&error)),
        Err(_) => Err(Trouble::Silent),
    }
}

/// The sockets of all KDCs that were sent a datagram.
#[derive(Default)]
struct Datagrams {
    sockets: Vec<(SocketAddr, UdpSocket)>,
    buffer: Vec<u8>,
}

impl Datagrams {
    /// The next datagram from `to`, after sending it `request` if there is one.
    async fn exchange(&mut self, to: SocketAddr, request: Option<&[u8]>) -> io::Result<Vec<u8>> {
        let at = match self.sockets.iter().position(|(address, _)| *address == to) {
            Some(at) => at,
            None => {
                let socket = UdpSocket::bind(any_port(to)).await?;
                socket.connect(to).await?;
                self.sockets.push((to, socket));
                self.sockets.len().saturating_sub(1)
            }
        };
        self.buffer.resize(DATAGRAM, 0);
        let Some((_, socket)) = self.sockets.get(at) else { return Err(io::ErrorKind::NotConnected.into()) };
        if let Some(request) = request {
            socket.send(request).await?;
        }
        let count = socket.recv(&mut self.buffer).await?;
        Ok(self.buffer.get(..count).unwrap_or_default().to_vec())
    }
}

/// One exchange on a connection of its own.
async fn connection(to: SocketAddr, request: &[u8]) -> io::Result<Result<Vec<u8>, Trouble>> {
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(&framed(request)).await?;
    let mut assembly = Assembly::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let wants = match assembly.wants() {
            Ok(0) => return Ok(Ok(assembly.into_message())),
            Ok(wants) => wants,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let piece = buffer.get_mut(..wants).unwrap_or_default();
        match stream.read(piece).await? {
            0 => return Ok(Err(Trouble::Cut)),
            count => assembly.take(piece.get(..count).unwrap_or_default()),
        }
    }
}
