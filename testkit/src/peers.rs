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

/// What gss_peer is built from.
pub(crate) const SOURCES: [&str; 4] = ["gss_peer.c", "peer_io.c", "peer_krb5.c", "peer_mech.c"];
/// What the sources include.
pub(crate) const HEADERS: [&str; 1] = ["peer.h"];
/// What every peer is compiled with.
pub(crate) const C_OPTIONS: [&str; 5] = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"];

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
        script("gss_client.py")
    }

    /// The initiator and acceptor of pyspnego, testkit/peers/spnego_peer.py, whose usage text stands there: SPNEGO and
    /// NTLM written in Python, Kerberos from MIT's library.
    ///
    /// # Panics
    /// As [`python`](Self::python).
    #[must_use]
    #[track_caller]
    pub fn pyspnego(&self) -> Command {
        script("spnego_peer.py")
    }

    /// Both ends of NNS over the contexts of pyspnego, testkit/peers/nns_peer.py, whose usage text stands there.
    ///
    /// # Panics
    /// As [`python`](Self::python).
    #[must_use]
    #[track_caller]
    pub fn nns() -> Command {
        script("nns_peer.py")
    }

    /// The module kdcproxy as an HTTPS proxy for KDCs, testkit/peers/kdcproxy_peer.py, whose usage text stands there.
    ///
    /// # Panics
    /// If scripts/install-peers has not made the Python environment.
    #[must_use]
    #[track_caller]
    pub fn kdcproxy() -> Command {
        script("kdcproxy_peer.py")
    }

    /// MIT's reader of krb5.conf, testkit/peers/profile_peer.c, where its usage text stands.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    #[track_caller]
    pub fn profile() -> Command {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| {
            let _lock = BuildLock::take();
            let program = built("profile_peer");
            compile(&program, &["profile_peer.c"], || libraries(&["mit-krb5"]));
            program
        });
        Command::new(program)
    }

    fn build() -> Self {
        let _lock = BuildLock::take();
        let peers = Self { mit: built("gss_peer_mit"), heimdal: built("gss_peer_heimdal") };
        let sources = [&SOURCES[..], &HEADERS].concat();
        compile(&peers.mit, &sources, || libraries(&["mit-krb5", "mit-krb5-gssapi"]));
        compile(&peers.heimdal, &sources, || {
            [vec!["-DHEIMDAL".to_owned()], libraries(&["heimdal-krb5", "heimdal-gssapi"])].concat()
        });
        peers
    }
}

#[track_caller]
fn script(name: &str) -> Command {
    let python = paths::target_dir().join("venv/bin/python");
    assert!(python.is_file(), "{} is missing; scripts/install-peers makes it", python.display());
    let mut command = Command::new(python);
    // Without -B Python would write a cache beside the sources.
    command.arg("-B").arg(paths::peer_sources().join(name));
    command
}

/// The path of something that [`compile`] makes.
pub(crate) fn built(name: &str) -> PathBuf {
    paths::target_dir().join("peers").join(name)
}

/// Held while peers are built; other test programs wait for it.
pub(crate) struct BuildLock {
    _file: File,
}

impl BuildLock {
    #[track_caller]
    pub(crate) fn take() -> Self {
        std::fs::create_dir_all(built("")).expect("the target folder is writable");
        let file = File::create(built("lock")).expect("the target folder is writable");
        file.lock().expect("the lock file can be locked");
        Self { _file: file }
    }
}

/// Builds `program` from `files`, C sources and headers, with further `options`, unless it is newer than they are.
#[track_caller]
pub(crate) fn compile(program: &Path, files: &[&str], options: impl FnOnce() -> Vec<String>) {
    let files: Vec<PathBuf> = files.iter().map(|name| paths::peer_sources().join(name)).collect();
    if is_newer(program, &files) {
        return;
    }
    let sources = files.iter().filter(|file| file.extension() == Some(OsStr::new("c")));
    // A name of its own until it is whole: a build that is cut off leaves nothing that looks done.
    let unfinished = program.with_extension("part");
    let mut compiler = Command::new(paths::program("cc"));
    compiler.args(C_OPTIONS).args(sources);
    compiler.args(options()).arg("-o").arg(&unfinished);
    run(&mut compiler, MINUTE).expect_success();
    std::fs::rename(&unfinished, program).expect("the target folder is writable");
}

/// The compiler's options for installed libraries.
#[track_caller]
fn libraries(modules: &[&str]) -> Vec<String> {
    let found =
        run(Command::new(paths::program("pkg-config")).args(["--cflags", "--libs"]).args(modules), MINUTE);
    assert!(
        found.status.success(),
        "{} not found; scripts/install-peers installs them\n{}",
        modules.join(" and "),
        found.stderr
    );
    found.text().split_whitespace().map(str::to_owned).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

/// Whether `program` is there and was built after the last change of `files`.
pub(crate) fn is_newer(program: &Path, files: &[PathBuf]) -> bool {
    modified(program).is_some_and(|built| files.iter().all(|file| modified(file) < Some(built)))
}

fn modified(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}
