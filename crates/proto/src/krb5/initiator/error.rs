use crate::crypto::{Etype, etype_name};
use crate::der::DerError;
use crate::error::{Code, Explain, code};
use crate::gss::framing::{FramingError, TokenId};
use crate::krb5::msg::krb_error::error_name;
use crate::krb5::msg::principal::Principal;
use crate::time::Timestamp;
use std::borrow::Cow;

/// Why an initiator cannot begin, or does not believe the service.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each field is what its name says; `Explain` puts them into words
pub enum InitiateError {
    #[error("no ticket for {service}")]
    NoTicket { service: Principal, cached: Vec<String> },
    #[error("ticket for {service} good from {from} to {until}")]
    TicketNotValid { service: Principal, from: Timestamp, until: Timestamp, now: Timestamp },
    #[error("ticket for {service} with a session key of {}", etype_name(*etype))]
    SessionKeyEtype { service: Principal, etype: i32, permitted: Vec<Etype> },
    #[error("ticket for {service}: {fault}")]
    CachedTicket { service: Principal, fault: DerError },
    #[error("ticket for {service}: a session key of {length} bytes for {etype}")]
    SessionKeyLength { service: Principal, etype: Etype, length: usize },
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("{0} where AP-REP or KRB-ERROR belongs")]
    UnexpectedToken(TokenId),
    #[error("{message}: {fault}")]
    Malformed { message: &'static str, fault: DerError },
    #[error("KRB-ERROR {}", error_text(*error_code))]
    KrbError { service: Principal, error_code: i32 },
    #[error("KRB-ERROR 37 KRB_AP_ERR_SKEW, the service's time {theirs}")]
    Skew { theirs: Timestamp, ours: Timestamp, retried: bool, until: Timestamp },
    #[error("an AP-REP that the session key of our ticket for {service} does not open")]
    ApRepIntegrity { service: Principal },
    #[error("an AP-REP that answers an authenticator made at {theirs}")]
    ApRepMismatch { theirs: Timestamp, ours: Timestamp },
    #[error("an AP-REP, opened: {0}")]
    ApRepMalformed(DerError),
    #[error("an AP-REP with a subkey of {}", etype_name(*etype))]
    SubkeyEtype { etype: i32, offered: Vec<Etype> },
    #[error("{how} before {service} proved itself")]
    NeverProved { service: Principal, how: String },
}

impl Explain for InitiateError {
    fn code(&self) -> Code {
        match self {
            Self::NoTicket { .. } => code::TICKET_FOR_SERVICE_ABSENT,
            Self::TicketNotValid { .. } => code::CACHED_TICKET_EXPIRED,
            Self::SessionKeyEtype { .. } => code::CACHED_TICKET_ETYPE,
            Self::CachedTicket { .. } | Self::SessionKeyLength { .. } => code::CCACHE_MALFORMED,
            Self::Framing(error) => error.code(),
            Self::UnexpectedToken(_) => code::TOKEN_UNEXPECTED,
            Self::Malformed { .. } => code::TOKEN_MALFORMED,
            Self::KrbError { .. } => code::KRB_ERROR_RECEIVED,
            Self::Skew { .. } => code::CLOCK_SKEW_REPORTED,
            Self::ApRepIntegrity { .. } => code::AP_REP_INTEGRITY,
            Self::ApRepMismatch { .. } => code::AP_REP_MISMATCH,
            Self::ApRepMalformed(_) => code::AP_REP_MALFORMED,
            Self::SubkeyEtype { .. } => code::REPLY_SUBKEY_ETYPE,
            Self::NeverProved { .. } => code::SERVICE_NEVER_PROVED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::NoTicket { cached, .. } if cached.is_empty() => "a credential cache without tickets".into(),
            Self::NoTicket { cached, .. } => {
                format!("a credential cache with tickets for {}", cached.join(", ")).into()
            }
            Self::TicketNotValid { now, .. } => format!("the time {now}").into(),
            Self::SessionKeyEtype { permitted, .. } => {
                format!("permitted_enctypes {}", names(permitted)).into()
            }
            Self::CachedTicket { .. } => "the layout of Ticket (RFC 4120 section 5.3)".into(),
            Self::SessionKeyLength { etype, .. } => format!("{} bytes as its length", etype.key_len()).into(),
            Self::Framing(error) => error.have(),
            Self::UnexpectedToken(_) | Self::Malformed { .. } => {
                "an AP-REQ sent, which one of the two answers".into()
            }
            Self::KrbError { service, .. } => {
                format!("no more than that code, for a ticket for {service}").into()
            }
            Self::Skew { ours, retried, until, .. } => skew_have(*ours, *retried, *until).into(),
            Self::ApRepIntegrity { .. } => {
                "the session key, which the real service has from our ticket".into()
            }
            Self::ApRepMismatch { ours, .. } => format!("an authenticator made at {ours}").into(),
            Self::ApRepMalformed(_) => "the layout of EncAPRepPart (RFC 4120 section 5.5.2)".into(),
            Self::SubkeyEtype { offered, .. } => format!("an offer of {}", names(offered)).into(),
            Self::NeverProved { .. } => "mutual authentication as a demand".into(),
        }
    }
}

fn skew_have(ours: Timestamp, retried: bool, until: Timestamp) -> String {
    if retried {
        format!("the time {ours}, and tried the service's time once already")
    } else {
        format!("the time {ours}, and a ticket until {until} in whose life the service's time does not lie")
    }
}

fn names(etypes: &[Etype]) -> String {
    etypes.iter().map(|etype| etype.name()).collect::<Vec<_>>().join(" ")
}

fn error_text(error_code: i32) -> String {
    error_name(error_code).map_or_else(|| error_code.to_string(), |name| format!("{error_code} {name}"))
}
