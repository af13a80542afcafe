//! The replay store of one machine: it remembers beyond the end of its process.
//!
//! [`MemoryReplayStore`] answers, and what it calls fresh is appended to a file before anybody else hears of it. One thread
//! writes, and writes all that wait at once. When the store is opened the files are read back into memory: about a second
//! for a million entries, which are 46 MiB.
//!
//! The files hold at most twice as many entries as are needed, and 200,000 more. They hold no secret, but whoever may change
//! them can have an authenticator accepted twice: the folder is its owner's alone.

mod error;
mod format;
mod lock;
mod log;
mod restore;
mod segment;

use super::memory::{MemoryReplayStore, lifetime};
use super::queue::{Closing, Queue, Waiting, Woken};
use super::{Check, Event, Observer, ReplayStore};
use crate::ambient;
use crate::service::DEFAULT_REPLAY_CAPACITY;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::replay::{Presented, ReplayUnavailable, ReplayVerdict};
use countersign_proto::time::Timestamp;
use error::StoreError;
use format::Entry;
use lock::FolderLock;
use log::{Log, Setting};
use rand_core::Rng;
use restore::Found;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What an entry must outlive before its authenticator is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The process, however it ends: the entry is in the operating system's hands. When the machine loses power, entries of
    /// the last half minute or so may be lost.
    #[default]
    Process,
    /// The machine too: the entry is on the disk (fdatasync).
    Power,
}

/// What a [`FileReplayStore`] is made of.
pub struct FileReplayConfig {
    /// Where the files are, alone. It is made with mode 0700 if it is not there.
    pub folder: PathBuf,
    /// What an entry must outlive before its authenticator is accepted.
    pub durability: Durability,
    /// Most entries in memory; [`MemoryReplayStore::new`] says how clients share them.
    pub capacity: usize,
    /// The clock skew that the acceptor permits.
    pub skew: Duration,
    /// Is told when the files cannot be written, and when they can again.
    pub observer: Box<Observer>,
}

impl FileReplayConfig {
    /// The defaults: entries that outlive the process, a million of them at most, and nobody is told of failures.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, skew: Duration) -> Self {
        Self {
            folder: folder.into(),
            durability: Durability::default(),
            capacity: DEFAULT_REPLAY_CAPACITY,
            skew,
            observer: Box::new(|_| ()),
        }
    }
}

/// Remembers authenticators in memory and in files. Dropping it writes what waits and gives the folder free.
pub struct FileReplayStore {
    memory: Arc<MemoryReplayStore>,
    queue: Arc<Queue<Asked>>,
    writer: Option<JoinHandle<()>>,
    restored: Restored,
}

/// What a store found in its folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Restored {
    /// Entries that are remembered again.
    pub entries: usize,
    /// Entries that had expired.
    pub expired: usize,
    /// Bytes at the end that the process or the machine had not written whole when it stopped. No authenticator in them was
    /// accepted, unless the machine lost power under [`Durability::Process`].
    pub torn: u64,
}

struct Asked {
    entry: Entry,
    now: Timestamp,
}

impl FileReplayStore {
    /// Opens the folder, alone, and reads it back.
    ///
    /// # Errors
    /// If the folder cannot be made, read or written (`REPLAY_STORE_UNREADABLE`), belongs to or may be changed by others
    /// (`REPLAY_STORE_EXPOSED`), is in use by another process (`REPLAY_STORE_IN_USE`), or holds a file that was altered or is
    /// missing (`REPLAY_STORE_DAMAGED`) or is of a later version (`REPLAY_STORE_TOO_NEW`).
    pub fn open(config: FileReplayConfig) -> Result<Self, Refusal> {
        Self::open_at(config, ambient::now())
    }

    /// [`open`](Self::open), at the time `now`.
    ///
    /// # Errors
    /// As there.
    pub fn open_at(config: FileReplayConfig, now: Timestamp) -> Result<Self, Refusal> {
        let FileReplayConfig { folder, durability, capacity, skew, observer } = config;
        restore::own_folder(&folder)?;
        let lock = FolderLock::take(&folder)?;
        let found = Found::look(&folder)?;
        let next = found.next;
        let client_key = found.client_key().unwrap_or_else(new_key);
        let memory = MemoryReplayStore::with_client_key(capacity, skew, &client_key, &mut ambient::rng());
        let lifetime = lifetime(skew);
        let mut restored = Restored::default();
        let read = found.read(&folder, |entry| {
            if entry.ctime.shifted(lifetime) <= now {
                memory.raise_horizon(entry.ctime);
                restored.expired = restored.expired.saturating_add(1);
            } else {
                memory.restore(entry.tag, entry.ctime, entry.client);
            }
        })?;
        memory.raise_horizon(read.horizon);
        restored.entries = memory.len();
        restored.torn = read.torn;
        let setting = Setting { folder: folder.clone(), durability, lifetime, client_key };
        let log = Log::begin(setting, read, next, now).map_err(StoreError::io(&folder))?;
        let (memory, queue) = (Arc::new(memory), Arc::new(Queue::new()));
        let writer = Writer {
            log,
            memory: memory.clone(),
            folder: folder.clone(),
            observer,
            failing: false,
            _lock: lock,
        };
        let waiting = queue.clone();
        let thread = std::thread::Builder::new().name("replay-file".to_owned());
        let writer = thread.spawn(move || writer.run(&waiting)).map_err(StoreError::io(&folder))?;
        Ok(Self { memory, queue, writer: Some(writer), restored })
    }

    /// What was found in the folder.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.restored
    }

    /// How many entries there are, of which some may have expired.
    #[must_use]
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }
}

impl ReplayStore for FileReplayStore {
    /// Memory's answer at once, unless it is fresh: then when the entry is written. If it cannot be written the store is
    /// [`Down`](ReplayUnavailable::Down), and that authenticator counts as seen from then on, though it was not accepted.
    fn check(&self, presented: &Presented, now: Timestamp) -> Check {
        match self.memory.verdict(presented, now) {
            ReplayVerdict::Fresh => {
                let client = self.memory.client(&presented.client);
                let entry = Entry { tag: presented.tag, ctime: presented.ctime, client };
                self.queue.ask(Asked { entry, now })
            }
            other => Check::Now(other),
        }
    }
}

impl Drop for FileReplayStore {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            // Had it panicked, those who waited were told that the store is down.
            let _ = writer.join();
        }
    }
}

/// How often it is tried whether files that could not be written can be.
const RETRY: Duration = Duration::from_secs(1);

/// The thread that writes.
struct Writer {
    log: Log,
    memory: Arc<MemoryReplayStore>,
    folder: PathBuf,
    observer: Box<Observer>,
    failing: bool,
    _lock: FolderLock,
}

impl Writer {
    fn run(mut self, queue: &Queue<Asked>) {
        let closing = Closing(queue);
        let mut batch = Vec::new();
        loop {
            match queue.take(&mut batch, self.failing.then_some(RETRY)) {
                Woken::Asked => self.write(&mut batch),
                Woken::Idle => self.try_again(),
                Woken::Closed => break,
            }
        }
        drop(closing);
        let closed = self.log.close();
        self.tell(&closed);
    }

    fn write(&mut self, batch: &mut Vec<Waiting<Asked>>) {
        let now = batch.last().map_or_else(ambient::now, |last| last.asked.now);
        let live = self.memory.len() as u64;
        let written = self.log.append(batch.iter().map(|waiting| waiting.asked.entry), live, now);
        let verdict = match written {
            Ok(()) => ReplayVerdict::Fresh,
            Err(_) => ReplayVerdict::Unavailable(ReplayUnavailable::Down),
        };
        batch.drain(..).for_each(|waiting| waiting.answer(verdict));
        self.tell(&written);
    }

    /// While it is failing nobody may come who would find out that it is mended.
    fn try_again(&mut self) {
        let tried = self.log.try_append();
        self.tell(&tried);
    }

    /// Tells of the first failure, and of the end of failing.
    fn tell(&mut self, written: &io::Result<()>) {
        let was_failing = std::mem::replace(&mut self.failing, written.is_err());
        match written {
            Err(error) if !was_failing => {
                let again = io::Error::new(error.kind(), error.to_string());
                let cause = StoreError::Io { path: self.folder.clone(), error: again };
                (self.observer)(&Event::Failing(&cause.into()));
            }
            Ok(()) if was_failing => (self.observer)(&Event::Recovered),
            _ => {}
        }
    }
}

fn new_key() -> [u8; 16] {
    let mut key = [0; 16];
    ambient::rng().fill_bytes(&mut key);
    key
}

/// How full it is.
impl std::fmt::Debug for FileReplayStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReplayStore").field("memory", &self.memory).finish_non_exhaustive()
    }
}
