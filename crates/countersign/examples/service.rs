//! A service that knows its clients: what they send comes back, sealed as it came.

use countersign::{Service, tokio::Listener};
use std::{env, error::Error};
use tokio::io::{AsyncWriteExt, copy};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = Service::from_keytab(env::var("KRB5_KTNAME").unwrap_or("/etc/krb5.keytab".into()))?;
    let listener = Listener::bind(&service, env::args().nth(1).unwrap_or("127.0.0.1:2000".into())).await?;
    println!("listening on {}", listener.local_addr()?);
    let mut listener = listener.observed_by(|unaccepted| eprintln!("{unaccepted}"));
    loop {
        let (stream, peer) = listener.accept().await;
        println!("{} is here from {peer}", stream.facts().client());
        tokio::spawn(async move {
            let (mut reader, mut writer) = stream.into_split();
            copy(&mut reader, &mut writer).await.inspect_err(|error| eprintln!("{peer}: {error}"))?;
            writer.shutdown().await
        });
    }
}
