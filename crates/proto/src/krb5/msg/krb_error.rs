//! KRB-ERROR (RFC 4120 section 5.9.1).

use super::ap_req::expect;
use super::name::{NameRef, check_together, realm};
use super::principal::Principal;
use super::{PVNO, optional_precise_time, precise_time, write_precise_time};
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
    /// The client's time as it stood in the request, ctime and cusec together.
    pub ctime: Option<Timestamp>,
    /// The sender's time, stime and susec together.
    pub stime: Timestamp,
    /// What went wrong.
    pub error_code: i32,
    /// Realm of the client; with KDC_ERR_WRONG_REALM the one to ask instead (RFC 6806 section 7).
    pub crealm: Option<&'a [u8]>,
    /// Name of the client.
    pub cname: Option<NameRef<'a>>,
    /// Realm of the service.
    pub realm: &'a [u8],
    /// Name of the service; without components where the sender had none.
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
        let ctime = optional_precise_time(fields, 2, 3)?;
        let stime = precise_time(fields, 4, 5)?;
        let error_code = fields.field(6, Reader::int32)?;
        let start = *fields;
        let crealm = fields.optional_field(7, realm)?;
        let cname = fields.optional_field(8, NameRef::parse_or_nobody)?;
        check_together(start, crealm.unwrap_or_default(), cname)?;
        let start = *fields;
        let realm = fields.field(9, realm)?;
        let sname = fields.field(10, NameRef::parse_or_nobody)?;
        check_together(start, realm, Some(sname))?;
        Ok(Self {
            ctime,
            stime,
            error_code,
            crealm,
            cname,
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
    /// The client: from a KDC, as its request named it, or the realm that it is to ask.
    pub client: Option<&'a Principal>,
    /// The service, as the client's ticket or request names it.
    pub service: &'a Principal,
    /// What the code owes, encoded: an element of KERB-ERROR-DATA, or a METHOD-DATA from a KDC.
    pub e_data: Option<&'a [u8]>,
}

impl NewKrbError<'_> {
    /// Writes a KRB-ERROR.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.constructed(tag::application(30), |message| {
            message.sequence(|fields| {
                fields.field(0, |field| field.integer(PVNO));
                fields.field(1, |field| field.integer(MSG_TYPE));
                write_precise_time(fields, 4, 5, self.stime);
                fields.field(6, |field| field.integer(self.error_code.into()));
                if let Some(client) = self.client {
                    fields.field(7, |field| client.write_realm(field));
                    fields.field(8, |field| client.write_name(field));
                }
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

/// The name of an error code in the spelling of RFC 4120 section 7.5.9, or of the RFC that gave the code its meaning
/// (4556, 6113, 8636, the IAKERB draft), for logs; `None` if no RFC names it.
#[must_use]
pub fn error_name(error_code: i32) -> Option<&'static str> {
    Some(match error_code {
        0 => "KDC_ERR_NONE",
        1 => "KDC_ERR_NAME_EXP",
        2 => "KDC_ERR_SERVICE_EXP",
        3 => "KDC_ERR_BAD_PVNO",
        4 => "KDC_ERR_C_OLD_MAST_KVNO",
        5 => "KDC_ERR_S_OLD_MAST_KVNO",
        6 => "KDC_ERR_C_PRINCIPAL_UNKNOWN",
        7 => "KDC_ERR_S_PRINCIPAL_UNKNOWN",
        8 => "KDC_ERR_PRINCIPAL_NOT_UNIQUE",
        9 => "KDC_ERR_NULL_KEY",
        10 => "KDC_ERR_CANNOT_POSTDATE",
        11 => "KDC_ERR_NEVER_VALID",
        12 => "KDC_ERR_POLICY",
        13 => "KDC_ERR_BADOPTION",
        14 => "KDC_ERR_ETYPE_NOSUPP",
        15 => "KDC_ERR_SUMTYPE_NOSUPP",
        16 => "KDC_ERR_PADATA_TYPE_NOSUPP",
        17 => "KDC_ERR_TRTYPE_NOSUPP",
        18 => "KDC_ERR_CLIENT_REVOKED",
        19 => "KDC_ERR_SERVICE_REVOKED",
        20 => "KDC_ERR_TGT_REVOKED",
        21 => "KDC_ERR_CLIENT_NOTYET",
        22 => "KDC_ERR_SERVICE_NOTYET",
        23 => "KDC_ERR_KEY_EXPIRED",
        24 => "KDC_ERR_PREAUTH_FAILED",
        25 => "KDC_ERR_PREAUTH_REQUIRED",
        26 => "KDC_ERR_SERVER_NOMATCH",
        27 => "KDC_ERR_MUST_USE_USER2USER",
        28 => "KDC_ERR_PATH_NOT_ACCEPTED",
        29 => "KDC_ERR_SVC_UNAVAILABLE",
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
        47 => "KRB_AP_ERR_BADDIRECTION",
        48 => "KRB_AP_ERR_METHOD",
        49 => "KRB_AP_ERR_BADSEQ",
        50 => "KRB_AP_ERR_INAPP_CKSUM",
        51 => "KRB_AP_PATH_NOT_ACCEPTED",
        52 => "KRB_ERR_RESPONSE_TOO_BIG",
        60 => "KRB_ERR_GENERIC",
        61 => "KRB_ERR_FIELD_TOOLONG",
        62 => "KDC_ERR_CLIENT_NOT_TRUSTED",
        63 => "KDC_ERROR_KDC_NOT_TRUSTED",
        64 => "KDC_ERR_INVALID_SIG",
        65 => "KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED",
        66 => "KDC_ERR_CERTIFICATE_MISMATCH",
        67 => "KRB_AP_ERR_NO_TGT",
        68 => "KDC_ERR_WRONG_REALM",
        69 => "KRB_AP_ERR_USER_TO_USER_REQUIRED",
        70 => "KDC_ERR_CANT_VERIFY_CERTIFICATE",
        71 => "KDC_ERR_INVALID_CERTIFICATE",
        72 => "KDC_ERR_REVOKED_CERTIFICATE",
        73 => "KDC_ERR_REVOCATION_STATUS_UNKNOWN",
        74 => "KDC_ERR_REVOCATION_STATUS_UNAVAILABLE",
        75 => "KDC_ERR_CLIENT_NAME_MISMATCH",
        76 => "KDC_ERR_KDC_NAME_MISMATCH",
        77 => "KDC_ERR_INCONSISTENT_KEY_PURPOSE",
        78 => "KDC_ERR_DIGEST_IN_CERT_NOT_ACCEPTED",
        79 => "KDC_ERR_PA_CHECKSUM_MUST_BE_INCLUDED",
        80 => "KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED",
        81 => "KDC_ERR_PUBLIC_KEY_ENCRYPTION_NOT_SUPPORTED",
        85 => "KRB_AP_ERR_IAKERB_KDC_NOT_FOUND",
        86 => "KRB_AP_ERR_IAKERB_KDC_NO_RESPONSE",
        90 => "KDC_ERR_PREAUTH_EXPIRED",
        91 => "KDC_ERR_MORE_PREAUTH_DATA_REQUIRED",
        93 => "KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS",
        100 => "KDC_ERR_NO_ACCEPTABLE_KDF",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STIME: Timestamp = Timestamp::new(1_790_000_000, 7);

    fn written(client: Option<&Principal>) -> Vec<u8> {
        let service = Principal::new("R.TEST", &["krbtgt", "R.TEST"]);
        let error =
            NewKrbError { stime: STIME, error_code: 25, client, service: &service, e_data: Some(b"data") };
        let mut out = Vec::new();
        error.write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn a_krb_error_reads_back_with_its_client_or_without() {
        let client = Principal::new("C.TEST", &["alice"]);
        let bytes = written(Some(&client));
        let read = KrbError::parse(&bytes).unwrap();
        assert_eq!((read.ctime, read.stime, read.error_code), (None, STIME, 25));
        assert_eq!(read.cname.unwrap().to_principal(read.crealm.unwrap()), client);
        assert_eq!((read.realm, read.e_text, read.e_data), (&b"R.TEST"[..], None, Some(&b"data"[..])));
        let bytes = written(None);
        let read = KrbError::parse(&bytes).unwrap();
        assert!(read.crealm.is_none() && read.cname.is_none());
    }

    #[test]
    fn an_error_of_a_kdc_that_has_no_name_for_the_service_is_read() {
        let nobody = Principal { name_type: 0, ..Principal::new("<unspecified realm>", &[]) };
        let error =
            NewKrbError { stime: STIME, error_code: 60, client: None, service: &nobody, e_data: None };
        let mut out = Vec::new();
        error.write(&mut Writer::new(&mut out));
        let read = KrbError::parse(&out).unwrap();
        assert_eq!(read.error_code, 60);
        assert!(read.sname.is_empty());
    }

    #[test]
    fn a_client_whose_name_and_realm_are_too_long_together_is_refused() {
        let of_length =
            |length: usize| written(Some(&Principal::new(&"R".repeat(512), &[&"c".repeat(length)])));
        assert!(KrbError::parse(&of_length(512)).is_ok());
        assert!(KrbError::parse(&of_length(513)).is_err());
    }

    #[test]
    fn codes_that_steer_the_exchange_with_a_kdc_have_names() {
        for code in [6, 7, 14, 18, 23, 24, 25, 52, 68, 90, 91, 93] {
            assert!(error_name(code).is_some(), "{code}");
        }
        assert_eq!((error_name(30), error_name(-1), error_name(101)), (None, None, None));
    }
}
