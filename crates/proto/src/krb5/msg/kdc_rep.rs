//! KDC-REP: AS-REP and TGS-REP (RFC 4120 section 5.4.2).

use super::ap_req::expect;
use super::encrypted_data::EncryptedData;
use super::encryption_key::EncryptionKeyRef;
use super::kdc_req::KdcReqKind;
use super::name::{NameRef, check_together, realm, realm_and_name};
use super::pa_data::{MethodData, PaData};
use super::principal::Principal;
use super::ticket::{Ticket, TicketFlags};
use super::{PVNO, addresses};
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

/// Most entries of LastReq.
const MAX_LAST_REQ: usize = 32;

impl KdcReqKind {
    /// msg-type of the reply: 11 or 13.
    #[must_use]
    pub const fn reply_msg_type(self) -> i64 {
        match self {
            Self::As => 11,
            Self::Tgs => 13,
        }
    }

    /// Identifier octet of the reply: `[APPLICATION 11]` or `[APPLICATION 13]`.
    #[must_use]
    pub const fn reply_application_tag(self) -> u8 {
        match self {
            Self::As => tag::application(11),
            Self::Tgs => tag::application(13),
        }
    }

    /// Identifier octet of the reply's part, opened: `[APPLICATION 25]` or `[APPLICATION 26]`.
    const fn part_application_tag(self) -> u8 {
        match self {
            Self::As => tag::application(25),
            Self::Tgs => tag::application(26),
        }
    }
}

/// What a KDC answers: a ticket, and what the client must know to use it.
///
/// ```text
/// AS-REP          ::= [APPLICATION 11] KDC-REP
/// TGS-REP         ::= [APPLICATION 13] KDC-REP
/// KDC-REP         ::= SEQUENCE {
///         pvno            [0] INTEGER (5),
///         msg-type        [1] INTEGER (11 -- AS -- | 13 -- TGS --),
///         padata          [2] SEQUENCE OF PA-DATA OPTIONAL -- NOTE: not empty --,
///         crealm          [3] Realm,
///         cname           [4] PrincipalName,
///         ticket          [5] Ticket,
///         enc-part        [6] EncryptedData -- EncASRepPart or EncTGSRepPart, as appropriate
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KdcRep<'a> {
    /// Which exchange it ends.
    pub kind: KdcReqKind,
    /// The KDC's proofs and hints. Not protected, unless by themselves.
    pub padata: MethodData<'a>,
    /// Realm of the client. Not protected: a claim.
    pub crealm: &'a [u8],
    /// Name of the client. Not protected: a claim. Without components where FAST hides it (Heimdal's KDC does).
    pub cname: NameRef<'a>,
    /// The ticket, closed.
    pub ticket: Ticket<'a>,
    /// The ticket as it was sent: what is kept, and what FAST's checksum is over.
    pub encoded_ticket: &'a [u8],
    /// [`EncKdcRepPart`], under the client's reply key.
    pub enc_part: EncryptedData<'a>,
}

impl<'a> KdcRep<'a> {
    /// Reads an AS-REP or TGS-REP that fills `bytes`.
    ///
    /// # Errors
    /// If it is neither, breaks DER or a bound, has another version, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            let is_tgs = reader.peek() == Some(KdcReqKind::Tgs.reply_application_tag());
            let kind = if is_tgs { KdcReqKind::Tgs } else { KdcReqKind::As };
            reader.within(kind.reply_application_tag(), |message| {
                message.within(tag::SEQUENCE, |fields| Self::fields(kind, fields))
            })
        })
    }

    fn fields(kind: KdcReqKind, fields: &mut Reader<'a>) -> Result<Self, DerError> {
        expect(fields, 0, PVNO, "a Kerberos message of another version than 5")?;
        expect(fields, 1, kind.reply_msg_type(), "a message type that is not the reply's")?;
        let padata = fields.optional_field(2, MethodData::parse)?.unwrap_or_default();
        let start = *fields;
        let crealm = fields.field(3, realm)?;
        let cname = fields.field(4, NameRef::parse_or_nobody)?;
        check_together(start, crealm, Some(cname))?;
        let (ticket, encoded_ticket) = fields.field(5, |field| field.with_encoding(Ticket::parse))?;
        let enc_part = fields.field(6, EncryptedData::parse)?;
        Ok(Self { kind, padata, crealm, cname, ticket, encoded_ticket, enc_part })
    }
}

/// A reply to send.
#[derive(Clone, Copy, Debug)]
pub struct NewKdcRep<'a> {
    /// Which exchange it ends.
    pub kind: KdcReqKind,
    /// The KDC's proofs and hints; without any the field is left out.
    pub padata: &'a [PaData<'a>],
    /// The client.
    pub client: &'a Principal,
    /// The ticket, encoded.
    pub encoded_ticket: &'a [u8],
    /// The encrypted part.
    pub enc_part: EncryptedData<'a>,
}

impl NewKdcRep<'_> {
    /// Writes an AS-REP or TGS-REP.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(self.kind.reply_application_tag(), |message| {
            message.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| field.integer(self.kind.reply_msg_type()));
                if !self.padata.is_empty() {
                    fields.field(2, |field| MethodData::write_list(field, self.padata));
                }
                fields.field(3, |field| self.client.write_realm(field));
                fields.field(4, |field| self.client.write_name(field));
                fields.field(5, |field| field.encoded(self.encoded_ticket));
                fields.field(6, |field| self.enc_part.write(field));
            });
        });
    }
}

/// When something of the client's happened or will.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastReq {
    /// What (RFC 4120 section 5.4.2): 6 is the end of the password, 7 that of the account; negative numbers speak of this
    /// KDC alone, 0 of nothing.
    pub lr_type: i32,
    /// When.
    pub lr_value: Timestamp,
}

impl LastReq {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |entry| {
            Ok(Self { lr_type: entry.field(0, Reader::int32)?, lr_value: entry.field(1, Reader::time)? })
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|entry| {
            entry.field(0, |field| field.integer(self.lr_type.into()));
            entry.field(1, |field| field.time(self.lr_value));
        });
    }
}

/// What a reply says once it is opened. Borrows from a buffer that is wiped: neither it nor its key has `Debug`.
///
/// ```text
/// EncASRepPart    ::= [APPLICATION 25] EncKDCRepPart
/// EncTGSRepPart   ::= [APPLICATION 26] EncKDCRepPart
/// EncKDCRepPart   ::= SEQUENCE {
///         key                     [0] EncryptionKey,
///         last-req                [1] LastReq,
///         nonce                   [2] UInt32,
///         key-expiration          [3] KerberosTime OPTIONAL,
///         flags                   [4] TicketFlags,
///         authtime                [5] KerberosTime,
///         starttime               [6] KerberosTime OPTIONAL,
///         endtime                 [7] KerberosTime,
///         renew-till              [8] KerberosTime OPTIONAL,
///         srealm                  [9] Realm,
///         sname                   [10] PrincipalName,
///         caddr                   [11] HostAddresses OPTIONAL,
///         encrypted-pa-data       [12] METHOD-DATA OPTIONAL -- RFC 6806 section 11
/// }
/// LastReq         ::= SEQUENCE OF SEQUENCE {
///         lr-type         [0] Int32,
///         lr-value        [1] KerberosTime
/// }
/// ```
#[derive(Clone)]
pub struct EncKdcRepPart<'a> {
    /// Session key of the ticket.
    pub key: EncryptionKeyRef<'a>,
    /// Times of the client's requests, password and account.
    pub last_req: Vec<LastReq>,
    /// The request's nonce.
    pub nonce: u32,
    /// When the client's key ends.
    pub key_expiration: Option<Timestamp>,
    /// The ticket's flags.
    pub flags: TicketFlags,
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// From when on the ticket is good; absent means authtime.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Until when it may be renewed.
    pub renew_till: Option<Timestamp>,
    /// Realm of the service.
    pub srealm: &'a [u8],
    /// Name of the service.
    pub sname: NameRef<'a>,
    /// Addresses the ticket is good at, contents of the HostAddresses as encoded.
    pub caddr: Option<&'a [u8]>,
    /// What the KDC says beyond that, protected.
    pub encrypted_pa_data: MethodData<'a>,
}

impl<'a> EncKdcRepPart<'a> {
    /// Reads an EncKDCRepPart that fills `reader`. Some KDCs put one number into both kinds of reply, so either is taken
    /// for either; what tells the replies apart is the key usage.
    ///
    /// # Errors
    /// If it breaks DER or a bound (32 entries of LastReq, 64 of PA-DATA, those of names), or bytes follow it.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let is_tgs = reader.peek() == Some(KdcReqKind::Tgs.part_application_tag());
        let kind = if is_tgs { KdcReqKind::Tgs } else { KdcReqKind::As };
        let part =
            reader.within(kind.part_application_tag(), |part| part.within(tag::SEQUENCE, Self::fields))?;
        reader.finish()?;
        Ok(part)
    }

    fn fields(part: &mut Reader<'a>) -> Result<Self, DerError> {
        let key = part.field(0, EncryptionKeyRef::parse)?;
        let last_req = part.field(1, |field| {
            field.sequence_of(MAX_LAST_REQ, "more than 32 times of last requests", LastReq::parse)
        })?;
        let nonce = part.field(2, Reader::uint32)?;
        let key_expiration = part.optional_field(3, Reader::time)?;
        let flags = TicketFlags(part.field(4, Reader::flags)?);
        let authtime = part.field(5, Reader::time)?;
        let starttime = part.optional_field(6, Reader::time)?;
        let endtime = part.field(7, Reader::time)?;
        let renew_till = part.optional_field(8, Reader::time)?;
        let (srealm, sname) = realm_and_name(part, 9, 10)?;
        Ok(Self {
            key,
            last_req,
            nonce,
            key_expiration,
            flags,
            authtime,
            starttime,
            endtime,
            renew_till,
            srealm,
            sname,
            caddr: part.optional_field(11, addresses)?,
            encrypted_pa_data: part.optional_field(12, MethodData::parse)?.unwrap_or_default(),
        })
    }

    /// From when on the ticket is good.
    #[must_use]
    pub fn valid_from(&self) -> Timestamp {
        self.starttime.unwrap_or(self.authtime)
    }
}

/// What a KDC puts into the encrypted part of its reply.
#[derive(Clone, Copy)]
pub struct NewEncKdcRepPart<'a> {
    /// Session key of the ticket.
    pub key: EncryptionKeyRef<'a>,
    /// Times of the client's requests, password and account. RFC 4120 wants the field even if it is empty.
    pub last_req: &'a [LastReq],
    /// The request's nonce.
    pub nonce: u32,
    /// When the client's key ends.
    pub key_expiration: Option<Timestamp>,
    /// The ticket's flags.
    pub flags: TicketFlags,
    /// When the client authenticated.
    pub authtime: Timestamp,
    /// From when on the ticket is good; absent means authtime.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Until when it may be renewed.
    pub renew_till: Option<Timestamp>,
    /// The service.
    pub service: &'a Principal,
    /// What else is said; without any the field is left out.
    pub encrypted_pa_data: &'a [PaData<'a>],
}

impl NewEncKdcRepPart<'_> {
    /// Writes an EncASRepPart or EncTGSRepPart. It holds a key: the caller's buffer must be one that is wiped, and large
    /// enough not to grow.
    pub fn write(&self, kind: KdcReqKind, writer: &mut Writer<'_>) {
        writer.constructed(kind.part_application_tag(), |part| {
            part.sequence(|fields| self.write_fields(fields));
        });
    }

    fn write_fields(&self, fields: &mut Writer<'_>) {
        fields.field(0, |field| self.key.write(field));
        fields.field(1, |field| {
            field.sequence(|list| self.last_req.iter().for_each(|entry| entry.write(list)));
        });
        fields.field(2, |field| field.integer(self.nonce.into()));
        if let Some(key_expiration) = self.key_expiration {
            fields.field(3, |field| field.time(key_expiration));
        }
        fields.field(4, |field| field.flags(self.flags.0));
        fields.field(5, |field| field.time(self.authtime));
        if let Some(starttime) = self.starttime {
            fields.field(6, |field| field.time(starttime));
        }
        fields.field(7, |field| field.time(self.endtime));
        if let Some(renew_till) = self.renew_till {
            fields.field(8, |field| field.time(renew_till));
        }
        fields.field(9, |field| self.service.write_realm(field));
        fields.field(10, |field| self.service.write_name(field));
        if !self.encrypted_pa_data.is_empty() {
            fields.field(12, |field| MethodData::write_list(field, self.encrypted_pa_data));
        }
    }
}
