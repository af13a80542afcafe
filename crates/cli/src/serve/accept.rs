//! The loop that accepts connections.

use super::client;
use super::listeners::Listener;
use super::process::Process;
use crate::systemd::Pulse;
use crate::{descriptors, report};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

/// Accepts until the service is told to end.
pub(super) async fn clients(process: Arc<Process>, listener: Arc<Listener>, socket: TcpListener) {
    let name = format!("the listener {}", listener.name);
    let pulse = process.watchdog.as_ref().map(|watchdog| watchdog.heart(&name));
    let begun = process.drain.begun();
    let mut begun = std::pin::pin!(begun);
    loop {
        tokio::select! {
            () = &mut begun => return,
            accepted = next(&socket, pulse.as_ref()) => take(&process, &listener, accepted).await,
        }
    }
}

async fn next(socket: &TcpListener, pulse: Option<&Pulse>) -> io::Result<(TcpStream, SocketAddr)> {
    match pulse {
        Some(pulse) => pulse.during(socket.accept()).await,
        None => socket.accept().await,
    }
}

async fn take(
    process: &Arc<Process>,
    listener: &Arc<Listener>,
    accepted: io::Result<(TcpStream, SocketAddr)>,
) {
    match accepted {
        Ok((socket, peer)) => {
            if let Err(blocked) = process.attempts.admits(peer.ip(), Instant::now()) {
                listener.metrics.connection_blocked();
                return process.refusals.shut_out(&listener.name, peer, &blocked.into());
            }
            let open = process.drain.opened();
            let (process, listener) = (process.clone(), listener.clone());
            // Begun inside of the task, which would else have room for it twice.
            tokio::spawn(async move {
                client::attend(process, listener, socket, peer).await;
                drop(open);
            });
        }
        Err(error) => {
            report::warning(&format!("cannot accept a connection: {error}"));
            if descriptors::are_exhausted(&error) {
                process.admission.shed();
            }
            sleep(REST).await;
        }
    }
}
