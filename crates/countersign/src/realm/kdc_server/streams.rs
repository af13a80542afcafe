//! Requests on connections: four bytes of length, then the message, as many as the client likes (RFC 4120 section 7.2.2).

use super::{Desk, Served, Transport, error};
use crate::limits::{Admission, HandshakeLimits};
use ::tokio::io::{AsyncReadExt, AsyncWriteExt};
use ::tokio::net::{TcpListener, TcpStream};
use ::tokio::task::JoinSet;
use ::tokio::time::{sleep, timeout};
use countersign_proto::error::code::krb;
use countersign_realm::MAX_REQUEST;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection may be silent, and how long one message may take either way.
const IDLE: Duration = Duration::from_secs(10);

/// Connections at once, in all and of one address. Beyond that the one that is open longest gives way.
const CONNECTIONS: HandshakeLimits =
    HandshakeLimits { total: 1_024, per_address: 128, ..HandshakeLimits::DEFAULT };

/// How long accepting rests after an error, such as having no descriptor left: some will come back.
const REST: Duration = Duration::from_millis(50);

/// Answers on every connection, until it is dropped.
pub(super) async fn serve<N: Fn(&Served) + Send + Sync + 'static>(listener: TcpListener, desk: Desk<N>) {
    let admission = Admission::new(CONNECTIONS);
    let mut attended = JoinSet::new();
    loop {
        while attended.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(came) => came,
            Err(_) => {
                admission.shed();
                sleep(REST).await;
                continue;
            }
        };
        let (desk, place) = (desk.clone(), admission.enter(peer.ip()));
        attended.spawn(async move {
            ::tokio::select! {
                biased;
                _ = place.evicted() => (),
                // Whatever ends a connection, its client notices.
                _ = attend(stream, peer, &desk) => (),
            }
        });
    }
}

async fn attend<N: Fn(&Served) + Send + Sync + 'static>(
    mut stream: TcpStream,
    peer: SocketAddr,
    desk: &Desk<N>,
) -> io::Result<()> {
    // An answer must not wait for the next one; if the system refuses, it does.
    let _ = stream.set_nodelay(true);
    loop {
        match timeout(IDLE, request(&mut stream)).await?? {
            Request::End => return Ok(()),
            Request::TooLong => {
                let reply = error(krb::KRB_ERR_FIELD_TOOLONG, desk.realm.store().realm());
                return send(&mut stream, &reply).await;
            }
            Request::Whole(request) => match desk.answer(request, peer, Transport::Tcp).await {
                Some(reply) => send(&mut stream, &reply).await?,
                None => return Ok(()),
            },
        }
    }
}

enum Request {
    Whole(Vec<u8>),
    TooLong,
    End,
}

async fn request(stream: &mut TcpStream) -> io::Result<Request> {
    let mut length = [0; 4];
    if stream.read(length.split_at_mut(1).0).await? == 0 {
        return Ok(Request::End);
    }
    stream.read_exact(length.split_at_mut(1).1).await?;
    // The high bit is reserved, and so makes it too long.
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_REQUEST {
        return Ok(Request::TooLong);
    }
    // Memory grows with what comes, not with what is announced.
    let mut request = Vec::new();
    let most = u64::try_from(length).unwrap_or(u64::MAX);
    if stream.take(most).read_to_end(&mut request).await? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Request::Whole(request))
}

async fn send(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let length = u32::try_from(reply.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), reply].concat();
    timeout(IDLE, stream.write_all(&framed)).await?
}
