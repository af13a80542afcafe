//! Keytabs that are changed: entries added, replaced and removed in a file that MIT's programs may read and change at the
//! same time.
//!
//! A file is changed where it lies, under the lock that those programs take, and not by one renamed over it: a `ktadd` that
//! has the old file open already, waiting for the lock, would write keys into a file that nobody finds any more, after the
//! KDC has them. New entries come to be seen all at once, removed ones are overwritten with zeros, and mode and owner stay.

use crate::ambient;
use crate::files::{self, Lock, in_file, place};
use countersign_proto::crypto::{Etype, Key, etype_name};
use countersign_proto::error::{Refusal, code};
use countersign_proto::keytab::{Change, Keytab, KeytabEntry, KeytabError, Selection};
use countersign_proto::secret::Secret;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

const KIND: &str = "keytab";

/// A keytab without entries.
const EMPTY: &[u8] = b"\x05\x02";

/// How often a keytab may be replaced by other programs while one of them is waited for.
const ATTEMPTS: usize = 20;

/// What became of a keytab.
#[derive(Clone, Debug)]
pub struct Changed {
    /// How many entries are new.
    pub added: usize,
    /// The entries that are there no more: those that were removed, or others took the place of.
    pub removed: Vec<KeytabEntry>,
    /// How many of the entries to be added were there already, key and all.
    pub held: usize,
    /// Of the entries to be added, those with another key that a later one took the place of.
    pub passed_over: Vec<KeytabEntry>,
}

impl From<Change> for Changed {
    fn from(Change { added, removed, held, passed_over, .. }: Change) -> Self {
        Self { added, removed, held, passed_over }
    }
}

/// The keytab at `path`, read under the lock.
///
/// # Errors
/// `KEYTAB_UNREADABLE`, `KEYTAB_MALFORMED`.
pub fn read(path: &Path) -> Result<Keytab, Refusal> {
    files::keytab(path)
}

/// A new random key, from this thread's generator, which the operating system seeds.
#[must_use]
pub fn random_key(etype: Etype) -> Key {
    Key::generate(etype, &mut ambient::rng())
}

/// Adds entries to the keytab at `path`, which is made, for its owner alone, if there is none. One of the same principal,
/// kvno and etype is replaced; of two such in `entries` the later one counts.
///
/// # Errors
/// `KEYTAB_UNWRITABLE`, `KEYTAB_UNREADABLE`, `KEYTAB_MALFORMED`; the keytab is then as it was, or has old entries still beside
/// the new ones.
pub fn add(path: &Path, entries: &[KeytabEntry]) -> Result<Changed, Refusal> {
    for _ in 0..ATTEMPTS {
        if let Some(changed) = change(path, |file| Change::adding(file, entries))? {
            return Ok(changed);
        }
        let first = Change::adding(EMPTY, entries).map_err(|error| in_file(path, KIND, error.into()))?;
        let length = EMPTY.len().saturating_add(first.append.len());
        let mut bytes = Secret::new(Vec::with_capacity(length));
        bytes.expose_mut().extend_from_slice(EMPTY);
        bytes.expose_mut().extend_from_slice(first.append.expose());
        match place::create(path, &bytes) {
            Ok(()) => return Ok(first.into()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unwritable(path, &error)),
        }
    }
    Err(unwritable(path, &io::Error::other("other programs replace it all the time")))
}

/// Removes the entries that `selection` means, and returns them.
///
/// # Errors
/// `KEYTAB_ENTRY_ABSENT` if there is none, else as [`add`].
pub fn remove(path: &Path, selection: &Selection) -> Result<Vec<KeytabEntry>, Refusal> {
    for _ in 0..ATTEMPTS {
        match change(path, |file| Change::removing(file, selection))? {
            Some(changed) if changed.removed.is_empty() => {
                return Err(none_selected(path, selection, &read(path)?));
            }
            Some(changed) => return Ok(changed.removed),
            // There was none; reading says so.
            None => drop(read(path)?),
        }
    }
    Err(unwritable(path, &io::Error::other("other programs replace it all the time")))
}

/// Changes the file as `plan` says, or returns nothing if there is none.
fn change(
    path: &Path,
    plan: impl Fn(&[u8]) -> Result<Change, KeytabError>,
) -> Result<Option<Changed>, Refusal> {
    for _ in 0..ATTEMPTS {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unwritable(path, &error)),
        };
        place::must_be_ours_in_shared_folders(path, &file).map_err(|error| unwritable(path, &error))?;
        let held = Lock::exclusive(file).map_err(|error| unwritable(path, &error))?;
        if !place::leads_to(path, held.file()).map_err(|error| unwritable(path, &error))? {
            continue;
        }
        let bytes = files::contents_of(held.file()).map_err(|error| unwritable(path, &error))?;
        let change = plan(bytes.expose()).map_err(|error| in_file(path, KIND, error.into()))?;
        carry_out(held.file(), &change).map_err(|error| unwritable(path, &error))?;
        return Ok(Some(change.into()));
    }
    Err(unwritable(path, &io::Error::other("other programs replace it all the time")))
}

fn carry_out(file: &File, change: &Change) -> io::Result<()> {
    append(file, change)?;
    change.holes.iter().try_for_each(|hole| make_hole(file, hole))?;
    file.sync_data()
}

/// Appends what readers take for the end, and then, with the length of the first new entry, lets them see all at once.
fn append(file: &File, change: &Change) -> io::Result<()> {
    let Some((length, rest)) = change.append.expose().split_first_chunk::<4>() else { return Ok(()) };
    let end = change.end as u64;
    let written = file
        .set_len(end)
        .and_then(|()| file.write_all_at(&[0; 4], end))
        .and_then(|()| file.write_all_at(rest, end.saturating_add(4)))
        .and_then(|()| file.sync_data())
        .and_then(|()| file.write_all_at(length, end))
        .and_then(|()| file.sync_data());
    if written.is_err() {
        // Nobody sees what stands there; if it cannot be cut off, the next writer does.
        let _ = file.set_len(end);
    }
    written
}

/// The length of a hole is negative; zeros are in it.
fn make_hole(file: &File, hole: &Range<usize>) -> io::Result<()> {
    let start = hole.start as u64;
    let zeros = vec![0; hole.len().saturating_sub(4)];
    let length = i32::try_from(zeros.len()).unwrap_or(i32::MAX).saturating_neg();
    file.write_all_at(&length.to_be_bytes(), start)?;
    file.write_all_at(&zeros, start.saturating_add(4))
}

fn unwritable(path: &Path, error: &io::Error) -> Refusal {
    let saw = format!("keytab {} ({error})", path.display());
    Refusal::new(code::KEYTAB_UNWRITABLE, saw, "nowhere else to write")
}

fn none_selected(path: &Path, selection: &Selection, keytab: &Keytab) -> Refusal {
    let mut saw = format!("keytab {} without an entry of {}", path.display(), selection.principal);
    selection.kvno.iter().for_each(|kvno| saw.push_str(&format!(" kvno {kvno}")));
    selection.etype.iter().for_each(|etype| {
        saw.push(' ');
        saw.push_str(&etype_name(*etype));
    });
    if selection.old {
        saw.push_str(" older than the newest");
    }
    let of_principal = keytab.entries.iter().filter(|entry| entry.principal == selection.principal).count();
    let have = format!("{of_principal} entries of that principal, {} in all", keytab.entries.len());
    Refusal::new(code::KEYTAB_ENTRY_ABSENT, saw, have)
}
