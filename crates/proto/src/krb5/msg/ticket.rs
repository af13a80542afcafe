//! Ticket and EncTicketPart (RFC 4120 section 5.3).

use super::authorization_data::AuthorizationData;
use super::encrypted_data::EncryptedData;
use super::encryption_key::EncryptionKeyRef;
use super::name::{NameRef, realm_and_name};
use super::{PVNO, addresses};
use crate::der::{DerError, Problem, Reader, tag};
use crate::time::Timestamp;

/// A ticket, still closed.
///
/// ```text
/// Ticket          ::= [APPLICATION 1] SEQUENCE {
///         tkt-vno         [0] INTEGER (5),
///         realm           [1] Realm,
///         sname           [2] PrincipalName,
///         enc-part        [3] EncryptedData -- EncTicketPart
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ticket<'a> {
    /// Realm of the service. Not protected: a claim.
    pub realm: &'a [u8],
    /// Name of the service. Not protected: a claim.
    pub sname: NameRef<'a>,
    /// The ticket proper, under the service's key.
    pub enc_part: EncryptedData<'a>,
}

impl<'a> Ticket<'a> {
    /// Reads a Ticket.
    ///
    /// # Errors
    /// If it breaks DER, has another version than 5, or a name that is out of bounds.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::application(1), |ticket| {
            ticket.within(tag::SEQUENCE, |ticket| {
                let at = *ticket;
                if ticket.field(0, Reader::integer)? != PVNO {
                    return Err(at.error(Problem::Value("a ticket of another version than 5")));
                }
                let (realm, sname) = realm_and_name(ticket, 1, 2)?;
                Ok(Self { realm, sname, enc_part: ticket.field(3, EncryptedData::parse)? })
            })
        })
    }
}

/// Ticket flags, bit 0 of RFC 4120 the highest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TicketFlags(pub u32);

impl TicketFlags {
    /// May be forwarded.
    pub const FORWARDABLE: Self = Self(1 << 30);
    /// Was forwarded.
    pub const FORWARDED: Self = Self(1 << 29);
    /// Tickets of other addresses may be made of it.
    pub const PROXIABLE: Self = Self(1 << 28);
    /// Is such a ticket of another address.
    pub const PROXY: Self = Self(1 << 27);
    /// Postdated tickets may be made of it.
    pub const MAY_POSTDATE: Self = Self(1 << 26);
    /// Was postdated.
    pub const POSTDATED: Self = Self(1 << 25);
    /// Postdated and not validated: not to be accepted.
    pub const INVALID: Self = Self(1 << 24);
    /// May be renewed until renew-till.
    pub const RENEWABLE: Self = Self(1 << 23);
    /// Issued to the client's own key, not to a TGT.
    pub const INITIAL: Self = Self(1 << 22);
    /// Issued after the client proved itself.
    pub const PRE_AUTHENT: Self = Self(1 << 21);
    /// Issued after the client proved itself with hardware.
    pub const HW_AUTHENT: Self = Self(1 << 20);
    /// The KDC checked the transited realms.
    pub const TRANSITED_POLICY_CHECKED: Self = Self(1 << 19);
    /// The KDC holds the service fit for delegation.
    pub const OK_AS_DELEGATE: Self = Self(1 << 18);
    /// The encrypted part of the reply has PA-DATA (RFC 6806 section 11).
    pub const ENC_PA_REP: Self = Self(1 << 16);
    /// Issued to nobody in particular (RFC 8062 section 3).
    pub const ANONYMOUS: Self = Self(1 << 15);

    /// Whether every bit of `flags` is set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// A ticket, opened. Borrows from a buffer that is wiped: neither it nor its key has `Debug`.
///
/// ```text
/// EncTicketPart   ::= [APPLICATION 3] SEQUENCE {
///         flags                   [0] TicketFlags,
///         key                     [1] EncryptionKey,
///         crealm                  [2] Realm,
///         cname                   [3] PrincipalName,
///         transited               [4] TransitedEncoding,
///         authtime                [5] KerberosTime,
///         starttime               [6] KerberosTime OPTIONAL,
///         endtime                 [7] KerberosTime,
///         renew-till              [8] KerberosTime OPTIONAL,
///         caddr                   [9] HostAddresses OPTIONAL,
///         authorization-data      [10] AuthorizationData OPTIONAL
/// }
/// TransitedEncoding       ::= SEQUENCE {
///         tr-type         [0] Int32 -- must be registered --,
///         contents        [1] OCTET STRING
/// }
/// ```
#[derive(Clone, Copy)]
pub struct EncTicketPart<'a> {
    /// Flags.
    pub flags: TicketFlags,
    /// Session key.
    pub key: EncryptionKeyRef<'a>,
    /// Realm of the client.
    pub crealm: &'a [u8],
    /// Name of the client.
    pub cname: NameRef<'a>,
    /// Type of the transited encoding (1 is DOMAIN-X500-COMPRESS).
    pub transited_type: i32,
    /// The realms between the client's and ours, encoded.
    pub transited: &'a [u8],
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// From when on the ticket is good; absent means authtime.
    pub starttime: Option<Timestamp>,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Until when it may be renewed.
    pub renew_till: Option<Timestamp>,
    /// Addresses of the client, contents of the HostAddresses as encoded. Addresses prove nothing and are not compared.
    pub caddr: Option<&'a [u8]>,
    /// What the KDC says of the client beyond its name.
    pub authorization_data: Option<AuthorizationData<'a>>,
}

impl<'a> EncTicketPart<'a> {
    /// Reads an EncTicketPart that fills `reader`.
    ///
    /// # Errors
    /// If it breaks DER or its client's name is out of bounds.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let part = reader.within(tag::application(3), |part| part.within(tag::SEQUENCE, Self::fields))?;
        reader.finish()?;
        Ok(part)
    }

    fn fields(part: &mut Reader<'a>) -> Result<Self, DerError> {
        let flags = TicketFlags(part.field(0, Reader::flags)?);
        let key = part.field(1, EncryptionKeyRef::parse)?;
        let (crealm, cname) = realm_and_name(part, 2, 3)?;
        let (transited_type, transited) = part.field(4, |field| {
            field.within(tag::SEQUENCE, |transited| {
                Ok((transited.field(0, Reader::int32)?, transited.field(1, Reader::octets)?))
            })
        })?;
        Ok(Self {
            flags,
            key,
            crealm,
            cname,
            transited_type,
            transited,
            authtime: part.field(5, Reader::time)?,
            starttime: part.optional_field(6, Reader::time)?,
            endtime: part.field(7, Reader::time)?,
            renew_till: part.optional_field(8, Reader::time)?,
            caddr: part.optional_field(9, addresses)?,
            authorization_data: part.optional_field(10, AuthorizationData::parse)?,
        })
    }

    /// From when on the ticket is good.
    #[must_use]
    pub fn valid_from(&self) -> Timestamp {
        self.starttime.unwrap_or(self.authtime)
    }
}
