//! What is asked of a KDC, and with what a client proves itself to it.

use super::error::KdcError;
use crate::ccache::{Ccache, Credential};
use crate::crypto::spake::SpakeGroup;
use crate::crypto::{Etype, Key, MAX_ITERATIONS, string_to_key};
use crate::keytab::Keytab;
use crate::krb5::initiator::{InitiateError, ServiceTicket};
use crate::krb5::msg::kdc_req::KdcOptions;
use crate::krb5::msg::principal::{Principal, name_type};
use crate::krb5conf::{Krb5Conf, LibDefaults};
use crate::policy::{Capaths, DEFAULT_CLOCK_SKEW, DEFAULT_PERMITTED_ENCTYPES};
use crate::secret::Secret;
use crate::time::Timestamp;
use std::time::Duration;

/// What a client asks of KDCs, and takes from them.
#[derive(Clone, Debug)]
pub struct TicketOptions {
    /// Etypes of keys and replies, the preferred one first. Nothing else is asked for or taken.
    pub permitted_enctypes: Vec<Etype>,
    /// Of those, the ones that a first ticket is asked with, in order.
    pub default_tkt_enctypes: Vec<Etype>,
    /// Of those, the ones that a service's ticket is asked with, in order.
    pub default_tgs_enctypes: Vec<Etype>,
    /// How far a KDC's clock may be from ours before its offset is learnt from its answer.
    pub clock_skew: Duration,
    /// How long tickets are to live, from one second; the KDC gives at most that.
    pub lifetime: Duration,
    /// Until how long from now they are to be renewable, if at all.
    pub renewable: Option<Duration>,
    /// Whether tickets are to be forwardable.
    pub forwardable: bool,
    /// Whether tickets are to be proxiable.
    pub proxiable: bool,
    /// Whether the KDC may give the client and the ticket-granting service other names than those asked for (RFC 6806).
    pub canonicalize: bool,
    /// Groups for SPAKE, the preferred one first; none switches it off.
    pub spake_groups: Vec<SpakeGroup>,
    /// Most iterations that a KDC may demand to make a key of the password, at most 2^24 - 1: who poses as one decides how long this
    /// end computes.
    pub max_iterations: u32,
    /// Whether an encrypted timestamp may be sent: who sees it can guess the password at leisure.
    pub encrypted_timestamp: bool,
    /// Whether the KDC's clock is believed where it differs from ours: its tickets are then used by its time.
    pub kdc_timesync: bool,
    /// Paths between realms other than up and down the domain tree.
    pub capaths: Capaths,
}

/// The lifetime that MIT's kinit asks for.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for TicketOptions {
    fn default() -> Self {
        Self {
            permitted_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            default_tkt_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            default_tgs_enctypes: DEFAULT_PERMITTED_ENCTYPES.to_vec(),
            clock_skew: DEFAULT_CLOCK_SKEW,
            lifetime: DEFAULT_LIFETIME,
            renewable: None,
            forwardable: false,
            proxiable: false,
            canonicalize: false,
            spake_groups: vec![SpakeGroup::Edwards25519],
            max_iterations: MAX_ITERATIONS,
            encrypted_timestamp: true,
            kdc_timesync: true,
            capaths: Capaths::default(),
        }
    }
}

impl TicketOptions {
    /// What a configuration says of clients of `realm`.
    #[must_use]
    pub fn of(conf: &Krb5Conf, realm: &str) -> Self {
        let LibDefaults { permitted_enctypes, default_tkt_enctypes, default_tgs_enctypes, .. } =
            &conf.libdefaults;
        let defaults = conf.ticket_defaults(realm);
        let renewable = Some(defaults.renew_lifetime).filter(|renewable| !renewable.is_zero());
        Self {
            permitted_enctypes: permitted_enctypes.clone(),
            default_tkt_enctypes: default_tkt_enctypes.clone(),
            default_tgs_enctypes: default_tgs_enctypes.clone(),
            clock_skew: conf.libdefaults.clock_skew,
            lifetime: defaults.ticket_lifetime,
            renewable,
            forwardable: defaults.forwardable,
            proxiable: defaults.proxiable,
            canonicalize: defaults.canonicalize,
            spake_groups: conf.libdefaults.spake_preauth_groups.clone(),
            max_iterations: MAX_ITERATIONS,
            encrypted_timestamp: !conf.realms.get(realm).is_some_and(|conf| conf.disable_encrypted_timestamp),
            kdc_timesync: conf.libdefaults.kdc_timesync,
            capaths: conf.capaths.clone(),
        }
    }

    /// The ticket of `service` in `ccache` that is good now.
    ///
    /// # Errors
    /// If there is none.
    pub fn select(
        &self,
        ccache: &Ccache,
        service: &Principal,
        now: Timestamp,
    ) -> Result<ServiceTicket, InitiateError> {
        ServiceTicket::select(ccache, service, &self.permitted_enctypes, self.clock_skew, now)
    }

    /// Permits these etypes alone, in this order.
    #[must_use]
    pub fn with_enctypes(self, permitted: &[Etype]) -> Self {
        let [permitted_enctypes, default_tkt_enctypes, default_tgs_enctypes] =
            [permitted; 3].map(<[Etype]>::to_vec);
        Self { permitted_enctypes, default_tkt_enctypes, default_tgs_enctypes, ..self }
    }

    /// Etypes to ask for in the TGS exchange.
    pub(super) fn tgs_enctypes(&self) -> Vec<Etype> {
        self.permitted(&self.default_tgs_enctypes)
    }

    fn permitted(&self, etypes: &[Etype]) -> Vec<Etype> {
        etypes.iter().copied().filter(|etype| self.permitted_enctypes.contains(etype)).collect()
    }

    /// The ticket of `credential`, ready to be presented, if it is good now and its session key permitted.
    ///
    /// # Errors
    /// If it is not.
    pub fn usable(&self, credential: &Credential, now: Timestamp) -> Result<ServiceTicket, InitiateError> {
        ServiceTicket::from_credential(credential, &self.permitted_enctypes, self.clock_skew, now)
    }

    /// KDCOptions of a request for a first ticket.
    pub(super) fn for_first_ticket(&self, login: &Login) -> KdcOptions {
        let wanted = [
            (self.forwardable, KdcOptions::FORWARDABLE),
            (self.proxiable, KdcOptions::PROXIABLE),
            (self.renewable.is_some(), KdcOptions::RENEWABLE),
            // A KDC that grants less than was asked for may make up for it by a renewable ticket.
            (self.renewable.is_none(), KdcOptions::RENEWABLE_OK),
            (self.canonicalize || login.is_enterprise(), KdcOptions::CANONICALIZE),
        ];
        wanted
            .into_iter()
            .filter(|(wanted, _)| *wanted)
            .fold(KdcOptions::default(), |all, (_, one)| all.with(one))
    }
}

/// A client that can prove itself to its KDC.
#[derive(Clone)]
pub struct Login {
    client: Principal,
    /// What the KDC calls it, where that is known to be another name.
    known_as: Option<Principal>,
    secret: LongTerm,
    /// With the clock of its KDC less ours, in microseconds.
    armor: Option<(ServiceTicket, i64)>,
}

#[derive(Clone)]
enum LongTerm {
    Password(Secret),
    Keys(Vec<Key>),
}

impl Login {
    /// A client with a password.
    ///
    /// # Errors
    /// If the client is named without a realm.
    pub fn with_password(client: Principal, password: Secret) -> Result<Self, KdcError> {
        Self::new(client, LongTerm::Password(password))
    }

    /// A client whose keys are in a keytab; of each etype that `options` permit, the one with the highest kvno counts.
    ///
    /// # Errors
    /// If the client is named without a realm, or the keytab has no such key.
    pub fn with_keytab(
        client: Principal,
        keytab: &Keytab,
        options: &TicketOptions,
    ) -> Result<Self, KdcError> {
        let newest = |etype: &Etype| {
            let of_etype = keytab
                .entries
                .iter()
                .filter(|entry| entry.principal == client && entry.etype == etype.wire());
            let entry = of_etype.max_by_key(|entry| entry.kvno)?;
            Key::new(*etype, entry.key.expose()).ok()
        };
        let keys: Vec<_> = options.permitted_enctypes.iter().filter_map(newest).collect();
        if keys.is_empty() {
            let permitted = options.permitted_enctypes.clone();
            return Err(KdcError::ClientKey { client, held: keytab.entries.len(), permitted });
        }
        Self::new(client, LongTerm::Keys(keys))
    }

    /// A client with a password that does not know its realm yet: only [`Login::in_realm`] makes a login of it.
    #[must_use]
    pub fn without_realm(client: Principal, password: Secret) -> Self {
        Self { client, known_as: None, secret: LongTerm::Password(password), armor: None }
    }

    /// The same client in another realm.
    #[must_use]
    pub fn in_realm(self, realm: &str) -> Self {
        let client = Principal { realm: realm.as_bytes().to_vec(), ..self.client };
        Self { client, ..self }
    }

    fn new(client: Principal, secret: LongTerm) -> Result<Self, KdcError> {
        if client.realm.is_empty() {
            return Err(KdcError::NoRealm { client });
        }
        Ok(Self { client, known_as: None, secret, armor: None })
    }

    /// The same, with a ticket-granting ticket that makes FAST's armor (RFC 6113 section 5.4.1). It must be of a KDC of the
    /// client's realm; whose it is does not matter. `clock_offset` is that KDC's clock
    /// less ours, in microseconds, as it was learnt with the ticket.
    #[must_use]
    pub fn with_armor(self, armor: ServiceTicket, clock_offset: i64) -> Self {
        Self { armor: Some((armor, clock_offset)), ..self }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Principal {
        &self.client
    }

    /// The same, whom the KDC calls `name`, as an earlier login showed (RFC 6806 section 6): a cache of that principal is this
    /// client's too.
    #[must_use]
    pub fn known_as(self, name: Principal) -> Self {
        Self { known_as: Some(name), ..self }
    }

    /// The client by the KDC's name for it, as far as that is known.
    #[must_use]
    pub fn canonical(&self) -> &Principal {
        self.known_as.as_ref().unwrap_or(&self.client)
    }

    pub(super) fn armor(&self) -> Option<&ServiceTicket> {
        self.armor.as_ref().map(|(ticket, _)| ticket)
    }

    /// What the armor's ticket came with of the KDC's clock.
    pub(super) fn armor_clock(&self) -> i64 {
        self.armor.as_ref().map_or(0, |(_, clock_offset)| *clock_offset)
    }

    pub(super) fn is_enterprise(&self) -> bool {
        self.client.name_type == name_type::KRB_NT_ENTERPRISE
    }

    /// Etypes to ask for: those that there are keys of come first, since the KDC answers under the first that it has.
    pub(super) fn etypes(&self, options: &TicketOptions) -> Vec<Etype> {
        let mut etypes = options.permitted(&options.default_tkt_enctypes);
        if let LongTerm::Keys(keys) = &self.secret {
            etypes.sort_by_key(|etype| !keys.iter().any(|key| key.etype() == *etype));
        }
        etypes
    }

    /// Whether there is a key of this etype, or a password that can be made into one.
    pub(super) fn has_key(&self, etype: Etype) -> bool {
        match &self.secret {
            LongTerm::Password(_) => true,
            LongTerm::Keys(keys) => keys.iter().any(|key| key.etype() == etype),
        }
    }

    /// The long-term key of this etype, from the password with this salt or the default one of `client`.
    pub(super) fn key(
        &self,
        etype: Etype,
        client: &Principal,
        salt: Option<&[u8]>,
        s2kparams: Option<&[u8]>,
    ) -> Result<Key, KdcError> {
        match &self.secret {
            LongTerm::Keys(keys) => keys.iter().find(|key| key.etype() == etype).cloned().ok_or_else(|| {
                let permitted = keys.iter().map(Key::etype).collect();
                KdcError::ClientKey { client: client.clone(), held: keys.len(), permitted }
            }),
            LongTerm::Password(password) => {
                let salt = salt.map_or_else(|| default_salt(client), <[u8]>::to_vec);
                string_to_key(etype, password.expose(), &salt, s2kparams).map_err(|fault| {
                    KdcError::Password { fault, client: client.clone(), realm: client.realm.clone() }
                })
            }
        }
    }
}

/// Realm and components, with nothing between (RFC 4120 section 4).
fn default_salt(client: &Principal) -> Vec<u8> {
    std::iter::once(&client.realm).chain(&client.components).flatten().copied().collect()
}
