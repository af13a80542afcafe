//! NTLMv2 (MS-NLMP) for peers that have nothing better: off unless a configuration names it, and never mutual.
//!
//! NTLM proves a client to a service through a hash of the client's password. It never proves the service: whoever
//! listens gets the same AUTHENTICATE, and a context made by it says so in [`Facts::mutual`].
//!
//! Both roles are stages that only one after the other can be reached:
//!
//! * [`acceptor::Challenged`] (CHALLENGE made) → [`acceptor::Claimed`] (AUTHENTICATE parsed, nothing of it believed) →
//!   [`acceptor::Established`] (an account source knows the password, and every check after it held)
//! * [`initiator::Negotiated`] (NEGOTIATE made) → [`initiator::Established`] (AUTHENTICATE made)
//!
//! What other implementations leave to choice is fixed here: Unicode, extended session security, 128-bit keys, key
//! exchange, signing and the MIC over the three messages are demanded of every peer; LM and NTLMv1 do not exist.

pub mod acceptor;
pub mod accounts;
mod error;
mod facts;
mod flags;
pub mod initiator;
pub mod keys;
pub mod messages;
pub mod protection;

pub use error::NtlmError;
pub use facts::Facts;
pub use flags::NegotiateFlags;
pub use keys::{NtHash, nt_hash};
