//! Keytabs: the keys of a service, in MIT's file format 0x502 (the FILE type that every implementation writes).
//!
//! Only reading; the bytes come from the caller.

use crate::error::{Code, Explain, code};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use std::borrow::Cow;
use std::fmt;

/// Most components a name in a file may have. No realm makes names of more than a handful.
pub const MAX_COMPONENTS: usize = 32;

const FORMAT: [u8; 2] = [5, 2];
const OLD_FORMAT: [u8; 2] = [5, 1];

/// The keys of a keytab file, in the order of the file. Etypes that are not implemented are kept too, so that a refusal
/// can name them.
#[derive(Clone, Default, Debug)]
pub struct Keytab {
    /// The entries; holes that deleted entries left are not among them.
    pub entries: Vec<KeytabEntry>,
}

/// One key of one principal.
#[derive(Clone)]
pub struct KeytabEntry {
    /// Whose key it is.
    pub principal: Principal,
    /// When the entry was written, in seconds since 1970 (good until 2106).
    pub timestamp: u32,
    /// Key version number: the 32-bit one if the entry has it, else the 8-bit one.
    pub kvno: u32,
    /// Encryption type (RFC 3961 section 8); the file holds 16 signed bits.
    pub etype: i32,
    /// The key itself. Its length is what the file says, and not yet compared with the etype.
    pub key: Secret,
}

impl Keytab {
    /// Reads the bytes of a whole keytab file.
    ///
    /// # Errors
    /// If the file is of another format, is cut short, or names a principal without components or with more than
    /// [`MAX_COMPONENTS`]. The error says at which byte.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeytabError> {
        let mut file = FileBytes::new(bytes);
        match file.array("the format 05 02") {
            Ok(FORMAT) => {}
            Ok(OLD_FORMAT) => return Err(KeytabError::OldFormat),
            Ok(found) => return Err(KeytabError::NotAKeytab { found }),
            Err(truncated) => return Err(truncated.into()),
        }
        let mut entries = Vec::new();
        while !file.is_empty() {
            match file.i32("a record length")? {
                0 => break,
                length if length < 0 => drop(file.take(length.unsigned_abs(), "a hole")?),
                length => entries.push(entry(file.section(length.unsigned_abs(), "a record")?)?),
            }
        }
        Ok(Self { entries })
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

/// All but the key.
impl fmt::Debug for KeytabEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeytabEntry")
            .field("principal", &self.principal)
            .field("timestamp", &self.timestamp)
            .field("kvno", &self.kvno)
            .field("etype", &self.etype)
            .finish_non_exhaustive()
    }
}

/// Why bytes are no keytab.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeytabError {
    /// The file begins with something else than a keytab does.
    #[error("keytab begins with bytes {:02x} {:02x} at offset 0", found[0], found[1])]
    NotAKeytab {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// The format before the present one, whose byte order depends on the machine that wrote it.
    #[error("keytab of the old format 0x501 at offset 0")]
    OldFormat,
    /// The file or a record ends too early.
    #[error("keytab with {0}")]
    Truncated(#[from] Truncated),
    /// A name has no components, or more than a name can have.
    #[error("keytab with a name of {count} components at offset {offset}")]
    ComponentCount {
        /// Where the number stands, in bytes from the start of the file.
        offset: usize,
        /// The number.
        count: usize,
    },
}

impl Explain for KeytabError {
    fn code(&self) -> Code {
        code::KEYTAB_MALFORMED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::NotAKeytab { .. } => "a reader of format 0x502, which begins with 05 02".into(),
            Self::OldFormat => "a reader of format 0x502 only".into(),
            Self::Truncated(truncated) => truncated.expected().into(),
            Self::ComponentCount { .. } => format!("room for 1 to {MAX_COMPONENTS} components").into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::OldFormat => "read the file and write it again with a present ktutil (rkt, wkt)".into(),
            _ => self.code().advice().into(),
        }
    }
}

/// The bytes of a keytab or credential cache end before a value does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{left} bytes left at offset {offset}")]
pub struct Truncated {
    /// Where the value begins, in bytes from the start of the file.
    pub offset: usize,
    /// What stands there.
    pub what: &'static str,
    /// How many bytes it needs.
    pub needed: u64,
    /// How many are left in the file, or in the record that the value belongs to.
    pub left: usize,
}

impl Truncated {
    /// What should have been there: `32 bytes of a key`.
    pub(crate) fn expected(&self) -> String {
        format!("{} bytes expected there, of {}", self.needed, self.what)
    }
}

/// A place in the bytes of a keytab or credential cache. Numbers are big-endian.
pub(crate) struct FileBytes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> FileBytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// How far this place is from the start of the file, in bytes.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes, which belong to `what`.
    pub(crate) fn take(&mut self, length: u32, what: &'static str) -> Result<&'a [u8], Truncated> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or(self.truncated(length.into(), what))?;
        self.advance(taken.len(), rest);
        Ok(taken)
    }

    /// The next `length` bytes as a place of its own, whose offsets still count from the start of the file.
    pub(crate) fn section(&mut self, length: u32, what: &'static str) -> Result<Self, Truncated> {
        let offset = self.offset;
        Ok(Self { rest: self.take(length, what)?, offset })
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.truncated(N as u64, what))?;
        self.advance(N, rest);
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Truncated> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Truncated> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, Truncated> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, Truncated> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    fn advance(&mut self, by: usize, rest: &'a [u8]) {
        self.offset = self.offset.saturating_add(by);
        self.rest = rest;
    }

    fn truncated(&self, needed: u64, what: &'static str) -> Truncated {
        Truncated { offset: self.offset, what, needed, left: self.rest.len() }
    }
}
