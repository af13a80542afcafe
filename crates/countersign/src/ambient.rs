//! The clock and the random source: the one place where they are read.

use countersign_proto::time::Timestamp;
use std::time::SystemTime;

/// The time now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// This thread's cryptographic generator, seeded by the operating system.
pub(crate) fn rng() -> impl rand_core::CryptoRng {
    rand::rng()
}
