//! The peer programs: where they are, and how they come to be.

use crate::paths;
use crate::process::run;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// Whose GSS-API library a peer is built on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Library {
    /// MIT krb5.
    Mit,
    /// Heimdal.
    Heimdal,
}

/// The peers, built and ready.
#[derive(Debug)]
pub struct Peers {
    mit: PathBuf,
    heimdal: PathBuf,
}

const SOURCES: [&str; 3] = ["gss_peer.c", "peer_io.c", "peer_krb5.c"];
const HEADERS: [&str; 1] = ["peer.h"];

impl Peers {
    /// Builds what is missing or older than its source, once for all tests that run at the same time.
    ///
    /// # Panics
    /// If a library, its headers or the compiler is missing, or the build fails.
    #[track_caller]
    pub fn get() -> &'static Self {
        static PEERS: OnceLock<Peers> = OnceLock::new();
        PEERS.get_or_init(Self::build)
    }

    /// `gss_peer` built on `library`; its usage text stands in testkit/peers/gss_peer.c.
    #[must_use]
    pub fn command(&self, library: Library) -> Command {
        Command::new(match library {
            Library::Mit => &self.mit,
            Library::Heimdal => &self.heimdal,
        })
    }

    /// The Python initiator on MIT's library, testkit/peers/gss_client.py.
    ///
    /// # Panics
    /// If the virtual environment that `scripts/install-peers` makes is missing.
    #[must_use]
    #[track_caller]
    pub fn python(&self) -> Command {
        let python = paths::target_dir().join("venv/bin/python");
        assert!(python.is_file(), "{} is missing; scripts/install-peers makes it", python.display());
        let mut command = Command::new(python);
        command.arg(paths::peer_sources().join("gss_client.py"));
        command
    }

    fn build() -> Self {
        let folder = paths::target_dir().join("peers");
        std::fs::create_dir_all(&folder).expect("the target folder is writable");
        let lock = File::create(folder.join("lock")).expect("the target folder is writable");
        // Held until the end of this function; other test binaries wait here.
        lock.lock().expect("the lock file can be locked");
        let peers = Self { mit: folder.join("gss_peer_mit"), heimdal: folder.join("gss_peer_heimdal") };
        compile(&peers.mit, &["mit-krb5", "mit-krb5-gssapi"], &[]);
        compile(&peers.heimdal, &["heimdal-krb5", "heimdal-gssapi"], &["-DHEIMDAL"]);
        peers
    }
}

fn compile(program: &Path, modules: &[&str], defines: &[&str]) {
    let sources = SOURCES.map(|name| paths::peer_sources().join(name));
    let headers = HEADERS.map(|name| paths::peer_sources().join(name));
    if modified(program)
        .is_some_and(|built| sources.iter().chain(&headers).all(|file| modified(file) < Some(built)))
    {
        return;
    }
    let library =
        run(Command::new(paths::program("pkg-config")).args(["--cflags", "--libs"]).args(modules), MINUTE);
    assert!(
        library.status.success(),
        "{} not found; scripts/install-peers installs them\n{}",
        modules.join(" and "),
        library.stderr
    );
    let library = library.text();
    // A name of its own until it is whole: a build that is cut off leaves nothing that looks done.
    let unfinished = program.with_extension("part");
    let mut compiler = Command::new(paths::program("cc"));
    compiler.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]).args(defines).args(&sources);
    compiler.args(library.split_whitespace().map(OsStr::new)).arg("-o").arg(&unfinished);
    run(&mut compiler, MINUTE).expect_success();
    std::fs::rename(&unfinished, program).expect("the target folder is writable");
}

const MINUTE: Duration = Duration::from_secs(60);

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
