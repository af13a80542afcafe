//! What a Kerberos context knows once it stands: who, by which keys, under which conditions.

use super::msg::principal::Principal;
use super::msg::ticket::TicketFlags;
use crate::crypto::Etype;
use crate::gss::GssFlags;
use crate::policy::Waiver;
use crate::time::Timestamp;
use std::fmt;

/// What both ends of a context agreed on or proved.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The client: realm and name as the KDC put them into the ticket.
    pub client: Principal,
    /// The service. For an acceptor the principal whose key opened the ticket; for an initiator the one it asked for,
    /// proved by the AP-REP.
    pub service: Principal,
    /// The ticket's sname and realm, which anybody can have changed on the way.
    pub claimed_service: Principal,
    /// Etype of the key that the ticket is under; any number at an initiator, which cannot open it.
    pub ticket_etype: i32,
    /// Version of that key: the opening key's at an acceptor, the ticket's word for it at an initiator.
    pub kvno: Option<u32>,
    /// Etype of the session key in the ticket.
    pub session_etype: Etype,
    /// Etype of the key that protects messages.
    pub message_etype: Etype,
    /// What the initiator asked for and got.
    pub flags: GssFlags,
    /// The ticket's flags.
    pub ticket_flags: TicketFlags,
    /// Whether the service proved itself to the client: an AP-REP was made (acceptor) or verified (initiator).
    pub mutual: bool,
    /// Whether the client's KDC was reached through the service (IAKERB).
    pub by_iakerb: bool,
    /// What became of the channel bindings.
    pub bindings: BindingsState,
    /// When the client authenticated to its KDC.
    pub authtime: Timestamp,
    /// From when on the ticket is good.
    pub starttime: Timestamp,
    /// Until when it is good.
    pub endtime: Timestamp,
    /// Demands that were given up for this context, none twice.
    pub waivers: Vec<Waiver>,
}

/// What became of the channel bindings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BindingsState {
    /// This acceptor is reached through no channel that it could compare; what the initiator says of one is ignored.
    NotCompared,
    /// This acceptor has bindings, the initiator is bound to nothing, and policy lets that pass.
    AbsentAtInitiator,
    /// Both ends are bound to the same channel.
    Matched,
    /// This initiator sent its bindings; the acceptor may have compared them.
    Sent,
}

/// One word for audit lines.
impl fmt::Display for BindingsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCompared => "not-compared",
            Self::AbsentAtInitiator => "absent",
            Self::Matched => "matched",
            Self::Sent => "sent",
        })
    }
}
