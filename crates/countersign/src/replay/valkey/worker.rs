//! The thread that talks to Valkey, and what it shares with those who ask.

use super::OnAbsence;
use super::error::ValkeyError;
use super::link::{Kept, Link, Run};
use super::run_file;
use super::settings::Settings;
use crate::ambient;
use crate::replay::memory::MemoryReplayStore;
use crate::replay::queue::{Closing, Queue, Waiting, Woken};
use crate::replay::{Event, Observer};
use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::krb5::replay::{Presented, ReplayUnavailable, ReplayVerdict};
use countersign_proto::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// How often a connection on which nothing else happens is tried.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long after an attempt to connect the next one is made.
const RETRY: Duration = Duration::from_millis(250);

/// What the thread and those who ask share.
pub(super) struct Shared {
    pub(super) queue: Queue<Asked>,
    pub(super) memory: MemoryReplayStore,
    pub(super) on_absence: OnAbsence,
    pub(super) observer: Box<Observer>,
    /// How long after its ctime an entry is needed, in microseconds.
    pub(super) lifetime: i64,
    pub(super) is_up: AtomicBool,
    /// The latest `now` that was ever given, in microseconds since 1970.
    pub(super) latest: AtomicI64,
    /// Authenticators with a ctime of up to then are refused, in microseconds since 1970.
    changed: AtomicI64,
}

/// An authenticator that is fresh to this process.
pub(super) struct Asked {
    pub(super) presented: Presented,
    pub(super) now: Timestamp,
}

impl Shared {
    pub(super) fn new(
        memory: MemoryReplayStore,
        lifetime: i64,
        on_absence: OnAbsence,
        observer: Box<Observer>,
    ) -> Self {
        Self {
            queue: Queue::new(),
            memory,
            on_absence,
            observer,
            lifetime,
            is_up: AtomicBool::new(false),
            latest: AtomicI64::new(i64::MIN),
            changed: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether an authenticator of that time may be one whose entry was lost.
    pub(super) fn may_be_lost(&self, presented: &Presented) -> bool {
        presented.ctime.total_micros() <= self.changed.load(Ordering::Acquire)
    }

    /// Refuses one of them.
    pub(super) fn refuse_lost(&self, presented: &Presented) -> ReplayVerdict {
        (self.observer)(&Event::RefusedSinceChange(presented));
        ReplayVerdict::Unavailable(ReplayUnavailable::Changed)
    }

    /// The answer to an authenticator that is fresh to this process while the store is absent.
    pub(super) fn absent(&self, presented: &Presented) -> ReplayVerdict {
        match self.on_absence {
            OnAbsence::Refuse => ReplayVerdict::Unavailable(ReplayUnavailable::Down),
            OnAbsence::Memory => {
                (self.observer)(&Event::OnMemoryAlone(presented));
                ReplayVerdict::FreshHere
            }
        }
    }
}

/// What the thread knows.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    pub(super) run_file: Option<PathBuf>,
    pub(super) skew: Duration,
    /// The run that entries were last written to.
    pub(super) known: Option<Run>,
    /// The cause of the outage that was told.
    told: Option<Code>,
}

impl Worker {
    /// Reads the name of the run that was known before.
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: Settings,
        run_file: Option<PathBuf>,
        skew: Duration,
    ) -> Result<Self, ValkeyError> {
        let known = run_file.as_deref().map(run_file::read).transpose()?.flatten();
        Ok(Self { shared, settings, run_file, skew, known, told: None })
    }

    /// Answers until the queue is closed.
    pub(super) fn run(mut self, mut link: Option<Link>) {
        let shared = self.shared.clone();
        let _closing = Closing(&shared.queue);
        let mut batch = Vec::new();
        let mut tried = Instant::now();
        loop {
            let pause = if link.is_some() { HEARTBEAT } else { RETRY };
            let woken = shared.queue.take(&mut batch, Some(pause));
            if woken == Woken::Closed {
                return;
            }
            link = match link {
                Some(link) if woken == Woken::Asked => self.ask(link, &mut batch),
                Some(link) => self.look_again(link),
                None => {
                    batch.drain(..).for_each(|waiting| self.answer_absent(waiting));
                    if tried.elapsed() < RETRY {
                        continue;
                    }
                    let established = self.establish();
                    tried = Instant::now();
                    established.map_err(|error| self.lost(&error)).ok()
                }
            };
        }
    }

    /// Connects. If entries may have been lost, authenticators of that time are refused before anything else is asked.
    pub(super) fn establish(&mut self) -> Result<Link, ValkeyError> {
        let mut link = Link::establish(&self.settings)?;
        if let Some(until) = link.changed(&self.changed_key())? {
            self.shared.changed.fetch_max(until.total_micros(), Ordering::AcqRel);
        }
        self.recognise(&mut link)?;
        self.shared.is_up.store(true, Ordering::Release);
        if self.told.take().is_some() {
            (self.shared.observer)(&Event::Recovered);
        }
        Ok(link)
    }

    /// Compares the server with the one that was known. If it may have lost entries, other instances are told by a key.
    fn recognise(&mut self, link: &mut Link) -> Result<(), ValkeyError> {
        let goes_on = self.known.as_ref().map(|known| known.goes_on_as(&link.run));
        if goes_on == Some(false) {
            let until = self.refuse_until_now();
            link.leave_changed(&self.changed_key(), until, self.window().saturating_add(self.window()))?;
        }
        // After the time was left there: this process may end in between.
        if let Some(path) = self.run_file.as_deref().filter(|_| goes_on != Some(true)) {
            run_file::write(path, &link.run)?;
        }
        self.known = Some(link.run.clone());
        Ok(())
    }

    fn changed_key(&self) -> String {
        format!("{}changed", self.settings.prefix)
    }

    /// Two skews: an authenticator is accepted one skew before its time at most, by a clock that is another one off.
    fn window(&self) -> Duration {
        self.skew.saturating_mul(2)
    }

    /// Refuses authenticators that may have been accepted by any instance until this moment. Another instance may have
    /// written to the lost store after this one did last, so its own last write would be too early.
    fn refuse_until_now(&self) -> Timestamp {
        let latest = Timestamp::default().shifted(self.shared.latest.load(Ordering::Acquire));
        let until = latest.max(ambient::now()).saturating_add(self.window());
        self.shared.changed.fetch_max(until.total_micros(), Ordering::AcqRel);
        let saw = format!("another run of the replay store at {}", self.settings.at());
        let have = format!("no entries of the one before; authenticators of up to {until} are refused");
        (self.shared.observer)(&Event::Changed(&Refusal::new(code::REPLAY_STORE_CHANGED, saw, have)));
        until
    }

    /// Asks for all of them at once.
    fn ask(&mut self, mut link: Link, batch: &mut Vec<Waiting<Asked>>) -> Option<Link> {
        let keys: Vec<Kept> = batch.iter().map(|waiting| self.kept(&waiting.asked)).collect();
        match link.remember(&keys) {
            Ok(Some(verdicts)) => {
                for (waiting, verdict) in batch.drain(..).zip(verdicts) {
                    let lost =
                        verdict == ReplayVerdict::Fresh && self.shared.may_be_lost(&waiting.asked.presented);
                    let verdict =
                        if lost { self.shared.refuse_lost(&waiting.asked.presented) } else { verdict };
                    waiting.answer(verdict);
                }
                Some(link)
            }
            Ok(None) => {
                let link = self.go_on_with(link);
                for waiting in batch.drain(..) {
                    let verdict = self.shared.refuse_lost(&waiting.asked.presented);
                    waiting.answer(verdict);
                }
                link
            }
            Err(error) => {
                self.lost(&error);
                batch.drain(..).for_each(|waiting| self.answer_absent(waiting));
                None
            }
        }
    }

    fn kept(&self, asked: &Asked) -> Kept {
        let Asked { presented, now } = asked;
        let left = presented.ctime.shifted(self.shared.lifetime).micros_since(*now);
        let tag = Base64UrlUnpadded::encode_string(&presented.tag);
        // Rounded up, and a key must stay for some time.
        let milliseconds = left.div_euclid(1_000).saturating_add(1).max(1);
        Kept { key: format!("{}{tag}", self.settings.prefix), milliseconds }
    }

    fn look_again(&mut self, mut link: Link) -> Option<Link> {
        match link.is_same() {
            Ok(true) => Some(link),
            Ok(false) => self.go_on_with(link),
            Err(error) => {
                self.lost(&error);
                None
            }
        }
    }

    /// Goes on with a server that may have lost entries.
    fn go_on_with(&mut self, mut link: Link) -> Option<Link> {
        let recognised = self.recognise(&mut link);
        recognised.map_err(|error| self.lost(&error)).ok().map(|()| link)
    }

    fn answer_absent(&self, waiting: Waiting<Asked>) {
        let presented = &waiting.asked.presented;
        let lost = self.shared.may_be_lost(presented);
        let verdict = if lost { self.shared.refuse_lost(presented) } else { self.shared.absent(presented) };
        waiting.answer(verdict);
    }

    /// Tells of an outage, once for a cause.
    pub(super) fn lost(&mut self, error: &ValkeyError) {
        self.shared.is_up.store(false, Ordering::Release);
        let refusal = Refusal::from_error(error);
        let is_new = self.told.is_none_or(|told| told.number() != refusal.code().number());
        self.told = Some(refusal.code());
        if is_new {
            (self.shared.observer)(&Event::Failing(&refusal));
        }
    }
}
