//! Credential caches by their names: files, folders of them, and those that live in this process.
//!
//! Files are those of MIT's library, which may read and change them at the same time: reading and changing take its lock,
//! and what cannot be done under the lock is done in one step.

mod dir;
mod file;
mod memory;
mod name;

pub use name::CcacheName;

use crate::files;
use countersign_proto::ccache::{Ccache, Credential};
use countersign_proto::error::{Code, Refusal, code};
use std::fmt::Display;
use std::io;

/// A cache as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is in it.
    pub ccache: Ccache,
    /// How many bytes at the end of the file are the start of an entry that was never finished.
    pub left_out: usize,
    /// The file's permissions, if it is one: 0o600 as it should be.
    pub mode: Option<u32>,
    /// The file's owner, if that is another user than this program's and root, and everyone may make files in a folder that it
    /// is below: [`read`] refuses it.
    pub planted_by: Option<u32>,
}

/// A member of a collection of caches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its own name.
    pub name: CcacheName,
    /// Whether it is the one that the collection's name stands for.
    pub is_primary: bool,
}

/// The cache that `name` stands for; of a folder the primary one.
///
/// # Errors
/// `CCACHE_UNREADABLE` if there is none, it cannot be read, or another user may have put it there for us to use (as
/// [`files::ccache`] says), `CCACHE_MALFORMED` if it is no cache.
pub fn read(name: &CcacheName) -> Result<Ccache, Refusal> {
    match name {
        CcacheName::File(path) | CcacheName::DirMember(path) => files::ccache(path),
        CcacheName::Dir(path) => files::ccache(&dir::primary(path)?),
        CcacheName::Memory(name) => memory::find(name).map(|found| found.ccache),
    }
}

/// The same with what an operator wants to know of the file.
///
/// # Errors
/// As [`read`], but for another user's file: [`Found::planted_by`] tells of it.
pub fn find(name: &CcacheName) -> Result<Found, Refusal> {
    match name {
        CcacheName::File(path) | CcacheName::DirMember(path) => file::find(path),
        CcacheName::Dir(path) => file::find(&dir::primary(path)?),
        CcacheName::Memory(name) => memory::find(name),
    }
}

/// Puts `ccache` in the place of what `name` stands for, in one step, or makes it anew, for its owner alone. In a folder
/// that is the member of the same default principal, else the primary one if it is empty, else a new one, as MIT's kinit
/// chooses. Returns the name of what was written, to be made the primary one with [`set_primary`] where that is wanted.
///
/// # Errors
/// `CCACHE_UNWRITABLE`; the old cache is then as it was.
pub fn initialize(name: &CcacheName, ccache: &Ccache) -> Result<CcacheName, Refusal> {
    match name {
        CcacheName::File(path) => file::initialize(path, ccache)?,
        CcacheName::DirMember(path) => dir::initialize_member(path, ccache)?,
        CcacheName::Dir(path) => return dir::initialize(path, ccache).map(CcacheName::DirMember),
        CcacheName::Memory(name) => memory::initialize(name, ccache),
    }
    Ok(name.clone())
}

/// Adds tickets to a cache that exists, in the place of those that they
/// [replace](Credential::replaces); of a folder to the primary one. Programs that add tickets at the same time wait for each
/// other, and lose nothing.
///
/// # Errors
/// As [`read`], and `CCACHE_UNWRITABLE`; none of the tickets is then in the cache, or all are and an old one was not deleted.
pub fn store(name: &CcacheName, credentials: &[Credential]) -> Result<(), Refusal> {
    match name {
        CcacheName::File(path) | CcacheName::DirMember(path) => file::store(path, credentials),
        CcacheName::Dir(path) => file::store(&dir::primary(path)?, credentials),
        CcacheName::Memory(name) => memory::store(name, credentials),
    }
}

/// Removes a cache and overwrites it with zeros; of a folder the primary one. Nothing is overwritten that is no credential
/// cache, or has another name besides.
///
/// # Errors
/// As [`read`], and `CCACHE_UNWRITABLE`.
pub fn destroy(name: &CcacheName) -> Result<(), Refusal> {
    match name {
        CcacheName::File(path) | CcacheName::DirMember(path) => file::destroy(path),
        CcacheName::Dir(path) => file::destroy(&dir::primary(path)?),
        CcacheName::Memory(name) => memory::destroy(name),
    }
}

/// The caches that there are under a name: those of a folder, the primary one first, or else the one itself if it exists.
///
/// # Errors
/// `CCACHE_UNREADABLE` if a folder cannot be read.
pub fn list(name: &CcacheName) -> Result<Vec<Member>, Refusal> {
    let exists = match name {
        CcacheName::Dir(path) => return dir::list(path),
        CcacheName::File(path) | CcacheName::DirMember(path) => path.exists(),
        CcacheName::Memory(name) => memory::find(name).is_ok(),
    };
    Ok(exists.then(|| Member { name: name.clone(), is_primary: true }).into_iter().collect())
}

/// Makes a member of a folder the one that the folder's name stands for, as MIT's kswitch does. Of other caches nothing is
/// changed: each is its own.
///
/// # Errors
/// `CCACHE_UNWRITABLE`.
pub fn set_primary(name: &CcacheName) -> Result<(), Refusal> {
    match name {
        CcacheName::DirMember(path) => dir::set_primary(path),
        _ => Ok(()),
    }
}

fn refusal(code: Code, name: impl Display, error: &io::Error) -> Refusal {
    let have = if code.number() == code::CCACHE_UNREADABLE.number() {
        "nothing to read instead"
    } else {
        "nowhere else to write"
    };
    Refusal::new(code, format!("credential cache {name} ({error})"), have)
}

fn unwritable(name: impl Display, error: &io::Error) -> Refusal {
    refusal(code::CCACHE_UNWRITABLE, name, error)
}
