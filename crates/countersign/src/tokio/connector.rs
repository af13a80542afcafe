use super::{AuthStream, connect};
use crate::client::Client;
use crate::handshake::{Failure, bare, network};
use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::net::{TcpStream, ToSocketAddrs};

/// Reaches a service, and proves both ends to each other.
#[derive(Clone)]
pub struct Connector {
    client: Client,
}

impl Connector {
    /// Connects as this client, to the service that it names.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Connects by TCP. The ticket comes first, so that the service need not wait for a KDC.
    ///
    /// # Errors
    /// If there is no ticket to be had, no connection, or the handshake ends before the service has proved itself.
    pub async fn connect(&self, address: impl ToSocketAddrs) -> Result<AuthStream<TcpStream>, Failure> {
        self.client.initiator().await.map_err(bare)?;
        let socket = TcpStream::connect(address).await.map_err(|error| bare(network(&error)))?;
        // Small questions must not wait for more to come; if the system refuses, they do.
        let _ = socket.set_nodelay(true);
        self.connect_over(socket).await
    }

    /// Connects over a stream that is there already.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub async fn connect_over<S>(&self, stream: S) -> Result<AuthStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        Ok(connect(&self.client, stream).await?.into_stream())
    }
}
