//! The harness itself: the peers must understand each other before anything is held against them.

use countersign_testkit::{Clock, Config, Env, Etype, Finished, Library, Peers, Process, Realm, run};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SIZES: &str = "0,1,100,65536,1048576";
const DEADLINE: Duration = Duration::from_secs(60);
const SPN: &str = "test/a.example.test";
const FULL_SPN: &str = "test/a.example.test@HARNESS.TEST";

/// A realm with alice, who has a ticket-granting ticket, and a service with its keytab.
struct Scene {
    realm: Realm,
    ccache: PathBuf,
    keytab: PathBuf,
}

impl Scene {
    fn new(etypes: &[Etype]) -> Self {
        let realm = Realm::new("HARNESS.TEST");
        realm.add_user("alice", "secret");
        realm.add_service(SPN, etypes);
        let ccache = realm.kinit("alice", "secret", &[]);
        let keytab = realm.keytab(&[SPN]);
        Self { realm, ccache, keytab }
    }

    fn client(&self) -> Env {
        self.realm.client_env(&self.ccache)
    }

    fn acceptor(&self, library: Library, options: &[&str]) -> (Process, SocketAddr) {
        self.acceptor_as(self.realm.service_env(&self.keytab), library, options)
    }

    fn acceptor_as(&self, env: Env, library: Library, options: &[&str]) -> (Process, SocketAddr) {
        let process =
            Process::start(Peers::get().command(library).envs(env).args(["accept", "0"]).args(options));
        let address = process.listening();
        (process, address)
    }
}

fn initiate(library: Library, address: SocketAddr, env: Env, options: &[&str]) -> Finished {
    peer(Peers::get().command(library).arg("initiate"), address, env, options)
}

fn peer(command: &mut Command, address: SocketAddr, env: Env, options: &[&str]) -> Finished {
    run(towards(command, address).args(options).envs(env), DEADLINE)
}

fn towards(command: &mut Command, address: SocketAddr) -> &mut Command {
    command.arg(address.ip().to_string()).arg(address.port().to_string()).arg(FULL_SPN)
}

/// Ticket, session key and subkey of the same etype, for each of the four.
fn echo_all_sizes(initiator: Library, acceptor: Library) {
    for etype in Etype::DEFAULT {
        let scene = Scene::new(&[etype]);
        scene.realm.set_session_enctypes(SPN, &[etype]);
        // The ticket-granting ticket is of etype 18 whatever the service has.
        let only = Config { permitted_enctypes: vec![etype, Etype::Aes256Sha1], ..Config::default() };
        let env = [("KRB5_CONFIG".to_owned(), scene.realm.config(&only).into())];
        let service = [scene.realm.service_env(&scene.keytab), env.to_vec()].concat();
        let client = [scene.client(), env.to_vec()].concat();
        let (process, address) = scene.acceptor_as(service, acceptor, &[]);
        let name = etype.name();
        scene.realm.kvno_as(&client, SPN, &scene.ccache, &["-e", name]);
        for protection in [&[][..], &["--unsealed"]] {
            let options = [&["--sizes", SIZES], protection].concat();
            let done = initiate(initiator, address, client.clone(), &options).expect_success();
            assert_eq!(done.text().matches("echoed ").count(), 5, "{done:?}");
            let expected = format!("etype {} flags mutual,replay,sequence,conf,integ", etype.number());
            assert!(done.text().contains(&expected), "{done:?} lacks {expected}");
        }
        let at_service = process.wait_for_line("authenticated alice@HARNESS.TEST to ", DEADLINE);
        assert!(at_service.contains(&format!("etype {}", etype.number())), "{at_service}");
        let ticket = format!("Etype (skey, tkt): {name}, {name}");
        assert!(scene.realm.klist(&scene.ccache).contains(&ticket), "no {ticket}");
    }
}

#[test]
fn mit_initiator_and_mit_acceptor_echo_every_size_with_every_etype() {
    echo_all_sizes(Library::Mit, Library::Mit);
}

#[test]
fn heimdal_initiator_and_mit_acceptor_echo_every_size_with_every_etype() {
    echo_all_sizes(Library::Heimdal, Library::Mit);
}

#[test]
fn mit_initiator_and_heimdal_acceptor_echo_every_size_with_every_etype() {
    echo_all_sizes(Library::Mit, Library::Heimdal);
}

#[test]
fn ticket_session_key_and_subkey_can_each_have_an_etype_of_their_own() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    scene.realm.set_session_enctypes(SPN, &[Etype::Aes128Sha1]);
    let sha2_first = Config {
        permitted_enctypes: vec![Etype::Aes256Sha384, Etype::Aes256Sha1, Etype::Aes128Sha1],
        ..Config::default()
    };
    let config = [("KRB5_CONFIG".to_owned(), scene.realm.config(&sha2_first).into())].to_vec();
    let service = [scene.realm.service_env(&scene.keytab), config.clone()].concat();
    let (_process, address) = scene.acceptor_as(service, Library::Mit, &[]);
    let client = [scene.client(), config].concat();
    let done = initiate(Library::Mit, address, client, &["--sizes", "100"]).expect_success();
    assert!(done.text().contains("etype 20 "), "{done:?}");
    let list = scene.realm.klist(&scene.ccache);
    let expected = "(skey, tkt): aes128-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96";
    assert!(list.contains(expected), "{list}");
}

#[test]
fn python_initiator_and_c_acceptor_verify_mics_messages_and_bindings() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    let options = ["--mic", "under seal", "--bindings", "c0ffee"];
    let (_process, address) = scene.acceptor(Library::Mit, &options);
    let more = [&options[..], &["--sizes", SIZES, "--message", "hello"]].concat();
    let done = peer(&mut Peers::get().python(), address, scene.client(), &more).expect_success();
    assert!(done.text().contains("MIC verified"), "{done:?}");
    assert!(done.text().contains("reply hello"), "{done:?}");
    assert_eq!(done.text().matches("echoed ").count(), 5, "{done:?}");
}

#[test]
fn c_peers_of_both_libraries_verify_each_others_mics() {
    let scene = Scene::new(&[Etype::Aes256Sha384]);
    for (initiator, acceptor) in [(Library::Heimdal, Library::Mit), (Library::Mit, Library::Heimdal)] {
        let (_process, address) = scene.acceptor(acceptor, &["--mic", "text"]);
        let done = initiate(initiator, address, scene.client(), &["--mic", "text"]).expect_success();
        assert!(done.text().contains("MIC verified"), "{done:?}");
    }
}

#[test]
fn wrong_bindings_are_refused_and_the_krb_error_reported() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    let (process, address) = scene.acceptor(Library::Mit, &["--bindings", "01"]);
    let done = initiate(Library::Mit, address, scene.client(), &["--bindings", "02"]).expect_code(1);
    assert!(done.stderr.contains("KRB-ERROR 60 "), "{done:?}");
    process.wait_for_error_line("refused: acceptor: ", DEADLINE);
    initiate(Library::Mit, address, scene.client(), &["--bindings", "01"]).expect_success();
}

#[test]
fn an_initiator_asks_for_exactly_the_flags_it_is_told() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    for library in [Library::Mit, Library::Heimdal] {
        let (process, address) = scene.acceptor(Library::Mit, &[]);
        initiate(library, address, scene.client(), &["--flags", "conf,integ", "--sizes", "1"])
            .expect_success();
        let accepted = process.wait_for_line("authenticated ", DEADLINE);
        assert!(accepted.ends_with("flags conf,integ"), "{library:?}: {accepted}");
        let flags = ["--flags", "mutual,conf,integ,dce"];
        let done = initiate(library, address, scene.client(), &flags).expect_success();
        assert!(done.text().contains("handshake took 2 tokens"), "{done:?}");
    }
}

#[test]
fn a_client_without_gss_checksum_is_at_hand() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    for library in [Library::Mit, Library::Heimdal] {
        let (process, address) = scene.acceptor(Library::Mit, &[]);
        let mut mkreq = Peers::get().command(library);
        let _waiting = Process::start(towards(mkreq.arg("mkreq"), address).envs(scene.client()));
        let accepted = process.wait_for_line("authenticated ", DEADLINE);
        // MIT takes a missing checksum for one with no flag set, and so sends no answer.
        assert!(accepted.ends_with("flags "), "{accepted}");
    }
}

#[test]
fn a_saved_token_is_refused_as_replay() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    let (_process, address) = scene.acceptor(Library::Mit, &[]);
    let token = scene.realm.folder().join("token").to_str().unwrap().to_owned();
    let mut save = Peers::get().command(Library::Mit);
    run(save.args(["token", FULL_SPN, &token]).envs(scene.client()), DEADLINE).expect_success();
    let first = initiate(Library::Mit, address, scene.client(), &["--replay-token", &token]).expect_success();
    assert!(first.text().contains("answered AP-REP"), "{first:?}");
    let second = initiate(Library::Mit, address, scene.client(), &["--replay-token", &token]).expect_code(1);
    assert!(second.stderr.contains("KRB-ERROR 34 "), "{second:?}");

    initiate(Library::Mit, address, scene.client(), &["--save-token", &token]).expect_success();
    let third = initiate(Library::Mit, address, scene.client(), &["--replay-token", &token]).expect_code(1);
    assert!(third.stderr.contains("KRB-ERROR 34 "), "{third:?}");
}

#[test]
fn a_skewed_clock_stops_mit_and_heimdal_retries_on_the_same_socket() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    scene.realm.kvno(SPN, &scene.ccache, &[]);
    let skewed = [scene.client(), Clock::offset(900).env()].concat();
    let (_process, address) = scene.acceptor(Library::Mit, &[]);
    let done = initiate(Library::Mit, address, skewed.clone(), &[]).expect_code(1);
    assert!(done.stderr.contains("KRB-ERROR 37 "), "{done:?}");
    assert!(done.stderr.contains("Clock skew too great"), "{done:?}");

    let (_process, address) = scene.acceptor(Library::Heimdal, &[]);
    let done = initiate(Library::Heimdal, address, skewed, &["--sizes", "100"]).expect_success();
    assert!(done.stderr.contains(&format!("KRB-ERROR 37 sname {FULL_SPN} ")), "{done:?}");
    assert!(done.text().contains("handshake took 2 tokens"), "{done:?}");
}

#[test]
fn tickets_of_another_time_come_from_a_kdc_with_another_clock() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    for (offset, code) in [(-172_800, 32), (172_800, 33)] {
        let clock = Clock::offset(offset);
        let kdc = scene.realm.kdc_at(clock);
        let env = [("KRB5_CONFIG".to_owned(), kdc.config(&Config::default()).into())].to_vec();
        let elsewhen = [scene.realm.env(), env, clock.env()].concat();
        let ccache = scene.realm.kinit_as(&elsewhen, "alice", "secret", &["-l", "10m"]);
        scene.realm.kvno_as(&elsewhen, SPN, &ccache, &[]);
        let (_process, address) = scene.acceptor(Library::Mit, &[]);
        let client = [elsewhen, vec![("KRB5CCNAME".to_owned(), ccache.into())]].concat();
        let done = initiate(Library::Mit, address, client, &[]).expect_code(1);
        assert!(done.stderr.contains(&format!("KRB-ERROR {code} ")), "{done:?}");
    }
}

#[test]
fn a_postdated_ticket_of_a_service_is_marked_invalid() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    let ccache = scene.realm.kinit("alice", "secret", &["-s", "1h", "-S", SPN]);
    let list = scene.realm.klist(&ccache);
    let (_, rest) = list.split_once("Flags: ").unwrap();
    assert!(list.contains(SPN) && rest.split([',', '\n']).next().unwrap().contains('i'), "{list}");
}

#[test]
fn a_delegated_credential_is_a_cache_that_gets_tickets() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    scene.realm.modify(SPN, &["+ok_as_delegate"]);
    scene.realm.add_service("test/beyond.example.test", &[Etype::Aes256Sha1]);
    let ccache = scene.realm.kinit("alice", "secret", &["-f"]);
    for library in [Library::Mit, Library::Heimdal] {
        let cache = scene.realm.folder().join(format!("delegated-to-{library:?}"));
        let (process, address) = scene.acceptor(library, &["--delegated", cache.to_str().unwrap()]);
        let flags = ["--flags", "mutual,deleg,conf,integ"];
        initiate(Library::Mit, address, scene.realm.client_env(&ccache), &flags).expect_success();
        assert_eq!(process.wait_for_line("delegated ", DEADLINE), "alice@HARNESS.TEST");
        scene.realm.kvno("test/beyond.example.test", &cache, &[]);
    }
}

#[test]
fn tickets_with_rc4_and_camellia_keys_can_be_had() {
    for etype in [Etype::Rc4, Etype::Camellia256] {
        let scene = Scene::new(&[etype]);
        let weak = Config { allow_weak_crypto: true, ..Config::default() };
        let env = vec![("KRB5_CONFIG".to_owned(), scene.realm.config(&weak).into())];
        let client = [scene.client(), env.clone()].concat();
        let service = [scene.realm.service_env(&scene.keytab), env].concat();
        let (_process, address) = scene.acceptor_as(service, Library::Mit, &[]);
        initiate(Library::Mit, address, client, &["--sizes", "100"]).expect_success();
        assert!(tkt_etypes(&scene.realm.klist(&scene.ccache)).any(|name| name.ends_with(etype.name())));
    }
}

/// The etype of each ticket that klist lists, with the warning that MIT puts before weak ones.
fn tkt_etypes(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .filter_map(|line| line.split_once("tkt): ")?.1.split_once(", ").map(|(_, ticket)| ticket.trim()))
}

#[test]
fn an_alias_has_the_same_key_and_a_rekeyed_service_a_new_one() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    let alias = "test/alias.example.test";
    scene.realm.add_alias(alias, SPN, &[Etype::Aes256Sha1]);
    let (_process, address) = scene.acceptor(Library::Mit, &[]);
    initiate_to(alias, address, scene.client()).expect_success();

    scene.realm.rekey(SPN, &[Etype::Aes256Sha1]);
    // MIT reports a missing kvno by a code of its own.
    let done = initiate(Library::Mit, address, scene.client(), &[]).expect_code(1);
    assert!(done.stderr.contains("KRB-ERROR 44 "), "{done:?}");
    let both = scene.realm.keytab(&[SPN]);
    let (_process, address) = scene.acceptor_as(scene.realm.service_env(&both), Library::Mit, &[]);
    initiate(Library::Mit, address, scene.client(), &[]).expect_success();
}

fn initiate_to(spn: &str, address: SocketAddr, env: Env) -> Finished {
    let mut command = Peers::get().command(Library::Mit);
    command.args(["initiate", &address.ip().to_string(), &address.port().to_string()]);
    run(command.arg(format!("{spn}@HARNESS.TEST")).envs(env), DEADLINE)
}

#[test]
fn one_initiator_makes_many_connections_in_a_row() {
    let scene = Scene::new(&[Etype::Aes256Sha1]);
    for (initiator, acceptor) in [(Library::Heimdal, Library::Mit), (Library::Mit, Library::Heimdal)] {
        let (process, address) = scene.acceptor(acceptor, &["--count", "50"]);
        let done = initiate(initiator, address, scene.client(), &["--count", "50", "--sizes", "10"]);
        assert_eq!(done.expect_success().text().matches("echoed 10").count(), 50);
        process.finish(DEADLINE).expect_success();
    }
}

#[test]
fn a_dropped_realm_leaves_no_process_and_no_folder() {
    let realm = Realm::new("SHORT.TEST");
    let (folder, port) = (realm.folder().to_owned(), realm.kdc().port());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(realm);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!Path::new(&folder).exists());
}
