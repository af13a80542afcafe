//! Where files of secrets are put: new ones for their owner alone and whole from the first moment; old ones only where
//! nobody else could have put them for us to write to.
#![cfg(unix)]

use crate::ambient;
use countersign_proto::secret::Secret;
use rand_core::Rng;
use rustix::process::geteuid;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a file of mode 0600, or puts it in the place of the one that is there: a reader sees the old one or the new one,
/// whole.
pub(crate) fn replace(path: &Path, bytes: &Secret) -> io::Result<()> {
    let beside = Beside::write(path, bytes)?;
    fs::rename(&beside.0, path)
}

/// Makes a file of mode 0600, which nobody sees before it is whole.
///
/// # Errors
/// `AlreadyExists` if there is one.
pub(crate) fn create(path: &Path, bytes: &Secret) -> io::Result<()> {
    let beside = Beside::write(path, bytes)?;
    fs::hard_link(&beside.0, path)
}

/// A file with a name of its own in the folder of another one; what is left under that name is removed when this is dropped.
struct Beside(PathBuf);

impl Beside {
    fn write(path: &Path, bytes: &Secret) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{:016x}", ambient::rng().next_u64()));
        let beside = path.with_file_name(hidden);
        // It must be new, which also follows no link.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let beside = Self(beside);
        file.write_all(bytes.expose())?;
        file.sync_all()?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is gone already where it was renamed; if it cannot be removed, the error that led here tells more.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether `path` still leads to `file`: while its lock was waited for another program may have put a new one there.
pub(crate) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let (there, here) = (fs::metadata(path), file.metadata()?);
    match there {
        Ok(there) => Ok((there.dev(), there.ino()) == (here.dev(), here.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Refuses what is no file, and a file of another user: in a folder where everyone may make files, somebody may have made
/// it to get what we write.
pub(crate) fn must_be_ours(file: &File) -> io::Result<Metadata> {
    let metadata = must_be_a_file(file)?;
    let (owner, ours) = (metadata.uid(), geteuid().as_raw());
    if owner == ours { Ok(metadata) } else { Err(foreign(owner, ours)) }
}

/// The owner of a file that somebody may have put there for us to read: it is another user's, not root's, and lies somewhere
/// below a folder where everyone may make files.
pub(crate) fn planted_by(path: &Path, metadata: &Metadata) -> Option<u32> {
    let (owner, ours) = (metadata.uid(), geteuid().as_raw());
    (![ours, 0].contains(&owner) && is_below_shared_folder(path)).then_some(owner)
}

/// Refuses such a file.
pub(crate) fn must_not_be_planted(path: &Path, metadata: &Metadata) -> io::Result<()> {
    planted_by(path, metadata).map_or(Ok(()), |owner| Err(foreign(owner, geteuid().as_raw())))
}

/// Whether such a folder is on the way to it, by its name or by where links lead.
fn is_below_shared_folder(path: &Path) -> bool {
    let is_shared = |folder: &Path| fs::metadata(folder).is_ok_and(|folder| folder.mode() & 0o002 != 0);
    let ways = [std::path::absolute(path), path.canonicalize()];
    ways.iter().flatten().flat_map(|way| way.ancestors().skip(1)).any(is_shared)
}

/// The same as [`must_be_ours`], but a file of another user passes where only chosen users may make files: keytabs often belong to the service,
/// and root writes them.
pub(crate) fn must_be_ours_in_shared_folders(path: &Path, file: &File) -> io::Result<()> {
    let (owner, ours) = (must_be_a_file(file)?.uid(), geteuid().as_raw());
    if owner != ours && (is_in_shared_folder(path)? || is_in_shared_folder(&path.canonicalize()?)?) {
        return Err(foreign(owner, ours));
    }
    Ok(())
}

fn must_be_a_file(file: &File) -> io::Result<Metadata> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok(metadata) } else { Err(io::Error::other("it is no regular file")) }
}

fn is_in_shared_folder(path: &Path) -> io::Result<bool> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(fs::metadata(folder)?.mode() & 0o002 != 0)
}

fn foreign(owner: u32, ours: u32) -> io::Error {
    let text = format!("it belongs to user {owner}, and this program runs as user {ours}");
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests say so when something is not as it must be")]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_shared_folder_is_found_on_the_way_to_a_file_by_its_name_and_by_where_links_lead() {
        let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (shared, private) = (place.path().join("shared"), place.path().join("private"));
        [&shared, &private].into_iter().for_each(|folder| fs::create_dir_all(folder.join("below")).unwrap());
        fs::set_permissions(&shared, PermissionsExt::from_mode(0o1777)).unwrap();
        let (there, here) = (shared.join("below/file"), private.join("below/file"));
        [&there, &here].into_iter().for_each(|file| fs::write(file, "").unwrap());
        symlink(&there, private.join("link")).unwrap();
        symlink(&here, shared.join("link")).unwrap();
        assert!(is_below_shared_folder(&there));
        assert!(is_below_shared_folder(&private.join("link")));
        assert!(is_below_shared_folder(&shared.join("link")));
        // The repository may itself be below one.
        assert_eq!(is_below_shared_folder(&here), is_below_shared_folder(place.path()));
    }
}
