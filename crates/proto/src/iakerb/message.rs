//! The proxy message: a header, and the message for or from a KDC behind it.

use super::IakerbError;
use crate::der::{DerError, Problem, Reader, tag};
use crate::gss::framing::{self, Mech, TokenId};

/// Longest realm and cookie, in bytes.
const MAX_REALM: usize = 1_024;
const MAX_COOKIE: usize = 4_096;
/// Longest header, in bytes: those two, and as much for what is not known.
const MAX_HEADER: usize = 8_192;

/// What stands behind the frame and the token id `05 01`.
///
/// ```text
/// IAKERB-HEADER ::= SEQUENCE {
///         target-realm    [1] UTF8String,
///         cookie          [2] OCTET STRING OPTIONAL,
///         ...
/// }
/// ```
///
/// Windows adds `header-flags [3] BIT STRING`; what is not known is passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyMessage<'a> {
    /// The realm whose KDC is meant; empty asks which realm the acceptor is in.
    pub target_realm: &'a str,
    /// What the initiator repeats of the acceptor's last message.
    pub cookie: Option<&'a [u8]>,
    /// AS-REQ, TGS-REQ, or what answers them; empty in the question for the realm and its answer.
    pub message: &'a [u8],
}

impl<'a> ProxyMessage<'a> {
    /// Reads the body of a proxy token.
    ///
    /// # Errors
    /// If the header breaks DER, its realm is no text, or one of realm and message is empty without the other.
    pub fn parse(body: &'a [u8]) -> Result<Self, IakerbError> {
        let mut reader = Reader::new(body);
        let (target_realm, cookie) = header(&mut reader)?;
        Ok(Self { target_realm, cookie, message: reader.rest() })
    }

    /// Appends the token, in IAKERB's frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        framing::wrap_as(Mech::Iakerb, TokenId::IakerbProxy, out, |body| {
            body.sequence(|header| {
                header.field(1, |field| field.primitive(tag::UTF8_STRING, self.target_realm.as_bytes()));
                if let Some(cookie) = self.cookie {
                    header.field(2, |field| field.octets(cookie));
                }
            });
            body.encoded(self.message);
        });
    }
}

fn header<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, Option<&'a [u8]>), DerError> {
    let too_long = reader.error(Problem::Value("a header of more than 8,192 bytes"));
    let mut fields = reader.element(tag::SEQUENCE)?;
    if fields.rest().len() > MAX_HEADER {
        return Err(too_long);
    }
    let realm = fields.field(1, |field| {
        let at = field.error(Problem::Value("a realm that is no text of at most 1,024 bytes"));
        let bytes = field.element(tag::UTF8_STRING)?.rest();
        std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_REALM).ok_or(at)
    })?;
    let cookie = fields.optional_field(2, |field| {
        let at = field.error(Problem::Value("a cookie of more than 4,096 bytes"));
        let cookie = field.octets()?;
        if cookie.len() <= MAX_COOKIE { Ok(cookie) } else { Err(at) }
    })?;
    while !fields.is_empty() {
        fields.any()?;
    }
    Ok((realm, cookie))
}
