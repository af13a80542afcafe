//! What the CheckReplay step hands to a replay store, and what the store answers. The stores themselves are in the
//! `countersign` crate; nothing here remembers anything.

use super::msg::principal::Principal;
use crate::time::Timestamp;

/// Longest integrity tag of an etype, in bytes (etype 20).
pub const TAG_LEN: usize = 24;

/// An authenticator as a replay store knows it (DESIGN rule 8).
///
/// Identity is the integrity tag of the authenticator's ciphertext and nothing else: whatever a sender can change
/// without breaking the tag (the ticket's sname, its kvno, options, framing) does not make an authenticator new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presented {
    /// Integrity tag of the ciphertext, padded with zeros.
    pub tag: [u8; TAG_LEN],
    /// The authenticator's ctime and cusec, which say how long it must be remembered.
    pub ctime: Timestamp,
    /// Who made it, for the share that one client may hold.
    pub client: Principal,
}

/// A replay store's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayVerdict {
    /// Not seen before, and remembered from now on.
    Fresh,
    /// The same as far as this instance alone knows: the store that it shares with others did not answer, and may be done
    /// without.
    FreshHere,
    /// Seen before.
    Seen,
    /// The store cannot tell, so the authenticator must be refused.
    Unavailable(ReplayUnavailable),
}

/// Why a replay store cannot tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReplayUnavailable {
    /// Full of entries that have not expired.
    Full,
    /// This client principal holds as much of the store as one client may.
    ClientShare,
    /// The authenticator's ctime is at or before the time up to which entries have been forgotten.
    Horizon,
    /// The store does not answer.
    Down,
    /// The store that several instances share lost entries not long ago, and the authenticator may be one of them.
    Changed,
}
