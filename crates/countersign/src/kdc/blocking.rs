//! The driver for threads.

use super::Parcel;
use super::delivery::{Delivery, Step};
use super::error::Trouble;
use super::proxy;
use super::reply::{Assembly, framed};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Room for the longest datagram there is.
pub(super) const DATAGRAM: usize = 65_536;

/// Most look-ups that go on in threads although nobody waits for them any more.
const MAX_THREADS: usize = 64;

/// Does what `delivery` says until all is over.
pub(super) fn drive(delivery: &mut Delivery, parcel: &Parcel<'_>, accepts: &mut dyn FnMut(&[u8]) -> bool) {
    let mut datagrams = Datagrams::default();
    loop {
        let came = match delivery.next(Instant::now()) {
            Step::Over => return,
            Step::Resolve { host, port, until } => {
                delivery.resolved(resolve(host, port, until), Instant::now());
                continue;
            }
            Step::Datagram { to, send, until } => {
                datagrams.exchange(to, send.then_some(parcel.request), until).map_err(|error| (&error).into())
            }
            Step::Connection { to, until } => connection(to, parcel.request, until),
            Step::Post { url, until } => proxy::post_blocking(&url, parcel, until),
        };
        delivery.came(came, accepts, Instant::now());
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
    fn exchange(&mut self, to: SocketAddr, request: Option<&[u8]>, until: Instant) -> io::Result<Vec<u8>> {
        let at = match self.sockets.iter().position(|(address, _)| *address == to) {
            Some(at) => at,
            None => {
                let socket = UdpSocket::bind(any_port(to))?;
                socket.connect(to)?;
                self.sockets.push((to, socket));
                self.sockets.len().saturating_sub(1)
            }
        };
        let Some((_, socket)) = self.sockets.get(at) else { return Err(io::ErrorKind::NotConnected.into()) };
        self.buffer.resize(DATAGRAM, 0);
        if let Some(request) = request {
            socket.send(request)?;
        }
        loop {
            socket.set_read_timeout(Some(left(until)?))?;
            match socket.recv(&mut self.buffer) {
                Ok(count) => return Ok(self.buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A port of the system's choice, for a peer of that family.
pub(super) fn any_port(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// One exchange on a connection of its own.
fn connection(to: SocketAddr, request: &[u8], until: Instant) -> Result<Vec<u8>, Trouble> {
    let failed = |error: io::Error| Trouble::from(&error);
    let mut stream = left(until).and_then(|left| TcpStream::connect_timeout(&to, left)).map_err(failed)?;
    write(&mut stream, &framed(request), until).map_err(failed)?;
    let mut assembly = Assembly::default();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let wants = assembly.wants()?;
        if wants == 0 {
            return Ok(assembly.into_message());
        }
        let piece = buffer.get_mut(..wants).unwrap_or_default();
        match read(&mut stream, piece, until).map_err(failed)? {
            0 => return Err(Trouble::Cut),
            count => assembly.take(piece.get(..count).unwrap_or_default()),
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// The time left until then; the sockets take no wait of nothing.
pub(super) fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The addresses of a name, in the system's order.
fn resolve(host: String, port: u16, until: Instant) -> Result<Vec<SocketAddr>, Trouble> {
    let found = in_thread(until, move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect))?;
    found.map_err(|error| Trouble::from(&error))
}

/// What `work` yields, if it does until then. The system's resolver takes no deadline: a thread that waits for it is left to
/// itself when the time is up.
pub(super) fn in_thread<T: Send + 'static>(
    until: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let place =
        Place::take().ok_or_else(|| Trouble::Io(format!("{MAX_THREADS} earlier look-ups still wait")))?;
    let (send, receive) = channel();
    let thread = thread::Builder::new().name("countersign-lookup".into()).spawn(move || {
        let value = work();
        drop(place);
        // Who asked may have given up.
        let _ = send.send(value);
    });
    thread.map_err(|error| Trouble::from(&error))?;
    let left = left(until).map_err(|error| Trouble::from(&error))?;
    receive.recv_timeout(left).map_err(|error| match error {
        RecvTimeoutError::Timeout => Trouble::Silent,
        RecvTimeoutError::Disconnected => Trouble::Io("the look-up ended without an answer".into()),
    })
}

/// One of the [`MAX_THREADS`].
struct Place;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Place {
    fn take() -> Option<Self> {
        let taken = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            taken.checked_add(1).filter(|taken| *taken <= MAX_THREADS)
        });
        taken.ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::Relaxed);
    }
}
