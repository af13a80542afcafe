//! `countersign serve`: accept, authenticate, echo.

use crate::args::{Framing, ServeArguments};
use crate::{descriptors, login, report, signals, sources};
use countersign::accounts::{AccountFile, Accounts, Winbind};
use countersign::audit::{AuditFile, Record};
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::limits::HandshakeLimits;
use countersign::proto::context::Acceptor;
use countersign::proto::context::Facts;
use countersign::proto::error::{Fault, Refusal, code};
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::policy::{AcceptorPolicy, IakerbPolicy, NtlmService};
use countersign::realm::{Administered, AdministrationLine, RealmFolder, ServedRealm, service_config};
use countersign::relay::{KdcRelay, Relay};
use countersign::tokio::{Receiving, Sending, accept};
use countersign::{Service, ServiceConfig, files};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What every connection needs.
struct Server {
    service: Service,
    audit: Option<AuditFile>,
    realm: Option<Arc<ServedRealm>>,
}

/// Serves until the process is ended.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Refusal> {
    // Before anything is opened.
    let limits = descriptors::handshake_limits();
    let server = Arc::new(Server::new(arguments, limits)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| listen_failed("the program's own event loop", &error))?;
    runtime.block_on(serve(server, &arguments.listen))
}

impl Server {
    fn new(arguments: &ServeArguments, limits: HandshakeLimits) -> Result<Self, Refusal> {
        // The one framing there is so far; a second will make its codec here.
        let Framing::Dword = arguments.framing;
        let realm = arguments.realm.as_ref().map(|folder| open_realm(arguments, folder)).transpose()?;
        let mut config = match &realm {
            Some(realm) => service_config(realm, policy(arguments)?)?,
            None => service_by_keytab(arguments)?,
        };
        config.accounts = accounts(arguments)?;
        config.limits = limits;
        config.handshake_deadline = Duration::from_secs(arguments.handshake_deadline);
        config.max_message = usize::try_from(arguments.max_message).unwrap_or(usize::MAX);
        let audit = arguments.audit.as_deref().map(AuditFile::open).transpose()?;
        let service = Service::new(config);
        if let Some(realm) = &realm {
            realm.keep_up(&service)?;
        }
        Ok(Self { service, audit, realm })
    }

    fn record(&self, record: &Record) {
        if let Some(Err(refusal)) = self.audit.as_ref().map(|audit| audit.append(record)) {
            report::line(&refusal.to_string());
        }
    }
}

fn open_realm(arguments: &ServeArguments, folder: &Path) -> Result<Arc<ServedRealm>, Refusal> {
    let addresses: Vec<_> = arguments.listen.iter().map(ToString::to_string).collect();
    let place = RealmFolder::new(folder);
    let place = match &arguments.master_key_file {
        Some(file) => place.with_master_key_file(file),
        None => place,
    };
    place.serve(&format!("serves {}", addresses.join(" ")))
}

/// A service with the keys of a keytab, which carries messages to the KDCs of the realms that are named for it.
fn service_by_keytab(arguments: &ServeArguments) -> Result<ServiceConfig, Refusal> {
    let mut policy = policy(arguments)?;
    let mut relay: Option<Box<dyn Relay>> = None;
    if !arguments.relay_realm.is_empty() {
        policy.iakerb = Some(IakerbPolicy { realms: arguments.relay_realm.clone() });
        let conf = login::conf()?;
        // An answer that comes after the handshake's deadline is of no use to anybody.
        let whole = Duration::from_secs(arguments.handshake_deadline);
        let patience = KdcPatience { whole, ..KdcPatience::of(&conf) };
        relay = Some(Box::new(KdcRelay::new(Kdcs::with_patience(conf, patience))));
    }
    Ok(ServiceConfig { relay, ..ServiceConfig::new(Acceptor::new(keys(arguments)?, policy)) })
}

/// The service's keys. A service that accepts NTLM may have none, if no keytab is named and there is none where one is
/// looked for.
fn keys(arguments: &ServeArguments) -> Result<ServiceKeys, Refusal> {
    let keytab = sources::keytab(arguments.keytab.as_deref())?;
    let named = arguments.keytab.is_some() || std::env::var_os("KRB5_KTNAME").is_some();
    if arguments.allow_ntlm && !named && keytab.try_exists().is_ok_and(|exists| !exists) {
        report::line(&format!("no keytab at {}: clients can log in by NTLM alone", keytab.display()));
        return Ok(ServiceKeys::none());
    }
    files::service_keys(&keytab)
}

fn accounts(arguments: &ServeArguments) -> Result<Option<Box<dyn Accounts>>, Refusal> {
    Ok(match (&arguments.ntlm_accounts, &arguments.ntlm_winbind) {
        (Some(file), _) => Some(Box::new(AccountFile::open(file)?)),
        (None, Some(ntlm_auth)) => Some(Box::new(Winbind::new(ntlm_auth)?)),
        (None, None) => None,
    })
}

fn policy(arguments: &ServeArguments) -> Result<AcceptorPolicy, Refusal> {
    let mut policy = AcceptorPolicy::default();
    policy.permitted_enctypes = sources::etypes(&arguments.permitted_enctypes)?;
    policy.clock_skew = Duration::from_secs(arguments.clock_skew);
    policy.channel_bindings = sources::channel_bindings(arguments.channel_bindings.as_deref())?;
    policy.require_channel_bindings = arguments.require_channel_bindings;
    for principal in &arguments.accept_principal {
        policy.accept_principals.push(sources::principal_with_realm(principal, "--accept-principal")?);
    }
    if arguments.allow_ntlm {
        let accepted_spns = arguments.ntlm_spn.clone();
        policy.dangerous().allow_ntlm(NtlmService { names: sources::target_names(), accepted_spns });
    }
    if arguments.allow_no_mutual {
        policy.dangerous().allow_no_mutual();
    }
    if arguments.ignore_transited {
        policy.dangerous().ignore_transited();
    }
    Ok(policy)
}

async fn serve(server: Arc<Server>, addresses: &[SocketAddr]) -> Result<(), Refusal> {
    let told_to_end = signals::told_to_end()?;
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(
            TcpListener::bind(address).await.map_err(|error| listen_failed(&address.to_string(), &error))?,
        );
    }
    report::line("replays are remembered until restart only: the replay store is in memory");
    let mut loops = JoinSet::new();
    for listener in listeners {
        announce(&listener)?;
        loops.spawn(accept_clients(server.clone(), listener));
    }
    if let Some(realm) = server.realm.clone() {
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
    // What is only in memory of the realm goes to the disk.
    server.realm.as_ref().map_or(Ok(()), |realm| realm.save())
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
            server.record(&Record::refused(peer, &failure, began.elapsed()));
            report::line(&format!("{peer} refused: {}", failure.refusal));
            return;
        }
    };
    let facts = session.facts().clone();
    server.record(&Record::accepted(peer, &facts, began.elapsed()));
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
        server.record(&Record::broken(peer, facts, refusal, lasted));
    }
    report::line(&format!("{peer} ended: {refusal}"));
}
