//! A client of one service.

use crate::ambient;
use crate::files;
use crate::service::DEFAULT_HANDSHAKE_DEADLINE;
use crate::session::DEFAULT_MAX_MESSAGE;
use countersign_proto::context::Initiator;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::policy::InitiatorPolicy;
use std::path::Path;
use std::time::Duration;

/// Everything that a client is made of.
#[derive(Clone)]
pub struct ClientConfig {
    /// Ticket and policy.
    pub initiator: Initiator,
    /// How long a whole handshake may take.
    pub handshake_deadline: Duration,
    /// Longest plaintext of one message, in bytes.
    pub max_message: usize,
}

/// A client that reaches one service, with a ticket that it has already.
#[derive(Clone)]
pub struct Client {
    config: ClientConfig,
}

impl Client {
    /// A client of these parts.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self { config }
    }

    /// A client of the service `CLASS/HOST[@REALM]`, with the ticket for it in a credential cache of type FILE.
    ///
    /// # Errors
    /// If the name is none, the cache cannot be read, or it holds no ticket for the service that is good now.
    pub fn from_ccache(path: impl AsRef<Path>, service: &str) -> Result<Self, Refusal> {
        let service = Principal::parse(service)?;
        let ccache = files::ccache(path.as_ref())?;
        let initiator =
            Initiator::from_ccache(&ccache, &service, InitiatorPolicy::default(), ambient::now())?;
        Ok(Self::new(ClientConfig {
            initiator,
            handshake_deadline: DEFAULT_HANDSHAKE_DEADLINE,
            max_message: DEFAULT_MAX_MESSAGE,
        }))
    }

    /// The service that is to be reached.
    #[must_use]
    pub fn service(&self) -> &Principal {
        self.config.initiator.service()
    }

    pub(crate) fn initiator(&self) -> &Initiator {
        &self.config.initiator
    }

    pub(crate) fn handshake_deadline(&self) -> Duration {
        self.config.handshake_deadline
    }

    pub(crate) fn max_message(&self) -> usize {
        self.config.max_message
    }
}
