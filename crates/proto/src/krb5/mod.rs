//! Kerberos 5 (RFC 4120) and its GSS-API mechanism (RFC 4121).

pub mod acceptor;
pub mod facts;
pub mod initiator;
pub mod kdc_exchange;
pub mod keys;
pub mod msg;
pub mod per_message;
pub mod pseudo_random;
pub mod replay;
pub mod spake;
pub mod transcript;
pub mod transited;

use rand_core::CryptoRng;

/// A first sequence number: random, not 0, and below 2^30 so that peers which take it for a signed number agree.
fn initial_sequence_number(rng: &mut dyn CryptoRng) -> u32 {
    (rng.next_u32() >> 2).max(1)
}
