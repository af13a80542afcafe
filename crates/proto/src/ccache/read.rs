//! Reading.

use super::{
    CONFIG_NAME, CONFIG_REALM, Ccache, CcacheError, ConfigEntry, Credential, Element, FORMAT, MAX_ELEMENTS,
    TAG_KDC_OFFSET, VERSION,
};
use crate::keytab::{FileBytes, MAX_COMPONENTS, Truncated};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use crate::time::Timestamp;
use std::ops::Range;

const REMOVED_CONFIG_REALM: &[u8] = b"X-RMED-CONF:";

impl Ccache {
    /// Reads the bytes of a whole FILE credential cache.
    ///
    /// # Errors
    /// If the file is of another version, is cut short, or a count in it is over its bound ([`MAX_COMPONENTS`],
    /// [`MAX_ELEMENTS`]). The error says at which byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, CcacheError> {
        let records = Records::parse(bytes)?;
        match records.torn {
            Some(torn) => Err(torn.into()),
            None => Ok(records.into_cache()),
        }
    }

    /// The same for a file whose last entry may be cut short, as a program leaves it that is killed while it adds a ticket:
    /// that entry is left out, as MIT's library does, if there is a whole one before it. Returns also how many bytes of it
    /// there are.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_whole_entries(bytes: &[u8]) -> Result<(Self, usize), CcacheError> {
        let records = Records::parse(bytes)?.with_whole_entries()?;
        let left_out = bytes.len().saturating_sub(records.end);
        Ok((records.into_cache(), left_out))
    }

    fn admit(&mut self, credential: Credential) {
        if is_removed(&credential) {
            return;
        }
        if credential.server.realm == CONFIG_REALM {
            self.config.extend(config_entry(credential, self.credentials.len()));
        } else {
            self.credentials.push(credential);
        }
    }
}

/// What a file holds, and where.
pub(super) struct Records {
    empty: Ccache,
    pub(super) records: Vec<Record>,
    /// Where the last whole record ends, in bytes from the start of the file.
    pub(super) end: usize,
    /// Why what follows is no whole record, if something follows.
    torn: Option<Truncated>,
}

pub(super) struct Record {
    pub(super) credential: Credential,
    /// Its bytes in the file.
    pub(super) place: Range<usize>,
    /// Where its four times begin, in bytes from the start of the file.
    pub(super) times: usize,
}

impl Record {
    pub(super) fn is_live_ticket(&self) -> bool {
        !is_removed(&self.credential) && self.credential.server.realm != CONFIG_REALM
    }
}

impl Records {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, CcacheError> {
        let mut file = FileBytes::new(bytes);
        match file.array("the version 05 04")? {
            [FORMAT, VERSION] => {}
            [FORMAT, version @ 1..VERSION] => return Err(CcacheError::OldVersion { version }),
            found => return Err(CcacheError::NotACcache { found }),
        }
        let kdc_offset = header(&mut file)?;
        let empty = Ccache { kdc_offset, ..Ccache::new(principal(&mut file)?) };
        let mut found = Self { empty, records: Vec::new(), end: file.offset(), torn: None };
        while !file.is_empty() && found.torn.is_none() {
            match credential(&mut file) {
                Ok(record) => {
                    found.end = record.place.end;
                    found.records.push(record);
                }
                Err(CcacheError::Truncated(torn)) => found.torn = Some(torn),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The same, if nothing is torn or at least something is whole.
    pub(super) fn with_whole_entries(self) -> Result<Self, CcacheError> {
        match self.torn {
            Some(torn) if self.records.is_empty() => Err(torn.into()),
            _ => Ok(self),
        }
    }

    fn into_cache(self) -> Ccache {
        let mut cache = self.empty;
        self.records.into_iter().for_each(|record| cache.admit(record.credential));
        cache
    }
}

/// Deleting overwrites an entry in place with times that no ticket has, and a setting with another realm too.
fn is_removed(credential: &Credential) -> bool {
    let never_lived =
        credential.endtime == Timestamp::default() && credential.authtime != Timestamp::default();
    never_lived || credential.server.realm == REMOVED_CONFIG_REALM
}

/// A setting poses as a ticket for `krb5_ccache_conf_data/KEY[/PRINCIPAL]`; others in its realm mean nothing to us.
fn config_entry(credential: Credential, tickets_before: usize) -> Option<ConfigEntry> {
    let mut components = credential.server.components.into_iter();
    if components.next()? != CONFIG_NAME {
        return None;
    }
    let (key, principal) = (components.next()?, components.next());
    Some(ConfigEntry { key, principal, value: credential.ticket, tickets_before })
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

fn credential(file: &mut FileBytes<'_>) -> Result<Record, CcacheError> {
    let start = file.offset();
    let (client, server) = (principal(file)?, principal(file)?);
    let key_etype = i32::from(file.i16("a session key's etype")?);
    let key = Secret::from(data(file, "a session key")?);
    let times = file.offset();
    // A struct literal is evaluated in the order that it is written in, which is the order of the file.
    let credential = Credential {
        client,
        server,
        key_etype,
        key,
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
    };
    Ok(Record { credential, place: start..file.offset(), times })
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
