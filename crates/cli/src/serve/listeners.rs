//! The listeners of the configuration, with their services and sockets.

use super::process::Process;
use super::services::{self, Made, Realms};
use crate::config::{Config, ListenAddress, ListenerConfig, Target};
use crate::systemd::Inherited;
use crate::{announce, report};
use countersign::Service;
use countersign::framing::Framing;
use countersign::metrics::ListenerMetrics;
use countersign::proto::error::Refusal;
use countersign::realm::ServedRealm;
use countersign::rotation::WatchedKeytab;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// A listener, and what its clients need.
pub(super) struct Listener {
    pub(super) name: String,
    /// Its framing, by name.
    pub(super) framing: &'static str,
    pub(super) service: Service,
    pub(super) target: Target,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) realm: Option<Arc<ServedRealm>>,
    pub(super) metrics: Arc<ListenerMetrics>,
    listen: Vec<ListenAddress>,
    keytab: Option<Arc<WatchedKeytab>>,
    /// How many changes of the realm's keys are counted.
    key_changes: AtomicU64,
}

/// A socket of a listener.
pub(super) struct Bound {
    pub(super) listener: Arc<Listener>,
    pub(super) socket: TcpListener,
}

impl Listener {
    /// All of the configuration, and the realms that they serve.
    pub(super) fn all(config: &Config, process: &Arc<Process>) -> Result<(Vec<Arc<Self>>, Realms), Refusal> {
        let mut realms = Realms::default();
        let made = |listener| Self::new(listener, process, &mut realms).map(Arc::new);
        let listeners: Vec<_> = config.listeners.iter().map(made).collect::<Result<_, _>>()?;
        listeners.iter().for_each(|listener| listener.look_at_keys());
        Ok((listeners, realms))
    }

    fn new(listener: &ListenerConfig, process: &Arc<Process>, realms: &mut Realms) -> Result<Self, Refusal> {
        let metrics = process.metrics.listener(&listener.name);
        let Made { service, realm, keytab } = services::service(listener, process, &metrics, realms)?;
        Ok(Self {
            name: listener.name.clone(),
            framing: match listener.framing {
                Framing::Dword => "dword",
                Framing::Nns(_) => "nns",
                Framing::Sample(_) => "sample",
            },
            service,
            target: listener.target.clone(),
            idle_timeout: listener.idle_timeout,
            realm,
            metrics,
            listen: listener.listen.clone(),
            keytab,
            key_changes: AtomicU64::new(0),
        })
    }

    /// Looks for other keys, and counts those that came without that. It may block for a moment.
    pub(super) fn look_at_keys(&self) {
        self.service.refresh_keys();
        if self.realm.is_some() {
            let changes = self.service.key_changes();
            if self.key_changes.swap(changes, Ordering::Relaxed) != changes {
                self.metrics.keys_loaded(self.service.acceptor().keys(), None);
            }
        }
    }

    /// Reads the keytab, if the keys are in one, whether or not it seems to have changed.
    ///
    /// # Errors
    /// If it cannot be read, which the keytab's own observer has told; the keys that there were stay.
    pub(super) fn reload_keys(&self) -> Result<(), Refusal> {
        let keytab = self.keytab.as_ref();
        keytab.map_or(Ok(()), |keytab| keytab.reload(&mut |keys| self.service.replace_keys(keys)))
    }
}

/// Sockets for every address of every listener: all of them, or none is served.
pub(super) async fn bind(
    listeners: &[Arc<Listener>],
    inherited: &mut Inherited,
) -> Result<Vec<Bound>, Refusal> {
    let mut bound = Vec::new();
    for listener in listeners {
        for address in &listener.listen {
            let socket = socket(address, inherited).await?;
            bound.push(Bound { listener: Arc::clone(listener), socket });
        }
        if let Target::Upstream(upstream) = &listener.target {
            report::line(&format!("listener {} stands before {}", listener.name, upstream.address));
        }
    }
    Ok(bound)
}

/// Says for the next one who tries to serve the realm where this process does.
pub(super) fn tell(realm: &Arc<ServedRealm>, bound: &[Bound]) -> Result<(), Refusal> {
    let is_its = |bound: &&Bound| bound.listener.realm.as_ref().is_some_and(|its| Arc::ptr_eq(its, realm));
    let addresses = bound.iter().filter(is_its).map(|bound| bound.socket.local_addr());
    let addresses: Vec<_> = addresses.flatten().map(|address| address.to_string()).collect();
    realm.tell(&format!("serves {}", addresses.join(" ")))
}

async fn socket(address: &ListenAddress, inherited: &mut Inherited) -> Result<TcpListener, Refusal> {
    let failed = |error| announce::listen_failed(&address.to_string(), &error);
    match address {
        ListenAddress::Address(address) => TcpListener::bind(address).await.map_err(failed),
        ListenAddress::Systemd(name) => TcpListener::from_std(inherited.take(name)?).map_err(failed),
    }
}
