//! How much memory a service may take, by arithmetic. docs/limits.md says why each part is what it is.

use crate::config::{Config, ListenerConfig, Target};
use countersign::attempts::AttemptLimits;
use countersign::framing::Framing;
use countersign::limits::FREE_SPACE;
use countersign::throttle::ThrottleLimits;
use std::fmt;

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// The program itself, its threads, and what an allocator keeps for itself.
const PROGRAM: usize = 64 * MIB;
/// The task of a connection, with every state that it can be in before its client has proved itself.
const TASK: usize = 6 * KIB;
/// What a session adds to it.
const SESSION_TASK: usize = 20 * KIB;
/// What is noted of a connection elsewhere: its place, its socket, its timers.
const NOTES: usize = 2 * KIB;
/// An authenticator in memory.
const REPLAY_ENTRY: usize = 250;
/// An address or a name whose failed attempts are counted, or whose refusals were logged.
const COUNTED: usize = 400;
/// What frames add to a message.
const FRAME: usize = 512;
/// What a tunnel reads of its upstream at once.
const TUNNEL_ROOM: usize = 64 * KIB;

/// The most memory that a service takes, in bytes. Buffers of the operating system are not in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemoryBound {
    /// All handshakes, as far as each has room of its own.
    handshakes: usize,
    /// What they hold beyond that.
    handshake_memory: usize,
    replays: usize,
    /// Failed attempts and logged refusals.
    counts: usize,
    sessions: usize,
    /// One session that sends and receives the longest messages.
    session: usize,
}

impl MemoryBound {
    /// Of a service with this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let limits = config.limits;
        let addresses = AttemptLimits::default().entries.saturating_mul(2);
        let counted = addresses.saturating_add(ThrottleLimits::default().addresses);
        let handshake = TASK.saturating_add(NOTES).saturating_add(FREE_SPACE);
        Self {
            handshakes: limits.handshakes.total.saturating_mul(handshake),
            handshake_memory: limits.handshakes.memory,
            replays: config.replay.capacity.saturating_mul(REPLAY_ENTRY),
            counts: counted.saturating_mul(COUNTED),
            sessions: limits.tunnels,
            session: config.listeners.iter().map(session).max().unwrap_or_default(),
        }
    }

    /// Without sessions: what anybody can make it take who has no ticket.
    pub(crate) fn before_sessions(self) -> usize {
        let parts = [self.handshakes, self.handshake_memory, self.replays, self.counts];
        parts.into_iter().fold(PROGRAM, usize::saturating_add)
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes.div_ceil(MIB);
        write!(f, "at most {} MiB before sessions", mib(self.before_sessions()))?;
        write!(f, " ({} program, {} handshakes", mib(PROGRAM), mib(self.handshakes))?;
        write!(f, ", {} their long tokens", mib(self.handshake_memory))?;
        write!(f, ", {} replays, {} counts)", mib(self.replays), mib(self.counts))?;
        let (each, all) = (self.session.div_ceil(KIB), self.session.saturating_mul(self.sessions));
        write!(f, "; {each} KiB for a session, {} MiB for {} of them", mib(all), self.sessions)
    }
}

/// One session at this listener that sends and receives the longest messages.
fn session(listener: &ListenerConfig) -> usize {
    let frame = listener.max_message.saturating_add(FRAME);
    // A buffer that grows may become twice as long as it must.
    let sent = match (&listener.target, listener.framing) {
        (_, Framing::Sample(_)) => frame.saturating_mul(4),
        (Target::Echo, _) => frame.saturating_mul(2),
        (Target::Upstream(_), _) => frame.min(TUNNEL_ROOM.saturating_add(FRAME)).saturating_mul(2),
    };
    let room = match listener.target {
        Target::Echo => 0,
        Target::Upstream(_) => TUNNEL_ROOM,
    };
    [TASK, SESSION_TASK, NOTES, sent, room].into_iter().fold(frame, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::client;
    use super::*;

    fn future_size<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_a_connection_is_no_larger_than_it_is_counted() {
        let size = future_size(client::attend);
        assert!(size < TASK - 512, "{size} bytes, and what the runtime adds");
    }

    #[test]
    fn the_documentation_has_the_sum_of_the_defaults() {
        let config = Config::load(None, &[], Vec::new()).unwrap_or_else(|_| unreachable!()).config;
        let bound = MemoryBound::of(&config).to_string();
        let text = include_str!("../../../../docs/limits.md");
        assert!(text.contains(&bound), "docs/limits.md lacks {bound:?}");
    }
}
