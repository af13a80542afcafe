//! `--upstream`: what clients say goes to the service behind, and back.

use super::client::Client;
use crate::config::{Upstream, UpstreamAddress, UpstreamIdentity};
use crate::observe::drain::Drain;
use countersign::metrics::{Tunnel, TunnelEnd};
use countersign::proto::error::{Refusal, code};
use countersign::tokio::Session;
use countersign::tunnel::{self, Carrying, Identity, Plain, json_line, proxy_v2};
use rustix::net::sockopt::set_socket_keepalive;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// Reaches the upstream, tells it who the client is, and carries until both are done.
pub(super) async fn carry(
    client: &Client,
    upstream: &Upstream,
    session: Session<TcpStream>,
    counted: &Tunnel,
) -> (TunnelEnd, Option<Refusal>) {
    let stream = session.into_stream();
    let local = stream.get_ref().local_addr().unwrap_or(client.peer);
    // Only so is it found out some day that a client's machine is gone, where no idle timeout is set. If the system refuses,
    // it is not.
    let _ = set_socket_keepalive(stream.get_ref(), true);
    let identity = Identity::new(stream.facts(), client.peer, local);
    let mut stop = pin!(client.process.drain.over());
    let reached = tokio::select! {
        reached = timeout(upstream.connect_timeout, introduce(upstream, &identity)) => reached,
        () = &mut stop => return (TunnelEnd::Drained, Some(Drain::refusal())),
    };
    let plain = match reached.unwrap_or_else(|_| Err(late(upstream.connect_timeout))) {
        Ok(plain) => plain,
        Err(error) => return (TunnelEnd::Unreachable, Some(unreachable(upstream, &error))),
    };
    let carrying = Carrying {
        idle_timeout: client.listener.idle_timeout,
        allow_unmarked_end: upstream.allow_unmarked_end,
    };
    let stop = async {
        stop.await;
        TunnelEnd::Drained
    };
    let carried = tunnel::carry(stream, plain, carrying, counted, stop).await;
    let why = match carried.end {
        TunnelEnd::Drained => Some(Drain::refusal()),
        TunnelEnd::Idle => Some(silent(carrying.idle_timeout.unwrap_or_default())),
        _ => carried.refusal,
    };
    (carried.end, why)
}

/// A connection on which the upstream has been told what it is told.
async fn introduce(upstream: &Upstream, identity: &Identity) -> io::Result<Plain> {
    let preface = match upstream.identity {
        UpstreamIdentity::None => Vec::new(),
        UpstreamIdentity::ProxyV2 => proxy_v2(identity).map_err(io::Error::other)?,
        UpstreamIdentity::Json => json_line(identity).map_err(io::Error::other)?,
    };
    let mut plain = match &upstream.address {
        UpstreamAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Small messages must not wait for more to come; if the system refuses, they do.
            let _ = stream.set_nodelay(true);
            // As for the client.
            let _ = set_socket_keepalive(&stream, true);
            Plain::from(stream)
        }
        UpstreamAddress::Unix(path) => Plain::from(UnixStream::connect(path).await?),
    };
    plain.write_all(&preface).await?;
    Ok(plain)
}

fn late(limit: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", limit.as_secs_f32()))
}

fn unreachable(upstream: &Upstream, error: &io::Error) -> Refusal {
    let saw = format!("upstream {} ({error})", upstream.address);
    Refusal::new(code::UPSTREAM_UNREACHABLE, saw, "a client that is let in")
}

fn silent(limit: Duration) -> Refusal {
    let have = format!("an idle timeout of {} s", limit.as_secs_f32());
    Refusal::new(code::SESSION_IDLE, "nothing either way", have)
}
