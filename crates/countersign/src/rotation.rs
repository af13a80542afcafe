//! Keys that change under a service: its keytab is looked at again when a ticket needs a key that is not there, when
//! somebody asks, and now and then.

use crate::ambient;
use crate::files;
use crate::mutex::lock;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::time::Timestamp;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long a file must have rested before it is read: it may be written in several pieces, and what a keytab lacks that was
/// cut between two keys cannot be seen in it. Longer than a tick of the clock by which file systems tell times, too: a file
/// that is changed twice within one looks the same.
const REST: Duration = Duration::from_millis(20);

/// How long a file that does not come to rest is waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Where a service's keys come from.
pub trait KeySource: Send + Sync {
    /// Hands keys to `replace` if there are others than were handed out last. It is called where a client would be refused
    /// for want of a key, so it must be quick where nothing has changed. It may block for a moment where something has.
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
    seen: Mutex<Seen>,
}

/// The file as it was looked at last.
struct Seen {
    /// `None` if there was no file.
    state: Option<State>,
    /// Whether it had come to rest, so that a change will show.
    rested: bool,
    /// When it was found that it could not be used.
    failed: Option<Instant>,
}

/// How long a file that could not be used is left alone, unless it changes: the reason may lie outside of it.
const RETRY: Duration = Duration::from_secs(1);

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
        let Look { state, rested, keys } = look(path);
        let keys = keys?;
        told(KeytabEvent::Loaded { keys: &keys, modified: state.and_then(|state| state.modified) });
        let seen = Seen { state, rested, failed: None };
        Ok((Self { path: path.to_owned(), told: Box::new(told), seen: Mutex::new(seen) }, keys))
    }

    /// Reads the keytab whether or not it seems to have changed. It may block for a moment.
    ///
    /// # Errors
    /// As those of [`files::service_keys`]; the keys that there were stay.
    pub fn reload(&self, replace: &mut dyn FnMut(ServiceKeys)) -> Result<(), Refusal> {
        let mut seen = lock(&self.seen);
        // Who asks is told, whatever was told before.
        seen.failed = None;
        self.read(&mut seen, replace)
    }

    fn read(&self, seen: &mut Seen, replace: &mut dyn FnMut(ServiceKeys)) -> Result<(), Refusal> {
        let Look { state, rested, keys } = look(&self.path);
        let is_told = seen.failed.is_some() && state == seen.state;
        *seen = Seen { state, rested, failed: keys.is_err().then(Instant::now) };
        match keys {
            Ok(keys) => {
                let modified = state.and_then(|state| state.modified);
                (self.told)(KeytabEvent::Loaded { keys: &keys, modified });
                replace(keys);
                Ok(())
            }
            Err(refusal) => {
                if !is_told {
                    (self.told)(KeytabEvent::Failed(&refusal));
                }
                Err(refusal)
            }
        }
    }
}

impl KeySource for WatchedKeytab {
    fn refresh(&self, replace: &mut dyn FnMut(ServiceKeys)) {
        // Held while the file is read, so that whoever comes meanwhile finds the new keys in use.
        let mut seen = lock(&self.seen);
        let again = seen.failed.is_some_and(|failed| failed.elapsed() >= RETRY);
        if again || !seen.rested || State::of(&self.path) != seen.state {
            // It was told already.
            let _ = self.read(&mut seen, replace);
        }
    }
}

/// What a look at the file gave.
struct Look {
    /// Its state before it was read: what changes later is seen the next time.
    state: Option<State>,
    rested: bool,
    keys: Result<ServiceKeys, Refusal>,
}

/// Reads the file once it has rested and while nobody changes it, or as it is when [`PATIENCE`] is over.
fn look(path: &Path) -> Look {
    let end = Instant::now().checked_add(PATIENCE);
    let is_over = || end.is_none_or(|end| Instant::now() >= end);
    loop {
        let state = State::of(path);
        let left = state.map_or(Duration::ZERO, |state| state.unrest(ambient::now()));
        if left.is_zero() || is_over() {
            let keys = files::service_keys(path);
            if State::of(path) == state || is_over() {
                return Look { state, rested: left.is_zero(), keys };
            }
        } else {
            thread::sleep(left);
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

    /// How long it is until the file has rested. A change that lies ahead, by a clock that was set back, says nothing.
    fn unrest(&self, now: Timestamp) -> Duration {
        let age = now.micros_since(self.changed_at());
        let age = u64::try_from(age).map_or(REST, Duration::from_micros);
        REST.saturating_sub(age)
    }

    #[cfg(unix)]
    fn changed_at(&self) -> Timestamp {
        let (seconds, nanos) = self.changed;
        Timestamp::default().shifted(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }

    #[cfg(not(unix))]
    fn changed_at(&self) -> Timestamp {
        self.modified.map_or(Timestamp::default(), Timestamp::from_system)
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

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use countersign_proto::error::code;
    use countersign_testkit::mint::{self, Mint};
    use std::fs;
    use std::sync::Arc;
    use tempfile::TempDir;

    /// A keytab that is watched, the versions that are in use, and what was told.
    struct Scene {
        folder: TempDir,
        keytab: WatchedKeytab,
        in_use: Vec<u32>,
        told: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("keytab");
            fs::write(&path, keytab(&[1])).unwrap();
            let told = Arc::<Mutex<Vec<&'static str>>>::default();
            let noted = Arc::clone(&told);
            let opened = WatchedKeytab::open(&path, move |event| {
                lock(&noted).push(match event {
                    KeytabEvent::Loaded { .. } => "loaded",
                    KeytabEvent::Failed(_) => "failed",
                });
            });
            let (keytab, keys) = opened.unwrap();
            Self { folder, keytab, in_use: versions(&keys), told }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("keytab")
        }

        fn replace(&self, contents: &[u8]) {
            let new = self.folder.path().join("new");
            fs::write(&new, contents).unwrap();
            fs::rename(new, self.path()).unwrap();
        }

        fn refresh(&mut self) -> Vec<u32> {
            self.keytab.refresh(&mut |keys| self.in_use = versions(&keys));
            self.in_use.clone()
        }

        fn told(&self) -> Vec<&'static str> {
            std::mem::take(&mut lock(&self.told))
        }
    }

    fn keytab(kvnos: &[u32]) -> Vec<u8> {
        let mint = Mint::default();
        let mut keytab = mint.keytab();
        keytab.entries =
            kvnos.iter().map(|kvno| mint.entry(&mint.service, *kvno, mint.ticket_etype)).collect();
        mint::keytab_bytes(&keytab)
    }

    fn versions(keys: &ServiceKeys) -> Vec<u32> {
        let mut versions: Vec<_> = keys.iter().map(countersign_proto::krb5::keys::ServiceKey::kvno).collect();
        versions.sort_unstable();
        versions
    }

    #[test]
    fn a_keytab_that_was_replaced_or_rewritten_is_used_and_one_that_was_not_is_not_read() {
        let mut scene = Scene::new();
        assert_eq!((scene.refresh(), scene.told()), (vec![1], vec!["loaded"]));
        scene.replace(&keytab(&[1, 2]));
        assert_eq!(scene.refresh(), [1, 2]);
        fs::write(scene.path(), keytab(&[2, 3])).unwrap();
        assert_eq!((scene.refresh(), scene.refresh()), (vec![2, 3], vec![2, 3]));
        assert_eq!(scene.told(), ["loaded"; 2]);
    }

    #[test]
    fn a_keytab_that_cannot_be_used_leaves_the_keys_and_is_told_once_for_each_state() {
        let mut scene = Scene::new();
        scene.told();
        let whole = keytab(&[1, 2]);
        let broken: [&[u8]; 4] = [b"", b"\x05\x02", &whole[..whole.len() - 1], &[0x41; 4_096]];
        for contents in broken {
            scene.replace(contents);
            assert_eq!((scene.refresh(), scene.refresh()), (vec![1], vec![1]));
            assert_eq!(scene.told(), ["failed"]);
        }
        fs::remove_file(scene.path()).unwrap();
        assert_eq!((scene.refresh(), scene.refresh(), scene.told()), (vec![1], vec![1], vec!["failed"]));
        fs::create_dir(scene.path()).unwrap();
        assert_eq!((scene.refresh(), scene.refresh(), scene.told()), (vec![1], vec![1], vec!["failed"]));
        fs::remove_dir(scene.path()).unwrap();
        scene.replace(&whole);
        assert_eq!((scene.refresh(), scene.told()), (vec![1, 2], vec!["loaded"]));
    }

    #[test]
    fn who_asks_for_a_reload_is_told_whatever_was_told_before() {
        let mut scene = Scene::new();
        scene.told();
        let reloaded = scene.keytab.reload(&mut |keys| scene.in_use = versions(&keys));
        assert_eq!((reloaded, scene.told()), (Ok(()), vec!["loaded"]));
        scene.replace(b"");
        scene.refresh();
        let refused = scene.keytab.reload(&mut |_| panic!("there are no keys")).unwrap_err();
        assert_eq!((refused.code(), scene.told()), (code::KEYTAB_MALFORMED, vec!["failed"; 2]));
    }

    #[test]
    fn a_keytab_that_is_written_in_pieces_is_read_when_it_is_whole() {
        use std::io::Write;
        let mut scene = Scene::new();
        scene.told();
        let (first, both) = (keytab(&[1]), keytab(&[1, 2, 3]));
        // Cut between two keys it is a keytab too, which lacks keys that clients have tickets for.
        for pieces in [[&both[..first.len()], &both[first.len()..]], [&both[..70], &both[70..]]] {
            let mut file = fs::File::create(scene.path()).unwrap();
            file.write_all(pieces[0]).unwrap();
            let rest = pieces[1].to_vec();
            let writer = thread::spawn(move || {
                thread::sleep(REST / 4);
                file.write_all(&rest).unwrap();
            });
            assert_eq!(scene.refresh(), [1, 2, 3]);
            writer.join().unwrap();
        }
        assert_eq!(scene.told(), ["loaded"; 2]);
    }

    #[test]
    fn a_keytab_that_never_rests_is_read_as_it_is_and_looked_at_again() {
        let mut scene = Scene::new();
        let path = scene.path();
        let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let writer = thread::spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                let new = path.with_extension("new");
                fs::write(&new, keytab(&[1, 2])).unwrap();
                fs::rename(&new, &path).unwrap();
                thread::sleep(REST / 10);
            }
        });
        while State::of(&scene.path()) == lock(&scene.keytab.seen).state {
            thread::sleep(REST / 10);
        }
        let began = Instant::now();
        assert_eq!(scene.refresh(), [1, 2]);
        assert!(began.elapsed() < PATIENCE * 5, "{:?}", began.elapsed());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
        scene.told();
        assert_eq!((scene.refresh(), scene.told()), (vec![1, 2], vec!["loaded"]));
    }
}
