//! AP-REP (RFC 4120 section 5.5.2).

use super::PVNO;
use super::ap_req::expect;
use super::encrypted_data::EncryptedData;
use super::encryption_key::EncryptionKeyRef;
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

const MSG_TYPE: i64 = 15;

/// The acceptor's proof that it could open the ticket.
///
/// ```text
/// AP-REP          ::= [APPLICATION 15] SEQUENCE {
///         pvno            [0] INTEGER (5),
///         msg-type        [1] INTEGER (15),
///         enc-part        [2] EncryptedData -- EncAPRepPart
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ApRep<'a> {
    /// The proof, under the ticket's session key.
    pub enc_part: EncryptedData<'a>,
}

impl<'a> ApRep<'a> {
    /// Reads an AP-REP that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, has another version or type, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut reader = Reader::new(bytes);
        let enc_part = reader.within(tag::application(15), |message| {
            message.within(tag::SEQUENCE, |fields| {
                expect(fields, 0, PVNO, "a Kerberos message of another version than 5")?;
                expect(fields, 1, MSG_TYPE, "a message type that is not AP-REP's")?;
                fields.field(2, EncryptedData::parse)
            })
        })?;
        reader.finish()?;
        Ok(Self { enc_part })
    }

    /// Writes an AP-REP.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(tag::application(15), |message| {
            message.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| field.integer(MSG_TYPE));
                fields.field(2, |field| self.enc_part.write(field));
            });
        });
    }
}

/// What an AP-REP says once it is opened. Borrows from a buffer that is wiped.
///
/// ```text
/// EncAPRepPart    ::= [APPLICATION 27] SEQUENCE {
///         ctime           [0] KerberosTime,
///         cusec           [1] Microseconds,
///         subkey          [2] EncryptionKey OPTIONAL,
///         seq-number      [3] UInt32 OPTIONAL
/// }
/// ```
#[derive(Clone, Copy)]
pub struct EncApRepPart<'a> {
    /// The authenticator's time, ctime and cusec together.
    pub ctime: Timestamp,
    /// The key that the acceptor chose for this session.
    pub subkey: Option<EncryptionKeyRef<'a>>,
    /// First sequence number of the acceptor's direction.
    pub seq_number: Option<u32>,
}

impl<'a> EncApRepPart<'a> {
    /// Reads an EncAPRepPart that fills `reader`.
    ///
    /// # Errors
    /// If it breaks DER.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let part = reader.within(tag::application(27), |part| {
            part.within(tag::SEQUENCE, |fields| {
                let seconds = fields.field(0, Reader::time)?.seconds();
                let cusec = fields.field(1, Reader::microseconds)?;
                Ok(Self {
                    ctime: Timestamp::new(seconds, cusec),
                    subkey: fields.optional_field(2, EncryptionKeyRef::parse)?,
                    seq_number: fields.optional_field(3, Reader::uint32)?,
                })
            })
        })?;
        reader.finish()?;
        Ok(part)
    }

    /// Writes an EncAPRepPart.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(tag::application(27), |part| {
            part.sequence(|fields| {
                fields.field(0, |field| field.time(self.ctime));
                fields.field(1, |field| field.integer(self.ctime.micros().into()));
                if let Some(subkey) = &self.subkey {
                    fields.field(2, |field| subkey.write(field));
                }
                if let Some(seq_number) = self.seq_number {
                    fields.field(3, |field| field.integer(seq_number.into()));
                }
            });
        });
    }
}
