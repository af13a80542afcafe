//! A client of services that lay out their data as the socket sample of Windows' SDK does: sends one message and prints
//! the one reply.

use countersign::framing::{Framing, SampleData};
use countersign::{Client, ClientConfig, ClientCredential, blocking};
use std::net::TcpStream;
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(service), Some(message)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: sample_client HOST:PORT CLASS/HOST@REALM MESSAGE".into());
    };
    let cache = env::var("KRB5CCNAME").map_err(|_| "KRB5CCNAME names no credential cache")?;
    let ticket = Client::from_ccache(cache, &service)?.initiator_blocking()?;
    let framing = Framing::Sample(SampleData::Sealed);
    let config = ClientConfig { framing, ..ClientConfig::new(ClientCredential::Ready(ticket)) };
    let socket = TcpStream::connect(address)?;
    let mut session = blocking::connect(&Client::new(config), socket).map_err(|failure| failure.refusal)?;
    session.send(message.as_bytes())?;
    let reply = session.receive()?.unwrap_or_default();
    println!("{}", String::from_utf8_lossy(reply));
    Ok(())
}
