//! Streams that end with their tickets, and keys for protocols above them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::framing::Framing;
use countersign::proto::context::{Acceptor, Initiator};
use countersign::proto::error::code;
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::time::Timestamp;
use countersign::{
    Client, ClientConfig, ClientCredential, Refusal, Service, ServiceConfig, blocking, refusal_in,
};
use countersign_testkit::mint::Mint;
use ends::kinds::{Keys, kinds};
use ends::pipe::{Pipe, Tap, pipe};
use ends::{Face, Session, client_config, service_config, sessions};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How far clocks may differ here, and how long tickets are good at most: sessions end within two seconds.
const SECOND: Duration = Duration::from_secs(1);

/// When what waits for the end of a session is given up.
const PATIENCE: Duration = Duration::from_secs(8);

/// Which ends of a session end it with the ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Service,
    Client,
}

/// A session whose ticket is about to end: the end that minds, the one that does not, and what is kept of the pipe.
fn expiring(face: Face, who: Who) -> (Session<Pipe>, Session<Pipe>, Tap) {
    let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() };
    let mut ticket = mint.ticket();
    ticket.endtime = mint.now.saturating_add(SECOND);
    let (mut accepts, mut initiates) = (AcceptorPolicy::default(), InitiatorPolicy::default());
    (accepts.clock_skew, initiates.clock_skew) = (SECOND, SECOND);
    let initiator =
        Initiator::from_ccache(&mint.ccache(&[ticket]), &mint.service, initiates, mint.now).unwrap();
    let service = Service::new(ServiceConfig {
        acceptor: Acceptor::new(mint.service_keys(), accepts),
        end_with_ticket: who == Who::Service,
        ..service_config()
    });
    let credential = ClientCredential::Ready(initiator);
    let end_with_ticket = who == Who::Client;
    let client = Client::new(ClientConfig { credential, end_with_ticket, ..client_config() });
    let ((near, far), (near_tap, far_tap)) = pipe();
    let (serving, connecting) = sessions((face, face), &service, &client, (near, far));
    match who {
        Who::Service => (serving, connecting, far_tap),
        Who::Client => (connecting, serving, near_tap),
    }
}

#[track_caller]
fn assert_expired(refusal: &Refusal) {
    assert_eq!(refusal.code(), code::SESSION_EXPIRED, "{refusal}");
}

#[track_caller]
fn assert_stream_expired(error: &io::Error) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_expired(refusal_in(error).unwrap());
}

/// Runs what waits for the end of its session in a thread of its own, with the session, and fails if it waits for longer than it
/// should.
fn waiting(face: Face, who: Who, wait: fn(Session<Pipe>, &Tap)) -> Box<dyn FnOnce(&'static str)> {
    let (done, waits) = std::sync::mpsc::channel();
    let (minds, other, tap) = expiring(face, who);
    let ends = match &minds {
        Session::Blocking(session) => session.ends_at(),
        Session::Tokio(_, session) => session.ends_at(),
    };
    let ends = ends.expect("an end");
    thread::spawn(move || {
        wait(minds, &tap);
        done.send(Timestamp::from_system(SystemTime::now())).unwrap();
    });
    Box::new(move |what| {
        let ended =
            waits.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{face:?} {who:?}: {what} goes on"));
        assert!(ended.micros_since(ends) > 0, "{face:?} {who:?}: {what} ended too early");
        drop(other);
    })
}

fn tokio_of(session: Session<Pipe>) -> (tokio::runtime::Runtime, countersign::tokio::Session<Pipe>) {
    match session {
        Session::Tokio(runtime, session) => (runtime, session),
        Session::Blocking(_) => panic!("another face than asked for"),
    }
}

fn blocking_of(session: Session<Pipe>) -> blocking::Session<Pipe> {
    match session {
        Session::Blocking(session) => session,
        Session::Tokio(..) => panic!("another face than asked for"),
    }
}

/// Runs a future on the runtime of its session.
fn on<T>(session: Session<Pipe>, wait: impl AsyncFnOnce(countersign::tokio::Session<Pipe>) -> T) -> T {
    let (runtime, session) = tokio_of(session);
    runtime.block_on(async { wait(session).await })
}

#[test]
fn who_waits_to_read_waits_no_longer_than_the_ticket_is_good_over_tokio() {
    let waits = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Tokio, who, |session, _| {
                let read = on(session, async |session| session.into_stream().read(&mut [0; 9]).await);
                assert_stream_expired(&read.unwrap_err());
            }),
            waiting(Face::Tokio, who, |session, _| {
                let read = on(session, async |session| {
                    let (mut half, _other) = session.into_stream().into_split();
                    half.read(&mut [0; 9]).await
                });
                assert_stream_expired(&read.unwrap_err());
            }),
        ]
    });
    let messages = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Tokio, who, |session, _| {
                let refused = on(session, async |mut session| session.receive().await.unwrap_err());
                assert_expired(&refused);
            }),
            waiting(Face::Tokio, who, |session, _| {
                let refused = on(session, async |session| {
                    let (_other, mut half) = session.into_split();
                    half.receive_any().await.unwrap_err()
                });
                assert_expired(&refused);
            }),
        ]
    });
    waits.into_iter().flatten().for_each(|wait| wait("a read"));
    messages.into_iter().flatten().for_each(|wait| wait("receiving"));
}

#[test]
fn who_waits_to_read_waits_no_longer_than_the_ticket_is_good_in_blocking_calls() {
    let waits = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Blocking, who, |session, _| {
                let mut stream = blocking_of(session).into_stream();
                assert_stream_expired(&stream.read(&mut [0; 9]).unwrap_err());
            }),
            waiting(Face::Blocking, who, |session, _| {
                let (mut half, _other) = blocking_of(session).into_stream().into_split().unwrap();
                assert_stream_expired(&half.read(&mut [0; 9]).unwrap_err());
            }),
        ]
    });
    let messages = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Blocking, who, |session, _| {
                assert_expired(&blocking_of(session).receive().unwrap_err());
            }),
            waiting(Face::Blocking, who, |session, _| {
                let (_other, mut half) = blocking_of(session).into_split().unwrap();
                assert_expired(&half.receive_any().unwrap_err());
            }),
        ]
    });
    waits.into_iter().flatten().for_each(|wait| wait("a read"));
    messages.into_iter().flatten().for_each(|wait| wait("receiving"));
}

const MESSAGE: [u8; 10_000] = [7; 10_000];

/// The peer reads nothing, and there is room for little.
#[test]
fn who_waits_to_write_waits_no_longer_than_the_ticket_is_good() {
    let waits = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Tokio, who, |session, tap| {
                tap.outgoing.limit(1_000);
                let failed = on(session, async |session| {
                    let mut stream = session.into_stream();
                    stream.write_all(&MESSAGE).await?;
                    stream.write_all(&MESSAGE).await
                });
                assert_stream_expired(&failed.unwrap_err());
            }),
            waiting(Face::Tokio, who, |session, tap| {
                tap.outgoing.limit(1_000);
                let failed = on(session, async |session| {
                    let (_other, mut half) = session.into_stream().into_split();
                    half.write_all(&MESSAGE).await?;
                    half.flush().await
                });
                assert_stream_expired(&failed.unwrap_err());
            }),
            waiting(Face::Tokio, who, |session, tap| {
                tap.outgoing.limit(1_000);
                assert_expired(&on(session, async |mut session| session.send(&MESSAGE).await.unwrap_err()));
            }),
        ]
    });
    let blocking = [Who::Service, Who::Client].map(|who| {
        [
            waiting(Face::Blocking, who, |session, tap| {
                tap.outgoing.limit(1_000);
                let failed = blocking_of(session).into_stream().write_all(&MESSAGE);
                assert_stream_expired(&failed.unwrap_err());
            }),
            waiting(Face::Blocking, who, |session, tap| {
                tap.outgoing.limit(1_000);
                assert_expired(&blocking_of(session).send(&MESSAGE).unwrap_err());
            }),
        ]
    });
    waits.into_iter().flatten().for_each(|wait| wait("a write"));
    blocking.into_iter().flatten().for_each(|wait| wait("a write"));
}

/// What a peer that does not mind has sent is not taken any more, nor can anything be sent to it.
#[test]
fn nothing_goes_either_way_once_the_ticket_has_ended() {
    let sessions = [Face::Tokio, Face::Blocking].map(|face| expiring(face, Who::Service));
    let until = Instant::now() + 2 * SECOND + Duration::from_millis(100);
    thread::sleep(until - Instant::now());
    for (mut minds, mut other, tap) in sessions {
        other.send(b"too late").unwrap();
        assert_expired(&minds.receive().unwrap_err());
        assert_expired(&minds.receive().unwrap_err());
        assert_expired(&minds.send(b"too late").unwrap_err());
        assert_expired(&minds.finish().unwrap_err());
        assert_eq!(tap.outgoing.drain(), b"", "nothing was sent");
    }
}

#[test]
fn a_session_that_does_not_mind_outlives_its_ticket() {
    for face in [Face::Tokio, Face::Blocking] {
        let (_, other, _) = expiring(face, Who::Service);
        let ends = match &other {
            Session::Blocking(session) => session.ends_at(),
            Session::Tokio(_, session) => session.ends_at(),
        };
        assert_eq!(ends, None);
    }
}

/// The same for every face and kind of keys.
type Export<'s> = dyn Fn(&[u8], usize) -> Result<Vec<u8>, Refusal> + 's;

fn exporting(session: &Session<Pipe>) -> Box<Export<'_>> {
    Box::new(move |label, length| {
        let key = match session {
            Session::Blocking(session) => session.export_key(label, length),
            Session::Tokio(_, session) => session.export_key(label, length),
        };
        key.map(|key| key.expose().to_vec())
    })
}

const LABELS: [&[u8]; 4] = [b"EXPORTER-one", b"EXPORTER-two", b"EXPORTER-one\0", b""];

#[test]
fn both_ends_get_the_same_key_for_a_label_and_another_for_every_other() {
    let mut keys = BTreeSet::new();
    let mut count = 0;
    for kind in kinds().filter(|kind| kind.keys != Keys::Ntlm && kind.framing == Framing::Dword) {
        let (serving, connecting) = kind.sessions((Face::Tokio, Face::Blocking), pipe().0);
        let (ours, theirs) = (exporting(&serving), exporting(&connecting));
        for label in LABELS {
            let longest = ours(label, 1_000).unwrap();
            for length in [1, 16, 32, 33, 64, 1_000] {
                let key = ours(label, length).unwrap();
                assert!(key == longest[..length], "{kind:?}: it is the same whenever asked for");
                assert!(key == theirs(label, length).unwrap(), "{kind:?}");
            }
            keys.insert(longest);
            count += 1;
        }
        assert_eq!(ours(LABELS[0], 65_536).unwrap().len(), 65_536);
        assert!(ours(LABELS[0], 65_537).is_err());
    }
    assert_eq!(keys.len(), count, "no two sessions or labels have the same key");
}

#[test]
fn streams_give_the_same_keys_as_their_sessions() {
    for face in [Face::Tokio, Face::Blocking] {
        let (serving, connecting) =
            sessions((face, face), &Service::new(service_config()), &ends::client(), pipe().0);
        let expected = exporting(&serving)(LABELS[0], 32).unwrap();
        for session in [serving, connecting] {
            let key = match session {
                Session::Blocking(session) => session.into_stream().export_key(LABELS[0], 32),
                Session::Tokio(_, session) => session.into_stream().export_key(LABELS[0], 32),
            };
            assert_eq!(key.unwrap().expose(), expected);
        }
    }
}

#[test]
fn ntlm_has_no_keys_to_give() {
    for kind in kinds().filter(|kind| kind.keys == Keys::Ntlm) {
        let (serving, connecting) = kind.sessions((Face::Tokio, Face::Blocking), pipe().0);
        for session in [&serving, &connecting] {
            let refusal = exporting(session)(LABELS[0], 32).unwrap_err();
            assert!(refusal.to_string().contains("NTLM"), "{refusal}");
        }
    }
}
