//! Bare sockets: a client and services that send what a test tells them to, and a relay that alters frames.

use super::DEADLINE;
use countersign_testkit::pair::Direction;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A client that speaks frames of a 4-byte little-endian length, and any other bytes.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the service listens"))
    }

    /// The same on a connection that there is already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the other end reads");
    }

    /// Sends one frame.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.send_bytes(&framed(frame));
    }

    /// The next frame, or none at the end of the connection.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        receive_frame(&mut self.0).expect("a frame or the end")
    }

    /// Asserts that nothing more comes, and that the connection ends without this end doing anything.
    #[track_caller]
    pub(crate) fn assert_closed(mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            // Closing with bytes unread resets a connection.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("still open: {error}"),
            _ => assert!(rest.is_empty(), "something came: {rest:02x?}"),
        }
    }

    /// The socket.
    pub(crate) fn into_inner(self) -> TcpStream {
        self.0
    }
}

/// A frame around `bytes`.
pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes()[..], bytes].concat()
}

fn receive_frame(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let mut frame = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(Some(frame))
}

/// A service on a free port that does `attend` with every connection, one after the other, while the test runs.
pub(crate) fn service(mut attend: impl FnMut(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| attend(stream.unwrap())));
    address
}

/// A service on a free port that passes every connection on to `upstream`, byte by byte.
pub(crate) fn byte_relay(upstream: SocketAddr) -> SocketAddr {
    service(move |near| {
        let far = TcpStream::connect(upstream).unwrap();
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        both_ways(near, far, |_, from, to| {
            let mut byte = [0];
            while from.read(&mut byte)? == 1 {
                to.write_all(&byte)?;
            }
            Ok(())
        });
    })
}

/// A service on a free port that passes every connection on to `upstream`, frame by frame. `alter` may change each
/// one; what it empties is not passed on.
pub(crate) fn relay(
    upstream: SocketAddr,
    alter: impl FnMut(Direction, &mut Vec<u8>) + Send + 'static,
) -> SocketAddr {
    let alter = Arc::new(Mutex::new(alter));
    service(move |near| {
        let alter = Arc::clone(&alter);
        both_ways(near, TcpStream::connect(upstream).unwrap(), move |direction, from, to| {
            while let Some(mut frame) = receive_frame(from)? {
                alter.lock().unwrap()(direction, &mut frame);
                if !frame.is_empty() {
                    to.write_all(&framed(&frame))?;
                }
            }
            Ok(())
        });
    })
}

/// Runs `pass` for both directions until each has ended. That an end goes away is no failure of the relay.
fn both_ways(
    near: TcpStream,
    far: TcpStream,
    pass: impl Fn(Direction, &mut TcpStream, &mut TcpStream) -> io::Result<()> + Send + Clone + 'static,
) {
    let (mut from_near, mut from_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let (mut to_near, mut to_far) = (near, far);
    let back = pass.clone();
    let returning = std::thread::spawn(move || {
        let _ = back(Direction::ToInitiator, &mut from_far, &mut to_near);
        let _ = to_near.shutdown(Shutdown::Write);
    });
    let _ = pass(Direction::ToAcceptor, &mut from_near, &mut to_far);
    let _ = to_far.shutdown(Shutdown::Write);
    returning.join().unwrap();
}
