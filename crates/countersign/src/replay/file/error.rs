use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be used as a replay store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The system says no.
    #[error("{} ({error})", .path.display())]
    Io { path: PathBuf, error: io::Error },
    /// Another process has it.
    #[error("{} in use by {holder}", .folder.display())]
    InUse { folder: PathBuf, holder: String },
    /// Another user may change it.
    #[error("{} of user {owner} with mode {mode:04o}", .folder.display())]
    Exposed { folder: PathBuf, owner: u32, mode: u32 },
    /// A file is not what was written.
    #[error("{} with {what}", .path.display())]
    Damaged { path: PathBuf, what: Damage },
    /// A later version of this program wrote it.
    #[error("{} of version {version}", .path.display())]
    TooNew { path: PathBuf, version: u32 },
}

/// What is wrong with a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("a header that is damaged, or of another program")]
    Header,
    #[error("the header of another file")]
    Name,
    #[error("a damaged entry, the {}th", .0.saturating_add(1))]
    Entry(u64),
    #[error("nothing in it, though later files need it")]
    Missing,
}

impl StoreError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        |error| Self::Io { path, error }
    }
}

impl Explain for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Io { .. } => code::REPLAY_STORE_UNREADABLE,
            Self::InUse { .. } => code::REPLAY_STORE_IN_USE,
            Self::Exposed { .. } => code::REPLAY_STORE_EXPOSED,
            Self::Damaged { .. } => code::REPLAY_STORE_DAMAGED,
            Self::TooNew { .. } => code::REPLAY_STORE_TOO_NEW,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        format!("replay store {self}").into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Io { .. } => "nowhere else to remember authenticators".into(),
            Self::InUse { .. } => "one process at a time for a folder".into(),
            Self::Exposed { .. } => {
                let ours = rustix::process::geteuid().as_raw();
                format!("entries that only user {ours} may change").into()
            }
            Self::Damaged { .. } => "no other record of the authenticators that were in it".into(),
            Self::TooNew { .. } => "version 1".into(),
        }
    }
}
