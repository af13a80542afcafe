//! Reading.

use super::{FORMAT, FileBytes, Keytab, KeytabEntry, KeytabError, MAX_COMPONENTS, Truncated};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use std::ops::Range;

const OLD_FORMAT: [u8; 2] = [5, 1];

impl Keytab {
    /// Reads the bytes of a whole keytab file.
    ///
    /// # Errors
    /// If the file is of another format, is cut short, or names a principal without components or with more than
    /// [`MAX_COMPONENTS`]. The error says at which byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeytabError> {
        let entries = Records::parse(bytes)?.records.into_iter().map(|record| record.entry).collect();
        Ok(Self { entries })
    }
}

/// What a file holds, and where.
pub(super) struct Records {
    pub(super) records: Vec<Record>,
    /// Where the next record would stand, in bytes from the start of the file: at its end, or where a length of 0 ends it.
    pub(super) end: usize,
}

pub(super) struct Record {
    pub(super) entry: KeytabEntry,
    /// Its bytes in the file, with its length before them.
    pub(super) place: Range<usize>,
}

impl Records {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeytabError> {
        let mut file = FileBytes::new(bytes);
        match file.array("the format 05 02") {
            Ok(FORMAT) => {}
            Ok(OLD_FORMAT) => return Err(KeytabError::OldFormat),
            Ok(found) => return Err(KeytabError::NotAKeytab { found }),
            Err(truncated) => return Err(truncated.into()),
        }
        let mut records = Vec::new();
        loop {
            let start = file.offset();
            if file.is_empty() {
                return Ok(Self { records, end: start });
            }
            match file.i32("a record length")? {
                0 => return Ok(Self { records, end: start }),
                length if length < 0 => drop(file.take(length.unsigned_abs(), "a hole")?),
                length => {
                    let entry = entry(file.section(length.unsigned_abs(), "a record")?)?;
                    records.push(Record { entry, place: start..file.offset() });
                }
            }
        }
    }
}

fn entry(mut record: FileBytes<'_>) -> Result<KeytabEntry, KeytabError> {
    let mut principal = name(&mut record)?;
    principal.name_type = record.i32("a name type")?;
    let timestamp = record.u32("a timestamp")?;
    let short_kvno = record.u8("a kvno of 8 bits")?;
    let etype = i32::from(record.i16("an etype")?);
    let key = Secret::from(string(&mut record, "a key")?);
    // The kvno of 32 bits came later: its place is missing in old entries, and zero in some.
    let long_kvno = record.u32("a kvno of 32 bits").unwrap_or(0);
    let kvno = if long_kvno == 0 { u32::from(short_kvno) } else { long_kvno };
    Ok(KeytabEntry { principal, timestamp, kvno, etype, key })
}

fn name(record: &mut FileBytes<'_>) -> Result<Principal, KeytabError> {
    let offset = record.offset();
    let count = usize::from(record.u16("a number of components")?);
    if count == 0 || count > MAX_COMPONENTS {
        return Err(KeytabError::ComponentCount { offset, count });
    }
    let realm = string(record, "a realm")?.to_vec();
    let mut components = Vec::new();
    for _ in 0..count {
        components.push(string(record, "a name component")?.to_vec());
    }
    Ok(Principal { realm, components, ..Principal::default() })
}

fn string<'a>(record: &mut FileBytes<'a>, what: &'static str) -> Result<&'a [u8], Truncated> {
    let length = record.u16(what)?;
    record.take(length.into(), what)
}
