//! A service whose tokens travel in a framing of its own, as those of HTTP's Negotiate do: each token is a line of base64,
//! first those of the handshake, then one for each message. Messages come back in upper case.

use base64ct::{Base64, Encoding};
use countersign::Service;
use countersign::bare::{Accepting, Context, Progress};
use std::{env, net::SocketAddr, time::Duration};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

type Error = Box<dyn std::error::Error + Send + Sync>;
type Stream = BufReader<TcpStream>;

/// How long the whole handshake may take: who has the connection sees to it that nobody waits for ever.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest line that is read, in bytes: a token of 65,536 bytes in base64 fits.
const LONGEST: u64 = 90_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let service = Service::from_keytab(env::var("KRB5_KTNAME").unwrap_or("/etc/krb5.keytab".into()))?;
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:2000".into())).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => drop(tokio::spawn(attend(service.clone(), socket, peer))),
            Err(error) => {
                eprintln!("cannot accept: {error}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn attend(service: Service, socket: TcpStream, peer: SocketAddr) {
    if let Err(error) = serve(&service, BufReader::new(socket), peer).await {
        eprintln!("{peer} refused: {error}");
    }
}

async fn serve(service: &Service, mut stream: Stream, peer: SocketAddr) -> Result<(), Error> {
    let mut context = timeout(DEADLINE, handshake(service, &mut stream, peer)).await??;
    println!("{} is here from {peer}", context.facts().client());
    while let Some(mut token) = receive(&mut stream).await? {
        let reply = context.unwrap(&mut token)?.to_ascii_uppercase();
        send(&mut stream, &context.wrap(&reply)?).await?;
    }
    Ok(())
}

async fn handshake(service: &Service, stream: &mut Stream, peer: SocketAddr) -> Result<Box<Context>, Error> {
    let mut exchange = Accepting::begin(service, peer.ip());
    loop {
        let token = receive(stream).await?.ok_or("the client closed the connection")?;
        let (token, ended) = match exchange.token(&token).await {
            Ok(Progress::Continue { token, exchange: next }) => {
                exchange = next;
                send(stream, &token).await?;
                continue;
            }
            Ok(Progress::Done { token, context }) => (token, Ok(context)),
            Err(refused) => (refused.token, Err(refused.failure.refusal.into())),
        };
        if let Some(token) = token {
            send(stream, &token).await?;
        }
        return ended;
    }
}

async fn send(stream: &mut Stream, token: &[u8]) -> Result<(), Error> {
    Ok(stream.write_all(format!("{}\n", Base64::encode_string(token)).as_bytes()).await?)
}

/// The token of the next line, or `None` at the end of the connection.
async fn receive(stream: &mut Stream) -> Result<Option<Vec<u8>>, Error> {
    let mut line = String::new();
    stream.take(LONGEST).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(Some(Base64::decode_vec(text)?)),
        None if line.is_empty() => Ok(None),
        None => Err("a line that is cut off or too long".into()),
    }
}
