//! Our NNS with another implementation of it, testkit/peers/nns_peer.py, in a realm of MIT's: in both roles, over both faces, at both
//! levels, by Kerberos and by NTLM.

use super::ends::kinds::{Keys, Kind};
use super::ends::{ADDRESS, FACES, Face, fails, succeeds};
use super::*;
use countersign::files;
use countersign::proto::error::code;
use countersign::proto::krb5::msg::principal::Principal;
use countersign_testkit::{Env, Etype, NtlmUsers, Peers, Process, Realm, run};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const SPN: &str = "test/a.example.test";
const FULL_SPN: &str = "test/a.example.test@NNS.TEST";
const ETYPES: [Etype; 4] = [Etype::Aes256Sha1, Etype::Aes128Sha1, Etype::Aes256Sha384, Etype::Aes128Sha256];
/// What takes one record and what takes three.
const SIZES: &str = "1,100,64512,150000";

/// A realm with alice, who has a ticket, and a service whose key is of one etype.
struct Scene {
    realm: Realm,
    keytab: PathBuf,
    ccache: PathBuf,
}

impl Scene {
    fn new(etype: Etype) -> Self {
        let realm = Realm::new("NNS.TEST");
        realm.add_user("alice", "secret");
        realm.add_service(SPN, &[etype]);
        realm.set_session_enctypes(SPN, &[etype]);
        let ccache = realm.kinit("alice", "secret", &[]);
        realm.kvno(SPN, &ccache, &[]);
        Self { keytab: realm.keytab(&[SPN]), realm, ccache }
    }

    fn service(&self, nns: Nns) -> Service {
        let mut policy = AcceptorPolicy::default();
        if nns.protection == Protection::Sign {
            policy.dangerous().allow_unsealed();
        }
        let acceptor = Acceptor::new(files::service_keys(&self.keytab).unwrap(), policy);
        let framing = Framing::Nns(nns);
        Service::new(ServiceConfig { framing, handshake_deadline: AMPLE, ..ServiceConfig::new(acceptor) })
    }

    fn client(&self, nns: Nns) -> Client {
        let mut policy = InitiatorPolicy::default();
        policy.negotiate = true;
        if nns.protection == Protection::Sign {
            policy.dangerous().sign_only();
        }
        let ccache = files::ccache(&self.ccache).unwrap();
        let service = Principal::parse(FULL_SPN).unwrap();
        client_of(nns, Initiator::from_ccache(&ccache, &service, policy, now()).unwrap())
    }

    /// Starts the peer's server.
    fn server(&self, options: &[&str]) -> (Process, SocketAddr) {
        let mut command = Peers::nns();
        command.args(["server", "0"]).args(options).envs(self.realm.service_env(&self.keytab));
        let process = Process::start(&mut command);
        let address = process.listening();
        (process, address)
    }
}

/// Runs the peer's client against our service over `face`, which gives everything back as it came.
#[track_caller]
fn serve(
    face: Face,
    service: &Service,
    env: Env,
    options: &[&str],
) -> (countersign_testkit::Finished, String) {
    let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = Peers::nns();
    command.args(["client", &address.ip().to_string(), &address.port().to_string(), SPN]);
    thread::scope(|scope| {
        let client = scope.spawn(|| run(command.args(options).envs(env), DEADLINE));
        let served = accept(face, service, listener.accept().unwrap().0)
            .map_err(|failure| failure.refusal)
            .and_then(|mut session| echo(&mut session).map(|()| session.facts().client()));
        let ended = served.unwrap_or_else(|refusal| refusal.to_string());
        (client.join().unwrap(), ended)
    })
}

/// Gives everything back to the mark of the end.
fn echo(session: &mut Session<TcpStream>) -> Result<(), countersign::Refusal> {
    while let Some(message) = session.receive()? {
        // Ours are shorter than .NET's, which exceed the document's limit.
        message.chunks(60_000).try_for_each(|part| session.send(part))?;
    }
    Ok(())
}

#[test]
fn its_client_has_everything_back_from_our_service_by_every_etype() {
    for etype in ETYPES {
        let scene = Scene::new(etype);
        for face in FACES {
            let env = scene.realm.client_env(&scene.ccache);
            let (done, client) = serve(face, &scene.service(SEALED), env, &["--sizes", SIZES]);
            let done = done.expect_success();
            assert!(done.text().starts_with("negotiated krb5\n"), "{done:?}");
            assert_eq!(done.text().matches("echoed ").count(), 4, "{done:?}");
            assert_eq!(client, "alice@NNS.TEST");
        }
    }
}

/// Exchanges messages of all sizes with a server that echoes.
fn exchange(session: &mut Session<TcpStream>) {
    for size in [1, 100, 60_000] {
        let text: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        session.send(&text).unwrap();
        assert_eq!(session.receive().unwrap().unwrap(), text);
    }
    // It echoes the mark of the end too.
    session.finish().unwrap();
    assert_eq!(session.receive().unwrap(), None);
}

#[test]
fn our_client_has_everything_back_from_its_server_by_every_etype() {
    for etype in ETYPES {
        let scene = Scene::new(etype);
        let (server, address) = scene.server(&[]);
        for face in FACES {
            let socket = TcpStream::connect(address).unwrap();
            exchange(&mut succeeds(connect(face, &scene.client(SEALED), socket)));
            server.wait_for_line("message 60000 encrypted", DEADLINE);
        }
        assert_eq!(server.stderr(), "");
    }
}

#[test]
fn its_client_that_only_signs_is_taken_by_who_allows_that_and_by_nobody_else() {
    let scene = Scene::new(Etype::Aes256Sha1);
    for face in FACES {
        let env = || scene.realm.client_env(&scene.ccache);
        let (done, _) = serve(face, &scene.service(SIGNED), env(), &["--level", "sign", "--sizes", "5"]);
        // MIT's library asks for confidentiality all the same, so our answers are sealed.
        let done = done.expect_code(4);
        assert!(done.stderr.contains("the other level of protection"), "{done:?}");
        let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
        let mut command = Peers::nns();
        let port = listener.local_addr().unwrap().port().to_string();
        command.args(["client", "127.0.0.1", &port, SPN, "--level", "sign", "--sizes", "5"]).envs(env());
        let peer = Process::start(&mut command);
        let socket = listener.accept().unwrap().0;
        let mut session = succeeds(accept(face, &scene.service(SEALED), socket));
        assert_eq!(session.receive().unwrap_err().code(), code::MESSAGE_NOT_SEALED);
        drop(session);
        peer.finish(DEADLINE).expect_code(3);
    }
}

#[test]
fn our_client_that_only_signs_is_understood_by_its_server() {
    let scene = Scene::new(Etype::Aes256Sha1);
    for (options, ours) in [(&["--level", "sign"][..], SIGNED), (&["--level", "sign", "--mic"], SIGNED)] {
        let (server, address) = scene.server(options);
        for face in FACES {
            let socket = TcpStream::connect(address).unwrap();
            exchange(&mut succeeds(connect(face, &scene.client(ours), socket)));
            server.wait_for_line("message 60000 signed", DEADLINE);
        }
        assert_eq!(server.stderr(), "");
    }
}

#[test]
fn each_understands_why_the_other_refuses() {
    let scene = Scene::new(Etype::Aes256Sha1);
    let old = scene.keytab.with_extension("old");
    std::fs::copy(&scene.keytab, &old).unwrap();
    scene.realm.rekey(SPN, &[Etype::Aes256Sha1]);
    let ccache = scene.realm.kinit("alice", "secret", &[]);
    scene.realm.kvno(SPN, &ccache, &[]);
    // Tickets are for the new key, and the keytab has the old one.
    let renewed = Scene { keytab: old, ccache, ..scene };
    for face in FACES {
        let env = renewed.realm.client_env(&renewed.ccache);
        let (done, ended) = serve(face, &renewed.service(SEALED), env, &[]);
        // SEC_E_NO_KERB_KEY
        assert_eq!(done.expect_code(1).stderr, "refused: by the peer with 0000000080090348\n");
        assert!(ended.starts_with("CS-2003"), "{ended}");
        for order in ["big-endian", "little-endian"] {
            let (server, address) = renewed.server(&["--error-order", order]);
            let socket = TcpStream::connect(address).unwrap();
            let refusal = fails(connect(face, &renewed.client(SEALED), socket)).refusal;
            assert_eq!(refusal.code(), code::NNS_ERROR_RECEIVED, "{refusal}\n{}", server.stderr());
            assert!(refusal.saw().contains("SEC_E_LOGON_DENIED (0x8009030C)"), "{order}: {refusal}");
        }
    }
}

#[test]
fn its_server_tells_our_client_that_it_asks_for_too_little() {
    let scene = Scene::new(Etype::Aes256Sha1);
    let (server, address) = scene.server(&["--level", "encrypt"]);
    for face in FACES {
        let socket = TcpStream::connect(address).unwrap();
        let refusal = fails(connect(face, &scene.client(SIGNED), socket)).refusal;
        assert_eq!(refusal.code(), code::NNS_ERROR_RECEIVED);
        assert!(refusal.saw().contains("0x000006FE"), "{refusal}");
    }
    server.wait_for_error_line("refused: the client asks for less protection", DEADLINE);
}

#[test]
fn its_client_comes_by_ntlm_bare_and_in_spnego_and_is_held_to_the_level() {
    let users = NtlmUsers::new(&[("EXAMPLE", "alice", "secret")]);
    let account = ["--user", r"EXAMPLE\alice", "--password", "secret"];
    let realm = Realm::new("NNS.TEST");
    let env = || [realm.env(), users.env()].concat();
    let service = |nns| Service::new(Kind { framing: Framing::Nns(nns), keys: Keys::Ntlm }.service_config());
    for face in FACES {
        for protocol in ["negotiate", "ntlm"] {
            let asks = |more: &[&'static str]| {
                [&account[..], &["--protocol", protocol, "--sizes", SIZES], more].concat()
            };
            let (done, client) = serve(face, &service(SEALED), env(), &asks(&[]));
            assert!(done.expect_success().text().starts_with("negotiated ntlm\n"), "{protocol}");
            assert_eq!(client, r"EXAMPLE\alice");
            let signs = asks(&["--level", "sign"]);
            serve(face, &service(SIGNED), env(), &signs).0.expect_success();
            let (done, ended) = serve(face, &service(SEALED), env(), &signs);
            assert_eq!(done.expect_code(1).stderr, "refused: by the peer with 00000000000006fe\n");
            assert!(ended.starts_with("CS-8013"), "{ended}");
        }
        let wrong = ["--user", r"EXAMPLE\alice", "--password", "wrong", "--protocol", "ntlm"];
        let (done, ended) = serve(face, &service(SEALED), env(), &wrong);
        assert_eq!(done.expect_code(1).stderr, "refused: by the peer with 000000008009030c\n");
        assert!(ended.starts_with("CS-3106"), "{ended}");
    }
}
