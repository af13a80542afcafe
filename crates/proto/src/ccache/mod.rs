//! Credential caches: the tickets of an initiator, in MIT's FILE format, version 4.
//!
//! Bytes come from the caller and go to the caller, who also locks the file while it is read or changed. [`Addition`] says
//! how a file is changed where it lies.

mod addition;
mod read;
mod write;

pub use addition::{Addition, Removal};

use crate::der::Reader;
use crate::error::{Code, Explain, code};
use crate::keytab::{DoesNotFit, Truncated};
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::Ticket;
use crate::secret::Secret;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// Most addresses, and most authorization-data elements, that one credential may carry.
pub const MAX_ELEMENTS: usize = 256;

/// The two bytes that a cache begins with are this and the version.
const FORMAT: u8 = 5;
const VERSION: u8 = 4;
/// The header field with the KDC's time offset.
const TAG_KDC_OFFSET: u16 = 1;
/// Settings pose as tickets for services of this realm whose first component is [`CONFIG_NAME`].
const CONFIG_REALM: &[u8] = b"X-CACHECONF:";
const CONFIG_NAME: &[u8] = b"krb5_ccache_conf_data";

/// A credential cache. Entries that were deleted are left out.
#[derive(Clone, Debug)]
pub struct Ccache {
    /// The KDC's clock minus this machine's when the cache was made, in microseconds, if the file says.
    pub kdc_offset: Option<i64>,
    /// Whose cache it is.
    pub default_principal: Principal,
    /// The tickets, in the order of the file.
    pub credentials: Vec<Credential>,
    /// Settings that libraries keep beside the tickets.
    pub config: Vec<ConfigEntry>,
}

/// A ticket with what is needed to use it.
#[derive(Clone)]
pub struct Credential {
    /// Whom the ticket names as client.
    pub client: Principal,
    /// Which service it was asked for. MIT leaves the realm empty where the client left it to the KDC to find:
    /// [`Credential::service_realm`] knows it all the same.
    pub server: Principal,
    /// Etype of the session key; the file holds 16 signed bits.
    pub key_etype: i32,
    /// The session key. Its length is what the file says, and not yet compared with the etype.
    pub key: Secret,
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// When the ticket becomes valid; 1970-01-01 means at `authtime`.
    pub starttime: Timestamp,
    /// When the ticket ends.
    pub endtime: Timestamp,
    /// Until when it can be renewed; 1970-01-01 means not at all.
    pub renew_till: Timestamp,
    /// Whether the ticket is encrypted in the session key of `second_ticket` (user-to-user).
    pub is_skey: bool,
    /// TicketFlags (RFC 4120 section 5.3), bit 0 of the RFC as the highest.
    pub flags: u32,
    /// Addresses that the ticket may be used from, of the types of RFC 4120 section 7.5.3.
    pub addresses: Vec<Element>,
    /// Authorization data that came with the ticket.
    pub authdata: Vec<Element>,
    /// The Ticket, encoded.
    pub ticket: Vec<u8>,
    /// The other Ticket of user-to-user authentication, encoded, or nothing.
    pub second_ticket: Vec<u8>,
}

/// An address or an authorization-data element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// addr-type or ad-type; the file holds 16 signed bits.
    pub element_type: i32,
    /// Its bytes, as they are.
    pub data: Vec<u8>,
}

/// A setting: `fast_avail`, `pa_type`, `refresh_time` and others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigEntry {
    /// Its name.
    pub key: Vec<u8>,
    /// The principal that it is about, as text, if it is about one.
    pub principal: Option<Vec<u8>>,
    /// Its value, mostly text.
    pub value: Vec<u8>,
    /// How many tickets stand before it in the file.
    pub tickets_before: usize,
}

impl Ccache {
    /// A cache of `default_principal` without tickets.
    #[must_use]
    pub fn new(default_principal: Principal) -> Self {
        Self { kdc_offset: None, default_principal, credentials: Vec::new(), config: Vec::new() }
    }

    /// The tickets of the default principal for the service `server`: its components equal byte by byte, and its realm
    /// too unless `server` leaves it empty, which stands for any realm. User-to-user tickets are not among them. Times
    /// are not looked at: choosing by them is the caller's.
    pub fn find_service<'a>(&'a self, server: &'a Principal) -> impl Iterator<Item = &'a Credential> {
        self.credentials.iter().filter(|credential| {
            credential.client == self.default_principal
                && !credential.is_skey
                && credential.server.components == server.components
                && (server.realm.is_empty() || credential.service_realm() == server.realm)
        })
    }

    /// Adds a ticket in place of the one that it [`replaces`](Credential::replaces), or behind all others.
    pub fn add(&mut self, credential: Credential) {
        match self.credentials.iter_mut().find(|known| credential.replaces(known)) {
            Some(known) => *known = credential,
            None => self.credentials.push(credential),
        }
    }

    /// The setting `key` that is about `principal`, or about the whole cache.
    #[must_use]
    pub fn config(&self, key: &[u8], principal: Option<&Principal>) -> Option<&[u8]> {
        let principal = principal.map(write::principal_text);
        self.config.iter().find(|entry| entry.is(key, principal.as_deref())).map(|entry| &entry.value[..])
    }

    /// Changes a setting, or adds it: a key such as `fast_avail`, `pa_type` or `refresh_time`, which MIT's library reads
    /// too, about `principal` (in most cases the service of a ticket) or about the whole cache.
    pub fn set_config(&mut self, key: &[u8], principal: Option<&Principal>, value: &[u8]) {
        let principal = principal.map(write::principal_text);
        match self.config.iter_mut().find(|entry| entry.is(key, principal.as_deref())) {
            Some(entry) => entry.value = value.to_vec(),
            None => self.config.push(ConfigEntry {
                key: key.to_vec(),
                principal,
                value: value.to_vec(),
                tickets_before: self.credentials.len(),
            }),
        }
    }
}

impl ConfigEntry {
    fn is(&self, key: &[u8], principal: Option<&[u8]>) -> bool {
        self.key == key && self.principal.as_deref() == principal
    }
}

impl Credential {
    /// Realm of the service: that of `server`, or where that is empty the one in the ticket; empty if that is no ticket.
    #[must_use]
    pub fn service_realm(&self) -> &[u8] {
        if self.server.realm.is_empty() {
            Ticket::parse(&mut Reader::new(&self.ticket)).map_or(&[], |ticket| ticket.realm)
        } else {
            &self.server.realm
        }
    }

    /// Whether this ticket takes the place of `old` in a cache: same client, service, etype of the session key,
    /// authorization data and, for user-to-user, other ticket. Session keys of different etypes stand side by side, as
    /// applications may take only one of them.
    #[must_use]
    pub fn replaces(&self, old: &Self) -> bool {
        self.client == old.client
            && self.server == old.server
            && self.key_etype == old.key_etype
            && self.is_skey == old.is_skey
            && self.second_ticket == old.second_ticket
            && self.authdata == old.authdata
    }
}

/// All but the session key, and the tickets by their length.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("client", &self.client)
            .field("server", &self.server)
            .field("key_etype", &self.key_etype)
            .field("authtime", &self.authtime)
            .field("starttime", &self.starttime)
            .field("endtime", &self.endtime)
            .field("renew_till", &self.renew_till)
            .field("is_skey", &self.is_skey)
            .field("flags", &format_args!("{:#010x}", self.flags))
            .field("ticket_len", &self.ticket.len())
            .finish_non_exhaustive()
    }
}

/// Why bytes are no credential cache.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CcacheError {
    /// The file begins with something else than a credential cache does.
    #[error("credential cache that begins with bytes {:02x} {:02x} at offset 0", found[0], found[1])]
    NotACcache {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// A version before the present one.
    #[error("credential cache of version {version} at offset 0")]
    OldVersion {
        /// 1 to 3.
        version: u8,
    },
    /// The file, or its header, ends too early.
    #[error("credential cache with {0}")]
    Truncated(#[from] Truncated),
    /// A count is over its bound.
    #[error("credential cache with {count} {what} at offset {offset}")]
    TooMany {
        /// Where the count stands, in bytes from the start of the file.
        offset: usize,
        /// What is counted.
        what: &'static str,
        /// The count.
        count: u32,
        /// Its bound.
        limit: usize,
    },
    /// Of what is to be written, a value has no place in the format.
    #[error("credential cache with {0}")]
    DoesNotFit(#[from] DoesNotFit),
}

impl Explain for CcacheError {
    fn code(&self) -> Code {
        match self {
            Self::DoesNotFit(_) => code::CCACHE_UNWRITABLE,
            _ => code::CCACHE_MALFORMED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::NotACcache { .. } => "a reader of FILE caches of version 4, which begin with 05 04".into(),
            Self::OldVersion { .. } => "a reader of version 4 only".into(),
            Self::Truncated(truncated) => truncated.expected().into(),
            Self::TooMany { limit, what, .. } => format!("room for {limit} {what}").into(),
            Self::DoesNotFit(_) => {
                "room for 32 name components, 256 addresses, etypes of 16 bits and times from 1970 to 2106"
                    .into()
            }
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::DoesNotFit(_) => "report this: no KDC issues such a ticket".into(),
            _ => self.code().advice().into(),
        }
    }
}
