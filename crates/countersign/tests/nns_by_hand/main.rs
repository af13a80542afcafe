//! NNS with one end made by hand: each record is written as the document has it, and each answer of ours is read byte by byte.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod acceptor;
mod data;
#[path = "../ends/mod.rs"]
mod ends;
mod initiator;
mod negotiated;
mod pyspnego;
mod refusals;
mod signed;

use countersign::framing::nns::{ErrorOrder, Nns, Protection};
use countersign::framing::{FrameReader, Framing, HANDSHAKE_LIMIT, Header};
use countersign::proto::context::{Acceptor, AwaitReply, Initiator, InitiatorStep, SecurityContext};
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::time::Timestamp;
use countersign::{Client, ClientConfig, ClientCredential, Failure, Service, ServiceConfig};
use countersign_testkit::TestRng;
use countersign_testkit::mint::Mint;
use countersign_testkit::pair;
use ends::{AMPLE, Face, Session, accept, connect, unix};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::SystemTime;

/// The kinds of records.
const DONE: u8 = 0x14;
const ERROR: u8 = 0x15;
const IN_PROGRESS: u8 = 0x16;

/// What a client asks for by default, and what gives a client less.
const SEALED: Nns = level(Protection::EncryptAndSign);
const SIGNED: Nns = level(Protection::Sign);

const fn level(protection: Protection) -> Nns {
    Nns { protection, error_order: ErrorOrder::BigEndian }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

fn mint() -> Mint {
    Mint { now: now(), ..Mint::default() }
}

/// A record of the version that everybody writes.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    [&[kind, 1, 0], &length.to_be_bytes()[..], payload].concat()
}

fn send_record(stream: &mut UnixStream, kind: u8, payload: &[u8]) {
    stream.write_all(&record(kind, payload)).unwrap();
}

/// The next record: its kind and its payload.
#[track_caller]
fn read_record(stream: &mut UnixStream) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let [kind, major, minor, l1, l2] = header;
    assert_eq!((major, minor), (1, 0));
    let mut payload = vec![0; u16::from_be_bytes([l1, l2]).into()];
    stream.read_exact(&mut payload).unwrap();
    (kind, payload)
}

/// All that still comes.
fn read_rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

/// The payload of an error record in the order of .NET Framework, written down without our codec.
fn big_endian(status: u32) -> [u8; 8] {
    let [a, b, c, d] = status.to_be_bytes();
    [0, 0, 0, 0, a, b, c, d]
}

/// The same in that of .NET 8, with the sign carried on.
fn little_endian(status: u32) -> [u8; 8] {
    let [a, b, c, d] = status.to_le_bytes();
    let sign = if d & 0x80 == 0 { 0 } else { 0xFF };
    [a, b, c, d, sign, sign, sign, sign]
}

/// The parts of a service with a policy that is changed.
fn service_config(nns: Nns, change: impl FnOnce(&mut AcceptorPolicy)) -> ServiceConfig {
    let mut policy = AcceptorPolicy::default();
    change(&mut policy);
    let acceptor = Acceptor::new(mint().service_keys(), policy);
    ServiceConfig { framing: Framing::Nns(nns), handshake_deadline: AMPLE, ..ServiceConfig::new(acceptor) }
}

fn service() -> Service {
    Service::new(service_config(SEALED, |_| ()))
}

/// A client's ticket under a policy that is changed.
fn initiator(change: impl FnOnce(&mut InitiatorPolicy)) -> Initiator {
    let (mint, mut policy) = (mint(), InitiatorPolicy::default());
    change(&mut policy);
    Initiator::from_ccache(&mint.ccache(&[mint.ticket()]), &mint.service, policy, mint.now).unwrap()
}

fn client_of(nns: Nns, initiator: Initiator) -> Client {
    let config = ClientConfig::new(ClientCredential::Ready(initiator));
    Client::new(ClientConfig { framing: Framing::Nns(nns), handshake_deadline: AMPLE, ..config })
}

fn client() -> Client {
    client_of(SEALED, initiator(|_| ()))
}

/// What our service makes of a client that is played by hand.
fn accepting<T>(
    face: Face,
    service: &Service,
    by_hand: impl FnOnce(UnixStream) -> T,
) -> (Result<Session<UnixStream>, Failure>, T) {
    let (near, far) = unix();
    near.set_read_timeout(Some(AMPLE)).unwrap();
    thread::scope(|scope| {
        let ours = scope.spawn(|| accept(face, service, far));
        let theirs = by_hand(near);
        (ours.join().unwrap(), theirs)
    })
}

/// What our client makes of a service that is played by hand.
fn connecting<T>(
    face: Face,
    client: &Client,
    by_hand: impl FnOnce(UnixStream) -> T,
) -> (Result<Session<UnixStream>, Failure>, T) {
    let (near, far) = unix();
    far.set_read_timeout(Some(AMPLE)).unwrap();
    thread::scope(|scope| {
        let ours = scope.spawn(|| connect(face, client, near));
        let theirs = by_hand(far);
        (ours.join().unwrap(), theirs)
    })
}

/// A client's first token, and who waits for the answer.
fn offer(initiator: &Initiator) -> (AwaitReply, Vec<u8>) {
    let mut token = Vec::new();
    let state = initiator.begin(now(), &mut TestRng::new(7), &mut token).unwrap();
    (state, token)
}

/// What a client makes of the service's token, and what it says to it.
fn answer(state: AwaitReply, token: &[u8]) -> (InitiatorStep, Vec<u8>) {
    let mut out = Vec::new();
    (state.token(token, now(), &mut TestRng::new(8), &mut out), out)
}

#[track_caller]
fn done((step, out): (InitiatorStep, Vec<u8>)) -> SecurityContext {
    match step {
        InitiatorStep::Done(context) => {
            assert_eq!(out, b"", "there is nothing left to say");
            *context
        }
        InitiatorStep::AwaitReply(_) => panic!("another token is awaited"),
        InitiatorStep::Rejected(refusal) => panic!("{refusal}"),
    }
}

/// Goes through Kerberos as a client of NNS: a token in progress, and the service's last in a record that says done.
#[track_caller]
fn agree(stream: &mut UnixStream, initiator: &Initiator) -> SecurityContext {
    let (state, token) = offer(initiator);
    send_record(stream, IN_PROGRESS, &token);
    let (kind, reply) = read_record(stream);
    assert_eq!(kind, DONE);
    done(answer(state, &reply))
}

/// Takes a client's first token as a service would: the context, and the token that answers it.
#[track_caller]
fn prove(stream: &mut UnixStream) -> (SecurityContext, Vec<u8>) {
    let (kind, token) = read_record(stream);
    assert_eq!(kind, IN_PROGRESS);
    pair::Service::new(&mint(), AcceptorPolicy::default()).offer(&token).accepted()
}

/// A data record around what a context makes of a message.
fn sealed(context: &mut SecurityContext, message: &[u8]) -> Vec<u8> {
    use countersign::proto::krb5::per_message::Confidentiality::Sealed;
    let mut token = Vec::new();
    context.sender().wrap(Sealed, message, &mut TestRng::new(9), &mut token).unwrap();
    ends::framed(&token)
}

/// The protected message in the next data record.
#[track_caller]
fn read_message(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut message).unwrap();
    message
}

/// The same, opened.
#[track_caller]
fn opened(context: &mut SecurityContext, stream: &mut UnixStream) -> Vec<u8> {
    let mut message = read_message(stream);
    context.receiver().unwrap_in_place(&mut message).unwrap().plaintext.to_vec()
}

/// Messages go both ways between our session and an end made by hand.
#[track_caller]
fn talk(session: &mut Session<UnixStream>, context: &mut SecurityContext, stream: &mut UnixStream) {
    stream.write_all(&sealed(context, b"by hand")).unwrap();
    assert_eq!(session.receive().unwrap().unwrap(), b"by hand");
    session.send(b"ours").unwrap();
    assert_eq!(opened(context, stream), b"ours");
}

#[test]
fn a_record_cut_by_our_reader_is_the_one_that_was_written_by_hand() {
    let mut reader = FrameReader::new(Header::NnsRecord, HANDSHAKE_LIMIT);
    let bytes = record(IN_PROGRESS, &[7; 300]);
    reader.want()[..bytes.len()].copy_from_slice(&bytes);
    reader.filled(bytes.len());
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!((frame.header, &*frame.body), (&[0x16, 1, 0, 1, 0x2C][..], &[7; 300][..]));
}
