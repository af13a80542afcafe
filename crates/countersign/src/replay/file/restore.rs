//! Reading a folder back when the store is opened.

use super::error::{Damage, StoreError};
use super::format::{Entry, Header, offset};
use super::lock;
use super::segment::{self, EARLIEST, Sealed};
use countersign_proto::time::Timestamp;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// How the name of a file ends that is not yet part of the store.
pub(super) const UNFINISHED: &str = ".new";

/// Makes the folder, or refuses one that others may change.
pub(super) fn own_folder(folder: &Path) -> Result<(), StoreError> {
    let io = || StoreError::io(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io())?;
    let metadata = fs::metadata(folder).map_err(io())?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(StoreError::Exposed { folder: folder.to_owned(), owner, mode });
    }
    Ok(())
}

/// The files of a folder, before their entries are read.
pub(super) struct Found {
    /// By rising number.
    files: Vec<Header>,
    /// The number that the next file gets.
    pub(super) next: u64,
}

/// What the files held.
pub(super) struct Read {
    pub(super) sealed: Vec<Sealed>,
    /// Highest ctime of what was forgotten before.
    pub(super) horizon: Timestamp,
    /// Bytes that were cut off.
    pub(super) torn: u64,
}

impl Found {
    /// Looks at every header. What an earlier process left unfinished is removed.
    pub(super) fn look(folder: &Path) -> Result<Self, StoreError> {
        let numbers = numbers(folder)?;
        let next = numbers.last().map_or(0, |last| last.saturating_add(1));
        let mut files = Vec::with_capacity(numbers.len());
        for &sequence in &numbers {
            let path = segment::path(folder, sequence);
            match segment::header(&path, sequence)? {
                Some(header) => files.push(header),
                // It was being made when the process ended, so nothing was ever in it.
                None if sequence.saturating_add(1) == next => {
                    fs::remove_file(&path).map_err(StoreError::io(&path))?;
                }
                None => return Err(StoreError::Damaged { path, what: Damage::Header }),
            }
        }
        let found = Self { files, next };
        found.must_be_complete(folder)?;
        Ok(found)
    }

    /// The newest file says from which on they are needed.
    fn must_be_complete(&self, folder: &Path) -> Result<(), StoreError> {
        let Some(newest) = self.files.last() else { return Ok(()) };
        let mut expected = newest.oldest;
        for header in self.files.iter().filter(|header| header.sequence >= newest.oldest) {
            if header.sequence != expected {
                break;
            }
            expected = expected.saturating_add(1);
        }
        if expected > newest.sequence {
            return Ok(());
        }
        let path = segment::path(folder, expected);
        Err(StoreError::Damaged { path, what: Damage::Missing })
    }

    /// The key under which clients were hashed, if there are files.
    pub(super) fn client_key(&self) -> Option<[u8; 16]> {
        self.files.last().map(|header| header.client_key)
    }

    /// Reads all entries and gives each to `take`. A torn end is cut off.
    pub(super) fn read(self, folder: &Path, mut take: impl FnMut(Entry)) -> Result<Read, StoreError> {
        let mut read = Read { sealed: Vec::with_capacity(self.files.len()), horizon: EARLIEST, torn: 0 };
        let last = self.files.last().map(|header| header.sequence);
        for header in &self.files {
            let path = segment::path(folder, header.sequence);
            let is_last = Some(header.sequence) == last;
            let contents = segment::read(&path, header, is_last, &mut take)?;
            if contents.torn > 0 {
                cut(&path, offset(contents.sealed.entries)).map_err(StoreError::io(&path))?;
            }
            read.horizon = read.horizon.max(Timestamp::default().shifted(header.horizon));
            read.torn = read.torn.saturating_add(contents.torn);
            read.sealed.push(contents.sealed);
        }
        Ok(read)
    }
}

fn cut(path: &Path, length: u64) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

/// The numbers of the files that there are, rising. What is not of this store is left alone.
fn numbers(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let io = || StoreError::io(folder);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder).map_err(io())? {
        let entry = entry.map_err(io())?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|&name| name != lock::NAME) else { continue };
        if let Some(number) = segment::sequence(name) {
            numbers.push(number);
        } else if name.strip_suffix(UNFINISHED).is_some_and(|name| segment::sequence(name).is_some()) {
            fs::remove_file(entry.path()).map_err(StoreError::io(&entry.path()))?;
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}
