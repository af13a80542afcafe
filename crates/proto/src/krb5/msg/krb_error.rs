//! KRB-ERROR (RFC 4120 section 5.9.1).

use super::PVNO;
use super::ap_req::expect;
use super::name::{NameRef, realm, realm_and_name};
use super::principal::Principal;
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

const MSG_TYPE: i64 = 30;

/// An error that one end tells the other. Nothing protects it: it is a hint, never a fact.
///
/// ```text
/// KRB-ERROR       ::= [APPLICATION 30] SEQUENCE {
///         pvno            [0] INTEGER (5),
///         msg-type        [1] INTEGER (30),
///         ctime           [2] KerberosTime OPTIONAL,
///         cusec           [3] Microseconds OPTIONAL,
///         stime           [4] KerberosTime,
///         susec           [5] Microseconds,
///         error-code      [6] Int32,
///         crealm          [7] Realm OPTIONAL,
///         cname           [8] PrincipalName OPTIONAL,
///         realm           [9] Realm -- service realm --,
///         sname           [10] PrincipalName -- service name --,
///         e-text          [11] KerberosString OPTIONAL,
///         e-data          [12] OCTET STRING OPTIONAL
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KrbError<'a> {
    /// The sender's time, stime and susec together.
    pub stime: Timestamp,
    /// What went wrong.
    pub error_code: i32,
    /// Realm of the service.
    pub realm: &'a [u8],
    /// Name of the service.
    pub sname: NameRef<'a>,
    /// A text for people.
    pub e_text: Option<&'a [u8]>,
    /// More, in a form that depends on the code.
    pub e_data: Option<&'a [u8]>,
}

impl<'a> KrbError<'a> {
    /// Reads a KRB-ERROR that fills `bytes`.
    ///
    /// # Errors
    /// If it breaks DER, has another version or type, a name that is out of bounds, or bytes follow it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DerError> {
        let mut reader = Reader::new(bytes);
        let error =
            reader.within(tag::application(30), |message| message.within(tag::SEQUENCE, Self::fields))?;
        reader.finish()?;
        Ok(error)
    }

    fn fields(fields: &mut Reader<'a>) -> Result<Self, DerError> {
        expect(fields, 0, PVNO, "a Kerberos message of another version than 5")?;
        expect(fields, 1, MSG_TYPE, "a message type that is not KRB-ERROR's")?;
        fields.optional_field(2, Reader::time)?;
        fields.optional_field(3, Reader::microseconds)?;
        let seconds = fields.field(4, Reader::time)?.seconds();
        let susec = fields.field(5, Reader::microseconds)?;
        let error_code = fields.field(6, Reader::int32)?;
        fields.optional_field(7, realm)?;
        fields.optional_field(8, NameRef::parse)?;
        let (realm, sname) = realm_and_name(fields, 9, 10)?;
        Ok(Self {
            stime: Timestamp::new(seconds, susec),
            error_code,
            realm,
            sname,
            e_text: fields.optional_field(11, Reader::general_string)?,
            e_data: fields.optional_field(12, Reader::octets)?,
        })
    }
}

/// A KRB-ERROR to send: no text, and data only where the code owes some (DESIGN rule 2).
pub struct NewKrbError<'a> {
    /// Our time.
    pub stime: Timestamp,
    /// What went wrong.
    pub error_code: i32,
    /// The service, as the client's ticket names it.
    pub service: &'a Principal,
    /// An element of KERB-ERROR-DATA, encoded.
    pub e_data: Option<&'a [u8]>,
}

impl NewKrbError<'_> {
    /// Writes a KRB-ERROR.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(tag::application(30), |message| {
            message.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| field.integer(MSG_TYPE));
                fields.field(4, |field| field.time(self.stime));
                fields.field(5, |field| field.integer(self.stime.micros().into()));
                fields.field(6, |field| field.integer(self.error_code.into()));
                fields.field(9, |field| self.service.write_realm(field));
                fields.field(10, |field| self.service.write_name(field));
                if let Some(e_data) = self.e_data {
                    fields.field(12, |field| field.octets(e_data));
                }
            });
        });
    }
}

/// `KERB-ERROR-DATA` of type 2, KERB_AP_ERR_TYPE_SKEW_RECOVERY without a value (MS-KILE 2.2.2): the sender keeps the
/// context open for one more AP-REQ.
#[must_use]
pub fn skew_recovery() -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).sequence(|data| data.field(1, |field| field.integer(2)));
    out
}

/// The name of an error code in RFC 4120's spelling, for logs; `None` if it is not one that services or KDCs send.
#[must_use]
pub fn error_name(error_code: i32) -> Option<&'static str> {
    Some(match error_code {
        6 => "KDC_ERR_C_PRINCIPAL_UNKNOWN",
        7 => "KDC_ERR_S_PRINCIPAL_UNKNOWN",
        12 => "KDC_ERR_POLICY",
        14 => "KDC_ERR_ETYPE_NOSUPP",
        18 => "KDC_ERR_CLIENT_REVOKED",
        23 => "KDC_ERR_KEY_EXPIRED",
        24 => "KDC_ERR_PREAUTH_FAILED",
        25 => "KDC_ERR_PREAUTH_REQUIRED",
        31 => "KRB_AP_ERR_BAD_INTEGRITY",
        32 => "KRB_AP_ERR_TKT_EXPIRED",
        33 => "KRB_AP_ERR_TKT_NYV",
        34 => "KRB_AP_ERR_REPEAT",
        35 => "KRB_AP_ERR_NOT_US",
        36 => "KRB_AP_ERR_BADMATCH",
        37 => "KRB_AP_ERR_SKEW",
        38 => "KRB_AP_ERR_BADADDR",
        39 => "KRB_AP_ERR_BADVERSION",
        40 => "KRB_AP_ERR_MSG_TYPE",
        41 => "KRB_AP_ERR_MODIFIED",
        42 => "KRB_AP_ERR_BADORDER",
        43 => "KRB_AP_ERR_ILL_CR_TKT",
        44 => "KRB_AP_ERR_BADKEYVER",
        45 => "KRB_AP_ERR_NOKEY",
        46 => "KRB_AP_ERR_MUT_FAIL",
        50 => "KRB_AP_ERR_INAPP_CKSUM",
        60 => "KRB_ERR_GENERIC",
        61 => "KRB_ERR_FIELD_TOOLONG",
        67 => "KRB_AP_ERR_NO_TGT",
        68 => "KDC_ERR_WRONG_REALM",
        69 => "KRB_AP_ERR_USER_TO_USER_REQUIRED",
        _ => return None,
    })
}
