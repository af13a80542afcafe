use crate::crypto::{Etype, etype_name};
use crate::der::DerError;
use crate::error::{Code, Explain, code};
use crate::gss::authenticator_checksum::GssChecksumError;
use crate::gss::framing::{FramingError, TokenId};
use crate::krb5::keys::Absence;
use crate::krb5::msg::principal::{Principal, escaped};
use crate::krb5::replay::ReplayUnavailable;
use crate::krb5::transited::PathFault;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::time::Duration;

/// Why an AP-REQ is not accepted, with what was seen and what there is.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // each field is what its name says; `Explain` puts them into words
pub enum AcceptError {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error("{0} where an AP-REQ belongs")]
    NotApReq(TokenId),
    #[error("AP-REQ: {0}")]
    ApReq(DerError),
    #[error("an AP-REQ under a session key (user-to-user)")]
    UserToUser,
    #[error("ticket for {service} of {}", etype_name(*etype))]
    EtypeUnknown { service: Principal, etype: i32 },
    #[error("ticket for {service}: {part} of {}", etype_name(*etype))]
    EtypeNotPermitted { service: Principal, part: KeyPart, etype: i32, permitted: Vec<Etype> },
    #[error("ticket for {service} {} {etype}", kvno_text(*kvno))]
    Key { absence: Absence, service: Principal, kvno: Option<u32>, etype: Etype, have: String },
    #[error("ticket for {service}, opened: {fault}")]
    Ticket { service: Principal, fault: DerError },
    #[error("ticket for {service}, opened: a session key of {length} bytes for {etype}")]
    SessionKeyLength { service: Principal, etype: Etype, length: usize },
    #[error("authenticator that the session key of {client}'s ticket does not open")]
    AuthenticatorIntegrity { client: Principal },
    #[error("authenticator of {client}: {fault}")]
    Authenticator { client: Principal, fault: DerError },
    #[error("authenticator of {client}: a subkey of {length} bytes for {etype}")]
    SubkeyLength { client: Principal, etype: Etype, length: usize },
    #[error("authenticator of {authenticator}")]
    ClientMismatch { authenticator: Principal, ticket: Principal },
    #[error("ticket of {client} good from {from}{}", if *invalid { ", postdated and not validated" } else { "" })]
    NotYetValid { client: Principal, from: Timestamp, invalid: bool, now: Timestamp, skew: Duration },
    #[error("ticket of {client} good until {until}")]
    Expired { client: Principal, until: Timestamp, now: Timestamp, skew: Duration },
    #[error("anonymous ticket, of {client}")]
    Anonymous { client: Principal },
    #[error("ticket of {client} for {service}: {}", path_text(fault))]
    Transited { client: Principal, service: Principal, fault: PathFault },
    #[error("authorization data of type {ad_type} in the {place} of {client}, not to be ignored")]
    AuthorizationData { client: Principal, place: &'static str, ad_type: i32 },
    #[error("authenticator of {client}: authorization data of type {ad_type} that breaks its layout")]
    AuthorizationDataMalformed { client: Principal, ad_type: i32 },
    #[error("authenticator of {client} {}", found.map_or("without a checksum".to_owned(), |found| format!("with a checksum of type {found}")))]
    ChecksumAbsent { client: Principal, found: Option<i32> },
    #[error("GSS checksum of {client}: {fault}")]
    Checksum { client: Principal, fault: GssChecksumError },
    #[error("{client} bound to the channel with hash {theirs}")]
    BindingsMismatch { client: Principal, theirs: String, ours: String },
    #[error("{client} bound to no channel{}", if *asserted { ", though it says that it does channel binding" } else { "" })]
    BindingsMissing { client: Principal, asserted: bool },
    #[error("{client} {}", if *absent { "without a proof of what it said on the way to its ticket" } else { "with a proof of other messages than those that were carried for it" })]
    Transcript { client: Principal, absent: bool },
    #[error("{client} asking for {flags}")]
    MutualNotRequested { client: Principal, flags: String },
    #[error("{client} meaning to reach {target}")]
    TargetName { client: Principal, target: String, accepted: String },
    #[error("{client} asking for DCE style")]
    DceStyle { client: Principal },
    #[error("authenticator of {client} made at {ctime} ({})", offset_text(*ctime, *now))]
    Skew { client: Principal, ctime: Timestamp, now: Timestamp, skew: Duration },
    #[error("authenticator of {client} made at {ctime}, presented before")]
    Replay { client: Principal, ctime: Timestamp },
    #[error("authenticator of {client} made at {ctime}")]
    ReplayStore { client: Principal, ctime: Timestamp, fault: ReplayUnavailable },
}

/// Which key a policy looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyPart {
    /// The key that the ticket is under.
    Ticket,
    /// The session key in the ticket.
    SessionKey,
    /// The initiator's subkey in the authenticator.
    Subkey,
}

impl std::fmt::Display for KeyPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ticket => "ticket",
            Self::SessionKey => "session key",
            Self::Subkey => "initiator's subkey",
        })
    }
}

impl Explain for AcceptError {
    fn code(&self) -> Code {
        match self {
            Self::Framing(error) => error.code(),
            Self::NotApReq(TokenId::TgtReq) | Self::UserToUser => code::USER_TO_USER_UNSUPPORTED,
            Self::NotApReq(_) => code::TOKEN_UNEXPECTED,
            Self::ApReq(_) => code::TOKEN_MALFORMED,
            Self::EtypeUnknown { .. } => code::ETYPE_UNKNOWN,
            Self::EtypeNotPermitted { .. } => code::ETYPE_NOT_PERMITTED,
            Self::Key { absence, .. } => absence_code(*absence),
            Self::Ticket { .. } | Self::SessionKeyLength { .. } => code::TICKET_MALFORMED,
            Self::AuthenticatorIntegrity { .. } => code::AUTHENTICATOR_INTEGRITY,
            Self::Authenticator { .. }
            | Self::SubkeyLength { .. }
            | Self::AuthorizationDataMalformed { .. } => code::AUTHENTICATOR_MALFORMED,
            Self::ClientMismatch { .. } => code::CLIENT_MISMATCH,
            Self::NotYetValid { .. } => code::TICKET_NOT_YET_VALID,
            Self::Expired { .. } => code::TICKET_EXPIRED,
            Self::Anonymous { .. } => code::ANONYMOUS_CLIENT,
            Self::Transited { .. } => code::TRANSITED_REALM_REFUSED,
            Self::AuthorizationData { .. } => code::AUTHORIZATION_DATA_UNKNOWN,
            Self::ChecksumAbsent { .. } => code::CHECKSUM_ABSENT,
            Self::Checksum { .. } => code::CHECKSUM_MALFORMED,
            Self::BindingsMismatch { .. } => code::CHANNEL_BINDINGS_MISMATCH,
            Self::BindingsMissing { .. } => code::CHANNEL_BINDINGS_MISSING,
            Self::Transcript { .. } => code::IAKERB_TRANSCRIPT,
            Self::MutualNotRequested { .. } => code::MUTUAL_NOT_REQUESTED,
            Self::TargetName { .. } => code::TARGET_NAME_MISMATCH,
            Self::DceStyle { .. } => code::DCE_STYLE_UNSUPPORTED,
            Self::Skew { .. } => code::CLOCK_SKEW,
            Self::Replay { .. } => code::REPLAY,
            Self::ReplayStore { fault, .. } => replay_code(*fault),
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Framing(error) => error.have(),
            Self::NotApReq(_) | Self::ApReq(_) => {
                "an acceptor that begins with an AP-REQ (RFC 4120 section 5.5.1)".into()
            }
            Self::UserToUser => "keys of service principals only, no TGT".into(),
            Self::EtypeUnknown { .. } => "etypes 17 to 20, and 23 if it is permitted".into(),
            Self::EtypeNotPermitted { permitted, .. } => {
                format!("permitted_enctypes {}", names(permitted)).into()
            }
            Self::Key { have, .. } => have.clone().into(),
            Self::Ticket { .. } => "the layout of EncTicketPart (RFC 4120 section 5.3)".into(),
            Self::SessionKeyLength { etype, .. } | Self::SubkeyLength { etype, .. } => {
                format!("{} bytes as the length of such a key", etype.key_len()).into()
            }
            Self::AuthenticatorIntegrity { .. } => "the session key in the ticket".into(),
            Self::Authenticator { .. } => "the layout of Authenticator (RFC 4120 section 5.5.1)".into(),
            Self::AuthorizationDataMalformed { .. } => {
                "the layout of that element (RFC 4537, MS-KILE)".into()
            }
            Self::ClientMismatch { ticket, .. } => format!("a ticket of {ticket}").into(),
            Self::NotYetValid { now, skew, .. }
            | Self::Expired { now, skew, .. }
            | Self::Skew { now, skew, .. } => {
                format!("the time {now} and a permitted skew of {} s", skew.as_secs()).into()
            }
            Self::Anonymous { .. } => "a client's name as a demand".into(),
            Self::Transited { .. } => {
                "only the realms on the domain tree or in capaths between the two".into()
            }
            Self::AuthorizationData { .. } => "no meaning for that type".into(),
            Self::ChecksumAbsent { .. } => {
                "a need for the GSS checksum 0x8003 (RFC 4121 section 4.1.1)".into()
            }
            Self::Checksum { .. } => "the layout of RFC 4121 section 4.1.1".into(),
            Self::BindingsMismatch { ours, .. } => format!("a channel with hash {ours}").into(),
            Self::BindingsMissing { .. } => "channel bindings of our own".into(),
            Self::Transcript { .. } => "the messages as they were carried".into(),
            Self::MutualNotRequested { .. } => "mutual authentication as a demand on every client".into(),
            Self::TargetName { accepted, .. } => accepted.clone().into(),
            Self::DceStyle { .. } => "two-leg authentication only".into(),
            Self::Replay { .. } => "the same authenticator in the replay store".into(),
            Self::ReplayStore { fault, .. } => replay_have(*fault).into(),
        }
    }
}

const fn absence_code(absence: Absence) -> Code {
    match absence {
        Absence::NoKeys => code::KEYTAB_WITHOUT_KEYS,
        Absence::NotAccepted => code::ACCEPT_PRINCIPALS_EXCLUDE,
        Absence::Principal => code::SERVICE_KEY_ABSENT,
        Absence::Kvno => code::KVNO_ABSENT,
        Absence::Etype => code::ETYPE_KEY_ABSENT,
        Absence::Integrity => code::TICKET_INTEGRITY,
        Absence::Malformed => code::KEY_MALFORMED,
    }
}

const fn replay_code(fault: ReplayUnavailable) -> Code {
    match fault {
        ReplayUnavailable::Full => code::REPLAY_STORE_FULL,
        ReplayUnavailable::ClientShare => code::REPLAY_CLIENT_SHARE_USED,
        ReplayUnavailable::Horizon => code::REPLAY_HORIZON,
        ReplayUnavailable::Down => code::REPLAY_STORE_UNAVAILABLE,
        ReplayUnavailable::Changed => code::REPLAY_STORE_CHANGED,
    }
}

const fn replay_have(fault: ReplayUnavailable) -> &'static str {
    match fault {
        ReplayUnavailable::Full => "a replay store that is full of unexpired entries",
        ReplayUnavailable::ClientShare => "a replay store in which this client's share is used up",
        ReplayUnavailable::Horizon => "a replay store that has forgotten entries of that time",
        ReplayUnavailable::Down => "a replay store that does not answer",
        ReplayUnavailable::Changed => "a replay store that was restarted or replaced since",
    }
}

fn kvno_text(kvno: Option<u32>) -> String {
    kvno.map_or("without kvno".to_owned(), |kvno| format!("kvno {kvno}"))
}

fn names(etypes: &[Etype]) -> String {
    etypes.iter().map(|etype| etype.name()).collect::<Vec<_>>().join(" ")
}

fn path_text(fault: &PathFault) -> String {
    match fault {
        PathFault::Encoding(number) => format!("a transited encoding of type {number}"),
        PathFault::Malformed => "a transited encoding that cannot be spelt out".to_owned(),
        PathFault::Realm(realm) => {
            format!("it came through {}", escaped(realm))
        }
    }
}

fn offset_text(ctime: Timestamp, now: Timestamp) -> String {
    let seconds = ctime.abs_diff(now).as_secs();
    if ctime > now { format!("{seconds} s ahead of us") } else { format!("{seconds} s behind us") }
}
