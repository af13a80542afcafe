//! What a handshake that failed is said to have failed for: what was found first, with all that was known by then; and
//! what a client says of a service that did not prove itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;
mod faults;

use countersign::limits::{Admission, HandshakeLimits};
use countersign::proto::context::Initiator;
use countersign::proto::error::{Code, Fault as Whose, code};
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Failure, Service, ServiceConfig};
use countersign_testkit::mint::{Mint, Ticket};
use countersign_testkit::pair::told;
use ends::{
    ADDRESS, FACES, Face, SHORT, accept, client, client_config, connect, fails, framed, service_config, tcp,
};
use faults::{Fault, Faults, faulty};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn for_one() -> Service {
    let limits = HandshakeLimits { total: 1, per_address: 1, ..HandshakeLimits::default() };
    Service::new(ServiceConfig { admission: Admission::new(limits), ..service_config() })
}

/// The client was told, and its connection is held open for the moment in which it may still read.
#[test]
fn who_is_evicted_after_being_refused_was_refused() {
    for face in FACES {
        let (mut near, far) = tcp();
        let mint = Mint { now: now(), ..Mint::default() };
        let mut request = mint.ap_req();
        request.authenticator.client = mint.service.clone();
        near.write_all(&framed(&request.token())).unwrap();
        let service = for_one();
        let serving = {
            let service = service.clone();
            thread::spawn(move || fails(accept(face, &service, far)))
        };
        let mut length = [0; 4];
        near.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_le_bytes(length) as usize];
        near.read_exact(&mut answer).unwrap();
        let _newcomer = service.admission().enter(ADDRESS);
        let failure = serving.join().unwrap();
        assert_eq!(failure.refusal.code(), code::CLIENT_MISMATCH);
        assert_eq!(Some(told(&answer).error_code), failure.refusal.code().krb_error());
        assert_eq!(failure.claimed_service, Some(mint.service.to_string()));
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// The failure of a service whose answer to a good client meets with `fault`, while `meanwhile` is done.
fn answering(face: Face, fault: Fault, service: &Service, meanwhile: impl FnOnce() + Send) -> Failure {
    let faults = Faults::default();
    let (mut near, far) = faulty(&faults);
    let mint = Mint { now: now(), ..Mint::default() };
    near.write_all(&framed(&mint.ap_req().token())).unwrap();
    faults.in_writes(fault);
    thread::scope(|scope| {
        scope.spawn(meanwhile);
        fails(accept(face, service, far))
    })
}

#[track_caller]
fn assert_known(failure: &Failure, code: Code) {
    assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
    let facts = failure.facts.as_ref().expect("the client had proved itself");
    assert_eq!(facts.client(), "alice@EXAMPLE.TEST");
    let claimed = failure.claimed_service.as_ref().map(ToString::to_string);
    assert_eq!(claimed.as_deref(), Some("HTTP/a.example.test@EXAMPLE.TEST"));
}

#[test]
fn a_client_whom_the_last_token_does_not_reach_is_known_all_the_same() {
    for face in FACES {
        let service = Service::new(service_config());
        assert_known(&answering(face, Fault::Fails, &service, || ()), code::CONNECTION_FAILED);
    }
}

#[test]
fn a_last_token_that_cannot_be_sent_in_time_is_a_missed_deadline() {
    for face in FACES {
        let service = Service::new(ServiceConfig { handshake_deadline: SHORT, ..service_config() });
        assert_known(&answering(face, Fault::Stalls, &service, || ()), code::HANDSHAKE_DEADLINE);
    }
}

#[test]
fn a_client_that_is_evicted_while_the_last_token_waits_is_known() {
    let service = for_one();
    let admission = service.admission().clone();
    let evict = move || {
        thread::sleep(SHORT);
        admission.shed();
    };
    let failure = answering(Face::Tokio, Fault::Stalls, &service, evict);
    assert_known(&failure, code::HANDSHAKES_EXHAUSTED);
}

#[test]
fn a_silent_client_that_is_shed_ends_at_once_for_that_reason() {
    for face in FACES {
        let service = for_one();
        let (_silent, far) = tcp();
        let serving = {
            let service = service.clone();
            thread::spawn(move || fails(accept(face, &service, far)))
        };
        while service.admission().open() == 0 {
            thread::yield_now();
        }
        service.admission().shed();
        let refusal = serving.join().unwrap().refusal;
        assert_eq!(refusal.code(), code::HANDSHAKES_EXHAUSTED);
        assert!(refusal.have().contains("no descriptor left"), "{refusal}");
    }
}

/// What a client says of a service that takes its token and then does `answer`.
fn after(face: Face, client: &Client, answer: impl FnOnce(TcpStream) + Send) -> Failure {
    let (near, mut far) = tcp();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut length = [0; 4];
            far.read_exact(&mut length).unwrap();
            let mut token = vec![0; u32::from_le_bytes(length) as usize];
            far.read_exact(&mut token).unwrap();
            answer(far);
        });
        fails(connect(face, client, near))
    })
}

#[track_caller]
fn assert_unproved(failure: &Failure, code: Code) {
    assert_eq!(failure.refusal.code(), code, "{}", failure.refusal);
    let saw = failure.refusal.saw();
    assert!(saw.ends_with(" before HTTP/a.example.test@EXAMPLE.TEST proved itself"), "{saw}");
    let claimed = failure.claimed_service.as_ref().map(ToString::to_string);
    assert_eq!(claimed.as_deref(), Some("HTTP/a.example.test@EXAMPLE.TEST"));
}

#[test]
fn a_service_that_closes_instead_of_proving_itself_never_proved_itself() {
    for face in FACES {
        assert_unproved(&after(face, &client(), drop), code::SERVICE_NEVER_PROVED);
    }
}

#[test]
fn a_service_that_breaks_the_framing_instead_of_proving_itself_is_said_to() {
    let broken = [
        (&[0, 0, 0, 0][..], code::FRAME_EMPTY),
        (b"HTTP/1.1 400", code::FRAME_TOO_LONG),
        (&[100, 0, 0, 0, 1, 2, 3], code::CONNECTION_CUT),
    ];
    for face in FACES {
        for (bytes, code) in broken {
            let answer = |mut far: TcpStream| {
                far.write_all(bytes).unwrap();
                far.shutdown(Shutdown::Write).unwrap();
                // Until the client has gone.
                let _ = far.read(&mut [0]);
            };
            assert_unproved(&after(face, &client(), answer), code);
        }
    }
}

#[test]
fn a_service_that_is_silent_instead_of_proving_itself_misses_the_deadline() {
    let client = Client::new(ClientConfig { handshake_deadline: SHORT, ..client_config() });
    for face in FACES {
        let failure = after(face, &client, |mut far| drop(far.read(&mut [0])));
        assert_unproved(&failure, code::HANDSHAKE_DEADLINE);
        assert_eq!(failure.refusal.code().fault(), Whose::Environment);
    }
}

/// Closing with bytes unread resets a connection.
#[test]
fn a_connection_that_is_reset_before_the_service_proved_itself_has_failed() {
    for face in FACES {
        let (near, far) = tcp();
        let resetting = thread::spawn(move || {
            far.peek(&mut [0]).unwrap();
        });
        let failure = fails(connect(face, &client(), near));
        assert_unproved(&failure, code::CONNECTION_FAILED);
        resetting.join().unwrap();
    }
}

#[test]
fn a_ticket_that_does_not_fit_into_a_frame_is_our_own_fault() {
    let mint = Mint { now: now(), ..Mint::default() };
    let ccache = mint.ccache(&[Ticket { transited: vec![b'X'; 70_000], ..mint.ticket() }]);
    let initiator =
        Initiator::from_ccache(&ccache, &mint.service, InitiatorPolicy::default(), mint.now).unwrap();
    let credential = ClientCredential::Ready(initiator);
    let client = Client::new(ClientConfig { credential, ..client_config() });
    for face in FACES {
        let (near, _far) = tcp();
        let began = Instant::now();
        let failure = fails(connect(face, &client, near));
        assert_ne!(failure.refusal.code().fault(), Whose::PeerMisbehaved);
        let text = failure.refusal.to_string();
        for part in ["a token of our own of 70", "65536 bytes", "the ticket"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nothing is sent, so nothing is waited for");
    }
}
