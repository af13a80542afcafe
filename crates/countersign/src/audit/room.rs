//! What the file system is asked about an audit file: whether there is room for more, and whether the name still leads to
//! the file that is open.

use std::fs::File;
use std::io;
use std::path::Path;

/// How much is reserved at once, in bytes: some hundred records.
pub(super) const RESERVED: u64 = 262_144;

/// What the system answers where room can be had in advance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Room {
    /// So many bytes can be appended.
    Reserved(u64),
    /// This file has no room to reserve: a pipe, a device, or a file system that cannot.
    Unknown,
}

/// Reserves [`RESERVED`] bytes behind the end of the file, without changing its length.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File) -> io::Result<Room> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    let end = file.metadata()?.len();
    match fallocate(file, FallocateFlags::KEEP_SIZE, end, RESERVED) {
        Ok(()) => Ok(Room::Reserved(RESERVED)),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::SPIPE) => Ok(Room::Unknown),
        Err(error) => Err(error.into()),
    }
}

/// Room is reserved on Linux alone.
#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_: &File) -> io::Result<Room> {
    Ok(Room::Unknown)
}

/// Whether `path` leads to another file than the one that is open, or to none. What cannot be found out is no change.
#[cfg(unix)]
pub(super) fn was_renamed(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) != (named.dev(), named.ino()),
        (Ok(_), Err(error)) => error.kind() == io::ErrorKind::NotFound,
        (Err(_), _) => false,
    }
}

/// An open file cannot be renamed here.
#[cfg(not(unix))]
pub(super) fn was_renamed(_: &File, _: &Path) -> bool {
    false
}
