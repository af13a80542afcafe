//! Keys about where messages go, and for how long.

use super::{Row, lets_in, listening_upstream, now, with};
use crate::serve_support::{LISTENER, Scene, session};
use crate::support::DEADLINE;
use crate::support::wire::Wire;
use rustix::net::{AddressFamily, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

pub(crate) const TARGETS: &[Row] = &[
    ("listener", "echo", echo),
    ("listener", "upstream", upstream),
    ("listener", "upstream_identity", upstream_identity),
    ("listener", "upstream_connect_timeout", upstream_connect_timeout),
    ("listener", "allow_unmarked_end", allow_unmarked_end),
    ("listener", "idle_timeout", idle_timeout),
    ("listener", "sessions_end_with_ticket", sessions_end_with_ticket),
    ("listener", "handshake_deadline", handshake_deadline),
];

fn echo() {
    let (scene, serve) = with("echo = true");
    assert!(lets_in(&scene, &serve));
    scene.refused(&format!("{LISTENER}echo = false\n"), 2, "upstream");
}

fn upstream() {
    let (address, hears) = listening_upstream();
    let (scene, serve) = with(&format!("upstream = \"{address}\""));
    let client = scene.client(scene.ticket(2));
    let mut session = session(&client, serve.address()).unwrap_or_else(|_| panic!("a session"));
    session.send(b"hello").unwrap();
    assert_eq!(session.receive().unwrap(), Some(&b"ok"[..]));
    session.finish().unwrap();
    assert_eq!(session.receive().unwrap(), None);
    assert_eq!(hears.recv_timeout(DEADLINE).unwrap(), (b"hello".to_vec(), None));
    // By a path, too.
    let scene = Scene::new();
    let listener = UnixListener::bind(scene.path("socket")).unwrap();
    let serve = scene.serve(&format!("{LISTENER}upstream = \"unix:{}\"\n", scene.named("socket")));
    let behind = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"unix").unwrap();
        let _ = stream.read(&mut [0]);
    });
    assert_eq!(scene.connect(serve.address(), &[]).expect_success().text(), "unix\n");
    behind.join().unwrap();
}

fn upstream_identity() {
    for (form, begins, holds) in [
        ("none", &b"hello"[..], &b"hello"[..]),
        ("proxy-v2", b"\r\n\r\n\0\r\nQUIT\n\x21", b"alice@EXAMPLE.TEST"),
        ("json", b"{", b"\"alice@EXAMPLE.TEST\""),
    ] {
        let (address, hears) = listening_upstream();
        let (scene, serve) = with(&format!("upstream = \"{address}\"\nupstream_identity = \"{form}\""));
        scene.connect(serve.address(), &[]).expect_success();
        let (heard, _) = hears.recv_timeout(DEADLINE).unwrap();
        assert!(heard.starts_with(begins) && heard.ends_with(b"hello"), "{form}: {}", heard.escape_ascii());
        assert!(heard.windows(holds.len()).any(|window| window == holds), "{form}: {}", heard.escape_ascii());
    }
}

/// An address at which connections are neither taken nor refused: its queue is full. It is so until what is returned is dropped.
fn deaf() -> (SocketAddr, (rustix::fd::OwnedFd, Vec<TcpStream>)) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 64, "the queue does not fill");
    }
    (address, (socket, queued))
}

fn upstream_connect_timeout() {
    let (address, _full) = deaf();
    let lines = format!("upstream = \"{address}\"\nupstream_connect_timeout = \"400ms\"");
    let (scene, serve) = with(&lines);
    let began = Instant::now();
    let mut session =
        session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
    assert!(!matches!(session.receive(), Ok(Some(_))));
    assert!(began.elapsed() >= Duration::from_millis(400) && began.elapsed() < Duration::from_secs(9));
    serve.wait_for_stderr("no connection within 0.4 s");
}

fn allow_unmarked_end() {
    for (allowed, end) in [(true, None), (false, Some(ErrorKind::ConnectionReset))] {
        let (address, hears) = listening_upstream();
        let (scene, serve) = with(&format!("upstream = \"{address}\"\nallow_unmarked_end = {allowed}"));
        let mut session =
            session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
        session.send(b"unmarked").unwrap();
        assert_eq!(session.receive().unwrap(), Some(&b"ok"[..]));
        drop(session);
        assert_eq!(hears.recv_timeout(DEADLINE).unwrap(), (b"unmarked".to_vec(), end), "{allowed}");
    }
}

fn idle_timeout() {
    let (scene, serve) = with("idle_timeout = \"1s\"");
    let mut session =
        session(&scene.client(scene.ticket(2)), serve.address()).unwrap_or_else(|_| panic!("a session"));
    let began = Instant::now();
    assert!(!matches!(session.receive(), Ok(Some(_))));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(serve.metric("countersign_tunnels_ended_total", &["reason=\"idle\""]), 1.0);
}

fn sessions_end_with_ticket() {
    for ends in [true, false] {
        let (scene, serve) = with(&format!("sessions_end_with_ticket = {ends}\nclock_skew = 1"));
        let mut ticket = scene.ticket(2);
        ticket.endtime = now().saturating_add(Duration::from_secs(2));
        let mut session =
            session(&scene.client(ticket), serve.address()).unwrap_or_else(|_| panic!("a session"));
        thread::sleep(Duration::from_millis(4_500));
        let goes_on =
            session.send(b"late").is_ok() && session.receive().is_ok_and(|message| message.is_some());
        assert_eq!(goes_on, !ends);
        if ends {
            serve.refused_with("CS-8014");
        }
    }
}

fn handshake_deadline() {
    let (_scene, serve) = with("handshake_deadline = \"1s\"");
    let began = Instant::now();
    Wire::connect(serve.address()).assert_closed();
    assert!(began.elapsed() >= Duration::from_millis(900) && began.elapsed() < Duration::from_secs(9));
    serve.refused_with("CS-8004");
}
