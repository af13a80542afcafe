//! `--echo`: what comes goes back.

use super::client::Client;
use crate::observe::drain::Drain;
use countersign::metrics::TunnelEnd;
use countersign::proto::error::{Refusal, code};
use countersign::tokio::{Sending, Session};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Sends every message back, until the client is done, silent for too long, or out of time.
pub(super) async fn echo(client: &Client, session: Session<TcpStream>) -> (TunnelEnd, Option<Refusal>) {
    tokio::select! {
        ended = messages(session, client.listener.idle_timeout) => match ended {
            Ok(end) => (end, None),
            Err(refusal) => (end_of(&refusal), Some(refusal)),
        },
        () = client.process.drain.over() => (TunnelEnd::Drained, Some(Drain::refusal())),
    }
}

/// Empty messages, too; a connection that ends between two messages has ended well.
async fn messages(session: Session<TcpStream>, idle_timeout: Option<Duration>) -> Result<TunnelEnd, Refusal> {
    let (mut sending, mut receiving) = session.into_split();
    loop {
        let received = match idle_timeout {
            None => receiving.receive_any().await,
            Some(limit) => match timeout(limit, receiving.receive_any()).await {
                Ok(received) => received,
                Err(_) => return Ok(TunnelEnd::Idle),
            },
        };
        match received {
            Ok(Some(message)) => give_back(&mut sending, message).await?,
            Ok(None) => return Ok(TunnelEnd::Done),
            Err(refusal) if refusal.code() == code::END_UNMARKED => return Ok(TunnelEnd::Done),
            Err(refusal) => return Err(refusal),
        }
    }
}

/// In NNS records may come that are longer than those that may be sent: their plaintext goes back in two.
async fn give_back(sending: &mut Sending<TcpStream>, mut message: &[u8]) -> Result<(), Refusal> {
    let longest = sending.max_message();
    while let Some((now, later)) = message.split_at_checked(longest).filter(|(_, later)| !later.is_empty()) {
        sending.send(now).await?;
        message = later;
    }
    sending.send(message).await
}

fn end_of(refusal: &Refusal) -> TunnelEnd {
    let code = refusal.code();
    if code == code::SESSION_EXPIRED {
        TunnelEnd::Expired
    } else if [code::CONNECTION_CUT, code::CONNECTION_FAILED].contains(&code) {
        TunnelEnd::Client
    } else {
        TunnelEnd::Message
    }
}
