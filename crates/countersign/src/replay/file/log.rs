//! The log behind the store: entries are appended to the newest file; files are deleted whole once all that is in them has
//! expired, and rewritten when too little of what is in them has not.

use super::Durability;
use super::format::{Entries, Entry, Header};
use super::restore::{Read, UNFINISHED};
use super::segment::{self, Active, EARLIEST, Sealed};
use crate::ambient;
use countersign_proto::time::Timestamp;
use rand_core::Rng;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file takes entries for this part of the time that each is remembered.
const PARTS: i64 = 8;

/// Most entries that a file has before the next one is begun: 6 MiB of them.
const FILE_ENTRIES: u64 = 131_072;

/// How many entries the files may always hold, however few of them are needed.
const SLACK: u64 = 65_536;

/// What does not change while the store is open.
pub(super) struct Setting {
    pub(super) folder: PathBuf,
    pub(super) durability: Durability,
    /// How long after its ctime an entry is needed, in microseconds.
    pub(super) lifetime: i64,
    pub(super) client_key: [u8; 16],
}

/// The files, and the one that is appended to.
pub(super) struct Log {
    setting: Setting,
    active: Active,
    /// When the active file was begun.
    begun: Timestamp,
    /// Older files, by rising number.
    sealed: Vec<Sealed>,
    horizon: Timestamp,
    /// Files that are no longer needed and could not be deleted yet.
    leftover: Vec<PathBuf>,
}

impl Log {
    /// Goes on after what was read, in a new file with the number `next`.
    pub(super) fn begin(setting: Setting, read: Read, next: u64, now: Timestamp) -> io::Result<Self> {
        let mut plan = Plan { sealed: read.sealed, horizon: read.horizon, unneeded: Vec::new() };
        plan.leave_out_expired(setting.lifetime, now);
        let active = plan.next_file(&setting, next)?;
        let mut log = Self {
            setting,
            active,
            begun: now,
            sealed: plan.sealed,
            horizon: plan.horizon,
            leftover: plan.unneeded,
        };
        log.settle()?;
        Ok(log)
    }

    /// Appends entries, which are in the system's hands, or on the disk if that is the setting, when this returns. `live` is
    /// about how many entries are still needed.
    pub(super) fn append(
        &mut self,
        added: impl Iterator<Item = Entry>,
        live: u64,
        now: Timestamp,
    ) -> io::Result<()> {
        if self.is_due(now) {
            // If no next file can be begun this one can still be written; it is tried again with the next entries.
            let _ = self.rotate(live, now);
        }
        self.active.append(added, self.setting.durability)
    }

    /// Finds out whether entries could be appended.
    pub(super) fn try_append(&mut self) -> io::Result<()> {
        self.active.try_append(self.setting.durability)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let entries = self.active.sealed.entries;
        let age = now.abs_diff(self.begun).as_micros();
        let old = u128::try_from(self.setting.lifetime / PARTS).unwrap_or(0);
        entries >= FILE_ENTRIES || (entries > 0 && age >= old)
    }

    /// Begins the next file. If that fails everything stays as it was.
    fn rotate(&mut self, live: u64, now: Timestamp) -> io::Result<()> {
        self.active.seal()?;
        let mut plan = Plan { sealed: self.sealed.clone(), horizon: self.horizon, unneeded: Vec::new() };
        plan.sealed.push(self.active.sealed.clone());
        plan.leave_out_expired(self.setting.lifetime, now);
        let mut next = self.active.sealed.sequence.saturating_add(1);
        if plan.entries() > live.saturating_mul(2).saturating_add(SLACK) {
            plan.rewrite(&self.setting, next, now)?;
            next = next.saturating_add(1);
        }
        self.active = plan.next_file(&self.setting, next)?;
        self.begun = now;
        self.sealed = plan.sealed;
        self.horizon = plan.horizon;
        self.leftover.append(&mut plan.unneeded);
        self.settle()
    }

    /// Makes the new file's name last, and then deletes what is not needed beside it.
    fn settle(&mut self) -> io::Result<()> {
        if self.setting.durability == Durability::Power {
            sync_folder(&self.setting.folder)?;
        }
        // What cannot be deleted now is tried again with the next file; it holds nothing that the horizon does not refuse.
        self.leftover
            .retain(|path| fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
        Ok(())
    }

    /// Puts everything on the disk.
    pub(super) fn close(&self) -> io::Result<()> {
        self.active.sync()
    }
}

/// What the files will be once the next one is begun.
struct Plan {
    sealed: Vec<Sealed>,
    horizon: Timestamp,
    unneeded: Vec<PathBuf>,
}

impl Plan {
    /// Leaves out the oldest files of which all entries have expired.
    fn leave_out_expired(&mut self, lifetime: i64, now: Timestamp) {
        let needed = |file: &Sealed| file.entries > 0 && file.newest.shifted(lifetime) > now;
        let count = self.sealed.iter().position(needed).unwrap_or(self.sealed.len());
        for file in self.sealed.drain(..count) {
            self.horizon = self.horizon.max(file.newest);
            self.unneeded.push(file.path);
        }
    }

    fn entries(&self) -> u64 {
        self.sealed.iter().fold(0, |sum, file| sum.saturating_add(file.entries))
    }

    /// Writes what has not expired of all files into one, which takes their place under the number `sequence`.
    fn rewrite(&mut self, setting: &Setting, sequence: u64, now: Timestamp) -> io::Result<()> {
        let path = segment::path(&setting.folder, sequence);
        let unfinished = PathBuf::from(format!("{}{UNFINISHED}", path.display()));
        let mut header = self.header(setting, sequence, sequence);
        let mut written = Rewritten::create(&unfinished, &header)?;
        for file in &self.sealed {
            let old = segment::header(&file.path, file.sequence).map_err(io::Error::other)?;
            let old = old.ok_or_else(|| io::Error::other(format!("{} is gone", file.path.display())))?;
            let mut failed = Ok(());
            segment::read(&file.path, &old, false, |entry| {
                if entry.ctime.shifted(setting.lifetime) <= now {
                    self.horizon = self.horizon.max(entry.ctime);
                } else if failed.is_ok() {
                    failed = written.add(&entry);
                }
            })
            .map_err(io::Error::other)?;
            failed?;
        }
        header.horizon = self.horizon.total_micros();
        let (entries, newest) = written.finish(&header)?;
        fs::rename(&unfinished, &path)?;
        sync_folder(&setting.folder)?;
        self.unneeded.extend(self.sealed.drain(..).map(|file| file.path));
        self.sealed.push(Sealed { path, sequence, entries, newest });
        Ok(())
    }

    fn next_file(&self, setting: &Setting, sequence: u64) -> io::Result<Active> {
        let oldest = self.sealed.first().map_or(sequence, |file| file.sequence);
        let header = self.header(setting, sequence, oldest);
        let path = segment::path(&setting.folder, sequence);
        Active::create(path, &header, setting.durability)
    }

    fn header(&self, setting: &Setting, sequence: u64, oldest: u64) -> Header {
        let mut salt = [0; 16];
        ambient::rng().fill_bytes(&mut salt);
        let horizon = self.horizon.total_micros();
        Header { sequence, oldest, horizon, client_key: setting.client_key, salt }
    }
}

/// A file that is written anew, and is nothing yet.
struct Rewritten {
    file: BufWriter<File>,
    checksums: Entries,
    entries: u64,
    newest: Timestamp,
    bytes: Vec<u8>,
}

impl Rewritten {
    fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut file = BufWriter::new(file);
        file.write_all(&header.to_bytes())?;
        Ok(Self { file, checksums: Entries::of(header), entries: 0, newest: EARLIEST, bytes: Vec::new() })
    }

    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        self.bytes.clear();
        self.checksums.write(entry, self.entries, &mut self.bytes);
        self.file.write_all(&self.bytes)?;
        self.entries = self.entries.saturating_add(1);
        self.newest = self.newest.max(entry.ctime);
        Ok(())
    }

    /// Writes the header as it has become. It lies on the disk before the files that it replaces are deleted.
    fn finish(self, header: &Header) -> io::Result<(u64, Timestamp)> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&header.to_bytes(), 0)?;
        file.sync_all()?;
        Ok((self.entries, self.newest))
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
