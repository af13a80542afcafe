//! The programs of Debian sid, in a root of their own.

use crate::peers::{BuildLock, C_OPTIONS, HEADERS, SOURCES, is_newer};
use crate::process::run;
use crate::{Finished, paths};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// A root of Debian sid, with MIT krb5 1.22 in it: the first release whose IAKERB is the one that is now standardised.
///
/// Its programs see this machine's network, loopback included, and its folder of temporary files under the same name, and
/// else nothing of this machine: no path outside that folder, no library, no configuration.
#[derive(Debug)]
pub struct Sid {
    root: PathBuf,
}

/// Where scripts/test-sid makes the root if COUNTERSIGN_SID does not say otherwise.
const ROOT: &str = "/var/cache/countersign-sid";

/// `gss_peer`, as seen in the root.
const PEER: &str = "/opt/countersign/gss_peer";

/// Mounts the folder `$1` of temporary files in the root `$2` and becomes the rest of the arguments in there. The mount is
/// seen by this process alone and goes with it.
const ENTER: &str = r#"temporary=$1 root=$2
shift 2
mkdir -p "$root$temporary" && mount --bind "$temporary" "$root$temporary" && exec chroot "$root" "$@""#;

const DEADLINE: Duration = Duration::from_secs(60);

impl Sid {
    /// Finds the root, and builds `gss_peer` in it if it is missing or older than its source.
    ///
    /// # Panics
    /// If there is no root, this process may not chroot into it, or the build fails.
    #[track_caller]
    pub fn get() -> &'static Self {
        static SID: OnceLock<Sid> = OnceLock::new();
        SID.get_or_init(|| {
            let root = std::env::var_os("COUNTERSIGN_SID").map_or_else(|| PathBuf::from(ROOT), PathBuf::from);
            assert!(
                root.join("usr/include/gssapi/gssapi.h").is_file(),
                "{} is no root of Debian sid with MIT krb5's headers; scripts/test-sid makes it",
                root.display()
            );
            let sid = Self { root };
            sid.build();
            sid
        })
    }

    /// `gss_peer` built on the root's MIT library; its usage text stands in testkit/peers/gss_peer.c.
    #[must_use]
    #[track_caller]
    pub fn gss_peer(&self) -> Command {
        self.command(PEER)
    }

    /// A program of the root, such as `kinit`. Variables of its environment are for the caller to set, and paths in them
    /// and in its arguments are good if they lie in the folder of temporary files, where every [`Realm`](crate::Realm) is.
    #[must_use]
    #[track_caller]
    pub fn command(&self, program: &str) -> Command {
        let temporary = std::env::temp_dir().canonicalize().expect("there is a folder of temporary files");
        let mut command = Command::new(paths::program("unshare"));
        command.args(["--mount", "sh", "-c", ENTER, "sh"]).arg(temporary).arg(&self.root).arg(program);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// The version of one of the root's packages, such as `libkrb5-3`, as Debian counts it.
    #[must_use]
    #[track_caller]
    pub fn version(&self, package: &str) -> String {
        self.run(self.command("dpkg-query").args(["-W", "-f", "${Version}", package])).text()
    }

    #[track_caller]
    fn build(&self) {
        let _lock = BuildLock::take();
        let program = self.inside(PEER);
        let names = [&SOURCES[..], &HEADERS].concat();
        let files: Vec<PathBuf> = names.iter().map(|name| paths::peer_sources().join(name)).collect();
        if is_newer(&program, &files) {
            return;
        }
        let folder = program.parent().expect("the program stands in a folder");
        std::fs::create_dir_all(folder).expect("the root is writable");
        for (file, name) in files.iter().zip(names) {
            std::fs::copy(file, folder.join(name)).expect("the root is writable");
        }
        let mut compiler = self.command("cc");
        compiler.args(C_OPTIONS).args(SOURCES.map(|name| self.seen(&folder.join(name))));
        // A name of its own until it is whole: a build that is cut off leaves nothing that looks done.
        let unfinished = program.with_extension("part");
        compiler.args(["-lgssapi_krb5", "-lkrb5", "-o"]).arg(self.seen(&unfinished));
        self.run(&mut compiler);
        std::fs::rename(&unfinished, &program).expect("the root is writable");
    }

    #[track_caller]
    fn run(&self, command: &mut Command) -> Finished {
        let done = run(command, DEADLINE);
        assert!(
            done.code() == 0,
            "{}: as root, by scripts/test-sid, this works: {done:?}",
            self.root.display()
        );
        done
    }

    /// The path outside of what is `path` in the root.
    fn inside(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The path in the root of what is `path` outside.
    fn seen(&self, path: &Path) -> PathBuf {
        Path::new("/").join(path.strip_prefix(&self.root).expect("a path below the root"))
    }
}
