//! Issue 2, "It is done when", list (d): what `countersign connect` does not believe; and messages altered on the
//! way, which neither end takes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::proto::gss::framing::{self, TokenId};
use countersign::proto::krb5::acceptor::krb_error;
use countersign::proto::krb5::msg::ap_req::ApReq;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::time::Timestamp;
use countersign_testkit::pair::Direction::{self, ToAcceptor, ToInitiator};
use countersign_testkit::{Etype, Finished, Process, Realm, run};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use support::wire::{Wire, relay, service};
use support::{DEADLINE, FULL_SPN, SPN, Scene, Serve, connect};

const OTHER: &str = "echo/b.example.test";

fn scene() -> Arc<Scene> {
    Scene::shared(|realm: &Realm| realm.add_service(OTHER, &[Etype::Aes256Sha1]))
}

/// `connect` says `hello`, and must refuse the service before it has said so, for the reason `code`.
#[track_caller]
fn refuses(address: SocketAddr, ccache: &Path, options: &[&str], code: &str) -> Finished {
    ends(1, address, ccache, options, code)
}

/// The same with another exit code than that of a refusal.
#[track_caller]
fn ends(exit_code: i32, address: SocketAddr, ccache: &Path, options: &[&str], code: &str) -> Finished {
    let mut command = connect(address, FULL_SPN, ccache);
    let done = run(command.args(["--message", "hello"]).args(options), DEADLINE).expect_code(exit_code);
    assert!(done.stderr.starts_with(&format!("countersign: {code} saw ")), "{done:?} lacks {code}");
    assert_eq!(done.text(), "");
    done
}

/// A service that takes one token and answers it with what `answer` makes of it, time after time, until nothing
/// comes.
fn impostor(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let tokens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tokens);
    let address = service(move |stream: TcpStream| {
        let mut wire = Wire::over(stream);
        while let Some(token) = wire.receive() {
            counted.fetch_add(1, Ordering::Relaxed);
            wire.send(&answer(&token));
        }
    });
    (address, tokens)
}

/// One byte after the other of the AP-REP is altered by one bit, each in a handshake of its own.
#[test]
fn connect_refuses_an_ap_rep_with_any_byte_altered() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let ccache = scene.ccache_for(&[SPN]);
    let length = Arc::new(AtomicUsize::new(usize::MAX));
    let (at, measured) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&length));
    let altered = Arc::clone(&at);
    let address = relay(serve.address, move |direction, frame| {
        if direction == ToInitiator {
            measured.store(frame.len(), Ordering::Relaxed);
            let at = altered.load(Ordering::Relaxed);
            frame[at] ^= 1 << (at % 8);
        }
    });
    while at.load(Ordering::Relaxed) < length.load(Ordering::Relaxed) {
        let mut command = connect(address, FULL_SPN, &ccache);
        let done = run(command.args(["--message", "hello"]), DEADLINE).expect_code(1);
        assert!(done.stderr.starts_with("countersign: CS-"), "byte {at:?}: {done:?}");
        assert_eq!(done.text(), "");
        at.fetch_add(1, Ordering::Relaxed);
    }
    assert!(at.load(Ordering::Relaxed) > 100, "{at:?} bytes are no AP-REP");
}

#[test]
fn connect_tells_an_altered_ap_rep_from_other_faults() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let address = relay(serve.address, |direction, frame| {
        if direction == ToInitiator {
            *frame.last_mut().unwrap() ^= 1;
        }
    });
    refuses(address, &scene.ccache_for(&[SPN]), &[], "CS-4002");
}

#[test]
fn connect_refuses_the_ap_rep_of_another_session_with_the_same_ticket() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let ccache = scene.ccache_for(&[SPN]);
    refuses(recording(serve.address, &ccache), &ccache, &[], "CS-4003");
}

#[test]
fn connect_refuses_the_ap_rep_of_another_session_with_another_ticket() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let (recorded, ccache) = (scene.ccache_for(&[SPN]), scene.ccache_for(&[SPN]));
    refuses(recording(serve.address, &recorded), &ccache, &[], "CS-4002");
}

/// A service that answers everybody with the AP-REP that `serve` gave the client with `ccache`.
fn recording(serve: SocketAddr, ccache: &Path) -> SocketAddr {
    let record = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&record);
    let address = relay(serve, move |direction, frame| {
        let mut record = recorder.lock().unwrap();
        if direction == ToInitiator && record.is_empty() {
            record.clone_from(frame);
        }
    });
    run(connect(address, FULL_SPN, ccache).args(["--message", "hello"]), DEADLINE).expect_success();
    let ap_rep = record.lock().unwrap().clone();
    assert_eq!(framing::open(&ap_rep).unwrap().0, TokenId::ApRep);
    impostor(move |_| ap_rep.clone()).0
}

/// A ticket for one service is presented to another one, whose key cannot open it: the AP-REP it would make is none.
#[test]
fn connect_is_not_taken_in_by_a_service_with_another_key() {
    let scene = scene();
    let serve = Serve::start(&scene.realm.keytab(&[OTHER]), &[]);
    let done = refuses(serve.address, &scene.ccache_for(&[SPN]), &[], "CS-4001");
    assert!(done.stderr.contains("KRB_AP_ERR_NOT_US"), "{done:?}");
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// A forged KRB-ERROR with this code and the service's time as given.
fn forged(error_code: i32, stime: Timestamp) -> Vec<u8> {
    let mut token = Vec::new();
    krb_error(error_code, &Principal::parse(FULL_SPN).unwrap(), true, stime, &mut token);
    token
}

#[test]
fn connect_ends_with_a_forged_krb_error() {
    let scene = scene();
    let ccache = scene.ccache_for(&[SPN]);
    for (error_code, name) in [(41, "KRB_AP_ERR_MODIFIED"), (60, "KRB_ERR_GENERIC"), (0, "0"), (-5, "-5")] {
        let (address, tokens) = impostor(move |_| forged(error_code, now()));
        let done = refuses(address, &ccache, &[], "CS-4001");
        assert!(done.stderr.contains(&format!("saw KRB-ERROR {error_code}")), "{done:?}");
        assert!(done.stderr.contains(name), "{done:?}");
        assert_eq!(tokens.load(Ordering::Relaxed), 1, "no second try");
    }
}

#[test]
fn connect_retries_a_forged_skew_once_and_no_more() {
    let scene = scene();
    let (address, tokens) = impostor(|_| forged(37, now().saturating_add(Duration::from_secs(600))));
    refuses(address, &scene.ccache_for(&[SPN]), &[], "CS-4010");
    assert_eq!(tokens.load(Ordering::Relaxed), 2);
}

#[test]
fn connect_does_not_retry_a_skew_to_a_time_outside_of_the_tickets_life() {
    let scene = scene();
    let ccache = scene.ccache_for(&[SPN]);
    let week = Duration::from_secs(7 * 86_400);
    for time in [now().saturating_add(week), now().saturating_sub(week), Timestamp::default()] {
        let (address, tokens) = impostor(move |_| forged(37, time));
        refuses(address, &ccache, &[], "CS-4010");
        assert_eq!(tokens.load(Ordering::Relaxed), 1);
    }
}

/// The service accepted the first AP-REQ and takes the second, with the forged time, for a message that is none.
#[test]
fn connect_is_not_talked_into_a_second_context_by_a_forged_skew() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let forging = AtomicUsize::new(0);
    let address = relay(serve.address, move |direction, frame| {
        if direction == ToInitiator && forging.fetch_add(1, Ordering::Relaxed) == 0 {
            *frame = forged(37, now().saturating_add(Duration::from_secs(3_600)));
        }
    });
    refuses(address, &scene.ccache_for(&[SPN]), &[], "CS-4005");
    serve.broken_at(2, "CS-5001");
}

#[test]
fn connect_refuses_a_service_that_closes_instead_of_proving_itself() {
    let scene = scene();
    let address = service(|stream| drop(Wire::over(stream).receive()));
    let done = refuses(address, &scene.ccache_for(&[SPN]), &[], "CS-4005");
    assert!(done.stderr.contains(&format!("the end of the connection before {FULL_SPN} proved itself")));
}

#[test]
fn connect_refuses_a_service_that_stays_silent_instead_of_proving_itself() {
    let scene = scene();
    let held = Mutex::new(Vec::new());
    let address = service(move |stream| held.lock().unwrap().push(stream));
    let deadline = ["--handshake-deadline", "1"];
    let done = ends(3, address, &scene.ccache_for(&[SPN]), &deadline, "CS-8004");
    assert!(done.stderr.contains(&format!("before {FULL_SPN} proved itself")), "{done:?}");
}

#[test]
fn connect_refuses_its_own_token_sent_back() {
    let scene = scene();
    let (address, _) = impostor(<[u8]>::to_vec);
    refuses(address, &scene.ccache_for(&[SPN]), &[], "CS-1004");
}

#[test]
fn connect_refuses_answers_that_are_no_tokens() {
    let scene = scene();
    let ccache = scene.ccache_for(&[SPN]);
    let answers = [(&b"HTTP/1.1 400 Bad Request\r\n"[..], "CS-1001"), (b"NTLMSSP\0\x02\0\0\0", "CS-1003")];
    for (answer, code) in answers {
        let (address, _) = impostor(move |_| answer.to_vec());
        refuses(address, &ccache, &[], code);
    }
    let frames = [
        (&[0, 0, 0, 0][..], "CS-8001"),
        (b"HTTP/1.1 400 Bad Request\r\n", "CS-8002"),
        (&[0xFF; 4], "CS-8002"),
    ];
    for (bytes, code) in frames {
        let address = service(move |stream| {
            let mut wire = Wire::over(stream);
            wire.receive();
            wire.send_bytes(bytes);
        });
        refuses(address, &ccache, &[], code);
    }
}

/// Whoever sits between cannot take the ticket for itself: the service's answer is for the one who holds the session
/// key.
#[test]
fn connect_does_not_send_its_session_key_or_message_in_clear() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let ccache = scene.ccache_for(&[SPN]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&seen);
    let address = relay(serve.address, move |_, frame| recorder.lock().unwrap().push(frame.clone()));
    let text = "a secret that nobody on the way may read";
    run(connect(address, FULL_SPN, &ccache).args(["--message", text]), DEADLINE).expect_success();
    let cache = countersign::files::ccache(&ccache).unwrap();
    let frames = seen.lock().unwrap().concat();
    assert!(ApReq::parse(framing::open(&seen.lock().unwrap()[0]).unwrap().1).is_ok());
    let keys = cache.credentials.iter().map(|credential| credential.key.expose().to_vec());
    for secret in keys.chain([text.as_bytes().to_vec()]) {
        assert!(!frames.windows(secret.len()).any(|window| window == secret));
    }
}

/// `connect` streams two lines through a relay that does `alter` with each frame of one direction. It is given the
/// frame's number, and the last frame of the other direction. Whoever refuses says so: `connect` if `wrong` is the
/// direction to it, else `serve`.
fn refuses_a_stream(
    wrong: Direction,
    code: &str,
    mut alter: impl FnMut(usize, &[u8], &mut Vec<u8>) + Send + 'static,
) {
    let scene = scene();
    let serve = scene.serve(&[]);
    let (mut number, mut other) = (0, Vec::new());
    let address = relay(serve.address, move |direction, frame| {
        if direction == wrong {
            alter(number, &other, frame);
            number += 1;
        } else {
            other.clone_from(frame);
        }
    });
    let mut client = Process::start(&mut connect(address, FULL_SPN, &scene.ccache_for(&[SPN])));
    let mut stdin = client.stdin().unwrap();
    writeln!(stdin, "first").unwrap();
    client.wait_for_line("first", DEADLINE);
    // It may have ended by now.
    let _ = writeln!(stdin, "second");
    drop(stdin);
    let done = client.finish(DEADLINE);
    if wrong == ToInitiator {
        let done = done.expect_code(1);
        assert!(done.stderr.contains(&format!("countersign: {code} saw ")), "{done:?} lacks {code}");
        assert_eq!(done.text(), "first\n", "nothing after the message that was refused");
    } else {
        serve.broken_at(2, code);
    }
}

/// Frame 0 of a direction is its token, frame 1 the first line.
const SECOND_LINE: usize = 2;

#[test]
fn both_ends_refuse_an_altered_message() {
    for direction in [ToInitiator, ToAcceptor] {
        refuses_a_stream(direction, "CS-5002", |number, _, frame| {
            if number == SECOND_LINE {
                let at = frame.len() / 2;
                frame[at] ^= 1;
            }
        });
    }
}

#[test]
fn both_ends_refuse_a_message_that_came_before() {
    for direction in [ToInitiator, ToAcceptor] {
        let mut first = Vec::new();
        refuses_a_stream(direction, "CS-5006", move |number, _, frame| {
            if number == SECOND_LINE {
                frame.clone_from(&first);
            }
            first.clone_from(frame);
        });
    }
}

#[test]
fn both_ends_refuse_their_own_message_sent_back() {
    for direction in [ToInitiator, ToAcceptor] {
        refuses_a_stream(direction, "CS-5003", |number, other, frame| {
            if number == SECOND_LINE {
                *frame = other.to_vec();
            }
        });
    }
}

#[test]
fn both_ends_refuse_a_stream_from_which_a_message_was_taken() {
    for direction in [ToInitiator, ToAcceptor] {
        refuses_a_stream(direction, "CS-5007", |number, _, frame| {
            if number == SECOND_LINE {
                frame.clear();
            }
        });
    }
}
