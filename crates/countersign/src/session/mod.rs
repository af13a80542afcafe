//! Messages after the handshake, without the socket: each in a frame, each protected.

mod inbound;
mod outbound;

pub(crate) use inbound::Inbound;
pub(crate) use outbound::Outbound;

use crate::handshake::Agreed;
use countersign_proto::context::Facts;
use countersign_proto::context::PeerProof;
use countersign_proto::error::{Refusal, code};
use std::io;
use std::time::Duration;

/// Longest plaintext of one message where nothing is said, in bytes (DESIGN section 5).
pub const DEFAULT_MAX_MESSAGE: usize = 1 << 20;

/// The two directions of a context that a handshake led to.
pub(crate) fn begin(agreed: Agreed, max_message: usize) -> (Facts, Outbound, Inbound) {
    let confirmed = agreed.context.peer_proof() == PeerProof::Confirmed;
    let (facts, sender, receiver) = agreed.context.into_parts();
    let inbound = Inbound::new(receiver, agreed.reader, confirmed, max_message);
    (facts, Outbound::new(sender, max_message), inbound)
}

/// A failure of the network after the handshake.
pub(crate) fn failed(doing: &str, error: &io::Error) -> Refusal {
    Refusal::new(
        code::CONNECTION_FAILED,
        format!("an error while {doing} ({error})"),
        "a connection to go on with",
    )
}

/// The peer let this end wait longer than it is told to.
pub(crate) fn timed_out(saw: &'static str, limit: Duration) -> Refusal {
    Refusal::new(code::CONNECTION_FAILED, saw, format!("a timeout of {} s", limit.as_secs_f32()))
}
