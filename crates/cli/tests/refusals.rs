//! Issue 2, "It is done when", list (a): what `countersign serve` refuses with a KRB-ERROR on the wire, a code on
//! standard error and a line in the audit file. In `serve_refuses_…` each is held against a real initiator where one
//! can be made to send it; what none sends is altered on the way or minted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::proto::gss::{BindingsHash, GssFlags, framing};
use countersign::proto::krb5::msg::ap_req::{ApOptions, ApReq};
use countersign::proto::krb5::msg::ticket::TicketFlags;
use countersign::proto::time::Timestamp;
use countersign_testkit::mint::{self, Mint};
use countersign_testkit::pair::told;
use countersign_testkit::{Clock, Config, Env, Etype, Finished, Library, Peers, Realm, run};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::wire::Wire;
use support::{DEADLINE, FULL_SPN, SPN, Scene, Serve, assert_told, connect, file, initiate, peer};

const OTHER: &str = "echo/b.example.test";
const FULL_OTHER: &str = "echo/b.example.test@CLI.TEST";
/// Has the key of [`SPN`].
const SAME_KEY: &str = "echo/c.example.test";
const CAMELLIA: &str = "camellia/a.example.test";
const RC4: &str = "rc4/a.example.test";

fn prepare(realm: &Realm) {
    realm.add_service(OTHER, &[Etype::Aes256Sha1]);
    realm.add_alias(SAME_KEY, SPN, &[Etype::Aes256Sha1]);
    for (spn, etype) in [(CAMELLIA, Etype::Camellia256), (RC4, Etype::Rc4)] {
        realm.add_service(spn, &[etype]);
        realm.set_session_enctypes(spn, &[Etype::Aes256Sha1]);
    }
}

fn scene() -> Arc<Scene> {
    Scene::shared(prepare)
}

fn full(spn: &str) -> String {
    format!("{spn}@CLI.TEST")
}

/// The realm's service in hand-made tickets: a keytab for `serve`, and a mint that knows its key, at the time now.
fn minted() -> (PathBuf, tempfile::TempDir, Mint) {
    let mint = Mint { now: now(), ..Mint::default() };
    let folder = tempfile::tempdir().unwrap();
    let keytab = file(folder.path(), "keytab", &mint::keytab_bytes(&mint.keytab()));
    (keytab, folder, mint)
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Sends `token` on a connection of its own, and asserts that it is refused with this KRB-ERROR and nothing more.
#[track_caller]
fn assert_refused_on_the_wire(address: SocketAddr, token: &[u8], error_code: i32, spn: &str) {
    let mut wire = Wire::connect(address);
    wire.send(token);
    assert_answer(&mut wire, error_code, spn);
    wire.assert_closed();
}

#[track_caller]
fn assert_answer(wire: &mut Wire, error_code: i32, spn: &str) {
    let answer = told(&wire.receive().expect("an answer"));
    assert_eq!(answer.error_code, error_code);
    assert_eq!(answer.service.to_string(), spn);
    assert_eq!(answer.e_text, None);
}

/// What is known of a client whose ticket opened.
#[track_caller]
fn assert_knows_alice(record: &Value) {
    assert_eq!(record["client"], "alice@CLI.TEST", "{record}");
    assert_eq!(record["service"], FULL_SPN, "{record}");
    assert_eq!(record["mutual"], false, "{record}");
}

/// What is known of a client whose ticket did not.
#[track_caller]
fn assert_knows_nobody(record: &Value) {
    assert!(record.get("client").is_none() && record.get("service").is_none(), "{record}");
}

/// MIT's and Heimdal's initiators are refused in the same way by a `serve` each.
fn refuses_both(spn: &str, options: &[&str], serve_options: &[&str], error_code: i32, code: &str) -> Value {
    let scene = scene();
    let [_, record] = [Library::Heimdal, Library::Mit].map(|library| {
        let serve = scene.serve(serve_options);
        let done = initiate(library, &scene.client_env(), serve.address, &full(spn), options).expect_code(1);
        assert_told(&done, error_code, &full(spn));
        let record = serve.refused(code);
        assert_eq!(record["claimed_service"], full(spn), "{record}");
        record
    });
    record
}

#[test]
fn serve_refuses_a_ticket_for_a_service_whose_key_is_absent() {
    let record = refuses_both(OTHER, &[], &[], 35, "CS-2001");
    assert_knows_nobody(&record);
    let reason = record["reason"].as_str().unwrap();
    let texts = [
        "saw ticket for echo/b.example.test@CLI.TEST kvno 1 aes256-cts-hmac-sha1-96",
        "have keys of echo/a.example.test@CLI.TEST in the keytab",
        "do: export the key of that service",
    ];
    for text in texts {
        assert!(reason.contains(text), "{reason} lacks {text}");
    }
}

#[test]
fn serve_refuses_a_ticket_under_a_version_of_its_key_that_is_missing() {
    let scene = scene();
    let spn = "echo/rekeyed.example.test";
    scene.realm.add_service(spn, &[Etype::Aes256Sha1]);
    let keytab = scene.realm.keytab(&[spn]);
    scene.realm.rekey(spn, &[Etype::Aes256Sha1]);
    let serve = Serve::start(&keytab, &[]);
    let done = initiate(Library::Mit, &scene.client_env(), serve.address, &full(spn), &[]).expect_code(1);
    assert_told(&done, 44, &full(spn));
    let record = serve.refused("CS-2003");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("kvno 2") && reason.contains("have kvno 1"), "{reason}");
}

#[test]
fn serve_refuses_a_ticket_of_an_etype_that_it_does_not_know() {
    let record = refuses_both(CAMELLIA, &[], &[], 60, "CS-2005");
    assert!(record["reason"].as_str().unwrap().contains("camellia256-cts-cmac"), "{record}");
}

#[test]
fn serve_refuses_a_ticket_under_an_rc4_key() {
    let record = refuses_both(RC4, &[], &[], 60, "CS-2006");
    assert!(record["reason"].as_str().unwrap().contains("arcfour-hmac"), "{record}");
}

/// An initiator of MIT whose ticket comes from a KDC with the clock `offset` seconds off, and which has that clock
/// itself.
fn initiate_at(scene: &Scene, offset: i64, serve: &Serve) -> Finished {
    let clock = Clock::offset(offset);
    let kdc = scene.realm.kdc_at(clock);
    let config = vec![("KRB5_CONFIG".to_owned(), kdc.config(&Config::default()).into())];
    let elsewhen = [scene.realm.env(), config.clone(), clock.env()].concat();
    let ccache = scene.realm.kinit_as(&elsewhen, "alice", "secret", &["-l", "10m"]);
    let env = [scene.realm.client_env(&ccache), config, clock.env()].concat();
    initiate(Library::Mit, &env, serve.address, FULL_SPN, &[])
}

#[test]
fn serve_refuses_a_ticket_that_has_expired() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let done = initiate_at(&scene, -172_800, &serve).expect_code(1);
    assert_told(&done, 32, FULL_SPN);
    assert_knows_alice(&serve.refused("CS-2009"));
}

#[test]
fn serve_refuses_a_ticket_that_is_not_yet_valid() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let done = initiate_at(&scene, 172_800, &serve).expect_code(1);
    assert_told(&done, 33, FULL_SPN);
    assert_knows_alice(&serve.refused("CS-2010"));
}

#[test]
fn serve_refuses_a_postdated_ticket_that_was_not_validated_though_its_time_has_come() {
    let scene = scene();
    let ccache = scene.realm.kinit("alice", "secret", &["-s", "1h", "-S", SPN]);
    let later = Clock::offset(3_700).env();
    let serve = Serve::start_as(&later, &scene.keytab, &[]);
    let mut command = connect(serve.address, FULL_SPN, &ccache);
    let done = run(command.args(["--message", "hello"]).envs(later), DEADLINE).expect_code(1);
    assert!(done.stderr.contains("CS-4001 saw KRB-ERROR 33 KRB_AP_ERR_TKT_NYV"), "{done:?}");
    let record = serve.refused("CS-2010");
    assert!(record["reason"].as_str().unwrap().contains("postdated and not validated"), "{record}");
}

#[test]
fn serve_refuses_a_ticket_with_the_invalid_flag_whatever_its_times() {
    let (keytab, _folder, mint) = minted();
    let serve = Serve::start(&keytab, &[]);
    let mut ticket = mint.ticket();
    ticket.flags = TicketFlags(ticket.flags.0 | TicketFlags::INVALID.0);
    let token = mint.ap_req_with(ticket).token();
    assert_refused_on_the_wire(serve.address, &token, 33, &mint.service.to_string());
    serve.refused("CS-2010");
}

/// More than the permitted skew.
const SKEW: Clock = Clock::offset(900);

/// Alice with a ticket in her cache from before her clock went wrong.
fn skewed(scene: &Scene) -> Env {
    [scene.realm.client_env(&scene.ccache_for(&[SPN])), SKEW.env()].concat()
}

#[test]
fn serve_refuses_a_skewed_clock_which_mit_reports() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let done = initiate(Library::Mit, &skewed(&scene), serve.address, FULL_SPN, &[]).expect_code(1);
    assert!(done.stderr.contains(&format!("KRB-ERROR 37 sname {FULL_SPN} e-text none")), "{done:?}");
    assert!(done.stderr.contains("Clock skew too great"), "{done:?}");
    let record = serve.refused("CS-3004");
    assert_knows_alice(&record);
    assert!(record["reason"].as_str().unwrap().contains("s ahead of us"), "{record}");
}

#[test]
fn serve_lets_heimdal_recover_from_a_skewed_clock_on_the_same_socket() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let options = ["--sizes", "100"];
    let done = initiate(Library::Heimdal, &skewed(&scene), serve.address, FULL_SPN, &options);
    let done = done.expect_success();
    assert!(done.stderr.contains("KRB-ERROR 37 "), "{done:?}");
    assert!(
        done.text().contains("handshake took 2 tokens") && done.text().contains("echoed 100"),
        "{done:?}"
    );
    serve.accepted();
    assert_eq!(serve.records().len(), 1);
}

#[test]
fn serve_lets_connect_recover_from_a_skewed_clock_on_the_same_socket() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let mut command = connect(serve.address, FULL_SPN, &scene.ccache_for(&[SPN]));
    command.envs(SKEW.env()).args(["--message", "hello"]);
    assert_eq!(run(&mut command, DEADLINE).expect_success().text(), "hello\n");
    serve.accepted();
    assert_eq!(serve.records().len(), 1);
}

#[test]
fn serve_refuses_a_second_skewed_ap_req_on_the_same_connection_and_closes_it() {
    let (keytab, _folder, mint) = minted();
    // So long a deadline that it is not what closes the connection.
    let serve = Serve::start(&keytab, &["--handshake-deadline", "3600"]);
    let spn = mint.service.to_string();
    let mut wire = Wire::connect(serve.address);
    for seconds in [1_200, 1_100] {
        let mut request = mint.ap_req();
        request.authenticator.ctime = mint.now.saturating_add(Duration::from_secs(seconds));
        wire.send(&request.token());
        assert_answer(&mut wire, 37, &spn);
    }
    wire.assert_closed();
    serve.refused("CS-3004");
}

#[test]
fn serve_refuses_a_replay_of_a_skewed_ap_req_once_its_time_has_come() {
    let (keytab, _folder, mint) = minted();
    let serve = Serve::start(&keytab, &["--clock-skew", "1"]);
    let mut request = mint.ap_req();
    let comes_at = now().saturating_add(Duration::from_millis(2_500));
    request.authenticator.ctime = comes_at;
    assert_skew_then_leave(&serve, &request.token());
    // Its time is awaited, so that nothing but the replay store can refuse it.
    while now() < comes_at.saturating_sub(Duration::from_millis(500)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_refused_on_the_wire(serve.address, &request.token(), 34, &mint.service.to_string());
    serve.refused_at(2, "CS-3005");
}

fn assert_skew_then_leave(serve: &Serve, token: &[u8]) {
    let mut wire = Wire::connect(serve.address);
    wire.send(token);
    assert_eq!(told(&wire.receive().unwrap()).error_code, 37);
    drop(wire);
    serve.refused_at(1, "CS-3004");
}

#[test]
fn serve_refuses_a_replay_on_a_second_connection() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let token = scene.ccache().with_extension("token");
    let token = token.to_str().unwrap();
    scene.initiate(Library::Mit, serve.address, &["--save-token", token]).expect_success();
    let replay = ["--replay-token", token];
    let done = scene.initiate(Library::Mit, serve.address, &replay).expect_code(1);
    assert_told(&done, 34, FULL_SPN);
    assert_knows_alice(&serve.refused_at(2, "CS-3005"));
}

#[test]
fn serve_refuses_a_replay_under_another_sname_that_the_same_key_serves() {
    let scene = scene();
    let serve = Serve::start(&scene.realm.keytab(&[SPN, SAME_KEY]), &[]);
    let token = scene.token(FULL_SPN, &[]);
    let other = replaced(&token, b"a.example.test", b"c.example.test");
    let mut wire = Wire::connect(serve.address);
    wire.send(&other);
    let answer = wire.receive().unwrap();
    assert_eq!(
        framing::open(&answer).unwrap().0,
        framing::TokenId::ApRep,
        "the other name alone is no reason"
    );
    assert_eq!(serve.accepted()["service"], full(SAME_KEY));
    assert_refused_on_the_wire(serve.address, &token, 34, FULL_SPN);
    assert_eq!(serve.refused_at(2, "CS-3005")["claimed_service"], FULL_SPN);
}

#[test]
fn serve_refuses_a_replay_whose_sname_differs_by_case() {
    let scene = scene();
    let serve = scene.serve(&[]);
    let token = scene.token(FULL_SPN, &[]);
    let mut first = Wire::connect(serve.address);
    first.send(&token);
    first.receive().expect("an AP-REP");
    let louder = replaced(&token, b"a.example.test", b"A.EXAMPLE.TEST");
    assert_refused_on_the_wire(serve.address, &louder, 34, "echo/A.EXAMPLE.TEST@CLI.TEST");
    serve.refused_at(2, "CS-3005");
}

/// `token` with the one place where `from` stands changed to `to`, of the same length.
fn replaced(token: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let places: Vec<_> = (0..token.len()).filter(|at| token[*at..].starts_with(from)).collect();
    let [at] = places[..] else { panic!("{} places", places.len()) };
    let mut changed = token.to_vec();
    changed[at..at + to.len()].copy_from_slice(to);
    changed
}

/// Where the ciphertexts of ticket and authenticator lie in `token`.
fn ciphertexts(token: &[u8]) -> [std::ops::Range<usize>; 2] {
    let (_, body) = framing::open(token).unwrap();
    let ap_req = ApReq::parse(body).unwrap();
    [ap_req.ticket.enc_part.cipher, ap_req.authenticator.cipher].map(|cipher| {
        let start = cipher.as_ptr() as usize - token.as_ptr() as usize;
        start..start + cipher.len()
    })
}

/// The first, a middle and the last byte of the ciphertext number `which` are altered, each in a token of its own.
fn refuses_altered(which: usize, code: &str) {
    let scene = scene();
    let serve = scene.serve(&[]);
    let token = scene.token(FULL_SPN, &[]);
    let range = ciphertexts(&token)[which].clone();
    for (index, at) in
        [range.start, usize::midpoint(range.start, range.end), range.end - 1].into_iter().enumerate()
    {
        let mut altered = token.clone();
        altered[at] ^= 0x10;
        assert_refused_on_the_wire(serve.address, &altered, 31, FULL_SPN);
        serve.refused_at(index + 1, code);
    }
    let mut wire = Wire::connect(serve.address);
    wire.send(&token);
    wire.receive().expect("the token as it was is accepted");
    assert_eq!(serve.wait_for_records(4)[3]["outcome"], "accepted");
}

#[test]
fn serve_refuses_an_altered_ticket() {
    refuses_altered(0, "CS-2007");
}

#[test]
fn serve_refuses_an_altered_authenticator() {
    refuses_altered(1, "CS-3001");
}

/// Weaknesses 1, 2, 3 and 6 of the reference listing.
#[test]
fn serve_refuses_a_client_that_does_not_ask_for_mutual_authentication() {
    let options = ["--flags", "replay,sequence,conf,integ", "--message", "hello"];
    let record = refuses_both(SPN, &options, &[], 46, "CS-3010");
    assert!(record["reason"].as_str().unwrap().contains("alice@CLI.TEST"), "{record}");
}

#[test]
fn serve_lets_a_client_without_mutual_authentication_in_when_that_is_waived_and_says_so() {
    let scene = scene();
    let serve = scene.serve(&["--allow-no-mutual"]);
    let options = ["--flags", "replay,sequence,conf,integ", "--sizes", "0,1,1000"];
    scene.initiate(Library::Mit, serve.address, &options).expect_success();
    let record = serve.accepted();
    assert_eq!((&record["mutual"], &record["waivers"][0]), (&false.into(), &"allow_no_mutual".into()));
}

#[test]
fn serve_does_not_take_the_ap_option_for_the_mutual_flag() {
    let (keytab, _folder, mint) = minted();
    let serve = Serve::start(&keytab, &[]);
    let mut request = mint.ap_req();
    request.ap_options = ApOptions::MUTUAL_REQUIRED;
    let flags = GssFlags(mint::FLAGS.0 & !GssFlags::MUTUAL.0);
    request.authenticator.checksum = Some(mint::gss_checksum(BindingsHash::NONE, flags));
    assert_refused_on_the_wire(serve.address, &request.token(), 46, &mint.service.to_string());
    serve.refused("CS-3010");
}

/// Weakness 9 of the reference listing.
#[test]
fn serve_refuses_bindings_to_another_channel() {
    let ours = ["--channel-bindings", "c0ffee"];
    refuses_both(SPN, &["--bindings", "c0ffef"], &ours, 60, "CS-3008");
}

#[test]
fn serve_refuses_a_client_without_bindings_where_they_are_required() {
    let ours = ["--channel-bindings", "c0ffee", "--require-channel-bindings"];
    refuses_both(SPN, &[], &ours, 60, "CS-3009");
}

#[test]
fn serve_refuses_an_authenticator_without_gss_checksum() {
    let scene = scene();
    for library in [Library::Mit, Library::Heimdal] {
        let serve = scene.serve(&[]);
        let mut mkreq = Peers::get().command(library);
        let done = peer(mkreq.arg("mkreq"), &scene.client_env(), serve.address, FULL_SPN, &[]).expect_code(1);
        assert_told(&done, 50, FULL_SPN);
        serve.refused("CS-3006");
    }
}

#[test]
fn serve_refuses_a_service_that_accept_principal_leaves_out() {
    let scene = scene();
    let keytab = scene.realm.keytab(&[SPN, OTHER]);
    let serve = Serve::start(&keytab, &["--accept-principal", FULL_SPN]);
    let done = initiate(Library::Mit, &scene.client_env(), serve.address, FULL_OTHER, &[]).expect_code(1);
    assert_told(&done, 35, FULL_OTHER);
    serve.refused("CS-2013");
    scene.initiate(Library::Mit, serve.address, &["--sizes", "1"]).expect_success();
}

#[test]
fn serve_goes_on_after_refusals() {
    let scene = scene();
    let serve = scene.serve(&[]);
    initiate(Library::Mit, &scene.client_env(), serve.address, FULL_OTHER, &[]).expect_code(1);
    Wire::connect(serve.address).send_bytes(&[0; 4]);
    scene.initiate(Library::Mit, serve.address, &["--sizes", "1"]).expect_success();
    let outcomes: Vec<_> = serve.wait_for_records(3).iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["refused", "refused", "accepted"]);
}
