//! Somebody on the way who writes down what clients say, and says it again later.

use super::super::support::DEADLINE;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What one client said, from its first byte to its last.
type Conversation = Arc<Mutex<Vec<u8>>>;

/// Passes connections on to a service, and keeps what their clients said.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    conversations: Arc<Mutex<Vec<Conversation>>>,
}

impl Recorder {
    /// On a free port, before the service at `upstream`, for as long as the test runs.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let conversations = Arc::<Mutex<Vec<Conversation>>>::default();
        let kept = Arc::clone(&conversations);
        thread::spawn(move || {
            for near in listener.incoming() {
                let said = Conversation::default();
                kept.lock().unwrap().push(Arc::clone(&said));
                thread::spawn(move || pass(near.unwrap(), upstream, &said));
            }
        });
        Self { address, conversations }
    }

    /// What was said so far, a client each.
    pub(crate) fn conversations(&self) -> Vec<Vec<u8>> {
        let conversations = self.conversations.lock().unwrap();
        conversations
            .iter()
            .map(|said| said.lock().unwrap().clone())
            .filter(|said| !said.is_empty())
            .collect()
    }
}

fn pass(mut near: TcpStream, upstream: SocketAddr, said: &Conversation) {
    let Ok(mut far) = TcpStream::connect(upstream) else { return };
    let (mut back_from, mut back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 8_192];
    // That an end goes away is no failure of who listens.
    while let Ok(count @ 1..) = near.read(&mut buffer) {
        said.lock().unwrap().extend_from_slice(&buffer[..count]);
        if far.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = far.shutdown(Shutdown::Write);
    let _ = back.join();
}

/// Says it all again to the service at `address`, and waits until that has ended the connection.
pub(crate) fn replay(address: SocketAddr, said: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the service listens");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The service may have ended the connection before it has read it all.
    let _ = stream.write_all(said);
    let _ = stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("still open: {error}"),
        _ => {}
    }
}
