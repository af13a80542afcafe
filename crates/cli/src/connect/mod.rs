//! `countersign connect`: reach a service, and exchange messages with it.

mod credential;
mod tunnel;

use crate::args::ConnectArguments;
use crate::{login, report, sources};
use countersign::proto::context::Facts;
use countersign::proto::error::{Refusal, code};
use countersign::tokio::{ReadHalf, Session, WriteHalf, connect};
use countersign::{Client, DEFAULT_MAX_MESSAGE, refusal_in};
use credential::Wanted;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Most bytes of standard input in one message.
const INPUT_MESSAGE: usize = 65_536;

/// Connects, and does what the arguments say.
pub(crate) fn run(arguments: &ConnectArguments) -> Result<(), Refusal> {
    let message = arguments.message.as_ref();
    if let Some(message) = message.filter(|message| message.len() > DEFAULT_MAX_MESSAGE) {
        let saw = format!("--message with a text of {} bytes", message.len());
        return Err(sources::usage(saw, format!("room for {DEFAULT_MAX_MESSAGE} bytes")));
    }
    let wanted = Wanted::new(arguments, login::conf()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the program's own event loop", &error))?;
    let ended = runtime.block_on(async {
        // The service must not wait for our KDC, so the ticket comes first.
        let client = wanted.client().await?;
        match arguments.listen {
            Some(address) => tunnel::serve(arguments, wanted, address).await,
            None => converse(arguments, &client).await,
        }
    });
    // A read of standard input that still waits must not keep the program from ending.
    runtime.shutdown_background();
    ended
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
