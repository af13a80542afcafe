use crate::der::DerError;
use crate::error::{Code, Explain, code};
use crate::gss::framing::TokenId;
use crate::krb5::kdc_exchange::KdcError;
use crate::krb5::msg::principal::escaped;
use std::borrow::Cow;

/// Why messages for a KDC are not carried, or lead to nothing.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each field is what its name says; `Explain` puts them into words
pub enum IakerbError {
    #[error("IAKERB proxy message: {0}")]
    Malformed(#[from] DerError),
    #[error("IAKERB proxy message with {0}")]
    Unexpected(&'static str),
    #[error("{0} where an IAKERB proxy message belongs")]
    Token(TokenId),
    #[error("a client that wants a message carried to the KDC of {}", escaped(realm.as_bytes()))]
    Realm { realm: String, served: Vec<String> },
    #[error(
        "a client that wants something else carried to a KDC than an AS-REQ or TGS-REQ for its realm ({what})"
    )]
    Message { what: String },
    #[error("IAKERB proxy messages of more than 256 KiB in one handshake")]
    TooMuch,
    #[error("the service's word that {} (error {error_code})", told(*error_code))]
    Relay { error_code: i32, realm: String },
    #[error(transparent)]
    Kdc(#[from] KdcError),
}

impl Explain for IakerbError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) | Self::TooMuch => code::IAKERB_MALFORMED,
            Self::Unexpected(_) | Self::Token(_) => code::TOKEN_UNEXPECTED,
            Self::Realm { .. } => code::IAKERB_REALM_REFUSED,
            Self::Message { .. } => code::IAKERB_MESSAGE_REFUSED,
            Self::Relay { .. } => code::IAKERB_RELAY_FAILED,
            Self::Kdc(error) => error.code(),
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Realm { served, .. } => format!("the KDCs of {}", served.join(" ")).into(),
            Self::Relay { realm, .. } => {
                format!("no other way to the KDC of {}", escaped(realm.as_bytes())).into()
            }
            Self::Kdc(error) => error.have(),
            _ => "IAKERB as draft-ietf-kitten-iakerb-03 has it".into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::Kdc(error) => error.advice(),
            _ => self.code().advice().into(),
        }
    }
}

fn told(error_code: i32) -> &'static str {
    if error_code == code::krb::KRB_AP_ERR_IAKERB_KDC_NOT_FOUND {
        "it carries nothing to the KDC of that realm"
    } else {
        "the KDC did not answer it"
    }
}
