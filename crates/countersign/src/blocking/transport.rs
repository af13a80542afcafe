use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A stream whose reads and writes can be bounded in time, and whose directions can be ended apart.
pub trait Transport: Read + Write + Sized + Send + Sync + 'static {
    /// Bounds each read from now on; `None` lets it wait for ever.
    ///
    /// # Errors
    /// If the system refuses; it does for no time at all.
    fn bound_reads(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Bounds each write from now on; `None` lets it wait for ever.
    ///
    /// # Errors
    /// If the system refuses; it does for no time at all.
    fn bound_writes(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Ends directions of the connection, for all handles of it.
    ///
    /// # Errors
    /// If the connection has ended already.
    fn end(&self, directions: Shutdown) -> io::Result<()>;
    /// A second handle of the same connection.
    ///
    /// # Errors
    /// If the system has no handle left.
    fn second_handle(&self) -> io::Result<Self>;
}

macro_rules! transport {
    ($stream:ty) => {
        impl Transport for $stream {
            fn bound_reads(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.set_read_timeout(timeout)
            }
            fn bound_writes(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.set_write_timeout(timeout)
            }
            fn end(&self, directions: Shutdown) -> io::Result<()> {
                self.shutdown(directions)
            }
            fn second_handle(&self) -> io::Result<Self> {
                self.try_clone()
            }
        }
    };
}

transport!(TcpStream);
#[cfg(unix)]
transport!(std::os::unix::net::UnixStream);

/// A stream all of whose reads and writes end at one moment, with an error that [`is_timeout`] knows.
pub(super) struct Timed<'s, S> {
    stream: &'s mut S,
    /// `None` leaves the stream's own bounds as they are.
    until: Option<Instant>,
}

impl<'s, S: Transport> Timed<'s, S> {
    pub(super) fn new(stream: &'s mut S, limit: Option<Duration>) -> Self {
        Self { stream, until: limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    /// When everything must have ended.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Reads once.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        retried(|| {
            if let Some(left) = self.left()? {
                self.stream.bound_reads(Some(left))?;
            }
            self.stream.read(space)
        })
    }

    /// Writes once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        retried(|| {
            if let Some(left) = self.left()? {
                self.stream.bound_writes(Some(left))?;
            }
            self.stream.write(bytes)
        })
    }

    /// Writes to the last byte.
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
        self.stream.flush()
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }

    pub(super) fn end(&self, directions: Shutdown) -> io::Result<()> {
        self.stream.end(directions)
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left =
            |until: Instant| until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        match self.until {
            None => Ok(None),
            Some(until) => left(until).map(Some).ok_or_else(|| io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Systems tell a timeout in one of two ways.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn retried(mut action: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
