//! The public face of the protocols: a handshake is a value that each step consumes, returning the next; what only the
//! outside can decide (is it a replay? is this client welcome?) is a state too.
//!
//! Every step appends what must be sent to a buffer of the caller's. The caller sends what is in it, whatever the state
//! that came with it, and then does what that state asks for.

mod acceptor;
mod candidate;
mod envelope;
mod facts;
mod initiator;
mod security_context;

pub use acceptor::{
    Acceptor, AcceptorStep, Authorize, AwaitToken, CheckReplay, NeedKdc, Rejected, VerifyNtlm,
};
pub use facts::Facts;
pub use initiator::{AwaitReply, Initiator, InitiatorStep};
pub use security_context::{ContextParts, PeerProof, SecurityContext};

/// Most tokens that a peer may send in one handshake.
pub const MAX_LEGS: u8 = 8;
