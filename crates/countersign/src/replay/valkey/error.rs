use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why Valkey cannot be used as a replay store.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValkeyError {
    /// The address cannot be used. The text never holds what may be a password.
    #[error("address of the replay store {0}")]
    Url(String),
    /// The file with the password cannot be read.
    #[error("password file {} ({error})", .path.display())]
    Password { path: PathBuf, error: io::Error },
    /// The file that names the server's run cannot be read or written.
    #[error("{} ({error})", .path.display())]
    RunFile { path: PathBuf, error: io::Error },
    /// It does not answer.
    #[error("replay store at {at} ({why})")]
    Absent { at: String, why: String, timeout: Duration },
    /// It answers, but no.
    #[error("replay store at {at}: {why}")]
    Unusable { at: String, why: String },
    /// It throws entries away when its memory is full.
    #[error("replay store at {at} with maxmemory-policy {policy}")]
    Evicts { at: String, policy: String },
    /// Its thread cannot be started.
    #[error("no thread for the replay store ({0})")]
    Thread(io::Error),
}

impl Explain for ValkeyError {
    fn code(&self) -> Code {
        match self {
            Self::Url(_) => code::VALKEY_URL_WRONG,
            Self::Password { .. } => code::PASSWORD_UNREADABLE,
            Self::RunFile { .. } | Self::Thread(_) => code::REPLAY_STORE_UNREADABLE,
            Self::Absent { .. } => code::VALKEY_ABSENT,
            Self::Unusable { .. } => code::VALKEY_UNUSABLE,
            Self::Evicts { .. } => code::VALKEY_EVICTS,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Url(_) => "redis://HOST:PORT/DATABASE and unix:///PATH".into(),
            Self::Password { .. } => "no other password".into(),
            Self::RunFile { .. } => "no other way to notice that the store was restarted".into(),
            Self::Absent { timeout, .. } => format!("a deadline of {} s", timeout.as_secs_f32()).into(),
            Self::Unusable { .. } => "entries that every instance must see".into(),
            Self::Evicts { .. } => "entries that must stay until they expire".into(),
            Self::Thread(_) => "no other way to wait for it".into(),
        }
    }
}
