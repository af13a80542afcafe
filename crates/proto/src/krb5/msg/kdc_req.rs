//! KDC-REQ: AS-REQ and TGS-REQ (RFC 4120 section 5.4.1).

use super::ap_req::expect;
use super::encrypted_data::EncryptedData;
use super::name::{NameRef, check_together, realm};
use super::pa_data::{MethodData, PaData};
use super::principal::Principal;
use super::ticket::Ticket;
use super::{PVNO, addresses};
use crate::crypto::Etype;
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

/// Most etypes of one request.
const MAX_ETYPES: usize = 64;
/// Most additional tickets of one request.
const MAX_TICKETS: usize = 8;

/// Which of the two exchanges with a KDC a request or reply belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KdcReqKind {
    /// The client proves itself by its own key, usually for a TGT: AS-REQ, AS-REP.
    As,
    /// The client proves itself by a TGT, for another ticket: TGS-REQ, TGS-REP.
    Tgs,
}

impl KdcReqKind {
    /// msg-type of the request: 10 or 12.
    #[must_use]
    pub const fn msg_type(self) -> i64 {
        match self {
            Self::As => 10,
            Self::Tgs => 12,
        }
    }

    /// Identifier octet of the request: `[APPLICATION 10]` or `[APPLICATION 12]`.
    #[must_use]
    pub const fn application_tag(self) -> u8 {
        match self {
            Self::As => tag::application(10),
            Self::Tgs => tag::application(12),
        }
    }
}

/// What the client wants of the ticket, bit 0 of RFC 4120 the highest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KdcOptions(pub u32);

impl KdcOptions {
    /// A ticket that may be forwarded.
    pub const FORWARDABLE: Self = Self::bit(1);
    /// A forwarded TGT.
    pub const FORWARDED: Self = Self::bit(2);
    /// A ticket that may be proxied.
    pub const PROXIABLE: Self = Self::bit(3);
    /// A proxy ticket.
    pub const PROXY: Self = Self::bit(4);
    /// A ticket that may be postdated.
    pub const ALLOW_POSTDATE: Self = Self::bit(5);
    /// A postdated ticket.
    pub const POSTDATED: Self = Self::bit(6);
    /// A ticket that may be renewed until rtime.
    pub const RENEWABLE: Self = Self::bit(8);
    /// A ticket in the name of the client of the additional ticket: constrained delegation (MS-SFU 2.2.3).
    pub const CNAME_IN_ADDL_TKT: Self = Self::bit(14);
    /// Names may be replaced by the KDC's, and referrals sent (RFC 6806 section 3).
    pub const CANONICALIZE: Self = Self::bit(15);
    /// A ticket for nobody in particular (RFC 8062 section 3).
    pub const REQUEST_ANONYMOUS: Self = Self::bit(16);
    /// The KDC need not check the transited realms.
    pub const DISABLE_TRANSITED_CHECK: Self = Self::bit(26);
    /// A renewable ticket will do if till is further than the KDC would go.
    pub const RENEWABLE_OK: Self = Self::bit(27);
    /// The ticket is to be under the session key of the additional ticket (user-to-user).
    pub const ENC_TKT_IN_SKEY: Self = Self::bit(28);
    /// The TGT is to be renewed.
    pub const RENEW: Self = Self::bit(30);
    /// The postdated TGT is to be validated.
    pub const VALIDATE: Self = Self::bit(31);

    const fn bit(number: u32) -> Self {
        Self(0x8000_0000 >> number)
    }

    /// Whether every bit of `options` is set.
    #[must_use]
    pub const fn contains(self, options: Self) -> bool {
        self.0 & options.0 == options.0
    }

    /// These and `options`.
    #[must_use]
    pub const fn with(self, options: Self) -> Self {
        Self(self.0 | options.0)
    }

    /// These but `options`.
    #[must_use]
    pub const fn without(self, options: Self) -> Self {
        Self(self.0 & !options.0)
    }
}

/// The body of a request to send. What is not here (from, addresses, enc-authorization-data) is not written.
#[derive(Clone, Copy, Debug)]
pub struct NewKdcReqBody<'a> {
    /// Options.
    pub kdc_options: KdcOptions,
    /// Name of the client, in AS-REQ only.
    pub cname: Option<&'a Principal>,
    /// Realm of the service, and in AS-REQ of the client. Those of `cname` and `sname` are not written.
    pub realm: &'a [u8],
    /// Name of the service.
    pub sname: Option<&'a Principal>,
    /// Until when the ticket is wanted; 1970-01-01 means as long as the KDC gives it.
    pub till: Timestamp,
    /// Until when a renewable ticket is to be renewable.
    pub rtime: Option<Timestamp>,
    /// A fresh random number below 2^31, by which the reply is known.
    pub nonce: u32,
    /// Etypes that the client takes, the one it likes best first.
    pub etypes: &'a [Etype],
    /// Tickets, encoded; for user-to-user the other's TGT.
    pub additional_tickets: &'a [&'a [u8]],
}

impl NewKdcReqBody<'_> {
    /// Writes a KDC-REQ-BODY.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| self.write_fields(fields));
    }

    fn write_fields(&self, fields: &mut Writer<'_>) {
        fields.field(0, |field| field.flags(self.kdc_options.0));
        if let Some(cname) = self.cname {
            fields.field(1, |field| cname.write_name(field));
        }
        fields.field(2, |field| field.general_string(self.realm));
        if let Some(sname) = self.sname {
            fields.field(3, |field| sname.write_name(field));
        }
        fields.field(5, |field| field.time(self.till));
        if let Some(rtime) = self.rtime {
            fields.field(6, |field| field.time(rtime));
        }
        fields.field(7, |field| field.integer(self.nonce.into()));
        fields.field(8, |field| {
            field.sequence(|list| {
                self.etypes.iter().for_each(|etype| list.integer(etype.wire().into()));
            });
        });
        if !self.additional_tickets.is_empty() {
            fields.field(11, |field| {
                field.sequence(|list| self.additional_tickets.iter().for_each(|ticket| list.encoded(ticket)));
            });
        }
    }
}

/// Writes an AS-REQ or TGS-REQ around a body that is encoded already: what checksums are over must not be encoded
/// twice.
pub fn write_kdc_req(kind: KdcReqKind, padata: &[PaData<'_>], encoded_body: &[u8], writer: &mut Writer<'_>) {
    writer.constructed(kind.application_tag(), |message| {
        message.sequence(|fields| {
            fields.field(1, |field| field.integer(PVNO));
            fields.field(2, |field| field.integer(kind.msg_type()));
            if !padata.is_empty() {
                fields.field(3, |field| MethodData::write_list(field, padata));
            }
            fields.field(4, |field| field.encoded(encoded_body));
        });
    });
}

/// What a client asks of a KDC. Nothing protects it but what its padata holds.
///
/// ```text
/// AS-REQ          ::= [APPLICATION 10] KDC-REQ
/// TGS-REQ         ::= [APPLICATION 12] KDC-REQ
/// KDC-REQ         ::= SEQUENCE {
///         -- NOTE: first tag is [1], not [0]
///         pvno            [1] INTEGER (5),
///         msg-type        [2] INTEGER (10 -- AS -- | 12 -- TGS --),
///         padata          [3] SEQUENCE OF PA-DATA OPTIONAL -- NOTE: not empty --,
///         req-body        [4] KDC-REQ-BODY
/// }
/// ```
#[derive(Clone, Debug)]
pub struct KdcReq<'a> {
    /// Which exchange it begins.
    pub kind: KdcReqKind,
    /// The client's proofs and wishes.
    pub padata: MethodData<'a>,
    /// What is asked for.
    pub body: KdcReqBody<'a>,
    /// The body as it was sent: checksums are over it.
    pub encoded_body: &'a [u8],
}

impl<'a> KdcReq<'a> {
    /// Reads an AS-REQ or TGS-REQ that fills `bytes`.
    ///
    /// # Errors
    /// If it is neither, breaks DER or a bound, has another version, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            let is_tgs = reader.peek() == Some(KdcReqKind::Tgs.application_tag());
            let kind = if is_tgs { KdcReqKind::Tgs } else { KdcReqKind::As };
            reader.within(kind.application_tag(), |message| {
                message.within(tag::SEQUENCE, |fields| Self::fields(kind, fields))
            })
        })
    }

    fn fields(kind: KdcReqKind, fields: &mut Reader<'a>) -> Result<Self, DerError> {
        expect(fields, 1, PVNO, "a Kerberos message of another version than 5")?;
        expect(fields, 2, kind.msg_type(), "a message type that is not the request's")?;
        let padata = fields.optional_field(3, MethodData::parse)?.unwrap_or_default();
        let (body, encoded_body) = fields.field(4, |field| field.with_encoding(KdcReqBody::parse))?;
        Ok(Self { kind, padata, body, encoded_body })
    }
}

/// What is asked for.
///
/// ```text
/// KDC-REQ-BODY    ::= SEQUENCE {
///         kdc-options             [0] KDCOptions,
///         cname                   [1] PrincipalName OPTIONAL -- Used only in AS-REQ --,
///         realm                   [2] Realm -- Server's realm, also client's in AS-REQ --,
///         sname                   [3] PrincipalName OPTIONAL,
///         from                    [4] KerberosTime OPTIONAL,
///         till                    [5] KerberosTime,
///         rtime                   [6] KerberosTime OPTIONAL,
///         nonce                   [7] UInt32,
///         etype                   [8] SEQUENCE OF Int32 -- EncryptionType, in preference order --,
///         addresses               [9] HostAddresses OPTIONAL,
///         enc-authorization-data  [10] EncryptedData OPTIONAL -- AuthorizationData --,
///         additional-tickets      [11] SEQUENCE OF Ticket OPTIONAL -- NOTE: not empty
/// }
/// ```
#[derive(Clone, Debug)]
pub struct KdcReqBody<'a> {
    /// Options.
    pub kdc_options: KdcOptions,
    /// Name of the client, in AS-REQ only.
    pub cname: Option<NameRef<'a>>,
    /// Realm of the service, and in AS-REQ of the client.
    pub realm: &'a [u8],
    /// Name of the service.
    pub sname: Option<NameRef<'a>>,
    /// From when on a postdated ticket is wanted.
    pub from: Option<Timestamp>,
    /// Until when the ticket is wanted; 1970-01-01 means as long as the KDC gives it.
    pub till: Timestamp,
    /// Until when a renewable ticket is to be renewable.
    pub rtime: Option<Timestamp>,
    /// The number by which the reply is known.
    pub nonce: u32,
    /// Etypes that the client takes, the one it likes best first; any numbers that it wrote.
    pub etypes: Vec<i32>,
    /// Addresses the ticket is to be good at, contents of the HostAddresses as encoded.
    pub addresses: Option<&'a [u8]>,
    /// What the client wants in the ticket beyond its name, encrypted.
    pub enc_authorization_data: Option<EncryptedData<'a>>,
    /// More tickets, each with its encoding.
    pub additional_tickets: Vec<(Ticket<'a>, &'a [u8])>,
}

impl<'a> KdcReqBody<'a> {
    /// Reads a KDC-REQ-BODY of at most 64 etypes and 8 additional tickets.
    ///
    /// # Errors
    /// If it breaks DER, has more of either, or a name that is out of bounds.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, Self::fields)
    }

    fn fields(fields: &mut Reader<'a>) -> Result<Self, DerError> {
        let start = *fields;
        let kdc_options = KdcOptions(fields.field(0, Reader::flags)?);
        let cname = fields.optional_field(1, NameRef::parse)?;
        let realm = fields.field(2, realm)?;
        check_together(start, realm, cname)?;
        let sname = fields.optional_field(3, NameRef::parse)?;
        check_together(start, realm, sname)?;
        Ok(Self {
            kdc_options,
            cname,
            realm,
            sname,
            from: fields.optional_field(4, Reader::time)?,
            till: fields.field(5, Reader::time)?,
            rtime: fields.optional_field(6, Reader::time)?,
            nonce: fields.field(7, Reader::uint32)?,
            etypes: fields.field(8, etypes)?,
            addresses: fields.optional_field(9, addresses)?,
            enc_authorization_data: fields.optional_field(10, EncryptedData::parse)?,
            additional_tickets: fields.optional_field(11, tickets)?.unwrap_or_default(),
        })
    }
}

fn etypes(field: &mut Reader<'_>) -> Result<Vec<i32>, DerError> {
    field.sequence_of(MAX_ETYPES, "more than 64 etypes in one request", Reader::int32)
}

/// Reads a SEQUENCE OF at most 8 Tickets, each with its encoding.
pub(super) fn tickets<'a>(field: &mut Reader<'a>) -> Result<Vec<(Ticket<'a>, &'a [u8])>, DerError> {
    field.sequence_of(MAX_TICKETS, "more than 8 tickets in one message", |list| {
        list.with_encoding(Ticket::parse)
    })
}
