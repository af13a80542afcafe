//! A realm that this process serves.

use super::admin_socket::{self, Administered};
use super::lock::RealmLock;
use super::unwritable;
use crate::ambient;
use crate::service::Service;
use ::tokio::task::spawn_blocking;
use ::tokio::time::{MissedTickBehavior, interval};
use countersign_proto::error::Refusal;
use countersign_realm::admin::{self, PolicyChanges, Request, Response};
use countersign_realm::store::Store;
use countersign_realm::{Handled, Kdc, RealmPolicy, RealmSecrets};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How often counts of wrong passwords go to the disk, and keys are forgotten whose time is over.
const UPKEEP: Duration = Duration::from_secs(30);

/// A realm that this process has open, alone, until it is dropped.
pub struct ServedRealm {
    store: Store,
    kdc: RwLock<Arc<Kdc>>,
    listener: UnixListener,
    socket: PathBuf,
    /// Services whose keys are this realm's.
    services: Mutex<Vec<Service>>,
    // Last: the realm is another's only once the database is closed.
    lock: RealmLock,
}

impl ServedRealm {
    pub(super) fn new(store: Store, listener: UnixListener, socket: PathBuf, lock: RealmLock) -> Self {
        let kdc = RwLock::new(Arc::new(kdc(&store)));
        Self { store, kdc, listener, socket, services: Mutex::default(), lock }
    }

    /// The realm's accounts.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Says what this process does with the realm, for the next one who tries to serve it: `serves 127.0.0.1:40123`, once
    /// the port is known.
    ///
    /// # Errors
    /// `REALM_UNREADABLE` if it cannot be written.
    pub fn tell(&self, what: &str) -> Result<(), Refusal> {
        self.lock.tell(what).map_err(|error| unwritable(&self.socket, &error))
    }

    /// What the realm grants.
    #[must_use]
    pub fn policy(&self) -> RealmPolicy {
        self.store.policy()
    }

    /// Answers one request to the realm's KDC, from the clock and this thread's random source. It takes up to some
    /// milliseconds of computation, and may wait for others who try a password of the same account: not for a thread that
    /// drives sockets.
    #[must_use]
    pub fn handle(&self, request: &[u8]) -> Handled {
        let kdc = Arc::clone(&self.kdc.read().unwrap_or_else(PoisonError::into_inner));
        kdc.handle(request, ambient::now(), &mut ambient::rng(), &self.store)
    }

    /// Does a request of administration. It blocks: a password takes about a tenth of a second, a change as long as the disk.
    ///
    /// # Errors
    /// What the request is refused with; nothing has changed then. Or, after a change that stands, that the services of this
    /// process could not be given their new keys.
    pub fn administer(&self, request: &Request) -> Result<Response, Refusal> {
        let response = admin::apply(&self.store, request, ambient::now(), &mut ambient::rng())?;
        if matches!(request, Request::Policy { changes } if *changes != PolicyChanges::default()) {
            let mut kdc_now = self.kdc.write().unwrap_or_else(PoisonError::into_inner);
            *kdc_now = Arc::new(kdc(&self.store));
        }
        if !matches!(request, Request::List { .. } | Request::Export { .. }) {
            self.renew_services()?;
        }
        Ok(response)
    }

    /// Has `service` follow the realm: its keys are the realm's, whatever changes, from now on.
    ///
    /// # Errors
    /// If an account cannot be read.
    pub fn keep_up(&self, service: &Service) -> Result<(), Refusal> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).push(service.clone());
        self.renew_services()
    }

    fn renew_services(&self) -> Result<(), Refusal> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().try_for_each(|service| {
            service.replace_keys(self.service_keys()?);
            Ok(())
        })
    }

    /// Does what must go on while the realm is served: takes requests of administration from the socket, writes the counts
    /// of wrong passwords, and forgets keys whose time is over. It goes on until it is dropped; `note` is told of each request.
    ///
    /// # Errors
    /// If the socket cannot be used. What the store cannot write is told to `note`.
    pub async fn tend(
        self: Arc<Self>,
        note: impl Fn(Administered) + Send + Sync + 'static,
    ) -> Result<(), Refusal> {
        let note = Arc::new(note);
        let listener = admin_socket::listening(&self.listener)?;
        let serving = admin_socket::serve(listener, Arc::clone(&self), Arc::clone(&note));
        ::tokio::select! {
            () = serving => Ok(()),
            () = upkeep(Arc::clone(&self), note) => Ok(()),
        }
    }

    /// Writes what is only in memory: the counts of wrong passwords.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self) -> Result<(), Refusal> {
        Ok(self.store.save_failures()?)
    }
}

impl Drop for ServedRealm {
    fn drop(&mut self) {
        // Who wants to know of a failure calls `save`; the socket's name alone leads nowhere.
        let _ = self.store.save_failures();
        let _ = fs::remove_file(&self.socket);
    }
}

async fn upkeep(realm: Arc<ServedRealm>, note: Arc<impl Fn(Administered) + Send + Sync + 'static>) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let realm = Arc::clone(&realm);
        let done = spawn_blocking(move || {
            realm.store.save_failures()?;
            realm.store.forget_retired(ambient::now(), &mut ambient::rng())
        });
        if let Ok(Err(error)) = done.await {
            note(Administered::upkeep_failed(error.into()));
        }
    }
}

/// The KDC over what the store has now.
fn kdc(store: &Store) -> Kdc {
    Kdc::new(store.policy(), RealmSecrets::new(store.secret().clone()))
}
