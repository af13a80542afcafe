//! A service for messages: each comes back in upper case, sealed as one message, behind a length of 4 bytes.

use countersign::{Refusal, Service, tokio::Session};
use std::time::Duration;
use std::{env, error::Error, net::SocketAddr};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = Service::from_keytab(env::var("KRB5_KTNAME").unwrap_or("/etc/krb5.keytab".into()))?;
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:2000".into())).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => drop(tokio::spawn(attend(service.clone(), socket, peer))),
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn attend(service: Service, socket: TcpStream, peer: SocketAddr) {
    match countersign::tokio::accept(&service, socket, peer.ip()).await {
        Ok(mut session) => {
            println!("{} is here from {peer}", session.facts().client());
            if let Err(refusal) = answer(&mut session).await {
                eprintln!("{peer}: {refusal}");
            }
        }
        Err(failure) => eprintln!("{peer} refused: {}", failure.refusal),
    }
}

async fn answer(session: &mut Session<TcpStream>) -> Result<(), Refusal> {
    while let Some(message) = session.receive().await? {
        let reply = message.to_ascii_uppercase();
        session.send(&reply).await?;
    }
    session.finish().await
}
