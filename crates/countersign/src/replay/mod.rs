//! Replay stores: what remembers authenticators, so that none is accepted twice (DESIGN rule 8).
//!
//! [`MemoryReplayStore`] remembers until its process ends; a file store (`FileReplayStore`, on Unix) beyond that; a store in
//! Valkey or Redis (`ValkeyReplayStore`, with the feature `valkey`) for several instances of one service. The last two ask
//! the first before anything else.

#[cfg(unix)]
pub mod file;
pub mod memory;
#[cfg(feature = "valkey")]
pub mod valkey;

#[cfg(any(unix, feature = "valkey"))]
mod queue;

use countersign_proto::error::Refusal;
use countersign_proto::krb5::replay::{Presented, ReplayVerdict};
use countersign_proto::time::Timestamp;
use std::future::Future;
use std::pin::Pin;

#[cfg(unix)]
pub use file::{Durability, FileReplayConfig, FileReplayStore};
pub use memory::MemoryReplayStore;
#[cfg(feature = "valkey")]
pub use valkey::{OnAbsence, ValkeyReplayConfig, ValkeyReplayStore};

/// Remembers authenticators. One store is shared by every connection of a service.
pub trait ReplayStore: Send + Sync {
    /// Answers whether `presented` was seen before, and remembers it if not. For one tag at most one call in all is ever
    /// answered [`ReplayVerdict::Fresh`] or [`ReplayVerdict::FreshHere`], however many run at the same time and whatever `now` says.
    fn check(&self, presented: &Presented, now: Timestamp) -> Check;
}

/// A store's answer, there already or still to come.
pub enum Check {
    /// It is there: nothing had to be waited for, and nothing was allocated.
    Now(ReplayVerdict),
    /// It is to be waited for, and the handshake with it.
    Later(Answering),
}

/// An answer that is still to come. It depends on no runtime: the blocking driver waits for it too. The store was asked when
/// this was made, and goes on if it is dropped.
pub type Answering = Pin<Box<dyn Future<Output = ReplayVerdict> + Send>>;

/// What happens to a store that lies outside this process, for logs, metrics and the audit record.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It can no longer be written or asked, for this cause. Told once, and again only if the cause becomes another.
    Failing(&'a Refusal),
    /// It can be written or asked again.
    Recovered,
    /// It lost entries or may have (`REPLAY_STORE_CHANGED`): authenticators of that time are refused from now on.
    Changed(&'a Refusal),
    /// This authenticator was refused for that.
    RefusedSinceChange(&'a Presented),
    /// This authenticator was accepted by this process's memory alone, because the store that it shares is absent.
    OnMemoryAlone(&'a Presented),
}

/// Who is told what happens to a store. It is called by whoever noticed, handshakes among them, so it must not wait.
pub type Observer = dyn Fn(&Event<'_>) + Send + Sync;
