//! The handler behind a socket of the loopback, by UDP and TCP, and programs of others that use it as their only KDC.
#![allow(clippy::disallowed_types, reason = "a server has sockets, though the realm has none")]

use super::{Memory, REALM, TestRealm};
use countersign_proto::time::Timestamp;
use countersign_realm::{KdcRecord, RealmPolicy};
use countersign_testkit::{Config, Finished, run};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// No program takes a tenth of this, but machines that run tests are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A realm that is served, and a folder for its clients' files.
pub(crate) struct Served {
    inner: Arc<Inner>,
    address: SocketAddr,
    threads: Vec<JoinHandle<()>>,
    folder: TempDir,
    files: AtomicU32,
}

struct Inner {
    realm: TestRealm,
    records: Mutex<Vec<KdcRecord>>,
    ended: AtomicBool,
}

impl Inner {
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        #[allow(clippy::disallowed_methods, reason = "a server has a clock")]
        let now = Timestamp::from_system(SystemTime::now());
        let handled = self.realm.kdc.handle(request, now, &mut rand::rng(), &self.realm.accounts);
        self.records.lock().unwrap().push(handled.record);
        handled.reply
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = vec![0; 65_536];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(reply) = self.answer(&buffer[..length]) {
                socket.send_to(&reply, peer).unwrap();
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while !self.ended.load(Ordering::Relaxed) {
            let Ok((stream, _)) = listener.accept() else { continue };
            let _ = self.serve_connection(stream);
        }
    }

    fn serve_connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut request = vec![0; u32::from_be_bytes(length).min(65_536) as usize];
        stream.read_exact(&mut request)?;
        if let Some(reply) = self.answer(&request) {
            stream.write_all(&u32::try_from(reply.len()).unwrap().to_be_bytes())?;
            stream.write_all(&reply)?;
        }
        Ok(())
    }
}

impl Served {
    pub(crate) fn new(policy: RealmPolicy) -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let realm = TestRealm::with(policy);
        let inner = Arc::new(Inner { realm, records: Mutex::default(), ended: AtomicBool::new(false) });
        let [by_udp, by_tcp] = [(); 2].map(|()| Arc::clone(&inner));
        let threads = vec![
            std::thread::spawn(move || by_udp.serve_udp(&udp)),
            std::thread::spawn(move || by_tcp.serve_tcp(&tcp)),
        ];
        let folder = tempfile::Builder::new().prefix("countersign-served-").tempdir().unwrap();
        Self { inner, address, threads, folder, files: AtomicU32::new(0) }
    }

    pub(crate) fn accounts(&self) -> &Memory {
        &self.inner.realm.accounts
    }

    /// The records of all requests since this was asked last.
    pub(crate) fn records(&self) -> Vec<KdcRecord> {
        std::mem::take(&mut *self.inner.records.lock().unwrap())
    }

    /// A new file of the folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(format!("{name}-{number}"))
    }

    /// A krb5.conf of clients that know this KDC alone. Of `config` the etypes, `libdefaults` and `realm_lines` count.
    pub(crate) fn krb5_conf(&self, config: &Config) -> PathBuf {
        let mut text = format!(
            "[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\nrdns = false\n\
             dns_canonicalize_hostname = false\n"
        );
        if !config.permitted_enctypes.is_empty() {
            let etypes: Vec<_> = config.permitted_enctypes.iter().map(|etype| etype.name()).collect();
            for key in ["permitted_enctypes", "default_etypes"] {
                text += &format!("{key} = {}\n", etypes.join(" "));
            }
        }
        config.libdefaults.iter().for_each(|(key, value)| text += &format!("{key} = {value}\n"));
        text += &format!("[realms]\n{REALM} = {{\nkdc = {}\n", self.address);
        config.realm_lines.iter().for_each(|(key, value)| text += &format!("{key} = {value}\n"));
        // What a client may take for a realm of its own before it is told better.
        text += &format!("}}\n{} = {{\nkdc = {}\n}}\n", REALM.to_lowercase(), self.address);
        let path = self.file("krb5.conf");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The environment of a client.
    pub(crate) fn env(&self, config: &Config) -> Vec<(String, OsString)> {
        vec![
            ("KRB5_CONFIG".to_owned(), self.krb5_conf(config).into()),
            ("KRB5RCACHENAME".to_owned(), "none:".into()),
            ("LC_ALL".to_owned(), "C".into()),
        ]
    }

    /// MIT's kinit. `Err` is what it said.
    pub(crate) fn kinit(
        &self,
        config: &Config,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<PathBuf, Finished> {
        let ccache = self.file("ccache");
        let mut command = Command::new("kinit");
        command.envs(self.env(config)).arg("-c").arg(&ccache).args(options).arg(user);
        let mut process = countersign_testkit::Process::start(&mut command);
        let mut stdin = process.stdin().unwrap();
        let _ = writeln!(stdin, "{password}");
        drop(stdin);
        let done = process.finish(DEADLINE);
        if done.code() == 0 { Ok(ccache) } else { Err(done) }
    }

    /// A program of MIT's with `ccache` as its cache.
    pub(crate) fn with_ccache(
        &self,
        config: &Config,
        ccache: &Path,
        program: &str,
        arguments: &[&str],
    ) -> Finished {
        let mut command = Command::new(program);
        command.envs(self.env(config)).env("KRB5CCNAME", ccache).args(arguments);
        run(&mut command, DEADLINE)
    }

    pub(crate) fn kvno(&self, config: &Config, ccache: &Path, service: &str) -> String {
        self.with_ccache(config, ccache, "kvno", &[service]).expect_success().text()
    }

    /// What klist says of a cache, with flags and etypes.
    pub(crate) fn klist(&self, ccache: &Path) -> String {
        self.with_ccache(&Config::default(), ccache, "klist", &["-f", "-e"]).expect_success().text()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        // Wakes who waits for a connection.
        let _ = TcpStream::connect(self.address);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Sockets of one port, for UDP and TCP.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}
