//! A running Redis, of which Valkey is a fork: for replay stores both are the same.

use crate::paths;
use crate::process::{Finished, Process, run};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(10);

/// A server on loopback that keeps everything in memory and nothing on disk, with `maxmemory-policy noeviction`. It is killed
/// when dropped.
pub struct Valkey {
    port: u16,
    password: Option<String>,
    folder: tempfile::TempDir,
    process: Process,
}

impl Valkey {
    /// A server at a free port.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further settings, as on its command line: `["--maxmemory-policy", "allkeys-lru"]`.
    #[must_use]
    #[track_caller]
    pub fn start_with(settings: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        Self::start_at(port, settings)
    }

    /// The same, at this port: another run of a server that was there before.
    #[must_use]
    #[track_caller]
    pub fn start_at(port: u16, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new(paths::program("redis-server"));
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--maxmemory-policy", "noeviction", "--unixsocket", "socket", "--daemonize", "no"]);
        command.arg("--dir").arg(folder.path()).args(["--repl-diskless-sync-delay", "0"]);
        let process = Process::start(command.current_dir(folder.path()).args(settings));
        let password =
            settings.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].to_owned());
        let mut server = Self { port, password, folder, process };
        let end = Instant::now() + DEADLINE;
        while server.cli(&["PING"]).text().trim() != "PONG" {
            let output = server.process.stdout();
            assert!(server.process.is_running() && Instant::now() < end, "redis-server: {output}");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as `redis://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The path of its Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Its folder, where a file of the test's may lie too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it says to a command.
    ///
    /// # Panics
    /// If it says an error.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        let done = self.cli(words).expect_success();
        let text = done.text().trim_end().to_owned();
        assert!(!text.starts_with("ERR") && !text.starts_with("(error)"), "{words:?}: {text}");
        text
    }

    fn cli(&self, words: &[&str]) -> Finished {
        let mut command = Command::new(paths::program("redis-cli"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(password) = &self.password {
            command.env("REDISCLI_AUTH", password);
        }
        run(command.args(words), DEADLINE)
    }

    /// Makes it a replica of another, and waits until it has all that the other has.
    ///
    /// # Panics
    /// If it does not get there in ten seconds.
    #[track_caller]
    pub fn replicate(&self, primary: &Self) {
        self.command(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        let end = Instant::now() + DEADLINE;
        while !self.command(&["INFO", "replication"]).contains("master_link_status:up") {
            assert!(Instant::now() < end, "no replica: {}", self.process.stdout());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it where it stands: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().to_string();
        run(Command::new("kill").args([signal, &id]), DEADLINE).expect_success();
    }
}
