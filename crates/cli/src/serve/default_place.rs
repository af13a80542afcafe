//! Where replays are kept if nobody says where: so that what was seen is known after a restart with the same command.
//!
//! Each service has a folder there by its keys and addresses. Services whose addresses the system chooses may be started beside
//! each other with the same command: they have a folder each, and are told that they do not know of each other's replays.

use crate::config::{KeySource, ListenAddress, ListenerConfig};
use crate::{report, sources};
use countersign::proto::error::{Refusal, code};
use countersign::replay::{FileReplayConfig, FileReplayStore};
use siphasher::sip::SipHasher13;
use std::fs::{self, DirBuilder};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where root's services keep what outlasts them.
const OF_ROOT: &str = "/var/lib/countersign";

/// How many services with the same keys and addresses have a folder of their own.
const BESIDE: u32 = 16;

/// What begins the name of a folder.
const NAME: &str = "replay-";

/// Folders in which nothing has changed for so long hold nothing that counts: an entry is kept for two days and a minute at
/// most.
const FORGOTTEN: Duration = Duration::from_secs(7 * 86_400);

/// A store in the default place, or `None` if this machine has none that can be written: then replays are remembered in memory,
/// which is said.
///
/// # Errors
/// If the place is there and its store cannot be used: it may know of clients that were accepted. Also if another process has
/// it that was started with the same command, at addresses that are its own.
pub(super) fn open(
    listeners: &[ListenerConfig],
    settings: impl Fn(&Path) -> FileReplayConfig,
) -> Result<Option<FileReplayStore>, Refusal> {
    let made = realm_of(listeners).or_else(base).ok_or_else(no_home).and_then(|base| {
        make(&base).map_err(|error| unusable(&base, &error))?;
        Ok(base)
    });
    match made {
        Ok(base) => {
            forget_old(&base);
            open_in(&base, listeners, settings).map(Some)
        }
        Err(refusal) => {
            report::warning(&in_memory(&refusal));
            Ok(None)
        }
    }
}

fn open_in(
    base: &Path,
    listeners: &[ListenerConfig],
    settings: impl Fn(&Path) -> FileReplayConfig,
) -> Result<FileReplayStore, Refusal> {
    let name = format!("{NAME}{:016x}", identity(listeners));
    // Who has an address of its own is alone with its folder; a process that drains still has it.
    let beside = if listens_anywhere(listeners) { BESIDE } else { 1 };
    let mut taken = None;
    for number in 1..=beside {
        let folder = base.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
        match FileReplayStore::open(settings(&folder)) {
            Ok(store) => {
                tell(&folder, taken.as_ref());
                return Ok(store);
            }
            Err(refusal) if refusal.code() == code::REPLAY_STORE_IN_USE => _ = taken.get_or_insert(refusal),
            Err(refusal) => return Err(refusal),
        }
    }
    Err(taken.unwrap_or_else(no_home))
}

/// Whether every address is one that the system chooses, so that the same command may be given twice.
fn listens_anywhere(listeners: &[ListenerConfig]) -> bool {
    let chosen = |address: &ListenAddress| match address {
        ListenAddress::Address(address) => address.port() == 0,
        ListenAddress::Systemd(_) => false,
    };
    listeners.iter().all(|listener| listener.listen.iter().all(chosen))
}

fn tell(folder: &Path, taken: Option<&Refusal>) {
    report::line(&format!("replays are remembered in {}", folder.display()));
    if let Some(taken) = taken {
        let advice = "give both --state folders of their own and different keys, or share a store in Valkey";
        report::warning(&format!(
            "another service has these keys and addresses ({}): what one accepted can be replayed to the other; {advice}",
            taken.saw()
        ));
    }
}

fn in_memory(refusal: &Refusal) -> String {
    format!("replays are remembered until restart only: {}; name a folder with --state", refusal.saw())
}

/// The folder of the realm, if all that is served is one: its process has it for itself.
fn realm_of(listeners: &[ListenerConfig]) -> Option<PathBuf> {
    let mut folders = listeners.iter().map(|listener| match &listener.keys {
        KeySource::Realm { folder, .. } => Some(folder),
        KeySource::Keytab(_) => None,
    });
    let first = folders.next()??;
    folders.all(|folder| folder == Some(first)).then(|| first.clone())
}

/// The folder that the service manager, this system or the user has for such things.
fn base() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(given) = std::env::var("STATE_DIRECTORY").ok().filter(|given| given.starts_with('/')) {
        // The service manager may have made several.
        return given.split(':').next().map(PathBuf::from);
    }
    if rustix::process::geteuid().is_root() {
        return Some(OF_ROOT.into());
    }
    let home = || variable("HOME").map(|home| home.join(".local/state"));
    variable("XDG_STATE_HOME").or_else(home).map(|state| state.join("countersign"))
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// By which keys and at which addresses the service is known.
fn identity(listeners: &[ListenerConfig]) -> u64 {
    let mut hasher = SipHasher13::new();
    for listener in listeners {
        match &listener.keys {
            KeySource::Keytab(path) => {
                sources::keytab(path.as_deref()).ok().map(|path| whole(&path)).hash(&mut hasher);
            }
            KeySource::Realm { folder, .. } => whole(folder).hash(&mut hasher),
        }
        listener.listen.iter().map(ListenAddress::to_string).for_each(|address| address.hash(&mut hasher));
    }
    hasher.finish()
}

fn whole(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Removes what services left that are served no more.
fn forget_old(base: &Path) {
    let Ok(folders) = fs::read_dir(base) else { return };
    for folder in folders.filter_map(Result::ok).filter(is_ours) {
        // Held while it is removed, so that no service begins in it.
        if is_old(&folder.path())
            && let Some(_held) = held(&folder.path())
        {
            // If it cannot be removed it stays.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// Whether it is a folder that we made, and no link to another.
fn is_ours(folder: &fs::DirEntry) -> bool {
    let named = folder.file_name().to_str().is_some_and(|name| name.starts_with(NAME));
    named && folder.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Whether no file of the folder has changed for long. Who uses it writes who it is when it begins, and an entry now and then.
fn is_old(folder: &Path) -> bool {
    let Ok(files) = fs::read_dir(folder) else { return false };
    files.into_iter().all(|file| {
        let modified = file.and_then(|file| file.metadata()?.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        age.is_some_and(|age| age > FORGOTTEN)
    })
}

/// The lock of the folder, if no process holds it.
fn held(folder: &Path) -> Option<fs::File> {
    let lock = fs::File::open(folder.join("lock")).ok()?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(lock)
}

fn no_home() -> Refusal {
    Refusal::new(
        code::CONFIG_FILE_UNUSABLE,
        "no folder for what outlasts the process",
        "neither HOME nor root",
    )
}

fn unusable(base: &Path, error: &io::Error) -> Refusal {
    let saw = format!("{} ({error})", base.display());
    Refusal::new(code::CONFIG_FILE_UNUSABLE, saw, "no other place for what must outlast the process")
}
