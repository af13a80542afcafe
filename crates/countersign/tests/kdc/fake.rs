//! KDCs that do what a test says.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What clients send.
pub(crate) const REQUEST: &[u8] = b"a request";
/// What clients accept: an element with the tag of an AS-REP.
pub(crate) const RIGHT: &[u8] = &[0x6B, 0x03, b'y', b'e', b's'];
/// An answer to somebody else.
pub(crate) const ANOTHERS: &[u8] = &[0x6B, 0x02, b'n', b'o'];

/// A datagram that came.
pub(crate) struct Datagram<'a> {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) from: SocketAddr,
    socket: &'a UdpSocket,
}

impl Datagram<'_> {
    pub(crate) fn answer(&self, bytes: &[u8]) {
        // The client may have closed its socket: the next receive on ours tells of it.
        let _ = self.socket.send_to(bytes, self.from);
    }
}

type OnDatagram = Box<dyn FnMut(Datagram<'_>) + Send>;
type OnConnection = Box<dyn FnMut(TcpStream) + Send>;

/// What is done on one transport.
pub(crate) enum On<T> {
    /// Nothing listens.
    Refuse,
    /// What comes is not read.
    Silent,
    Do(T),
}

pub(crate) fn datagrams(handle: impl FnMut(Datagram<'_>) + Send + 'static) -> On<OnDatagram> {
    On::Do(Box::new(handle))
}

/// Does this with every connection, after reading the request that it begins with.
pub(crate) fn connections(mut handle: impl FnMut(TcpStream) + Send + 'static) -> On<OnConnection> {
    On::Do(Box::new(move |mut stream| {
        let mut request = [0; 4 + REQUEST.len()];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(request[..4], [0, 0, 0, REQUEST.len() as u8]);
        assert_eq!(&request[4..], REQUEST);
        handle(stream);
    }))
}

/// Answers every datagram with these bytes.
pub(crate) fn always(bytes: &'static [u8]) -> On<OnDatagram> {
    datagrams(move |datagram| datagram.answer(bytes))
}

/// Answers every connection with these bytes, their length before them.
pub(crate) fn always_framed(bytes: &'static [u8]) -> On<OnConnection> {
    connections(move |mut stream| stream.write_all(&framed(bytes)).unwrap())
}

pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

/// A KDC at a port of the loopback. It ends when it is dropped.
pub(crate) struct FakeKdc {
    pub(crate) at: SocketAddr,
    asked: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Open, so that clients wait in vain.
    _silent: (Option<UdpSocket>, Option<TcpListener>),
}

const TICK: Duration = Duration::from_millis(10);

impl FakeKdc {
    pub(crate) fn new(udp: On<OnDatagram>, tcp: On<OnConnection>) -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into(), udp, tcp)
    }

    pub(crate) fn on(ip: IpAddr, udp: On<OnDatagram>, tcp: On<OnConnection>) -> Self {
        let (at, datagrams, listener) = bound(ip);
        let (asked, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (mut threads, mut silent) = (Vec::new(), (None, None));
        match udp {
            On::Refuse => drop(datagrams),
            On::Silent => silent.0 = Some(datagrams),
            On::Do(handle) => {
                let (asked, ended) = (asked.clone(), ended.clone());
                threads.push(std::thread::spawn(move || serve_udp(&datagrams, handle, &asked, &ended)));
            }
        }
        match tcp {
            On::Refuse => drop(listener),
            On::Silent => silent.1 = Some(listener),
            On::Do(handle) => {
                let (asked, ended) = (asked.clone(), ended.clone());
                threads.push(std::thread::spawn(move || serve_tcp(&listener, handle, &asked, &ended)));
            }
        }
        Self { at, asked, ended, threads, _silent: silent }
    }

    /// How many datagrams and connections came.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for FakeKdc {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            // One failure is enough for a test.
            assert!(ended.is_ok() || std::thread::panicking(), "a fake KDC failed");
        }
    }
}

/// A port that is ours by UDP and TCP.
fn bound(ip: IpAddr) -> (SocketAddr, UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        if let Ok(datagrams) = UdpSocket::bind(at) {
            return (at, datagrams, listener);
        }
    }
}

fn serve_udp(socket: &UdpSocket, mut handle: OnDatagram, asked: &AtomicUsize, ended: &AtomicBool) {
    socket.set_read_timeout(Some(TICK)).unwrap();
    let (mut buffer, mut number) = ([0; 65_536], 0);
    while !ended.load(Ordering::SeqCst) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        assert_eq!(&buffer[..count], REQUEST);
        asked.fetch_add(1, Ordering::SeqCst);
        handle(Datagram { number, from, socket });
        number += 1;
    }
}

fn serve_tcp(listener: &TcpListener, mut handle: OnConnection, asked: &AtomicUsize, ended: &AtomicBool) {
    listener.set_nonblocking(true).unwrap();
    while !ended.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                handle(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TICK),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Waits until the other end of a connection has closed it.
pub(crate) fn wait_for_close(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close too.
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}
