//! The KDCs of a realm as the DNS knows them: SRV records (RFC 4120 section 7.2.3.2).
//!
//! The DNS proves nothing, and need not: a wrong KDC has no key of the realm, and its answers are refused.

use super::blocking::in_thread;
use super::error::KdcError;
use super::srv::{self, Srv};
use super::{after, lock};
use crate::ambient;
use countersign_proto::krb5conf::KdcAddress;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Most realms whose records are kept.
const MAX_REALMS: usize = 64;
/// How long records are kept at most, whatever they say.
const MAX_AGE: Duration = Duration::from_secs(86_400);
/// How long the name servers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name servers, and what they said.
pub(super) struct Dns {
    /// None are the system's.
    servers: Vec<SocketAddr>,
    known: Mutex<BTreeMap<String, Found>>,
}

#[derive(Clone)]
struct Found {
    kdcs: Vec<KdcAddress>,
    until: Instant,
}

impl Dns {
    /// Asks the system's name servers.
    pub(super) fn of_system() -> Self {
        Self::of_servers(Vec::new())
    }

    /// Asks these name servers.
    pub(super) fn of_servers(servers: Vec<SocketAddr>) -> Self {
        Self { servers, known: Mutex::default() }
    }

    /// The KDCs of `domain`, at least one.
    ///
    /// # Errors
    /// If there are no records, or no answer until `end`.
    pub(super) async fn kdcs(&self, domain: &str, end: Instant) -> Result<Vec<KdcAddress>, KdcError> {
        if let Some(kdcs) = self.known(domain) {
            return Ok(kdcs);
        }
        self.keep(domain, look_up(&self.servers, domain, until(end)).await?)
    }

    /// As [`Self::kdcs`], on a thread that has no runtime.
    ///
    /// # Errors
    /// As [`Self::kdcs`].
    pub(super) fn kdcs_blocking(&self, domain: &str, end: Instant) -> Result<Vec<KdcAddress>, KdcError> {
        if let Some(kdcs) = self.known(domain) {
            return Ok(kdcs);
        }
        let (servers, name, until) = (self.servers.clone(), domain.to_owned(), until(end));
        let found = in_thread(until, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| failed(&name, &error))?;
            runtime.block_on(look_up(&servers, &name, until))
        });
        self.keep(domain, found.map_err(|trouble| failed(domain, &trouble))??)
    }

    fn known(&self, domain: &str) -> Option<Vec<KdcAddress>> {
        let known = lock(&self.known);
        known.get(domain).filter(|found| Instant::now() < found.until).map(|found| found.kdcs.clone())
    }

    fn keep(&self, domain: &str, found: Found) -> Result<Vec<KdcAddress>, KdcError> {
        if found.kdcs.is_empty() {
            let why = "no SRV record _kerberos of that domain in the DNS";
            return Err(KdcError::Unknown { realm: domain.into(), why });
        }
        let mut known = lock(&self.known);
        if known.len() >= MAX_REALMS {
            let now = Instant::now();
            known.retain(|_, found| now < found.until);
        }
        if known.len() < MAX_REALMS || known.contains_key(domain) {
            known.insert(domain.to_owned(), found.clone());
        }
        Ok(found.kdcs)
    }
}

fn until(end: Instant) -> Instant {
    after(Instant::now(), PATIENCE).min(end)
}

fn failed(domain: &str, cause: &dyn std::fmt::Display) -> KdcError {
    KdcError::LookupFailed { domain: domain.to_owned(), cause: cause.to_string() }
}

async fn look_up(servers: &[SocketAddr], domain: &str, until: Instant) -> Result<Found, KdcError> {
    let both = async {
        let resolver = resolver(servers)?;
        Ok(tokio::join!(records(&resolver, "_udp", domain), records(&resolver, "_tcp", domain)))
    };
    let both: Result<_, NetError> = tokio::time::timeout_at(until.into(), both)
        .await
        .map_err(|_| failed(domain, &"no answer of the name servers in time"))?;
    // One of the two is enough; why there is none is told if there is none at all.
    let (udp, tcp) = match both.map_err(|error| failed(domain, &error))? {
        (Err(error), Err(_)) => return Err(failed(domain, &error)),
        (Err(error), Ok((list, _))) | (Ok((list, _)), Err(error)) if list.is_empty() => {
            return Err(failed(domain, &error));
        }
        (udp, tcp) => (udp.unwrap_or_default(), tcp.unwrap_or_default()),
    };
    let now = Instant::now();
    let until = [udp.1, tcp.1].into_iter().flatten().min().unwrap_or(now).min(after(now, MAX_AGE));
    Ok(Found { kdcs: srv::kdcs(udp.0, tcp.0, &mut ambient::rng()), until })
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    // It is asked twice and then dropped; what is kept is kept here.
    builder.options_mut().cache_size = 0;
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The records of one transport, none if there are none, and until when they hold.
async fn records(
    resolver: &TokioResolver,
    transport: &str,
    domain: &str,
) -> Result<(Vec<Srv>, Option<Instant>), NetError> {
    // With the dot at the end no search domain is appended.
    let name = Name::from_ascii(format!("_kerberos.{transport}.{domain}."))?;
    let lookup = match resolver.lookup(name, RecordType::SRV).await {
        Ok(lookup) => lookup,
        Err(error) if error.is_no_records_found() => return Ok((Vec::new(), None)),
        Err(error) => return Err(error),
    };
    let records = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii().trim_end_matches('.').to_owned(),
        }),
        _ => None,
    });
    Ok((records.collect(), Some(lookup.valid_until())))
}
