//! DER (X.690) as Kerberos and SPNEGO use it: a strict reader that borrows from the message, and a writer that appends.
//!
//! Strict means: definite lengths in their shortest form, minimal integers, no bytes after an element that should be
//! the last, padding bits of bit strings zero. Tag numbers above 30 occur in none of these protocols and are refused.

mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// Identifier octets that are used here.
pub mod tag {
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// GeneralizedTime.
    pub const UTF8_STRING: u8 = 0x0C;
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// GeneralString, the only string type of Kerberos.
    pub const GENERAL_STRING: u8 = 0x1B;
    /// SEQUENCE and SEQUENCE OF.
    pub const SEQUENCE: u8 = 0x30;

    /// `[n]` EXPLICIT, n from 0 to 30.
    #[must_use]
    pub const fn context(number: u8) -> u8 {
        0xA0 | (number & 0x1F)
    }

    /// `[APPLICATION n]` constructed, n from 0 to 30.
    #[must_use]
    pub const fn application(number: u8) -> u8 {
        0x60 | (number & 0x1F)
    }
}

/// Where and how bytes break the encoding rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {offset}: {problem}")]
pub struct DerError {
    /// Offset in bytes from the start of the message that was given to [`Reader::new`].
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with an element.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The bytes end inside an element.
    #[error("the bytes end inside an element")]
    Truncated,
    /// Another element than this one must stand here.
    #[error("tag {expected:02x} expected, {found:02x} found")]
    Tag {
        /// The identifier octet that must stand here.
        expected: u8,
        /// The one that does.
        found: u8,
    },
    /// An element must stand here and nothing does.
    #[error("tag {expected:02x} expected, nothing found")]
    Missing {
        /// The identifier octet that must stand here.
        expected: u8,
    },
    /// An indefinite length, a length not in its shortest form, or one of more than 4 bytes.
    #[error("a length that is not in DER's shortest definite form")]
    Length,
    /// A tag number above 30.
    #[error("a tag number above 30")]
    HighTag,
    /// Bytes follow where the element should end.
    #[error("{0} bytes more than there should be")]
    Trailing(usize),
    /// An integer is not minimal or not in the range of its field.
    #[error("an integer that is not minimal or out of its field's range")]
    Integer,
    /// A bit string without its first octet, or whose padding bits are not zero.
    #[error("a bit string whose padding is wrong")]
    BitString,
    /// A time that is not `YYYYMMDDHHMMSSZ` or no date.
    #[error("a time that is not a date of the form YYYYMMDDHHMMSSZ")]
    Time,
    /// A field with a value that the message does not allow.
    #[error("{0}")]
    Value(&'static str),
}
