//! Somebody on the way records every conversation that leads to a context, and says it all again: to the same instance, to
//! another, after a crash, while the shared store is absent and after its failover. Nothing of it is ever accepted.
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

use countersign_testkit::{Library, Peers, Valkey};
use serve_support::recorder::{Recorder, replay};
use serve_support::{LISTENER, OBSERVED, Running, Scene};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use support::{DEADLINE, FULL_SPN, SPN, connect, initiate, peer};

const HANDSHAKES: &str = "countersign_handshakes_total";
const ACCEPTED: &[&str] = &["outcome=\"accepted\""];
const STORE_ABSENT: &str = "countersign_replay_store_unavailable_total";

/// Seen before.
const REPLAY: &str = "CS-3005";

/// The framings in which it is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spoken {
    Dword,
    Nns,
}

const SPOKEN: [Spoken; 2] = [Spoken::Dword, Spoken::Nns];

impl Spoken {
    fn name(self) -> &'static str {
        match self {
            Self::Dword => "dword",
            Self::Nns => "nns",
        }
    }
}

/// A realm of MIT's with alice in it, and a folder for the service's configuration.
struct Stage {
    realm: Arc<support::Scene>,
    scene: Scene,
    spoken: Spoken,
    /// How far clocks may be apart, in seconds.
    skew: u64,
}

impl Stage {
    fn new(spoken: Spoken) -> Self {
        Self { realm: support::Scene::shared(|_| ()), scene: Scene::new(), spoken, skew: 300 }
    }

    /// An instance with further lines, each of which has its own audit file.
    fn serve(&self, name: &str, lines: &str) -> Running {
        let keytab = self.realm.keytab.display();
        let text = format!(
            "{}[[listener]]\nlisten = \"127.0.0.1:0\"\nkeytab = \"{keytab}\"\nframing = \"{}\"\nclock_skew = {}\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n[audit]\nfile = \"~/audit-{name}\"\n{}",
            if lines.contains("state = ") { lines } else { "" },
            self.spoken.name(),
            self.skew,
            if lines.contains("state = ") { "" } else { lines },
        );
        let config = self.scene.write(&format!("{name}.toml"), self.scene.text(&text).as_bytes());
        let mut command = support::countersign(&["serve", "--config"]);
        Running::start(command.arg(config), 1, self.scene.path(&format!("audit-{name}")))
    }

    /// Honest clients through somebody who listens: ours, bare and negotiated, and others' in this framing. Their number.
    fn honest(&self, recorder: &Recorder) -> usize {
        let before = recorder.conversations().len();
        for flags in [&[][..], &["--negotiate"]] {
            self.connect(recorder, flags).expect_success();
        }
        let env = self.realm.client_env();
        match self.spoken {
            Spoken::Dword => {
                for options in [&["--sizes", "100"][..], &["--mech", "spnego", "--sizes", "100"]] {
                    initiate(Library::Mit, &env, recorder.address, FULL_SPN, options).expect_success();
                }
            }
            Spoken::Nns => {
                let mut client = Peers::nns();
                peer(client.arg("client"), &env, recorder.address, SPN, &["--sizes", "100"]).expect_success();
            }
        }
        recorder.conversations().len() - before
    }

    fn connect(&self, recorder: &Recorder, flags: &[&str]) -> countersign_testkit::Finished {
        let ccache = self.realm.ccache_for(&[SPN]);
        let mut command = connect(recorder.address, FULL_SPN, &ccache);
        command.args(["--message", "hello", "--framing", self.spoken.name()]).args(flags);
        countersign_testkit::run(&mut command, DEADLINE)
    }
}

/// Says it all again: nothing is accepted, and each refusal is recorded with one of `codes` and counted.
#[track_caller]
fn replay_all(serve: &Running, conversations: &[Vec<u8>], codes: &[&str]) {
    let (accepted, before) = (serve.metric(HANDSHAKES, ACCEPTED), serve.records().len());
    conversations.iter().for_each(|said| replay(serve.address(), said));
    serve.wait_for("a record each", || (serve.records().len() >= before + conversations.len()).then_some(()));
    let records = serve.records().split_off(before);
    assert_eq!(records.len(), conversations.len(), "{records:?}");
    for record in records {
        let code = record["code"].as_str().unwrap_or_else(|| panic!("accepted: {record}"));
        assert!(codes.contains(&code) && record["outcome"] == "refused", "{codes:?}: {record}");
        assert!(record["reason"].as_str().unwrap().starts_with(&format!("{code} saw ")), "{record}");
        assert_eq!(record["client"], "alice@CLI.TEST", "{record}");
    }
    assert_eq!(serve.metric(HANDSHAKES, ACCEPTED), accepted);
}

/// The conversations since there were `from`.
fn since(recorder: &Recorder, from: usize) -> Vec<Vec<u8>> {
    recorder.conversations().split_off(from)
}

#[test]
fn what_an_instance_accepted_it_never_accepts_again_nor_after_a_crash() {
    for spoken in SPOKEN {
        let stage = Stage::new(spoken);
        let lines = "state = \"~/state\"\n";
        let serve = stage.serve("one", lines);
        let recorder = Recorder::before(serve.address());
        let count = stage.honest(&recorder);
        assert!(count >= 3, "{count}");
        let said = recorder.conversations();
        replay_all(&serve, &said, &[REPLAY]);
        replay_all(&serve, &said, &[REPLAY]);
        assert_eq!(serve.metric("countersign_replays_total", &[]) as usize, 2 * count);
        serve.kill();
        let serve = stage.serve("again", lines);
        replay_all(&serve, &said, &[REPLAY]);
        // Fresh clients are not refused for it.
        let recorder = Recorder::before(serve.address());
        stage.honest(&recorder);
        replay_all(&serve, &recorder.conversations(), &[REPLAY]);
        // And so it is after an end in order.
        let all = [said, recorder.conversations()].concat();
        serve.end().expect_success();
        replay_all(&stage.serve("third", lines), &all, &[REPLAY]);
    }
}

#[test]
fn a_crash_in_the_middle_of_many_handshakes_forgets_none_that_was_answered() {
    let scene = Scene::new();
    let lines = format!("state = \"~/state\"\n{LISTENER}{OBSERVED}");
    let serve = scene.serve(&lines);
    let recorder = Recorder::before(serve.address());
    let clients = (0..4).map(|_| {
        let (client, address) = (scene.client(scene.ticket(scene.mint.kvno)), recorder.address);
        thread::spawn(move || {
            let mut answered = 0;
            while let Ok(session) = serve_support::session(&client, address) {
                drop(session);
                answered += 1;
            }
            answered
        })
    });
    let clients: Vec<_> = clients.collect();
    serve.wait_for("many", || (serve.records().len() > 200).then_some(()));
    serve.kill();
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(answered > 150, "{answered}");
    let said = recorder.conversations();
    let serve = scene.serve(&lines);
    let before = serve.records().len();
    said.iter().for_each(|said| replay(serve.address(), said));
    serve.wait_for("a record each", || (serve.records().len() >= before + said.len()).then_some(()));
    let records = serve.records().split_off(before);
    let replays = records.iter().filter(|record| record["code"] == REPLAY).count();
    // Those that were on their way when it died are honest, and may be heard for the first time now.
    let unheard = records.iter().filter(|record| record["outcome"] == "accepted").count();
    assert!(replays >= answered && unheard <= said.len() - answered, "{answered} {replays} {unheard}");
}

fn shared(server_url: &str) -> String {
    format!("[replay]\nstore = \"valkey\"\nurl = \"{server_url}\"\ntimeout = \"500ms\"\n")
}

#[test]
fn what_one_instance_accepted_no_other_accepts_also_while_their_store_is_absent() {
    for spoken in SPOKEN {
        let stage = Stage::new(spoken);
        let server = Valkey::start();
        let (one, other) =
            (stage.serve("one", &shared(&server.url())), stage.serve("other", &shared(&server.url())));
        let recorder = Recorder::before(one.address());
        let count = stage.honest(&recorder);
        replay_all(&one, &recorder.conversations(), &[REPLAY]);
        replay_all(&other, &recorder.conversations(), &[REPLAY]);
        // Of these the other instance hears for the first time when nobody answers for them.
        stage.honest(&recorder);
        let unheard = since(&recorder, count);
        server.pause();
        replay_all(&one, &unheard, &[REPLAY]);
        replay_all(&other, &unheard, &["CS-3016"]);
        for serve in [&one, &other] {
            let recorder = Recorder::before(serve.address());
            let refused = stage.connect(&recorder, &[]).expect_code(1);
            assert!(!refused.stderr.contains("CS-3016"), "the client learns no cause: {refused:?}");
            let record = serve.refused_with("CS-3016");
            assert!(record["reason"].as_str().unwrap().contains("replay store"), "{record}");
            assert!(serve.metric(STORE_ABSENT, &["reason=\"down\""]) >= 1.0);
            assert!(serve.wait_for_ready(503).contains("replay store"));
            // What was said while nobody could tell is not taken later either.
            server.resume();
            serve.wait_for_ready(200);
            replay_all(serve, &since(&recorder, 0), &[REPLAY]);
            server.pause();
            serve.wait_for_ready(503);
        }
        server.resume();
        for serve in [&one, &other] {
            serve.wait_for_ready(200);
            replay_all(serve, &unheard, &[REPLAY]);
            stage.honest(&Recorder::before(serve.address()));
        }
    }
}

fn point(link: &Path, server: &Valkey) {
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(server.socket(), link).unwrap();
}

#[test]
fn after_the_failover_of_their_store_nothing_of_before_is_accepted_and_fresh_clients_are_after_two_skews() {
    for spoken in SPOKEN {
        // Short, so that the test can wait for what is refused for two of them.
        let stage = Stage { skew: 8, ..Stage::new(spoken) };
        let (primary, replica) = (Valkey::start(), Valkey::start());
        let link = stage.scene.path("valkey");
        point(&link, &primary);
        let lines = shared(&format!("unix://{}", link.display()));
        let (one, other) = (stage.serve("one", &lines), stage.serve("other", &lines));
        replica.replicate(&primary);
        let recorder = Recorder::before(one.address());
        stage.connect(&recorder, &[]).expect_success();
        // What the replica does not get any more.
        replica.command(&["REPLICAOF", "NO", "ONE"]);
        stage.connect(&recorder, &[]).expect_success();
        point(&link, &replica);
        drop(primary);
        for serve in [&one, &other] {
            serve.wait_for_stderr("CS-3018");
            serve.wait_for_ready(200);
            let codes = if std::ptr::eq(serve, &one) { &[REPLAY][..] } else { &["CS-3018"] };
            replay_all(serve, &recorder.conversations(), codes);
        }
        // Honest clients are refused too, counted and explained, until what was lost cannot be said again.
        let fresh = Recorder::before(other.address());
        stage.connect(&fresh, &[]).expect_code(1);
        other.refused_with("CS-3018");
        assert!(other.metric(STORE_ABSENT, &["reason=\"changed\""]) >= 3.0);
        thread::sleep(Duration::from_secs(2 * stage.skew));
        for serve in [&one, &other] {
            let recorder = Recorder::before(serve.address());
            stage.honest(&recorder);
            replay_all(&one, &recorder.conversations(), &[REPLAY]);
            replay_all(&other, &recorder.conversations(), &[REPLAY]);
        }
    }
}

#[test]
fn with_on_absence_memory_clients_are_let_in_and_what_one_instance_heard_it_does_not_accept_again() {
    let stage = Stage::new(Spoken::Dword);
    let server = Valkey::start();
    let serve = stage.serve("one", &format!("{}on_absence = \"memory\"\n", shared(&server.url())));
    drop(server);
    serve.wait_for_stderr("CS-7209");
    let recorder = Recorder::before(serve.address());
    let count = stage.honest(&recorder);
    assert_eq!(serve.get("/readyz").0, 200, "clients are let in");
    // Each of them with what was given up for it.
    let records = serve.records();
    assert_eq!(records.len(), count);
    assert!(
        records.iter().all(|record| record["waivers"] == serde_json::json!(["on_absence"])),
        "{records:?}"
    );
    replay_all(&serve, &recorder.conversations(), &[REPLAY]);
    assert_eq!(serve.metric("countersign_replay_store_fallbacks_total", &[]) as usize, count);
}
