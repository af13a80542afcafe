//! Messages after the handshake, without the socket: each in a frame, each protected.

mod data;
mod inbound;
mod outbound;

pub(crate) use inbound::{Inbound, Pulled};
pub(crate) use outbound::Outbound;

use crate::framing::Framing;
use crate::handshake::Agreed;
use countersign_proto::context::{ContextParts, Facts, PeerProof};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::pseudo_random::PrfKey;
use countersign_proto::protection::ExportKeys;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use data::Data;
use std::io;
use std::time::Duration;

/// Longest plaintext of one message where nothing is said, in bytes (DESIGN section 5).
pub const DEFAULT_MAX_MESSAGE: usize = 1 << 20;

/// What an end has decided about its sessions before any handshake.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) framing: Framing,
    pub(crate) max_message: usize,
    /// Where sessions end with their tickets: how far the KDC's clock may be from ours.
    pub(crate) end_with_ticket: Option<Duration>,
}

/// What both directions of a session know.
pub(crate) struct About {
    pub(crate) facts: Facts,
    export: ExportKeys,
    /// When the session ends by itself.
    pub(crate) ends: Option<Timestamp>,
}

impl About {
    /// See [`crate::tokio::Session::export_key`].
    pub(crate) fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        Ok(self.export.pseudo_random(PrfKey::Full, label, length)?)
    }
}

/// The two directions of a context that a handshake led to.
pub(crate) fn begin(agreed: Agreed, terms: Terms) -> (About, Outbound, Inbound) {
    let confirmed = agreed.context.peer_proof() == PeerProof::Confirmed;
    let ContextParts { facts, sender, receiver, export } = agreed.context.into_parts();
    let ends = terms.end_with_ticket.and_then(|skew| Some(facts.expires()?.saturating_add(skew)));
    let data = Data::new(terms.framing, terms.max_message, &facts);
    let inbound = Inbound::new(receiver, agreed.reader, data, confirmed, ends);
    (About { facts, export, ends }, Outbound::new(sender, data, ends), inbound)
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

/// The session's ticket is at its end.
pub(crate) fn expired(ends: Timestamp) -> Refusal {
    Refusal::new(
        code::SESSION_EXPIRED,
        format!("a session whose ticket was good until {ends}, the skew counted in"),
        "a policy that ends it then",
    )
}

/// A refusal as the error of a stream of bytes, with `kind` for what happened to the connection itself. The refusal is
/// inside: see [`crate::refusal_in`].
pub(crate) fn stream_error(refusal: Refusal, kind: Option<io::ErrorKind>) -> io::Error {
    let code = refusal.code();
    let kind = if code == code::END_UNMARKED || code == code::CONNECTION_CUT {
        io::ErrorKind::UnexpectedEof
    } else if code == code::CONNECTION_FAILED {
        kind.unwrap_or(io::ErrorKind::ConnectionAborted)
    } else if code == code::SESSION_EXPIRED {
        io::ErrorKind::PermissionDenied
    } else if code == code::MESSAGE_TOO_LONG || code == code::ONE_MESSAGE_ONLY {
        io::ErrorKind::InvalidInput
    } else {
        io::ErrorKind::InvalidData
    };
    io::Error::new(kind, refusal)
}

/// The refusal in an error of a stream: why the stream ended, with its code.
#[must_use]
pub fn refusal_in(error: &io::Error) -> Option<&Refusal> {
    error.get_ref()?.downcast_ref()
}
