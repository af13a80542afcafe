//! Which files are read, and in which order.

use super::error::{Krb5ConfError, SyntaxFault, beginning};
use super::parse::{FileParser, Line, is_space};
use super::profile::{Place, Profile};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most bytes of all files together.
pub const MAX_TOTAL_BYTES: usize = 1 << 20;
/// Most files that are read, folders not counted.
pub const MAX_FILES: usize = 256;
/// Most files that include each other in a chain, the first not counted.
pub const MAX_INCLUDE_DEPTH: usize = 10;

/// Where files and folders come from.
pub trait Loader {
    /// All bytes of the file at `path`, if they are at most `limit`.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, LoadError>;

    /// The names of what is in the folder at `path`, in any order and without the path. Names that are not UTF-8 may be left
    /// out: no file of such a name is included.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn folder(&mut self, path: &str) -> Result<Vec<String>, LoadError>;
}

/// Why a file or folder cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nothing of that name.
    #[error("it does not exist")]
    NotFound,
    /// It is a folder, where a file was asked for.
    #[error("it is a folder")]
    IsFolder,
    /// It is longer than the limit.
    #[error("it is too long")]
    TooLarge,
    /// Another reason, in the words of the system.
    #[error("{0}")]
    Failed(String),
}

/// Files in memory, by their absolute paths; the folders are what the paths say.
impl Loader for BTreeMap<String, Vec<u8>> {
    fn file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, LoadError> {
        let Some(bytes) = self.get(path) else {
            return Err(if self.folder(path).is_ok() { LoadError::IsFolder } else { LoadError::NotFound });
        };
        if bytes.len() > limit { Err(LoadError::TooLarge) } else { Ok(bytes.clone()) }
    }

    fn folder(&mut self, path: &str) -> Result<Vec<String>, LoadError> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let below = self.keys().filter_map(|file| file.strip_prefix(&prefix));
        let mut names: Vec<String> =
            below.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.dedup();
        if names.is_empty() { Err(LoadError::NotFound) } else { Ok(names) }
    }
}

/// Reads a list of files: see [`Profile::read`].
pub(super) fn profile(paths: &[&str], loader: &mut dyn Loader) -> Result<Profile, Krb5ConfError> {
    let mut load =
        Load { loader, profile: Profile::default(), bytes_left: MAX_TOTAL_BYTES, files_left: MAX_FILES };
    let mut any = false;
    for path in paths {
        any |= load.listed(path)?;
    }
    if any {
        Ok(load.profile)
    } else {
        Err(Krb5ConfError::Absent { paths: paths.iter().map(|&path| path.to_owned()).collect() })
    }
}

struct Load<'a> {
    loader: &'a mut dyn Loader,
    profile: Profile,
    bytes_left: usize,
    files_left: usize,
}

/// A file or folder, and who asked for it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    path: &'a str,
    /// The include line, and how many files lead to it.
    by: Option<(&'a Place, usize)>,
}

impl Load<'_> {
    /// A file of the caller's list, or a folder in its place. Whether it exists.
    fn listed(&mut self, path: &str) -> Result<bool, Krb5ConfError> {
        let wanted = Wanted { path, by: None };
        match self.file(wanted) {
            Err(Krb5ConfError::Unreadable { fault: LoadError::NotFound, included_at: None, .. }) => Ok(false),
            Err(Krb5ConfError::Unreadable { fault: LoadError::IsFolder, included_at: None, .. }) => {
                self.folder(wanted)?;
                Ok(true)
            }
            read => read.map(|()| true),
        }
    }

    fn include(&mut self, line: Line<'_>, at: &Place, depth: usize) -> Result<(), Krb5ConfError> {
        let (Line::Include(path) | Line::IncludeDir(path)) = line else { return Ok(()) };
        let refused = |fault| Err(Krb5ConfError::Syntax { place: at.clone(), fault });
        let Ok(path) = str::from_utf8(path) else { return refused(SyntaxFault::NotUtf8) };
        let path = path.trim_end_matches(is_space);
        if path.contains('\0') {
            return refused(SyntaxFault::Nul);
        }
        if !path.starts_with('/') {
            return refused(SyntaxFault::IncludeRelative(beginning(path)));
        }
        if depth >= MAX_INCLUDE_DEPTH {
            return refused(SyntaxFault::IncludeDepth);
        }
        let wanted = Wanted { path, by: Some((at, depth.saturating_add(1))) };
        match line {
            Line::IncludeDir(_) => self.folder(wanted),
            _ => self.file(wanted),
        }
    }

    /// The files in a folder whose names are fit, in the order of their bytes.
    fn folder(&mut self, wanted: Wanted<'_>) -> Result<(), Krb5ConfError> {
        let mut names = self.loader.folder(wanted.path).map_err(|fault| wanted.unreadable(fault))?;
        names.retain(|name| is_included(name));
        names.sort_unstable();
        for name in names {
            let path = format!("{}/{name}", wanted.path.trim_end_matches('/'));
            match self.file(Wanted { path: &path, ..wanted }) {
                Err(Krb5ConfError::Unreadable { path: folder, fault: LoadError::IsFolder, .. })
                    if folder == path => {}
                read => read?,
            }
        }
        Ok(())
    }

    fn file(&mut self, wanted: Wanted<'_>) -> Result<(), Krb5ConfError> {
        if self.files_left == 0 {
            let place =
                wanted.by.map_or_else(|| Place { file: wanted.path.into(), line: 1 }, |(at, _)| at.clone());
            return Err(Krb5ConfError::Syntax { place, fault: SyntaxFault::TooManyFiles });
        }
        let bytes =
            self.loader.file(wanted.path, self.bytes_left).map_err(|fault| wanted.unreadable(fault))?;
        let Some(left) = self.bytes_left.checked_sub(bytes.len()) else {
            return Err(wanted.unreadable(LoadError::TooLarge));
        };
        self.bytes_left = left;
        self.files_left = self.files_left.saturating_sub(1);
        self.lines(wanted.path.into(), &bytes, wanted.by.map_or(0, |(_, depth)| depth))
    }

    fn lines(&mut self, file: Arc<str>, bytes: &[u8], depth: usize) -> Result<(), Krb5ConfError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut place = Place { file, line: 0 };
        let mut parser = FileParser::default();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            place.line = place.line.saturating_add(1);
            match Line::of(line) {
                Line::Other(text) => parser
                    .line(&mut self.profile, text, &place)
                    .map_err(|fault| Krb5ConfError::Syntax { place: place.clone(), fault })?,
                include => self.include(include, &place, depth)?,
            }
        }
        parser.end(&mut self.profile, &place);
        Ok(())
    }
}

impl Wanted<'_> {
    fn unreadable(&self, fault: LoadError) -> Krb5ConfError {
        let included_at = self.by.map(|(at, _)| at.clone());
        Krb5ConfError::Unreadable { path: self.path.to_owned(), included_at, fault }
    }
}

/// Leaves out what editors and package managers leave behind: `x~`, `x.rpmsave`, `.x.conf.swp`.
fn is_included(name: &str) -> bool {
    let plain =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    !name.is_empty() && !name.starts_with('.') && (name.ends_with(".conf") || plain(name))
}
