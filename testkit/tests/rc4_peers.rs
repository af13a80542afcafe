//! RC4 with MIT and Heimdal at the other end: messages of RC4, and sessions of RC4 that go on with AES.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use countersign_proto::ccache::Ccache;
use countersign_proto::context::{Acceptor, Initiator, InitiatorStep, SecurityContext};
use countersign_proto::crypto;
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::keys::ServiceKeys;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::policy::{AcceptorPolicy, DEFAULT_PERMITTED_ENCTYPES, InitiatorPolicy};
use countersign_proto::time::Timestamp;
use countersign_testkit::pair::Service;
use countersign_testkit::{Config, Env, Etype, Library, Peers, Process, Realm, TestRng, run};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

const SPN: &str = "test/a.example.test";
const FULL_SPN: &str = "test/a.example.test@OLD.TEST";
const SIZES: &str = "0,1,83,84,211,212,65491,65492,100000";
const DEADLINE: Duration = Duration::from_secs(60);
const LIBRARIES: [Library; 2] = [Library::Mit, Library::Heimdal];

/// A realm whose service has an RC4 key and nothing else, and alice with a ticket for it whose session key is RC4 too.
struct Scene {
    realm: Realm,
    ccache: PathBuf,
    keytab: PathBuf,
    env: Env,
}

impl Scene {
    /// `peers_permit` is what the peer takes besides RC4, best first.
    fn new(peers_permit: &[Etype]) -> Self {
        let realm = Realm::new("OLD.TEST");
        realm.add_user("alice", "secret");
        realm.add_service(SPN, &[Etype::Rc4]);
        realm.set_session_enctypes(SPN, &[Etype::Rc4]);
        let weak =
            |permitted: &[Etype]| vec![("KRB5_CONFIG".to_owned(), realm.config(&weak(permitted)).into())];
        let ccache = realm.kinit("alice", "secret", &[]);
        let getting = [realm.client_env(&ccache), weak(&[Etype::Aes256Sha1])].concat();
        realm.kvno_as(&getting, SPN, &ccache, &["-e", Etype::Rc4.name()]);
        let keytab = realm.keytab(&[SPN]);
        let env = weak(peers_permit);
        Self { realm, ccache, keytab, env }
    }

    /// What `library`'s initiator writes when it sends messages of all sizes to an acceptor of ours.
    fn initiate(&self, library: Library, protection: &[&str]) -> String {
        let (address, service) = serve(&self.keytab);
        let mut command = Peers::get().command(library);
        command.args(["initiate", "127.0.0.1", &address.port().to_string(), FULL_SPN]);
        command.args(["--sizes", SIZES, "--mic", "a text"]).args(protection);
        command.envs(self.realm.client_env(&self.ccache)).envs(self.env.clone());
        let done = run(&mut command, DEADLINE);
        let served = service.join();
        let text = done.expect_success().text();
        served.unwrap();
        assert_eq!(text.matches("echoed ").count(), SIZES.split(',').count(), "{text}");
        text
    }

    /// Our initiator's context with an acceptor of `library`, and the connection to it.
    fn connect(&self, library: Library) -> (Process, TcpStream, SecurityContext) {
        let env = [self.realm.service_env(&self.keytab), self.env.clone()].concat();
        let process = Process::start(Peers::get().command(library).envs(env).args(["accept", "0"]));
        let mut stream = TcpStream::connect(process.listening()).unwrap();
        let ccache = Ccache::parse(&std::fs::read(&self.ccache).unwrap()).unwrap();
        let mut policy = InitiatorPolicy::default();
        // Heimdal's acceptors take whatever they know of what an initiator lists: list nothing.
        policy.permitted_enctypes = vec![crypto::Etype::ArcfourHmac];
        let service = Principal::parse(FULL_SPN).unwrap();
        let initiator = Initiator::from_ccache(&ccache, &service, policy, now()).unwrap();
        let (mut rng, mut token) = (TestRng::new(3), Vec::new());
        let waiting = initiator.begin(now(), &mut rng, &mut token).unwrap();
        send(&mut stream, &token);
        let answer = receive(&mut stream).unwrap();
        match waiting.token(&answer, now(), &mut rng, &mut Vec::new()) {
            InitiatorStep::Done(context) => (process, stream, *context),
            InitiatorStep::AwaitReply(_) => panic!("a second token is asked for"),
            InitiatorStep::Rejected(refusal) => panic!("{refusal}"),
        }
    }
}

/// What a peer is configured with that permits RC4 after `preferred`. The libraries have a name for it each.
fn weak(preferred: &[Etype]) -> Config {
    let names: Vec<_> = preferred.iter().map(|etype| etype.name()).collect();
    let line = |key: &str, rc4: &str| (key.to_owned(), [&names[..], &[rc4]].concat().join(" "));
    let libdefaults =
        vec![line("permitted_enctypes", "arcfour-hmac"), line("default_etypes", "arcfour-hmac-md5")];
    Config { allow_weak_crypto: true, libdefaults, ..Config::default() }
}

fn permitted() -> Vec<crypto::Etype> {
    [&DEFAULT_PERMITTED_ENCTYPES[..], &[crypto::Etype::ArcfourHmac]].concat()
}

/// An acceptor that takes one connection, exchanges a MIC over `a text`, and echoes what comes, protected as it came.
fn serve(keytab: &Path) -> (SocketAddr, JoinHandle<()>) {
    let keytab = Keytab::parse(&std::fs::read(keytab).unwrap()).unwrap();
    let keys = ServiceKeys::from_keytab(&keytab).unwrap();
    let mut policy = AcceptorPolicy::default();
    policy.permitted_enctypes = permitted();
    policy.dangerous().allow_unsealed();
    let mut service = Service::of(Acceptor::new(keys, policy), now());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut context, answer) = service.offer(&receive(&mut stream).unwrap()).accepted();
        send(&mut stream, &answer);
        exchange_mics(&mut stream, &mut context);
        echo(&mut stream, &mut context);
    });
    (address, thread)
}

fn exchange_mics(stream: &mut TcpStream, context: &mut SecurityContext) {
    let mic = receive(stream).unwrap();
    context.receiver().verify_mic(&[b"a text"], &mic).unwrap();
    let mut mic = Vec::new();
    context.sender().mic(&[b"a text"], &mut mic).unwrap();
    send(stream, &mic);
}

fn echo(stream: &mut TcpStream, context: &mut SecurityContext) {
    while let Some(mut token) = receive(stream) {
        let unwrapped = context.receiver().unwrap_in_place(&mut token).unwrap();
        let (plaintext, confidentiality) = (unwrapped.plaintext.to_vec(), unwrapped.confidentiality);
        let mut reply = Vec::new();
        context.sender().wrap(confidentiality, &plaintext, &mut TestRng::new(4), &mut reply).unwrap();
        send(stream, &reply);
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

fn send(stream: &mut TcpStream, frame: &[u8]) {
    stream.write_all(&u32::try_from(frame.len()).unwrap().to_le_bytes()).unwrap();
    stream.write_all(frame).unwrap();
}

/// The next frame, or none if the peer is gone.
fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; u32::from_le_bytes(length).try_into().unwrap()];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

#[test]
fn initiators_that_know_rc4_alone_exchange_messages_with_us() {
    let scene = Scene::new(&[]);
    for library in LIBRARIES {
        for protection in [&[][..], &["--unsealed"]] {
            let text = scene.initiate(library, protection);
            assert!(text.contains(" etype 23 "), "{text}");
        }
    }
}

#[test]
fn an_rc4_session_with_an_initiator_that_lists_aes_goes_on_with_aes() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    for library in LIBRARIES {
        let text = scene.initiate(library, &[]);
        assert!(text.contains(" etype 18 "), "{text}");
    }
}

#[test]
fn acceptors_of_others_exchange_messages_of_rc4_with_us() {
    let scene = Scene::new(&[]);
    for library in LIBRARIES {
        let (_process, mut stream, mut context) = scene.connect(library);
        assert_eq!(
            context.facts().kerberos().unwrap().message_etype,
            crypto::Etype::ArcfourHmac,
            "{library:?}"
        );
        for size in SIZES.split(',').map(|size| size.parse().unwrap()) {
            let message: Vec<u8> = (0..size).map(|index: usize| index as u8).collect();
            let mut token = Vec::new();
            let sealed = Confidentiality::Sealed;
            context.sender().wrap(sealed, &message, &mut TestRng::new(5), &mut token).unwrap();
            send(&mut stream, &token);
            let mut reply = receive(&mut stream).unwrap();
            let unwrapped = context.receiver().unwrap_in_place(&mut reply).unwrap();
            assert_eq!(unwrapped.plaintext, message, "{library:?}");
        }
    }
}
