//! What the tests of files share that we and other programs change at the same time.

use countersign_testkit::{Process, run};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// No step of a test takes a tenth of this, but machines that run tests are busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// One of MIT's programs, without any configuration of the machine's.
pub(crate) fn mit(program: &str) -> Command {
    let mut command = Command::new(program);
    command.envs([("KRB5_CONFIG", "/dev/null"), ("TZ", "UTC")]);
    command
}

/// What such a program says.
#[track_caller]
pub(crate) fn said(command: &mut Command) -> String {
    run(command, DEADLINE).expect_success().text()
}

/// This program again, running only the test `test`, which others leave out, on the file `path`.
pub(crate) fn writer(test: &str, path: &Path, name: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    Process::start(command.env("WRITER_PATH", path).env("WRITER_NAME", name))
}

/// In a process that [`writer`] started: its file.
pub(crate) fn writer_path() -> PathBuf {
    argument("WRITER_PATH").into()
}

/// In a process that [`writer`] started: its name.
pub(crate) fn writer_name() -> String {
    argument("WRITER_NAME")
}

fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by the test that starts this one"))
}

/// Eight writers at once.
pub(crate) struct Writers(Vec<(String, Process)>);

impl Writers {
    pub(crate) fn start(test: &str, path: &Path) -> Self {
        let names = (0..8).map(|number| format!("ours{number}"));
        Self(names.map(|name| (name.clone(), writer(test, path, &name))).collect())
    }

    /// Waits for their ends. Returns their names.
    #[track_caller]
    pub(crate) fn finish(self) -> Vec<String> {
        let finish = |(name, process): (String, Process)| {
            let done = process.finish(DEADLINE).expect_success();
            assert!(done.text().contains("1 passed"), "{done:?}");
            name
        };
        self.0.into_iter().map(finish).collect()
    }
}
