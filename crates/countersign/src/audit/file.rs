//! The file of JSON lines that holds the records, across rotation and full disks.

use super::room::{self, Room};
use crate::mutex::lock;
use countersign_proto::error::{Refusal, code};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often it is looked whether the file was renamed away.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Room that must be reserved before a handshake may count on its record: far more than one record has.
const ENOUGH: u64 = room::RESERVED / 2;

/// A file that records are appended to, one JSON object a line. It follows rotation: when the file was renamed away, a
/// new one is made under its name within a second ([`AuditFile::append`]), or at once by [`AuditFile::reopen`].
pub struct AuditFile {
    open: Mutex<Open>,
    path: PathBuf,
}

/// What became of a record that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Appended {
    /// It is in the file of that name.
    Written,
    /// It is in the file that was renamed away, because no new one could be opened, for this reason.
    InRenamed(Refusal),
}

/// The file as it is open now.
struct Open {
    file: File,
    /// When it was last looked whether the name still leads here.
    looked: Instant,
    /// Bytes that can be appended for sure, as far as that was asked.
    room: Room,
    /// Why the last record could not be written. Part of its line may stand at the end.
    broken: Option<Refusal>,
    /// Why no new file could be opened, if this one was renamed away.
    astray: Option<Refusal>,
}

impl AuditFile {
    /// Opens or makes the file; what it holds stays. A new one can be read by its owner alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let file = opened(path)?;
        Ok(Self { open: Mutex::new(Open::new(file, Instant::now())), path: path.to_owned() })
    }

    /// Appends a record in one write, so that lines of several programs do not mix.
    ///
    /// # Errors
    /// If it cannot be written; part of a line may stand at the end of the file then, and the next record begins a line.
    pub fn append(&self, record: &impl Serialize) -> Result<(), Refusal> {
        self.append_at(record, Instant::now()).map(|_| ())
    }

    /// Finds out whether a record could be written now: the last one could, and there is room for more, where the file
    /// system can tell. For a handshake that must not succeed without its record; it costs a system call in some hundred.
    ///
    /// # Errors
    /// If no record could be written.
    pub fn ready(&self) -> Result<(), Refusal> {
        let mut open = lock(&self.open);
        self.follow(&mut open, Instant::now());
        // Looked at anew where the last record failed: without clients there may never be another one.
        open.mend()
            .and_then(|()| open.make_room())
            .map_err(|error| open.broken.clone().unwrap_or_else(|| failed(&self.path, &error)))
    }

    /// Opens the file of that name anew, after it was rotated away (SIGHUP).
    ///
    /// # Errors
    /// If it cannot be opened; records go on into the old one.
    pub fn reopen(&self) -> Result<(), Refusal> {
        let file = opened(&self.path)?;
        *lock(&self.open) = Open::new(file, Instant::now());
        Ok(())
    }

    pub(super) fn append_at(&self, record: &impl Serialize, now: Instant) -> Result<Appended, Refusal> {
        let json = serde_json::to_string(record).map_err(|error| failed(&self.path, &error.into()))?;
        let mut open = lock(&self.open);
        self.follow(&mut open, now);
        if let Err(error) = open.write(&json) {
            let refusal = failed(&self.path, &error);
            open.broken = Some(refusal.clone());
            return Err(refusal);
        }
        Ok(open.astray.clone().map_or(Appended::Written, Appended::InRenamed))
    }

    /// Opens a new file if the old one was renamed away.
    fn follow(&self, open: &mut Open, now: Instant) {
        if now.saturating_duration_since(open.looked) < LOOK_EVERY {
            return;
        }
        open.looked = now;
        if room::was_renamed(&open.file, &self.path) {
            match opened(&self.path) {
                Ok(file) => *open = Open::new(file, now),
                Err(refusal) => open.astray = Some(refusal),
            }
        }
    }
}

impl Open {
    fn new(file: File, now: Instant) -> Self {
        Self { file, looked: now, room: Room::Reserved(0), broken: None, astray: None }
    }

    fn write(&mut self, json: &str) -> io::Result<()> {
        // A line that was begun and not ended must not swallow this one.
        let before = if self.broken.is_some() { "\n" } else { "" };
        let line = format!("{before}{json}\n");
        self.file.write_all(line.as_bytes())?;
        self.broken = None;
        if let Room::Reserved(left) = &mut self.room {
            *left = left.saturating_sub(line.len() as u64);
        }
        Ok(())
    }

    /// Ends the line that may have been begun, if one could not be ended, once there is room for more.
    fn mend(&mut self) -> io::Result<()> {
        if self.broken.is_some() {
            if matches!(self.room, Room::Reserved(_)) {
                self.room = room::reserve(&self.file)?;
            }
            self.file.write_all(b"\n")?;
            self.broken = None;
        }
        Ok(())
    }

    fn make_room(&mut self) -> io::Result<()> {
        match self.room {
            Room::Reserved(left) if left < ENOUGH => self.room = room::reserve(&self.file)?,
            Room::Reserved(_) | Room::Unknown => (),
        }
        Ok(())
    }
}

fn opened(path: &Path) -> Result<File, Refusal> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(code::AUDIT_FAILED, format!("audit file {} ({error})", path.display()), "a record to write")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    fn begun(folder: &TempDir) -> (AuditFile, PathBuf) {
        let path = folder.path().join("audit.jsonl");
        (AuditFile::open(&path).unwrap(), path)
    }

    #[test]
    fn a_file_that_was_renamed_away_is_made_anew_within_a_second() {
        let folder = TempDir::new().unwrap();
        let (file, path) = begun(&folder);
        let start = Instant::now();
        file.append_at(&1, start).unwrap();
        let rotated = folder.path().join("audit.1");
        std::fs::rename(&path, &rotated).unwrap();
        file.append_at(&2, start + LOOK_EVERY / 2).unwrap();
        assert_eq!(file.append_at(&3, start + LOOK_EVERY * 2).unwrap(), Appended::Written);
        assert_eq!(
            (lines(&rotated), lines(&path)),
            (vec!["1".to_owned(), "2".to_owned()], vec!["3".to_owned()])
        );
    }

    #[test]
    fn a_file_that_another_one_took_the_name_of_is_left() {
        let folder = TempDir::new().unwrap();
        let (file, path) = begun(&folder);
        let other = folder.path().join("other");
        std::fs::write(&other, "before\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        file.append_at(&1, Instant::now() + LOOK_EVERY * 2).unwrap();
        assert_eq!(lines(&path), ["before", "1"]);
    }

    #[test]
    fn reopening_takes_the_new_file_at_once() {
        let folder = TempDir::new().unwrap();
        let (file, path) = begun(&folder);
        file.append(&1).unwrap();
        let rotated = folder.path().join("audit.1");
        std::fs::rename(&path, &rotated).unwrap();
        file.reopen().unwrap();
        file.append(&2).unwrap();
        assert_eq!((lines(&rotated), lines(&path)), (vec!["1".to_owned()], vec!["2".to_owned()]));
    }

    #[test]
    fn records_go_on_into_the_renamed_file_while_no_new_one_can_be_made() {
        let folder = TempDir::new().unwrap();
        let logs = folder.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let file = AuditFile::open(&logs.join("audit.jsonl")).unwrap();
        let rotated = folder.path().join("rotated");
        std::fs::rename(logs.join("audit.jsonl"), &rotated).unwrap();
        std::fs::remove_dir(&logs).unwrap();
        let appended = file.append_at(&1, Instant::now() + LOOK_EVERY * 2).unwrap();
        assert!(
            matches!(&appended, Appended::InRenamed(why) if why.code() == code::AUDIT_FAILED),
            "{appended:?}"
        );
        assert!(file.reopen().is_err());
        assert_eq!(lines(&rotated), ["1"]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn room_is_reserved_before_a_record_is_counted_on_and_the_file_stays_as_long_as_it_is() {
        use std::os::unix::fs::MetadataExt;
        let folder = TempDir::new().unwrap();
        let (file, path) = begun(&folder);
        file.ready().unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 0);
        // A file system that reserves nothing says so, and nothing is expected of it.
        if lock(&file.open).room != Room::Unknown {
            assert!(metadata.blocks() * 512 >= room::RESERVED, "{}", metadata.blocks());
        }
        file.append(&"x".repeat(1_000)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1_003);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_could_not_be_written_is_not_ready_until_it_can_be() {
        let file = AuditFile::open(Path::new("/dev/full")).unwrap();
        assert_eq!(file.ready(), Ok(()), "nobody knows before the first record");
        let refusal = file.append(&1).unwrap_err();
        assert_eq!(file.ready(), Err(refusal));
        let folder = TempDir::new().unwrap();
        let good = begun(&folder).1;
        lock(&file.open).file = opened(&good).unwrap();
        assert_eq!(file.ready(), Ok(()), "it is tried, because no record may come while nobody is let in");
        file.append(&2).unwrap();
        assert_eq!(file.ready(), Ok(()));
        // The line that may have been begun is ended first.
        assert_eq!(std::fs::read_to_string(&good).unwrap(), "\n2\n");
    }
}
