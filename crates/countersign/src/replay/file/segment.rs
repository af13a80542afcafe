//! One file of the store: reading it from its beginning, and appending to it.

use super::Durability;
use super::error::{Damage, StoreError};
use super::format::{ENTRY_LEN, Entries, Entry, HEADER_LEN, Header, NoHeader, offset};
use countersign_proto::time::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How many bytes are read at once, a whole number of entries.
const PIECE: usize = ENTRY_LEN * 1_024;

/// The path of the file with that number.
pub(super) fn path(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:016x}.log"))
}

/// The number of the file by that name, if it is one of ours.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// A file to which nothing is appended any more.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) sequence: u64,
    pub(super) entries: u64,
    /// The highest ctime in it.
    pub(super) newest: Timestamp,
}

/// The header of the file, or `None` if it was not yet written when the program ended.
pub(super) fn header(path: &Path, sequence: u64) -> Result<Option<Header>, StoreError> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    let file = File::open(path).map_err(StoreError::io(path))?;
    file.take(HEADER_LEN as u64).read_to_end(&mut bytes).map_err(StoreError::io(path))?;
    let damaged = |what| StoreError::Damaged { path: path.to_owned(), what };
    match Header::parse(&bytes) {
        Ok(header) if header.sequence == sequence => Ok(Some(header)),
        Ok(_) => Err(damaged(Damage::Name)),
        Err(NoHeader::Unwritten) => Ok(None),
        Err(NoHeader::TooNew(version)) => Err(StoreError::TooNew { path: path.to_owned(), version }),
        Err(NoHeader::Damaged) => Err(damaged(Damage::Header)),
    }
}

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) sealed: Sealed,
    /// Bytes at the end that were being written when the program or the machine stopped.
    pub(super) torn: u64,
}

/// Reads the entries of a file and gives each to `take`. The `last` file may have a torn end, no other may.
pub(super) fn read(
    path: &Path,
    header: &Header,
    last: bool,
    mut take: impl FnMut(Entry),
) -> Result<Contents, StoreError> {
    let io = || StoreError::io(path);
    let mut file = File::open(path).map_err(io())?;
    let length = file.metadata().map_err(io())?.len();
    let mut sealed =
        Sealed { path: path.to_owned(), sequence: header.sequence, entries: 0, newest: EARLIEST };
    let entries = Entries::of(header);
    let mut rest = Rest { index: 0, good: None, ends_in_zeros: false };
    let mut piece = vec![0; PIECE];
    file.seek(SeekFrom::Start(HEADER_LEN as u64)).map_err(io())?;
    loop {
        let count = fill(&mut file, &mut piece).map_err(io())?;
        let got = piece.get(..count).unwrap_or_default();
        for bytes in got.chunks(ENTRY_LEN) {
            let entry = entries.read(bytes, rest.index);
            match (rest.good, entry) {
                (None, Some(entry)) => {
                    sealed.newest = sealed.newest.max(entry.ctime);
                    sealed.entries = sealed.entries.saturating_add(1);
                    take(entry);
                }
                (Some(good), Some(_)) => return Err(damaged(path, good)),
                (good, None) => rest.bad(good, bytes),
            }
            rest.index = rest.index.saturating_add(1);
        }
        if count < PIECE {
            break;
        }
    }
    match rest.good {
        Some(good) if !(last && rest.is_torn()) => Err(damaged(path, good)),
        _ => Ok(Contents { torn: length.saturating_sub(offset(sealed.entries)), sealed }),
    }
}

/// Earlier than every entry.
pub(super) const EARLIEST: Timestamp = Timestamp::new(i64::MIN, 0);

fn damaged(path: &Path, entry: u64) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what: Damage::Entry(entry) }
}

/// What comes after the good entries.
struct Rest {
    /// Entries that were looked at.
    index: u64,
    /// How many were good, once one was not.
    good: Option<u64>,
    ends_in_zeros: bool,
}

impl Rest {
    fn bad(&mut self, good: Option<u64>, bytes: &[u8]) {
        self.good = good.or(Some(self.index));
        if bytes.len() == ENTRY_LEN {
            self.ends_in_zeros = bytes.last_chunk() == Some(&[0; 8]);
        } else if good.is_none() {
            // Nothing but a part of one entry.
            self.ends_in_zeros = true;
        }
    }

    /// Whether a write was cut short there. What a machine without power did not write reads as zeros, and a process that
    /// ended wrote a part of an entry; anything else was altered afterwards.
    fn is_torn(&self) -> bool {
        self.ends_in_zeros
    }
}

fn fill(file: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut count = 0_usize;
    while let Some(space) = piece.get_mut(count..).filter(|space| !space.is_empty()) {
        match file.read(space) {
            Ok(0) => break,
            Ok(more) => count = count.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// A file that entries are appended to.
pub(super) struct Active {
    file: File,
    entries: Entries,
    pub(super) sealed: Sealed,
    /// What is about to be written, kept for its space.
    buffer: Vec<u8>,
}

impl Active {
    /// Makes the file at `path`, whatever was left there of an attempt that failed.
    pub(super) fn create(path: PathBuf, header: &Header, durability: Durability) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all_at(&header.to_bytes(), 0)?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        let sealed = Sealed { path, sequence: header.sequence, entries: 0, newest: EARLIEST };
        Ok(Self { file, entries: Entries::of(header), sealed, buffer: Vec::new() })
    }

    /// Appends the entries by one write. If it fails the file is as if nothing had been appended: the next write begins at
    /// the same place.
    pub(super) fn append(
        &mut self,
        added: impl Iterator<Item = Entry>,
        durability: Durability,
    ) -> io::Result<()> {
        self.buffer.clear();
        let (mut index, mut newest) = (self.sealed.entries, self.sealed.newest);
        for entry in added {
            self.entries.write(&entry, index, &mut self.buffer);
            index = index.saturating_add(1);
            newest = newest.max(entry.ctime);
        }
        self.file.write_all_at(&self.buffer, offset(self.sealed.entries))?;
        if durability == Durability::Power {
            self.file.sync_data()?;
        }
        self.sealed.entries = index;
        self.sealed.newest = newest;
        Ok(())
    }

    /// Finds out whether an entry could be appended, and leaves the file as if nothing had been.
    pub(super) fn try_append(&self, durability: Durability) -> io::Result<()> {
        // What a write that failed left must not stand behind what is written here.
        self.seal()?;
        self.file.write_all_at(&[0; ENTRY_LEN], offset(self.sealed.entries))?;
        if durability == Durability::Power {
            self.file.sync_data()?;
        }
        self.seal()
    }

    /// Cuts off what a write that failed may have left at the end.
    pub(super) fn seal(&self) -> io::Result<()> {
        self.file.set_len(offset(self.sealed.entries))
    }

    /// Puts all of it where a machine without power keeps it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
