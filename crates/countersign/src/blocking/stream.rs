use super::io::{deliver, finish, pull, second_handle, unbound};
use super::session::Closer;
use super::transport::Transport;
use crate::session::{About, Inbound, Outbound};
use countersign_proto::context::Facts;
use countersign_proto::error::Refusal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Duration;

/// A stream of bytes between two ends that proved themselves to each other: what is written is sealed, what is read was
/// verified. Every write is a record of its own and sent at once; many small ones are better written through a
/// [`BufWriter`](std::io::BufWriter).
///
/// [`AuthStream::finish`] ends what is sent, and authenticates the end: without it the peer's reads end in
/// [`io::ErrorKind::UnexpectedEof`], as they do when somebody cuts the connection.
///
/// Every error has a [`Refusal`] inside that says why: [`crate::refusal_in`].
pub struct AuthStream<S> {
    reading: Reading,
    writing: Writing,
    timeout: Option<Duration>,
    stream: S,
    /// A handle for those who may close it.
    closing: Option<Arc<S>>,
}

/// The half of an [`AuthStream`] that reads.
pub struct ReadHalf<S> {
    reading: Reading,
    timeout: Option<Duration>,
    stream: S,
    /// Keeps it for those who may close it.
    _closing: Option<Arc<S>>,
}

/// The half of an [`AuthStream`] that writes.
pub struct WriteHalf<S> {
    writing: Writing,
    timeout: Option<Duration>,
    stream: S,
    /// Keeps it for those who may close it.
    _closing: Option<Arc<S>>,
}

struct Reading {
    about: Arc<About>,
    inbound: Inbound,
}

struct Writing {
    about: Arc<About>,
    outbound: Outbound,
}

impl<S: Transport> AuthStream<S> {
    pub(super) fn new(
        about: Arc<About>,
        outbound: Outbound,
        inbound: Inbound,
        stream: S,
        timeout: Option<Duration>,
        closing: Option<Arc<S>>,
    ) -> Self {
        let writing = Writing { about: about.clone(), outbound };
        Self { reading: Reading { about, inbound }, writing, timeout, stream, closing }
    }

    /// Who the ends are, by which mechanism and keys, under which conditions, until when.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.reading.about.facts
    }

    /// Whether the peer has shown that it holds the session's key: at a client from the start, at a service once bytes came
    /// (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.reading.inbound.peer_confirmed()
    }

    /// When the stream ends by itself, if it is to end with its ticket.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.reading.about.ends
    }

    /// `length` bytes, at most 65,536, of a key for a protocol above this stream, which the peer gets for the same `label`
    /// too and nobody else (GSS_Pseudo_random, RFC 4401 and RFC 7802).
    ///
    /// # Errors
    /// If NTLM authenticated, or `length` is too much.
    pub fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        self.reading.about.export_key(label, length)
    }

    /// The connection below, for its addresses and options.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Bounds how long each call that reads or writes may take from now on; `None` lets it wait for ever, as it does in the
    /// beginning. A read for which that was too short loses nothing; after such a write nothing can be written any more.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_reads(None))?;
        unbound(self.stream.bound_writes(None))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Writes what is left, marks the end of what is sent, and ends this direction of the connection.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn finish(&mut self) -> io::Result<()> {
        self.writing.finish(&mut self.stream, self.timeout)
    }

    /// A handle with which another thread can end the connection, also after it was split.
    ///
    /// # Errors
    /// If the system has no handle left.
    pub fn closer(&mut self) -> Result<Closer<S>, Refusal> {
        let handle = match &self.closing {
            Some(handle) => handle,
            None => self.closing.insert(Arc::new(second_handle(&self.stream)?)),
        };
        Ok(Closer::of(handle))
    }

    /// Both halves, for two threads.
    ///
    /// # Errors
    /// If the system has no handle left for the second; the connection ends then.
    pub fn into_split(self) -> Result<(ReadHalf<S>, WriteHalf<S>), Refusal> {
        let Self { reading, writing, timeout, stream, closing } = self;
        let second = second_handle(&stream)?;
        let read = ReadHalf { reading, timeout, stream: second, _closing: closing.clone() };
        Ok((read, WriteHalf { writing, timeout, stream, _closing: closing }))
    }
}

impl<S: Transport> ReadHalf<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.reading.about.facts
    }

    /// Whether the peer has shown that it holds the session's key; see [`AuthStream::peer_confirmed`].
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.reading.inbound.peer_confirmed()
    }

    /// Bounds how long each read may take from now on; see [`AuthStream::set_timeout`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_reads(None))?;
        self.timeout = timeout;
        Ok(())
    }
}

impl<S: Transport> WriteHalf<S> {
    /// Who the ends are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.writing.about.facts
    }

    /// Bounds how long each write may take from now on; see [`AuthStream::set_timeout`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> Result<(), Refusal> {
        unbound(self.stream.bound_writes(None))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Marks the end of what is sent; see [`AuthStream::finish`].
    ///
    /// # Errors
    /// If the connection fails.
    pub fn finish(&mut self) -> io::Result<()> {
        self.writing.finish(&mut self.stream, self.timeout)
    }
}

impl Reading {
    /// What is there of the plaintext, or what comes next; nothing at the end.
    fn fill<S: Transport>(&mut self, stream: &mut S, timeout: Option<Duration>) -> io::Result<&[u8]> {
        if self.inbound.message().is_empty() {
            pull(&mut self.inbound, Inbound::pull, stream, timeout)
                .map_err(|refusal| self.inbound.stream_error(refusal))?;
        }
        Ok(self.inbound.message())
    }

    fn read<S: Transport>(
        &mut self,
        stream: &mut S,
        timeout: Option<Duration>,
        space: &mut [u8],
    ) -> io::Result<usize> {
        if space.is_empty() {
            return Ok(0);
        }
        let count = self.fill(stream, timeout)?.read(space)?;
        self.inbound.consume(count);
        Ok(count)
    }
}

impl Writing {
    fn write<'a, S: Transport>(
        &mut self,
        stream: &mut S,
        timeout: Option<Duration>,
        parts: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> io::Result<usize> {
        let Self { outbound, .. } = self;
        let taken = outbound.remaining().map(drop).and_then(|()| outbound.seal_some(parts));
        let written = taken.and_then(|count| deliver(outbound, stream, timeout).map(|()| count));
        written.map_err(|refusal| outbound.stream_error(refusal))
    }

    fn flush<S: Transport>(&mut self, stream: &mut S, timeout: Option<Duration>) -> io::Result<()> {
        let Self { outbound, .. } = self;
        deliver(outbound, stream, timeout).map_err(|refusal| outbound.stream_error(refusal))
    }

    fn finish<S: Transport>(&mut self, stream: &mut S, timeout: Option<Duration>) -> io::Result<()> {
        let Self { outbound, .. } = self;
        finish(outbound, stream, timeout).map_err(|refusal| outbound.stream_error(refusal))
    }
}

macro_rules! reads {
    ($stream:ident) => {
        impl<S: Transport> Read for $stream<S> {
            fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
                self.reading.read(&mut self.stream, self.timeout, space)
            }
        }

        impl<S: Transport> BufRead for $stream<S> {
            fn fill_buf(&mut self) -> io::Result<&[u8]> {
                self.reading.fill(&mut self.stream, self.timeout)
            }

            fn consume(&mut self, count: usize) {
                self.reading.inbound.consume(count);
            }
        }
    };
}

macro_rules! writes {
    ($stream:ident) => {
        impl<S: Transport> Write for $stream<S> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.writing.write(&mut self.stream, self.timeout, std::iter::once(bytes))
            }

            fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
                let parts = parts.iter().map(|part| &**part);
                self.writing.write(&mut self.stream, self.timeout, parts)
            }

            fn flush(&mut self) -> io::Result<()> {
                self.writing.flush(&mut self.stream, self.timeout)
            }
        }
    };
}

reads!(AuthStream);
reads!(ReadHalf);
writes!(AuthStream);
writes!(WriteHalf);
