use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// The plain side of a tunnel.
///
/// Nobody is to take what was cut for something whole. So until its tunnel is done a connection of TCP that is dropped is reset,
/// also where the system closes it because the process was killed: what the program at its other end reads is an error, no end.
/// A Unix socket has no such way, and is closed.
pub struct Plain(Stream);

enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Plain {
    /// Ends a connection whose both directions are done: what is still on the way arrives.
    pub(super) fn end(self) {
        match self.0 {
            // It waits for nothing, which is what is deprecated.
            #[expect(deprecated, reason = "the way to take back set_zero_linger; None never blocks")]
            Stream::Tcp(stream) => {
                // If the system refuses, the connection is reset: no end is taken for one that is none.
                let _ = stream.set_linger(None);
            }
            #[cfg(unix)]
            Stream::Unix(_) => {}
        }
    }
}

impl From<TcpStream> for Plain {
    fn from(stream: TcpStream) -> Self {
        // If the system refuses, it is closed where it should be reset, which is all that is left.
        let _ = stream.set_zero_linger();
        Self(Stream::Tcp(stream))
    }
}

#[cfg(unix)]
impl From<UnixStream> for Plain {
    fn from(stream: UnixStream) -> Self {
        Self(Stream::Unix(stream))
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, space),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, space),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
