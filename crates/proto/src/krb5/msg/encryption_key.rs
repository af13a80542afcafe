//! EncryptionKey (RFC 4120 section 5.2.9).

use crate::der::{DerError, Reader, Writer, tag};

/// A key as it lies in a decrypted message; it borrows from a buffer that is wiped.
///
/// ```text
/// EncryptionKey   ::= SEQUENCE {
///         keytype         [0] Int32 -- actually encryption type --,
///         keyvalue        [1] OCTET STRING
/// }
/// ```
#[derive(Clone, Copy)]
pub struct EncryptionKeyRef<'a> {
    /// Encryption type; any number that the sender wrote.
    pub etype: i32,
    /// The key's bytes, of any length.
    pub bytes: &'a [u8],
}

impl<'a> EncryptionKeyRef<'a> {
    /// Reads an EncryptionKey.
    ///
    /// # Errors
    /// If it breaks DER.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |key| {
            Ok(Self { etype: key.field(0, Reader::int32)?, bytes: key.field(1, Reader::octets)? })
        })
    }

    /// Writes an EncryptionKey.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|key| {
            key.field(0, |field| field.integer(self.etype.into()));
            key.field(1, |field| field.octets(self.bytes));
        });
    }
}
