use crate::der::DerError;
use crate::error::{Code, Explain, code};
use crate::krb5::per_message::MessageError;
use std::borrow::Cow;

/// Why a negotiation fails.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpnegoError {
    /// A message breaks the encoding rules.
    #[error("a SPNEGO message: {0}")]
    Malformed(#[from] DerError),
    /// The list holds nothing that is allowed here.
    #[error("the mech list {offered}")]
    NoCommonMech {
        /// The list, in words.
        offered: String,
        /// What is allowed, in words.
        allowed: String,
    },
    /// The list holds NTLM and nothing else that is known, and NTLM is off.
    #[error("the mech list {offered}: NTLM alone")]
    OnlyNtlm {
        /// The list, in words.
        offered: String,
    },
    /// NTLM without SPNEGO around it, and NTLM is off.
    #[error("an NTLM message without SPNEGO around it")]
    BareNtlm,
    /// A message in a place where it does not belong, or with a field that it may not have there.
    #[error("{0}")]
    Unexpected(&'static str),
    /// The peer ended the negotiation.
    #[error("negState reject{}", if *began { "" } else { " as the first answer" })]
    Rejected {
        /// Whether a mechanism had been chosen already.
        began: bool,
    },
    /// The acceptor chose what was not offered, or not in the way that it must be told.
    #[error("supportedMech {chosen}{}", if *offered { " without request-mic" } else { "" })]
    Choice {
        /// What it chose, in words.
        chosen: String,
        /// Whether it was offered.
        offered: bool,
    },
    /// The MIC over the list is owed, and did not come with the last token.
    #[error("no mechListMIC")]
    MicMissing,
    /// The MIC over the list is not one over the list that we know.
    #[error("a mechListMIC that does not fit the list ({0})")]
    MicWrong(MessageError),
    /// Our own MIC cannot be made.
    #[error("a mechListMIC that cannot be made ({0})")]
    MicUnmakeable(MessageError),
}

impl Explain for SpnegoError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => code::TOKEN_MALFORMED,
            Self::NoCommonMech { .. } => code::NO_COMMON_MECH,
            Self::OnlyNtlm { .. } | Self::BareNtlm => code::NTLM_OFF,
            Self::Unexpected(_) => code::TOKEN_UNEXPECTED,
            Self::Rejected { .. } => code::NEGOTIATION_REJECTED,
            Self::Choice { .. } => code::NEGOTIATION_CHOICE,
            Self::MicMissing => code::MECH_LIST_MIC_MISSING,
            Self::MicWrong(_) => code::MECH_LIST_MIC_WRONG,
            Self::MicUnmakeable(error) => error.code(),
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(_) => "the layout of RFC 4178 section 4.2".into(),
            Self::NoCommonMech { allowed, .. } => format!("the mechs {allowed}").into(),
            Self::OnlyNtlm { .. } | Self::BareNtlm => "NTLM switched off, as it is by default".into(),
            Self::Unexpected(_) => "another message to wait for".into(),
            Self::Rejected { .. } => "no word of the peer why".into(),
            Self::Choice { .. } => {
                "an offer, of which another mech than the first must be chosen with request-mic".into()
            }
            Self::MicMissing => "a list whose integrity hangs on it".into(),
            Self::MicWrong(_) => "the list exactly as it was sent".into(),
            Self::MicUnmakeable(error) => error.have(),
        }
    }
}
