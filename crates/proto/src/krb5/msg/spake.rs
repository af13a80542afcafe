//! PA-SPAKE, the messages of SPAKE preauthentication (RFC 9588 section 4). Its types are extensible: what a later revision
//! appends to them is passed over.

use super::encrypted_data::EncryptedData;
use super::extensions;
use crate::der::{DerError, Problem, Reader, Writer, tag};

/// The second factor that is none: the password is enough (RFC 9588 section 4.2).
pub const SF_NONE: i32 = 1;

/// Most groups that a client offers.
const MAX_GROUPS: usize = 16;
/// Most second factors that a KDC offers.
const MAX_FACTORS: usize = 8;

/// One message, the value of a PA-SPAKE.
///
/// ```text
/// PA-SPAKE        ::= CHOICE {
///         support         [0] SPAKESupport,
///         challenge       [1] SPAKEChallenge,
///         response        [2] SPAKEResponse,
///         encdata         [3] EncryptedData,
///         ...
/// }
/// ```
#[derive(Clone)]
pub enum PaSpake<'a> {
    /// The client's groups.
    Support(SpakeSupport),
    /// The KDC's choice and public key.
    Challenge(SpakeChallenge<'a>),
    /// The client's public key and second factor.
    Response(SpakeResponse<'a>),
    /// More of a second factor that needs it.
    Encdata(EncryptedData<'a>),
}

impl<'a> PaSpake<'a> {
    /// Reads a PA-SPAKE that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, is none of the four, has no or more than 16 groups, no or more than 8 factors, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, |reader| {
            let choice = reader.peek();
            if choice == Some(tag::context(1)) {
                reader.field(1, SpakeChallenge::parse).map(Self::Challenge)
            } else if choice == Some(tag::context(2)) {
                reader.field(2, SpakeResponse::parse).map(Self::Response)
            } else if choice == Some(tag::context(3)) {
                reader.field(3, EncryptedData::parse).map(Self::Encdata)
            } else {
                reader.field(0, SpakeSupport::parse).map(Self::Support)
            }
        })
    }

    /// Writes a PA-SPAKE.
    pub fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Support(support) => writer.field(0, |choice| support.write(choice)),
            Self::Challenge(challenge) => writer.field(1, |choice| challenge.write(choice)),
            Self::Response(response) => writer.field(2, |choice| response.write(choice)),
            Self::Encdata(data) => writer.field(3, |choice| data.write(choice)),
        }
    }
}

/// The client's groups.
///
/// ```text
/// SPAKESupport    ::= SEQUENCE {
///         groups          [0] SEQUENCE (SIZE(1..MAX)) OF Int32,
///         ...
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpakeSupport {
    /// Numbers of groups (RFC 9588 section 12.4), the one it likes best first; any that the client wrote.
    pub groups: Vec<i32>,
}

impl SpakeSupport {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let groups = fields.field(0, |field| {
                let at = *field;
                let groups = field.sequence_of(MAX_GROUPS, "more than 16 SPAKE groups", Reader::int32)?;
                not_empty(groups, at, "a list of no SPAKE groups")
            })?;
            extensions(fields)?;
            Ok(Self { groups })
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            fields.field(0, |field| {
                field.sequence(|list| self.groups.iter().for_each(|group| list.integer((*group).into())));
            });
        });
    }
}

/// The KDC's choice and public key.
///
/// ```text
/// SPAKEChallenge  ::= SEQUENCE {
///         group           [0] Int32,
///         pubkey          [1] OCTET STRING,
///         factors         [2] SEQUENCE (SIZE(1..MAX)) OF SPAKESecondFactor,
///         ...
/// }
/// ```
#[derive(Clone)]
pub struct SpakeChallenge<'a> {
    /// Number of the group.
    pub group: i32,
    /// The KDC's element T, in the group's encoding; not checked here.
    pub pubkey: &'a [u8],
    /// Second factors that the client may choose of.
    pub factors: Vec<SpakeSecondFactor<'a>>,
}

impl<'a> SpakeChallenge<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let group = fields.field(0, Reader::int32)?;
            let pubkey = fields.field(1, Reader::octets)?;
            let factors = fields.field(2, |field| {
                let at = *field;
                let too_many = "more than 8 SPAKE second factors";
                let factors = field.sequence_of(MAX_FACTORS, too_many, SpakeSecondFactor::element)?;
                not_empty(factors, at, "a list of no SPAKE second factors")
            })?;
            extensions(fields)?;
            Ok(Self { group, pubkey, factors })
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            fields.field(0, |field| field.integer(self.group.into()));
            fields.field(1, |field| field.octets(self.pubkey));
            fields.field(2, |field| {
                field.sequence(|list| self.factors.iter().for_each(|factor| factor.write(list)));
            });
        });
    }
}

/// A second factor, offered in clear or answered encrypted. An answer may be a secret: no `Debug`.
///
/// ```text
/// SPAKESecondFactor       ::= SEQUENCE {
///         type            [0] Int32,
///         data            [1] OCTET STRING OPTIONAL
/// }
/// ```
#[derive(Clone, Copy)]
pub struct SpakeSecondFactor<'a> {
    /// Which, see [`SF_NONE`]; any number that the sender wrote.
    pub factor_type: i32,
    /// Its question or answer; [`SF_NONE`] has none.
    pub data: Option<&'a [u8]>,
}

impl<'a> SpakeSecondFactor<'a> {
    /// Reads a SPAKESecondFactor that fills `bytes`: what the factor of a response holds, opened.
    ///
    /// # Errors
    /// If it breaks DER or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, Self::element)
    }

    fn element(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |factor| {
            Ok(Self {
                factor_type: factor.field(0, Reader::int32)?,
                data: factor.optional_field(1, Reader::octets)?,
            })
        })
    }

    /// Writes a SPAKESecondFactor.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|factor| {
            factor.field(0, |field| field.integer(self.factor_type.into()));
            if let Some(data) = self.data {
                factor.field(1, |field| field.octets(data));
            }
        });
    }
}

/// The client's public key and second factor.
///
/// ```text
/// SPAKEResponse   ::= SEQUENCE {
///         pubkey          [0] OCTET STRING,
///         factor          [1] EncryptedData -- SPAKESecondFactor --,
///         ...
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SpakeResponse<'a> {
    /// The client's element S, in the group's encoding; not checked here.
    pub pubkey: &'a [u8],
    /// [`SpakeSecondFactor`], under `K'[1]`.
    pub factor: EncryptedData<'a>,
}

impl<'a> SpakeResponse<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let pubkey = fields.field(0, Reader::octets)?;
            let factor = fields.field(1, EncryptedData::parse)?;
            extensions(fields)?;
            Ok(Self { pubkey, factor })
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|fields| {
            fields.field(0, |field| field.octets(self.pubkey));
            fields.field(1, |field| self.factor.write(field));
        });
    }
}

fn not_empty<T>(list: Vec<T>, at: Reader<'_>, otherwise: &'static str) -> Result<Vec<T>, DerError> {
    if list.is_empty() { Err(at.error(Problem::Value(otherwise))) } else { Ok(list) }
}
