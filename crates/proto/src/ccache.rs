//! Credential caches: the tickets of an initiator, in MIT's FILE format, version 4.
//!
//! Only reading; the bytes come from the caller, who also locks the file while it reads.

use crate::der::Reader;
use crate::error::{Code, Explain, code};
use crate::keytab::{FileBytes, MAX_COMPONENTS, Truncated};
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::Ticket;
use crate::secret::Secret;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// Most addresses, and most authorization-data elements, that one credential may carry.
pub const MAX_ELEMENTS: usize = 256;

const FORMAT: u8 = 5;
const VERSION: u8 = 4;
const TAG_KDC_OFFSET: u16 = 1;
const CONFIG_REALM: &[u8] = b"X-CACHECONF:";
const CONFIG_NAME: &[u8] = b"krb5_ccache_conf_data";
const REMOVED_CONFIG_REALM: &[u8] = b"X-RMED-CONF:";

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
}

impl Ccache {
    /// Reads the bytes of a whole FILE credential cache.
    ///
    /// # Errors
    /// If the file is of another version, is cut short, or a count in it is over its bound ([`MAX_COMPONENTS`],
    /// [`MAX_ELEMENTS`]). The error says at which byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, CcacheError> {
        let mut file = FileBytes::new(bytes);
        match file.array("the version 05 04")? {
            [FORMAT, VERSION] => {}
            [FORMAT, version @ 1..VERSION] => return Err(CcacheError::OldVersion { version }),
            found => return Err(CcacheError::NotACcache { found }),
        }
        let kdc_offset = header(&mut file)?;
        let default_principal = principal(&mut file)?;
        let mut cache = Self { kdc_offset, default_principal, credentials: Vec::new(), config: Vec::new() };
        while !file.is_empty() {
            cache.admit(credential(&mut file)?);
        }
        Ok(cache)
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

    fn admit(&mut self, credential: Credential) {
        if credential.is_removed() {
            return;
        }
        if credential.server.realm == CONFIG_REALM {
            self.config.extend(config_entry(credential));
        } else {
            self.credentials.push(credential);
        }
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

    /// Deleting overwrites an entry in place with times that no ticket has, and a setting with another realm too.
    fn is_removed(&self) -> bool {
        let never_lived = self.endtime == Timestamp::default() && self.authtime.seconds() == u32::MAX.into();
        never_lived || self.server.realm == REMOVED_CONFIG_REALM
    }
}

/// A setting poses as a ticket for `krb5_ccache_conf_data/KEY[/PRINCIPAL]`; others in its realm mean nothing to us.
fn config_entry(credential: Credential) -> Option<ConfigEntry> {
    let mut components = credential.server.components.into_iter();
    if components.next()? != CONFIG_NAME {
        return None;
    }
    Some(ConfigEntry { key: components.next()?, principal: components.next(), value: credential.ticket })
}

/// Fields of {tag, length, value}; those that are not known are skipped.
fn header(file: &mut FileBytes<'_>) -> Result<Option<i64>, CcacheError> {
    let length = file.u16("a header length")?;
    let mut fields = file.section(length.into(), "a header")?;
    let mut kdc_offset = None;
    while !fields.is_empty() {
        let tag = fields.u16("a header field's tag")?;
        let length = fields.u16("a header field's length")?;
        let mut value = fields.section(length.into(), "a header field")?;
        if tag == TAG_KDC_OFFSET {
            let seconds = i64::from(value.i32("the KDC's time offset in seconds")?);
            let micros = i64::from(value.i32("the KDC's time offset in microseconds")?);
            kdc_offset = Some(seconds.saturating_mul(1_000_000).saturating_add(micros));
        }
    }
    Ok(kdc_offset)
}

fn credential(file: &mut FileBytes<'_>) -> Result<Credential, CcacheError> {
    // A struct literal is evaluated in the order that it is written in, which is the order of the file.
    Ok(Credential {
        client: principal(file)?,
        server: principal(file)?,
        key_etype: i32::from(file.i16("a session key's etype")?),
        key: Secret::from(data(file, "a session key")?),
        authtime: time(file, "an authtime")?,
        starttime: time(file, "a starttime")?,
        endtime: time(file, "an endtime")?,
        renew_till: time(file, "a renew-till time")?,
        is_skey: file.u8("an is_skey flag")? != 0,
        flags: file.u32("ticket flags")?,
        addresses: elements(file, "addresses")?,
        authdata: elements(file, "authorization data")?,
        ticket: data(file, "a ticket")?.to_vec(),
        second_ticket: data(file, "a second ticket")?.to_vec(),
    })
}

fn principal(file: &mut FileBytes<'_>) -> Result<Principal, CcacheError> {
    let name_type = file.i32("a name type")?;
    let count = count(file, "name components", MAX_COMPONENTS)?;
    let realm = data(file, "a realm")?.to_vec();
    let mut components = Vec::new();
    for _ in 0..count {
        components.push(data(file, "a name component")?.to_vec());
    }
    Ok(Principal { name_type, realm, components })
}

fn elements(file: &mut FileBytes<'_>, what: &'static str) -> Result<Vec<Element>, CcacheError> {
    let mut elements = Vec::new();
    for _ in 0..count(file, what, MAX_ELEMENTS)? {
        let element_type = i32::from(file.i16(what)?);
        elements.push(Element { element_type, data: data(file, what)?.to_vec() });
    }
    Ok(elements)
}

fn count(file: &mut FileBytes<'_>, what: &'static str, limit: usize) -> Result<u32, CcacheError> {
    let offset = file.offset();
    let count = file.u32(what)?;
    if usize::try_from(count).is_ok_and(|count| count <= limit) {
        Ok(count)
    } else {
        Err(CcacheError::TooMany { offset, what, count, limit })
    }
}

fn data<'a>(file: &mut FileBytes<'a>, what: &'static str) -> Result<&'a [u8], Truncated> {
    let length = file.u32(what)?;
    file.take(length, what)
}

fn time(file: &mut FileBytes<'_>, what: &'static str) -> Result<Timestamp, Truncated> {
    Ok(Timestamp::new(file.u32(what)?.into(), 0))
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
}

impl Explain for CcacheError {
    fn code(&self) -> Code {
        code::CCACHE_MALFORMED
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
        }
    }
}
