//! The harness itself, for SPNEGO and NTLM: the peers must understand each other before anything is held against them.

use countersign_testkit::{Env, Etype, Finished, Library, NtlmUsers, Peers, Process, Realm, run};
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const SPN: &str = "test/a.example.test";
const FULL_SPN: &str = "test/a.example.test@SPNEGO.TEST";
// gss-ntlmssp does not wrap an empty message.
const SIZES: &str = "1,100,65536,1048576";
const ALICE: (&str, &str, &str) = ("DOM", "alice", "Secret.123");

/// A realm with alice, who has a ticket-granting ticket, and a service; and environments that have Kerberos, NTLM or
/// both to offer.
struct Scene {
    realm: Realm,
    users: NtlmUsers,
    client: Env,
    service: Env,
}

impl Scene {
    fn new() -> Self {
        let realm = Realm::new("SPNEGO.TEST");
        realm.add_user("alice", "secret");
        realm.add_service(SPN, &[Etype::Aes256Sha1]);
        let client = realm.client_env(&realm.kinit("alice", "secret", &[]));
        let service = realm.service_env(&realm.keytab(&[SPN]));
        Self { realm, users: NtlmUsers::new(&[ALICE]), client, service }
    }

    /// For an initiator: a ticket and an NTLM account.
    fn client_with_both(&self) -> Env {
        [self.client.clone(), self.users.env()].concat()
    }

    /// For an acceptor: a keytab and NTLM accounts.
    fn service_with_both(&self) -> Env {
        [self.service.clone(), self.users.env()].concat()
    }

    /// For either: NTLM accounts, and neither ticket nor keytab.
    fn ntlm_only(&self) -> Env {
        [self.realm.env(), self.users.env()].concat()
    }
}

fn mit(env: Env) -> Command {
    with(Peers::get().command(Library::Mit), env)
}

fn heimdal(env: Env) -> Command {
    with(Peers::get().command(Library::Heimdal), env)
}

fn pyspnego(env: Env) -> Command {
    with(Peers::get().pyspnego(), env)
}

fn with(mut command: Command, env: Env) -> Command {
    command.envs(env);
    command
}

fn accept(mut peer: Command, options: &[&str]) -> (Process, SocketAddr) {
    let process = Process::start(peer.args(["accept", "0"]).args(options));
    let address = process.listening();
    (process, address)
}

fn initiate(mut peer: Command, address: SocketAddr, options: &[&str]) -> Finished {
    peer.args(["initiate", &address.ip().to_string(), &address.port().to_string(), FULL_SPN]);
    run(peer.args(options), DEADLINE)
}

/// Both ends agree on the mechanism, every size comes back, and so do MICs.
fn meet(initiator: Command, acceptor: Command, options: &Options) {
    let mic = ["--mic", "under seal"];
    let (process, address) = accept(acceptor, &[options.acceptor, &mic].concat());
    let more = [options.initiator, &mic, &["--sizes", SIZES, "--message", "hello"]].concat();
    let done = initiate(initiator, address, &more).expect_success();
    assert!(done.text().contains(&format!("negotiated {}\n", options.negotiated)), "{done:?}");
    assert!(done.text().contains("MIC verified\nreply hello\n"), "{done:?}");
    assert_eq!(done.text().matches("echoed ").count(), 4, "{done:?}");
    assert_eq!(process.wait_for_line("negotiated ", DEADLINE), options.negotiated);
    let accepted = process.wait_for_line("authenticated ", DEADLINE);
    assert!(accepted.starts_with(&format!("{} to ", options.client)), "{accepted}");
}

struct Options<'a> {
    initiator: &'a [&'a str],
    acceptor: &'a [&'a str],
    negotiated: &'a str,
    client: &'a str,
}

const KERBEROS: Options = Options {
    initiator: &["--mech", "spnego"],
    acceptor: &["--mech", "spnego"],
    negotiated: "krb5",
    client: "alice@SPNEGO.TEST",
};
const NTLM: Options = Options { negotiated: "ntlm", client: "DOM\\alice", ..KERBEROS };

#[test]
fn mit_and_heimdal_negotiate_kerberos_with_each_other() {
    let scene = Scene::new();
    meet(mit(scene.client.clone()), mit(scene.service.clone()), &KERBEROS);
    meet(heimdal(scene.client.clone()), mit(scene.service.clone()), &KERBEROS);
    meet(mit(scene.client.clone()), heimdal(scene.service.clone()), &KERBEROS);
}

#[test]
fn mit_negotiates_what_it_is_told_to() {
    let scene = Scene::new();
    let both = || (mit(scene.client_with_both()), mit(scene.service_with_both()));
    let ntlm_first = &["--mech", "spnego", "--neg-mechs", "ntlm,krb5,iakerb"];
    let kerberos_only = &["--mech", "spnego", "--neg-mechs", "krb5"];
    let ntlm_only = &["--mech", "spnego", "--neg-mechs", "ntlm"];

    let (initiator, acceptor) = both();
    meet(initiator, acceptor, &KERBEROS);
    let (initiator, acceptor) = both();
    meet(initiator, acceptor, &Options { initiator: ntlm_first, ..NTLM });
    // The optimistic token is for NTLM, and of no use.
    let (initiator, acceptor) = both();
    meet(initiator, acceptor, &Options { initiator: ntlm_first, acceptor: kerberos_only, ..KERBEROS });

    let (process, address) = accept(mit(scene.service_with_both()), kerberos_only);
    initiate(mit(scene.client_with_both()), address, ntlm_only).expect_code(1);
    process.wait_for_error_line("refused: acceptor: ", DEADLINE);
}

#[test]
fn pyspnego_and_mit_negotiate_kerberos_with_each_other() {
    let scene = Scene::new();
    let (client, service) = (|| scene.client.clone(), || scene.service.clone());
    meet(pyspnego(client()), mit(service()), &Options { initiator: &[], ..KERBEROS });
    meet(mit(client()), pyspnego(service()), &Options { acceptor: &[], ..KERBEROS });
    let raw = Options { initiator: &["--protocol", "kerberos"], acceptor: &[], ..KERBEROS };
    meet(pyspnego(client()), mit(service()), &raw);
}

#[test]
fn gss_ntlmssp_meets_itself_raw_and_inside_spnego() {
    let scene = Scene::new();
    let raw = &["--mech", "ntlm"];
    meet(mit(scene.ntlm_only()), mit(scene.ntlm_only()), &Options { initiator: raw, acceptor: raw, ..NTLM });
    meet(mit(scene.ntlm_only()), mit(scene.ntlm_only()), &NTLM);
}

#[test]
fn pyspnego_and_gss_ntlmssp_meet_raw_and_inside_spnego() {
    let scene = Scene::new();
    for (python, gss) in [("ntlm", "ntlm"), ("negotiate", "spnego")] {
        let (python, gss) = (["--protocol", python], ["--mech", gss]);
        let account = ["--user", r"DOM\alice", "--password", "Secret.123"];
        let to_gss = [&python[..], &account].concat();
        let there = Options { initiator: &to_gss, acceptor: &gss, ..NTLM };
        meet(pyspnego(scene.realm.env()), mit(scene.ntlm_only()), &there);
        let back = Options { initiator: &gss, acceptor: &python, ..NTLM };
        meet(mit(scene.ntlm_only()), pyspnego(scene.ntlm_only()), &back);
        let alone = Options { initiator: &to_gss, acceptor: &python, ..NTLM };
        meet(pyspnego(scene.realm.env()), pyspnego(scene.ntlm_only()), &alone);
    }
}

#[test]
fn every_ntlm_acceptor_refuses_a_wrong_password_and_wrong_bindings() {
    let scene = Scene::new();
    let stranger = NtlmUsers::new(&[("DOM", "alice", "Wrong.789")]);
    let stranger = || [scene.realm.env(), stranger.env()].concat();
    let acceptors = [
        (mit(scene.ntlm_only()), ["--mech", "spnego", "--bindings", "01"]),
        (pyspnego(scene.ntlm_only()), ["--protocol", "negotiate", "--bindings", "01"]),
    ];
    for (acceptor, options) in acceptors {
        let (process, address) = accept(acceptor, &options);
        let gss = |env: Env, bindings: &str| {
            initiate(mit(env), address, &["--mech", "spnego", "--bindings", bindings, "--message", "hello"])
        };
        let python = |env: Env, bindings: &str| {
            initiate(pyspnego(env), address, &["--bindings", bindings, "--message", "hello"])
        };
        let refused = [
            gss(stranger(), "01"),
            gss(scene.ntlm_only(), "02"),
            python(stranger(), "01"),
            python(scene.ntlm_only(), "02"),
        ];
        for done in refused {
            assert!([1, 3].contains(&done.code()), "{done:?}");
        }
        // These come last: once they have their replies, the acceptor has said all that it has to say.
        for done in [gss(scene.ntlm_only(), "01"), python(scene.ntlm_only(), "01")] {
            done.expect_success();
        }
        assert_eq!(process.stderr().matches("refused: ").count(), 4, "{}", process.stderr());
        assert_eq!(process.stdout().matches("authenticated ").count(), 2, "{}", process.stdout());
    }
}
