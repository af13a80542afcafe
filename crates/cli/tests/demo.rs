//! `countersign demo`, the first command of a newcomer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use countersign_testkit::run;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_demo_shows_every_step_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    // Nothing of this machine's own is used.
    command.arg("demo").env_clear().env("TMPDIR", folder.path());
    let done = run(&mut command, Duration::from_secs(60)).expect_success();
    let text = done.text();
    for step in [
        "The service knows: alice@DEMO.TEST.",
        "alice knows: echo/service.demo.test@DEMO.TEST.",
        "bytes on the wire, unreadable) and came back: \"hello\".",
        "the realm's KDC says why: CS-6003",
        "the service says why: CS-3005",
        "alice says why: CS-4001",
    ] {
        assert!(text.contains(step), "{text} lacks {step}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo left something");
}
