//! Replay stores: what remembers authenticators, so that none is accepted twice (DESIGN rule 8).

pub mod memory;

use countersign_proto::krb5::replay::{Presented, ReplayVerdict};
use countersign_proto::time::Timestamp;

pub use memory::MemoryReplayStore;

/// Remembers authenticators. One store is shared by every connection of a service.
pub trait ReplayStore: Send + Sync {
    /// Answers whether `presented` was seen before, and remembers it if not. For one tag at most one call in all is ever
    /// answered [`ReplayVerdict::Fresh`], however many run at the same time and whatever `now` says.
    fn check(&self, presented: &Presented, now: Timestamp) -> ReplayVerdict;
}
