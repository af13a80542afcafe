//! What the tests of `serve` in production share: a folder with keys, tickets and a configuration, the service that runs by
//! it, and what operators see of it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

pub(crate) mod recorder;

use super::support::{DEADLINE, connect, countersign, file, wait_for};
use countersign::blocking::{self, Session};
use countersign::framing::Framing;
use countersign::proto::context::Initiator;
use countersign::proto::keytab::Keytab;
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Failure};
use countersign_testkit::mint::{self, Mint, Ticket};
use countersign_testkit::{Finished, Process, run};
use rustix::net::{AddressFamily, SocketType, bind, connect as connect_socket, socket};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;
use tempfile::TempDir;

/// One listener with the keys of the scene, on a free port.
pub(crate) const LISTENER: &str = "[[listener]]\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\n";

/// Where metrics and health can be asked for, and records are written.
pub(crate) const OBSERVED: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n[audit]\nfile = \"~/audit\"\n";

/// A service's keytab and a client's ticket in a folder, and the configurations that are tried.
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) mint: Mint,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of(Mint::default())
    }

    /// With these names and etypes.
    pub(crate) fn of(mint: Mint) -> Self {
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..mint };
        let scene = Self { folder: tempfile::tempdir().unwrap(), mint };
        scene.write("keytab", &scene.keytab(&[scene.mint.kvno]));
        scene.write("ccache", &scene.ccache(scene.mint.ticket()));
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path as text.
    pub(crate) fn named(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, contents: &[u8]) -> PathBuf {
        file(self.folder.path(), name, contents)
    }

    /// A keytab with the service's keys of these versions.
    pub(crate) fn keytab(&self, kvnos: &[u32]) -> Vec<u8> {
        let Mint { service, ticket_etype, .. } = &self.mint;
        let entries = kvnos.iter().map(|kvno| self.mint.entry(service, *kvno, *ticket_etype)).collect();
        mint::keytab_bytes(&Keytab { entries })
    }

    /// A ticket under the service's key of this version.
    pub(crate) fn ticket(&self, kvno: u32) -> Ticket {
        Mint { kvno, ..self.mint.clone() }.ticket()
    }

    pub(crate) fn ccache(&self, ticket: Ticket) -> Vec<u8> {
        mint::ccache_bytes(&self.mint.ccache(&[ticket]))
    }

    /// A client in this process with a ticket.
    pub(crate) fn client(&self, ticket: Ticket) -> Client {
        self.client_as(ticket, InitiatorPolicy::default(), Framing::Dword)
    }

    pub(crate) fn client_as(&self, ticket: Ticket, policy: InitiatorPolicy, framing: Framing) -> Client {
        client_of(&self.mint, ticket, policy, framing)
    }

    /// `countersign connect` with the ticket of the folder.
    pub(crate) fn connect(&self, address: SocketAddr, flags: &[&str]) -> Finished {
        self.connect_with("ccache", address, flags)
    }

    /// The same with another credential cache of the folder.
    pub(crate) fn connect_with(&self, ccache: &str, address: SocketAddr, flags: &[&str]) -> Finished {
        let mut command = connect(address, &self.mint.service.to_string(), &self.path(ccache));
        run(command.args(["--message", "hello"]).args(flags), DEADLINE)
    }

    /// These lines, in which `~/` stands for the folder.
    pub(crate) fn text(&self, lines: &str) -> String {
        lines.replace("~/", &format!("{}/", self.folder.path().display()))
    }

    /// `serve --config` of a file with these lines, in which `~/` stands for the folder.
    pub(crate) fn command(&self, lines: &str) -> Command {
        let config = self.write("serve.toml", self.text(lines).as_bytes());
        let mut command = countersign(&["serve", "--config"]);
        command.arg(config);
        command
    }

    #[track_caller]
    pub(crate) fn serve(&self, lines: &str) -> Running {
        self.run(&mut self.command(lines), lines)
    }

    /// A prepared command, for the lines that it was made of.
    #[track_caller]
    pub(crate) fn run(&self, command: &mut Command, lines: &str) -> Running {
        Running::start(command, lines.matches("[[listener]]").count(), self.path("audit"))
    }

    /// What a command that does not come to serve says, and ends with.
    #[track_caller]
    pub(crate) fn refused(&self, lines: &str, exit: i32, text: &str) -> Finished {
        let done = run(&mut self.command(lines), DEADLINE).expect_code(exit);
        assert!(done.stderr.contains(text), "{done:?} lacks {text:?}");
        done
    }
}

/// A client in this process, of this mint.
pub(crate) fn client_of(mint: &Mint, ticket: Ticket, policy: InitiatorPolicy, framing: Framing) -> Client {
    let ccache = mint.ccache(&[ticket]);
    let initiator = Initiator::from_ccache(&ccache, &mint.service, policy, mint.now).unwrap();
    Client::new(ClientConfig { framing, ..ClientConfig::new(ClientCredential::Ready(initiator)) })
}

/// A `countersign serve` that serves.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Where it listens, in the order of the file.
    pub(crate) addresses: Vec<SocketAddr>,
    audit: PathBuf,
}

impl Running {
    /// Waits until it listens at `count` addresses.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, count: usize, audit: PathBuf) -> Self {
        let process = Process::start(command);
        let mut running = Self { process, addresses: Vec::new(), audit };
        let addresses = running.wait_for("listeners", || {
            let stdout = running.process.stdout();
            let lines = stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            let told = lines.filter_map(|line| line.strip_prefix("listening on ")?.parse().ok());
            Some(told.collect::<Vec<_>>()).filter(|told| told.len() >= count)
        });
        running.addresses = addresses;
        running
    }

    /// Where the first listener is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Looks until there is something.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        let found = wait_for(look);
        found.unwrap_or_else(|| panic!("no {what:?}\nstderr: {}", self.process.stderr()))
    }

    #[track_caller]
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        self.wait_for(text, || self.process.stderr().contains(text).then_some(()));
    }

    pub(crate) fn stderr_count(&self, text: &str) -> usize {
        self.process.stderr().matches(text).count()
    }

    /// The records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).expect("serve has made the audit file");
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a JSON object in each line")).collect()
    }

    /// Waits for `count` records and returns the last of them.
    #[track_caller]
    pub(crate) fn record(&self, count: usize) -> Value {
        let records = self.wait_for(&format!("{count} records"), || {
            Some(self.records()).filter(|records| records.len() >= count)
        });
        assert_eq!(records.len(), count, "{records:?}");
        records[count - 1].clone()
    }

    /// The last record of all, once there is one with this code.
    #[track_caller]
    pub(crate) fn refused_with(&self, code: &str) -> Value {
        self.wait_for(code, || self.records().into_iter().rev().find(|record| record["code"] == code))
    }

    fn http(&self) -> SocketAddr {
        http_of(&self.process)
    }

    /// The status and the text of an answer by HTTP.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.http(), path)
    }

    /// Waits until `/readyz` answers with this status, and returns its text.
    #[track_caller]
    pub(crate) fn wait_for_ready(&self, status: u16) -> String {
        self.wait_for(&format!("/readyz {status}"), || {
            let (answered, text) = self.get("/readyz");
            (answered == status).then_some(text)
        })
    }

    /// The sum of the series of a metric whose labels hold all of `labels`, each as `name="value"`; 0 if there is none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        sum(&text, name, labels).unwrap_or(0.0)
    }

    /// Waits until the sum of a metric is at least so much.
    #[track_caller]
    pub(crate) fn wait_for_metric(&self, name: &str, labels: &[&str], least: f64) {
        self.wait_for(&format!("{name} {labels:?} of {least}"), || {
            (self.metric(name, labels) >= least).then_some(())
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).expect("the service runs");
    }

    /// Ends it as an operator does.
    #[track_caller]
    pub(crate) fn end(self) -> Finished {
        self.signal(Signal::TERM);
        self.process.finish(DEADLINE)
    }

    /// Kills it as a crash does.
    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.process.finish(DEADLINE);
    }
}

/// Where a service that was started answers by HTTP, as it tells.
#[track_caller]
pub(crate) fn http_of(process: &Process) -> SocketAddr {
    let address = wait_for(|| {
        let stderr = process.stderr();
        let (_, rest) = stderr.split_once("metrics at http://")?;
        rest.split_once("/metrics")?.0.parse().ok()
    });
    address.unwrap_or_else(|| panic!("no address of metrics: {}", process.stderr()))
}

/// The status and the text of an answer by HTTP.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The sum of the series of a metric in a scrape; `None` if there is none with these labels.
pub(crate) fn sum(scrape: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = None;
    for line in scrape.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (of, with) = series.split_once('{').unwrap_or((series, ""));
        if of == name && labels.iter().all(|label| with.contains(label)) {
            *found.get_or_insert(0.0) += value.parse::<f64>().unwrap();
        }
    }
    found
}

/// A connection to `address` from another of this machine's addresses.
pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddr::new(source, 0)).unwrap();
    connect_socket(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Bounds how long the files of a process may become, in bytes: what is longer is as a disk that is full.
pub(crate) fn limit_files(process: &Process, bytes: Option<u64>) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// A session of `client` with the service at `address`.
pub(crate) fn session(client: &Client, address: SocketAddr) -> Result<Session<TcpStream>, Failure> {
    let stream = TcpStream::connect(address).expect("the service listens");
    blocking::connect(client, stream)
}

/// A handshake, one message there and back, and the end of both directions.
#[track_caller]
pub(crate) fn exchange(client: &Client, address: SocketAddr) -> Result<(), String> {
    let mut session = session(client, address).map_err(|failure| failure.refusal.to_string())?;
    let done = (|| {
        session.send(b"hello")?;
        assert_eq!(session.receive()?, Some(&b"hello"[..]));
        session.finish()?;
        session.receive().map(|message| assert!(message.is_none()))
    })();
    done.map_err(|refusal| refusal.to_string())
}
