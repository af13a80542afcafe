//! A realm that this process serves.

use super::admin_socket::{self, Administered};
use super::lock::RealmLock;
use super::unwritable;
use crate::ambient;
use crate::service::Service;
use ::tokio::task::spawn_blocking;
use ::tokio::time::{MissedTickBehavior, interval};
use countersign_proto::error::Refusal;
use countersign_proto::time::Timestamp;
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

    /// Forgets keys whose time is over, here and in the services: one that was replaced because somebody else had it must not
    /// open tickets until the next change of an account.
    fn forget_retired(&self, now: Timestamp) -> Result<(), Refusal> {
        match self.store.forget_retired(now, &mut ambient::rng()) {
            Ok(false) => Ok(()),
            Ok(true) => self.renew_services(),
            // Of some accounts they may be forgotten already.
            Err(error) => self.renew_services().and(Err(error.into())),
        }
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
            realm.save()?;
            realm.forget_retired(ambient::now())
        });
        if let Ok(Err(refusal)) = done.await {
            note(Administered::upkeep_failed(refusal));
        }
    }
}

/// The KDC over what the store has now.
fn kdc(store: &Store) -> Kdc {
    Kdc::new(store.policy(), RealmSecrets::new(store.secret().clone()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::{RealmFolder, service_config};
    use super::*;
    use countersign_proto::policy::AcceptorPolicy;
    use countersign_realm::admin::Changes;

    #[test]
    fn a_key_whose_time_is_over_opens_no_ticket_at_the_services_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let place = RealmFolder::new(folder.path().join("realm"));
        place.init(&RealmPolicy::new("OWN.TEST")).unwrap();
        let realm = place.serve("a test").unwrap();
        let name = "echo/a.example.test".to_owned();
        realm.administer(&Request::AddService { name: name.clone(), changes: Changes::default() }).unwrap();
        let service = Service::new(service_config(&realm, AcceptorPolicy::default()).unwrap());
        realm.keep_up(&service).unwrap();
        realm.administer(&Request::NewKeys { name }).unwrap();
        let held = || {
            let mut kvnos: Vec<_> = service.acceptor().keys().iter().map(|key| key.kvno()).collect();
            kvnos.sort_unstable();
            kvnos.dedup();
            kvnos
        };
        realm.forget_retired(ambient::now()).unwrap();
        assert_eq!(held(), [1, 2]);
        let longest = realm.policy().max_life.saturating_add(Duration::from_secs(86_400));
        realm.forget_retired(ambient::now().saturating_add(longest)).unwrap();
        assert_eq!(held(), [2]);
    }
}
