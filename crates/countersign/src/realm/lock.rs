//! The lock of a realm's folder: who holds it has the database, and the file says who that is.

use super::{own_file, unwritable};
use countersign_proto::error::{Refusal, code};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file's name in the folder.
const NAME: &str = "lock";

/// How much of the file is shown.
const SHOWN: u64 = 512;

/// Holds the lock until it is dropped, or the process ends, however it does.
pub(super) struct RealmLock {
    file: File,
}

/// Who holds a lock, in its own words.
pub(super) struct Holder(pub(super) String);

impl RealmLock {
    /// Takes the lock of `folder`, and writes `what` this process does with the realm: `serves 127.0.0.1:88`.
    ///
    /// # Errors
    /// `REALM_UNREADABLE` if there is no folder to hold a lock of.
    pub(super) fn take(folder: &Path, what: &str) -> Result<Result<Self, Holder>, Refusal> {
        let path = folder.join(NAME);
        let file = own_file(&path, true)?;
        // Not a POSIX record lock, which would go with any descriptor of the file that this process closes.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                return Ok(Err(Holder(told(file).map_err(|error| unwritable(&path, &error))?)));
            }
            Err(error) => return Err(unwritable(&path, &error.into())),
        }
        let held = Self { file };
        held.tell(what).map_err(|error| unwritable(&path, &error))?;
        Ok(Ok(held))
    }

    /// Writes what this process does with the realm.
    pub(super) fn tell(&self, what: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(format!("process {} {what}\n", std::process::id()).as_bytes(), 0)
    }
}

impl Drop for RealmLock {
    fn drop(&mut self) {
        // What stands in the file counts only while somebody holds the lock, so that a failure changes nothing.
        let _ = self.file.set_len(0);
    }
}

/// What the holder wrote, made fit to be shown.
fn told(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let text: String =
        String::from_utf8_lossy(&bytes).trim().chars().filter(|shown| !shown.is_control()).collect();
    Ok(if text.is_empty() { "another process".to_owned() } else { text })
}

impl Holder {
    /// The refusal of whoever must have the realm alone.
    pub(super) fn in_use(&self, folder: &Path) -> Refusal {
        let saw = format!("realm {} in use: {}", folder.display(), self.0);
        Refusal::new(code::REALM_IN_USE, saw, "one process at a time for a realm")
    }
}
