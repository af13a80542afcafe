use super::stream::AuthStream;
use super::{Closer, Session, accept_closable};
use crate::mutex::lock;
use crate::service::Service;
use crate::unaccepted::{Observer, Unaccepted};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

/// How many authenticated clients may wait for [`Listener::accept`] before no more connections are taken in; handshakes that have
/// begun then are ended.
const WAITING: usize = 64;

/// How long ending the listener may take to be noticed where nobody can connect to it any more.
const WAKING: Duration = Duration::from_secs(1);

/// Accepts clients, and gives out only those that have proved who they are.
///
/// Handshakes run beside each other in threads of their own, so that a client that is slow delays nobody else; how many there
/// may be is bounded by the service's [`HandshakeLimits`](crate::limits::HandshakeLimits). Several threads may wait in
/// [`Listener::accept`]. Dropping it stops listening, and ends the handshakes that go on.
pub struct Listener {
    address: SocketAddr,
    accepted: Mutex<Receiver<Accepted>>,
    open: Arc<Open>,
    /// Takes connections in.
    taking: Option<JoinHandle<()>>,
}

/// What ends with the listener.
#[derive(Default)]
struct Open {
    ended: AtomicBool,
    /// The handshakes that go on.
    handshakes: Mutex<BTreeMap<SocketAddr, Closer<TcpStream>>>,
    /// How many authenticated clients nobody has taken yet.
    unclaimed: Mutex<usize>,
    claimed: Condvar,
}

type Accepted = (Session<TcpStream>, SocketAddr);

impl Listener {
    /// Listens at an address, and tells nobody of clients that are refused.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn bind(service: &Service, address: impl ToSocketAddrs) -> io::Result<Self> {
        Self::new(service, TcpListener::bind(address)?, |_| ())
    }

    /// Accepts from a socket that listens already, and tells `observer` of every client that is refused, and of errors of the
    /// system.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new(
        service: &Service,
        listener: TcpListener,
        observer: impl Fn(Unaccepted<'_>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (send, accepted) = mpsc::sync_channel(WAITING);
        let open = Arc::<Open>::default();
        let taking = Taking { service: service.clone(), send, told: Arc::new(observer), open: open.clone() };
        let thread = thread::Builder::new().name("countersign listener".into());
        let taking = thread.spawn(move || taking.run(&listener))?;
        Ok(Self { address, accepted: Mutex::new(accepted), open, taking: Some(taking) })
    }

    /// The address that it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next client that has proved who it is, and where it came from.
    ///
    /// # Errors
    /// If the thread that takes connections in has died, which is a fault of the observer.
    pub fn accept(&self) -> io::Result<(AuthStream<TcpStream>, SocketAddr)> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let (session, peer) =
            accepted.map_err(|_| io::Error::other("nobody takes connections in any more"))?;
        self.open.claim();
        Ok((session.into_stream(), peer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.open.ended.store(true, Ordering::Release);
        lock(&self.open.handshakes).values().for_each(Closer::close);
        self.open.wake();
        // A connection wakes the thread that waits for one.
        let woken = TcpStream::connect_timeout(&reachable(self.address), WAKING).is_ok();
        // The port is free once that thread has ended. It may be this one, if it is the observer that drops the listener.
        let taking = self.taking.take().filter(|taking| taking.thread().id() != thread::current().id());
        if let (true, Some(taking)) = (woken, taking) {
            // That it panicked has been told.
            let _ = taking.join();
        }
    }
}

/// Where a listener on all addresses can be reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What the thread needs that takes connections in.
#[derive(Clone)]
struct Taking {
    service: Service,
    send: SyncSender<Accepted>,
    told: Arc<Observer>,
    open: Arc<Open>,
}

impl Taking {
    fn run(&self, listener: &TcpListener) {
        loop {
            self.open.wait_for_room();
            let connection = listener.accept();
            if self.open.ended.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = connection.and_then(|(socket, peer)| self.attend(socket, peer)) {
                (self.told)(Unaccepted::Failed(&error));
                thread::sleep(REST);
            }
        }
    }

    /// A handshake in a thread of its own.
    fn attend(&self, socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        // Small answers must not wait for more to come; if the system refuses, they do.
        let _ = socket.set_nodelay(true);
        let taking = self.clone();
        let handshake = move || {
            let accepted =
                accept_closable(&taking.service, socket, peer.ip(), |handle| taking.open.enter(peer, handle));
            taking.open.leave(peer);
            match accepted {
                Ok(session) => {
                    taking.open.offer();
                    // If it fails, nobody is there any more to take it.
                    drop(taking.send.send((session, peer)));
                }
                Err(failure) => (taking.told)(Unaccepted::Refused { peer, failure: &failure }),
            }
        };
        thread::Builder::new().name("countersign handshake".into()).spawn(handshake).map(drop)
    }
}

impl Open {
    fn enter(&self, peer: SocketAddr, handle: &Arc<TcpStream>) {
        let closer = Closer::of(handle);
        let mut handshakes = lock(&self.handshakes);
        // Looked at under the lock: the listener is dropped either before, or with this one among its handshakes.
        if self.ended.load(Ordering::Acquire) {
            closer.close();
        }
        handshakes.insert(peer, closer);
    }

    /// Waits until fewer clients than [`WAITING`] are unclaimed: more connections wait in the system's backlog.
    fn wait_for_room(&self) {
        let is_full = |unclaimed: &mut usize| *unclaimed >= WAITING && !self.ended.load(Ordering::Acquire);
        drop(self.claimed.wait_while(lock(&self.unclaimed), is_full));
    }

    fn wake(&self) {
        // Held once, so that nobody is between the look and the wait.
        drop(lock(&self.unclaimed));
        self.claimed.notify_all();
    }

    fn offer(&self) {
        let mut unclaimed = lock(&self.unclaimed);
        *unclaimed = unclaimed.saturating_add(1);
    }

    fn claim(&self) {
        let mut unclaimed = lock(&self.unclaimed);
        *unclaimed = unclaimed.saturating_sub(1);
        self.claimed.notify_all();
    }

    fn leave(&self, peer: SocketAddr) {
        lock(&self.handshakes).remove(&peer);
    }
}
