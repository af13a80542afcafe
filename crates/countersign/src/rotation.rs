//! Keys that change under a service: its keytab is looked at again when a ticket needs a key that is not there, when
//! somebody asks, and now and then.

use crate::files;
use crate::mutex::lock;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::keys::ServiceKeys;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// Where a service's keys come from.
pub trait KeySource: Send + Sync {
    /// Hands keys to `replace` if there are others than were handed out last. It is called where a client would be refused
    /// for want of a key, so it must be quick where nothing has changed.
    fn refresh(&self, replace: &mut dyn FnMut(ServiceKeys));
}

/// What became of a keytab that was looked at.
pub enum KeytabEvent<'a> {
    /// It was read, and its keys are in use from now on.
    Loaded {
        /// The keys.
        keys: &'a ServiceKeys,
        /// When it was last written, as the file system says.
        modified: Option<SystemTime>,
    },
    /// It has changed and cannot be used; the keys that there were stay. Told once for each state of the file.
    Failed(&'a Refusal),
}

/// A keytab that may be replaced or changed at any time. The last keys that could be read stay in use until others can.
pub struct WatchedKeytab {
    path: PathBuf,
    told: Box<dyn Fn(KeytabEvent<'_>) + Send + Sync>,
    /// The state of the file that was looked at last.
    seen: Mutex<Option<State>>,
}

/// By what a file is known to have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    file: (u64, u64),
    length: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
}

impl WatchedKeytab {
    /// The keytab at `path` with its keys. `told` learns what becomes of it later; it must not block.
    ///
    /// # Errors
    /// As those of [`files::service_keys`].
    pub fn open(
        path: &Path,
        told: impl Fn(KeytabEvent<'_>) + Send + Sync + 'static,
    ) -> Result<(Self, ServiceKeys), Refusal> {
        let seen = State::of(path);
        let keys = files::service_keys(path)?;
        let modified = seen.and_then(|state| state.modified);
        told(KeytabEvent::Loaded { keys: &keys, modified });
        Ok((Self { path: path.to_owned(), told: Box::new(told), seen: Mutex::new(seen) }, keys))
    }

    /// Reads the keytab whether or not it seems to have changed.
    ///
    /// # Errors
    /// As those of [`files::service_keys`]; the keys that there were stay.
    pub fn reload(&self, replace: &mut dyn FnMut(ServiceKeys)) -> Result<(), Refusal> {
        let mut seen = lock(&self.seen);
        *seen = State::of(&self.path);
        self.read(*seen, replace)
    }

    fn read(&self, state: Option<State>, replace: &mut dyn FnMut(ServiceKeys)) -> Result<(), Refusal> {
        let keys = files::service_keys(&self.path).inspect_err(|refusal| {
            (self.told)(KeytabEvent::Failed(refusal));
        })?;
        let modified = state.and_then(|state| state.modified);
        (self.told)(KeytabEvent::Loaded { keys: &keys, modified });
        replace(keys);
        Ok(())
    }
}

impl KeySource for WatchedKeytab {
    fn refresh(&self, replace: &mut dyn FnMut(ServiceKeys)) {
        // Held while the file is read, so that whoever comes meanwhile finds the new keys in use.
        let mut seen = lock(&self.seen);
        // Taken before it is read: what changes meanwhile is seen the next time.
        let state = State::of(&self.path);
        if state != *seen {
            *seen = state;
            // It was told already.
            let _ = self.read(state, replace);
        }
    }
}

impl State {
    /// `None` if there is no file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let (file, changed) = identity(&metadata);
        Some(Self { file, length: metadata.len(), modified: metadata.modified().ok(), changed })
    }
}

/// Device and inode, and the time of the last change of either contents or attributes.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> ((u64, u64), (i64, i64)) {
    use std::os::unix::fs::MetadataExt;
    ((metadata.dev(), metadata.ino()), (metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> ((u64, u64), (i64, i64)) {
    ((0, 0), (0, 0))
}
