//! AP-REQ (RFC 4120 section 5.5.1).

use super::PVNO;
use super::encrypted_data::EncryptedData;
use super::ticket::Ticket;
use crate::der::{DerError, Problem, Reader, Writer, tag};

const MSG_TYPE: i64 = 14;

/// What an initiator sends: a ticket and an authenticator that proves knowledge of the ticket's session key.
///
/// ```text
/// AP-REQ          ::= [APPLICATION 14] SEQUENCE {
///         pvno            [0] INTEGER (5),
///         msg-type        [1] INTEGER (14),
///         ap-options      [2] APOptions,
///         ticket          [3] Ticket,
///         authenticator   [4] EncryptedData -- Authenticator
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ApReq<'a> {
    /// Options. Not protected.
    pub ap_options: ApOptions,
    /// The ticket, closed.
    pub ticket: Ticket<'a>,
    /// The authenticator, under the ticket's session key.
    pub authenticator: EncryptedData<'a>,
}

/// `APOptions ::= KerberosFlags -- reserved(0), use-session-key(1), mutual-required(2)`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ApOptions(pub u32);

impl ApOptions {
    /// The ticket is under the session key of the service's TGT (user-to-user).
    pub const USE_SESSION_KEY: Self = Self(1 << 30);
    /// An AP-REP is wanted.
    pub const MUTUAL_REQUIRED: Self = Self(1 << 29);

    /// Whether every bit of `options` is set.
    #[must_use]
    pub const fn contains(self, options: Self) -> bool {
        self.0 & options.0 == options.0
    }
}

impl<'a> ApReq<'a> {
    /// Reads an AP-REQ that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, has another version or type, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut reader = Reader::new(bytes);
        let message = reader.within(tag::application(14), |message| {
            message.within(tag::SEQUENCE, |fields| {
                expect(fields, 0, PVNO, "a Kerberos message of another version than 5")?;
                expect(fields, 1, MSG_TYPE, "a message type that is not AP-REQ's")?;
                Ok(Self {
                    ap_options: ApOptions(fields.field(2, Reader::flags)?),
                    ticket: fields.field(3, Ticket::parse)?,
                    authenticator: fields.field(4, EncryptedData::parse)?,
                })
            })
        })?;
        reader.finish()?;
        Ok(message)
    }

    /// Writes an AP-REQ around a ticket that is encoded already and an authenticator that is encrypted already.
    pub fn write(
        writer: &mut Writer<'_>,
        ap_options: ApOptions,
        encoded_ticket: &[u8],
        authenticator: &EncryptedData<'_>,
    ) {
        writer.constructed(tag::application(14), |message| {
            message.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| field.integer(MSG_TYPE));
                fields.field(2, |field| field.flags(ap_options.0));
                fields.field(3, |field| field.encoded(encoded_ticket));
                fields.field(4, |field| authenticator.write(field));
            });
        });
    }
}

/// Reads the integer field `number`, which must be `value`.
pub(super) fn expect(
    reader: &mut Reader<'_>,
    number: u8,
    value: i64,
    otherwise: &'static str,
) -> Result<(), DerError> {
    let at = *reader;
    if reader.field(number, Reader::integer)? == value {
        Ok(())
    } else {
        Err(at.error(Problem::Value(otherwise)))
    }
}
