//! What the tests of limits share: a service with hand-made keys, honest clients and hostile ones from many addresses of
//! 127.0.0.0/8, and what a process holds.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

pub(crate) mod flood;

use crate::support::{DEADLINE, Serve, countersign, file, wait_for};
use countersign::blocking::{self, Session};
use countersign::proto::context::Initiator;
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Failure};
use countersign_testkit::Process;
use countersign_testkit::mint::{Mint, Ticket, keytab_bytes};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::SystemTime;
use tempfile::TempDir;

/// Keys and tickets of now.
pub(crate) fn mint() -> Mint {
    Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() }
}

/// `serve` with hand-made keys and this configuration, which has no listener or one without keytab.
pub(crate) fn serve_with(configuration: &str, options: &[&str]) -> (Serve, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keytab = file(folder.path(), "keytab", &keytab_bytes(&mint().keytab()));
    let config = file(folder.path(), "serve.toml", configuration.as_bytes());
    let mut command = countersign(&["serve", "--config"]);
    command.arg(config).env("KRB5_KTNAME", keytab).args(options);
    (Serve::start_command(&mut command), folder)
}

/// A client with a ticket of its own.
pub(crate) fn client() -> Client {
    client_with(mint().ticket())
}

/// A client with this ticket.
pub(crate) fn client_with(ticket: Ticket) -> Client {
    let mint = mint();
    let ccache = mint.ccache(&[ticket]);
    let initiator = Initiator::from_ccache(&ccache, &mint.service, InitiatorPolicy::default(), mint.now);
    Client::new(ClientConfig {
        handshake_deadline: DEADLINE,
        ..ClientConfig::new(ClientCredential::Ready(initiator.unwrap()))
    })
}

/// A connection to `address` from an address of one's own.
pub(crate) fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&stream, &SocketAddrV4::new(source, 0)).unwrap();
    connect(&stream, &address).unwrap();
    let stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// An honest client's handshake from `source`.
pub(crate) fn handshake(
    client: &Client,
    source: Ipv4Addr,
    address: SocketAddr,
) -> Result<Session<TcpStream>, Failure> {
    blocking::connect(client, connect_from(source, address))
}

/// What the kernel says of a process.
pub(crate) struct Held(u32);

impl Held {
    pub(crate) fn by(serve: &Serve) -> Self {
        Self(serve.process.id())
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    /// Resident memory at its highest so far, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// Time on processors, user's and system's, of all of its threads, in nanoseconds. Its threads do not end.
    pub(crate) fn processor_time(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0)).unwrap();
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        tasks.filter_map(|task| of(task.unwrap()).split(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() * 1_024
    }
}

/// The number before `unit` after `before`, in a line that the program printed.
pub(crate) fn printed(text: &str, before: &str, unit: &str) -> usize {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{text} lacks {before:?}")).1;
    rest.split_once(unit).and_then(|(number, _)| number.trim().parse().ok()).unwrap()
}

/// The value in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A `serve` with listeners of its own.
pub(crate) struct Several {
    pub(crate) process: Process,
    /// In the order in which they are announced.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// `serve` with hand-made keys and this configuration, which has `count` addresses to listen at.
pub(crate) fn serve_several(configuration: &str, count: usize) -> (Several, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keytab = file(folder.path(), "keytab", &keytab_bytes(&mint().keytab()));
    let config = file(folder.path(), "serve.toml", configuration.as_bytes());
    let mut command = countersign(&["serve", "--config"]);
    let process = Process::start(command.arg(config).env("KRB5_KTNAME", keytab));
    let listening = || process.stdout().matches("listening on ").count() == count;
    assert!(wait_for(|| listening().then_some(())).is_some(), "{}", process.stderr());
    let addresses = process.stdout();
    let addresses = addresses.lines().filter_map(|line| line.strip_prefix("listening on ")?.parse().ok());
    (Several { addresses: addresses.collect(), process }, folder)
}
