//! The engine's two directions on a blocking stream: what messages and streams of bytes have in common.

use super::transport::{Timed, Transport, is_timeout};
use crate::ambient;
use crate::session::{Inbound, Outbound, Pulled, failed, timed_out};
use countersign_proto::error::Refusal;
use countersign_proto::time::Timestamp;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

/// Writes the last frame. That it is not written to its end is always an error that stays.
pub(super) fn deliver<S: Transport>(
    outbound: &mut Outbound,
    stream: &mut S,
    timeout: Option<Duration>,
) -> Result<(), Refusal> {
    let limit = shorter(timeout, outbound.ends().map(time_left));
    let mut timed = Timed::new(stream, limit);
    loop {
        let remaining = outbound.remaining()?;
        if remaining.is_empty() {
            return timed.flush().map_err(|error| outbound.failed(&error));
        }
        match (timed.write(remaining), limit) {
            (Err(error), Some(limit)) if is_timeout(&error) => {
                outbound.check_time()?;
                return Err(outbound.timed_out(limit));
            }
            (written, _) => outbound.wrote(written)?,
        }
    }
}

/// Sends the mark of the end, and ends this direction of the connection.
pub(super) fn finish<S: Transport>(
    outbound: &mut Outbound,
    stream: &mut S,
    timeout: Option<Duration>,
) -> Result<(), Refusal> {
    outbound.remaining()?;
    outbound.seal_end()?;
    deliver(outbound, stream, timeout)?;
    match stream.end(Shutdown::Write) {
        // The peer has closed the connection already. On tokio's streams this is no error either.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended.map_err(|error| outbound.failed(&error)),
    }
}

/// Reads until `next` has something to give: whether that is a message, or the end.
pub(super) fn pull<S: Transport>(
    inbound: &mut Inbound,
    next: fn(&mut Inbound) -> Result<Pulled, Refusal>,
    stream: &mut S,
    timeout: Option<Duration>,
) -> Result<bool, Refusal> {
    let mut timed = Timed::new(stream, shorter(timeout, inbound.ends().map(time_left)));
    loop {
        match next(inbound)? {
            Pulled::Message => return Ok(true),
            Pulled::End => return Ok(false),
            Pulled::NeedBytes => read_some(inbound, &mut timed, timeout)?,
        }
    }
}

fn read_some<S: Transport>(
    inbound: &mut Inbound,
    timed: &mut Timed<'_, S>,
    timeout: Option<Duration>,
) -> Result<(), Refusal> {
    let read = timed.read(inbound.space());
    match read {
        Err(error) if is_timeout(&error) => {
            inbound.check_time()?;
            Err(timed_out("no message in time", timeout.unwrap_or_default()))
        }
        read => inbound.read(read),
    }
}

/// From now until `ends` is over: its last instant still belongs to the session.
fn time_left(ends: Timestamp) -> Duration {
    let left = u64::try_from(ends.micros_since(ambient::now())).unwrap_or_default();
    Duration::from_micros(left).saturating_add(Duration::from_millis(1))
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

pub(super) fn second_handle<S: Transport>(stream: &S) -> Result<S, Refusal> {
    stream.second_handle().map_err(|error| failed("making a second handle", &error))
}

pub(super) fn unbound(done: io::Result<()>) -> Result<(), Refusal> {
    done.map_err(|error| failed("setting a timeout", &error))
}
