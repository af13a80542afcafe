//! Caches of type DIR: a folder of files whose names begin with `tkt`, and a file `primary` with the name of one of them.

use super::file;
use super::name::is_member_name;
use super::{CcacheName, Member, refusal, unwritable};
use crate::ambient;
use crate::files::place;
use countersign_proto::ccache::Ccache;
use countersign_proto::error::{Refusal, code};
use countersign_proto::secret::Secret;
use rand_core::Rng;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The member that is primary where nothing says which.
const FIRST: &str = "tkt";
/// Most members of a folder that are looked at.
const MAX_MEMBERS: usize = 4_096;
/// Longest name of a member in the file `primary`; MIT's library reads no longer one.
const MAX_NAME: usize = 62;
/// Most bytes that are read of that file: one more than such a name and the end of its line.
const MAX_PRIMARY: u64 = 64;

/// The file of the primary member, whether it exists or not.
pub(super) fn primary(folder: &Path) -> Result<PathBuf, Refusal> {
    let failed = |error: io::Error| refusal(code::CCACHE_UNREADABLE, CcacheName::Dir(folder.into()), &error);
    let mut line = Vec::new();
    match File::open(folder.join("primary")) {
        Ok(file) => file.take(MAX_PRIMARY).read_to_end(&mut line).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folder.join(FIRST)),
        Err(error) => return Err(failed(error)),
    };
    let name = line.split(|byte| *byte == b'\n').next().filter(|name| name.len() <= MAX_NAME);
    // With a slash it would lead out of the folder.
    let name = name.filter(|name| is_member_name(name) && !name.contains(&b'/') && !name.contains(&b'\\'));
    let name = name.and_then(|name| str::from_utf8(name).ok()).ok_or_else(|| {
        let saw = format!("file {} with another text", folder.join("primary").display());
        Refusal::new(code::CCACHE_MALFORMED, saw, "the name of a file beside it that begins with tkt")
    })?;
    Ok(folder.join(name))
}

pub(super) fn initialize(folder: &Path, ccache: &Ccache) -> Result<PathBuf, Refusal> {
    make_folder(folder)?;
    let chosen = match member_of(folder, ccache)? {
        Some(path) => {
            file::initialize(&path, ccache)?;
            path
        }
        None => new_member(folder, ccache)?,
    };
    // MIT's programs take the member `tkt` for primary until they are told which.
    if fs::symlink_metadata(folder.join("primary")).is_err() {
        set_primary(&chosen)?;
    }
    Ok(chosen)
}

pub(super) fn initialize_member(path: &Path, ccache: &Ccache) -> Result<(), Refusal> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    file::initialize(path, ccache)
}

/// The member to be replaced: the one of the same principal, or the primary one if there is nothing in it.
fn member_of(folder: &Path, ccache: &Ccache) -> Result<Option<PathBuf>, Refusal> {
    let paths = paths(folder)?;
    let is_of_principal = |path: &&PathBuf| {
        file::find(path).is_ok_and(|found| found.ccache.default_principal == ccache.default_principal)
    };
    if let Some(path) = paths.iter().find(is_of_principal) {
        return Ok(Some(path.clone()));
    }
    let primary = primary(folder)?;
    Ok(file::find(&primary).is_err().then_some(primary))
}

fn new_member(folder: &Path, ccache: &Ccache) -> Result<PathBuf, Refusal> {
    let bytes = ccache.to_bytes()?;
    loop {
        let path = folder.join(format!("{FIRST}{:06x}", ambient::rng().next_u32() & 0x00FF_FFFF));
        match place::create(&path, &bytes) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(unwritable(CcacheName::DirMember(path), &error)),
        }
    }
}

pub(super) fn list(folder: &Path) -> Result<Vec<Member>, Refusal> {
    let primary = primary(folder)?;
    let members = paths(folder)?.into_iter().map(|path| {
        let is_primary = path == primary;
        Member { name: CcacheName::DirMember(path), is_primary }
    });
    Ok(members.collect())
}

/// The files of the members, the primary one first, the others by their names.
fn paths(folder: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let failed = |error: io::Error| refusal(code::CCACHE_UNREADABLE, CcacheName::Dir(folder.into()), &error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if is_member_name(entry.file_name().as_encoded_bytes()) {
            paths.push(entry.path());
        }
        if paths.len() > MAX_MEMBERS {
            return Err(failed(io::Error::other(format!("more than {MAX_MEMBERS} files in it"))));
        }
    }
    let primary = primary(folder)?;
    paths.sort_by_cached_key(|path| (*path != primary, path.clone()));
    Ok(paths)
}

pub(super) fn set_primary(member: &Path) -> Result<(), Refusal> {
    let failed = |error: io::Error| unwritable(CcacheName::DirMember(member.into()), &error);
    let name = member.file_name().and_then(|name| name.to_str()).filter(|name| name.len() <= MAX_NAME);
    let name = name.ok_or_else(|| failed(io::Error::other("no name that a file `primary` can hold")))?;
    let line = Secret::new(format!("{name}\n").into_bytes());
    place::replace(&member.with_file_name("primary"), &line).map_err(failed)
}

fn make_folder(folder: &Path) -> Result<(), Refusal> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(unwritable(CcacheName::Dir(folder.into()), &error))
        }
        _ => Ok(()),
    }
}
