//! FAST, the armor around the exchange with a KDC (RFC 6113 section 5.4). Its types are extensible: what a later revision
//! appends to them is passed over.

use super::checksum::ChecksumRef;
use super::encrypted_data::EncryptedData;
use super::encryption_key::EncryptionKeyRef;
use super::name::{NameRef, realm_and_name};
use super::pa_data::{MethodData, PaData};
use super::principal::Principal;
use super::{extensions, precise_time, write_precise_time};
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

/// The only armor-type in use: armor-value is an AP-REQ.
pub const FX_FAST_ARMOR_AP_REQUEST: i32 = 1;

/// PA-FX-FAST of a request: the request proper, encrypted under the armor key.
///
/// ```text
/// PA-FX-FAST-REQUEST      ::= CHOICE {
///         armored-data    [0] KrbFastArmoredReq,
///         ...
/// }
/// KrbFastArmoredReq       ::= SEQUENCE {
///         armor           [0] KrbFastArmor OPTIONAL,
///         req-checksum    [1] Checksum,
///         enc-fast-req    [2] EncryptedData -- KrbFastReq --,
///         ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbFastArmoredReq<'a> {
    /// Whence the armor key comes; absent in a TGS-REQ, whose own AP-REQ it comes from.
    pub armor: Option<KrbFastArmor<'a>>,
    /// Checksum with the armor key: over the outer body in an AS-REQ, over the AP-REQ in a TGS-REQ.
    pub req_checksum: ChecksumRef<'a>,
    /// [`KrbFastReq`], under the armor key.
    pub enc_fast_req: EncryptedData<'a>,
}

impl<'a> KrbFastArmoredReq<'a> {
    /// Reads a PA-FX-FAST-REQUEST that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, is another choice than armored-data, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            reader.field(0, |choice| {
                choice.within(tag::SEQUENCE, |fields| {
                    let request = Self {
                        armor: fields.optional_field(0, KrbFastArmor::parse)?,
                        req_checksum: fields.field(1, ChecksumRef::parse)?,
                        enc_fast_req: fields.field(2, EncryptedData::parse)?,
                    };
                    extensions(fields)?;
                    Ok(request)
                })
            })
        })
    }

    /// Writes a PA-FX-FAST-REQUEST.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.field(0, |choice| {
            choice.sequence(|fields| {
                if let Some(armor) = &self.armor {
                    fields.field(0, |field| armor.write(field));
                }
                fields.field(1, |field| self.req_checksum.write(field));
                fields.field(2, |field| self.enc_fast_req.write(field));
            });
        });
    }
}

/// Whence the armor key comes.
///
/// ```text
/// KrbFastArmor    ::= SEQUENCE {
///         armor-type      [0] Int32,
///         armor-value     [1] OCTET STRING,
///         ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbFastArmor<'a> {
    /// How: [`FX_FAST_ARMOR_AP_REQUEST`] or a number that the sender made up.
    pub armor_type: i32,
    /// From what, in a form that depends on the type.
    pub armor_value: &'a [u8],
}

impl<'a> KrbFastArmor<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let armor = Self {
                armor_type: fields.field(0, Reader::int32)?,
                armor_value: fields.field(1, Reader::octets)?,
            };
            extensions(fields)?;
            Ok(armor)
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            fields.field(0, |field| field.integer(self.armor_type.into()));
            fields.field(1, |field| field.octets(self.armor_value));
        });
    }
}

/// The request proper. The KDC heeds it and not what stands outside of the armor.
///
/// ```text
/// KrbFastReq      ::= SEQUENCE {
///         fast-options    [0] FastOptions,
///         padata          [1] SEQUENCE OF PA-DATA,
///         req-body        [2] KDC-REQ-BODY,
///         ...
/// }
/// FastOptions     ::= KerberosFlags -- reserved(0), hide-client-names(1), kdc-follow-referrals(16)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbFastReq<'a> {
    /// Options, bit 0 of RFC 6113 the highest. Those of bits 0 to 15 a KDC must know or refuse.
    pub fast_options: u32,
    /// The client's proofs and wishes.
    pub padata: MethodData<'a>,
    /// A KDC-REQ-BODY, encoded.
    pub req_body: &'a [u8],
}

impl<'a> KrbFastReq<'a> {
    /// Reads a KrbFastReq that fills `reader`.
    ///
    /// # Errors
    /// If it breaks DER, has more than 64 elements of PA-DATA, or bytes follow it. The body is looked at no further than
    /// its frame: see [`KdcReqBody::parse`](super::kdc_req::KdcReqBody::parse).
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let request = reader.within(tag::SEQUENCE, |fields| {
            let fast_options = fields.field(0, Reader::flags)?;
            let padata = fields.field(1, MethodData::parse)?;
            let (_, req_body) =
                fields.field(2, |field| field.with_encoding(|body| body.element(tag::SEQUENCE)))?;
            extensions(fields)?;
            Ok(Self { fast_options, padata, req_body })
        })?;
        reader.finish()?;
        Ok(request)
    }
}

/// Writes a KrbFastReq around a body that is encoded already.
pub fn write_krb_fast_req(
    fast_options: u32,
    padata: &[PaData<'_>],
    encoded_body: &[u8],
    writer: &mut Writer<'_>,
) {
    writer.sequence(|fields| {
        fields.field(0, |field| field.flags(fast_options));
        fields.field(1, |field| MethodData::write_list(field, padata));
        fields.field(2, |field| field.encoded(encoded_body));
    });
}

/// PA-FX-FAST of a reply or error: what the KDC says, encrypted under the armor key.
///
/// ```text
/// PA-FX-FAST-REPLY        ::= CHOICE {
///         armored-data    [0] KrbFastArmoredRep,
///         ...
/// }
/// KrbFastArmoredRep       ::= SEQUENCE {
///         enc-fast-rep    [0] EncryptedData -- KrbFastResponse --,
///         ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbFastArmoredRep<'a> {
    /// [`KrbFastResponse`], under the armor key.
    pub enc_fast_rep: EncryptedData<'a>,
}

impl<'a> KrbFastArmoredRep<'a> {
    /// Reads a PA-FX-FAST-REPLY that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, is another choice than armored-data, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            reader.field(0, |choice| {
                choice.within(tag::SEQUENCE, |fields| {
                    let reply = Self { enc_fast_rep: fields.field(0, EncryptedData::parse)? };
                    extensions(fields)?;
                    Ok(reply)
                })
            })
        })
    }

    /// Writes a PA-FX-FAST-REPLY.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.field(0, |choice| {
            choice.sequence(|fields| fields.field(0, |field| self.enc_fast_rep.write(field)));
        });
    }
}

/// What the KDC says inside of the armor. Borrows from a buffer that is wiped: it may have a key, hence no `Debug`.
///
/// ```text
/// KrbFastResponse ::= SEQUENCE {
///         padata          [0] SEQUENCE OF PA-DATA,
///         strengthen-key  [1] EncryptionKey OPTIONAL,
///         finished        [2] KrbFastFinished OPTIONAL,
///         nonce           [3] UInt32,
///         ...
/// }
/// ```
#[derive(Clone, Copy)]
pub struct KrbFastResponse<'a> {
    /// Proofs and hints; in an error PA-FX-ERROR among them.
    pub padata: MethodData<'a>,
    /// What the reply key is to be mixed with.
    pub strengthen_key: Option<EncryptionKeyRef<'a>>,
    /// What ends the exchange: beside a ticket only.
    pub finished: Option<KrbFastFinished<'a>>,
    /// The nonce of the request proper.
    pub nonce: u32,
}

impl<'a> KrbFastResponse<'a> {
    /// Reads a KrbFastResponse that fills `reader`.
    ///
    /// # Errors
    /// If it breaks DER, has more than 64 elements of PA-DATA, a name that is out of bounds, or bytes follow it.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let response = reader.within(tag::SEQUENCE, |fields| {
            let response = Self {
                padata: fields.field(0, MethodData::parse)?,
                strengthen_key: fields.optional_field(1, EncryptionKeyRef::parse)?,
                finished: fields.optional_field(2, KrbFastFinished::parse)?,
                nonce: fields.field(3, Reader::uint32)?,
            };
            extensions(fields)?;
            Ok(response)
        })?;
        reader.finish()?;
        Ok(response)
    }
}

/// What ends the exchange: for whom the ticket is, and that it is the one beside this.
///
/// ```text
/// KrbFastFinished ::= SEQUENCE {
///         timestamp       [0] KerberosTime,
///         usec            [1] Microseconds,
///         crealm          [2] Realm,
///         cname           [3] PrincipalName,
///         ticket-checksum [4] Checksum,
///         ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbFastFinished<'a> {
    /// The KDC's time, timestamp and usec together.
    pub timestamp: Timestamp,
    /// Realm of the client.
    pub crealm: &'a [u8],
    /// Name of the client.
    pub cname: NameRef<'a>,
    /// Checksum over the ticket's encoding with the armor key, usage 53.
    pub ticket_checksum: ChecksumRef<'a>,
}

impl<'a> KrbFastFinished<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let timestamp = precise_time(fields, 0, 1)?;
            let (crealm, cname) = realm_and_name(fields, 2, 3)?;
            let ticket_checksum = fields.field(4, ChecksumRef::parse)?;
            extensions(fields)?;
            Ok(Self { timestamp, crealm, cname, ticket_checksum })
        })
    }
}

/// What a KDC puts into the armor of its reply.
#[derive(Clone, Copy)]
pub struct NewKrbFastResponse<'a> {
    /// Proofs and hints.
    pub padata: &'a [PaData<'a>],
    /// What the reply key is to be mixed with.
    pub strengthen_key: Option<EncryptionKeyRef<'a>>,
    /// What ends the exchange.
    pub finished: Option<NewKrbFastFinished<'a>>,
    /// The nonce of the request proper.
    pub nonce: u32,
}

impl NewKrbFastResponse<'_> {
    /// Writes a KrbFastResponse. It may hold a key: the caller's buffer must be one that is wiped, and large enough not to
    /// grow.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            fields.field(0, |field| MethodData::write_list(field, self.padata));
            if let Some(strengthen_key) = &self.strengthen_key {
                fields.field(1, |field| strengthen_key.write(field));
            }
            if let Some(finished) = &self.finished {
                fields.field(2, |field| finished.write(field));
            }
            fields.field(3, |field| field.integer(self.nonce.into()));
        });
    }
}

/// What ends the exchange, to send.
#[derive(Clone, Copy)]
pub struct NewKrbFastFinished<'a> {
    /// The KDC's time.
    pub timestamp: Timestamp,
    /// The client.
    pub client: &'a Principal,
    /// Checksum over the ticket's encoding.
    pub ticket_checksum: ChecksumRef<'a>,
}

impl NewKrbFastFinished<'_> {
    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            write_precise_time(fields, 0, 1, self.timestamp);
            fields.field(2, |field| self.client.write_realm(field));
            fields.field(3, |field| self.client.write_name(field));
            fields.field(4, |field| self.ticket_checksum.write(field));
        });
    }
}
