//! EncryptedData (RFC 4120 section 5.2.9).

use crate::der::{DerError, Reader, Writer, tag};

/// Ciphertext with what is needed to choose its key.
///
/// ```text
/// EncryptedData   ::= SEQUENCE {
///         etype   [0] Int32 -- EncryptionType --,
///         kvno    [1] UInt32 OPTIONAL,
///         cipher  [2] OCTET STRING -- ciphertext
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EncryptedData<'a> {
    /// Encryption type; any number that the sender wrote.
    pub etype: i32,
    /// Version of the key. A negative number (read-only domain controllers of old) is taken modulo 2^32.
    pub kvno: Option<u32>,
    /// Ciphertext.
    pub cipher: &'a [u8],
}

impl<'a> EncryptedData<'a> {
    /// Reads an EncryptedData.
    ///
    /// # Errors
    /// If it breaks DER.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |data| {
            Ok(Self {
                etype: data.field(0, Reader::int32)?,
                kvno: data.optional_field(1, Reader::uint32)?,
                cipher: data.field(2, Reader::octets)?,
            })
        })
    }

    /// Writes an EncryptedData.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|data| {
            data.field(0, |field| field.integer(self.etype.into()));
            if let Some(kvno) = self.kvno {
                data.field(1, |field| field.integer(kvno.into()));
            }
            data.field(2, |field| field.octets(self.cipher));
        });
    }
}
