//! Listeners of both faces: who is slow delays nobody, who is refused is told of, and what goes on ends with the listener. And
//! that everything of tokio's face can be spawned.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::limits::{Admission, HandshakeLimits};
use countersign::proto::error::{Code, Refusal, code};
use countersign::{Service, ServiceConfig, Unaccepted, bare, blocking, tokio as asynchronous};
use ends::{ADDRESS, AMPLE, FACES, Face, SHORT, client, service, service_config};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// A listener of either face that says whom it lets in: the one byte that the client then sends.
struct Served {
    address: SocketAddr,
    came: Receiver<u8>,
    refused: Receiver<(SocketAddr, Code)>,
    /// Ends it, and returns when it has ended.
    end: Box<dyn FnOnce()>,
}

fn observer() -> (impl Fn(Unaccepted<'_>) + Send + Sync + 'static, Receiver<(SocketAddr, Code)>) {
    let (send, refused) = mpsc::channel();
    let observer = move |met: Unaccepted<'_>| match met {
        Unaccepted::Refused { peer, failure } => {
            // Nobody may be interested.
            let _ = send.send((peer, failure.refusal.code()));
        }
        Unaccepted::Failed(error) => panic!("{error}"),
    };
    (observer, refused)
}

fn serve(face: Face, service: &Service) -> Served {
    let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (observer, refused) = observer();
    let (let_in, came) = mpsc::channel();
    let end = match face {
        Face::Blocking => serve_blocking(service, listener, observer, let_in),
        Face::Tokio => serve_tokio(service, listener, observer, let_in),
    };
    Served { address, came, refused, end }
}

fn serve_blocking(
    service: &Service,
    listener: TcpListener,
    observer: impl Fn(Unaccepted<'_>) + Send + Sync + 'static,
    let_in: mpsc::Sender<u8>,
) -> Box<dyn FnOnce()> {
    let listener = blocking::Listener::new(service, listener, observer).unwrap();
    let address = listener.local_addr();
    let accepting = thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                // It is to end.
                return drop(listener);
            }
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            stream.finish().unwrap();
            let _ = let_in.send(byte[0]);
        }
    });
    Box::new(move || {
        let mut stream = blocking::Connector::new(client()).connect(address).unwrap();
        stream.finish().unwrap();
        accepting.join().unwrap();
    })
}

fn serve_tokio(
    service: &Service,
    listener: TcpListener,
    observer: impl Fn(Unaccepted<'_>) + Send + Sync + 'static,
    let_in: mpsc::Sender<u8>,
) -> Box<dyn FnOnce()> {
    let (end, ended) = tokio::sync::oneshot::channel();
    let service = service.clone();
    let accepting = thread::spawn(move || {
        ends::block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut listener = asynchronous::Listener::new(&service, listener).observed_by(observer);
            let accept = async {
                loop {
                    let (mut stream, _) = listener.accept().await;
                    let byte = stream.read_u8().await.unwrap();
                    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
                    let _ = let_in.send(byte);
                }
            };
            tokio::select! {
                () = accept => (),
                _ = ended => (),
            }
            drop(listener);
            // What is aborted ends when it is its turn.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
    });
    Box::new(move || {
        end.send(()).unwrap();
        accepting.join().unwrap();
    })
}

/// An honest client that says `byte`.
fn visit(address: SocketAddr, byte: u8) {
    let mut stream = blocking::Connector::new(client()).connect(address).unwrap();
    stream.write_all(&[byte]).unwrap();
    stream.finish().unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn connect_silently(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[test]
fn clients_that_are_silent_or_slow_delay_nobody() {
    for face in FACES {
        let served = serve(face, &service());
        let mut silent = connect_silently(served.address, 40);
        for (number, slow) in silent.iter_mut().enumerate() {
            // Some say a little, some nothing.
            slow.write_all(&60_000_u32.to_le_bytes()[..number % 5]).unwrap();
        }
        let began = Instant::now();
        (0..10).for_each(|byte| visit(served.address, byte));
        assert!(began.elapsed() < AMPLE / 2, "{face:?}");
        for byte in 0..10 {
            assert_eq!(served.came.recv_timeout(AMPLE).unwrap(), byte);
        }
        assert!(served.refused.try_recv().is_err(), "those that are slow have time still");
    }
}

#[test]
fn clients_that_come_together_all_get_in() {
    for face in FACES {
        let served = serve(face, &service());
        let address = served.address;
        let clients: Vec<_> = (0..20).map(|byte| thread::spawn(move || visit(address, byte))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        let mut came: Vec<_> = (0..20).map(|_| served.came.recv_timeout(AMPLE).unwrap()).collect();
        came.sort_unstable();
        assert_eq!(came, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn the_observer_hears_of_every_client_that_is_refused_and_why() {
    let not_welcome = Service::new(ServiceConfig {
        authorize: Box::new(|_| Err(Refusal::new(code::CLIENT_NOT_ALLOWED, "a client", "a list"))),
        ..service_config()
    });
    for face in FACES {
        let served = serve(face, &not_welcome);
        let gone = TcpStream::connect(served.address).unwrap();
        let gone_address = gone.local_addr().unwrap();
        drop(gone);
        assert_eq!(served.refused.recv_timeout(AMPLE).unwrap(), (gone_address, code::CONNECTION_CUT));

        let mut noisy = TcpStream::connect(served.address).unwrap();
        noisy.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let noisy_address = noisy.local_addr().unwrap();
        noisy.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(served.refused.recv_timeout(AMPLE).unwrap(), (noisy_address, code::FRAME_TOO_LONG));

        let refused = blocking::Connector::new(client()).connect(served.address).err().unwrap();
        assert_ne!(refused.refusal.code(), code::CLIENT_NOT_ALLOWED, "the client learns less");
        let (_, why) = served.refused.recv_timeout(AMPLE).unwrap();
        assert_eq!(why, code::CLIENT_NOT_ALLOWED);
        assert!(served.came.try_recv().is_err());
    }
}

#[test]
fn a_client_that_takes_too_long_is_refused_by_itself() {
    let hasty = Service::new(ServiceConfig { handshake_deadline: SHORT, ..service_config() });
    for face in FACES {
        let served = serve(face, &hasty);
        let silent = connect_silently(served.address, 5);
        for _ in &silent {
            assert_eq!(served.refused.recv_timeout(AMPLE).unwrap().1, code::HANDSHAKE_DEADLINE);
        }
        assert_eq!(hasty.admission().open(), 0);
    }
}

#[test]
fn no_more_handshakes_are_open_than_there_may_be_and_honest_clients_get_in() {
    const PLACES: usize = 8;
    const FLOOD: usize = 40;
    for face in FACES {
        let limits = HandshakeLimits { total: PLACES, per_address: PLACES, ..HandshakeLimits::default() };
        let service = Service::new(ServiceConfig { admission: Admission::new(limits), ..service_config() });
        let served = serve(face, &service);
        let silent = connect_silently(served.address, FLOOD);
        for _ in PLACES..FLOOD {
            assert_eq!(served.refused.recv_timeout(AMPLE).unwrap().1, code::HANDSHAKES_EXHAUSTED);
            assert!(service.admission().open() <= PLACES);
        }
        assert_eq!(service.admission().open(), PLACES, "{face:?}");
        visit(served.address, 1);
        assert_eq!(served.came.recv_timeout(AMPLE).unwrap(), 1);
        assert_eq!(served.refused.recv_timeout(AMPLE).unwrap().1, code::HANDSHAKES_EXHAUSTED);
        // Those that lost their places are not left to wait.
        let closed = |mut silent: &TcpStream| {
            silent.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            matches!(silent.read(&mut [0]), Ok(0))
        };
        let until = Instant::now() + AMPLE;
        while silent.iter().filter(|silent| closed(silent)).count() <= FLOOD - PLACES {
            assert!(Instant::now() < until, "{face:?}");
        }
    }
}

#[test]
fn a_listener_that_is_dropped_leaves_its_port_at_once() {
    for face in FACES {
        for _ in 0..10 {
            let served = serve(face, &service());
            visit(served.address, 1);
            (served.end)();
            // A connection of before may stand in the way of a socket that asks for the port without more ado, which
            // this one does not; a listener does in any case.
            TcpListener::bind(served.address).unwrap_or_else(|error| panic!("{face:?}: {error}"));
        }
    }
}

#[test]
fn handshakes_that_go_on_end_with_their_listener() {
    for face in FACES {
        let service = service();
        let served = serve(face, &service);
        let mut silent = connect_silently(served.address, 5);
        let until = Instant::now() + AMPLE;
        while service.admission().open() < 5 {
            assert!(Instant::now() < until);
            thread::sleep(Duration::from_millis(1));
        }
        (served.end)();
        for silent in &mut silent {
            silent.set_read_timeout(Some(AMPLE / 4)).unwrap();
            assert_eq!(silent.read(&mut [0]).unwrap_or_else(|error| panic!("{face:?}: {error}")), 0);
        }
        while service.admission().open() > 0 {
            assert!(Instant::now() < until, "{face:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn sent<T: Send>(_: T) {}
fn shared<T: Send + Sync + 'static>() {}

/// It need only compile.
#[test]
fn whatever_waits_can_be_spawned_and_whatever_is_given_out_can_be_sent() {
    use asynchronous::{AuthStream, Connector, Listener, ReadHalf, Receiving, Sending, Session, WriteHalf};
    type Tcp = tokio::net::TcpStream;
    shared::<AuthStream<Tcp>>();
    shared::<ReadHalf<Tcp>>();
    shared::<WriteHalf<Tcp>>();
    shared::<Session<Tcp>>();
    shared::<Sending<Tcp>>();
    shared::<Receiving<Tcp>>();
    shared::<Listener>();
    shared::<Connector>();
    shared::<blocking::AuthStream<TcpStream>>();
    shared::<blocking::ReadHalf<TcpStream>>();
    shared::<blocking::WriteHalf<TcpStream>>();
    shared::<blocking::Session<TcpStream>>();
    shared::<blocking::Sending<TcpStream>>();
    shared::<blocking::Receiving<TcpStream>>();
    shared::<blocking::Closer<TcpStream>>();
    shared::<blocking::Listener>();
    shared::<blocking::Connector>();
    shared::<bare::Context>();
    sent::<fn(bare::Accepting)>(drop);
    sent::<fn(bare::Initiating)>(drop);
    // Never run: what is asked is whether it could be.
    let _ = |tcp: Tcp, other: Tcp, service: Service, client: countersign::Client| {
        sent(asynchronous::accept(&service, tcp, ADDRESS));
        sent(asynchronous::connect(&client, other));
        sent(Listener::bind(&service, (ADDRESS, 0)));
        sent(bare::Initiating::begin(&client));
        sent(client.initiator());
        sent(bare::Accepting::begin(&service, ADDRESS).token(&[]));
    };
    let _ = |mut listener: Listener, connector: Connector, tcp: Tcp| {
        sent(listener.accept());
        sent(connector.connect((ADDRESS, 0)));
        sent(connector.connect_over(tcp));
    };
    let _ = |mut session: Session<Tcp>, mut sending: Sending<Tcp>, mut receiving: Receiving<Tcp>| {
        sent(session.send(&[]));
        sent(session.receive());
        sent(session.receive_any());
        sent(session.finish());
        sent(sending.send(&[]));
        sent(sending.finish());
        sent(receiving.receive());
        sent(receiving.receive_any());
    };
}
