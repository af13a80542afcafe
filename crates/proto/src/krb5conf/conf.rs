//! The configuration, typed.

use super::address::KdcAddress;
use super::domains::DomainRealms;
use super::error::Krb5ConfError;
use super::load::Loader;
use super::profile::{Note, Profile};
use super::tokens::PathName;
use super::{enctypes, read};
use crate::crypto::{Etype, spake::SpakeGroup};
use crate::policy::{Capaths, DEFAULT_CLOCK_SKEW};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest request to a KDC, in bytes, that goes out by UDP first where nothing is said.
pub const DEFAULT_UDP_PREFERENCE_LIMIT: usize = 1_465;

/// What krb5.conf says to an initiator. The default is what holds without any file: DNS leads to KDCs, and there is no default
/// realm.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Krb5Conf {
    /// `[libdefaults]`.
    pub libdefaults: LibDefaults,
    /// `[realms]`, by the realm's name.
    pub realms: BTreeMap<String, RealmConf>,
    /// `[capaths]`.
    pub capaths: Capaths,
    pub(super) domain_realm: DomainRealms,
    /// What a realm's subsection in `[libdefaults]` changes, with everything else as it is for all.
    pub(super) ticket_defaults: BTreeMap<String, TicketDefaults>,
    pub(super) notes: Vec<Note>,
}

/// `[libdefaults]`. Every field is named as its key, or says which it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LibDefaults {
    /// The realm of names that have none.
    pub default_realm: Option<String>,
    /// Etypes of session keys, tickets and authenticators, the preferred one first. RC4 is among them only if `allow_rc4` or
    /// `allow_weak_crypto` says so, even if it is named.
    pub permitted_enctypes: Vec<Etype>,
    /// Etypes that AS requests ask for; `permitted_enctypes` if nothing is said.
    pub default_tkt_enctypes: Vec<Etype>,
    /// Etypes that TGS requests ask for; `permitted_enctypes` if nothing is said.
    pub default_tgs_enctypes: Vec<Etype>,
    /// `allow_rc4` or `allow_weak_crypto`.
    pub allow_rc4: bool,
    /// `clockskew`, 300 seconds if nothing is said.
    pub clock_skew: Duration,
    /// Ask DNS for the KDCs of realms that name none; true if nothing is said. Without it `dns_fallback` counts.
    pub dns_lookup_kdc: bool,
    /// Ask DNS for the realm of hosts; false if nothing is said. Without it `dns_fallback` counts.
    pub dns_lookup_realm: bool,
    /// Whether names of hosts are replaced by what DNS calls them; true if nothing is said.
    pub dns_canonicalize_hostname: DnsCanonicalize,
    /// Correct this machine's clock by the KDC's when a ticket is used; true if nothing is said.
    pub kdc_timesync: bool,
    /// Longest request, in bytes, that goes out by UDP first: 0 to 32,700.
    pub udp_preference_limit: usize,
    /// How long all attempts at one exchange may take together; none for no bound of its own (MIT, release 1.22).
    pub request_timeout: Option<Duration>,
    /// How long one KDC's answer is waited for (Heimdal).
    pub kdc_timeout: Option<Duration>,
    /// How often each KDC is tried (Heimdal).
    pub max_retries: Option<u32>,
    /// The credential cache, also by Heimdal's `default_cc_name`.
    pub default_ccache_name: Option<PathName>,
    /// The keytab of services.
    pub default_keytab_name: Option<PathName>,
    /// The keytab to get tickets with.
    pub default_client_keytab_name: Option<PathName>,
    /// Groups of SPAKE pre-authentication that are implemented, the preferred one first; Edwards25519 alone if nothing is
    /// said. None are left if all that are named are others: then SPAKE is off.
    pub spake_preauth_groups: Vec<SpakeGroup>,
    /// How many parents of a host's domain are tried as realms, after the domain itself; none for not even that.
    pub realm_try_domains: Option<u32>,
    /// What realms may have in their own way: [`Krb5Conf::ticket_defaults`] knows.
    pub tickets: TicketDefaults,
}

/// How initial tickets are asked for: those of `[libdefaults]` that a subsection there, named as the client's realm, may
/// set for that realm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketDefaults {
    /// How long a ticket is to live: a day if nothing is said.
    pub ticket_lifetime: Duration,
    /// How long it is to be renewable; 0 for not at all.
    pub renew_lifetime: Duration,
    /// Whether it may be forwarded to another machine.
    pub forwardable: bool,
    /// Whether the KDC may give tickets with another address for it.
    pub proxiable: bool,
    /// Whether the KDC may answer for another name of the client.
    pub canonicalize: bool,
    /// Leave the addresses of this machine out of the ticket; true if nothing is said.
    pub noaddresses: bool,
    /// Types of pre-authentication to be tried before others, the first one first: 17, 16, 15, 14 if nothing is said.
    pub preferred_preauth_types: Vec<i32>,
    /// Whether it is an error that a ticket cannot be checked for want of a keytab.
    pub verify_ap_req_nofail: bool,
}

/// `dns_canonicalize_hostname`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsCanonicalize {
    /// Always.
    Yes,
    /// Never.
    No,
    /// When the KDC does not know the name as it was given.
    Fallback,
}

/// A realm's subsection in `[realms]`. Servers stand in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RealmConf {
    /// `kdc`.
    pub kdcs: Vec<KdcAddress>,
    /// `primary_kdc`, or where there is none `master_kdc`: asked when another KDC calls a password wrong.
    pub primary_kdcs: Vec<KdcAddress>,
    /// `admin_server`, with port 749 if none is said.
    pub admin_servers: Vec<KdcAddress>,
    /// `kpasswd_server`, with port 464 if none is said.
    pub kpasswd_servers: Vec<KdcAddress>,
    /// Whom certificates of HTTPS proxies must come from, `FILE:path`, `DIR:path` or `ENV:variable`; the system's
    /// authorities if there is none.
    pub http_anchors: Vec<String>,
    /// Do not prove a password by an encrypted timestamp, which an active attacker can guess it from.
    pub disable_encrypted_timestamp: bool,
}

impl Default for LibDefaults {
    fn default() -> Self {
        let etypes = enctypes::defaults(false);
        Self {
            default_realm: None,
            permitted_enctypes: etypes.clone(),
            default_tkt_enctypes: etypes.clone(),
            default_tgs_enctypes: etypes,
            allow_rc4: false,
            clock_skew: DEFAULT_CLOCK_SKEW,
            dns_lookup_kdc: true,
            dns_lookup_realm: false,
            dns_canonicalize_hostname: DnsCanonicalize::Yes,
            kdc_timesync: true,
            udp_preference_limit: DEFAULT_UDP_PREFERENCE_LIMIT,
            request_timeout: None,
            kdc_timeout: None,
            max_retries: None,
            default_ccache_name: None,
            default_keytab_name: None,
            default_client_keytab_name: None,
            spake_preauth_groups: vec![SpakeGroup::Edwards25519],
            realm_try_domains: None,
            tickets: TicketDefaults::default(),
        }
    }
}

impl Default for TicketDefaults {
    fn default() -> Self {
        Self {
            ticket_lifetime: Duration::from_secs(86_400),
            renew_lifetime: Duration::ZERO,
            forwardable: false,
            proxiable: false,
            canonicalize: false,
            noaddresses: true,
            preferred_preauth_types: vec![17, 16, 15, 14],
            verify_ap_req_nofail: false,
        }
    }
}

impl Krb5Conf {
    /// Reads a list of files with all that they include, as [`Profile::read`] does, and what is in them.
    ///
    /// # Errors
    /// As [`Profile::read`] and [`Krb5Conf::from_profile`].
    pub fn read(paths: &[&str], loader: &mut dyn Loader) -> Result<Self, Krb5ConfError> {
        Self::from_profile(&Profile::read(paths, loader)?)
    }

    /// What the relations of a profile mean.
    ///
    /// # Errors
    /// If a key that is read has a value that it cannot have: [`Krb5ConfError::Value`].
    pub fn from_profile(profile: &Profile) -> Result<Self, Krb5ConfError> {
        read::conf(profile)
    }

    /// A configuration made by a program that needs no file, with the defaults.
    #[must_use]
    pub fn builder() -> Builder {
        Builder(Self::default())
    }

    /// The KDCs of `realm` in the order that they are to be tried in; none if nothing is said of it.
    #[must_use]
    pub fn kdcs(&self, realm: &str) -> &[KdcAddress] {
        self.realms.get(realm).map(|conf| conf.kdcs.as_slice()).unwrap_or_default()
    }

    /// The realm of `host` by `[domain_realm]`: what is said of the host itself, else of the smallest domain that it is in.
    /// Letter case does not matter; addresses have no realm.
    #[must_use]
    pub fn realm_of_host(&self, host: &str) -> Option<&str> {
        self.domain_realm.realm_of(host)
    }

    /// How clients of `realm` ask for initial tickets.
    #[must_use]
    pub fn ticket_defaults(&self, realm: &str) -> &TicketDefaults {
        self.ticket_defaults.get(realm).unwrap_or(&self.libdefaults.tickets)
    }

    /// What in the files has no effect and is not known to be meant for others, each key once.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// Makes a [`Krb5Conf`] without a file. What it has no method for is a field of the result.
#[derive(Clone, Debug)]
pub struct Builder(Krb5Conf);

impl Builder {
    /// The realm of names that have none.
    #[must_use]
    pub fn default_realm(mut self, realm: impl Into<String>) -> Self {
        self.0.libdefaults.default_realm = Some(realm.into());
        self
    }

    /// Whether DNS is asked for the KDCs of realms that have none here.
    #[must_use]
    pub fn dns_lookup_kdc(mut self, lookup: bool) -> Self {
        self.0.libdefaults.dns_lookup_kdc = lookup;
        self
    }

    /// A realm and its KDCs, in the order that they are to be tried in. Those of an earlier call come first.
    #[must_use]
    pub fn realm(mut self, name: impl Into<String>, kdcs: impl IntoIterator<Item = KdcAddress>) -> Self {
        self.0.realms.entry(name.into()).or_default().kdcs.extend(kdcs);
        self
    }

    /// The realm of a host, or of a domain with all in it; with a dot before it, of what is in the domain alone.
    #[must_use]
    pub fn domain_realm(mut self, domain: &str, realm: &str) -> Self {
        self.0.domain_realm.add(domain, realm);
        self
    }

    /// The realms between `client` and `server`, in the order of the way; none if the two trust each other directly.
    #[must_use]
    pub fn capath(mut self, client: &str, server: &str, between: &[&str]) -> Self {
        self.0.capaths.set(client, server, between);
        self
    }

    /// The configuration.
    #[must_use]
    pub fn build(self) -> Krb5Conf {
        self.0
    }
}
