//! A realm in a folder: who may touch it, who serves it, and how it is changed meanwhile.
//!
//! The folder has the database (`realm.redb`), in which every account is sealed under the master key; the master key's own
//! file (`master.key`), unless that is kept elsewhere; a lock; and, while somebody serves the realm, the socket to which
//! requests of administration come (`admin.sock`). All of it is its owner's alone.
//!
//! Who can read both the database and the master key can be anybody in the realm: the key in the folder protects copies of
//! the database, not the machine. To keep them apart, name another file for the key.

mod admin_socket;
pub mod kdc_server;
mod keytab;
mod lock;
mod password;
mod record;
mod served;
mod service;

pub use admin_socket::Administered;
pub use keytab::keytab_entries;
pub use password::random_password;
pub use record::{AdministrationLine, KdcLine};
pub use served::ServedRealm;
pub use service::service_config;

use crate::ambient;
use crate::files::{self, place};
use countersign_proto::error::{Refusal, code};
use countersign_proto::secret::Secret;
use countersign_realm::RealmPolicy;
use countersign_realm::admin::{self, Request, Response};
use countersign_realm::store::{MasterKey, Store, check_realm};
use lock::{Holder, RealmLock};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const DATABASE: &str = "realm.redb";
/// The database before it holds a whole realm.
const UNFINISHED: &str = "realm.redb.new";
const MASTER_KEY: &str = "master.key";
const SOCKET: &str = "admin.sock";

/// How long a command waits for another one that changes the same realm.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long one that is to serve waits for a command that changes the realm.
const SERVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long it is until the lock is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Where a realm is.
#[derive(Clone, Debug)]
pub struct RealmFolder {
    folder: PathBuf,
    master_key: PathBuf,
}

impl RealmFolder {
    /// The realm in `folder`, which there may be or not.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { master_key: folder.join(MASTER_KEY), folder }
    }

    /// The same with the master key in another file.
    #[must_use]
    pub fn with_master_key_file(self, master_key: impl Into<PathBuf>) -> Self {
        Self { master_key: master_key.into(), ..self }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The file with the master key.
    #[must_use]
    pub fn master_key_file(&self) -> &Path {
        &self.master_key
    }

    /// Makes a realm, and the folder if there is none. A master key is made too, unless its file exists.
    ///
    /// # Errors
    /// `REALM_EXISTS`, `REALM_EXPOSED` if others may look into the folder or the file with the master key,
    /// `ACCOUNT_NAME_UNUSABLE` if the realm cannot have that name, `REALM_UNREADABLE`, `MASTER_KEY_WRONG`.
    pub fn init(&self, policy: &RealmPolicy) -> Result<(), Refusal> {
        check_realm(&policy.realm)?;
        self.make_folder()?;
        self.check_folder(Owner::Ourselves)?;
        let database = self.folder.join(DATABASE);
        let taken = RealmLock::take(&self.folder, "makes a realm")?;
        let _lock = taken.map_err(|holder| holder.in_use(&self.folder))?;
        if database.try_exists().map_err(|error| unwritable(&database, &error))? {
            let saw = format!("realm in {}", self.folder.display());
            return Err(Refusal::new(code::REALM_EXISTS, saw, "one realm a folder"));
        }
        let master = self.made_master_key()?;
        let unfinished = self.folder.join(UNFINISHED);
        let file = own_file(&unfinished, true)?;
        // What an earlier attempt left that did not come to its end.
        file.set_len(0).map_err(|error| unwritable(&unfinished, &error))?;
        let store = Store::create(file, &master, policy, ambient::now(), &mut ambient::rng());
        // Closed before it gets its name: from then on the realm is whole.
        drop(store?);
        fs::rename(&unfinished, &database)
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|error| unwritable(&database, &error))
    }

    /// Opens the realm to serve it, alone. `what` says for the next one who tries what this process does: `serves
    /// 127.0.0.1:88`. Requests of administration can come when this returns; they are done while [`ServedRealm::tend`] runs.
    ///
    /// # Errors
    /// `REALM_IN_USE`, naming who has it; `REALM_ABSENT`, `REALM_EXPOSED`, `MASTER_KEY_WRONG` and whatever is wrong with
    /// the files.
    pub fn serve(&self, what: &str) -> Result<Arc<ServedRealm>, Refusal> {
        self.check_folder(Owner::Ourselves)?;
        let lock = self.locked(what, SERVER_PATIENCE)?;
        let store = self.open()?;
        let listener = admin_socket::bind(&self.folder.join(SOCKET))?;
        Ok(Arc::new(ServedRealm::new(store, listener, self.folder.join(SOCKET), lock)))
    }

    /// Has `request` done: by the process that serves the realm, at once, or else by this one. A change is on the disk when
    /// this returns. It blocks.
    ///
    /// # Errors
    /// What the request is refused with; `ADMINISTRATION_FAILED` if the process that serves the realm does not answer;
    /// `REALM_IN_USE` if other commands have the realm for 20 seconds; as [`RealmFolder::serve`].
    pub fn administer(&self, request: &Request) -> Result<Response, Refusal> {
        self.check_folder(Owner::AnybodyForRoot)?;
        let end = Instant::now().checked_add(PATIENCE);
        loop {
            if let Some(response) = admin_socket::ask(&self.folder.join(SOCKET), request)? {
                return response.into_result();
            }
            match RealmLock::take(&self.folder, "changes its accounts")? {
                Ok(_lock) => {
                    let store = self.open()?;
                    return Ok(admin::apply(&store, request, ambient::now(), &mut ambient::rng())?);
                }
                Err(holder) if end.is_none_or(|end| Instant::now() >= end) => {
                    return Err(holder.in_use(&self.folder));
                }
                // Another command, or a server that is just about to listen.
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// The lock, once commands that have it have ended; one who serves keeps it.
    fn locked(&self, what: &str, patience: Duration) -> Result<RealmLock, Refusal> {
        let began = Instant::now();
        let mut seen = 0_u32;
        loop {
            let holder = match RealmLock::take(&self.folder, what)? {
                Ok(lock) => return Ok(lock),
                Err(holder) => holder,
            };
            // Once may be what a server left that was killed, in the moment before the next holder writes.
            seen = if holder.serves() { seen.saturating_add(1) } else { 0 };
            if seen > 2 || began.elapsed() >= patience {
                return Err(holder.in_use(&self.folder));
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Opens the database; whoever calls this has the lock.
    fn open(&self) -> Result<Store, Refusal> {
        let path = self.folder.join(DATABASE);
        if !path.try_exists().map_err(|error| unwritable(&path, &error))? {
            return Err(self.absent());
        }
        let file = own_file(&path, false)?;
        must_be_private(&path, &file)?;
        let master = self.master_key()?;
        let opened = Store::open(file, &master, &mut ambient::rng());
        opened.map_err(|error| files::in_file(&self.folder, "realm", error.into()))
    }

    fn master_key(&self) -> Result<MasterKey, Refusal> {
        let path = &self.master_key;
        let file = File::open(path).map_err(|error| unwritable(path, &error))?;
        must_be_private(path, &file)?;
        let contents = files::contents(file).map_err(|error| unwritable(path, &error))?;
        MasterKey::parse(&contents).map_err(|error| files::in_file(path, "master key", error.into()))
    }

    /// The master key in the file that there is, or a new one in a new file.
    fn made_master_key(&self) -> Result<MasterKey, Refusal> {
        let path = &self.master_key;
        if path.try_exists().map_err(|error| unwritable(path, &error))? {
            return self.master_key();
        }
        let master = MasterKey::generate(&mut ambient::rng());
        let digits: Secret = master.to_file();
        place::create(path, &digits).map_err(|error| unwritable(path, &error))?;
        Ok(master)
    }

    fn make_folder(&self) -> Result<(), Refusal> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(unwritable(&self.folder, &error)),
        }
    }

    /// Refuses a folder into which others could put files, or that belongs to somebody else.
    fn check_folder(&self, owned_by: Owner) -> Result<(), Refusal> {
        let metadata = match fs::metadata(&self.folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.absent()),
            Err(error) => return Err(unwritable(&self.folder, &error)),
        };
        if !metadata.is_dir() {
            return Err(unwritable(&self.folder, &io::ErrorKind::NotADirectory.into()));
        }
        let (owner, ours, mode) = (metadata.uid(), geteuid().as_raw(), metadata.mode() & 0o7777);
        if owner != ours && !(ours == 0 && owned_by == Owner::AnybodyForRoot) {
            let saw = format!("folder {} of user {owner}", self.folder.display());
            return Err(Refusal::new(code::REALM_EXPOSED, saw, format!("the rights of user {ours}")));
        }
        if mode & 0o077 != 0 {
            let saw = format!("folder {} of mode {mode:04o}", self.folder.display());
            return Err(Refusal::new(code::REALM_EXPOSED, saw, "only folders of mode 0700 for realms"));
        }
        Ok(())
    }

    fn absent(&self) -> Refusal {
        let saw = format!("no realm in {}", self.folder.display());
        Refusal::new(code::REALM_ABSENT, saw, "nothing to open instead")
    }
}

impl Holder {
    fn serves(&self) -> bool {
        self.0.contains(" serves ")
    }
}

/// Whose a folder may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This process's user.
    Ourselves,
    /// Anybody, if this process is root: it changes what others serve.
    AnybodyForRoot,
}

/// Opens a file in the realm's folder to read and write it, if it is a file of the folder's owner: whoever owns the folder
/// must not be able to have root change another file.
fn own_file(path: &Path, create: bool) -> Result<File, Refusal> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false).mode(0o600);
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let opened = options.custom_flags(no_link).open(path).and_then(|file| {
        let (metadata, folder) = (file.metadata()?, fs::metadata(path.parent().unwrap_or(path))?);
        let ours = metadata.uid() == folder.uid() || metadata.uid() == geteuid().as_raw();
        if metadata.is_file() && metadata.nlink() == 1 && ours {
            return Ok(file);
        }
        Err(io::Error::other("it is no file of the folder's owner"))
    });
    opened.map_err(|error| unwritable(path, &error))
}

/// Refuses a file that others may read or change.
fn must_be_private(path: &Path, file: &File) -> Result<(), Refusal> {
    let metadata = file.metadata().map_err(|error| unwritable(path, &error))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let saw = format!("{} of mode {mode:04o}", path.display());
        return Err(Refusal::new(code::REALM_EXPOSED, saw, "only files of mode 0600 for realms"));
    }
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Refusal {
    Refusal::new(code::REALM_UNREADABLE, format!("{} ({error})", path.display()), "nothing to use instead")
}

/// Makes a file its owner's alone.
fn make_private(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o600))
}
