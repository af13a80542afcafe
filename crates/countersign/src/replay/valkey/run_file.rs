//! The file that names the server's run, so that a restart of this process hides none of the server's.

use super::error::ValkeyError;
use super::link::Run;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of it that count.
const MAX: u64 = 256;

/// The run that was known when the file was written. What cannot be read as one is some other run; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Run>, ValkeyError> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX).read_to_end(&mut text));
    match read {
        Ok(_) => {
            let text = String::from_utf8_lossy(&text);
            let (id, history) = text.trim_end().split_once(' ').unwrap_or_default();
            Ok(Some(Run { id: id.to_owned(), history: history.to_owned(), is_promoted: false }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// Puts a run in the place of the one that the file names.
pub(super) fn write(path: &Path, run: &Run) -> Result<(), ValkeyError> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = fs::write(&beside, format!("{} {}\n", run.id, run.history));
    written.and_then(|()| fs::rename(&beside, path)).map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> ValkeyError {
    ValkeyError::RunFile { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_back_as_it_was_written_and_anything_else_is_another_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = Run { id: "ab".to_owned(), history: "cd".to_owned(), is_promoted: false };
        assert_eq!(read(&path).unwrap(), None);
        write(&path, &run).unwrap();
        assert_eq!(read(&path).unwrap(), Some(run.clone()));
        for other in ["", "ab", "ab ce", "\u{fffd}"] {
            fs::write(&path, other).unwrap();
            assert!(read(&path).unwrap().is_some_and(|read| read != run), "{other:?}");
        }
        assert!(read(folder.path()).is_err());
    }
}
