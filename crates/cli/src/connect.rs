//! `countersign connect`: reach a service, and exchange messages with it.

use crate::args::{ConnectArguments, Delegation};
use crate::{login, progress, report, sources};
use countersign::accounts::AccountName;
use countersign::credentials::CcacheName;
use countersign::proto::context::{Facts, Initiator};
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Refusal, code};
use countersign::proto::iakerb::initiator::IakerbLogin;
use countersign::proto::krb5::kdc_exchange::{KdcError, Login, TicketOptions};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5conf::Krb5Conf;
use countersign::proto::ntlm::initiator::Credential;
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::InitiatorPolicy;
use countersign::tokio::{ReadHalf, Session, WriteHalf, connect};
use countersign::{Client, ClientConfig, ClientCredential, DEFAULT_MAX_MESSAGE, Delegate, TicketClient, refusal_in};
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of standard input in one message.
const INPUT_MESSAGE: usize = 65_536;

/// Connects, and does what the arguments say.
pub(crate) fn run(arguments: &ConnectArguments) -> Result<(), Refusal> {
    let wanted = Wanted::new(arguments, login::conf()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the program's own event loop", &error))?;
    let ended = runtime.block_on(async {
        // The service must not wait for our KDC, so the ticket comes first.
        let client = wanted.client(arguments).await?;
        converse(arguments, &client).await
    });
    // A read of standard input that still waits must not keep the program from ending.
    runtime.shutdown_background();
    ended
}

/// Whom to reach, and with what.
struct Wanted {
    conf: Arc<Krb5Conf>,
    service: Principal,
    policy: InitiatorPolicy,
    ntlm: Option<Credential>,
}

impl Wanted {
    fn new(arguments: &ConnectArguments, conf: Arc<Krb5Conf>) -> Result<Self, Refusal> {
        let service = Principal::parse(&arguments.spn)?;
        if service.components.len() < 2 {
            return Err(sources::usage(format!("--spn {}", arguments.spn), "the form CLASS/HOST[@REALM]"));
        }
        let message = arguments.message.as_ref();
        if let Some(message) = message.filter(|message| message.len() > DEFAULT_MAX_MESSAGE) {
            let saw = format!("--message with a text of {} bytes", message.len());
            return Err(sources::usage(saw, format!("room for {DEFAULT_MAX_MESSAGE} bytes")));
        }
        let mut policy = InitiatorPolicy::default();
        policy.permitted_enctypes = permitted_enctypes(arguments, &conf)?;
        policy.negotiate = arguments.negotiate;
        if arguments.framing.allow_unsealed {
            policy.dangerous().allow_unsealed();
        }
        if arguments.framing.leaves_readable() {
            policy.dangerous().sign_only();
        }
        policy.channel_bindings = sources::channel_bindings(arguments.channel_bindings.as_deref())?;
        let ntlm = ntlm_credential(arguments)?;
        if ntlm.is_some() {
            policy.dangerous().allow_ntlm();
        }
        Ok(Self { conf, service, policy, ntlm })
    }

    async fn client(self, arguments: &ConnectArguments) -> Result<Client, Refusal> {
        let framing = arguments.framing.framing()?;
        let credential = ClientCredential::Ready(self.initiator(arguments).await?);
        Ok(Client::new(ClientConfig {
            handshake_deadline: Duration::from_secs(arguments.handshake_deadline),
            framing,
            ..ClientConfig::new(credential)
        }))
    }

    /// What the client proves itself with: a ticket if one is to be had; else a login through the service; and a password for
    /// NTLM if that is allowed.
    async fn initiator(self, arguments: &ConnectArguments) -> Result<Initiator, Refusal> {
        let source = Source::new(arguments, self.conf.clone())?;
        let kerberos = if arguments.iakerb { Err(asked_for_iakerb()) } else { self.kerberos(&source).await };
        let login = source.login.filter(|_| arguments.iakerb || self.ntlm.is_none());
        match (kerberos, login, self.ntlm) {
            (Ok(initiator), _, None) => Ok(initiator),
            (Ok(initiator), _, Some(password)) => initiator.with_ntlm(password),
            (Err(refusal), Some(login), _) if is_without_kdc(&refusal) => {
                if !arguments.iakerb {
                    report::line(&format!(
                        "no KDC to ask ({}): logging in through the service",
                        refusal.code()
                    ));
                }
                let (options, allow_encrypted_timestamp) =
                    (Arc::new(source.options), arguments.allow_encrypted_timestamp);
                let login = IakerbLogin { login, options, allow_encrypted_timestamp };
                Ok(Initiator::by_iakerb(self.service, login, self.policy))
            }
            (Err(refusal), _, Some(password)) if is_without_ticket(&refusal) => {
                report::line(&format!("no Kerberos: {refusal}"));
                Initiator::by_ntlm(self.service, password, self.policy)
            }
            (Err(refusal), ..) => Err(refusal),
        }
    }

    async fn kerberos(&self, source: &Source) -> Result<Initiator, Refusal> {
        if let Some(login) = source.login.as_ref().filter(|login| login.client().realm.is_empty()) {
            return Err(KdcError::NoRealm { client: login.client().clone() }.into());
        }
        let Source { conf, cache, login, options, delegate } = source.clone();
        let client = TicketClient {
            tickets: login::tickets(conf, cache, login, options),
            service: self.service.clone(),
            policy: self.policy.clone(),
            delegate,
        };
        let _progress = progress::show(format!("getting a ticket for {}", self.service));
        client.initiator().await
    }
}

/// Where the ticket comes from: the user's login, or a credential cache.
#[derive(Clone)]
struct Source {
    conf: Arc<Krb5Conf>,
    cache: Option<CcacheName>,
    login: Option<Login>,
    options: TicketOptions,
    delegate: Delegate,
}

impl Source {
    /// With NTLM allowed and a cache named, the user's name and password are for NTLM, and the cache is for Kerberos; a name
    /// with its domain in front is for NTLM too.
    fn new(arguments: &ConnectArguments, conf: Arc<Krb5Conf>) -> Result<Self, Refusal> {
        let by_ntlm_name = arguments.login.user.as_ref().is_some_and(|user| user.contains('\\'));
        let ntlm_alone = arguments.allow_ntlm && (by_ntlm_name || arguments.ccache.is_some());
        let client = if ntlm_alone { None } else { login::client(&arguments.login, &conf)? };
        let etypes = sources::etypes_named(&arguments.permitted_enctypes, "--permitted-enctypes")?;
        let mut options = login::options(&conf, client.as_ref(), &etypes);
        options.canonicalize |= arguments.login.canonicalize;
        options.forwardable |= arguments.delegate.is_some();
        let cache = match (&client, &arguments.ccache) {
            (Some(_), None) => None,
            (_, flag) => Some(sources::ccache(flag.as_deref())?),
        };
        let login = client.map(|client| login::login(&arguments.login, client, &options)).transpose()?;
        let delegate = match arguments.delegate {
            None => Delegate::Never,
            Some(Delegation::Trusted) => Delegate::IfTrusted,
            Some(Delegation::Always) => Delegate::Always,
        };
        Ok(Self { conf, cache, login, options, delegate })
    }
}

/// What `--iakerb` says instead of what a KDC would.
fn asked_for_iakerb() -> Refusal {
    Refusal::new(code::KDC_NOT_CONFIGURED, "--iakerb", "no KDC to ask")
}

/// Whether no KDC is known, as against one that is out of reach: whoever could keep us from ours would otherwise have us hand
/// the login to a service that is not proved yet.
fn is_without_kdc(refusal: &Refusal) -> bool {
    [code::CLIENT_REALM_ABSENT, code::KDC_NOT_CONFIGURED, code::KDC_LOOKUP_FAILED].contains(&refusal.code())
}

/// Whether there is just no ticket to be had, as against something that is wrong.
fn is_without_ticket(refusal: &Refusal) -> bool {
    let without = [
        code::CCACHE_UNREADABLE,
        code::CCACHE_TYPE_UNSUPPORTED,
        code::TICKET_FOR_SERVICE_ABSENT,
        code::CACHED_TICKET_EXPIRED,
        code::CREDENTIAL_ABSENT,
        code::KDC_CLIENT_UNKNOWN,
        code::KDC_SERVICE_UNKNOWN,
        code::KDC_UNREACHABLE,
        code::KDC_NO_ANSWER,
    ];
    is_without_kdc(refusal) || without.contains(&refusal.code())
}

/// Etypes of session keys: the flag's, else those of krb5.conf.
fn permitted_enctypes(arguments: &ConnectArguments, conf: &Krb5Conf) -> Result<Vec<Etype>, Refusal> {
    if arguments.permitted_enctypes.is_empty() {
        // RC4 must be named for this connection: allow_weak_crypto in krb5.conf may be there for another program.
        let strong = conf.libdefaults.permitted_enctypes.iter().copied().filter(|etype| !etype.is_weak());
        return Ok(strong.collect());
    }
    sources::etypes_named(&arguments.permitted_enctypes, "--permitted-enctypes")
}

fn ntlm_credential(arguments: &ConnectArguments) -> Result<Option<Credential>, Refusal> {
    let (Some(user), true) = (&arguments.login.user, arguments.allow_ntlm) else {
        return Ok(None);
    };
    let AccountName { domain, user } = AccountName::parse(user)?;
    let password = match &arguments.login.password_file {
        Some(file) => sources::password(file)?,
        None => {
            return Err(sources::usage("--allow-ntlm without a password".to_owned(), "--password-file FILE"));
        }
    };
    Ok(Some(Credential { user, domain, nt_hash: nt_hash(&password) }))
}

async fn converse(arguments: &ConnectArguments, client: &Client) -> Result<(), Refusal> {
    let deadline = Duration::from_secs(arguments.handshake_deadline);
    let socket = reach(&arguments.address, deadline).await?;
    let mut session = connect(client, socket).await.map_err(|failure| failure.refusal)?;
    report::line(&outcome(session.facts(), client));
    match &arguments.message {
        Some(text) => one_message(&mut session, text).await,
        None => standard_streams(session, arguments.allow_unmarked_end).await,
    }
}

/// The one line that says what was proved.
fn outcome(facts: &Facts, client: &Client) -> String {
    match facts.service() {
        Some(service) if facts.mutual() => {
            format!("authenticated {service} by kerberos {}", facts.protection())
        }
        _ => format!("NOT mutually authenticated: {} by ntlm", client.service()),
    }
}

async fn reach(address: &str, deadline: Duration) -> Result<TcpStream, Refusal> {
    let reached = match timeout(deadline, TcpStream::connect(address)).await {
        Ok(reached) => reached,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let socket = reached.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => sources::usage(format!("{address} ({error})"), "the form HOST:PORT"),
        _ => failed(address, &error),
    })?;
    // Small messages must not wait for more to come; if the system refuses, they do.
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

fn failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::CONNECTION_FAILED, format!("{what} ({error})"), "no other way to the service")
}

/// Sends the text and prints the one reply.
async fn one_message(session: &mut Session<TcpStream>, text: &str) -> Result<(), Refusal> {
    session.send(text.as_bytes()).await?;
    let mut reply = session.receive().await?.unwrap_or_default().to_vec();
    reply.push(b'\n');
    print(&reply)
}

/// Sends standard input and prints what comes, both at once, until both have ended.
async fn standard_streams(session: Session<TcpStream>, allow_unmarked_end: bool) -> Result<(), Refusal> {
    let (reading, writing) = session.into_stream().into_split();
    let mut sent = pin!(send_input(writing));
    let mut printed = pin!(print_output(reading, allow_unmarked_end));
    tokio::select! {
        ended = &mut sent => {
            // What has come is printed even if nothing can be sent any more.
            let printed = printed.await;
            ended.and(printed)
        }
        ended = &mut printed => {
            ended?;
            sent.await
        }
    }
}

/// Each read of standard input becomes one message.
async fn send_input(mut stream: WriteHalf<TcpStream>) -> Result<(), Refusal> {
    let mut input = tokio::io::stdin();
    let mut message = vec![0; INPUT_MESSAGE];
    loop {
        let count = input.read(&mut message).await.map_err(|error| failed("standard input", &error))?;
        let sent = match message.get(..count) {
            None | Some([]) => return stream.shutdown().await.map_err(|error| why(&error)),
            Some(read) => stream.write_all(read).await,
        };
        match sent {
            Ok(()) => stream.flush().await.map_err(|error| why(&error))?,
            Err(error) => return Err(why(&error)),
        }
    }
}

async fn print_output(mut stream: ReadHalf<TcpStream>, allow_unmarked_end: bool) -> Result<(), Refusal> {
    loop {
        let come = stream.fill_buf().await.map_err(|error| why(&error));
        let count = match come {
            Ok([]) => return Ok(()),
            Ok(bytes) => {
                print(bytes)?;
                bytes.len()
            }
            Err(refusal) if allow_unmarked_end && refusal.code() == code::END_UNMARKED => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        stream.consume(count);
    }
}

/// Why a stream ended.
fn why(error: &io::Error) -> Refusal {
    refusal_in(error).cloned().unwrap_or_else(|| failed("the connection", error))
}

fn print(bytes: &[u8]) -> Result<(), Refusal> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| failed("standard output", &error))
}
