//! Reaching the KDCs of a realm: a request goes out, the answer comes back, whichever KDC gives it.
//!
//! KDCs are those that krb5.conf names, else those that the DNS knows (SRV records, with the feature `dns-srv`). They are
//! asked in that order by UDP, TCP or through an HTTPS proxy (MS-KKDCP, with the feature `kkdcp`); one that is silent or
//! out of order is passed over, and asked again later. `delivery` decides all this and touches no socket; the drivers for
//! threads and for tokio do what it says.
//!
//! Nothing here knows whether an answer is genuine: whoever asks says by a closure whether an answer belongs to the
//! request, and proves it by the key that it shares with the KDC.

mod blocking;
mod delivery;
#[cfg(feature = "dns-srv")]
mod dns;
#[cfg(not(feature = "dns-srv"))]
#[path = "no_dns.rs"]
mod dns;
mod error;
mod locate;
#[cfg(not(feature = "kkdcp"))]
#[path = "no_proxy.rs"]
mod proxy;
#[cfg(feature = "kkdcp")]
mod proxy;
mod reply;
#[cfg(feature = "dns-srv")]
mod srv;
mod tokio;

use crate::mutex::lock;
use countersign_proto::error::Refusal;
use countersign_proto::krb5conf::{KdcAddress, Krb5Conf};
use delivery::{Delivery, Plan};
use dns::Dns;
use locate::Places;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Most realms whose KDCs are remembered.
const MAX_REALMS: usize = 64;

/// How long KDCs are waited for. The first pass over the KDCs of a realm takes these times, each further one twice as long
/// as the one before, for those that were silent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KdcPatience {
    /// How long the answer to a datagram is waited for before the next KDC is asked. Default 1 s.
    pub datagram: Duration,
    /// How long a connection may take from its opening to the whole answer, and how long the addresses of a KDC's name may
    /// take. Default 3 s.
    pub connection: Duration,
    /// How many passes there are, 1 to 16. Default 3.
    pub passes: u32,
    /// How long one exchange may take in all, looking up names included; a day at most. Default 30 s.
    pub whole: Duration,
}

impl Default for KdcPatience {
    fn default() -> Self {
        Self {
            datagram: Duration::from_secs(1),
            connection: Duration::from_secs(3),
            passes: 3,
            whole: Duration::from_secs(30),
        }
    }
}

impl KdcPatience {
    /// The default, changed by what `conf` says: MIT's `request_timeout` for the whole, Heimdal's `kdc_timeout` for a
    /// connection and its `max_retries` for the passes.
    #[must_use]
    pub fn of(conf: &Krb5Conf) -> Self {
        let usual = Self::default();
        let said = &conf.libdefaults;
        Self {
            datagram: usual.datagram,
            connection: said.kdc_timeout.unwrap_or(usual.connection),
            passes: said.max_retries.unwrap_or(usual.passes),
            whole: said.request_timeout.unwrap_or(usual.whole),
        }
    }
}

/// The way to the KDCs of all realms. Clones share what they learn: which KDC answered last is asked first by the next
/// exchange, and answers of the DNS are kept for as long as they say.
#[derive(Clone)]
pub struct Kdcs {
    shared: Arc<Shared>,
}

struct Shared {
    conf: Arc<Krb5Conf>,
    patience: KdcPatience,
    dns: Dns,
    /// Which KDC of a realm answered last.
    answered: Mutex<BTreeMap<Vec<u8>, KdcAddress>>,
}

impl Kdcs {
    /// The KDCs that `conf` leads to, waited for as long as it says ([`KdcPatience::of`]).
    #[must_use]
    pub fn new(conf: Arc<Krb5Conf>) -> Self {
        let patience = KdcPatience::of(&conf);
        Self::with_patience(conf, patience)
    }

    /// The KDCs that `conf` leads to, waited for as `patience` says.
    #[must_use]
    pub fn with_patience(conf: Arc<Krb5Conf>, patience: KdcPatience) -> Self {
        Self::with_dns(conf, patience, Dns::of_system())
    }

    /// The same, but that SRV records are asked of these name servers instead of the system's.
    #[cfg(feature = "dns-srv")]
    #[must_use]
    pub fn with_name_servers(
        conf: Arc<Krb5Conf>,
        patience: KdcPatience,
        servers: Vec<std::net::SocketAddr>,
    ) -> Self {
        Self::with_dns(conf, patience, Dns::of_servers(servers))
    }

    fn with_dns(conf: Arc<Krb5Conf>, patience: KdcPatience, dns: Dns) -> Self {
        Self { shared: Arc::new(Shared { conf, patience, dns, answered: Mutex::default() }) }
    }

    /// The configuration that names the KDCs.
    #[must_use]
    pub fn conf(&self) -> &Krb5Conf {
        &self.shared.conf
    }

    /// Sends `request`, an encoded AS-REQ or TGS-REQ, to the KDCs of `realm` until one answers, and returns the answer, an
    /// encoded AS-REP, TGS-REP or KRB-ERROR.
    ///
    /// `accepts` says of each answer whether it belongs to this request; one that does not is passed over, so that a
    /// forged or stray datagram does not end the wait. It is asked of everything but KRB_ERR_RESPONSE_TOO_BIG by UDP, which
    /// leads to TCP, and KDC_ERR_SVC_UNAVAILABLE, which leads to the next KDC.
    ///
    /// # Errors
    /// If no KDC of the realm is known or can be looked up, or none gave an answer of use in time: the refusal says of each
    /// what became of it.
    pub fn exchange_blocking(
        &self,
        realm: &[u8],
        request: &[u8],
        accepts: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Refusal> {
        let end = self.end();
        let addresses = match self.places(realm)? {
            Places::Configured(addresses) => addresses,
            Places::InDns(domain) => self.shared.dns.kdcs_blocking(&domain, end)?,
        };
        let mut delivery = self.delivery(realm, request, addresses, end);
        blocking::drive(&mut delivery, &Parcel::new(&self.shared.conf, realm, request), accepts);
        self.conclude(realm, delivery)
    }

    /// As [`Kdcs::exchange_blocking`], on tokio. It can be dropped at any point and leaves no socket behind; a look-up of a
    /// name, or the use of a proxy, may go on in a thread of its own until its time is up.
    ///
    /// # Errors
    /// As [`Kdcs::exchange_blocking`].
    pub async fn exchange(
        &self,
        realm: &[u8],
        request: &[u8],
        accepts: &mut (dyn FnMut(&[u8]) -> bool + Send),
    ) -> Result<Vec<u8>, Refusal> {
        let end = self.end();
        let addresses = match self.places(realm)? {
            Places::Configured(addresses) => addresses,
            Places::InDns(domain) => self.shared.dns.kdcs(&domain, end).await?,
        };
        let mut delivery = self.delivery(realm, request, addresses, end);
        tokio::drive(&mut delivery, &Parcel::new(&self.shared.conf, realm, request), accepts).await;
        self.conclude(realm, delivery)
    }

    fn end(&self) -> Instant {
        after(Instant::now(), self.shared.patience.whole)
    }

    fn places(&self, realm: &[u8]) -> Result<Places, Refusal> {
        Ok(locate::places(&self.shared.conf, realm)?)
    }

    fn delivery(
        &self,
        realm: &[u8],
        request: &[u8],
        mut addresses: Vec<KdcAddress>,
        end: Instant,
    ) -> Delivery {
        let answered = lock(&self.shared.answered);
        if let Some(at) = answered.get(realm).and_then(|last| addresses.iter().position(|each| each == last))
        {
            let last = addresses.remove(at);
            addresses.insert(0, last);
        }
        let plan = Plan {
            realm: realm.to_vec(),
            addresses,
            length: request.len(),
            udp_preference_limit: self.shared.conf.libdefaults.udp_preference_limit,
            patience: self.shared.patience,
            end,
        };
        Delivery::new(plan)
    }

    fn conclude(&self, realm: &[u8], delivery: Delivery) -> Result<Vec<u8>, Refusal> {
        let (reply, from) = delivery.conclude()?;
        let mut answered = lock(&self.shared.answered);
        if answered.len() >= MAX_REALMS && !answered.contains_key(realm) {
            answered.clear();
        }
        answered.insert(realm.to_vec(), from);
        Ok(reply)
    }
}

/// What is sent, to whom.
struct Parcel<'a> {
    request: &'a [u8],
    #[cfg(feature = "kkdcp")]
    realm: &'a [u8],
    /// Certificates that the realm's proxies are verified by, as krb5.conf names them.
    #[cfg(feature = "kkdcp")]
    anchors: &'a [String],
}

#[cfg(feature = "kkdcp")]
impl<'a> Parcel<'a> {
    fn new(conf: &'a Krb5Conf, realm: &'a [u8], request: &'a [u8]) -> Self {
        Self { request, realm, anchors: locate::anchors(conf, realm) }
    }
}

#[cfg(not(feature = "kkdcp"))]
impl<'a> Parcel<'a> {
    const fn new(_conf: &'a Krb5Conf, _realm: &'a [u8], request: &'a [u8]) -> Self {
        Self { request }
    }
}

/// The longest that is ever waited.
const DAY: Duration = Duration::from_secs(86_400);

/// The moment `wait`, a day at most, after `now`.
fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(DAY)).unwrap_or(now)
}
