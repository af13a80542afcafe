//! A stream that fails or stalls when a test says so.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test fails by panicking; no test program uses all of it"
)]

use crate::ends::{Socket, unix};
use countersign::blocking::Transport;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a stream does instead of reading or writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Fails, once.
    Fails,
    /// Gets nowhere: a blocking call ends with its timeout, another never.
    Stalls,
}

/// What a stream's next read and write meet with.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    reads: Arc<Mutex<Option<Fault>>>,
    writes: Arc<Mutex<Option<Fault>>>,
}

impl Faults {
    pub(crate) fn in_reads(&self, fault: Fault) {
        *self.reads.lock().unwrap() = Some(fault);
    }

    pub(crate) fn in_writes(&self, fault: Fault) {
        *self.writes.lock().unwrap() = Some(fault);
    }
}

/// A stream with faults.
pub(crate) struct Faulty<S> {
    inner: S,
    faults: Faults,
}

/// Two ends of a Unix socket, both of which have the faults.
pub(crate) fn faulty(faults: &Faults) -> (Faulty<UnixStream>, Faulty<UnixStream>) {
    let (near, far) = unix();
    let with = |inner| Faulty { inner, faults: faults.clone() };
    (with(near), with(far))
}

fn met(fault: &Mutex<Option<Fault>>) -> Option<Fault> {
    let mut fault = fault.lock().unwrap();
    let met = *fault;
    fault.take_if(|fault| *fault == Fault::Fails);
    met
}

fn blocking(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::Fails) => Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Stalls) => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: Read> Read for Faulty<S> {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        blocking(met(&self.faults.reads))?;
        self.inner.read(space)
    }
}

impl<S: Write> Write for Faulty<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(met(&self.faults.writes))?;
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Transport for Faulty<UnixStream> {
    fn bound_reads(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.bound_reads(timeout)
    }
    fn bound_writes(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.inner.bound_writes(timeout)
    }
    fn end(&self, directions: Shutdown) -> io::Result<()> {
        self.inner.end(directions)
    }
    fn second_handle(&self) -> io::Result<Self> {
        Ok(Self { inner: self.inner.second_handle()?, faults: self.faults.clone() })
    }
}

impl Socket for Faulty<UnixStream> {
    type Async = Faulty<tokio::net::UnixStream>;
    fn into_async(self) -> Self::Async {
        Faulty { inner: self.inner.into_async(), faults: self.faults }
    }
}

fn polled(fault: Option<Fault>) -> Poll<io::Result<()>> {
    match fault {
        Some(Fault::Stalls) => Poll::Pending,
        other => Poll::Ready(blocking(other)),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Faulty<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match polled(met(&self.faults.reads)) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_read(context, space),
            otherwise => otherwise,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Faulty<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match polled(met(&self.faults.writes)) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.inner).poll_write(context, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
