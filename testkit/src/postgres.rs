//! A running PostgreSQL, and its client psql.

use crate::process::{Process, run};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Making a database cluster takes a second or two, but machines that run tests are busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server with an empty database, on loopback and on a Unix socket, that believes whoever says to be `postgres` and keeps
/// nothing. It is ended when dropped.
pub struct Postgres {
    port: u16,
    programs: PathBuf,
    process: Process,
    // Last, so that the server has ended when its folder goes.
    folder: tempfile::TempDir,
}

/// Whom the server runs as: it refuses to be root.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// A server at a free port.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let programs = programs();
        let folder =
            tempfile::Builder::new().prefix("countersign-pg-").tempdir().expect("a temporary folder");
        let account = Account::without_root();
        if let Some(Account { uid, gid }) = account {
            chown(folder.path(), Some(uid), Some(gid)).expect("root may give a folder away");
        }
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            if let Some(Account { uid, gid }) = account {
                command.uid(uid).gid(gid);
            }
            command.current_dir(folder.path());
            command
        };
        let mut initdb = program("initdb");
        initdb.args(["-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        run(&mut initdb, DEADLINE).expect_success();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let mut server = program("postgres");
        server.args(["-D", "data", "-p", &port.to_string(), "-k"]).arg(folder.path());
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let mut server = Self { port, process: Process::start(&mut server), programs, folder };
        server.wait();
        server
    }

    fn wait(&mut self) {
        let end = Instant::now() + DEADLINE;
        let mut ready = Command::new(self.programs.join("pg_isready"));
        ready.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        while run(&mut ready, DEADLINE).code() != 0 {
            let said = self.process.stderr();
            assert!(self.process.is_running() && Instant::now() < end, "postgres: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The path of its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// psql as `postgres` towards whatever listens at `address`, which ends with 3 at the first error of its input and
    /// with 1 at one of `-c`. What is otherwise said stands in `arguments`.
    #[must_use]
    pub fn psql(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        psql.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        psql.args(arguments);
        psql
    }

    /// What the server says to one statement, asked at its own address.
    ///
    /// # Panics
    /// If it says an error.
    #[track_caller]
    pub fn query(&self, statement: &str) -> String {
        let done = run(&mut self.psql(self.address(), &["-c", statement]), DEADLINE);
        done.expect_success().text().trim_end().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Killed at once, it would leave a piece of shared memory behind.
        let id = self.process.id().to_string();
        let told = Command::new("kill").args(["-INT", &id]).status();
        let end = Instant::now() + Duration::from_secs(10);
        while told.is_ok() && self.process.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Account {
    /// PostgreSQL's own account, or nobody's, if this is root.
    #[track_caller]
    fn without_root() -> Option<Self> {
        let process = std::fs::metadata("/proc/self").expect("/proc is there");
        (process.uid() == 0).then(|| {
            let accounts = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is there");
            let account = |name| accounts.lines().find_map(|line| Self::of(line, name));
            account("postgres").or_else(|| account("nobody")).expect("an account for PostgreSQL")
        })
    }

    /// `name:password:uid:gid:...`
    fn of(line: &str, name: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(':').collect();
        let is_it = fields.first() == Some(&name);
        is_it.then(|| Some(Self { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? }))?
    }
}

/// The folder of the newest version's programs: in the PATH there are only wrappers that look for clusters of the machine.
#[track_caller]
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin")).filter(|bin| is_whole(bin));
    programs.max_by_key(|bin| version(bin)).expect("no PostgreSQL; scripts/install-peers installs it")
}

fn is_whole(bin: &Path) -> bool {
    ["initdb", "postgres", "psql", "pg_isready"].iter().all(|program| bin.join(program).is_file())
}

fn version(bin: &Path) -> Option<u32> {
    bin.parent()?.file_name()?.to_str()?.parse().ok()
}

/// Fast, small, and with what is read in the order in which it was written.
const SETTINGS: [&str; 13] = [
    "listen_addresses=127.0.0.1",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=64MB",
    "min_wal_size=32MB",
    "shared_buffers=16MB",
    "autovacuum=off",
    "max_parallel_workers=0",
    "synchronize_seqscans=off",
    "log_checkpoints=off",
];
