//! IAKERB (draft-ietf-kitten-iakerb-03, as MIT 1.22 and Windows speak it): a client that can reach no KDC speaks with one
//! through the service. The service carries the messages and reads none; what it could do to them the client sees, as it would
//! of anybody on the path, and the AP-REQ at the end proves that both saw the same.

mod error;
mod message;

pub mod acceptor;
pub mod initiator;

pub use error::IakerbError;
pub use message::ProxyMessage;

/// Most tokens that a peer may send in one handshake: sixteen for a login, and ten referrals.
pub const MAX_LEGS: u8 = 26;
