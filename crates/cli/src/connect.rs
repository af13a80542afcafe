//! `countersign connect`: reach a service, and exchange messages with it.

use crate::args::{ConnectArguments, Framing};
use crate::{report, sources};
use countersign::accounts::AccountName;
use countersign::proto::context::Facts;
use countersign::proto::context::Initiator;
use countersign::proto::error::{Refusal, code};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::ntlm::initiator::Credential;
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign::tokio::{Receiving, Sending, Session, connect};
use countersign::{Client, ClientConfig, DEFAULT_MAX_MESSAGE, files};
use std::io::{self, Write};
use std::pin::pin;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of standard input in one message.
const INPUT_MESSAGE: usize = 65_536;

/// Connects, and does what the arguments say.
pub(crate) fn run(arguments: &ConnectArguments) -> Result<(), Refusal> {
    let client = client(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the program's own event loop", &error))?;
    let ended = runtime.block_on(converse(arguments, &client));
    // A read of standard input that still waits must not keep the program from ending.
    runtime.shutdown_background();
    ended
}

fn client(arguments: &ConnectArguments) -> Result<Client, Refusal> {
    // The one framing there is so far; a second will make its codec here.
    let Framing::Dword = arguments.framing;
    let service = Principal::parse(&arguments.spn)?;
    if service.components.len() < 2 {
        return Err(sources::usage(format!("--spn {}", arguments.spn), "the form CLASS/HOST[@REALM]"));
    }
    if let Some(message) = arguments.message.as_ref().filter(|message| message.len() > DEFAULT_MAX_MESSAGE) {
        let saw = format!("--message with a text of {} bytes", message.len());
        return Err(sources::usage(saw, format!("room for {DEFAULT_MAX_MESSAGE} bytes")));
    }
    let mut policy = InitiatorPolicy::default();
    policy.permitted_enctypes = sources::etypes(&arguments.permitted_enctypes)?;
    policy.negotiate = arguments.negotiate;
    policy.channel_bindings = sources::channel_bindings(arguments.channel_bindings.as_deref())?;
    let password = ntlm_credential(arguments)?;
    if password.is_some() {
        policy.dangerous().allow_ntlm();
    }
    Ok(Client::new(ClientConfig {
        initiator: initiator(arguments, service, policy, password)?,
        handshake_deadline: Duration::from_secs(arguments.handshake_deadline),
        max_message: DEFAULT_MAX_MESSAGE,
    }))
}

/// What the client proves itself with: a ticket if there is one, and a password for NTLM if that is allowed.
fn initiator(
    arguments: &ConnectArguments,
    service: Principal,
    policy: InitiatorPolicy,
    password: Option<Credential>,
) -> Result<Initiator, Refusal> {
    let now = Timestamp::from_system(SystemTime::now());
    let by_ticket = sources::ccache(arguments.ccache.as_deref())
        .and_then(|path| files::ccache(&path))
        .and_then(|ccache| Initiator::from_ccache(&ccache, &service, policy.clone(), now));
    match (by_ticket, password) {
        (Ok(initiator), None) => Ok(initiator),
        (Ok(initiator), Some(password)) => initiator.with_ntlm(password),
        (Err(refusal), None) => Err(refusal),
        (Err(refusal), Some(_)) if !is_without_ticket(&refusal) => Err(refusal),
        (Err(refusal), Some(password)) => {
            report::line(&format!("no Kerberos: {refusal}"));
            Initiator::by_ntlm(service, password, policy)
        }
    }
}

/// Whether there is just no ticket to be had, as against something that is wrong.
fn is_without_ticket(refusal: &Refusal) -> bool {
    [code::CCACHE_UNREADABLE, code::TICKET_FOR_SERVICE_ABSENT, code::CACHED_TICKET_EXPIRED]
        .contains(&refusal.code())
}

fn ntlm_credential(arguments: &ConnectArguments) -> Result<Option<Credential>, Refusal> {
    let (Some(user), Some(file), true) = (&arguments.user, &arguments.password_file, arguments.allow_ntlm)
    else {
        return Ok(None);
    };
    let AccountName { domain, user } = AccountName::parse(user)?;
    Ok(Some(Credential { user, domain, nt_hash: nt_hash(&sources::password(file)?) }))
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
