//! `connect --listen`: programs of this machine reach the service through a socket here.

use super::credential::Wanted;
use super::{outcome, reach};
use crate::args::ConnectArguments;
use crate::{announce, report, signals};
use countersign::proto::error::Refusal;
use countersign::tokio::{AuthStream, connect};
use countersign::tunnel::{Carried, Carrying, Plain, TunnelEnd, carry};
use rustix::net::sockopt::set_socket_keepalive;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

/// What every tunnel needs.
struct Tunnels {
    wanted: Wanted,
    address: String,
    deadline: Duration,
    carrying: Carrying,
}

/// Serves until the process is told to end.
pub(super) async fn serve(
    arguments: &ConnectArguments,
    wanted: Wanted,
    address: SocketAddr,
) -> Result<(), Refusal> {
    let told_to_end = signals::told_to_end()?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| announce::listen_failed(&address.to_string(), &error))?;
    let carrying = Carrying {
        idle_timeout: arguments.idle_timeout.map(Duration::from_secs),
        allow_unmarked_end: arguments.allow_unmarked_end,
    };
    let deadline = Duration::from_secs(arguments.handshake_deadline);
    let tunnels = Arc::new(Tunnels { wanted, address: arguments.address.clone(), deadline, carrying });
    if !address.ip().is_loopback() {
        report::warning(&format!("whoever reaches {address} reaches {} as this user", arguments.spn));
    }
    announce::listening(&listener)?;
    tokio::select! {
        () = accept(tunnels, listener) => Ok(()),
        () = told_to_end => Ok(()),
    }
}

async fn accept(tunnels: Arc<Tunnels>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((plain, peer)) => drop(tokio::spawn(attend(tunnels.clone(), plain, peer))),
            Err(error) => {
                report::line(&format!("cannot accept a connection: {error}"));
                sleep(REST).await;
            }
        }
    }
}

/// One program's connection, from its beginning to its end.
async fn attend(tunnels: Arc<Tunnels>, program: TcpStream, peer: SocketAddr) {
    // Small messages must not wait for more to come; if the system refuses, they do.
    let _ = program.set_nodelay(true);
    // Whatever ends it before the tunnel is done, the program must not take it for an end.
    let plain = Plain::from(program);
    let sealed = match tunnels.reach(peer).await {
        Ok(sealed) => sealed,
        Err(refusal) => return report::line(&format!("{peer} has no tunnel: {refusal}")),
    };
    let carried = carry(sealed, plain, tunnels.carrying, &(), pending()).await;
    if carried.end != TunnelEnd::Done {
        report::line(&format!("{peer} was cut off: {}", why(&carried)));
    }
}

/// Why a tunnel was not done. In it the service is what a client is to the service.
fn why(carried: &Carried) -> String {
    let how = match carried.end {
        TunnelEnd::Idle => "nothing went either way for the idle timeout",
        TunnelEnd::Client => "the service's connection ended before it was done",
        TunnelEnd::Message => "what came from the service was refused",
        TunnelEnd::Upstream => "this program's own connection failed",
        TunnelEnd::Expired => "the ticket ended",
        other => other.word(),
    };
    match &carried.refusal {
        Some(refusal) => format!("{how}: {refusal}"),
        None => how.to_owned(),
    }
}

impl Tunnels {
    async fn reach(&self, peer: SocketAddr) -> Result<AuthStream<TcpStream>, Refusal> {
        // The service must not wait for our KDC, so the ticket comes first.
        let client = self.wanted.client().await?;
        let socket = reach(&self.address, self.deadline).await?;
        // Only so is it found out some day that the service's machine is gone, where no idle timeout is set. If the system
        // refuses, it is not.
        let _ = set_socket_keepalive(&socket, true);
        let session = connect(&client, socket).await.map_err(|failure| failure.refusal)?;
        report::line(&format!("{peer} {}", outcome(session.facts(), &client)));
        Ok(session.into_stream())
    }
}
