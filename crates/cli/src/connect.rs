//! `countersign connect`: reach a service, and exchange messages with it.

use crate::args::{ConnectArguments, Delegation, Framing};
use crate::{login, progress, report, sources};
use countersign::accounts::AccountName;
use countersign::proto::context::{Facts, Initiator};
use countersign::proto::error::{Refusal, code};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::ntlm::initiator::Credential;
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::InitiatorPolicy;
use countersign::tickets::Tickets;
use countersign::tokio::{Receiving, Sending, Session, connect};
use countersign::{Client, ClientConfig, ClientCredential, DEFAULT_MAX_MESSAGE, Delegate, TicketClient};
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of standard input in one message.
const INPUT_MESSAGE: usize = 65_536;

/// Connects, and does what the arguments say.
pub(crate) fn run(arguments: &ConnectArguments) -> Result<(), Refusal> {
    let wanted = Wanted::new(arguments)?;
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
    service: Principal,
    policy: InitiatorPolicy,
    ntlm: Option<Credential>,
}

impl Wanted {
    fn new(arguments: &ConnectArguments) -> Result<Self, Refusal> {
        // The one framing there is so far; a second will make its codec here.
        let Framing::Dword = arguments.framing;
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
        policy.permitted_enctypes = sources::etypes(&arguments.permitted_enctypes)?;
        policy.negotiate = arguments.negotiate;
        policy.channel_bindings = sources::channel_bindings(arguments.channel_bindings.as_deref())?;
        let ntlm = ntlm_credential(arguments)?;
        if ntlm.is_some() {
            policy.dangerous().allow_ntlm();
        }
        Ok(Self { service, policy, ntlm })
    }

    async fn client(self, arguments: &ConnectArguments) -> Result<Client, Refusal> {
        Ok(Client::new(ClientConfig {
            credential: ClientCredential::Ready(self.initiator(arguments).await?),
            handshake_deadline: Duration::from_secs(arguments.handshake_deadline),
            max_message: DEFAULT_MAX_MESSAGE,
        }))
    }

    /// What the client proves itself with: a ticket if one is to be had, and a password for NTLM if that is allowed.
    async fn initiator(self, arguments: &ConnectArguments) -> Result<Initiator, Refusal> {
        match (self.kerberos(arguments).await, self.ntlm) {
            (Ok(initiator), None) => Ok(initiator),
            (Ok(initiator), Some(password)) => initiator.with_ntlm(password),
            (Err(refusal), Some(password)) if is_without_ticket(&refusal) => {
                report::line(&format!("no Kerberos: {refusal}"));
                Initiator::by_ntlm(self.service, password, self.policy)
            }
            (Err(refusal), _) => Err(refusal),
        }
    }

    async fn kerberos(&self, arguments: &ConnectArguments) -> Result<Initiator, Refusal> {
        let tickets = tickets(arguments, &self.policy)?;
        let client = TicketClient {
            tickets,
            service: self.service.clone(),
            policy: self.policy.clone(),
            delegate: match arguments.delegate {
                None => Delegate::Never,
                Some(Delegation::Trusted) => Delegate::IfTrusted,
                Some(Delegation::Always) => Delegate::Always,
            },
        };
        let _progress = progress::show(format!("getting a ticket for {}", self.service));
        client.initiator().await
    }
}

/// Where the ticket comes from: the user's login, or a credential cache. With NTLM allowed and a cache named, the user's name
/// and password are for NTLM, and the cache is for Kerberos; a name with its domain in front is for NTLM too.
fn tickets(arguments: &ConnectArguments, policy: &InitiatorPolicy) -> Result<Tickets, Refusal> {
    let conf = login::conf()?;
    let by_ntlm_name = arguments.login.user.as_ref().is_some_and(|user| user.contains('\\'));
    let ntlm_alone = arguments.allow_ntlm && (by_ntlm_name || arguments.ccache.is_some());
    let client = if ntlm_alone { None } else { login::client(&arguments.login, &conf)? };
    let mut options = login::options(&conf, client.as_ref(), &[]).with_enctypes(&policy.permitted_enctypes);
    options.canonicalize |= arguments.login.canonicalize;
    options.forwardable |= arguments.delegate.is_some();
    let cache = match (&client, &arguments.ccache) {
        (Some(_), None) => None,
        (_, flag) => Some(sources::ccache(flag.as_deref())?),
    };
    let login = client.map(|client| login::login(&arguments.login, client, &options)).transpose()?;
    Ok(login::tickets(conf, cache, login, options))
}

/// Whether there is just no ticket to be had, as against something that is wrong.
fn is_without_ticket(refusal: &Refusal) -> bool {
    [
        code::CCACHE_UNREADABLE,
        code::TICKET_FOR_SERVICE_ABSENT,
        code::CACHED_TICKET_EXPIRED,
        code::CREDENTIAL_ABSENT,
        code::CLIENT_REALM_ABSENT,
        code::KDC_CLIENT_UNKNOWN,
        code::KDC_SERVICE_UNKNOWN,
        code::KDC_NOT_CONFIGURED,
        code::KDC_LOOKUP_FAILED,
        code::KDC_UNREACHABLE,
        code::KDC_NO_ANSWER,
    ]
    .contains(&refusal.code())
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
    let (sending, receiving) = session.into_split();
    let mut sent = pin!(send_input(sending));
    let mut printed = pin!(print_messages(receiving, allow_unmarked_end));
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

async fn send_input(mut sending: Sending<TcpStream>) -> Result<(), Refusal> {
    let mut input = tokio::io::stdin();
    let mut message = vec![0; INPUT_MESSAGE];
    loop {
        let count = input.read(&mut message).await.map_err(|error| failed("standard input", &error))?;
        match message.get(..count) {
            None | Some([]) => return sending.finish().await,
            Some(read) => sending.send(read).await?,
        }
    }
}

async fn print_messages(
    mut receiving: Receiving<TcpStream>,
    allow_unmarked_end: bool,
) -> Result<(), Refusal> {
    loop {
        match receiving.receive().await {
            Ok(Some(message)) => print(message)?,
            Ok(None) => return Ok(()),
            Err(refusal) if allow_unmarked_end && refusal.code() == code::END_UNMARKED => return Ok(()),
            Err(refusal) => return Err(refusal),
        }
    }
}

fn print(bytes: &[u8]) -> Result<(), Refusal> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| failed("standard output", &error))
}
