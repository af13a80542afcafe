//! Keys that change under `serve`: the keytab replaced and rewritten under load, broken, reloaded by a signal, and filled by
//! MIT's kadmin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod serve_support;
mod support;

use countersign::framing::Framing;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::InitiatorPolicy;
use countersign_testkit::mint::Mint;
use countersign_testkit::{Etype, Library, Realm};
use rustix::process::Signal;
use serve_support::{LISTENER, OBSERVED, Running, Scene, client_of, exchange};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{countersign, initiate};

const LOADS: &str = "countersign_keytab_loads_total";
const LOADED: &[&str] = &["result=\"loaded\""];
const FAILED: &[&str] = &["result=\"failed\""];
const HANDSHAKES: &str = "countersign_handshakes_total";
const TELLS_OF_KEYS: &str = "keeps the keys that it has";

/// How long the keys are changed under load.
const LOAD: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 60 });
const EVERY: Duration = Duration::from_millis(100);

/// How many versions of the key a keytab has.
const KEPT: u32 = 8;
/// How many of them clients have tickets for: those that are about to go are no honest client's.
const USED: u32 = 5;

/// Clients that come while keys change.
struct Load {
    scene: Scene,
    address: SocketAddr,
    /// The newest version that a whole keytab has had.
    newest: AtomicU32,
    ended: AtomicBool,
    served: AtomicU32,
    strangers: AtomicU32,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// An honest client with a ticket for one of the versions in use.
    fn client(&self, version: u32) {
        // Many: one alone would use up its share of the replay store.
        let name = format!("client-{}", self.served.load(Ordering::Relaxed) % 64);
        let client = Principal::new("EXAMPLE.TEST", &[&name]);
        let mint = Mint { client, kvno: version, ..self.scene.mint.clone() };
        let client = client_of(&mint, mint.ticket(), InitiatorPolicy::default(), Framing::Dword);
        let done = exchange(&client, self.address);
        if let Err(refusal) = done {
            let newest = self.newest.load(Ordering::Acquire);
            self.ended.store(true, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(500));
            let audit = fs::read_to_string(self.scene.path("audit")).unwrap();
            let others = |line: &&str| !line.contains("CS-2003") && line.contains("\"refused\"");
            let why = audit.lines().rfind(others);
            panic!("a client with version {version}, when {newest} was the newest: {refusal}; {why:?}");
        }
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients of every version in turn, each newest one first as soon as it is there.
    fn clients(&self) {
        let mut seen = 0;
        for turn in 0_u32.. {
            if !self.goes_on() {
                return;
            }
            let newest = self.newest.load(Ordering::Acquire);
            let back = if newest == seen { turn % USED } else { 0 };
            seen = newest;
            self.client(newest.saturating_sub(back).max(1));
        }
    }

    /// One with tickets for a version that no keytab has: each look for it finds the keytab as it is just then.
    fn stranger(&self) {
        let client = self.scene.client(self.scene.ticket(1_000_000));
        while self.goes_on() {
            let refused = exchange(&client, self.address).unwrap_err();
            assert!(refused.contains("KRB_AP_ERR_BADKEYVER") || refused.contains("CS-"), "{refused}");
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts the next version in place each tenth of a second, in one way after the other, with what breaks keytabs between.
    fn rotate(&self) {
        let (end, path) = (Instant::now() + LOAD, self.scene.path("keytab"));
        while Instant::now() < end && self.goes_on() {
            let began = Instant::now();
            let version = self.newest.load(Ordering::Relaxed) + 1;
            let kept: Vec<u32> = (version.saturating_sub(KEPT - 1).max(1)..=version).collect();
            let whole = self.scene.keytab(&kept);
            match version % 4 {
                0 | 2 => replace(&self.scene, &whole),
                1 => fs::write(&path, &whole).unwrap(),
                _ => write_in_pieces(&path, &whole),
            }
            self.newest.store(version, Ordering::Release);
            if version.is_multiple_of(5) {
                // Whoever has a ticket of this version has come: the last good keytab is this one.
                self.client(version);
                break_keytab(&self.scene, &whole, version / 5);
            }
            thread::sleep(EVERY.saturating_sub(began.elapsed()));
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn replace(scene: &Scene, contents: &[u8]) {
    fs::rename(scene.write("keytab.new", contents), scene.path("keytab")).unwrap();
}

fn write_in_pieces(path: &Path, whole: &[u8]) {
    let mut file = fs::File::create(path).unwrap();
    for piece in whole.chunks(whole.len() / 3) {
        file.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(3));
    }
}

fn break_keytab(scene: &Scene, whole: &[u8], how: u32) {
    let path = scene.path("keytab");
    match how % 4 {
        0 => fs::write(path, &whole[..whole.len() / 2]).unwrap(),
        1 => fs::write(path, b"").unwrap(),
        2 => fs::remove_file(path).unwrap(),
        _ => replace(scene, &[0xA5; 3_000]),
    }
}

#[test]
fn keys_that_change_ten_times_a_second_cost_no_honest_client_its_handshake() {
    let scene = Scene::new();
    scene.write("keytab", &scene.keytab(&[1]));
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}[replay]\nstore = \"memory\"\n"));
    let load = Load {
        address: serve.address(),
        scene,
        newest: AtomicU32::new(1),
        ended: AtomicBool::new(false),
        served: AtomicU32::new(0),
        strangers: AtomicU32::new(0),
    };
    thread::scope(|scope| {
        (0..4).for_each(|_| _ = scope.spawn(|| load.clients()));
        scope.spawn(|| load.stranger());
        load.rotate();
    });
    let (served, strangers) = (load.served.load(Ordering::Relaxed), load.strangers.load(Ordering::Relaxed));
    let versions = load.newest.load(Ordering::Relaxed);
    println!("{versions} versions, {served} clients, {strangers} strangers");
    assert!(u64::from(versions) > LOAD.as_secs() * 5, "{versions} versions");
    assert!(u64::from(served) > LOAD.as_secs() * 50, "{served} clients");
    let of = |label: &str| serve.metric(HANDSHAKES, &[label]) as u32;
    serve.wait_for_metric(HANDSHAKES, &["outcome=\"refused\""], strangers.into());
    assert_eq!((of("outcome=\"accepted\""), of("outcome=\"refused\"")), (served, strangers));
    // A keytab may have kept the lowest 8 bits of a version alone: one that agrees in those is tried, and does not fit.
    assert_eq!(of("code=\"CS-2003\"") + of("code=\"CS-2007\""), strangers);
    // Most were looked at, and of those that were broken too.
    assert!(serve.metric(LOADS, LOADED) as u32 > versions / 2);
    assert!(serve.metric(LOADS, FAILED) as u32 > versions / 5 / 4);
}

#[test]
fn a_ticket_for_a_key_that_left_the_keytab_is_refused_and_one_for_a_key_that_stays_is_not() {
    let scene = Scene::new();
    scene.write("keytab", &scene.keytab(&[1, 2, 3]));
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}"));
    let [one, two, four] = [1, 2, 4].map(|kvno| scene.client(scene.ticket(kvno)));
    exchange(&one, serve.address()).unwrap();
    exchange(&two, serve.address()).unwrap();
    replace(&scene, &scene.keytab(&[2, 3, 4]));
    // Whoever needs the new key has it looked for.
    exchange(&four, serve.address()).unwrap();
    let refused = exchange(&one, serve.address()).unwrap_err();
    assert!(refused.contains("KRB_AP_ERR_BADKEYVER"), "{refused}");
    exchange(&two, serve.address()).unwrap();
    let record = serve.refused_with("CS-2003");
    let reason = record["reason"].as_str().unwrap();
    assert!(reason.contains("kvno 1") && reason.contains('4'), "{reason}");
    assert_eq!(serve.metric("countersign_keytab_newest_kvno", &[]), 4.0);
    for kvno in ["1", "2", "4"] {
        let label = format!("kvno=\"{kvno}\"");
        assert!(serve.metric("countersign_tickets_accepted_total", &[&label]) >= 1.0, "{kvno}");
    }
}

/// The service as a user who cannot read everything, which root can: the program and its folder are made that user's.
fn unprivileged(scene: &Scene, lines: &str) -> Running {
    const NOBODY: u32 = 65_534;
    let mut command = scene.command(lines);
    if rustix::process::geteuid().is_root() {
        let program = scene.path("countersign");
        fs::copy(countersign(&[]).get_program(), &program).unwrap();
        for path in [scene.folder.path(), &program] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        for name in ["", "keytab", "serve.toml"] {
            std::os::unix::fs::chown(scene.path(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut other = std::process::Command::new(program);
        other.args(command.get_args()).env_remove("KRB5_KTNAME").uid(NOBODY).gid(NOBODY);
        command = other;
    }
    scene.run(&mut command, lines)
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_keytab_that_is_broken_leaves_the_last_good_one_in_use_and_is_told_once() {
    let scene = Scene::new();
    let serve = unprivileged(&scene, &format!("{LISTENER}{OBSERVED}[replay]\nstore = \"memory\"\n"));
    let path = scene.path("keytab");
    let client = scene.client(scene.ticket(2));
    let stranger = scene.client(scene.ticket(99));
    let whole = scene.keytab(&[2, 3]);
    let unreadable = |path: &Path| {
        fs::set_permissions(path, PermissionsExt::from_mode(0o000)).unwrap();
        std::os::unix::fs::chown(path, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    };
    let breaks: [(&str, &dyn Fn()); 6] = [
        // In one step each: two are two states, on a machine that is busy between them.
        ("half", &|| cut(&path, 60)),
        ("empty", &|| cut(&path, 0)),
        ("garbage", &|| replace(&scene, &[0xA5; 3_000])),
        ("unreadable", &|| unreadable(&path)),
        ("removed", &|| fs::remove_file(&path).unwrap()),
        ("a folder", &|| fs::create_dir(&path).unwrap()),
    ];
    for (number, (what, broken)) in (1..).zip(breaks) {
        broken();
        for _ in 0..3 {
            exchange(&stranger, serve.address()).unwrap_err();
            exchange(&client, serve.address()).unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
        }
        // The look of every second has come by, too.
        thread::sleep(Duration::from_millis(1_100));
        assert_eq!(serve.stderr_count(TELLS_OF_KEYS), number, "{what}: {}", serve.process.stderr());
        assert_eq!(serve.metric(LOADS, FAILED) as usize, number, "{what}");
        assert_eq!(serve.get("/readyz").0, 200, "{what}: clients are served");
    }
    assert_eq!(serve.metric(LOADS, LOADED), 1.0);
    fs::remove_dir(&path).unwrap();
    replace(&scene, &whole);
    exchange(&scene.client(scene.ticket(3)), serve.address()).unwrap();
    assert_eq!((serve.metric(LOADS, LOADED), serve.stderr_count(TELLS_OF_KEYS)), (2.0, 6));
}

#[test]
fn a_keytab_that_nobody_needs_a_key_of_is_followed_within_a_second_or_two() {
    let scene = Scene::new();
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}"));
    replace(&scene, &scene.keytab(&[3]));
    serve.wait_for_metric("countersign_keytab_newest_kvno", &[], 3.0);
    assert!(serve.metric("countersign_keytab_age_seconds", &[]) < 30.0);
    let refused = exchange(&scene.client(scene.ticket(2)), serve.address()).unwrap_err();
    assert!(refused.contains("KRB_AP_ERR_BADKEYVER"), "{refused}");
}

#[test]
fn sighup_reads_the_keytab_at_once_also_one_that_has_not_changed() {
    let scene = Scene::new();
    scene.write("keytab", &scene.keytab(&[2, 3]));
    let serve = scene.serve(&format!("{LISTENER}{OBSERVED}"));
    let old = scene.client(scene.ticket(2));
    exchange(&old, serve.address()).unwrap();
    for number in 1..4 {
        replace(&scene, &scene.keytab(&[2, 3]));
        serve.signal(Signal::HUP);
        serve.wait_for("reload", || {
            (serve.stderr_count("read keys and opened the audit file anew") == number).then_some(())
        });
    }
    let before = serve.metric(LOADS, LOADED);
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(serve.metric(LOADS, LOADED), before, "nothing changes by itself");
    serve.signal(Signal::HUP);
    serve.wait_for_metric(LOADS, LOADED, before + 1.0);
    // What left the keytab is good no longer, and that is not a second later.
    replace(&scene, &scene.keytab(&[3]));
    serve.signal(Signal::HUP);
    serve.wait_for("reload", || {
        (serve.stderr_count("read keys and opened the audit file anew") == 5).then_some(())
    });
    exchange(&old, serve.address()).unwrap_err();
    serve.refused_with("CS-2003");
    // Broken, it is told by each signal and changes nothing.
    replace(&scene, b"");
    for number in 1..3 {
        serve.signal(Signal::HUP);
        serve.wait_for("told", || (serve.stderr_count(TELLS_OF_KEYS) >= number).then_some(()));
    }
    exchange(&scene.client(scene.ticket(3)), serve.address()).unwrap();
}

#[test]
fn keys_that_kadmin_adds_are_followed_and_old_tickets_stay_good() {
    const SPN: &str = "echo/a.example.test";
    let realm = Realm::new("ROTATES.TEST");
    realm.add_user("alice", "secret");
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    let keytab = realm.keytab(&[SPN]);
    let scene = Scene::new();
    let text =
        format!("[[listener]]\nlisten = \"127.0.0.1:0\"\nkeytab = \"{}\"\n{OBSERVED}", keytab.display());
    let serve = scene.serve(&text);
    let full = format!("{SPN}@ROTATES.TEST");
    let ticket = || {
        let ccache = realm.kinit("alice", "secret", &[]);
        realm.kvno(SPN, &ccache, &[]);
        ccache
    };
    let connect = |ccache: &Path| {
        let env = realm.client_env(ccache);
        initiate(Library::Mit, &env, serve.address(), &full, &["--message", "hello"]).expect_success();
    };
    let mut tickets = vec![ticket()];
    connect(&tickets[0]);
    for version in 2..5 {
        realm.rekey(SPN, &[Etype::Aes256Sha1, Etype::Aes256Sha384]);
        realm.ktadd(SPN, &keytab);
        tickets.push(ticket());
        // The newest first: its key is in the keytab, and the service has not looked yet.
        tickets.iter().rev().for_each(|ccache| connect(ccache));
        let label = format!("kvno=\"{version}\"");
        assert_eq!(serve.metric("countersign_tickets_accepted_total", &[&label]), 1.0);
    }
    assert_eq!(serve.metric(HANDSHAKES, &["outcome=\"refused\""]), 0.0);
    assert_eq!(serve.metric("countersign_keytab_newest_kvno", &[]), 4.0);
}
