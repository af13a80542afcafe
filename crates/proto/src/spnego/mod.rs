//! SPNEGO (RFC 4178, MS-SPNG): two ends choose a mechanism, and prove to each other that nobody changed the list.
//!
//! [`acceptor`] and [`initiator`] hold the negotiation only; the mechanism's own tokens go through them unread. The
//! proof that the list was not changed, [`MechListProven`], is part of what a context is made of.

pub mod acceptor;
mod error;
pub mod initiator;
pub mod message;

pub use crate::gss::MechChoice;
pub use error::SpnegoError;

use crate::krb5::per_message::MessageError;

/// What a mechanism that has finished does for the negotiation: MICs over the initiator's list.
pub trait MechListMic {
    /// Appends a MIC over `list` to `out`.
    ///
    /// # Errors
    /// If the context can protect no further message.
    fn make(&mut self, list: &[u8], out: &mut Vec<u8>) -> Result<(), MessageError>;

    /// Verifies the peer's MIC over `list`.
    ///
    /// # Errors
    /// If it is not one.
    fn verify(&mut self, list: &[u8], mic: &[u8]) -> Result<(), MessageError>;
}

/// Proof that the initiator's list of mechanisms was not changed, or that nothing hung on it: the mechanism it
/// preferred was used, and neither side owed a MIC. Only the two roles' states make it.
pub struct MechListProven(());
