//! What the tests of the program share: a realm, the program in both of its roles, and the peers it is held against.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

pub(crate) mod wire;

use countersign_testkit::{Config, Env, Etype, Finished, Library, Peers, Process, Realm, run};
use serde_json::Value;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// No step of a test takes a tenth of this, but machines that run tests are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The service that every scene has, with a key of etype 18.
pub(crate) const SPN: &str = "echo/a.example.test";

/// [`SPN`] in full.
pub(crate) const FULL_SPN: &str = "echo/a.example.test@CLI.TEST";

/// The realm that the tests of one program share, with alice in it and the service [`SPN`].
pub(crate) struct Scene {
    pub(crate) realm: Realm,
    /// The keys of [`SPN`].
    pub(crate) keytab: PathBuf,
    tgt: PathBuf,
    ccaches: AtomicU32,
}

static SHARED: Mutex<Weak<Scene>> = Mutex::new(Weak::new());

impl Scene {
    /// The scene of this test program: made by the first test that asks, gone with the last that holds it. `prepare`
    /// adds the accounts that this program's tests need.
    pub(crate) fn shared(prepare: fn(&Realm)) -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let scene = Arc::new(Self::new(prepare));
            *shared = Arc::downgrade(&scene);
            scene
        })
    }

    fn new(prepare: fn(&Realm)) -> Self {
        let realm = Realm::new("CLI.TEST");
        realm.add_user("alice", "secret");
        realm.add_service(SPN, &[Etype::Aes256Sha1]);
        prepare(&realm);
        let keytab = realm.keytab(&[SPN]);
        let tgt = realm.kinit("alice", "secret", &[]);
        Self { realm, keytab, tgt, ccaches: AtomicU32::new(0) }
    }

    /// A credential cache of its own for each call, with alice's ticket-granting ticket.
    pub(crate) fn ccache(&self) -> PathBuf {
        let number = self.ccaches.fetch_add(1, Ordering::Relaxed);
        let copy = self.realm.folder().join(format!("alice-{number}"));
        std::fs::copy(&self.tgt, &copy).expect("the realm's folder is writable");
        copy
    }

    /// The same with tickets for `spns`.
    pub(crate) fn ccache_for(&self, spns: &[&str]) -> PathBuf {
        let ccache = self.ccache();
        spns.iter().for_each(|spn| self.realm.kvno(spn, &ccache, &[]));
        ccache
    }

    /// The environment of alice's programs.
    pub(crate) fn client_env(&self) -> Env {
        self.realm.client_env(&self.ccache())
    }

    /// Environment for a peer that permits `etypes`, the preferred one first.
    pub(crate) fn permitting(&self, env: Env, etypes: &[Etype]) -> Env {
        let permitted_enctypes = etypes.to_vec();
        let config = Config { permitted_enctypes, allow_weak_crypto: true, ..Config::default() };
        [env, vec![("KRB5_CONFIG".to_owned(), self.realm.config(&config).into())]].concat()
    }

    /// Runs the initiator built on `library`, as alice, towards [`SPN`] at `address`.
    pub(crate) fn initiate(&self, library: Library, address: SocketAddr, options: &[&str]) -> Finished {
        initiate(library, &self.client_env(), address, FULL_SPN, options)
    }

    /// Starts the acceptor built on `library` with the keys of [`SPN`].
    pub(crate) fn acceptor(&self, library: Library, options: &[&str]) -> (Process, SocketAddr) {
        acceptor(library, &self.realm.service_env(&self.keytab), options)
    }

    /// `countersign serve` with the keys of [`SPN`].
    pub(crate) fn serve(&self, options: &[&str]) -> Serve {
        Serve::start(&self.keytab, options)
    }

    /// `countersign connect` as alice towards [`SPN`] at `address`.
    pub(crate) fn connect(&self, address: SocketAddr, options: &[&str]) -> Finished {
        let ccache = self.ccache_for(&[SPN]);
        run(connect(address, FULL_SPN, &ccache).args(options), DEADLINE)
    }

    /// An initiator's first token towards `spn`, made by the peer built on MIT's library.
    pub(crate) fn token(&self, spn: &str, options: &[&str]) -> Vec<u8> {
        let file = self.ccache().with_extension("token");
        let mut command = Peers::get().command(Library::Mit);
        command.args(["token", spn]).arg(&file).args(options).envs(self.client_env());
        run(&mut command, DEADLINE).expect_success();
        std::fs::read(file).unwrap()
    }
}

/// Runs the initiator built on `library` towards `spn`, a principal with its realm.
pub(crate) fn initiate(
    library: Library,
    env: &Env,
    address: SocketAddr,
    spn: &str,
    options: &[&str],
) -> Finished {
    peer(Peers::get().command(library).arg("initiate"), env, address, spn, options)
}

/// Runs any peer that takes HOST PORT SPN and options.
pub(crate) fn peer(
    command: &mut Command,
    env: &Env,
    address: SocketAddr,
    spn: &str,
    options: &[&str],
) -> Finished {
    command.arg(address.ip().to_string()).arg(address.port().to_string()).arg(spn).args(options);
    run(command.envs(env.iter().cloned()), DEADLINE)
}

/// Starts the acceptor built on `library`.
pub(crate) fn acceptor(library: Library, env: &Env, options: &[&str]) -> (Process, SocketAddr) {
    let mut command = Peers::get().command(library);
    command.envs(env.iter().cloned()).args(["accept", "0"]).args(options);
    let process = Process::start(&mut command);
    let address = process.listening();
    (process, address)
}

/// The program under test, with nothing in its environment that it would take keys or tickets from.
pub(crate) fn countersign(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).env_remove("KRB5_KTNAME").env_remove("KRB5CCNAME");
    // Nothing is left on the machine by services that are told no state folder.
    command.env("STATE_DIRECTORY", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command
}

/// `countersign connect` to `address` with the tickets in `ccache`.
pub(crate) fn connect(address: SocketAddr, spn: &str, ccache: &Path) -> Command {
    let mut command = countersign(&["connect", &address.to_string(), "--spn", spn]);
    command.arg("--ccache").arg(ccache);
    command
}

/// A running `countersign serve` that writes an audit file.
pub(crate) struct Serve {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    audit: PathBuf,
    /// Holds the audit file.
    _folder: TempDir,
}

impl Serve {
    /// Starts it with the keys in `keytab`; it listens when this returns.
    pub(crate) fn start(keytab: &Path, options: &[&str]) -> Self {
        Self::start_as(&Vec::new(), keytab, options)
    }

    /// The same with variables for its environment, such as those of another clock.
    pub(crate) fn start_as(env: &Env, keytab: &Path, options: &[&str]) -> Self {
        let mut command = countersign(&["serve"]);
        command.envs(env.iter().cloned()).arg("--keytab").arg(keytab).args(options);
        Self::start_command(&mut command)
    }

    /// Starts a prepared `countersign serve` on a free port.
    pub(crate) fn start_command(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let audit = folder.path().join("audit.jsonl");
        let process = Process::start(command.args(["--listen", "127.0.0.1:0"]).arg("--audit").arg(&audit));
        let address = process.listening();
        Self { process, address, audit, _folder: folder }
    }

    /// The records of the audit file so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).expect("serve has made the audit file");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object in each line")).collect()
    }

    /// Waits for `count` records and returns all there are then.
    pub(crate) fn wait_for_records(&self, count: usize) -> Vec<Value> {
        self.wait_for(&format!("{count} records"), || {
            Some(self.records()).filter(|records| records.len() >= count)
        })
    }

    /// Waits for the one record that there is to be, which tells of a refusal with `code`, and for the same text on
    /// standard error. Returns the record.
    pub(crate) fn refused(&self, code: &str) -> Value {
        self.refused_at(1, code)
    }

    /// The same where the refusal is the last of `count` records.
    pub(crate) fn refused_at(&self, count: usize, code: &str) -> Value {
        let record = self.ended_at(count, "refused", code);
        let Value::String(peer) = &record["peer"] else { panic!("no peer in {record}") };
        let Value::String(reason) = &record["reason"] else { panic!("no reason in {record}") };
        assert!(reason.starts_with(&format!("{code} saw ")), "{reason}");
        self.wait_for_stderr(&format!("{peer} refused: {reason}\n"));
        record
    }

    /// Waits for the last of `count` records, which tells of a context that ended with `code`.
    pub(crate) fn broken_at(&self, count: usize, code: &str) -> Value {
        let record = self.ended_at(count, "broken", code);
        self.wait_for_stderr(&format!(" ended: {code} saw "));
        record
    }

    fn ended_at(&self, count: usize, outcome: &str, code: &str) -> Value {
        let records = self.wait_for_records(count);
        assert_eq!(records.len(), count, "{records:?}");
        let record = records[count - 1].clone();
        assert_eq!((&record["outcome"], &record["code"]), (&outcome.into(), &code.into()), "{record}");
        record
    }

    /// Waits for the first record, which tells of an accepted client.
    pub(crate) fn accepted(&self) -> Value {
        let record = self.wait_for_records(1)[0].clone();
        assert_eq!(record["outcome"], "accepted", "{record}");
        record
    }

    /// Waits until standard error holds `text`.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.wait_for(text, || self.process.stderr().contains(text).then_some(()));
    }

    fn wait_for<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait_for(look).unwrap_or_else(|| {
            panic!("no {what:?}\naudit: {:?}\nstderr: {}", self.records(), self.process.stderr())
        })
    }
}

/// Looks again and again until there is something, or [`DEADLINE`] has passed.
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Asserts that a peer was told `error_code` by a KRB-ERROR that names `spn` as the ticket does, and nothing else.
#[track_caller]
pub(crate) fn assert_told(done: &Finished, error_code: i32, spn: &str) {
    let told = format!("KRB-ERROR {error_code} sname {spn} e-text none e-data none\n");
    assert!(done.stderr.contains(&told), "{done:?} lacks {told}");
}

/// The names of `etypes` as the program and krb5.conf know them, with commas between.
pub(crate) fn names(etypes: &[Etype]) -> String {
    etypes.iter().map(|etype| etype.name()).collect::<Vec<_>>().join(",")
}

/// A file in `folder` with these contents.
pub(crate) fn file(folder: &Path, name: impl AsRef<OsStr>, contents: &[u8]) -> PathBuf {
    let path = folder.join(name.as_ref());
    std::fs::write(&path, contents).expect("the folder is writable");
    path
}
