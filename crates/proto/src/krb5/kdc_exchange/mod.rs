//! A client's exchanges with KDCs (RFC 4120 sections 3.1 and 3.3): [`AsExchange`] turns a password or key into a
//! ticket-granting ticket, [`TgsExchange`] that into a service's, through other realms if need be, and [`Acquire`] does what
//! of both is needed.
//!
//! Each is a value that waits for a KDC's reply: whoever drives it brings [`Exchange::request`] to a KDC of its realm, by
//! whatever way, and gives the reply to [`Exchange::reply`].

mod acquire;
mod armor;
mod as_exchange;
mod error;
mod forward;
mod options;
mod preauth;
mod presented;
mod reply;
mod tgs_exchange;
mod tgs_request;
mod told;

pub use acquire::{Acquire, Acquired};
pub use as_exchange::{AsExchange, AsGranted};
pub use error::KdcError;
pub use forward::Forward;
pub use options::{DEFAULT_LIFETIME, Login, TicketOptions};
pub use tgs_exchange::{Renew, TgsExchange, TgsGranted};
pub use told::Told;

use super::msg::principal::{Principal, name_type};
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// A message to be brought to a KDC.
#[derive(Clone, Copy, Debug)]
pub struct KdcRequest<'a> {
    /// The realm whose KDC it is for.
    pub realm: &'a [u8],
    /// AS-REQ or TGS-REQ.
    pub message: &'a [u8],
}

/// An exchange that waits for a KDC's reply.
pub trait Exchange: Sized {
    /// What it yields in the end.
    type Granted;

    /// What the KDC is to be asked.
    fn request(&self) -> KdcRequest<'_>;

    /// Whether `reply` can be the answer to the request. One that is not may have come from a stranger, and the KDC's own
    /// may still be on its way.
    fn is_answer(&self, reply: &[u8]) -> bool;

    /// Takes the KDC's reply.
    ///
    /// # Errors
    /// If the KDC refuses, or its reply is not believed.
    fn reply(self, reply: &[u8], now: Timestamp, rng: &mut dyn CryptoRng) -> Result<Step<Self>, KdcError>;
}

/// What a reply led to.
pub enum Step<E: Exchange> {
    /// Another request.
    NeedKdc(E),
    /// The end.
    Done(E::Granted),
}

/// Identifier octets of the messages that a KDC sends.
const AS_REP: u8 = 0x6B;
const TGS_REP: u8 = 0x6D;
const KRB_ERROR: u8 = 0x7E;

/// The ticket-granting service of `realm`, as the KDC of `issuer` knows it.
#[must_use]
pub fn ticket_granting_service(realm: &[u8], issuer: &[u8]) -> Principal {
    Principal {
        name_type: name_type::KRB_NT_SRV_INST,
        realm: issuer.to_vec(),
        components: vec![b"krbtgt".to_vec(), realm.to_vec()],
    }
}

/// The realm whose ticket-granting service this is, if it is one.
#[must_use]
pub fn granting_realm(service: &Principal) -> Option<&[u8]> {
    match service.components.as_slice() {
        [krbtgt, realm] if krbtgt == b"krbtgt" => Some(realm),
        _ => None,
    }
}

/// A number by which a reply is known: random, positive, of 31 bits.
fn nonce(rng: &mut dyn CryptoRng) -> u32 {
    (rng.next_u32() >> 1).max(1)
}
