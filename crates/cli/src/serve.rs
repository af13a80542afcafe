//! `countersign serve`: accept, authenticate, echo.

use crate::args::ServeArguments;
use crate::check_config::tell;
use crate::config::{Config, ListenAddress, ListenerConfig, Target};
use crate::services::{self, Shared};
use crate::{descriptors, report, signals, sources};
use countersign::Service;
use countersign::audit::{AuditEvent, AuditFile, AuditTrail, Record};
use countersign::framing::Framing;
use countersign::proto::context::Facts;
use countersign::proto::error::{Fault, Refusal, code};
use countersign::realm::{Administered, AdministrationLine, ServedRealm};
use countersign::tokio::{Receiving, Sending, accept};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What every connection of a listener needs.
struct Server {
    name: String,
    framing: &'static str,
    listen: Vec<SocketAddr>,
    service: Service,
    audit: Option<Arc<AuditTrail>>,
    realm: Option<Arc<ServedRealm>>,
}

/// Serves until the process is ended.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Refusal> {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let loaded = match Config::load(arguments.config.as_deref(), &variables, arguments.settings()) {
        Ok(loaded) => loaded,
        Err(faults) => return tell(&faults),
    };
    let findings = loaded.inspect();
    tell(&findings.faults)?;
    findings.notes.iter().for_each(|note| report::line(&note.to_string()));
    let mut config = loaded.config;
    // Before anything is opened.
    config.limits.handshakes = descriptors::handshake_limits(config.limits.handshakes);
    let servers = servers(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| listen_failed("the program's own event loop", &error))?;
    runtime.block_on(serve(servers))
}

fn servers(config: &Config) -> Result<Vec<Arc<Server>>, Refusal> {
    let shared = Shared { replay: services::replay_store(config)?, audit: audit(config)? };
    config.listeners.iter().map(|listener| Server::new(config, listener, &shared).map(Arc::new)).collect()
}

fn audit(config: &Config) -> Result<Option<Arc<AuditTrail>>, Refusal> {
    let Some(audit) = &config.audit else { return Ok(None) };
    let told = |event: &AuditEvent| match event {
        AuditEvent::Lost { refusal, first: true } | AuditEvent::Renamed(refusal) => {
            report::line(&refusal.to_string());
        }
        AuditEvent::Lost { first: false, .. } => {}
        AuditEvent::Resumed { lost } => report::line(&format!("the audit file can be written again; {lost} records are lost")),
    };
    let file = AuditFile::open(&audit.file)?;
    Ok(Some(Arc::new(AuditTrail::new(file, audit.on_failure, told))))
}

impl Server {
    fn new(config: &Config, listener: &ListenerConfig, shared: &Shared) -> Result<Self, Refusal> {
        if let Target::Upstream(upstream) = &listener.target {
            return Err(sources::usage(format!("upstream {}", upstream.address), "echo alone"));
        }
        let addresses = listener.listen.iter().map(|address| match address {
            ListenAddress::Address(address) => Ok(*address),
            ListenAddress::Systemd(_) => Err(sources::usage(format!("address {address}"), "addresses with ports alone")),
        });
        let listen = addresses.collect::<Result<_, _>>()?;
        let (service, realm) = services::service(config, listener, shared)?;
        let framing = match listener.framing {
            Framing::Dword => "dword",
            Framing::Nns(_) => "nns",
            Framing::Sample(_) => "sample",
        };
        Ok(Self { name: listener.name.clone(), framing, listen, service, audit: shared.audit.clone(), realm })
    }

    /// Whether the connection may go on: its record is written, or need not be.
    fn record(&self, record: Record) -> bool {
        let record = record.at(&self.name, self.framing);
        self.audit.as_ref().is_none_or(|audit| audit.record(&record).is_ok())
    }
}

async fn serve(servers: Vec<Arc<Server>>) -> Result<(), Refusal> {
    let told_to_end = signals::told_to_end()?;
    let mut listeners = Vec::new();
    for server in &servers {
        for address in &server.listen {
            let bound = TcpListener::bind(address).await;
            let listener = bound.map_err(|error| listen_failed(&address.to_string(), &error))?;
            listeners.push((Arc::clone(server), listener));
        }
    }
    let mut loops = JoinSet::new();
    for (server, listener) in listeners {
        announce(&listener)?;
        loops.spawn(accept_clients(server, listener));
    }
    for realm in servers.iter().filter_map(|server| server.realm.clone()) {
        loops.spawn(async move {
            let told = |done: Administered| report::line(&AdministrationLine::from(&done).described());
            if let Err(refusal) = realm.tend(told).await {
                report::line(&refusal.to_string());
            }
        });
    }
    let ended = async { while loops.join_next().await.is_some() {} };
    tokio::select! {
        () = ended => (),
        () = told_to_end => (),
    }
    // What is only in memory of the realms goes to the disk.
    servers.iter().filter_map(|server| server.realm.as_ref()).try_for_each(|realm| realm.save())
}

/// Tells on standard output that the listener is ready, with the port as bound.
fn announce(listener: &TcpListener) -> Result<(), Refusal> {
    let told = listener.local_addr().and_then(|address| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(format!("listening on {address}\n").as_bytes())?;
        stdout.flush()
    });
    told.map_err(|error| listen_failed("standard output", &error))
}

fn listen_failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::LISTEN_FAILED, format!("{what} ({error})"), "nowhere else to listen")
}

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

async fn accept_clients(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                tokio::spawn(attend(server.clone(), socket, peer));
            }
            Err(error) => {
                report::line(&format!("cannot accept a connection: {error}"));
                if descriptors::are_exhausted(&error) {
                    server.service.admission().shed();
                }
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// One client, from its connection to its end.
async fn attend(server: Arc<Server>, socket: TcpStream, peer: SocketAddr) {
    let began = Instant::now();
    // Small answers must not wait for more to come; if the system refuses, they do.
    let _ = socket.set_nodelay(true);
    let session = match accept(&server.service, socket, peer.ip()).await {
        Ok(session) => session,
        Err(failure) => {
            server.record(Record::refused(peer, &failure, began.elapsed()));
            report::line(&format!("{peer} refused: {}", failure.refusal));
            return;
        }
    };
    let facts = session.facts().clone();
    if !server.record(Record::accepted(peer, &facts, began.elapsed())) {
        return;
    }
    report::line(&format!("{peer} accepted: {}", who(&facts)));
    let (sending, receiving) = session.into_split();
    if let Err(refusal) = echo(sending, receiving).await {
        end_broken(&server, peer, &facts, &refusal, began.elapsed());
    }
}

/// The client in words, with what proved it.
fn who(facts: &Facts) -> String {
    match facts.service() {
        Some(service) => format!("{} for {service} by kerberos {}", facts.client(), facts.protection()),
        None => format!("{} by ntlm, NOT mutually authenticated", facts.client()),
    }
}

/// Sends every message back, empty ones too; a connection that ends between two messages has ended well.
async fn echo(mut sending: Sending<TcpStream>, mut receiving: Receiving<TcpStream>) -> Result<(), Refusal> {
    loop {
        match receiving.receive_any().await {
            Ok(Some(message)) => sending.send(message).await?,
            Ok(None) => return Ok(()),
            Err(refusal) if refusal.code() == code::END_UNMARKED => return Ok(()),
            Err(refusal) => return Err(refusal),
        }
    }
}

fn end_broken(server: &Server, peer: SocketAddr, facts: &Facts, refusal: &Refusal, lasted: Duration) {
    if refusal.code().fault() != Fault::Environment {
        server.record(Record::broken(peer, facts, refusal, lasted));
    }
    report::line(&format!("{peer} ended: {refusal}"));
}
