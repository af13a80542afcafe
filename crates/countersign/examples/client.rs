//! A client that knows its service: says one thing and prints the answer.

use countersign::Client;
use std::net::TcpStream;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: client HOST:PORT CLASS/HOST@REALM".into());
    };
    let client = Client::from_ccache(std::env::var("KRB5CCNAME")?, &service)?;
    let socket = TcpStream::connect(address)?;
    let mut session = countersign::blocking::connect(&client, socket).map_err(|failure| failure.refusal)?;
    session.send(b"hello")?;
    let reply = session.receive()?.unwrap_or_default();
    println!("{service} says {}", String::from_utf8_lossy(reply));
    Ok(session.finish()?)
}
