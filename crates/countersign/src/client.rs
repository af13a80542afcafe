//! A client of one service.

#[cfg(unix)]
use crate::credentials::{self, CcacheName};
use crate::framing::nns::Protection;
use crate::framing::{Framing, SampleData};
use crate::service::DEFAULT_HANDSHAKE_DEADLINE;
use crate::session::{DEFAULT_MAX_MESSAGE, Terms};
#[cfg(unix)]
use crate::tickets::{Ticket, Tickets};
use countersign_proto::context::Initiator;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::initiator::Forwarded;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::policy::InitiatorPolicy;
use std::path::Path;
use std::time::Duration;

/// Everything that a client is made of.
#[derive(Clone)]
pub struct ClientConfig {
    /// What it proves itself with, and its policy.
    pub credential: ClientCredential,
    /// How long a whole handshake may take.
    pub handshake_deadline: Duration,
    /// Longest plaintext of one message, in bytes.
    pub max_message: usize,
    /// How tokens and messages lie in the stream.
    pub framing: Framing,
    /// End sessions when their tickets do, as far as the permitted clock skew; else a session may outlive its ticket.
    pub end_with_ticket: bool,
}

impl ClientConfig {
    /// The defaults of DESIGN section 5 around this credential.
    #[must_use]
    pub fn new(credential: ClientCredential) -> Self {
        Self {
            credential,
            handshake_deadline: DEFAULT_HANDSHAKE_DEADLINE,
            max_message: DEFAULT_MAX_MESSAGE,
            framing: Framing::default(),
            end_with_ticket: false,
        }
    }
}

/// What a client proves itself with.
#[derive(Clone)]
pub enum ClientCredential {
    /// A ticket, or a password for NTLM, that is there already.
    Ready(Initiator),
    /// A ticket that is looked for, and got from a KDC if need be, at each connection.
    #[cfg(unix)]
    Tickets(TicketClient),
}

/// A client that has tickets, or can get them.
#[cfg(unix)]
#[derive(Clone)]
pub struct TicketClient {
    /// Where its tickets come from.
    pub tickets: Tickets,
    /// The service that is to be reached.
    pub service: Principal,
    /// What is demanded of the service.
    pub policy: InitiatorPolicy,
    /// Whether the service is given the means to act for the client.
    pub delegate: Delegate,
}

/// Whether a service is given a ticket-granting ticket: it can then do all that the client can, wherever the client can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Delegate {
    /// It is not.
    #[default]
    Never,
    /// It is, if the KDC says that it may be trusted with it (ok-as-delegate, RFC 4120 section 2.8).
    IfTrusted,
    /// It is.
    Always,
}

/// A client that reaches one service.
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

    /// A client of the service `CLASS/HOST[@REALM]`, with the tickets in a credential cache (`/path`, `FILE:/path`,
    /// `DIR:/path`), and what more its ticket-granting ticket gets from the KDCs of this machine's krb5.conf.
    ///
    /// # Errors
    /// If a name is none, the cache cannot be read, or krb5.conf cannot.
    #[cfg(unix)]
    pub fn from_ccache(cache: impl AsRef<Path>, service: &str) -> Result<Self, Refusal> {
        let cache = CcacheName::parse(&cache.as_ref().to_string_lossy())?;
        credentials::read(&cache)?;
        Self::with_tickets(Tickets::from_ccache(cache)?, service)
    }

    /// A client of the service `CLASS/HOST[@REALM]` that logs in as `NAME[@REALM]` with a password when it first connects.
    ///
    /// # Errors
    /// If a name is none, or krb5.conf cannot be read.
    #[cfg(unix)]
    pub fn with_password(client: &str, password: &[u8], service: &str) -> Result<Self, Refusal> {
        Self::with_tickets(Tickets::with_password(client, password)?, service)
    }

    /// A client of the service `CLASS/HOST[@REALM]` that logs in as `NAME[@REALM]` with a key from a keytab when it first
    /// connects.
    ///
    /// # Errors
    /// If a name is none, the keytab cannot be read or has no key of the client, or krb5.conf cannot be read.
    #[cfg(unix)]
    pub fn with_keytab(client: &str, keytab: impl AsRef<Path>, service: &str) -> Result<Self, Refusal> {
        Self::with_tickets(Tickets::with_keytab(client, keytab.as_ref())?, service)
    }

    #[cfg(unix)]
    fn with_tickets(tickets: Tickets, service: &str) -> Result<Self, Refusal> {
        let service = Principal::parse(service)?;
        let (policy, delegate) = (InitiatorPolicy::default(), Delegate::default());
        let client = TicketClient { tickets, service, policy, delegate };
        Ok(Self::new(ClientConfig::new(ClientCredential::Tickets(client))))
    }

    /// The service that is to be reached.
    #[must_use]
    pub fn service(&self) -> &Principal {
        match &self.config.credential {
            ClientCredential::Ready(initiator) => initiator.service(),
            #[cfg(unix)]
            ClientCredential::Tickets(client) => &client.service,
        }
    }

    /// What the handshake begins with: a ticket is got now, if it is not there. Calling this before a connection is made spares
    /// the service the wait for the KDC; connecting calls it too.
    ///
    /// # Errors
    /// As [`Tickets::get`](crate::tickets::Tickets::get).
    #[cfg_attr(not(unix), allow(clippy::unused_async, reason = "there is nothing to wait for"))]
    pub async fn initiator(&self) -> Result<Initiator, Refusal> {
        match &self.config.credential {
            ClientCredential::Ready(initiator) => Ok(initiator.clone()),
            #[cfg(unix)]
            ClientCredential::Tickets(client) => client.initiator().await,
        }
    }

    /// [`Client::initiator`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Client::initiator`].
    pub fn initiator_blocking(&self) -> Result<Initiator, Refusal> {
        match &self.config.credential {
            ClientCredential::Ready(initiator) => Ok(initiator.clone()),
            #[cfg(unix)]
            ClientCredential::Tickets(client) => client.initiator_blocking(),
        }
    }

    pub(crate) fn handshake_deadline(&self) -> Duration {
        self.config.handshake_deadline
    }

    pub(crate) fn framing(&self) -> Framing {
        self.config.framing
    }

    pub(crate) fn terms(&self) -> Terms {
        let ClientConfig { framing, max_message, end_with_ticket, .. } = self.config;
        let end_with_ticket = end_with_ticket.then(|| self.clock_skew());
        Terms { framing, max_message, end_with_ticket }
    }

    fn clock_skew(&self) -> Duration {
        self.policy().clock_skew
    }

    fn policy(&self) -> &InitiatorPolicy {
        match &self.config.credential {
            ClientCredential::Ready(initiator) => initiator.policy(),
            #[cfg(unix)]
            ClientCredential::Tickets(client) => &client.policy,
        }
    }

    /// Whether messages will be protected as the policy demands: the framing must not say otherwise.
    pub(crate) fn protects_enough(&self) -> Result<(), Refusal> {
        let (policy, framing) = (self.policy(), self.framing());
        let sealed = match framing {
            Framing::Dword | Framing::Sample(SampleData::Sealed) => return Ok(()),
            Framing::Sample(SampleData::Signed) => false,
            Framing::Nns(nns) => nns.protection == Protection::EncryptAndSign,
        };
        if if sealed { policy.asks_to_seal() } else { policy.takes_unsealed() } {
            return Ok(());
        }
        let (saw, have) = if sealed {
            ("a policy that only signs", "a framing whose level is EncryptAndSign")
        } else {
            ("a framing whose messages are signed only", "a policy that demands sealed ones")
        };
        Err(Refusal::new(code::PROTECTION_TOO_LOW, saw, have))
    }
}

#[cfg(unix)]
impl TicketClient {
    /// The ticket, and what goes with it.
    ///
    /// # Errors
    /// As [`Tickets::get`] and [`Tickets::forwarded`].
    pub async fn initiator(&self) -> Result<Initiator, Refusal> {
        let ticket = self.tickets.get(&self.service).await?;
        let forwarded = if self.delegates(&ticket) { Some(self.tickets.forwarded().await?) } else { None };
        Ok(self.ready(ticket, forwarded))
    }

    /// [`TicketClient::initiator`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`TicketClient::initiator`].
    pub fn initiator_blocking(&self) -> Result<Initiator, Refusal> {
        let ticket = self.tickets.get_blocking(&self.service)?;
        let forwarded = if self.delegates(&ticket) { Some(self.tickets.forwarded_blocking()?) } else { None };
        Ok(self.ready(ticket, forwarded))
    }

    fn delegates(&self, ticket: &Ticket) -> bool {
        match self.delegate {
            Delegate::Never => false,
            Delegate::IfTrusted => ticket.ticket.flags.contains(TicketFlags::OK_AS_DELEGATE),
            Delegate::Always => true,
        }
    }

    fn ready(&self, ticket: Ticket, forwarded: Option<Forwarded>) -> Initiator {
        let initiator = Initiator::with_ticket(ticket.ticket, ticket.clock_offset, self.policy.clone());
        match forwarded {
            Some(forwarded) => initiator.with_delegation(forwarded),
            None => initiator,
        }
    }
}
