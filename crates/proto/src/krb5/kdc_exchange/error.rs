use super::told::Told;
use crate::crypto::{CryptoError, Etype, etype_name};
use crate::der::DerError;
use crate::error::{Code, Explain, code};
use crate::krb5::initiator::InitiateError;
use crate::krb5::msg::principal::{Principal, escaped};
use std::borrow::Cow;

/// Why a KDC gave no ticket, or one that is not believed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each field is what its name says; `Explain` puts them into words
pub enum KdcError {
    #[error("{told} from the KDC of {}, asked for {service} by {client}", escaped(realm))]
    Told { told: Told, realm: Vec<u8>, client: Principal, service: Principal },
    #[error("{message} from the KDC of {}: {fault}", escaped(realm))]
    Malformed { message: &'static str, realm: Vec<u8>, fault: DerError },
    #[error("answer of the KDC of {} for {client}: {part} that our key does not open", escaped(realm))]
    Integrity { part: &'static str, realm: Vec<u8>, client: Principal },
    #[error("answer of the KDC of {} with {what} {found}", escaped(realm))]
    Modified { what: &'static str, found: String, asked: String, realm: Vec<u8> },
    #[error("answer of the KDC of {}: {part} of {}", escaped(realm), etype_name(*etype))]
    Etype { part: &'static str, etype: i32, asked: Vec<Etype>, realm: Vec<u8> },
    #[error("KDC of {} with keys for {client} of {}", escaped(realm), etype_list(offered))]
    NoCommonEtype { offered: Vec<i32>, permitted: Vec<Etype>, client: Principal, realm: Vec<u8> },
    #[error("KDC of {} that demands pre-authentication of the types {}", escaped(realm), numbers(offered))]
    Preauth { offered: Vec<i32>, have: &'static str, realm: Vec<u8> },
    #[error("pre-authentication data of the KDC of {}: {what}", escaped(realm))]
    PreauthData { what: String, have: &'static str, realm: Vec<u8> },
    #[error("answer of the KDC of {} to an armored request: {what}", escaped(realm))]
    Unarmored { what: String, realm: Vec<u8> },
    #[error("referral from {} to {}, for {service}", escaped(from), escaped(to))]
    Referral { from: Vec<u8>, to: Vec<u8>, service: Principal, went: Vec<Vec<u8>> },
    #[error("{count} answers of the KDC of {}, each with another demand", escaped(realm))]
    TooLong { count: u8, realm: Vec<u8> },
    #[error("no key of {client} in {held} keys")]
    ClientKey { client: Principal, held: usize, permitted: Vec<Etype> },
    #[error("no ticket-granting ticket of {client} that is good now")]
    NoCredential { client: Principal, cached: String },
    #[error(transparent)]
    Unusable { fault: Box<InitiateError> },
    #[error("nobody to get a ticket for {service} with")]
    Nobody { service: Principal, cached: &'static str },
    #[error("no ticket-granting ticket")]
    NoLogin,
    #[error("client {client} without a realm")]
    NoRealm { client: Principal },
    #[error("parameters of the KDC of {} for the password of {client}: {fault}", escaped(realm))]
    Password { fault: CryptoError, client: Principal, realm: Vec<u8> },
}

impl Explain for KdcError {
    fn code(&self) -> Code {
        match self {
            Self::Told { told, .. } => told.code(),
            Self::Malformed { .. } => code::KDC_REPLY_MALFORMED,
            Self::Integrity { .. } => code::KDC_REPLY_INTEGRITY,
            Self::Modified { .. } => code::KDC_REPLY_MODIFIED,
            Self::Etype { .. } | Self::NoCommonEtype { .. } => code::KDC_REPLY_ETYPE,
            Self::Preauth { .. } | Self::PreauthData { .. } => code::PREAUTH_UNSUPPORTED,
            Self::Unarmored { .. } => code::FAST_STRIPPED,
            Self::Referral { .. } => code::REFERRAL_ASTRAY,
            Self::TooLong { .. } => code::KDC_EXCHANGE_TOO_LONG,
            Self::ClientKey { .. } => code::CLIENT_KEY_ABSENT,
            Self::Unusable { fault } => fault.code(),
            Self::NoCredential { .. } | Self::Nobody { .. } | Self::NoLogin => code::CREDENTIAL_ABSENT,
            Self::NoRealm { .. } => code::CLIENT_REALM_ABSENT,
            Self::Password { .. } => code::PASSWORD_UNUSABLE,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Told { told, .. } => told.have(),
            Self::Malformed { message, .. } => format!("a reader of {message}s in DER").into(),
            Self::Integrity { .. } => "the key of the password, keytab or ticket that was used".into(),
            Self::Modified { asked, .. } => format!("a request for {asked}").into(),
            Self::Etype { asked: etypes, .. }
            | Self::NoCommonEtype { permitted: etypes, .. }
            | Self::ClientKey { permitted: etypes, .. } => format!("permission for {}", names(etypes)).into(),
            Self::Preauth { have, .. } | Self::PreauthData { have, .. } => (*have).into(),
            Self::Unarmored { .. } => "nothing that vouches for it".into(),
            Self::Referral { went, .. } => format!("been in {}", realm_list(went)).into(),
            Self::TooLong { .. } => "no patience for more".into(),
            Self::NoCredential { cached, .. } => cached.clone().into(),
            Self::Unusable { fault } => fault.have(),
            Self::NoLogin => "no login to get one with".into(),
            Self::Nobody { cached, .. } => (*cached).into(),
            Self::NoRealm { .. } => "no default realm".into(),
            Self::Password { .. } => "bounds for what a stranger may demand".into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::Told { told, .. } => told.advice(),
            _ => self.code().advice().into(),
        }
    }
}

fn names(etypes: &[Etype]) -> String {
    etypes.iter().map(|etype| etype.name()).collect::<Vec<_>>().join(" ")
}

fn etype_list(etypes: &[i32]) -> String {
    etypes.iter().map(|etype| etype_name(*etype)).collect::<Vec<_>>().join(" ")
}

fn numbers(types: &[i32]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn realm_list(realms: &[Vec<u8>]) -> String {
    realms.iter().map(|realm| escaped(realm)).collect::<Vec<_>>().join(" ")
}
