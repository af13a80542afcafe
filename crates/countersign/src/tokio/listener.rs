use super::{AuthStream, Session, accept};
use crate::handshake::Failure;
use crate::service::Service;
use crate::unaccepted::{Observer, Unaccepted};
use ::tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use ::tokio::task::JoinSet;
use ::tokio::time::sleep;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

/// Accepts clients, and gives out only those that have proved who they are.
///
/// Handshakes run beside each other in tasks of their own, so that a client that is slow delays nobody else; how many there
/// may be is bounded by the service's [`HandshakeLimits`](crate::limits::HandshakeLimits). New connections are taken in
/// while somebody waits in [`Listener::accept`], else they wait in the system's backlog. Dropping the listener ends the
/// handshakes that go on.
pub struct Listener {
    service: Service,
    listener: TcpListener,
    handshakes: JoinSet<(Result<Session<TcpStream>, Failure>, SocketAddr)>,
    told: Arc<Observer>,
}

impl Listener {
    /// Listens at an address.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn bind(service: &Service, address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self::new(service, TcpListener::bind(address).await?))
    }

    /// Accepts from a socket that listens already.
    #[must_use]
    pub fn new(service: &Service, listener: TcpListener) -> Self {
        Self { service: service.clone(), listener, handshakes: JoinSet::new(), told: Arc::new(|_| ()) }
    }

    /// Tells `observer` of every client that is refused, and of errors of the system. It must not block.
    #[must_use]
    pub fn observed_by(self, observer: impl Fn(Unaccepted<'_>) + Send + Sync + 'static) -> Self {
        Self { told: Arc::new(observer), ..self }
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next client that has proved who it is, and where it came from. It can be cancelled without losing a client.
    pub async fn accept(&mut self) -> (AuthStream<TcpStream>, SocketAddr) {
        loop {
            ::tokio::select! {
                connection = self.listener.accept() => self.begin(connection).await,
                Some(done) = self.handshakes.join_next() => match done {
                    Ok((Ok(session), peer)) => return (session.into_stream(), peer),
                    Ok((Err(failure), peer)) => (self.told)(Unaccepted::Refused { peer, failure: &failure }),
                    Err(died) => (self.told)(Unaccepted::Failed(&died.into())),
                },
            }
        }
    }

    async fn begin(&mut self, connection: io::Result<(TcpStream, SocketAddr)>) {
        let (socket, peer) = match connection {
            Ok(connection) => connection,
            Err(error) => {
                (self.told)(Unaccepted::Failed(&error));
                return sleep(REST).await;
            }
        };
        // Small answers must not wait for more to come; if the system refuses, they do.
        let _ = socket.set_nodelay(true);
        let service = self.service.clone();
        self.handshakes.spawn(async move { (accept(&service, socket, peer.ip()).await, peer) });
    }
}
