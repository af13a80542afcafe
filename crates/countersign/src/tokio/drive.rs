//! Drives a handshake over a stream.

use crate::handshake::{Handshake, LINGER, LINGER_BYTES, Machine, Question as _, late, network};
use crate::limits::Ticket;
use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ::tokio::time::timeout;
use countersign_proto::error::Refusal;
use std::io;
use std::time::Duration;

/// Drives a handshake to its end, within the deadline; an error is a cause that lies outside of it. What it holds is counted
/// at its place.
pub(super) async fn drive<M, S>(
    handshake: &mut Handshake<M>,
    stream: &mut S,
    deadline: Duration,
    place: Option<&Ticket>,
) -> Result<(), Refusal>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(deadline, exchange(handshake, stream, place)).await {
        Ok(exchanged) => exchanged.map_err(|error| network(&error)),
        Err(_) => Err(late(deadline)),
    }
}

async fn exchange<M, S>(
    handshake: &mut Handshake<M>,
    stream: &mut S,
    place: Option<&Ticket>,
) -> io::Result<()>
where
    M: Machine,
    S: AsyncRead + AsyncWrite + Unpin,
{
    while handshake.is_open() {
        if !handshake.output().is_empty() {
            send_output(handshake, stream).await?;
        }
        hold(place, handshake.held()).await;
        let count = stream.read(handshake.space()).await?;
        handshake.received(count);
        while let Some(question) = handshake.question() {
            hold(place, handshake.held()).await;
            let verdict = question.ask().await;
            handshake.answered(verdict);
        }
    }
    if handshake.is_agreed() { send_output(handshake, stream).await } else { Ok(()) }
}

async fn hold(place: Option<&Ticket>, bytes: usize) {
    if let Some(place) = place {
        place.hold(bytes).await;
    }
}

async fn send_output<M, S>(handshake: &mut Handshake<M>, stream: &mut S) -> io::Result<()>
where
    M: Machine,
    S: AsyncWrite + Unpin,
{
    stream.write_all(handshake.output()).await?;
    stream.flush().await?;
    handshake.sent();
    Ok(())
}

/// Ends a connection whose handshake failed.
pub(super) async fn end<S>(stream: &mut S, last_words: Option<Vec<u8>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(last_words) = last_words {
        // The peer may be gone or silent: what was refused stays refused whether or not it hears of it.
        let _ = timeout(LINGER, tell_and_close(stream, &last_words)).await;
    }
}

/// Sends the last token, ends our direction, and reads on for a moment: closing with bytes unread would reset the
/// connection, and the token could be lost with it.
async fn tell_and_close<S>(stream: &mut S, output: &[u8]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if output.is_empty() {
        return stream.shutdown().await;
    }
    stream.write_all(output).await?;
    stream.shutdown().await?;
    // Not in this future: every handshake has room for that.
    let mut discarded = vec![0; 4_096];
    let mut left = LINGER_BYTES;
    while left > 0 {
        match stream.read(&mut discarded).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}
