use super::stream::AuthStream;
use super::{Transport, connect};
use crate::client::Client;
use crate::handshake::{Failure, bare, network};
use std::net::{TcpStream, ToSocketAddrs};

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
    pub fn connect(&self, address: impl ToSocketAddrs) -> Result<AuthStream<TcpStream>, Failure> {
        self.client.initiator_blocking().map_err(bare)?;
        let socket = TcpStream::connect(address).map_err(|error| bare(network(&error)))?;
        // Small questions must not wait for more to come; if the system refuses, they do.
        let _ = socket.set_nodelay(true);
        self.connect_over(socket)
    }

    /// Connects over a stream that is there already.
    ///
    /// # Errors
    /// As [`Connector::connect`].
    pub fn connect_over<S: Transport>(&self, stream: S) -> Result<AuthStream<S>, Failure> {
        Ok(connect(&self.client, stream)?.into_stream())
    }
}
