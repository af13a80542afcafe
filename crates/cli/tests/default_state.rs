//! Where replays are remembered if no folder is named: a restart with the same command knows what it has accepted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign::proto::context::Initiator;
use countersign::proto::gss::framing::{self, TokenId};
use countersign::proto::policy::InitiatorPolicy;
use countersign::proto::time::Timestamp;
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, keytab_bytes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use support::{Serve, countersign};
use tempfile::TempDir;

struct Scene {
    folder: TempDir,
    mint: Mint,
}

impl Scene {
    fn new() -> Self {
        let mint = Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::default() };
        let scene = Self { folder: tempfile::tempdir().unwrap(), mint };
        std::fs::write(scene.keytab(), keytab_bytes(&scene.mint.keytab())).unwrap();
        scene
    }

    fn keytab(&self) -> PathBuf {
        self.folder.path().join("keytab")
    }

    /// `serve` without any word on where things are kept, but for what the service manager says.
    fn serve(&self, state: &Path) -> Serve {
        let mut command = countersign(&["serve", "--listen", "127.0.0.1:0", "--keytab"]);
        Serve::start_command(command.arg(self.keytab()).env("STATE_DIRECTORY", state))
    }

    /// The first frame of a client: its AP-REQ.
    fn first_frame(&self) -> Vec<u8> {
        let ccache = self.mint.ccache(&[self.mint.ticket()]);
        let now = Timestamp::from_system(SystemTime::now());
        let initiator =
            Initiator::from_ccache(&ccache, &self.mint.service, InitiatorPolicy::default(), now).unwrap();
        let mut token = Vec::new();
        drop(initiator.begin(now, &mut TestRng::new(now.micros().into()), &mut token).unwrap());
        [&u32::try_from(token.len()).unwrap().to_le_bytes()[..], &token].concat()
    }
}

/// Whether the service takes what is sent for the proof of a client.
fn is_accepted(address: SocketAddr, frame: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(frame).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    framing::open(answer.get(4..).unwrap_or_default()).is_ok_and(|(id, _)| id == TokenId::ApRep)
}

#[test]
fn what_was_accepted_before_a_crash_is_known_after_it_though_nobody_said_where_to_keep_it() {
    let scene = Scene::new();
    let state = scene.folder.path().join("state");
    let frame = scene.first_frame();
    let serve = scene.serve(&state);
    assert!(is_accepted(serve.address, &frame));
    serve.wait_for_stderr("replays are remembered in ");
    drop(serve); // SIGKILL
    let serve = scene.serve(&state);
    assert!(!is_accepted(serve.address, &frame), "a replay");
    serve.wait_for_stderr("CS-3005");
    assert!(is_accepted(serve.address, &scene.first_frame()), "a fresh client");
}

#[test]
fn services_with_the_same_keys_beside_each_other_have_a_folder_each_and_are_told() {
    let scene = Scene::new();
    let state = scene.folder.path().join("state");
    let first = scene.serve(&state);
    let second = scene.serve(&state);
    second.wait_for_stderr("another service has these keys and addresses");
    for serve in [&first, &second] {
        assert!(is_accepted(serve.address, &scene.first_frame()));
    }
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2);
}

#[test]
fn where_no_folder_can_be_made_replays_are_remembered_in_memory_and_that_is_said() {
    let scene = Scene::new();
    let serve = scene.serve(&scene.keytab().join("below-a-file"));
    serve.wait_for_stderr("replays are remembered until restart only");
    let frame = scene.first_frame();
    assert!(is_accepted(serve.address, &frame));
    assert!(!is_accepted(serve.address, &frame));
}
