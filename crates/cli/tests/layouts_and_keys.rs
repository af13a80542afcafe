//! What framings of the world need of a context, held against MIT's and Heimdal's libraries: wrap tokens in the layout of
//! SSPI, contexts that only sign, and keys for protocols above (RFC 7802).
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
use countersign::proto::krb5::pseudo_random::PrfKey;
use countersign::proto::policy::{DEFAULT_PERMITTED_ENCTYPES, InitiatorPolicy};
use countersign::proto::time::Timestamp;
use countersign_testkit::pair::{Service, acceptor_policy, initiator_policy};
use countersign_testkit::{Etype, Library, Peers, Process, Realm, TestRng};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;
use support::wire::Wire;
use support::{DEADLINE, Scene, acceptor};

use Confidentiality::{Sealed, SignedOnly};

const SIZES: [usize; 8] = [0, 1, 15, 16, 17, 4_096, 65_536, 1_048_576];
const LABEL: &str = "EXPORTER-countersign-test";
const SIGNING: &str = "mutual,replay,sequence,integ";

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

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// `first`, then all others that are permitted by default: Heimdal leaves the choice of the subkey's etype to its peer.
fn preferring(first: Etype) -> Vec<crypto::Etype> {
    let first = crypto::Etype::from_wire(first.number()).unwrap();
    let others = DEFAULT_PERMITTED_ENCTYPES.into_iter().filter(|etype| *etype != first);
    std::iter::once(first).chain(others).collect()
}

/// A peer program, the connection to it, and our end of the context.
struct Met {
    peer: Process,
    wire: Wire,
    context: SecurityContext,
}

impl Met {
    /// By an initiator built on `library` that does as `options` say.
    fn by_initiator(scene: &Scene, library: Library, etype: Etype, options: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let mut command = Peers::get().command(library);
        command.args(["initiate", "127.0.0.1", &port, &full(etype)]).args(options);
        command.envs(scene.permitting(scene.client_env(), &[etype, Etype::Aes256Sha1]));
        let peer = Process::start(&mut command);
        let mut wire = Wire::over(listener.accept().unwrap().0);
        let policy = acceptor_policy(|policy| {
            policy.permitted_enctypes = preferring(etype);
            policy.dangerous().allow_unsealed();
        });
        let keys = files::service_keys(&scene.realm.keytab(&[&spn(etype)])).unwrap();
        let mut service = Service::of(Acceptor::new(keys, policy), now());
        let (context, sent) = service.offer(&wire.receive().unwrap()).accepted();
        wire.send(&sent);
        Self { peer, wire, context }.of(etype)
    }

    /// By an acceptor built on `library`, under our initiator's policy with a change.
    fn by_acceptor(
        scene: &Scene,
        library: Library,
        etype: Etype,
        options: &[&str],
        change: impl FnOnce(&mut InitiatorPolicy),
    ) -> Self {
        let env = scene.realm.service_env(&scene.realm.keytab(&[&spn(etype)]));
        let (peer, address) = acceptor(library, &scene.permitting(env, &[etype]), options);
        let ccache = files::ccache(&scene.ccache_for(&[&spn(etype)])).unwrap();
        let policy = initiator_policy(|policy| {
            policy.permitted_enctypes = preferring(etype);
            change(policy);
        });
        let service = Principal::parse(&full(etype)).unwrap();
        let initiator = Initiator::from_ccache(&ccache, &service, policy, now()).unwrap();
        let (mut rng, mut token) = (TestRng::new(1), Vec::new());
        let state = initiator.begin(now(), &mut rng, &mut token).unwrap();
        let mut wire = Wire::connect(address);
        wire.send(&token);
        let step = state.token(&wire.receive().unwrap(), now(), &mut rng, &mut Vec::new());
        let InitiatorStep::Done(context) = step else { panic!("not done after one answer") };
        Self { peer, wire, context: *context }.of(etype)
    }

    fn of(self, etype: Etype) -> Self {
        assert_eq!(self.context.facts().kerberos().unwrap().message_etype.wire(), etype.number());
        self
    }

    /// Sends a message in SSPI's layout.
    fn send(&mut self, confidentiality: Confidentiality, plaintext: &[u8]) {
        let sender = self.context.sender();
        let layout = sender.split_layout(confidentiality, plaintext.len());
        assert_eq!(layout.trailer, 0);
        let mut token = [&vec![0; layout.prefix][..], plaintext].concat();
        sender.wrap_split_in_place(confidentiality, &mut token, &mut TestRng::new(3)).unwrap();
        self.wire.send(&token);
    }

    /// The next message, which must be protected in this way.
    fn receive(&mut self, confidentiality: Confidentiality) -> Option<Vec<u8>> {
        let mut token = self.wire.receive()?;
        let message = self.context.receiver().unwrap_in_place(&mut token).unwrap();
        assert_eq!(message.confidentiality, confidentiality);
        Some(message.plaintext.to_vec())
    }

    /// Our bytes for `key`, as the peer writes them.
    fn line(&self, name: &str, key: PrfKey) -> String {
        let bytes = self.context.pseudo_random(key, LABEL.as_bytes(), 100).unwrap_or_else(|e| panic!("{e}"));
        format!("prf {name} {}", hex::encode(bytes.expose()))
    }

    fn assert_peer_has_the_same_keys(&self) {
        for line in [self.line("full", PrfKey::Full), self.line("partial", PrfKey::Partial)] {
            self.peer.wait_for_line(&line, DEADLINE);
        }
    }
}

fn for_each_library_and_etype(test: impl Fn(&Scene, Library, Etype)) {
    let scene: Arc<Scene> = Scene::shared(prepare);
    for library in [Library::Mit, Library::Heimdal] {
        Etype::DEFAULT.into_iter().for_each(|etype| test(&scene, library, etype));
    }
}

#[test]
fn mit_and_heimdal_initiators_get_the_same_keys_as_our_acceptor() {
    for_each_library_and_etype(|scene, library, etype| {
        Met::by_initiator(scene, library, etype, &["--prf", LABEL]).assert_peer_has_the_same_keys();
    });
}

#[test]
fn mit_and_heimdal_acceptors_get_the_same_keys_as_our_initiator() {
    for_each_library_and_etype(|scene, library, etype| {
        Met::by_acceptor(scene, library, etype, &["--prf", LABEL], |_| {}).assert_peer_has_the_same_keys();
    });
}

fn echo_to_initiators(confidentiality: Confidentiality, flags: &[&str]) {
    let sizes = SIZES.map(|size| size.to_string()).join(",");
    for_each_library_and_etype(|scene, library, etype| {
        let options = [&["--sizes", &sizes], flags].concat();
        let mut met = Met::by_initiator(scene, library, etype, &options);
        // Both libraries ask for confidentiality whatever their programs want, so how a message comes is what counts.
        assert!(met.context.facts().sealed() && met.context.facts().signed());
        while let Some(message) = met.receive(confidentiality) {
            met.send(confidentiality, &message);
        }
        let done = met.peer.finish(DEADLINE).expect_success();
        assert_eq!(done.text().matches("echoed ").count(), SIZES.len(), "{done:?}");
    });
}

#[test]
fn mit_and_heimdal_initiators_open_sealed_tokens_in_the_layout_of_sspi() {
    echo_to_initiators(Sealed, &[]);
}

#[test]
fn mit_and_heimdal_initiators_that_only_sign_open_signed_tokens_in_the_layout_of_sspi() {
    echo_to_initiators(SignedOnly, &["--unsealed", "--flags", SIGNING]);
}

fn echoed_by_acceptors(confidentiality: Confidentiality, flags: &str, change: fn(&mut InitiatorPolicy)) {
    for_each_library_and_etype(|scene, library, etype| {
        let mut met = Met::by_acceptor(scene, library, etype, &[], change);
        assert_eq!(met.context.facts().sealed(), confidentiality == Sealed);
        for size in SIZES {
            let message: Vec<u8> = (0..size).map(|index| (index * 31 + size) as u8).collect();
            met.send(confidentiality, &message);
            let echo = met.receive(confidentiality).unwrap();
            assert!(echo == message, "{size} bytes came back as {} others", echo.len());
        }
        let told = met.peer.wait_for_line("authenticated alice@CLI.TEST to ", DEADLINE);
        assert!(told.ends_with(&format!(" flags {flags}")), "{told}");
    });
}

#[test]
fn mit_and_heimdal_acceptors_open_sealed_tokens_in_the_layout_of_sspi() {
    echoed_by_acceptors(Sealed, "mutual,replay,sequence,conf,integ", |_| {});
}

#[test]
fn mit_and_heimdal_acceptors_see_that_our_initiator_asks_for_integrity_alone() {
    echoed_by_acceptors(SignedOnly, SIGNING, |policy| {
        policy.dangerous().sign_only();
    });
}
