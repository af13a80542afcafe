//! The lock of the store's folder: who holds it is the one that writes there, and the file says who that is.

use super::error::StoreError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// The file's name in the folder.
pub(super) const NAME: &str = "lock";

/// How much of the file is shown.
const SHOWN: u64 = 64;

/// Holds the lock until it is dropped, or the process ends, however it does.
pub(super) struct FolderLock(File);

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(NAME);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(StoreError::io(&path))?;
        // Not a POSIX record lock, which would go with any descriptor of the file that this process closes.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN) => {
                let holder = told(&file).map_err(StoreError::io(&path))?;
                return Err(StoreError::InUse { folder: folder.to_owned(), holder });
            }
            Err(error) => return Err(StoreError::Io { path, error: error.into() }),
        }
        let held = Self(file);
        held.tell().map_err(StoreError::io(&path))?;
        Ok(held)
    }

    fn tell(&self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(format!("process {}\n", std::process::id()).as_bytes(), 0)
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file would not do: a child that this process is just starting has it open too. If it fails, closing is
        // what is left.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// What the holder wrote, made fit to be shown.
fn told(file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(SHOWN).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.trim().chars().filter(|shown| !shown.is_control()).collect();
    Ok(if text.is_empty() { "another process".to_owned() } else { text })
}
