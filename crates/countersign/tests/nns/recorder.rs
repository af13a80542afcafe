//! A relay between two ends of a NegotiateStream that keeps what they say, cut into records.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Relays one connection.
pub(crate) struct Recorder {
    address: SocketAddr,
    thread: JoinHandle<()>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

/// Bytes as they came.
struct Heard {
    from: &'static str,
    bytes: Vec<u8>,
}

impl Recorder {
    /// A relay in front of `server`.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let keeper = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(server).unwrap();
            let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let keep = Arc::clone(&keeper);
            let there = std::thread::spawn(move || relay("client", from_client, to_server, &keep));
            relay("server", server, client, &keeper);
            there.join().unwrap();
        });
        Self { address, thread, heard }
    }

    /// Where the client is sent.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every record, by the order in which they were complete: from whom, and its bytes. Both ends must have closed. What is
    /// no whole record, at the end of a stream, counts as one: data that is not protected has none.
    pub(crate) fn records(self) -> Vec<Value> {
        self.thread.join().unwrap();
        let mut records = Vec::new();
        let mut rests = [("client", Vec::new()), ("server", Vec::new())];
        for Heard { from, bytes } in self.heard.lock().unwrap().iter() {
            let (_, rest) = rests.iter_mut().find(|(name, _)| name == from).unwrap();
            rest.extend_from_slice(bytes);
            while let Some(length) = record_length(rest).filter(|&length| length <= rest.len()) {
                let record: Vec<u8> = rest.drain(..length).collect();
                records.push(json!({ "from": from, "hex": hex::encode(record) }));
            }
        }
        for (from, rest) in rests.iter().filter(|(_, rest)| !rest.is_empty()) {
            records.push(json!({ "from": from, "hex": hex::encode(rest) }));
        }
        records
    }
}

/// How long the record that `bytes` begin with is, what stands before it included. A data record cannot be taken for one of
/// a handshake: it would be longer than 65,536 bytes.
fn record_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0x14..=0x16, 1, 0, l1, l2, ..] => Some(5 + usize::from(u16::from_be_bytes([*l1, *l2]))),
        [l1, l2, l3, l4, _, ..] => Some(4 + u32::from_le_bytes([*l1, *l2, *l3, *l4]) as usize),
        _ => None,
    }
}

fn relay(from: &'static str, mut source: TcpStream, mut sink: TcpStream, heard: &Mutex<Vec<Heard>>) {
    let mut buffer = vec![0; 1 << 16];
    // An end that resets the connection has said all it will, as one that closes it.
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        heard.lock().unwrap().push(Heard { from, bytes: buffer[..count].to_vec() });
        if sink.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _ = sink.shutdown(Shutdown::Write);
}
