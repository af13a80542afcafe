//! A service that knows its clients: every message comes back in upper case.

use countersign::Service;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::from_keytab(std::env::var("KRB5_KTNAME")?)?;
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:2000".into())).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let accepted = listener.accept().await.inspect_err(|error| eprintln!("cannot accept: {error}"));
        let Ok((socket, peer)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let mut session = match countersign::tokio::accept(&service, socket, peer.ip()).await {
                Ok(session) => session,
                Err(failure) => return eprintln!("{peer} refused: {}", failure.refusal),
            };
            println!("{} is here", session.facts().client());
            while let Ok(Some(message)) = session.receive().await {
                let reply = message.to_ascii_uppercase();
                let Ok(()) = session.send(&reply).await else { return };
            }
        });
    }
}
