//! `countersign serve` and `countersign connect` with initiators and acceptors built on MIT's and Heimdal's
//! libraries.
//!
//! Issue 2, "It is done when", first line: every etype of ticket, session key and subkey, mixed too; sealed messages
//! of 0 bytes to 1 MiB; wrap and MIC tokens that each side verifies of the other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_testkit::{Config, Env, Etype, Library, Peers, Process, Realm, run};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{DEADLINE, SPN, Scene, Serve, acceptor, assert_told, connect, initiate, names, peer};

const SIZES: [usize; 12] = [0, 1, 15, 16, 17, 100, 4_095, 65_535, 65_536, 65_537, 1_048_575, 1_048_576];

fn sizes() -> String {
    SIZES.map(|size| size.to_string()).join(",")
}

/// The service whose ticket is of etype `ticket` and holds a session key of etype `session`.
fn spn(ticket: Etype, session: Etype) -> String {
    format!("t{}s{}/a.example.test", ticket.number(), session.number())
}

fn full(spn: &str) -> String {
    format!("{spn}@CLI.TEST")
}

/// Every pair of etypes that are permitted by default.
fn pairs() -> impl Iterator<Item = (Etype, Etype)> {
    Etype::DEFAULT.into_iter().flat_map(|ticket| Etype::DEFAULT.map(|session| (ticket, session)))
}

fn prepare(realm: &Realm) {
    for (ticket, session) in pairs() {
        realm.add_service(&spn(ticket, session), &[ticket]);
        realm.set_session_enctypes(&spn(ticket, session), &[session]);
    }
    realm.add_service(RC4, &[Etype::Rc4]);
    realm.set_session_enctypes(RC4, &[Etype::Rc4]);
    realm.add_service(RC4_TICKET, &[Etype::Rc4]);
    realm.set_session_enctypes(RC4_TICKET, &[Etype::Aes256Sha1]);
}

fn scene() -> Arc<Scene> {
    Scene::shared(prepare)
}

fn keytab(scene: &Scene) -> PathBuf {
    let spns: Vec<_> = pairs().map(|(ticket, session)| spn(ticket, session)).collect();
    scene.realm.keytab(&spns.iter().map(String::as_str).collect::<Vec<_>>())
}

/// `etypes` first, then those that every client and KDC here needs for the ticket-granting ticket.
fn permitting(scene: &Scene, etypes: &[Etype]) -> Env {
    scene.permitting(scene.client_env(), &[etypes, &[Etype::Aes256Sha1]].concat())
}

/// `first`, then all others that are permitted by default.
fn preferring(first: Etype) -> Vec<Etype> {
    std::iter::once(first).chain(Etype::DEFAULT.into_iter().filter(|etype| *etype != first)).collect()
}

fn assert_etypes(record: &serde_json::Value, ticket: Etype, session: Etype, message: Etype) {
    let etypes = [("ticket", ticket), ("session", session), ("message", message)];
    for (part, etype) in etypes {
        assert_eq!(record["etypes"][part], etype.name(), "{record}");
    }
}

fn serve_echoes_every_size(initiator: Library) {
    let scene = scene();
    let keytab = keytab(&scene);
    for etype in Etype::DEFAULT {
        // Heimdal offers every etype that it permits for the subkey, so that the service's preference decides.
        let serve = Serve::start(&keytab, &["--permitted-enctypes", &names(&preferring(etype))]);
        let env = permitting(&scene, &[etype]);
        let spn = full(&spn(etype, etype));
        let done = initiate(initiator, &env, serve.address, &spn, &["--sizes", &sizes()]).expect_success();
        let echoed: Vec<usize> =
            done.text().lines().filter_map(|line| line.strip_prefix("echoed ")?.parse().ok()).collect();
        assert_eq!(echoed, SIZES, "{done:?}");
        let authenticated = format!(
            "authenticated alice@CLI.TEST to {spn} etype {} flags mutual,replay,sequence,conf,integ",
            etype.number()
        );
        assert!(done.text().contains(&authenticated), "{done:?} lacks {authenticated}");
        let record = serve.accepted();
        assert_eq!(record["client"], "alice@CLI.TEST");
        assert_eq!(record["service"], spn);
        assert_eq!(record["mutual"], true);
        assert_etypes(&record, etype, etype, etype);
    }
}

#[test]
fn serve_echoes_every_size_of_mit_with_every_etype() {
    serve_echoes_every_size(Library::Mit);
}

#[test]
fn serve_echoes_every_size_of_heimdal_with_every_etype() {
    serve_echoes_every_size(Library::Heimdal);
}

#[test]
fn serve_echoes_every_size_of_python_with_every_etype() {
    let scene = scene();
    let serve = Serve::start(&keytab(&scene), &[]);
    for etype in Etype::DEFAULT {
        let env = permitting(&scene, &[etype]);
        let spn = full(&spn(etype, etype));
        let options = ["--sizes", &sizes(), "--message", "Grüße"];
        let done = peer(&mut Peers::get().python(), &env, serve.address, &spn, &options).expect_success();
        assert_eq!(done.text().matches("echoed ").count(), SIZES.len(), "{done:?}");
        assert!(done.text().contains("reply Grüße"), "{done:?}");
    }
}

#[test]
fn serve_meets_mit_with_ticket_session_key_and_subkey_of_any_etypes() {
    let scene = scene();
    let keytab = keytab(&scene);
    for subkey in Etype::DEFAULT {
        let serve = Serve::start(&keytab, &["--permitted-enctypes", &names(&preferring(subkey))]);
        for (index, (ticket, session)) in pairs().enumerate() {
            let env = permitting(&scene, &[subkey, session]);
            let options = ["--sizes", "100"];
            let done = initiate(Library::Mit, &env, serve.address, &full(&spn(ticket, session)), &options);
            assert!(done.text().contains(&format!(" etype {} ", subkey.number())), "{done:?}");
            done.expect_success();
            assert_etypes(&serve.wait_for_records(index + 1)[index], ticket, session, subkey);
        }
    }
}

#[test]
fn connect_meets_mit_with_ticket_session_key_and_subkey_of_any_etypes() {
    let scene = scene();
    let keytab = keytab(&scene);
    let spns: Vec<_> = pairs().map(|(ticket, session)| spn(ticket, session)).collect();
    let ccache = scene.ccache_for(&spns.iter().map(String::as_str).collect::<Vec<_>>());
    for subkey in Etype::DEFAULT {
        let env = scene.permitting(scene.realm.service_env(&keytab), &preferring(subkey));
        let (_process, address) = acceptor(Library::Mit, &env, &[]);
        for (ticket, session) in pairs() {
            let spn = full(&spn(ticket, session));
            let permitted = names(&[subkey, session]);
            let mut command = connect(address, &spn, &ccache);
            command.args(["--message", "hello", "--permitted-enctypes", &permitted]);
            let done = run(&mut command, DEADLINE).expect_success();
            assert_eq!(done.text(), "hello\n");
            assert_eq!(done.stderr, format!("authenticated {spn} by kerberos {}\n", subkey.name()));
        }
    }
}

/// An acceptor of one etype with everything it needs, and `connect`'s environment for it.
fn acceptor_of(scene: &Scene, keytab: &Path, library: Library, etype: Etype) -> (Process, SocketAddr) {
    let env = scene.permitting(scene.realm.service_env(keytab), &[etype]);
    acceptor(library, &env, &[])
}

fn connect_streams(library: Library) {
    let scene = scene();
    let keytab = keytab(&scene);
    let input: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for etype in Etype::DEFAULT {
        let (service, address) = acceptor_of(&scene, &keytab, library, etype);
        let spn = spn(etype, etype);
        let ccache = scene.ccache_for(&[&spn]);
        let mut command = connect(address, &full(&spn), &ccache);
        command.args(["--permitted-enctypes", &names(&preferring(etype))]);
        let mut client = Process::start(&mut command);
        let mut stdin = client.stdin().unwrap();
        stdin.write_all(&input).unwrap();
        drop(stdin);
        let done = client.finish(DEADLINE).expect_success();
        assert!(done.stdout == input, "{} bytes of {} came back", done.stdout.len(), input.len());
        assert_eq!(done.stderr, format!("authenticated {} by kerberos {}\n", full(&spn), etype.name()));
        let seen = service.wait_for_line("authenticated alice@CLI.TEST to ", DEADLINE);
        assert!(seen.contains(&format!("etype {} flags mutual,", etype.number())), "{seen}");
        // The empty message is connect's mark of the end.
        service.wait_for_line("message 0 sealed", DEADLINE);
        assert!(!service.stdout().contains("unsealed"), "{}", service.stdout());
    }
}

#[test]
fn connect_streams_to_mit_with_every_etype() {
    connect_streams(Library::Mit);
}

#[test]
fn connect_streams_to_heimdal_with_every_etype() {
    connect_streams(Library::Heimdal);
}

fn library_client_sends_every_size(library: Library) {
    let scene = scene();
    let keytab = keytab(&scene);
    for etype in Etype::DEFAULT {
        let (_process, address) = acceptor_of(&scene, &keytab, library, etype);
        let spn = spn(etype, etype);
        let client = countersign::Client::from_ccache(scene.ccache_for(&[&spn]), &full(&spn)).unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        let mut session =
            countersign::blocking::connect(&client, stream).unwrap_or_else(|f| panic!("{}", f.refusal));
        for size in SIZES {
            let message: Vec<u8> = (0..size).map(|index| (index * 31 + size) as u8).collect();
            session.send(&message).unwrap();
            let echo = session.receive_any().unwrap().expect("an echo");
            assert!(echo == message, "{size} bytes came back as {} others", echo.len());
        }
    }
}

#[test]
fn mit_echoes_every_size_of_our_client_with_every_etype() {
    library_client_sends_every_size(Library::Mit);
}

#[test]
fn heimdal_echoes_every_size_of_our_client_with_every_etype() {
    library_client_sends_every_size(Library::Heimdal);
}

/// A service whose only key, and so its ticket, is of etype 23; its session keys have that etype too, or etype 18.
const RC4: &str = "rc4/a.example.test";
const RC4_TICKET: &str = "rc4ticket/a.example.test";

/// Environment of an initiator with a ticket for [`RC4`], which permits `also` besides RC4. The libraries have a name
/// of their own for that each.
fn permitting_rc4(scene: &Scene, also: &str) -> Env {
    let ccache = scene.ccache();
    scene.realm.kvno_as(&permitting(scene, &[Etype::Rc4]), RC4, &ccache, &[]);
    let line = |key: &str, rc4: &str| (key.to_owned(), format!("{also} {rc4}"));
    let libdefaults =
        vec![line("permitted_enctypes", "arcfour-hmac"), line("default_etypes", "arcfour-hmac-md5")];
    let config = Config { allow_weak_crypto: true, libdefaults, ..Config::default() };
    [scene.realm.client_env(&ccache), vec![("KRB5_CONFIG".to_owned(), scene.realm.config(&config).into())]]
        .concat()
}

const WITH_RC4: [&str; 2] = ["--permitted-enctypes", "arcfour-hmac,aes256-cts-hmac-sha1-96"];

#[test]
fn serve_takes_a_ticket_under_an_rc4_key_only_when_that_is_permitted_by_name() {
    let scene = scene();
    let keytab = scene.realm.keytab(&[SPN, RC4_TICKET]);
    let env = permitting(&scene, &[]);
    let serve = Serve::start(&keytab, &[]);
    let done = initiate(Library::Mit, &env, serve.address, &full(RC4_TICKET), &[]).expect_code(1);
    assert_told(&done, 60, &full(RC4_TICKET));
    serve.refused("CS-2006");

    let serve = Serve::start(&keytab, &WITH_RC4);
    let options = ["--sizes", &sizes()];
    initiate(Library::Mit, &env, serve.address, &full(RC4_TICKET), &options).expect_success();
    assert_etypes(&serve.accepted(), Etype::Rc4, Etype::Aes256Sha1, Etype::Aes256Sha1);
}

fn serve_echoes_under_rc4_keys(also: &str, message: Etype) {
    let scene = scene();
    for library in [Library::Mit, Library::Heimdal] {
        let serve = Serve::start(&scene.realm.keytab(&[RC4]), &WITH_RC4);
        let env = permitting_rc4(&scene, also);
        let done = initiate(library, &env, serve.address, &full(RC4), &["--sizes", &sizes()]);
        let stderr = serve.process.stderr();
        assert_eq!(done.text().matches("echoed ").count(), SIZES.len(), "{done:?}\n{stderr}");
        done.expect_success();
        assert_etypes(&serve.accepted(), Etype::Rc4, Etype::Rc4, message);
    }
}

#[test]
fn serve_echoes_every_size_under_rc4_keys_throughout_for_initiators_that_have_no_better_ones() {
    serve_echoes_under_rc4_keys("", Etype::Rc4);
}

#[test]
fn serve_goes_on_with_an_aes_key_for_initiators_of_rc4_sessions_that_offer_one() {
    serve_echoes_under_rc4_keys("aes256-cts-hmac-sha1-96", Etype::Aes256Sha1);
}

#[test]
fn connect_uses_an_rc4_session_key_only_when_that_is_permitted_by_name() {
    let scene = scene();
    let keytab = scene.realm.keytab(&[RC4]);
    let env = scene.permitting(scene.realm.service_env(&keytab), &[Etype::Rc4]);
    let (_process, address) = acceptor(Library::Mit, &env, &[]);
    let ccache = scene.ccache();
    scene.realm.kvno_as(&permitting(&scene, &[Etype::Rc4]), RC4, &ccache, &[]);
    let hello = ["--message", "hello"];
    // The KDC is asked for a better one, and has none.
    let mut command = connect(address, &full(RC4), &ccache);
    let done = run(command.args(hello).envs(scene.realm.env()), DEADLINE).expect_code(1);
    assert!(done.stderr.contains("CS-6007"), "{done:?}");
    let done = run(connect(address, &full(RC4), &ccache).args(hello).args(WITH_RC4), DEADLINE);
    assert_eq!(done.expect_success().text(), "hello\n");
}
