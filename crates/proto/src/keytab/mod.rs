//! Keytabs: the keys of a service, in MIT's file format 0x502 (the FILE type that every implementation writes).
//!
//! Bytes come from the caller and go to the caller. [`Change`] says how a file is changed where it lies.

mod bytes;
mod change;
mod read;
mod write;

pub use bytes::{DoesNotFit, Truncated};
pub(crate) use bytes::{FileBytes, Sink, reserved};
pub use change::{Change, Selection};

use crate::error::{Code, Explain, code};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use std::borrow::Cow;
use std::fmt;

/// Most components a name in a file may have. No realm makes names of more than a handful.
pub const MAX_COMPONENTS: usize = 32;

/// The two bytes that a keytab begins with.
const FORMAT: [u8; 2] = [5, 2];

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
    /// Of what is to be written, a value has no place in the format.
    #[error("keytab with {0}")]
    DoesNotFit(#[from] DoesNotFit),
}

impl Explain for KeytabError {
    fn code(&self) -> Code {
        match self {
            Self::DoesNotFit(_) => code::KEYTAB_UNWRITABLE,
            _ => code::KEYTAB_MALFORMED,
        }
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
            Self::DoesNotFit(_) => {
                "room for 1 to 32 components, names and keys of 1 to 32,767 bytes and etypes of 16 bits"
                    .into()
            }
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::OldFormat => "read the file and write it again with a present ktutil (rkt, wkt)".into(),
            Self::DoesNotFit(_) => "give the key a name, an etype and a length that a keytab can hold".into(),
            _ => self.code().advice().into(),
        }
    }
}
