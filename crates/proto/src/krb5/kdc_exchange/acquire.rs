//! All that is needed to get from what a client has to the ticket of a service.

use super::as_exchange::{AsExchange, AsGranted};
use super::error::KdcError;
use super::options::{Login, TicketOptions};
use super::tgs_exchange::{TgsExchange, TgsGranted};
use super::{Exchange, KdcRequest, Step, granting_realm, ticket_granting_service};
use crate::ccache::{Ccache, Credential};
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::msg::principal::Principal;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// The way to a service's ticket, at a point where a KDC is needed.
pub struct Acquire {
    wanted: Wanted,
    options: Arc<TicketOptions>,
    phase: Phase,
}

struct Wanted {
    service: Principal,
    candidates: Vec<Vec<u8>>,
}

enum Phase {
    LoggingIn(AsExchange),
    /// With the KDC's clock less ours, in microseconds, and what the login gave, if there was one.
    Asking(TgsExchange, i64, Option<Box<AsGranted>>),
}

/// What a client has after it.
pub struct Acquired {
    /// The service's ticket, ready to be presented.
    pub ticket: ServiceTicket,
    /// The KDC's clock less ours, in microseconds.
    pub kdc_offset: i64,
    /// The ticket-granting ticket, if there was a login.
    pub login: Option<Box<AsGranted>>,
    /// Tickets that were got, to be kept: of realms on the way, and of the service. The service's is under the name that was
    /// asked for.
    pub credentials: Vec<Credential>,
}

impl Acquire {
    /// Looks for a ticket of `service` in the cache; else asks for one with a ticket-granting ticket in the cache; else logs in
    /// first. A cache of another client than the one that logs in does not count.
    ///
    /// A service without realm is looked for in `candidates`, in their order; where they are none, in the client's realm.
    ///
    /// # Errors
    /// If there is neither a ticket-granting ticket nor a login.
    pub fn begin(
        service: Principal,
        candidates: Vec<Vec<u8>>,
        ccache: Option<&Ccache>,
        login: Option<Arc<Login>>,
        options: Arc<TicketOptions>,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self>, KdcError> {
        let is_its = |cache: &&Ccache| login.as_ref().is_none_or(|login| is_of(cache, login));
        let ccache = ccache.filter(is_its);
        let clock = ccache.and_then(|cache| cache.kdc_offset).unwrap_or(0);
        let at = now.shifted(clock);
        if let Some(ticket) = ccache.and_then(|cache| held(cache, &service, &options, at)) {
            return Ok(Step::Done(Acquired {
                ticket,
                kdc_offset: clock,
                login: None,
                credentials: Vec::new(),
            }));
        }
        let wanted = Wanted { service, candidates };
        let tgts = ccache.map_or_else(Vec::new, |cache| ticket_granting_tickets(cache, &options, at));
        let phase = match (tgts.is_empty(), login) {
            (false, _) => Phase::Asking(wanted.ask(tgts, &options, clock, now, rng)?, clock, None),
            (true, Some(login)) => Phase::LoggingIn(AsExchange::begin(login, options.clone(), now, rng)),
            (true, None) => return Err(without_credential(ccache, wanted.service, &options, at)),
        };
        Ok(Step::NeedKdc(Self { wanted, options, phase }))
    }

    /// Goes on with the ticket-granting ticket that a login gave.
    fn logged_in(
        wanted: Wanted,
        options: Arc<TicketOptions>,
        granted: AsGranted,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self>, KdcError> {
        let clock = granted.kdc_offset.unwrap_or(0);
        let tgt = options.usable(&granted.credential, now.shifted(clock));
        let tgt = tgt.map_err(|fault| KdcError::Unusable { fault: Box::new(fault) })?;
        let asking = wanted.ask(vec![tgt], &options, clock, now, rng)?;
        Ok(Step::NeedKdc(Self {
            wanted,
            options,
            phase: Phase::Asking(asking, clock, Some(Box::new(granted))),
        }))
    }
}

impl Wanted {
    fn ask(
        &self,
        tgts: Vec<ServiceTicket>,
        options: &Arc<TicketOptions>,
        clock: i64,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<TgsExchange, KdcError> {
        TgsExchange::begin(
            self.service.clone(),
            self.candidates.clone(),
            tgts,
            options.clone(),
            clock,
            now,
            rng,
        )
    }

    /// The service's ticket as it is kept: under the name that was asked for, so that it is found again although the KDC of
    /// that realm sent us on to another's.
    fn named(&self, credential: Credential) -> Credential {
        if self.service.realm.is_empty() {
            return credential;
        }
        Credential { server: self.service.clone(), ..credential }
    }

    fn granted(
        &self,
        granted: TgsGranted,
        clock: i64,
        login: Option<Box<AsGranted>>,
        options: &TicketOptions,
        now: Timestamp,
    ) -> Result<Acquired, KdcError> {
        let ticket = options.usable(&granted.credential, now.shifted(clock));
        let ticket = ticket.map_err(|fault| KdcError::Unusable { fault: Box::new(fault) })?;
        let mut credentials = granted.on_the_way;
        credentials.push(self.named(granted.credential));
        Ok(Acquired { ticket, kdc_offset: clock, login, credentials })
    }
}

impl Exchange for Acquire {
    type Granted = Acquired;

    fn request(&self) -> KdcRequest<'_> {
        match &self.phase {
            Phase::LoggingIn(exchange) => exchange.request(),
            Phase::Asking(exchange, ..) => exchange.request(),
        }
    }

    fn is_answer(&self, reply: &[u8]) -> bool {
        match &self.phase {
            Phase::LoggingIn(exchange) => exchange.is_answer(reply),
            Phase::Asking(exchange, ..) => exchange.is_answer(reply),
        }
    }

    fn reply(self, reply: &[u8], now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Step<Self>, KdcError> {
        let Self { wanted, options, phase } = self;
        let phase = match phase {
            Phase::LoggingIn(exchange) => match exchange.reply(reply, now, rng)? {
                Step::NeedKdc(exchange) => Phase::LoggingIn(exchange),
                Step::Done(granted) => return Self::logged_in(wanted, options, granted, now, rng),
            },
            Phase::Asking(exchange, clock, login) => match exchange.reply(reply, now, rng)? {
                Step::NeedKdc(exchange) => Phase::Asking(exchange, clock, login),
                Step::Done(granted) => {
                    return wanted.granted(granted, clock, login, &options, now).map(Step::Done);
                }
            },
        };
        Ok(Step::NeedKdc(Self { wanted, options, phase }))
    }
}

fn is_of(cache: &Ccache, login: &Login) -> bool {
    [login.client(), login.canonical()].contains(&&cache.default_principal)
}

/// A ticket of the service that is in the cache, and good.
fn held(
    cache: &Ccache,
    service: &Principal,
    options: &TicketOptions,
    at: Timestamp,
) -> Option<ServiceTicket> {
    cache.find_service(service).find_map(|credential| options.usable(credential, at).ok())
}

/// The ticket-granting tickets in the cache that are good, that of the client's own realm first: without it the others are of
/// no use.
fn ticket_granting_tickets(cache: &Ccache, options: &TicketOptions, at: Timestamp) -> Vec<ServiceTicket> {
    let home = &cache.default_principal.realm;
    let Some(own) = held(cache, &ticket_granting_service(home, home), options, at) else { return Vec::new() };
    let foreign = cache.credentials.iter().filter(|credential| {
        credential.client == cache.default_principal
            && granting_realm(&credential.server).is_some_and(|realm| realm != home)
    });
    let foreign = foreign.filter_map(|credential| options.usable(credential, at).ok());
    std::iter::once(own).chain(foreign).collect()
}

/// Why there is nothing to ask a KDC with; where nothing of the kind was ever there, why there is no ticket of the service.
fn without_credential(
    ccache: Option<&Ccache>,
    service: Principal,
    options: &TicketOptions,
    at: Timestamp,
) -> KdcError {
    let Some(cache) = ccache else {
        return KdcError::Nobody { service, cached: "no credential cache and no login" };
    };
    let client = cache.default_principal.clone();
    let home = ticket_granting_service(&client.realm, &client.realm);
    match cache.find_service(&home).map(|credential| credential.endtime).max() {
        Some(until) if until <= at => {
            KdcError::NoCredential { client, cached: format!("one that ended {until}") }
        }
        Some(until) => {
            KdcError::NoCredential { client, cached: format!("one until {until} that cannot be used") }
        }
        None => match options.select(cache, &service, at) {
            Err(fault) => KdcError::Unusable { fault: Box::new(fault) },
            Ok(_) => KdcError::NoLogin,
        },
    }
}
