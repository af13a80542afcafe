use super::NegotiateFlags;
use super::messages::{LayoutError, MessageType};
use crate::error::{Code, Explain, code};
use std::borrow::Cow;

/// Why a handshake of NTLM comes to no context, with what was seen and what there is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each field is what its name says; `Explain` puts them into words
pub enum NtlmError {
    #[error("bytes where {} belongs: {fault}", due.name())]
    Layout { due: MessageType, fault: LayoutError },
    #[error("a client that does not offer {missing}")]
    ClientFlags { missing: NegotiateFlags },
    #[error("an AUTHENTICATE with {added}")]
    FlagsAdded { added: NegotiateFlags },
    #[error("a client that is nobody (anonymous)")]
    Anonymous,
    #[error("{} with {what}", account(domain, user))]
    OldResponse { user: String, domain: String, what: OldResponse },
    #[error("{} with a wrong proof", account(domain, user))]
    Proof { user: String, domain: String },
    #[error("{} whose proof {why}", account(domain, user))]
    Unverified { user: String, domain: String, why: Unverified },
    #[error("{}, let in as the guest {guest:?}", account(domain, user))]
    Guest { user: String, domain: String, guest: String },
    #[error("{} bound to the channel with hash {theirs}", account(domain, user))]
    BindingsMismatch { user: String, domain: String, theirs: String, ours: String },
    #[error("{} bound to no channel", account(domain, user))]
    BindingsMissing { user: String, domain: String },
    #[error("{} meaning to reach {target:?}", account(domain, user))]
    TargetName { user: String, domain: String, target: String, accepted: Vec<String> },
    #[error("{} without a MIC over the messages", account(domain, user))]
    MicMissing { user: String, domain: String },
    #[error("{} with a MIC over other messages", account(domain, user))]
    Mic { user: String, domain: String },
    #[error("names of this server that no CHALLENGE can hold: {0}")]
    ServerNames(LayoutError),
    #[error("a server that does not offer {missing}")]
    ServerFlags { missing: NegotiateFlags },
    #[error("a CHALLENGE without target info")]
    TargetInfoAbsent,
    #[error("{}", unusable(*.0))]
    Credential(Option<LayoutError>),
}

/// A proof of an older kind than NTLMv2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OldResponse {
    /// An LM response alone.
    Lm,
    /// A response of NTLMv1, with or without extended session security.
    NtlmV1,
}

impl std::fmt::Display for OldResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Lm => "an LM response alone",
            Self::NtlmV1 => "a response of NTLMv1",
        })
    }
}

/// Why an account source's answer decides nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unverified {
    /// It did not answer.
    NoAnswer,
    /// It said yes with a session key of this many bytes.
    KeyLength(usize),
}

impl std::fmt::Display for Unverified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("nobody could check"),
            Self::KeyLength(length) => {
                write!(f, "was found right, with a session key of {length} bytes where 16 are needed")
            }
        }
    }
}

impl Explain for NtlmError {
    fn code(&self) -> Code {
        match self {
            Self::Layout { fault: LayoutError::NotNtlm, .. } => code::TOKEN_UNRECOGNISED,
            Self::Layout { fault: LayoutError::Type(_), .. } => code::TOKEN_UNEXPECTED,
            Self::Layout { due: MessageType::Challenge, .. } => code::NTLM_CHALLENGE_MALFORMED,
            Self::Layout { .. } => code::NTLM_MESSAGE_MALFORMED,
            Self::ClientFlags { .. } => code::NTLM_CLIENT_TOO_WEAK,
            Self::FlagsAdded { .. } => code::NTLM_FLAGS_ADDED,
            Self::Anonymous => code::NTLM_ANONYMOUS,
            Self::OldResponse { .. } => code::NTLM_OLD_RESPONSE,
            Self::Proof { .. } => code::NTLM_PROOF_WRONG,
            Self::Unverified { .. } => code::NTLM_ACCOUNTS_UNAVAILABLE,
            Self::Guest { .. } => code::NTLM_GUEST,
            Self::BindingsMismatch { .. } => code::CHANNEL_BINDINGS_MISMATCH,
            Self::BindingsMissing { .. } => code::CHANNEL_BINDINGS_MISSING,
            Self::TargetName { .. } => code::NTLM_TARGET_NAME_MISMATCH,
            Self::MicMissing { .. } => code::NTLM_MIC_MISSING,
            Self::Mic { .. } => code::NTLM_MIC_WRONG,
            Self::ServerNames(_) => code::NTLM_NAMES_UNUSABLE,
            Self::ServerFlags { .. } => code::NTLM_SERVER_TOO_WEAK,
            Self::TargetInfoAbsent => code::NTLM_TARGET_INFO_ABSENT,
            Self::Credential(_) => code::NTLM_CREDENTIAL_UNUSABLE,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Layout { due, .. } => {
                format!("the layout of {} (MS-NLMP section 2.2.1)", due.name()).into()
            }
            Self::ClientFlags { missing } | Self::ServerFlags { missing } => {
                format!("a demand for {}", NegotiateFlags::DEMANDED.union(*missing)).into()
            }
            Self::FlagsAdded { .. } => "a CHALLENGE that did not offer it".into(),
            Self::Anonymous | Self::Guest { .. } => "a need to know who the client is".into(),
            Self::OldResponse { .. } => "NTLMv2 only".into(),
            Self::Proof { .. } => "an account source that finds it wrong, or knows no such account".into(),
            Self::Unverified { .. } => "no other way to find out".into(),
            Self::BindingsMismatch { ours, .. } => format!("a channel with hash {ours}").into(),
            Self::BindingsMissing { .. } => "channel bindings of our own".into(),
            Self::TargetName { accepted, .. } => {
                format!("only {} to be reached as", accepted.join(", ")).into()
            }
            Self::MicMissing { .. } => "a timestamp in our CHALLENGE, to which a MIC belongs".into(),
            Self::Mic { .. } => "the three messages as they were sent and came in".into(),
            Self::ServerNames(_) => "65,535 bytes for all of them".into(),
            Self::TargetInfoAbsent => "NTLMv2 only, which answers target info".into(),
            Self::Credential(_) => {
                "a need for a user, and 65,535 bytes for each part of an AUTHENTICATE".into()
            }
        }
    }
}

/// `DOMAIN\user` as a client sent it, so that no line of a log can be forged with it.
fn account(domain: &str, user: &str) -> String {
    let (domain, user) = (domain.escape_debug(), user.escape_debug());
    format!("{domain}\\{user}")
}

fn unusable(fault: Option<LayoutError>) -> String {
    fault.map_or_else(
        || "a credential without a user".to_owned(),
        |fault| format!("a credential that no AUTHENTICATE can hold: {fault}"),
    )
}
