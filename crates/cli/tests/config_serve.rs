//! `countersign serve --config FILE`: what the file says is what is served, and flags and variables go before it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::proto::time::Timestamp;
use countersign_testkit::mint::{self, Mint};
use countersign_testkit::{Finished, Process, run};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use support::{DEADLINE, connect, countersign, file, wait_for};
use tempfile::TempDir;

/// A service's keytab, a client's ticket for it, and configurations.
struct Scene {
    folder: TempDir,
    mint: Mint,
}

impl Scene {
    fn new() -> Self {
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() };
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "keytab", &mint::keytab_bytes(&mint.keytab()));
        file(folder.path(), "ccache", &mint::ccache_bytes(&mint.ccache(&[mint.ticket()])));
        Self { folder, mint }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `serve --config` of a file with these lines, in which `~/` stands for the folder.
    fn serve(&self, lines: &str, flags: &[&str]) -> Command {
        let text = lines.replace("~/", &format!("{}/", self.folder.path().display()));
        file(self.folder.path(), "serve.toml", text.as_bytes());
        let mut command = countersign(&["serve", "--config", &self.path("serve.toml")]);
        command.args(flags);
        command
    }

    fn connect(&self, address: SocketAddr, flags: &[&str]) -> Finished {
        let mut command =
            connect(address, &self.mint.service.to_string(), &self.folder.path().join("ccache"));
        run(command.args(["--message", "hello"]).args(flags), DEADLINE)
    }

    fn client(&self) -> String {
        self.mint.client.to_string()
    }
}

/// The addresses of two listeners, in the order of the file.
fn both_addresses(serve: &Process) -> [SocketAddr; 2] {
    let began = Instant::now();
    loop {
        let stdout = serve.stdout();
        let lines = stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let told: Vec<SocketAddr> =
            lines.filter_map(|line| line.strip_prefix("listening on ")?.parse().ok()).collect();
        if let [a, b] = told[..] {
            return [a, b];
        }
        assert!(began.elapsed() < DEADLINE, "{stdout}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const LISTENER: &str = "[[listener]]\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\n";

#[test]
fn what_the_file_says_is_served() {
    let scene = Scene::new();
    let text = format!("{LISTENER}framing = \"nns\"\n[audit]\nfile = \"~/audit\"\n");
    let serve = Process::start(&mut scene.serve(&text, &[]));
    let address = serve.listening();
    assert_eq!(scene.connect(address, &["--framing", "nns"]).expect_success().text(), "hello\n");
    // What the other framing reads out of the answer is a frame that does not end.
    scene.connect(address, &[]).expect_code(3);
    let audit = std::fs::read_to_string(scene.path("audit")).unwrap();
    assert!(audit.lines().next().unwrap().contains(&scene.client()), "{audit}");
}

#[test]
fn a_flag_goes_before_the_file_and_a_variable_between() {
    let scene = Scene::new();
    let text = format!("{LISTENER}framing = \"nns\"\n");
    let serve = Process::start(&mut scene.serve(&text, &["--framing", "dword"]));
    scene.connect(serve.listening(), &[]).expect_success();
    let variable = ("COUNTERSIGN_LISTENER_DEFAULT_FRAMING", "dword");
    let serve = Process::start(scene.serve(&text, &[]).env(variable.0, variable.1));
    scene.connect(serve.listening(), &[]).expect_success();
    let serve = Process::start(scene.serve(&text, &["--framing", "nns"]).env(variable.0, variable.1));
    scene.connect(serve.listening(), &["--framing", "nns"]).expect_success();
}

#[test]
fn only_clients_that_are_allowed_come_in() {
    let scene = Scene::new();
    let realm = scene.client().rsplit('@').next().unwrap().to_owned();
    for (done, (allow, code)) in [
        (scene.client(), 0),
        (format!("*@{realm}"), 0),
        (format!("nobody@{realm}"), 1),
        (format!("{}X", scene.client()), 1),
        ("*@ELSEWHERE.TEST".to_owned(), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let text = format!("{LISTENER}allow = [\"{allow}\"]\n[audit]\nfile = \"~/audit\"\n");
        let serve = Process::start(&mut scene.serve(&text, &[]));
        scene.connect(serve.listening(), &[]).expect_code(code);
        // The record of a refusal is written once the client has been told.
        let audit = || std::fs::read_to_string(scene.path("audit")).unwrap();
        wait_for(|| (audit().lines().count() > done).then_some(())).expect("a record");
        let audit = audit();
        let last = audit.lines().last().unwrap();
        assert_eq!(last.contains("CS-3017"), code != 0, "{allow}: {last}");
    }
}

#[test]
fn every_fault_of_the_file_and_the_files_it_names_is_told_and_nothing_is_served() {
    let scene = Scene::new();
    let done = run(&mut scene.serve("[[listener]]\nechoo = true\nframing = \"morse\"\n", &[]), DEADLINE)
        .expect_code(2);
    assert!(done.stderr.contains("CS-7222") && done.stderr.contains("serve.toml:2:1 \"echoo\""), "{done:?}");
    assert!(
        done.stderr.contains("CS-7223") && done.stderr.contains("serve.toml:3:1 framing = \"morse\""),
        "{done:?}"
    );
    assert_eq!(done.text(), "");
    let missing = "[[listener]]\nkeytab = \"~/missing\"\n[audit]\nfile = \"~/no/audit\"\n";
    let done = run(&mut scene.serve(missing, &[]), DEADLINE).expect_code(2);
    assert!(
        done.stderr.contains("serve.toml:2:1 keytab") && done.stderr.contains("serve.toml:4:1 file"),
        "{done:?}"
    );
}

#[test]
fn a_variable_that_names_no_setting_ends_serve_also_without_a_file() {
    let mut command = countersign(&["serve"]);
    command.env("COUNTERSIGN_LIMITS_HANDSHAKE", "1");
    let done = run(&mut command, DEADLINE).expect_code(2);
    assert!(done.stderr.contains("CS-7225 saw COUNTERSIGN_LIMITS_HANDSHAKE;"), "{done:?}");
}

#[test]
fn several_listeners_serve_side_by_side_and_share_what_they_remember() {
    let scene = Scene::new();
    let text = "[[listener]]\nname = \"a\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\n\
                [[listener]]\nname = \"b\"\nlisten = \"127.0.0.1:0\"\nkeytab = \"~/keytab\"\nallow = [\"nobody@ELSEWHERE.TEST\"]\n\
                [audit]\nfile = \"~/audit\"\n";
    let serve = Process::start(&mut scene.serve(text, &[]));
    let [a, b] = both_addresses(&serve);
    scene.connect(a, &[]).expect_success();
    scene.connect(b, &[]).expect_code(1);
    let audit = std::fs::read_to_string(scene.path("audit")).unwrap();
    for name in ["a", "b"] {
        assert!(audit.contains(&format!("\"listener\":\"{name}\"")), "{audit}");
    }
    let flag = run(&mut scene.serve(text, &["--keytab", "x"]), DEADLINE).expect_code(2);
    assert!(flag.stderr.contains("CS-9001 saw --keytab; have 2 listeners in the file"), "{flag:?}");
}

#[test]
fn a_state_folder_is_made_and_has_the_replay_store() {
    let scene = Scene::new();
    let text = format!("state = \"~/state\"\n{LISTENER}");
    let serve = Process::start(&mut scene.serve(&text, &[]));
    scene.connect(serve.listening(), &[]).expect_success();
    assert!(scene.folder.path().join("state/replay").is_dir());
}
