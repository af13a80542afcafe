//! Where a client's tickets come from: a credential cache, and the KDCs for what is not in it.
//!
//! ```no_run
//! # async fn tickets() -> Result<(), Box<dyn std::error::Error>> {
//! use countersign::proto::krb5::msg::principal::Principal;
//! use countersign::tickets::Tickets;
//! let tickets = Tickets::with_password("alice@EXAMPLE.TEST", "her password".as_bytes())?;
//! let ticket = tickets.get(&Principal::parse("HTTP/web.example.test")?).await?;
//! println!("good until {}", ticket.ticket.endtime);
//! # Ok(())
//! # }
//! ```

mod flight;
mod keeper;

use crate::ambient;
use crate::credentials::CcacheName;
use crate::files;
use crate::kdc::Kdcs;
use crate::krb5conf;
use countersign_proto::ccache::{Ccache, Credential};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::initiator::{Forwarded, ServiceTicket};
use countersign_proto::krb5::kdc_exchange::{
    Acquire, Acquired, AsExchange, AsGranted, Exchange, Forward, KdcError, KdcRequest, Login, Renew, Step,
    TicketOptions, ticket_granting_service,
};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5conf::Krb5Conf;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use flight::{Boarding, Flights};
use keeper::Keeper;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything that tickets come from.
#[derive(Clone)]
pub struct TicketsConfig {
    /// The way to the KDCs.
    pub kdcs: Kdcs,
    /// The credential cache that is read and added to. Without one, tickets are kept in memory for as long as this lives.
    pub cache: Option<CcacheName>,
    /// What a ticket-granting ticket is got with, where the cache has none.
    pub login: Option<Login>,
    /// What is asked of KDCs.
    pub options: TicketOptions,
}

/// A client's tickets. Clones share one cache, and what many ask for at once is asked of the KDC once.
#[derive(Clone)]
pub struct Tickets {
    shared: Arc<Shared>,
}

struct Shared {
    kdcs: Kdcs,
    keeper: Keeper,
    login: Mutex<Option<Arc<Login>>>,
    options: Arc<TicketOptions>,
    flights: Flights<ServiceKey, Result<Ticket, Refusal>>,
}

/// Realm and components of a service.
type ServiceKey = (Vec<u8>, Vec<Vec<u8>>);

/// A service's ticket.
#[derive(Clone)]
pub struct Ticket {
    /// The ticket.
    pub ticket: ServiceTicket,
    /// The KDC's clock less ours, in microseconds.
    pub clock_offset: i64,
    /// Why the cache could not keep what the KDC gave, if it could not: it will have to be asked for again.
    pub not_kept: Option<Refusal>,
}

/// A ticket-granting ticket that was just got and is in the cache.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// The client, as the KDC names it.
    pub client: Principal,
    /// When the ticket ends.
    pub endtime: Timestamp,
    /// When the password expires, if the KDC tells.
    pub password_expires: Option<Timestamp>,
    /// The KDC's clock less ours, in microseconds, where they differ.
    pub kdc_offset: Option<i64>,
}

impl Tickets {
    /// Tickets from these parts.
    #[must_use]
    pub fn new(config: TicketsConfig) -> Self {
        let TicketsConfig { kdcs, cache, login, options } = config;
        let (login, options) = (Mutex::new(login.map(Arc::new)), Arc::new(options));
        let shared = Shared { kdcs, keeper: Keeper::new(cache), login, options, flights: Flights::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The tickets in a credential cache, and what more its ticket-granting ticket gets from the KDCs of this machine's
    /// krb5.conf.
    ///
    /// # Errors
    /// If krb5.conf cannot be read.
    pub fn from_ccache(cache: CcacheName) -> Result<Self, Refusal> {
        Self::of_machine(Some(cache), |_| Ok(None))
    }

    /// A client that logs in with a password, with this machine's krb5.conf. Its tickets are kept in memory.
    ///
    /// # Errors
    /// If krb5.conf cannot be read, or the client's name is none or has no realm while there is no default realm.
    pub fn with_password(client: &str, password: &[u8]) -> Result<Self, Refusal> {
        Self::of_machine(None, |conf| {
            Ok(Some(Login::with_password(client_principal(client, conf)?, Secret::from(password))?))
        })
    }

    /// A client that logs in with a key from a keytab, with this machine's krb5.conf. Its tickets are kept in memory.
    ///
    /// # Errors
    /// As [`Tickets::with_password`], or if the keytab cannot be read or has no key of the client.
    pub fn with_keytab(client: &str, keytab: &Path) -> Result<Self, Refusal> {
        Self::of_machine(None, |conf| {
            let client = client_principal(client, conf)?;
            let options = TicketOptions::of(conf, &String::from_utf8_lossy(&client.realm));
            Ok(Some(Login::with_keytab(client, &files::keytab(keytab)?, &options)?))
        })
    }

    fn of_machine(
        cache: Option<CcacheName>,
        login: impl FnOnce(&Krb5Conf) -> Result<Option<Login>, Refusal>,
    ) -> Result<Self, Refusal> {
        let conf = Arc::new(krb5conf::load()?);
        let login = login(&conf)?;
        let realm = login.as_ref().map(|login| login.client().realm.clone()).unwrap_or_default();
        let options = TicketOptions::of(&conf, &String::from_utf8_lossy(&realm));
        Ok(Self::new(TicketsConfig { kdcs: Kdcs::new(conf), cache, login, options }))
    }

    /// A ticket of `service`: from the cache, or from a KDC and then in the cache. Without a realm it is looked for where
    /// krb5.conf says that its host is, else in the client's realm, which may refer to another, else in the host's domain.
    ///
    /// It can be dropped at any point; who waits for the same ticket goes on without it.
    ///
    /// # Errors
    /// If the KDC gives none, no KDC can be reached, or there is nothing to ask one with.
    pub async fn get(&self, service: &Principal) -> Result<Ticket, Refusal> {
        loop {
            match self.shared.flights.board(service_key(service)) {
                Boarding::Ask(asker) => {
                    let answer = self.ask(service).await;
                    asker.land(answer.clone());
                    return answer;
                }
                Boarding::Wait(flight) => {
                    if let Some(answer) = flight.wait().await {
                        return answer;
                    }
                }
            }
        }
    }

    /// [`Tickets::get`] for a thread that may wait. Not for a task: the one that asks for the same ticket may be waiting for this
    /// thread.
    ///
    /// # Errors
    /// As [`Tickets::get`].
    pub fn get_blocking(&self, service: &Principal) -> Result<Ticket, Refusal> {
        loop {
            match self.shared.flights.board(service_key(service)) {
                Boarding::Ask(asker) => {
                    let answer = self.ask_blocking(service);
                    asker.land(answer.clone());
                    return answer;
                }
                Boarding::Wait(flight) => {
                    if let Some(answer) = flight.wait_blocking() {
                        return answer;
                    }
                }
            }
        }
    }

    async fn ask(&self, service: &Principal) -> Result<Ticket, Refusal> {
        let cache = self.cached().await?;
        let acquired = drive(&self.shared.kdcs, self.shared.acquire(service, cache.as_ref())?).await?;
        self.kept(acquired, Shared::keep).await
    }

    fn ask_blocking(&self, service: &Principal) -> Result<Ticket, Refusal> {
        let cache = self.shared.cached()?;
        let acquired = drive_blocking(&self.shared.kdcs, self.shared.acquire(service, cache.as_ref())?)?;
        Ok(self.shared.keep(acquired))
    }

    /// Logs in, whatever is in the cache, and begins the cache anew.
    ///
    /// # Errors
    /// If there is no login, the KDC refuses it, or the cache cannot be written.
    pub async fn log_in(&self) -> Result<LoggedIn, Refusal> {
        let granted = drive(&self.shared.kdcs, self.shared.first_ticket()?).await?;
        self.kept(granted, Shared::keep_login).await?
    }

    /// [`Tickets::log_in`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Tickets::log_in`].
    pub fn log_in_blocking(&self) -> Result<LoggedIn, Refusal> {
        let granted = drive_blocking(&self.shared.kdcs, self.shared.first_ticket()?)?;
        self.shared.keep_login(granted)
    }

    /// Has the ticket-granting ticket in the cache renewed, and begins the cache anew with it.
    ///
    /// # Errors
    /// If there is none that is good, it is not renewable, or the KDC refuses.
    pub async fn renew(&self) -> Result<LoggedIn, Refusal> {
        let cache = self.cached().await?;
        let (tgt, clock) = self.shared.ticket_granting_ticket(cache.as_ref())?;
        let renewal = Renew::begin(&tgt, &self.shared.options, clock, ambient::now(), &mut ambient::rng());
        let credential = drive(&self.shared.kdcs, Step::NeedKdc(renewal)).await?;
        self.kept((cache, credential), Shared::keep_renewed).await?
    }

    /// [`Tickets::renew`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Tickets::renew`].
    pub fn renew_blocking(&self) -> Result<LoggedIn, Refusal> {
        let cache = self.shared.cached()?;
        let (tgt, clock) = self.shared.ticket_granting_ticket(cache.as_ref())?;
        let renewal = Renew::begin(&tgt, &self.shared.options, clock, ambient::now(), &mut ambient::rng());
        let credential = drive_blocking(&self.shared.kdcs, Step::NeedKdc(renewal))?;
        self.shared.keep_renewed((cache, credential))
    }

    /// A ticket-granting ticket to give to a service that is to act for the client: it can then do all that the client can.
    ///
    /// # Errors
    /// If there is no ticket-granting ticket, or the KDC makes none that may be forwarded.
    pub async fn forwarded(&self) -> Result<Forwarded, Refusal> {
        let cache = self.cached().await?;
        let (tgt, clock) = self.shared.ticket_granting_ticket(cache.as_ref())?;
        let (options, now) = (self.shared.options.clone(), ambient::now());
        let forward = Forward::begin(&tgt, options, clock, now, &mut ambient::rng());
        drive(&self.shared.kdcs, Step::NeedKdc(forward)).await
    }

    /// [`Tickets::forwarded`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Tickets::forwarded`].
    pub fn forwarded_blocking(&self) -> Result<Forwarded, Refusal> {
        let cache = self.shared.cached()?;
        let (tgt, clock) = self.shared.ticket_granting_ticket(cache.as_ref())?;
        let (options, now) = (self.shared.options.clone(), ambient::now());
        let forward = Forward::begin(&tgt, options, clock, now, &mut ambient::rng());
        drive_blocking(&self.shared.kdcs, Step::NeedKdc(forward))
    }

    async fn cached(&self) -> Result<Option<Ccache>, Refusal> {
        let shared = self.shared.clone();
        in_a_thread(move || shared.cached()).await?
    }

    /// Keeps what was got, in a thread that may wait for the cache's lock.
    async fn kept<G: Send + 'static, K: Send + 'static>(
        &self,
        got: G,
        keep: fn(&Shared, G) -> K,
    ) -> Result<K, Refusal> {
        let shared = self.shared.clone();
        in_a_thread(move || keep(&shared, got)).await
    }
}

impl Shared {
    /// The cache as it stands. Where there is a login, one that is not there is as good as an empty one.
    fn cached(&self) -> Result<Option<Ccache>, Refusal> {
        self.keeper.read(self.login().is_some())
    }

    fn login(&self) -> Option<Arc<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A login begins the cache anew, for the client by the KDC's name for it.
    fn begin(&self, granted: &AsGranted) -> Result<(), Refusal> {
        let client = &granted.credential.client;
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(renamed) = login.take_if(|login| login.canonical() != client) {
            *login = Some(Arc::new(Login::clone(&renamed).known_as(client.clone())));
        }
        drop(login);
        self.keeper.begin(granted)
    }

    fn acquire(&self, service: &Principal, cache: Option<&Ccache>) -> Result<Step<Acquire>, Refusal> {
        let login = self.login();
        let home = match (&login, cache) {
            (Some(login), _) => login.canonical().realm.clone(),
            (None, Some(cache)) => cache.default_principal.realm.clone(),
            (None, None) => Vec::new(),
        };
        let candidates = realms_of(service, self.kdcs.conf(), home);
        let (options, now) = (self.options.clone(), ambient::now());
        Ok(Acquire::begin(service.clone(), candidates, cache, login, options, now, &mut ambient::rng())?)
    }

    fn first_ticket(&self) -> Result<Step<AsExchange>, Refusal> {
        let login = self.login().ok_or(KdcError::NoLogin)?;
        let exchange = AsExchange::begin(login, self.options.clone(), ambient::now(), &mut ambient::rng());
        Ok(Step::NeedKdc(exchange))
    }

    /// The ticket-granting ticket of the client's realm, and the KDC's clock less ours.
    fn ticket_granting_ticket(&self, cache: Option<&Ccache>) -> Result<(ServiceTicket, i64), Refusal> {
        let cache = cache.ok_or(KdcError::NoLogin)?;
        let home = &cache.default_principal.realm;
        let clock = cache.kdc_offset.unwrap_or(0);
        let service = ticket_granting_service(home, home);
        let ticket = self.options.select(cache, &service, ambient::now().shifted(clock))?;
        Ok((ticket, clock))
    }

    fn keep(&self, acquired: Acquired) -> Ticket {
        let Acquired { ticket, kdc_offset, login, credentials } = acquired;
        let begun = login.map_or(Ok(()), |granted| self.begin(&granted));
        let kept = begun.and_then(|()| self.keeper.add(&credentials));
        Ticket { ticket, clock_offset: kdc_offset, not_kept: kept.err() }
    }

    fn keep_login(&self, granted: AsGranted) -> Result<LoggedIn, Refusal> {
        self.begin(&granted)?;
        Ok(LoggedIn {
            client: granted.credential.client,
            endtime: granted.credential.endtime,
            password_expires: granted.password_expires,
            kdc_offset: granted.kdc_offset,
        })
    }

    fn keep_renewed(&self, (cache, credential): (Option<Ccache>, Credential)) -> Result<LoggedIn, Refusal> {
        let (client, endtime) = (credential.client.clone(), credential.endtime);
        let kdc_offset = cache.as_ref().and_then(|cache| cache.kdc_offset);
        self.keeper.begin_again(cache, credential)?;
        Ok(LoggedIn { client, endtime, password_expires: None, kdc_offset })
    }
}

/// Brings the requests of an exchange to KDCs until it is done.
async fn drive<E>(kdcs: &Kdcs, mut step: Step<E>) -> Result<E::Granted, Refusal>
where
    E: Exchange<Granted: Send> + Send + Sync + 'static,
{
    loop {
        let exchange = match step {
            Step::Done(granted) => return Ok(granted),
            Step::NeedKdc(exchange) => exchange,
        };
        let KdcRequest { realm, message } = exchange.request();
        let reply = kdcs.exchange(realm, message, &mut |reply| exchange.is_answer(reply)).await?;
        // A password is made into a key by as many iterations as the KDC says, or who poses as it: seconds of work.
        let next = in_a_thread(move || exchange.reply(&reply, ambient::now(), &mut ambient::rng()));
        step = next.await??;
    }
}

fn drive_blocking<E: Exchange>(kdcs: &Kdcs, mut step: Step<E>) -> Result<E::Granted, Refusal> {
    loop {
        let exchange = match step {
            Step::Done(granted) => return Ok(granted),
            Step::NeedKdc(exchange) => exchange,
        };
        let KdcRequest { realm, message } = exchange.request();
        let reply = kdcs.exchange_blocking(realm, message, &mut |reply| exchange.is_answer(reply))?;
        step = exchange.reply(&reply, ambient::now(), &mut ambient::rng())?;
    }
}

/// What may wait for a file's lock, or takes long, must not keep other tasks waiting.
async fn in_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let done = ::tokio::task::spawn_blocking(work).await;
    done.map_err(|error| {
        Refusal::new(code::STATE_MISUSED, format!("a thread that ended ({error})"), "its answer to give")
    })
}

/// A client's name, in the default realm if it has none of its own.
///
/// # Errors
/// If it is no name, or has no realm while there is no default realm.
fn client_principal(text: &str, conf: &Krb5Conf) -> Result<Principal, Refusal> {
    let mut client = Principal::parse(text)?;
    if client.realm.is_empty() {
        let Some(realm) = &conf.libdefaults.default_realm else {
            return Err(KdcError::NoRealm { client }.into());
        };
        client.realm = realm.as_bytes().to_vec();
    }
    Ok(client)
}

fn service_key(service: &Principal) -> ServiceKey {
    (service.realm.clone(), service.components.clone())
}

/// The realms in which a service may be that is named without one.
fn realms_of(service: &Principal, conf: &Krb5Conf, home: Vec<u8>) -> Vec<Vec<u8>> {
    let [_, host] = service.components.as_slice() else { return vec![home] };
    let host = String::from_utf8_lossy(host);
    if let Some(realm) = conf.realm_of_host(&host) {
        return vec![realm.as_bytes().to_vec()];
    }
    let domain = host.split_once('.').map(|(_, domain)| domain.to_ascii_uppercase().into_bytes());
    let domain = domain.filter(|domain| !domain.is_empty() && *domain != home);
    std::iter::once(home).chain(domain).collect()
}
