//! A service: its keys and policy, what it remembers, whom it lets in, and what bounds it.

use crate::accounts::Accounts;
use crate::ambient;
use crate::files;
use crate::framing::nns::Protection;
use crate::framing::{Framing, SampleData};
use crate::handshake::Failure;
use crate::limits::{Admission, HandshakeLimits};
use crate::relay::Relay;
use crate::replay::{MemoryReplayStore, ReplayStore};
use crate::rotation::KeySource;
use crate::session::{DEFAULT_MAX_MESSAGE, Terms};
use countersign_proto::context::Acceptor;
use countersign_proto::context::Facts;
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::policy::AcceptorPolicy;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long a whole handshake may take where nothing is said.
pub const DEFAULT_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Entries that a replay store in memory holds where nothing is said: about 1,500 handshakes a second for the 11 minutes
/// that each is remembered with the default skew.
pub const DEFAULT_REPLAY_CAPACITY: usize = 1_000_000;

/// Says whether a client that proved who it is may come in; the refusal is for the log, the client learns a bare error.
pub type Authorizer = dyn Fn(&Facts) -> Result<(), Refusal> + Send + Sync;

/// Says how long a client waits to be told that it is refused, by where it comes from and why. The handshake keeps its place
/// meanwhile, and loses it to others as any that waits.
pub type Holder = dyn Fn(IpAddr, &Failure) -> Duration + Send + Sync;

/// Everything that a service is made of.
pub struct ServiceConfig {
    /// Keys and policy.
    pub acceptor: Acceptor,
    /// Asked for other keys when a client would be refused for want of one; without it the keys change by
    /// [`Service::replace_keys`] alone.
    pub key_source: Option<Arc<dyn KeySource>>,
    /// Remembers authenticators. Services that share a key must share it.
    pub replay: Arc<dyn ReplayStore>,
    /// Bounds handshakes that are open at once. Services of one process share it: what it bounds is the process's.
    pub admission: Admission,
    /// How long a whole handshake may take.
    pub handshake_deadline: Duration,
    /// Longest plaintext of one message, in bytes.
    pub max_message: usize,
    /// How tokens and messages lie in the stream.
    pub framing: Framing,
    /// End sessions when their tickets do, as far as the permitted clock skew; else a session may outlive its ticket. NTLM
    /// has none.
    pub end_with_ticket: bool,
    /// Who knows NTLM passwords. Asked only where the acceptor's policy allows NTLM; without one every client of NTLM is
    /// refused.
    pub accounts: Option<Box<dyn Accounts>>,
    /// Carries messages of clients to KDCs, where the acceptor's policy names realms for that; without one nothing is carried.
    pub relay: Option<Box<dyn Relay>>,
    /// Says who may come in.
    pub authorize: Box<Authorizer>,
    /// Says how long a refusal is held back before the client is told; without it none is.
    pub hold_refusal: Option<Box<Holder>>,
}

impl ServiceConfig {
    /// The defaults of DESIGN section 5 around these keys and this policy: a replay store in memory, every client that
    /// proves itself let in.
    #[must_use]
    pub fn new(acceptor: Acceptor) -> Self {
        let skew = acceptor.policy().clock_skew;
        Self {
            replay: Arc::new(MemoryReplayStore::new(DEFAULT_REPLAY_CAPACITY, skew, &mut ambient::rng())),
            acceptor,
            key_source: None,
            admission: Admission::new(HandshakeLimits::default()),
            handshake_deadline: DEFAULT_HANDSHAKE_DEADLINE,
            max_message: DEFAULT_MAX_MESSAGE,
            framing: Framing::default(),
            end_with_ticket: false,
            accounts: None,
            relay: None,
            authorize: Box::new(|_| Ok(())),
            hold_refusal: None,
        }
    }
}

/// A service that accepts clients. Cheap to clone: all clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    config: ServiceConfig,
    /// Keys change while handshakes go on: each keeps those that it began with.
    acceptor: RwLock<Acceptor>,
    /// How often they have changed.
    key_changes: AtomicU64,
}

impl Service {
    /// A service of these parts.
    #[must_use]
    pub fn new(config: ServiceConfig) -> Self {
        let acceptor = RwLock::new(config.acceptor.clone());
        Self(Arc::new(Inner { acceptor, key_changes: AtomicU64::new(0), config }))
    }

    /// A service with the keys of a keytab and every default.
    ///
    /// # Errors
    /// If the keytab cannot be read, or holds no key that can be used.
    pub fn from_keytab(path: impl AsRef<Path>) -> Result<Self, Refusal> {
        let keys = files::service_keys(path.as_ref())?;
        Ok(Self::new(ServiceConfig::new(Acceptor::new(keys, AcceptorPolicy::default()))))
    }

    /// Keys and policy, as they stand.
    #[must_use]
    pub fn acceptor(&self) -> Acceptor {
        self.0.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other keys in the place of those there are. Handshakes that have begun go on with the keys that they began with.
    pub fn replace_keys(&self, keys: ServiceKeys) {
        let mut acceptor = self.0.acceptor.write().unwrap_or_else(PoisonError::into_inner);
        *acceptor = acceptor.with_keys(keys);
        self.0.key_changes.fetch_add(1, Ordering::Release);
    }

    /// Looks for other keys where they come from, and puts them in the place of those there are.
    pub fn refresh_keys(&self) {
        if let Some(source) = &self.0.config.key_source {
            source.refresh(&mut |keys| self.replace_keys(keys));
        }
    }

    /// How often other keys were put in the place of those there were.
    #[must_use]
    pub fn key_changes(&self) -> u64 {
        self.0.key_changes.load(Ordering::Acquire)
    }

    pub(crate) fn replay_store(&self) -> &dyn ReplayStore {
        &*self.0.config.replay
    }

    pub(crate) fn accounts(&self) -> Option<&dyn Accounts> {
        self.0.config.accounts.as_deref()
    }

    pub(crate) fn relay(&self) -> Option<&dyn Relay> {
        self.0.config.relay.as_deref()
    }

    /// After every proof, and before the client is told: whether it asked for enough, and whether it is welcome.
    pub(crate) fn authorize(&self, facts: &Facts) -> Result<(), Refusal> {
        self.protects_enough(facts)?;
        (self.0.config.authorize)(facts)
    }

    /// How long a refusal is held back.
    pub(crate) fn hold_refusal(&self, address: IpAddr, failure: &Failure) -> Duration {
        self.0.config.hold_refusal.as_ref().map_or(Duration::ZERO, |hold| hold(address, failure))
    }

    /// Whether messages will be protected as the framing is configured to demand. In NNS that is the client's choice.
    fn protects_enough(&self, facts: &Facts) -> Result<(), Refusal> {
        let takes_unsealed = || self.acceptor().policy().takes_unsealed();
        let signed_will_do = match self.framing() {
            // The layout itself leaves messages readable, whatever the client asked for.
            Framing::Sample(SampleData::Signed) if !takes_unsealed() => {
                let saw = format!("{} on a listener for messages that are signed only", facts.client());
                return Err(Refusal::new(code::PROTECTION_TOO_LOW, saw, "a policy without allow_unsealed"));
            }
            Framing::Dword | Framing::Sample(_) => return Ok(()),
            Framing::Nns(nns) => nns.protection == Protection::Sign,
        };
        if facts.sealed() || signed_will_do && facts.signed() && takes_unsealed() {
            return Ok(());
        }
        let asked = if facts.signed() { "Sign" } else { "None" };
        let demanded = if signed_will_do { "Sign, and allow_unsealed with it" } else { "EncryptAndSign" };
        let saw = format!("the protection level {asked} of {}", facts.client());
        Err(Refusal::new(code::PROTECTION_TOO_LOW, saw, format!("a listener whose level is {demanded}")))
    }

    /// The handshakes that are open: their number, and a way to shed one of them.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.0.config.admission
    }

    pub(crate) fn handshake_deadline(&self) -> Duration {
        self.0.config.handshake_deadline
    }

    pub(crate) fn framing(&self) -> Framing {
        self.0.config.framing
    }

    pub(crate) fn terms(&self) -> Terms {
        let ServiceConfig { framing, max_message, end_with_ticket, acceptor, .. } = &self.0.config;
        let end_with_ticket = end_with_ticket.then_some(acceptor.policy().clock_skew);
        Terms { framing: *framing, max_message: *max_message, end_with_ticket }
    }
}
