//! A running MIT KDC.

use crate::config::{Config, kdc_conf, krb5_conf};
use crate::{Clock, Process, paths};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How a KDC is to behave. The default is as MIT's does, by UDP and TCP.
#[derive(Clone, Default, Debug)]
pub struct KdcOptions {
    /// The time it believes in.
    pub clock: Option<Clock>,
    /// What it listens on.
    pub transports: Transports,
    /// The longest answer by UDP, in bytes; for a longer one clients are told KRB_ERR_RESPONSE_TOO_BIG. MIT's default is
    /// 4096.
    pub max_dgram_reply_size: Option<u32>,
    /// The groups that it takes SPAKE pre-authentication in; without any there is none.
    pub spake_groups: Vec<SpakeGroup>,
    /// The group of a challenge that it sends with the first KDC_ERR_PREAUTH_REQUIRED, before the client has said what it
    /// knows (RFC 9588 section 4.1); it must be one of `spake_groups`.
    pub spake_challenge: Option<SpakeGroup>,
    /// Whether it refers clients that ask for an unknown service on a host to the realm of that host, which it takes from
    /// `config.domain_realm`, also if they do not say that the name is of a host.
    pub refer_host_based_services: bool,
    /// Its krb5.conf. Etypes that are considered broken are always permitted to it, so that a test can have any ticket.
    pub config: Config,
}

/// What a KDC listens on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Transports {
    /// UDP and TCP, at one port.
    #[default]
    Both,
    /// UDP alone.
    Udp,
    /// TCP alone.
    Tcp,
}

impl Transports {
    pub(crate) const fn udp(self) -> bool {
        !matches!(self, Self::Tcp)
    }

    pub(crate) const fn tcp(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// A group of SPAKE pre-authentication (RFC 9588 section 10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpakeGroup {
    /// Number 1.
    Edwards25519,
    /// Number 2.
    P256,
    /// Number 3.
    P384,
    /// Number 4.
    P521,
}

impl SpakeGroup {
    /// The name in krb5.conf and kdc.conf.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edwards25519 => "edwards25519",
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }
}

impl KdcOptions {
    fn krb5_conf(&self, realm: &str, port: u16) -> String {
        let mut config = Config { allow_weak_crypto: true, ..self.config.clone() };
        if !self.spake_groups.is_empty() {
            let groups: Vec<_> = self.spake_groups.iter().map(|group| group.name()).collect();
            config.libdefaults.push(("spake_preauth_groups".to_owned(), groups.join(" ")));
        }
        krb5_conf(realm, on_loopback(port), &config)
    }
}

/// A KDC over a realm's database. It ends when this is dropped, and also when the test program ends in any other way.
pub struct Kdc {
    realm: String,
    folder: PathBuf,
    port: u16,
    process: Process,
}

const PORTS_TRIED: u32 = 20;

/// Becomes the program in its arguments, after starting a watcher that ends it when this shell's input ends: the test
/// program holds the other end, and however that one ends, its KDCs do not stay behind.
pub(crate) const END_WITH_INPUT: &str = r#"exec 3<&0
( cat <&3; kill $$ ) >/dev/null 2>&1 &
exec "$@" 3<&- </dev/null"#;

impl Kdc {
    /// Starts a KDC on a free port of the loopback; it answers when this returns.
    ///
    /// # Panics
    /// If it does not answer on any of several ports.
    #[track_caller]
    pub(crate) fn start(realm: &str, folder: &Path, options: &KdcOptions) -> Self {
        let mut log = String::new();
        for _ in 0..PORTS_TRIED {
            match Self::try_port(realm, folder, free_port(), options) {
                Ok(kdc) => return kdc,
                // Somebody took the port between our look and the KDC's bind: another one.
                Err(output) => log = output,
            }
        }
        panic!("krb5kdc did not start on any of {PORTS_TRIED} ports; at the last it said: {log}")
    }

    /// The krb5.conf of a client or service that uses this KDC.
    #[must_use]
    pub fn config(&self, config: &Config) -> PathBuf {
        let text = krb5_conf(&self.realm, on_loopback(self.port), config);
        unique_file(&self.folder, "krb5-", &text)
    }

    /// The address it listens on, by UDP and TCP if its options do not say otherwise.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        on_loopback(self.port)
    }

    /// The port of the loopback it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn try_port(realm: &str, folder: &Path, port: u16, options: &KdcOptions) -> Result<Self, String> {
        let profile = unique_file(folder, "kdc-", &kdc_conf(realm, folder, port, options));
        let pid_file = profile.with_extension("pid");
        let mut command = Command::new("sh");
        command
            .args(["-c", END_WITH_INPUT, "sh"])
            .arg(paths::program("krb5kdc"))
            .arg("-n")
            .arg("-P")
            .arg(&pid_file);
        command.env("KRB5_CONFIG", unique_file(folder, "krb5-", &options.krb5_conf(realm, port)));
        command.env("KRB5_KDC_PROFILE", profile);
        command.envs(options.clock.map(Clock::env).unwrap_or_default());
        let mut process = Process::start(&mut command);

        // The pid file is written after the sockets are bound, by the KDC alone: a stranger on the port cannot be
        // mistaken for it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read(&pid_file).map_or(0, |pid| pid.len()) == 0 {
            if !process.is_running() || Instant::now() > deadline {
                return Err(process.stderr());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { realm: realm.to_owned(), folder: folder.to_owned(), port, process })
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        end_with_input(&mut self.process);
    }
}

/// Ends a process that was started by [`END_WITH_INPUT`]: first the watcher's way, so that no watcher is left that knows a
/// process id which is no longer ours, and so that a KDC takes its children along.
pub(crate) fn end_with_input(process: &mut Process) {
    drop(process.stdin());
    let deadline = Instant::now() + Duration::from_secs(2);
    while process.is_running() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A port of the loopback's first address.
pub(crate) const fn on_loopback(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

/// A port of the loopback that is free for UDP and TCP at this moment.
pub(crate) fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
        let port = tcp.local_addr().expect("a bound socket has an address").port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// A new file in `folder` that lives as long as the folder.
pub(crate) fn unique_file(folder: &Path, prefix: &str, text: &str) -> PathBuf {
    let file =
        tempfile::Builder::new().prefix(prefix).tempfile_in(folder).expect("the realm's folder is writable");
    let (_, path) = file.keep().expect("a temporary file can be kept");
    std::fs::write(&path, text).expect("the realm's folder is writable");
    path
}
