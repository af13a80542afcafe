//! A client whose tokens travel in a framing of its own, as those of HTTP's Negotiate do: each token is a line of base64,
//! first those of the handshake, then one for each message. It sends its arguments and prints the replies.

use base64ct::{Base64, Encoding};
use countersign::Client;
use countersign::bare::{Context, Initiating, Progress};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::{env, time::Duration};

type Error = Box<dyn std::error::Error>;
type Stream = BufReader<TcpStream>;

/// How long each answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest line that is read, in bytes: a token of 65,536 bytes in base64 fits.
const LONGEST: u64 = 90_000;

fn main() -> Result<(), Error> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bare_client HOST:PORT CLASS/HOST@REALM MESSAGE...".into());
    };
    let cache = env::var("KRB5CCNAME").map_err(|_| "KRB5CCNAME names no credential cache")?;
    let client = Client::from_ccache(cache, &service)?;
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(socket);
    let mut context = handshake(&client, &mut stream)?;
    for message in arguments {
        send(&mut stream, &context.wrap(message.as_bytes())?)?;
        let mut token = receive(&mut stream)?;
        println!("{}", String::from_utf8_lossy(context.unwrap(&mut token)?));
    }
    Ok(())
}

fn handshake(client: &Client, stream: &mut Stream) -> Result<Box<Context>, Error> {
    let (mut token, mut exchange) = Initiating::begin_blocking(client).map_err(|failure| failure.refusal)?;
    loop {
        send(stream, &token)?;
        let (last, ended) = match exchange.token(&receive(stream)?) {
            Ok(Progress::Continue { token: another, exchange: next }) => {
                (token, exchange) = (another, next);
                continue;
            }
            Ok(Progress::Done { token, context }) => (token, Ok(context)),
            Err(refused) => (refused.token, Err(refused.failure.refusal.into())),
        };
        if let Some(last) = last {
            send(stream, &last)?;
        }
        return ended;
    }
}

fn send(stream: &mut Stream, token: &[u8]) -> Result<(), Error> {
    Ok(stream.get_mut().write_all(format!("{}\n", Base64::encode_string(token)).as_bytes())?)
}

/// The token of the next line.
fn receive(stream: &mut Stream) -> Result<Vec<u8>, Error> {
    let mut line = String::new();
    stream.take(LONGEST).read_line(&mut line)?;
    let text = line.strip_suffix('\n').ok_or("the end of the connection, or a line that is too long")?;
    Ok(Base64::decode_vec(text)?)
}
