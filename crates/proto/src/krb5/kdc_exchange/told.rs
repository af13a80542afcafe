//! What a KDC says when it gives no ticket.

use crate::der::{DerError, Reader, tag};
use crate::error::code::krb;
use crate::error::{Code, code};
use crate::krb5::msg::krb_error::{KrbError, error_name};
use crate::krb5::msg::pa_data::{MethodData, pa_type};
use crate::krb5::msg::principal::escaped;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// A KRB-ERROR of a KDC. Outside FAST nothing protects it: it steers, and is never believed (RFC 6113 section 5.4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// error-code.
    pub error_code: i32,
    /// e-text, escaped.
    pub text: Option<String>,
    /// NTSTATUS, which Active Directory adds (MS-KILE section 2.2.1).
    pub status: Option<u32>,
    /// Whether FAST's armor vouches for it.
    pub protected: bool,
    /// Whether it answers the client's proof of its password or key.
    pub of_proof: bool,
}

/// A KRB-ERROR with all that an exchange can go on with.
pub(super) struct Answered {
    pub(super) told: Told,
    pub(super) stime: Timestamp,
    /// Realm in which the KDC says the client is.
    pub(super) crealm: Option<Vec<u8>>,
    pub(super) hints: Vec<Hint>,
}

/// Pre-authentication data of a KDC, kept.
pub(super) struct Hint {
    pub(super) padata_type: i32,
    pub(super) value: Vec<u8>,
}

impl Answered {
    /// Reads what comes with `error`: `hints` that armor held, or those in its own e-data.
    pub(super) fn new(error: &KrbError<'_>, armored: Option<MethodData<'_>>) -> Self {
        let e_data = error.e_data.unwrap_or_default();
        let hints = armored.unwrap_or_else(|| MethodData::parse_bytes(e_data).unwrap_or_default());
        let told = Told {
            error_code: error.error_code,
            text: error.e_text.map(escaped).filter(|text| !text.is_empty()),
            status: ntstatus(e_data),
            protected: armored.is_some(),
            of_proof: false,
        };
        Self {
            told,
            stime: error.stime,
            crealm: error.crealm.map(<[u8]>::to_vec),
            hints: hints
                .iter()
                .map(|hint| Hint { padata_type: hint.padata_type, value: hint.padata_value.to_vec() })
                .collect(),
        }
    }

    /// The first hint of this type.
    pub(super) fn hint(&self, padata_type: i32) -> Option<&[u8]> {
        self.hints.iter().find(|hint| hint.padata_type == padata_type).map(|hint| &*hint.value)
    }

    /// The types of all hints.
    pub(super) fn types(&self) -> Vec<i32> {
        self.hints.iter().map(|hint| hint.padata_type).collect()
    }
}

/// KERB_ERR_TYPE_EXTENDED.
const EXTENDED: i64 = 3;

/// The status of a KERB-EXT-ERROR, which Active Directory sends as KERB-ERROR-DATA of type 3, or as PA-PW-SALT in METHOD-DATA.
fn ntstatus(e_data: &[u8]) -> Option<u32> {
    let in_methods = || MethodData::parse_bytes(e_data).ok()?.find(pa_type::PA_PW_SALT).map(<[u8]>::to_vec);
    let error = extended_error(e_data).ok().or_else(in_methods)?;
    match error.as_slice() {
        [a, b, c, d, _, _, _, _, _, _, _, _] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

fn extended_error(e_data: &[u8]) -> Result<Vec<u8>, DerError> {
    let mut reader = Reader::new(e_data);
    let data_type = |data: &mut Reader<'_>| data.field(1, Reader::integer);
    reader.within(tag::SEQUENCE, |data| match data_type(data)? {
        EXTENDED => data.field(2, |field| field.octets().map(<[u8]>::to_vec)),
        _ => Err(data.error(crate::der::Problem::Value("no extended error"))),
    })
}

impl Told {
    pub(super) fn code(&self) -> Code {
        match (self.error_code, self.status) {
            (_, Some(ACCOUNT_LOCKED_OUT | ACCOUNT_DISABLED | ACCOUNT_EXPIRED)) => code::KDC_CLIENT_REVOKED,
            (_, Some(PASSWORD_EXPIRED | PASSWORD_MUST_CHANGE)) => code::KDC_PASSWORD_EXPIRED,
            (krb::KDC_ERR_NAME_EXP, _) | (krb::KDC_ERR_CLIENT_REVOKED, _) => code::KDC_CLIENT_REVOKED,
            (krb::KDC_ERR_C_PRINCIPAL_UNKNOWN, _) => code::KDC_CLIENT_UNKNOWN,
            (krb::KDC_ERR_S_PRINCIPAL_UNKNOWN, _) => code::KDC_SERVICE_UNKNOWN,
            (krb::KDC_ERR_PREAUTH_FAILED, _) => code::KDC_PREAUTH_FAILED,
            // What Heimdal's KDC says of a wrong password under FAST.
            (krb::KRB_AP_ERR_BAD_INTEGRITY, _) if self.of_proof => code::KDC_PREAUTH_FAILED,
            (krb::KDC_ERR_KEY_EXPIRED, _) => code::KDC_PASSWORD_EXPIRED,
            (krb::KDC_ERR_POLICY, _) => code::KDC_POLICY,
            (krb::KDC_ERR_ETYPE_NOSUPP, _) => code::KDC_ETYPE_NOSUPP,
            (krb::KRB_AP_ERR_SKEW, _) => code::KDC_CLOCK_SKEW,
            _ => code::KDC_ERROR,
        }
    }

    pub(super) fn have(&self) -> Cow<'static, str> {
        if self.protected {
            "FAST's armor around it: the KDC said so".into()
        } else {
            "nothing that vouches for it: anybody on the way can have said so".into()
        }
    }

    pub(super) fn advice(&self) -> Cow<'static, str> {
        match self.error_code {
            krb::KDC_ERR_NAME_EXP => {
                "the account has expired: ask whoever administers the realm to extend it".into()
            }
            krb::KDC_ERR_NEVER_VALID => {
                "ask for a ticket that does not end before it begins, and compare the clocks".into()
            }
            krb::KDC_ERR_BADOPTION => {
                "the ticket-granting ticket may not be forwarded or renewed, unless the KDC's policy is the reason: log in \
                 again with --forwardable or --renewable"
                    .into()
            }
            krb::KDC_ERR_SVC_UNAVAILABLE => {
                "the KDC cannot reach what it needs: try again, or ask its administrator".into()
            }
            _ => self.code().advice().into(),
        }
    }
}

const ACCOUNT_DISABLED: u32 = 0xC000_0072;
const ACCOUNT_EXPIRED: u32 = 0xC000_0193;
const ACCOUNT_LOCKED_OUT: u32 = 0xC000_0234;
const PASSWORD_EXPIRED: u32 = 0xC000_0071;
const PASSWORD_MUST_CHANGE: u32 = 0xC000_0224;

/// What Active Directory's status says of an account (MS-ERREF section 2.3).
fn status_text(status: u32) -> Option<&'static str> {
    Some(match status {
        ACCOUNT_DISABLED => "the account is disabled",
        ACCOUNT_EXPIRED => "the account has expired",
        ACCOUNT_LOCKED_OUT => "the account is locked",
        PASSWORD_EXPIRED => "the password has expired",
        PASSWORD_MUST_CHANGE => "the password must be changed",
        0xC000_006A => "the password is wrong",
        0xC000_006D => "the logon failed",
        0xC000_006E => "an account restriction",
        0xC000_006F => "not at this hour",
        0xC000_0070 => "not from this machine",
        0xC000_0413 => "the authentication firewall",
        _ => return None,
    })
}

/// What a KDC's error means, in words.
fn meaning(error_code: i32) -> Option<&'static str> {
    Some(match error_code {
        krb::KDC_ERR_NAME_EXP => "the account has expired",
        krb::KDC_ERR_SERVICE_EXP => "the service's account has expired",
        krb::KDC_ERR_C_PRINCIPAL_UNKNOWN => "no such client",
        krb::KDC_ERR_S_PRINCIPAL_UNKNOWN => "no such service",
        krb::KDC_ERR_NEVER_VALID => "a ticket that would never be valid",
        krb::KDC_ERR_POLICY => "against the KDC's policy",
        krb::KDC_ERR_BADOPTION => "an option that it does not grant",
        krb::KDC_ERR_ETYPE_NOSUPP => "no key of an etype that was asked for",
        krb::KDC_ERR_CLIENT_REVOKED => "the account is locked or disabled",
        krb::KDC_ERR_KEY_EXPIRED => "the password has expired",
        krb::KDC_ERR_PREAUTH_FAILED => "the password or key is wrong",
        krb::KDC_ERR_SVC_UNAVAILABLE => "it cannot serve now",
        krb::KRB_AP_ERR_SKEW => "the clocks differ too much",
        krb::KRB_AP_ERR_TKT_EXPIRED => "the ticket has expired",
        krb::KRB_AP_ERR_MODIFIED | krb::KRB_AP_ERR_BAD_INTEGRITY => "it could not decrypt the request",
        krb::KDC_ERR_WRONG_REALM => "the client is in another realm",
        _ => return None,
    })
}

/// `KDC_ERR_PREAUTH_FAILED (24): the password or key is wrong`, and what else the KDC said.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error_name(self.error_code) {
            Some(name) => write!(f, "{name} ({})", self.error_code)?,
            None => write!(f, "error {}", self.error_code)?,
        }
        let status = self.status.and_then(status_text);
        let wrong_proof = self.of_proof && self.error_code == krb::KRB_AP_ERR_BAD_INTEGRITY;
        let error_code = if wrong_proof { krb::KDC_ERR_PREAUTH_FAILED } else { self.error_code };
        if let Some(meaning) = status.or(meaning(error_code)) {
            write!(f, ": {meaning}")?;
        }
        if let Some(status) = self.status {
            write!(f, " (NTSTATUS {status:#010x})")?;
        }
        match &self.text {
            Some(text) => write!(f, ", with the text \"{text}\""),
            None => Ok(()),
        }
    }
}
