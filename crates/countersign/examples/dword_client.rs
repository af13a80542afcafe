//! A client for messages: sends each of its arguments as one, sealed, behind a length of 4 bytes, and prints the replies.

use countersign::{Client, blocking};
use std::net::TcpStream;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: dword_client HOST:PORT CLASS/HOST@REALM MESSAGE...".into());
    };
    let cache = env::var("KRB5CCNAME").map_err(|_| "KRB5CCNAME names no credential cache")?;
    let client = Client::from_ccache(cache, &service)?;
    let socket = TcpStream::connect(address)?;
    let mut session = blocking::connect(&client, socket).map_err(|failure| failure.refusal)?;
    for message in arguments {
        session.send(message.as_bytes())?;
        let reply = session.receive()?.ok_or("the service ended without a reply")?;
        println!("{}", String::from_utf8_lossy(reply));
    }
    session.finish()?;
    match session.receive()? {
        None => Ok(()),
        Some(_) => Err("the service said more than it was asked".into()),
    }
}
