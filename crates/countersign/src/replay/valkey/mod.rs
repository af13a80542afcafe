//! A replay store that several instances of one service share, in Valkey or Redis (6 or later).
//!
//! An authenticator is a key, set if it is not there, that stays until the authenticator's ctime + 2 × skew + 60 s. This
//! process's own memory is asked first; what is fresh to it waits for a thread that sets all keys that wait in one round trip.
//!
//! What it cannot do:
//! - The clocks of the instances must lie within one skew of each other.
//! - There is no TLS and no cluster: the server is on a network of its own, behind a tunnel, or on a Unix socket.
//! - Valkey answers before its replicas have an entry. Whenever the server turns out to be of another run, or to have been
//!   promoted (`run_id`, `master_replid`), authenticators of up to two skews after that moment are refused.
//!   The time is left in the key `<prefix>changed` for instances that start later.
//! - What is deleted in Valkey by others (FLUSHALL, DEL) is forgotten.
//! - With [`OnAbsence::Memory`] an authenticator can be accepted by each instance once, while the store is absent, and what was
//!   accepted then is not put into the store afterwards.

mod error;
mod link;
mod run_file;
mod settings;
mod worker;

use super::memory::{MemoryReplayStore, lifetime};
use super::{Check, Observer, ReplayStore};
use crate::ambient;
use crate::service::DEFAULT_REPLAY_CAPACITY;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::replay::{Presented, ReplayUnavailable, ReplayVerdict};
use countersign_proto::time::Timestamp;
use error::ValkeyError;
use settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use worker::{Asked, Shared, Worker};

/// How keys begin where nothing is said.
pub const DEFAULT_PREFIX: &str = "countersign:replay:";

/// How long each exchange with the store may take where nothing is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// What happens to authenticators while the store does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnAbsence {
    /// They are refused.
    #[default]
    Refuse,
    /// This process's memory alone decides, and the observer is told of each.
    Memory,
}

/// What a [`ValkeyReplayStore`] is made of.
pub struct ValkeyReplayConfig {
    /// `redis://HOST:PORT/DATABASE`, `valkey://...` or `unix:///PATH?db=DATABASE`, with no user and no password in it.
    pub url: String,
    /// The user, if it is another than Valkey's default user.
    pub username: Option<String>,
    /// The file whose first line is the password. It is read at each connection.
    pub password_file: Option<PathBuf>,
    /// How keys begin. Services that share a key of their own share it; others need not.
    pub prefix: String,
    /// What happens to authenticators while the store does not answer.
    pub on_absence: OnAbsence,
    /// Most entries in this process's memory; [`MemoryReplayStore::new`] says how clients share them.
    pub capacity: usize,
    /// The clock skew that the acceptor permits.
    pub skew: Duration,
    /// How long connecting, and each exchange, may take.
    pub timeout: Duration,
    /// A file of this instance's own that names the store's run, so that it is noticed if both are restarted: without one, an
    /// authenticator of before can be accepted again after that.
    pub run_file: Option<PathBuf>,
    /// Is told of outages, of lost entries, and of every authenticator that they concern.
    pub observer: Box<Observer>,
}

impl ValkeyReplayConfig {
    /// The defaults: refusal in absence, a million entries in memory, one second, no user, no run file, and nobody is told.
    #[must_use]
    pub fn new(url: impl Into<String>, skew: Duration) -> Self {
        Self {
            url: url.into(),
            username: None,
            password_file: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            on_absence: OnAbsence::default(),
            capacity: DEFAULT_REPLAY_CAPACITY,
            skew,
            timeout: DEFAULT_TIMEOUT,
            run_file: None,
            observer: Box::new(|_| ()),
        }
    }
}

/// Remembers authenticators in memory and in Valkey.
pub struct ValkeyReplayStore {
    shared: Arc<Shared>,
}

impl ValkeyReplayStore {
    /// Connects, and looks whether the server is fit for it.
    ///
    /// # Errors
    /// If the address (`VALKEY_URL_WRONG`), the password's file or the run file cannot be used; if the server may evict entries
    /// (`VALKEY_EVICTS`), refuses the password or what it is asked for, or is a replica (`VALKEY_UNUSABLE`); and, unless memory
    /// stands in for it, if it does not answer (`VALKEY_ABSENT`).
    pub fn connect(config: ValkeyReplayConfig) -> Result<Self, Refusal> {
        let ValkeyReplayConfig { skew, on_absence, run_file, .. } = config;
        let (server, database) = Settings::server(&config.url)?;
        let settings = Settings {
            server,
            database,
            username: config.username,
            password_file: config.password_file,
            prefix: config.prefix,
            timeout: config.timeout,
        };
        let memory = MemoryReplayStore::new(config.capacity, skew, &mut ambient::rng());
        let shared = Arc::new(Shared::new(memory, lifetime(skew), on_absence, config.observer));
        let mut worker = Worker::new(shared.clone(), settings, run_file, skew)?;
        let link = match worker.establish() {
            Ok(link) => Some(link),
            Err(error @ ValkeyError::Absent { .. }) if on_absence == OnAbsence::Memory => {
                worker.lost(&error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        let thread = std::thread::Builder::new().name("replay-valkey".to_owned());
        thread.spawn(move || worker.run(link)).map_err(ValkeyError::Thread)?;
        Ok(Self { shared })
    }

    /// Whether the store answered when it was last asked.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.shared.is_up.load(Ordering::Acquire)
    }
}

impl ReplayStore for ValkeyReplayStore {
    /// Memory's answer at once, unless it is fresh: then Valkey's, or what stands for it in its absence.
    fn check(&self, presented: &Presented, now: Timestamp) -> Check {
        let shared = &self.shared;
        if shared.may_be_lost(presented) || self.is_expired(presented, now) {
            return Check::Now(self.of_a_lost_time(presented));
        }
        match shared.memory.verdict(presented, now) {
            ReplayVerdict::Fresh if !self.is_up() => Check::Now(shared.absent(presented)),
            ReplayVerdict::Fresh => shared.queue.ask(Asked { presented: presented.clone(), now }),
            other => Check::Now(other),
        }
    }
}

impl ValkeyReplayStore {
    /// Whether Valkey may have forgotten it, by the latest time that this process ever had: its clock may have been set back.
    fn is_expired(&self, presented: &Presented, now: Timestamp) -> bool {
        let latest = &self.shared.latest;
        let now = now.total_micros();
        let before = latest.load(Ordering::Acquire);
        if now > before {
            latest.fetch_max(now, Ordering::AcqRel);
        }
        presented.ctime.shifted(self.shared.lifetime).total_micros() <= before.max(now)
    }

    fn of_a_lost_time(&self, presented: &Presented) -> ReplayVerdict {
        if self.shared.memory.knows(presented) {
            ReplayVerdict::Seen
        } else if self.shared.may_be_lost(presented) {
            self.shared.refuse_lost(presented)
        } else {
            ReplayVerdict::Unavailable(ReplayUnavailable::Horizon)
        }
    }
}

impl Drop for ValkeyReplayStore {
    fn drop(&mut self) {
        // Its thread ends by itself, once an exchange that it waits for has ended.
        self.shared.queue.close();
    }
}

/// How full it is, and whether it answers.
impl std::fmt::Debug for ValkeyReplayStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValkeyReplayStore")
            .field("is_up", &self.is_up())
            .field("memory", &self.shared.memory)
            .finish_non_exhaustive()
    }
}
