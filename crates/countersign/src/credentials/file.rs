//! Caches of type FILE, and the files of those of type DIR.

use super::{Found, refusal, unwritable};
use crate::files::{self, Lock, in_file, place};
use countersign_proto::ccache::{Addition, Ccache, CcacheError, Credential};
use countersign_proto::error::{Refusal, code};
use rustix::fs::{OFlags, fcntl_setfl};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const KIND: &str = "credential cache";

/// How often a cache may be replaced by other programs while one of them is waited for.
const ATTEMPTS: usize = 20;

pub(super) fn find(path: &Path) -> Result<Found, Refusal> {
    let (ccache, left_out, metadata) = files::ccache_and_state(path)?;
    let planted_by = place::planted_by(path, &metadata);
    Ok(Found { ccache, left_out, mode: Some(metadata.mode() & 0o7777), planted_by })
}

pub(super) fn initialize(path: &Path, ccache: &Ccache) -> Result<(), Refusal> {
    let bytes = ccache.to_bytes()?;
    place::replace(path, &bytes).map_err(|error| unwritable(path.display(), &error))
}

/// Appends in place, as MIT's library does. A new file renamed over the old one would lose what MIT's kvno appends to the old
/// one, which it may have open already, waiting for the lock.
pub(super) fn store(path: &Path, credentials: &[Credential]) -> Result<(), Refusal> {
    for _ in 0..ATTEMPTS {
        let Some(held) = open_to_append(path)? else { continue };
        let bytes = files::contents_of(held.file())
            .map_err(|error| refusal(code::CCACHE_UNREADABLE, path.display(), &error))?;
        let addition = Addition::plan(bytes.expose(), credentials).map_err(|error| malformed(path, error))?;
        return append(held.file(), &addition, bytes.len())
            .map_err(|error| unwritable(path.display(), &error));
    }
    Err(unwritable(path.display(), &io::Error::other("other programs replace it all the time")))
}

fn malformed(path: &Path, error: CcacheError) -> Refusal {
    in_file(path, KIND, error.into())
}

/// The file under the writer's lock, or nothing if another file was put there meanwhile.
fn open_to_append(path: &Path) -> Result<Option<Lock>, Refusal> {
    let opened = OpenOptions::new().read(true).append(true).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refusal(code::CCACHE_UNREADABLE, path.display(), &error),
        _ => unwritable(path.display(), &error),
    })?;
    let locked = || {
        place::must_be_ours(&file)?;
        let held = Lock::exclusive(file)?;
        Ok(place::leads_to(path, held.file())?.then_some(held))
    };
    locked().map_err(|error| unwritable(path.display(), &error))
}

/// All new entries in one write at the end, so that killing this program leaves all of them or, at worst, the start of them,
/// which readers pass over and the next writer cuts off. Only then are old ones deleted.
fn append(mut file: &File, addition: &Addition, length: usize) -> io::Result<()> {
    let end = addition.end as u64;
    if addition.end < length {
        file.set_len(end)?;
    }
    if !addition.append.is_empty() {
        let bytes = addition.append.expose();
        let written = match file.write(bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::StorageFull.into()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // What was written of it is no use; where it cannot be cut off, the next writer does.
            let _ = file.set_len(end);
            return Err(error);
        }
    }
    // A file that is open for appending is written to at its end, wherever one says.
    fcntl_setfl(file, OFlags::empty())?;
    addition.removals.iter().try_for_each(|removal| file.write_all_at(&removal.times, removal.offset as u64))
}

/// Removes the name first, as MIT's library does: who reads the file still may come upon zeros, but nobody new.
pub(super) fn destroy(path: &Path) -> Result<(), Refusal> {
    // No link is followed here, not even to a file of ours: what it leads to would be overwritten.
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    let opened = OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => refusal(code::CCACHE_UNREADABLE, path.display(), &error),
        _ => unwritable(path.display(), &error),
    })?;
    let metadata = place::must_be_ours(&file).map_err(|error| unwritable(path.display(), &error))?;
    // Nothing in a file of another kind would be missed less for standing under the name of a cache.
    if let Err(error @ CcacheError::NotACcache { .. }) = Ccache::parse(&start(&file)) {
        return Err(malformed(path, error));
    }
    let wiped = fs::remove_file(path).and_then(|()| {
        if metadata.nlink() > 1 {
            return Ok(());
        }
        wipe(&file, metadata.len())
    });
    wiped.map_err(|error| unwritable(path.display(), &error))
}

/// The first two bytes; fewer are damage that is to be wiped too.
fn start(file: &File) -> Vec<u8> {
    let mut start = [0; 2];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => start.to_vec(),
        Err(_) => Vec::new(),
    }
}

fn wipe(file: &File, length: u64) -> io::Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut offset = 0;
    while offset < length {
        let count = usize::try_from(length.saturating_sub(offset)).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..count).unwrap_or(&ZEROS), offset)?;
        offset = offset.saturating_add(count as u64);
    }
    file.sync_data()
}
