//! This machine's krb5.conf, read for real; what is in it is [`countersign_proto::krb5conf`].

use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5conf::{Krb5Conf, Krb5ConfError, LoadError, Loader};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Where the configuration is if KRB5_CONFIG does not say.
#[cfg(target_os = "macos")]
const DEFAULT_FILES: [&str; 3] =
    ["~/Library/Preferences/edu.mit.Kerberos", "/Library/Preferences/edu.mit.Kerberos", "/etc/krb5.conf"];
#[cfg(not(target_os = "macos"))]
const DEFAULT_FILES: [&str; 1] = ["/etc/krb5.conf"];

/// Most names that are taken from one folder.
const MAX_NAMES: usize = 4_096;

/// The configuration of this machine: the files and folders that KRB5_CONFIG lists, else /etc/krb5.conf (on macOS the files
/// of the same system before it). `~/` stands for the folder in HOME.
///
/// Where KRB5_CONFIG lists nothing, and where the default files do not exist, it is [`Krb5Conf::default`]. A program that runs
/// with more rights than the user who started it must not trust that user's KRB5_CONFIG, and calls [`load_files`] instead.
///
/// # Errors
/// If none of the files in KRB5_CONFIG exists, or one cannot be read or is malformed.
pub fn load() -> Result<Krb5Conf, Refusal> {
    match std::env::var_os("KRB5_CONFIG") {
        Some(list) => {
            let files: Vec<PathBuf> =
                std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
            if files.is_empty() { Ok(Krb5Conf::default()) } else { load_files(&files) }
        }
        None => match read(&DEFAULT_FILES.map(PathBuf::from))? {
            Err(Krb5ConfError::Absent { .. }) => Ok(Krb5Conf::default()),
            read => Ok(read?),
        },
    }
}

/// The configuration in a list of files, with all that they include. Of a key that several have, the earlier file counts; one
/// that does not exist is passed over if another does; a folder stands for the files in it.
///
/// # Errors
/// If none of the files exists, or one cannot be read or is malformed.
pub fn load_files(files: &[PathBuf]) -> Result<Krb5Conf, Refusal> {
    Ok(read(files)??)
}

fn read(files: &[PathBuf]) -> Result<Result<Krb5Conf, Krb5ConfError>, Refusal> {
    let home = std::env::var_os("HOME");
    let files: Vec<PathBuf> = files.iter().map(|file| at_home(file, home.as_deref())).collect();
    let names: Vec<&str> = files.iter().map(|file| name(file)).collect::<Result<_, _>>()?;
    Ok(Krb5Conf::read(&names, &mut Disk))
}

fn at_home(file: &Path, home: Option<&OsStr>) -> PathBuf {
    match (file.strip_prefix("~"), home) {
        (Ok(below), Some(home)) => Path::new(home).join(below),
        _ => file.to_owned(),
    }
}

fn name(file: &Path) -> Result<&str, Refusal> {
    file.to_str().ok_or_else(|| {
        let saw = format!("Kerberos configuration {} (a path that is not UTF-8)", file.display());
        Refusal::new(code::KRB5_CONF_UNREADABLE, saw, "paths in UTF-8 only")
    })
}

/// The file system.
struct Disk;

impl Loader for Disk {
    fn file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, LoadError> {
        let file = File::open(path).map_err(reason)?;
        if file.metadata().map_err(reason)?.is_dir() {
            return Err(LoadError::IsFolder);
        }
        // A device or pipe has no length that could be asked for.
        let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(one_more).read_to_end(&mut bytes).map_err(reason)?;
        if bytes.len() > limit { Err(LoadError::TooLarge) } else { Ok(bytes) }
    }

    fn folder(&mut self, path: &str) -> Result<Vec<String>, LoadError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(reason)? {
            if names.len() == MAX_NAMES {
                return Err(LoadError::Failed(format!("more than {MAX_NAMES} files")));
            }
            names.extend(entry.map_err(reason)?.file_name().into_string());
        }
        Ok(names)
    }
}

fn reason(error: io::Error) -> LoadError {
    match error.kind() {
        ErrorKind::NotFound => LoadError::NotFound,
        ErrorKind::IsADirectory => LoadError::IsFolder,
        _ => LoadError::Failed(error.to_string()),
    }
}
