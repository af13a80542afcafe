//! A service for clients that use .NET's `NegotiateStream`, on threads: what they send comes back.

use countersign::framing::{Framing, Nns};
use countersign::proto::context::Acceptor;
use countersign::proto::policy::AcceptorPolicy;
use countersign::{Service, ServiceConfig, blocking, files};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::{env, error::Error, io, path::Path, thread};

fn main() -> Result<(), Box<dyn Error>> {
    let keytab = env::var("KRB5_KTNAME").unwrap_or("/etc/krb5.keytab".into());
    let acceptor = Acceptor::new(files::service_keys(Path::new(&keytab))?, AcceptorPolicy::default());
    let framing = Framing::Nns(Nns::default());
    let service = Service::new(ServiceConfig { framing, ..ServiceConfig::new(acceptor) });
    let socket = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:2000".into()))?;
    println!("listening on {}", socket.local_addr()?);
    let listener = blocking::Listener::new(&service, socket, |unaccepted| eprintln!("{unaccepted}"))?;
    loop {
        let (stream, peer) = listener.accept()?;
        println!("{} is here from {peer}", stream.facts().client());
        if let Err(error) = thread::Builder::new().spawn(move || attend(stream, peer)) {
            eprintln!("{peer}: no thread for it: {error}");
        }
    }
}

fn attend(stream: blocking::AuthStream<TcpStream>, peer: SocketAddr) {
    if let Err(error) = echo(stream) {
        eprintln!("{peer}: {error}");
    }
}

fn echo(stream: blocking::AuthStream<TcpStream>) -> Result<(), Box<dyn Error>> {
    let (mut reader, mut writer) = stream.into_split()?;
    io::copy(&mut reader, &mut writer)?;
    Ok(writer.finish()?)
}
