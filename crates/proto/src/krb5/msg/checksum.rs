//! Checksum (RFC 4120 section 5.2.9).

use crate::der::{DerError, Reader, Writer, tag};

/// A checksum of any type.
///
/// ```text
/// Checksum        ::= SEQUENCE {
///         cksumtype       [0] Int32,
///         checksum        [1] OCTET STRING
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ChecksumRef<'a> {
    /// Checksum type; any number that the sender wrote.
    pub cksumtype: i32,
    /// The checksum itself, or for type 0x8003 the GSS fields of RFC 4121 section 4.1.1.
    pub bytes: &'a [u8],
}

impl<'a> ChecksumRef<'a> {
    /// Reads a Checksum.
    ///
    /// # Errors
    /// If it breaks DER.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |checksum| {
            Ok(Self {
                cksumtype: checksum.field(0, Reader::int32)?,
                bytes: checksum.field(1, Reader::octets)?,
            })
        })
    }

    /// Writes a Checksum.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|checksum| {
            checksum.field(0, |field| field.integer(self.cksumtype.into()));
            checksum.field(1, |field| field.octets(self.bytes));
        });
    }
}
