//! KRB-CRED (RFC 4120 section 5.8): tickets with their session keys, forwarded.

use super::ap_req::expect;
use super::encrypted_data::EncryptedData;
use super::encryption_key::EncryptionKeyRef;
use super::kdc_req::tickets;
use super::name::{NameRef, check_together, realm};
use super::principal::Principal;
use super::ticket::{Ticket, TicketFlags};
use super::{PVNO, addresses, optional_precise_time, write_precise_time};
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

const MSG_TYPE: i64 = 22;
/// Most tickets of one message, each of which has one KrbCredInfo.
const MAX_TICKETS: usize = 8;

/// Tickets, and encrypted what is needed to use them. Under GSS it is encrypted with the session key, usage 14.
///
/// ```text
/// KRB-CRED        ::= [APPLICATION 22] SEQUENCE {
///         pvno            [0] INTEGER (5),
///         msg-type        [1] INTEGER (22),
///         tickets         [2] SEQUENCE OF Ticket,
///         enc-part        [3] EncryptedData -- EncKrbCredPart
/// }
/// ```
#[derive(Clone, Debug)]
pub struct KrbCred<'a> {
    /// The tickets, closed, each with its encoding.
    pub tickets: Vec<(Ticket<'a>, &'a [u8])>,
    /// [`EncKrbCredPart`].
    pub enc_part: EncryptedData<'a>,
}

impl<'a> KrbCred<'a> {
    /// Reads a KRB-CRED of at most 8 tickets that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, has another version or type, more tickets, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            reader.within(tag::application(22), |message| {
                message.within(tag::SEQUENCE, |fields| {
                    expect(fields, 0, PVNO, "a Kerberos message of another version than 5")?;
                    expect(fields, 1, MSG_TYPE, "a message type that is not KRB-CRED's")?;
                    Ok(Self {
                        tickets: fields.field(2, tickets)?,
                        enc_part: fields.field(3, EncryptedData::parse)?,
                    })
                })
            })
        })
    }
}

/// Writes a KRB-CRED around tickets that are encoded already and a part that is encrypted already.
pub fn write_krb_cred(encoded_tickets: &[&[u8]], enc_part: &EncryptedData<'_>, writer: &mut Writer<'_>) {
    writer.constructed(tag::application(22), |message| {
        message.sequence(|fields| {
            fields.field(0, |field| field.integer(PVNO));
            fields.field(1, |field| field.integer(MSG_TYPE));
            fields.field(2, |field| {
                field.sequence(|list| encoded_tickets.iter().for_each(|ticket| list.encoded(ticket)));
            });
            fields.field(3, |field| enc_part.write(field));
        });
    });
}

/// What a KRB-CRED says once it is opened. Borrows from a buffer that is wiped: it has keys, hence no `Debug`.
///
/// ```text
/// EncKrbCredPart  ::= [APPLICATION 29] SEQUENCE {
///         ticket-info     [0] SEQUENCE OF KrbCredInfo,
///         nonce           [1] UInt32 OPTIONAL,
///         timestamp       [2] KerberosTime OPTIONAL,
///         usec            [3] Microseconds OPTIONAL,
///         s-address       [4] HostAddress OPTIONAL,
///         r-address       [5] HostAddress OPTIONAL
/// }
/// ```
#[derive(Clone)]
pub struct EncKrbCredPart<'a> {
    /// What belongs to each ticket, in their order.
    pub ticket_info: Vec<KrbCredInfo<'a>>,
    /// A number that the receiver asked for.
    pub nonce: Option<u32>,
    /// When it was sent, timestamp and usec together.
    pub timestamp: Option<Timestamp>,
}

impl<'a> EncKrbCredPart<'a> {
    /// Reads an EncKrbCredPart of at most 8 tickets that fills `reader`. Addresses are passed over.
    ///
    /// # Errors
    /// If it breaks DER, has more tickets, or a name that is out of bounds.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let part = reader.within(tag::application(29), |part| part.within(tag::SEQUENCE, Self::fields))?;
        reader.finish()?;
        Ok(part)
    }

    fn fields(fields: &mut Reader<'a>) -> Result<Self, DerError> {
        let ticket_info = fields.field(0, |field| {
            field.sequence_of(MAX_TICKETS, "more than 8 tickets in one message", KrbCredInfo::parse)
        })?;
        let nonce = fields.optional_field(1, Reader::uint32)?;
        let timestamp = optional_precise_time(fields, 2, 3)?;
        fields.optional_field(4, addresses)?;
        fields.optional_field(5, addresses)?;
        Ok(Self { ticket_info, nonce, timestamp })
    }
}

/// What belongs to one ticket. All but the key may be left out, and then means nothing.
///
/// ```text
/// KrbCredInfo     ::= SEQUENCE {
///         key             [0] EncryptionKey,
///         prealm          [1] Realm OPTIONAL,
///         pname           [2] PrincipalName OPTIONAL,
///         flags           [3] TicketFlags OPTIONAL,
///         authtime        [4] KerberosTime OPTIONAL,
///         starttime       [5] KerberosTime OPTIONAL,
///         endtime         [6] KerberosTime OPTIONAL,
///         renew-till      [7] KerberosTime OPTIONAL,
///         srealm          [8] Realm OPTIONAL,
///         sname           [9] PrincipalName OPTIONAL,
///         caddr           [10] HostAddresses OPTIONAL
/// }
/// ```
#[derive(Clone, Copy)]
pub struct KrbCredInfo<'a> {
    /// Session key of the ticket.
    pub key: EncryptionKeyRef<'a>,
    /// Realm of the client.
    pub prealm: Option<&'a [u8]>,
    /// Name of the client.
    pub pname: Option<NameRef<'a>>,
    /// The ticket's flags.
    pub flags: Option<TicketFlags>,
    /// When the client authenticated to its KDC.
    pub authtime: Option<Timestamp>,
    /// From when on the ticket is good.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Option<Timestamp>,
    /// Until when it may be renewed.
    pub renew_till: Option<Timestamp>,
    /// Realm of the service.
    pub srealm: Option<&'a [u8]>,
    /// Name of the service.
    pub sname: Option<NameRef<'a>>,
    /// Addresses the ticket is good at, contents of the HostAddresses as encoded.
    pub caddr: Option<&'a [u8]>,
}

impl<'a> KrbCredInfo<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |info| {
            let key = info.field(0, EncryptionKeyRef::parse)?;
            let (prealm, pname) = optional_realm_and_name(info, 1, 2)?;
            let flags = info.optional_field(3, Reader::flags)?.map(TicketFlags);
            let authtime = info.optional_field(4, Reader::time)?;
            let starttime = info.optional_field(5, Reader::time)?;
            let endtime = info.optional_field(6, Reader::time)?;
            let renew_till = info.optional_field(7, Reader::time)?;
            let (srealm, sname) = optional_realm_and_name(info, 8, 9)?;
            let caddr = info.optional_field(10, addresses)?;
            Ok(Self {
                key,
                prealm,
                pname,
                flags,
                authtime,
                starttime,
                endtime,
                renew_till,
                srealm,
                sname,
                caddr,
            })
        })
    }
}

type OptionalPrincipal<'a> = (Option<&'a [u8]>, Option<NameRef<'a>>);

fn optional_realm_and_name<'a>(
    info: &mut Reader<'a>,
    realm_field: u8,
    name_field: u8,
) -> Result<OptionalPrincipal<'a>, DerError> {
    let at = *info;
    let realm = info.optional_field(realm_field, realm)?;
    let name = info.optional_field(name_field, NameRef::parse)?;
    check_together(at, realm.unwrap_or_default(), name)?;
    Ok((realm, name))
}

/// What a sender puts into the encrypted part of a KRB-CRED.
#[derive(Clone, Copy)]
pub struct NewEncKrbCredPart<'a> {
    /// What belongs to each ticket, in their order.
    pub ticket_info: &'a [NewKrbCredInfo<'a>],
    /// A number that the receiver asked for.
    pub nonce: Option<u32>,
    /// The sender's time.
    pub timestamp: Option<Timestamp>,
}

impl NewEncKrbCredPart<'_> {
    /// Writes an EncKrbCredPart. It holds keys: the caller's buffer must be one that is wiped, and large enough not to
    /// grow.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(tag::application(29), |part| {
            part.sequence(|fields| {
                fields.field(0, |field| {
                    field.sequence(|list| self.ticket_info.iter().for_each(|info| info.write(list)));
                });
                if let Some(nonce) = self.nonce {
                    fields.field(1, |field| field.integer(nonce.into()));
                }
                if let Some(timestamp) = self.timestamp {
                    write_precise_time(fields, 2, 3, timestamp);
                }
            });
        });
    }
}

/// What belongs to one ticket, to send.
#[derive(Clone, Copy)]
pub struct NewKrbCredInfo<'a> {
    /// Session key of the ticket.
    pub key: EncryptionKeyRef<'a>,
    /// The client.
    pub client: &'a Principal,
    /// The ticket's flags.
    pub flags: TicketFlags,
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// From when on the ticket is good.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Until when it may be renewed.
    pub renew_till: Option<Timestamp>,
    /// The service.
    pub service: &'a Principal,
}

impl NewKrbCredInfo<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|info| {
            info.field(0, |field| self.key.write(field));
            info.field(1, |field| self.client.write_realm(field));
            info.field(2, |field| self.client.write_name(field));
            info.field(3, |field| field.flags(self.flags.0));
            info.field(4, |field| field.time(self.authtime));
            if let Some(starttime) = self.starttime {
                info.field(5, |field| field.time(starttime));
            }
            info.field(6, |field| field.time(self.endtime));
            if let Some(renew_till) = self.renew_till {
                info.field(7, |field| field.time(renew_till));
            }
            info.field(8, |field| self.service.write_realm(field));
            info.field(9, |field| self.service.write_name(field));
        });
    }
}
