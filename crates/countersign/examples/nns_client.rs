//! A client of services that use .NET's `NegotiateStream`: says one thing and prints what comes back of it.

use countersign::framing::{Framing, Nns};
use countersign::{Client, ClientConfig, ClientCredential, tokio::Connector};
use std::{env, error::Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(address), Some(service)) = (arguments.next(), arguments.next()) else {
        return Err("usage: nns_client HOST:PORT CLASS/HOST@REALM".into());
    };
    let cache = env::var("KRB5CCNAME").map_err(|_| "KRB5CCNAME names no credential cache")?;
    let ticket = Client::from_ccache(cache, &service)?.initiator().await?;
    let framing = Framing::Nns(Nns::default());
    let config = ClientConfig { framing, ..ClientConfig::new(ClientCredential::Ready(ticket)) };
    let connector = Connector::new(Client::new(config));
    let mut stream = connector.connect(address).await.map_err(|failure| failure.refusal)?;
    stream.write_all(b"hello").await?;
    // Not to the end: .NET marks none, so it looks as if the connection was cut.
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    println!("{service} says {}", String::from_utf8_lossy(&answer));
    stream.shutdown().await?;
    // The service may still be busy with our end; whether it marks its own does not count any more.
    let _ = stream.read(&mut answer).await;
    Ok(())
}
