//! A program in the middle between clients and a KDC.

use crate::KdcMessage;
use crate::kdc::{free_port, on_loopback};
use crate::kdc_message::Kind;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A loopback address, UDP and TCP, that clients take for a KDC's. It passes requests on to a real KDC by the transport
/// they came by, does to each what a test's rule says, and keeps every message. Its threads end when it is dropped.
pub struct KdcProxy {
    address: SocketAddrV4,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What a message came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A connection, with the length in front.
    Tcp,
}

/// A request that a rule decides about.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What it came by.
    pub transport: Transport,
    /// How many requests came before it, of any kind and by any transport.
    pub number: usize,
    /// The request, if it is one.
    pub message: Option<KdcMessage>,
}

/// What becomes of a request.
pub enum Fate {
    /// The KDC's answer.
    Pass,
    /// The KDC's answer, after this time.
    Slow(Duration),
    /// No answer; a connection stays open until the client closes it.
    Silent,
    /// No answer; a connection is closed.
    Close,
    /// These bytes, without the KDC being asked.
    Answer(Vec<u8>),
    /// What this makes of the KDC's answer.
    Edit(Box<dyn FnOnce(Vec<u8>) -> Vec<u8> + Send>),
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What it came by.
    pub transport: Transport,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The KDC's answer, if it was asked and answered.
    pub from_kdc: Option<Vec<u8>>,
    /// What the client was sent.
    pub to_client: Option<Vec<u8>>,
}

type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

struct Shared {
    kdc: SocketAddrV4,
    rule: Mutex<Rule>,
    exchanges: Mutex<Vec<Exchange>>,
    ended: AtomicBool,
}

/// How often threads that wait look whether all has ended.
const TICK: Duration = Duration::from_millis(20);
/// How long the KDC may take.
const KDC_DEADLINE: Duration = Duration::from_secs(10);
/// The longest message by TCP that is passed on.
const MAX_MESSAGE: usize = 1 << 20;

impl KdcProxy {
    /// A proxy in front of `kdc` that passes everything on until it is told a rule.
    ///
    /// # Panics
    /// If the loopback has no port free.
    #[must_use]
    #[track_caller]
    pub fn before(kdc: SocketAddrV4) -> Self {
        let (udp, tcp, address) = bound();
        let shared = Arc::new(Shared {
            kdc,
            rule: Mutex::new(Box::new(|_| Fate::Pass)),
            exchanges: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || of_udp.serve_udp(&udp)),
            std::thread::spawn(move || of_tcp.serve_tcp(&tcp)),
        ];
        Self { address, shared, threads }
    }

    /// A proxy that does with every request what `rule` says.
    #[must_use]
    #[track_caller]
    pub fn with(kdc: SocketAddrV4, rule: impl FnMut(&Asked) -> Fate + Send + 'static) -> Self {
        let proxy = Self::before(kdc);
        proxy.set_rule(rule);
        proxy
    }

    /// From here on `rule` says what becomes of each request.
    pub fn set_rule(&self, rule: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Where clients find it, as `kdc =` in krb5.conf has it.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What was asked and answered so far, in the order of the answers; a request that is not answered stands there from
    /// its arrival.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.shared.exchanges).clone()
    }

    /// The requests so far.
    ///
    /// # Panics
    /// If one of them is none.
    #[must_use]
    #[track_caller]
    pub fn requests(&self) -> Vec<KdcMessage> {
        self.exchanges().iter().map(|exchange| KdcMessage::of(&exchange.request)).collect()
    }

    /// How many requests of this kind came so far.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.requests().iter().filter(|request| request.kind() == kind).count()
    }

    /// The last answer of this kind that the real KDC gave.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn last_answer(&self, kind: Kind) -> KdcMessage {
        let mut answers =
            self.exchanges().into_iter().filter_map(|exchange| KdcMessage::parse(&exchange.from_kdc?));
        answers.rfind(|answer| answer.kind() == kind).unwrap_or_else(|| panic!("the KDC sent no {kind:?}"))
    }

    /// Forgets all messages so far.
    pub fn clear(&self) {
        lock(&self.shared.exchanges).clear();
    }
}

impl Drop for KdcProxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn serve_udp(self: &Arc<Self>, socket: &UdpSocket) {
        let mut buffer = vec![0; 1 << 16];
        while !self.ended() {
            let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
            let (shared, request) = (Arc::clone(self), buffer[..length].to_vec());
            let socket = socket.try_clone().expect("a socket can be cloned");
            // Of its own, so that a slow answer does not hold up the next request.
            std::thread::spawn(move || {
                if let Some(answer) = shared.answer(Transport::Udp, request).0 {
                    // The client may have gone.
                    let _ = socket.send_to(&answer, client);
                }
            });
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        while !self.ended() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let shared = Arc::clone(self);
                    // A client that goes away ends its connection, and nothing else.
                    std::thread::spawn(move || drop(shared.attend(stream)));
                }
                Err(_) => std::thread::sleep(TICK),
            }
        }
    }

    /// Answers one request after the other on a connection.
    fn attend(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(KDC_DEADLINE))?;
        loop {
            let request = receive(&mut stream)?;
            match self.answer(Transport::Tcp, request) {
                (Some(answer), _) => send(&mut stream, &answer)?,
                (None, Open::No) => return Ok(()),
                (None, Open::Yes) => return self.hold(&stream),
            }
        }
    }

    /// Keeps a connection open until the client closes it or the proxy ends.
    fn hold(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(TICK))?;
        while !self.ended() {
            if matches!(stream.read(&mut [0; 64]), Ok(0)) {
                break;
            }
        }
        Ok(())
    }

    /// What to send, and whether a connection that gets nothing stays open.
    fn answer(&self, transport: Transport, request: Vec<u8>) -> (Option<Vec<u8>>, Open) {
        let number = {
            let mut exchanges = lock(&self.exchanges);
            exchanges.push(Exchange { transport, request: request.clone(), from_kdc: None, to_client: None });
            exchanges.len() - 1
        };
        let asked = Asked { transport, number, message: KdcMessage::parse(&request) };
        let fate = (lock(&self.rule))(&asked);
        let ask = || self.ask_kdc(transport, &request).ok();
        let (from_kdc, to_client, open) = match fate {
            Fate::Silent => (None, None, Open::Yes),
            Fate::Close => (None, None, Open::No),
            Fate::Answer(answer) => (None, Some(answer), Open::Yes),
            Fate::Pass => both(ask()),
            Fate::Slow(time) => {
                let answer = ask();
                std::thread::sleep(time);
                both(answer)
            }
            Fate::Edit(edit) => {
                let answer = ask();
                (answer.clone(), answer.map(edit), Open::No)
            }
        };
        // It may have been cleared away.
        if let Some(exchange) = lock(&self.exchanges).get_mut(number).filter(|known| known.request == request)
        {
            exchange.from_kdc = from_kdc;
            exchange.to_client.clone_from(&to_client);
        }
        (to_client, open)
    }

    fn ask_kdc(&self, transport: Transport, request: &[u8]) -> io::Result<Vec<u8>> {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(on_loopback(0))?;
                socket.set_read_timeout(Some(KDC_DEADLINE))?;
                socket.connect(self.kdc)?;
                socket.send(request)?;
                let mut buffer = vec![0; 1 << 16];
                let length = socket.recv(&mut buffer)?;
                buffer.truncate(length);
                Ok(buffer)
            }
            Transport::Tcp => {
                let mut stream = TcpStream::connect(self.kdc)?;
                stream.set_read_timeout(Some(KDC_DEADLINE))?;
                send(&mut stream, request)?;
                receive(&mut stream)
            }
        }
    }
}

/// Whether a connection that gets no answer stays open.
enum Open {
    Yes,
    No,
}

fn both(answer: Option<Vec<u8>>) -> (Option<Vec<u8>>, Option<Vec<u8>>, Open) {
    (answer.clone(), answer, Open::No)
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A rule that panicked has said so; what was kept is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sockets of both transports at one port.
#[track_caller]
fn bound() -> (UdpSocket, TcpListener, SocketAddrV4) {
    loop {
        let address = on_loopback(free_port());
        // Somebody may take the port between our look and our bind: another one.
        let (Ok(udp), Ok(tcp)) = (UdpSocket::bind(address), TcpListener::bind(address)) else { continue };
        udp.set_read_timeout(Some(TICK)).expect("a socket takes a timeout");
        tcp.set_nonblocking(true).expect("a socket can be made non-blocking");
        return (udp, tcp, address);
    }
}

/// Sends a message with its length in front (RFC 4120 section 7.2.2).
fn send(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}

fn receive(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_MESSAGE {
        return Err(io::Error::other("a message too long to be one"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(message)
}
