//! What the tests of tunnels share: the two programs that make one, with tickets made by hand, and what is to be seen of them
//! from outside.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

use super::support::{DEADLINE, Serve, connect, countersign, file, wait_for};
use countersign::proto::time::Timestamp;
use countersign_testkit::Process;
use countersign_testkit::mint::{Mint, ccache_bytes, keytab_bytes};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A service's keytab, and a client's ticket for it.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) mint: Mint,
    keytab: PathBuf,
    ccache: PathBuf,
}

/// `serve --upstream`, and `connect --listen` before it.
pub(crate) struct Tunnel {
    pub(crate) serve: Serve,
    pub(crate) connect: Process,
    /// Where programs enter.
    pub(crate) entrance: SocketAddr,
    // Its files are used until the end.
    _scene: Scene,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of(Mint::default(), Duration::from_secs(3_600))
    }

    /// With the principals of `mint`, and a ticket that ends after so long.
    pub(crate) fn of(mint: Mint, life: Duration) -> Self {
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..mint };
        let mut ticket = mint.ticket();
        ticket.endtime = mint.now.saturating_add(life);
        let folder = tempfile::tempdir().unwrap();
        let keytab = file(folder.path(), "keytab", &keytab_bytes(&mint.keytab()));
        let ccache = file(folder.path(), "ccache", &ccache_bytes(&mint.ccache(&[ticket])));
        Self { folder, mint, keytab, ccache }
    }

    /// `serve` before `upstream`.
    pub(crate) fn serve(&self, upstream: &str, flags: &[&str]) -> Serve {
        Serve::start_command(&mut self.serve_command(upstream, flags))
    }

    pub(crate) fn serve_command(&self, upstream: &str, flags: &[&str]) -> Command {
        let mut command = countersign(&["serve", "--upstream", upstream]);
        command.arg("--keytab").arg(&self.keytab).args(flags);
        command
    }

    /// `connect` towards `service`, which does what `flags` say.
    pub(crate) fn connect(&self, service: SocketAddr, flags: &[&str]) -> Command {
        let mut command = connect(service, &self.mint.service.to_string(), &self.ccache);
        command.args(flags);
        command
    }

    /// `connect --listen` towards `service`, and where it listens.
    pub(crate) fn entrance(&self, service: SocketAddr, flags: &[&str]) -> (Process, SocketAddr) {
        let mut command = self.connect(service, flags);
        let process = Process::start(command.args(["--listen", "127.0.0.1:0"]));
        let address = process.listening();
        (process, address)
    }

    pub(crate) fn tunnel(self, upstream: &str, serve: &[&str], connect: &[&str]) -> Tunnel {
        let serve = self.serve(upstream, serve);
        let (connect, entrance) = self.entrance(serve.address, connect);
        Tunnel { serve, connect, entrance, _scene: self }
    }
}

impl Tunnel {
    /// With nothing said but where the upstream is.
    pub(crate) fn to(upstream: impl ToString) -> Self {
        Scene::new().tunnel(&upstream.to_string(), &[], &[])
    }

    /// A program's connection.
    pub(crate) fn enter(&self) -> TcpStream {
        reach(self.entrance)
    }

    /// How many descriptors both programs have.
    pub(crate) fn descriptors(&self) -> [usize; 2] {
        [&self.serve.process, &self.connect].map(descriptors)
    }

    /// Waits until the programs have no more descriptors than these.
    #[track_caller]
    pub(crate) fn wait_for_descriptors(&self, before: [usize; 2]) {
        let are_back = || self.descriptors().iter().zip(before).all(|(now, before)| *now <= before);
        let back = wait_for(|| are_back().then_some(()));
        assert!(back.is_some(), "{:?} descriptors, {before:?} before", self.descriptors());
    }

    /// Waits until `connect` has said this.
    #[track_caller]
    pub(crate) fn wait_for_connect(&self, text: &str) {
        let said = wait_for(|| self.connect.stderr().contains(text).then_some(()));
        assert!(said.is_some(), "no {text:?} in {}", self.connect.stderr());
    }
}

/// A connection with a deadline for reads.
pub(crate) fn reach(address: SocketAddr) -> TcpStream {
    guarded(TcpStream::connect(address).expect("somebody listens"))
}

fn guarded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A service behind a tunnel, played by the test.
pub(crate) struct Upstream(TcpListener);

impl Upstream {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// The next connection.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        self.0.set_nonblocking(true).unwrap();
        let accepted = wait_for(|| self.0.accept().ok()).expect("a connection");
        accepted.0.set_nonblocking(false).unwrap();
        guarded(accepted.0)
    }

    /// Asserts that nobody has come.
    #[track_caller]
    pub(crate) fn assert_alone(&self) {
        self.0.set_nonblocking(true).unwrap();
        let error = self.0.accept().expect_err("nobody comes");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// A tunnel whose two ends the test holds: a program's, and the upstream's.
pub(crate) fn both_ends(tunnel: &Tunnel, upstream: &Upstream) -> (TcpStream, TcpStream) {
    let program = tunnel.enter();
    (program, upstream.accept())
}

/// Asserts that `bytes` come next.
#[track_caller]
pub(crate) fn assert_comes(stream: &mut TcpStream, bytes: &[u8]) {
    let mut come = vec![0; bytes.len()];
    stream.read_exact(&mut come).unwrap_or_else(|error| panic!("not {bytes:02x?} but {error}"));
    assert_eq!(come, bytes);
}

/// Asserts that these bytes come next, and then the end.
#[track_caller]
pub(crate) fn assert_whole(stream: &mut TcpStream, bytes: &[u8]) {
    let mut come = Vec::new();
    stream.read_to_end(&mut come).unwrap_or_else(|error| panic!("no end but {error}"));
    assert_eq!(come, bytes);
}

/// Asserts that the connection is reset, after `bytes` at most.
#[track_caller]
pub(crate) fn assert_reset(stream: &mut TcpStream, bytes: &[u8]) {
    let mut come = Vec::new();
    let error = stream.read_to_end(&mut come).expect_err("no end, a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(bytes.starts_with(&come), "{come:02x?}");
}

pub(crate) fn signal(process: &Process, signal: Signal) {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(id, signal).unwrap();
}

fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// The most memory that the process ever had, in bytes.
pub(crate) fn most_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of kB") * 1_024
}
