//! Wrap and MIC tokens of ours and of MIT's and Heimdal's libraries, which each other's side verifies (issue 2, "It
//! is done when", first line); and what becomes of messages in clear text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::files;
use countersign::proto::context::{Acceptor, Initiator, InitiatorStep, SecurityContext};
use countersign::proto::crypto;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5::per_message::Confidentiality;
use countersign::proto::policy::{AcceptorPolicy, DEFAULT_PERMITTED_ENCTYPES, InitiatorPolicy};
use countersign::proto::time::Timestamp;
use countersign_testkit::pair::Service;
use countersign_testkit::{Etype, Library, Peers, Process, Realm, TestRng};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;
use support::wire::Wire;
use support::{DEADLINE, FULL_SPN, SPN, Scene, acceptor, connect};

/// The service all of whose keys are of one etype.
fn spn(etype: Etype) -> String {
    format!("e{}/a.example.test", etype.number())
}

fn full(etype: Etype) -> String {
    format!("{}@CLI.TEST", spn(etype))
}

fn prepare(realm: &Realm) {
    for etype in Etype::DEFAULT {
        realm.add_service(&spn(etype), &[etype]);
        realm.set_session_enctypes(&spn(etype), &[etype]);
    }
}

fn scene() -> Arc<Scene> {
    Scene::shared(prepare)
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// An initiator built on `library` that does as `options` say, connected to our acceptor.
fn accept_from(
    scene: &Scene,
    library: Library,
    etype: Etype,
    options: &[&str],
) -> (Process, Wire, SecurityContext) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut command = Peers::get().command(library);
    command.args(["initiate", "127.0.0.1", &port, &full(etype)]).args(options);
    command.envs(scene.permitting(scene.client_env(), &[etype, Etype::Aes256Sha1]));
    let initiator = Process::start(&mut command);
    let mut wire = Wire::over(listener.accept().unwrap().0);
    let context = accept(&mut wire, &scene.realm.keytab(&[&spn(etype)]), preferring(etype));
    assert_eq!(context.facts().kerberos().unwrap().message_etype.wire(), etype.number());
    (initiator, wire, context)
}

/// Our acceptor's side of the handshake, for which a message may be in clear text.
fn accept(wire: &mut Wire, keytab: &Path, permitted_enctypes: Vec<crypto::Etype>) -> SecurityContext {
    let mut policy = AcceptorPolicy::default();
    policy.permitted_enctypes = permitted_enctypes;
    policy.dangerous().allow_unsealed();
    let mut service = Service::of(Acceptor::new(files::service_keys(keytab).unwrap(), policy), now());
    let (context, sent) = service.offer(&wire.receive().unwrap()).accepted();
    wire.send(&sent);
    context
}

/// `first`, then all others that are permitted by default: Heimdal leaves the choice of the subkey's etype to its
/// peer.
fn preferring(first: Etype) -> Vec<crypto::Etype> {
    let first = crypto::Etype::from_wire(first.number()).unwrap();
    let others = DEFAULT_PERMITTED_ENCTYPES.into_iter().filter(|etype| *etype != first);
    std::iter::once(first).chain(others).collect()
}

/// Our initiator, connected to an acceptor built on `library` that does as `options` say.
fn initiate_to(
    scene: &Scene,
    library: Library,
    etype: Etype,
    options: &[&str],
) -> (Process, Wire, SecurityContext) {
    let env = scene.realm.service_env(&scene.realm.keytab(&[&spn(etype)]));
    let (process, address) = acceptor(library, &scene.permitting(env, &[etype]), options);
    let ccache = files::ccache(&scene.ccache_for(&[&spn(etype)])).unwrap();
    let service = Principal::parse(&full(etype)).unwrap();
    let mut policy = InitiatorPolicy::default();
    policy.permitted_enctypes = preferring(etype);
    policy.negotiate = false;
    policy.dangerous().allow_unsealed();
    let initiator = Initiator::from_ccache(&ccache, &service, policy, now()).unwrap();
    let (mut rng, mut token) = (TestRng::new(1), Vec::new());
    let state = initiator.begin(now(), &mut rng, &mut token).unwrap();
    let mut wire = Wire::connect(address);
    wire.send(&token);
    let step = state.token(&wire.receive().unwrap(), now(), &mut rng, &mut Vec::new());
    let InitiatorStep::Done(context) = step else { panic!("not done after one answer") };
    assert_eq!(context.facts().kerberos().unwrap().message_etype.wire(), etype.number());
    (process, wire, *context)
}

const TEXT: &str = "what the MIC is over";

fn verify_mic(wire: &mut Wire, context: &mut SecurityContext) {
    let mut altered = wire.receive().unwrap();
    let mic = altered.clone();
    *altered.last_mut().unwrap() ^= 1;
    assert!(context.receiver().verify_mic(&[TEXT.as_bytes()], &altered).is_err());
    assert!(context.receiver().verify_mic(&[b"another text"], &mic).is_err());
    context.receiver().verify_mic(&[TEXT.as_bytes()], &mic).expect("the peer's MIC is right");
}

fn send_mic(wire: &mut Wire, context: &mut SecurityContext) {
    let mut mic = Vec::new();
    context.sender().mic(&[TEXT.as_bytes()], &mut mic).unwrap();
    wire.send(&mic);
}

fn initiators_mics_agree(library: Library) {
    let scene = scene();
    for etype in Etype::DEFAULT {
        let (initiator, mut wire, mut context) = accept_from(&scene, library, etype, &["--mic", TEXT]);
        verify_mic(&mut wire, &mut context);
        send_mic(&mut wire, &mut context);
        let done = initiator.finish(DEADLINE).expect_success();
        assert!(done.text().contains("MIC verified"), "{done:?}");
    }
}

#[test]
fn mit_initiator_and_our_acceptor_verify_each_others_mics_with_every_etype() {
    initiators_mics_agree(Library::Mit);
}

#[test]
fn heimdal_initiator_and_our_acceptor_verify_each_others_mics_with_every_etype() {
    initiators_mics_agree(Library::Heimdal);
}

fn acceptors_mics_agree(library: Library) {
    let scene = scene();
    for etype in Etype::DEFAULT {
        let (process, mut wire, mut context) = initiate_to(&scene, library, etype, &["--mic", TEXT]);
        send_mic(&mut wire, &mut context);
        verify_mic(&mut wire, &mut context);
        process.wait_for_line("MIC verified", DEADLINE);
    }
}

#[test]
fn our_initiator_and_mit_acceptor_verify_each_others_mics_with_every_etype() {
    acceptors_mics_agree(Library::Mit);
}

#[test]
fn our_initiator_and_heimdal_acceptor_verify_each_others_mics_with_every_etype() {
    acceptors_mics_agree(Library::Heimdal);
}

const SIZES: [usize; 8] = [0, 1, 15, 16, 17, 4_096, 65_536, 1_048_576];

fn seal(context: &mut SecurityContext, confidentiality: Confidentiality, message: &[u8]) -> Vec<u8> {
    let mut token = Vec::new();
    context.sender().wrap(confidentiality, message, &mut TestRng::new(3), &mut token).unwrap();
    token
}

/// Opens a message that must be protected in this way.
fn open(context: &mut SecurityContext, confidentiality: Confidentiality, mut token: Vec<u8>) -> Vec<u8> {
    let message = context.receiver().unwrap_in_place(&mut token).unwrap();
    assert_eq!(message.confidentiality, confidentiality);
    message.plaintext.to_vec()
}

fn initiators_signed_messages_are_echoed(library: Library) {
    let scene = scene();
    let sizes = SIZES.map(|size| size.to_string()).join(",");
    for etype in Etype::DEFAULT {
        let options = ["--unsealed", "--sizes", &sizes];
        let (initiator, mut wire, mut context) = accept_from(&scene, library, etype, &options);
        while let Some(token) = wire.receive() {
            let message = open(&mut context, Confidentiality::SignedOnly, token);
            wire.send(&seal(&mut context, Confidentiality::SignedOnly, &message));
        }
        let done = initiator.finish(DEADLINE).expect_success();
        assert_eq!(done.text().matches("echoed ").count(), SIZES.len(), "{done:?}");
    }
}

#[test]
fn mit_initiator_and_our_acceptor_verify_each_others_signed_messages() {
    initiators_signed_messages_are_echoed(Library::Mit);
}

#[test]
fn heimdal_initiator_and_our_acceptor_verify_each_others_signed_messages() {
    initiators_signed_messages_are_echoed(Library::Heimdal);
}

fn acceptors_echo_signed_messages(library: Library) {
    let scene = scene();
    for etype in Etype::DEFAULT {
        let (_process, mut wire, mut context) = initiate_to(&scene, library, etype, &[]);
        for size in SIZES {
            let message: Vec<u8> = (0..size).map(|index| (index * 31 + size) as u8).collect();
            wire.send(&seal(&mut context, Confidentiality::SignedOnly, &message));
            let echo = open(&mut context, Confidentiality::SignedOnly, wire.receive().unwrap());
            assert!(echo == message, "{size} bytes came back as {} others", echo.len());
        }
    }
}

#[test]
fn our_initiator_and_mit_acceptor_verify_each_others_signed_messages() {
    acceptors_echo_signed_messages(Library::Mit);
}

#[test]
fn our_initiator_and_heimdal_acceptor_verify_each_others_signed_messages() {
    acceptors_echo_signed_messages(Library::Heimdal);
}

#[test]
fn serve_refuses_a_message_that_is_not_sealed() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let done = scene.initiate(Library::Mit, serve.address, &["--unsealed", "--message", "in clear"]);
    assert!(!done.text().contains("reply"), "{done:?}");
    done.expect_code(3);
    let record = serve.broken_at(2, "CS-5005");
    assert_eq!(record["client"], "alice@CLI.TEST", "{record}");
}

#[test]
fn connect_refuses_a_reply_that_is_not_sealed() {
    let scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = start_connect(&scene, listener.local_addr().unwrap(), &["--message", "hello"]);
    let mut wire = Wire::over(listener.accept().unwrap().0);
    let mut context = accept(&mut wire, &scene.keytab, DEFAULT_PERMITTED_ENCTYPES.to_vec());
    assert_eq!(open(&mut context, Confidentiality::Sealed, wire.receive().unwrap()), b"hello");
    wire.send(&seal(&mut context, Confidentiality::SignedOnly, b"in clear"));
    let done = client.finish(DEADLINE).expect_code(1);
    assert_eq!(done.text(), "");
    assert!(done.stderr.contains("CS-5005"), "{done:?}");
}

fn start_connect(scene: &Scene, address: SocketAddr, options: &[&str]) -> Process {
    let mut command: Command = connect(address, FULL_SPN, &scene.ccache_for(&[SPN]));
    Process::start(command.args(options))
}
