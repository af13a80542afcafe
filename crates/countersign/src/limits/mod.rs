//! How many handshakes may be open at once, how much they may hold, and who gives way (DESIGN section 5).

mod evicted;
mod table;
#[cfg(test)]
mod tests;

pub use evicted::{Cause, Evicted};

use crate::mutex::lock;
use evicted::Eviction;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use table::Table;
use tokio::sync::{Semaphore, SemaphorePermit};

/// What is bounded of handshakes that are open at once. A limit of 0 counts as 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandshakeLimits {
    /// How many, in all.
    pub total: usize,
    /// How many from one address; for IPv6 from one network of 64 bits, because one host has all of it.
    pub per_address: usize,
    /// Bytes that all of them hold together beyond [`FREE_SPACE`] each: tokens that are long, or came in part. It is counted
    /// in whole KiB.
    pub memory: usize,
}

impl HandshakeLimits {
    /// What holds where nothing is said.
    pub const DEFAULT: Self = Self { total: 16_384, per_address: 1_024, memory: 256 * 1_024 * 1_024 };
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bytes that any handshake may hold without their being counted: room for a Kerberos token and its answer.
pub const FREE_SPACE: usize = 8_192;

/// In what memory is counted, in bytes.
const KIB: usize = 1_024;

/// Counts the handshakes that are open, and what they hold. Every newcomer enters; where that is one too many, the handshake
/// that waited longest is evicted: of those of the newcomer's address if the limit of one address is passed, else of those
/// of the address that has most open. So a flood from one address costs that address its places and nobody else.
///
/// Where memory runs out, of the handshakes that hold more than [`FREE_SPACE`] the one that waited longest is evicted, whoever's
/// it is. Not the one that holds most: then whoever sends half a token a little shorter than an honest client's could have
/// that client evicted, while an honest client is through in a few round trips and is never the oldest of thousands.
///
/// Cloning it gives another handle to the same count: services of one process share it.
#[derive(Clone)]
pub struct Admission(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    limits: HandshakeLimits,
    /// A permit for each KiB that may be held.
    memory: Semaphore,
}

impl Admission {
    /// Nothing is open yet.
    #[must_use]
    pub fn new(limits: HandshakeLimits) -> Self {
        let HandshakeLimits { total, per_address, memory } = limits;
        let permits = (memory / KIB).clamp(1, Semaphore::MAX_PERMITS);
        let memory = permits.saturating_mul(KIB);
        let limits = HandshakeLimits { total: total.max(1), per_address: per_address.max(1), memory };
        Self(Arc::new(Shared { table: Mutex::default(), limits, memory: Semaphore::new(permits) }))
    }

    /// Counts in a handshake with the peer at `address`. It is counted out when the ticket is dropped or evicted.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Ticket {
        let source = source(address);
        let eviction = Arc::new(Eviction::default());
        let (number, evicted) = {
            let mut table = lock(&self.0.table);
            let number = table.add(source, &eviction);
            (number, table.make_room(source, self.0.limits))
        };
        // After the table's lock is gone: what is run on eviction is not ours.
        if let Some((loser, why)) = evicted {
            loser.trip(why);
        }
        let shared = Arc::clone(&self.0);
        Ticket { shared, source, number, eviction, held: AtomicU32::new(0), left: false }
    }

    /// Evicts the handshake that would give way if all places were taken, although they are not: for a listener that
    /// cannot accept because the system has run out of descriptors. Does nothing if no handshake is open.
    pub fn shed(&self) {
        let evicted = lock(&self.0.table).shed();
        // After the table's lock is gone, as in `enter`.
        if let Some((loser, why)) = evicted {
            loser.trip(why);
        }
    }

    /// How many handshakes are counted now.
    #[must_use]
    pub fn open(&self) -> usize {
        lock(&self.0.table).open()
    }

    /// How many bytes are counted now: those that handshakes hold beyond [`FREE_SPACE`] each.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.limits.memory.saturating_sub(self.0.memory.available_permits().saturating_mul(KIB))
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("open", &self.open()).field("limits", &self.0.limits).finish()
    }
}

/// The place of one handshake. Dropping it gives the place back, and what it held: it is to be dropped after that.
pub struct Ticket {
    shared: Arc<Shared>,
    source: IpAddr,
    number: u64,
    eviction: Arc<Eviction>,
    /// KiB that are counted for it.
    held: AtomicU32,
    /// Whether it was counted out by [`Self::leave`].
    left: bool,
}

impl Ticket {
    /// Why this handshake has lost its place, if it has.
    #[must_use]
    pub fn eviction(&self) -> Option<Evicted> {
        self.eviction.evicted()
    }

    /// Waits until this handshake loses its place. Dropping the future is harmless.
    pub async fn evicted(&self) -> Evicted {
        self.eviction.wait().await
    }

    /// Runs `action` when this handshake loses its place, in the thread that takes it, or at once if it is lost already:
    /// for a driver that blocks, and shuts its socket down this way. It replaces the action set before, and is not run
    /// once the ticket is gone. It must not block nor use this ticket.
    pub fn on_evict(&self, action: impl FnOnce() + Send + 'static) {
        self.eviction.on_trip(Box::new(action));
    }

    /// Counts `bytes` as what this handshake holds, before it holds them; that it holds less is not counted. Where memory has
    /// run out, others give way, and this waits until they have. It returns also when this handshake itself had to.
    /// Dropping the future is harmless.
    pub async fn hold(&self, bytes: usize) {
        let (all, held) = (kib(self.shared.limits.memory), self.held.load(Ordering::Relaxed));
        let wanted = kib(bytes.saturating_sub(FREE_SPACE)).min(all);
        let more = wanted.saturating_sub(held);
        if more == 0 {
            return;
        }
        let permits = match self.shared.memory.try_acquire_many(more) {
            Ok(permits) => permits,
            // In a box: of this there need not be room in every handshake.
            Err(_) => match Box::pin(self.room_made(more)).await {
                Some(permits) => permits,
                None => return,
            },
        };
        permits.forget();
        self.held.store(wanted, Ordering::Relaxed);
        lock(&self.shared.table).holds(self.source, self.number, wanted);
    }

    /// Room for `more` KiB, which others have given up; none if this handshake had to give way itself.
    async fn room_made(&self, more: u32) -> Option<SemaphorePermit<'_>> {
        self.have_others_evicted(more);
        ::tokio::select! {
            biased;
            _ = self.evicted() => None,
            permits = self.shared.memory.acquire_many(more) => permits.ok(),
        }
    }

    /// Gives back what was held, while the place is kept: for the end of a handshake that failed.
    pub fn let_go(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        if held > 0 {
            lock(&self.shared.table).holds(self.source, self.number, 0);
            self.shared.memory.add_permits(usize::try_from(held).unwrap_or_default());
        }
    }

    /// Gives the place back at the end of the handshake; afterwards nothing can evict it.
    ///
    /// # Errors
    /// [`Evicted`] if the place was lost before.
    pub fn leave(mut self) -> Result<(), Evicted> {
        self.left = true;
        self.disarm().map_or(Ok(()), Err)
    }

    /// Evicts so many that what they held is enough for `more` KiB. What is free already is left out of account: others may
    /// take it meanwhile, and then nobody would make room for them.
    fn have_others_evicted(&self, more: u32) {
        let mut freed = 0_u32;
        while freed < more && self.eviction().is_none() {
            let evicted = lock(&self.shared.table).evict_holder(self.shared.limits.memory);
            let Some((loser, why, held)) = evicted else { return };
            freed = freed.saturating_add(held);
            loser.trip(why);
        }
    }

    /// Counts out and takes back the action. Waits for one that is running.
    fn disarm(&self) -> Option<Evicted> {
        lock(&self.shared.table).remove(self.source, self.number);
        self.let_go();
        self.eviction.disarm()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.left {
            self.disarm();
        }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("source", &self.source).field("evicted", &self.eviction()).finish()
    }
}

/// Bytes as whole KiB, the last one begun counted too.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(KIB)).unwrap_or(u32::MAX)
}

/// What is counted as one address: an IPv4 address, also when it comes mapped into IPv6, or an IPv6 network of 64 bits.
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(host) => Ipv6Addr::from_bits(host.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}
