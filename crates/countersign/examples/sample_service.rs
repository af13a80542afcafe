//! A service for clients that lay out their data as the socket sample of Windows' SDK does: one message comes, one reply
//! goes.

use countersign::framing::{Framing, SampleData};
use countersign::proto::context::Acceptor;
use countersign::proto::policy::AcceptorPolicy;
use countersign::{Refusal, Service, ServiceConfig, files};
use std::{env, error::Error, net::SocketAddr, path::Path, time::Duration};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let keytab = env::var("KRB5_KTNAME").unwrap_or("/etc/krb5.keytab".into());
    let acceptor = Acceptor::new(files::service_keys(Path::new(&keytab))?, AcceptorPolicy::default());
    let framing = Framing::Sample(SampleData::Sealed);
    let service = Service::new(ServiceConfig { framing, ..ServiceConfig::new(acceptor) });
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
    if let Err(refusal) = answer(&service, socket, peer).await {
        eprintln!("{peer} refused: {refusal}");
    }
}

async fn answer(service: &Service, socket: TcpStream, peer: SocketAddr) -> Result<(), Refusal> {
    let accepted = countersign::tokio::accept(service, socket, peer.ip()).await;
    let mut session = accepted.map_err(|failure| failure.refusal)?;
    println!("{} is here from {peer}", session.facts().client());
    let reply = session.receive().await?.unwrap_or_default().to_ascii_uppercase();
    session.send(&reply).await
}
