//! .NET's `NegotiateStream` as a peer.

use crate::peers::{BuildLock, built, is_newer};
use crate::process::run;
use crate::{Env, Finished, Process, paths};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Starts the program testkit/peers/nns/NegotiatePeer.cs, where its usage stands, on a .NET runtime. It authenticates
/// through this machine's MIT library, so an [`Env`] of a [`Realm`](crate::Realm) is all it needs.
#[derive(Debug)]
pub struct DotNet {
    runtime: Runtime,
    program: PathBuf,
}

/// A runtime, with its own writing of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// .NET Core 3.1: errors are big-endian, as in .NET Framework.
    Core31,
    /// .NET 8: errors are little-endian.
    Net8,
}

/// What an end demands of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// `ProtectionLevel.EncryptAndSign`
    EncryptAndSign,
    /// `ProtectionLevel.Sign`
    Sign,
    /// `ProtectionLevel.None`
    None,
}

/// What one end of a connection said about it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its lines, without the bytes that a client received.
    pub lines: Vec<String>,
    /// What a client received.
    pub received: Vec<u8>,
}

const DEADLINE: Duration = Duration::from_secs(120);

/// What the program uses of the runtime.
const ASSEMBLIES: [&str; 10] = [
    "System.Private.CoreLib.dll",
    "System.Runtime.dll",
    "System.Runtime.Extensions.dll",
    "System.Runtime.InteropServices.dll",
    "System.Console.dll",
    "System.Net.Primitives.dll",
    "System.Net.Security.dll",
    "System.Net.Sockets.dll",
    "System.Security.Principal.dll",
    "Microsoft.Win32.Primitives.dll",
];

impl DotNet {
    /// The program on `runtime`, built if it is missing or older than its source.
    ///
    /// # Panics
    /// If the runtime or the compiler is missing, or the build fails.
    #[must_use]
    #[track_caller]
    pub fn get(runtime: Runtime) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| {
            let _lock = BuildLock::take();
            let program = built("NegotiatePeer.dll");
            build(&program);
            program
        });
        Self { runtime, program: program.clone() }
    }

    /// A client of the service `spn` (`CLASS/HOST`) at `address`; `options` as the usage text says.
    #[must_use]
    pub fn client(
        &self,
        env: &Env,
        address: SocketAddr,
        spn: &str,
        level: Level,
        options: &[&str],
    ) -> Command {
        let mut command = self.command("client", env, address);
        command.args([spn, level.name()]).args(options);
        command
    }

    /// Runs a client that sends `data` and reads what comes back, to its end, whatever that is.
    ///
    /// # Panics
    /// If it does not end in two minutes.
    #[track_caller]
    pub fn exchange(mut client: Command, data: Vec<u8>) -> Told {
        let mut process = Process::start(&mut client);
        let mut stdin = process.stdin().expect("a process has one stdin");
        // A client that fails before it has read all leaves a broken pipe; what it says tells why.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&data)));
        let done = process.finish(DEADLINE);
        writer.join().expect("the writing thread does not panic");
        Told::of(&done)
    }

    /// Starts a server that demands `level` of each of `connections` connections, one after the other, and gives back what
    /// it is sent. It ends after the last.
    ///
    /// # Panics
    /// If it does not listen within ten seconds.
    #[must_use]
    #[track_caller]
    pub fn server(&self, env: &Env, level: Level, connections: usize) -> (Process, SocketAddr) {
        let mut command = self.command("server", env, SocketAddr::from(([127, 0, 0, 1], 0)));
        command.args([level.name(), &connections.to_string()]);
        let process = Process::start(&mut command);
        let address = process.listening();
        (process, address)
    }

    fn command(&self, role: &str, env: &Env, address: SocketAddr) -> Command {
        let mut command = Command::new(dotnet().join("dotnet"));
        command.args(["exec", "--fx-version", self.runtime.version(), "--runtimeconfig"]);
        command.arg(source("NegotiatePeer.runtimeconfig.json"));
        command.arg(&self.program).arg(role).args([address.ip().to_string(), address.port().to_string()]);
        // Without it the runtime leaves a socket and a file of shared memory in the folder of temporary files.
        command.env("COMPlus_EnableDiagnostics", "0").envs(env.iter().cloned());
        command
    }
}

/// Builds `program` unless it is newer than its source. Every runtime takes what was built for the oldest.
#[track_caller]
fn build(program: &Path) {
    let source = source("NegotiatePeer.cs");
    if is_newer(program, std::slice::from_ref(&source)) {
        return;
    }
    // A name of its own until it is whole: a build that is cut off leaves nothing that looks done.
    let unfinished = program.with_extension("part");
    let (mono, settings) = (built("mono/usr"), built("mono/etc"));
    let libraries = mono.join("lib/mono/4.5");
    let mut compiler = Command::new(mono.join("bin/mono-sgen"));
    compiler.env("MONO_PATH", &libraries).env("MONO_GAC_PREFIX", &mono).env("MONO_CFG_DIR", settings);
    // Warning 1702: facades and what stands behind them name the same assembly in two ways.
    compiler.arg(libraries.join("mcs.exe")).args(["-nostdlib", "-warnaserror", "-nowarn:1702"]);
    let framework = dotnet().join("shared/Microsoft.NETCore.App").join(Runtime::Core31.version());
    compiler.arg(option("-lib:", &framework));
    compiler.args(ASSEMBLIES.map(|name| format!("-r:{name}")));
    compiler.arg(option("-out:", &unfinished)).arg(&source);
    run(&mut compiler, DEADLINE).expect_success();
    std::fs::rename(&unfinished, program).expect("the target folder is writable");
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Core31, Self::Net8];

    const fn version(self) -> &'static str {
        match self {
            Self::Core31 => "3.1.23",
            Self::Net8 => "8.0.15",
        }
    }
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::EncryptAndSign => "encrypt",
            Self::Sign => "sign",
            Self::None => "none",
        }
    }
}

impl Told {
    /// What a program that has ended said. A server of several connections said this of all of them.
    ///
    /// # Panics
    /// If it ended otherwise than on purpose, or its lines are no text.
    #[must_use]
    #[track_caller]
    pub fn of(done: &Finished) -> Self {
        assert!(matches!(done.code(), 0 | 1), "{done:?}");
        let mut rest = &done.stdout[..];
        let mut lines = Vec::new();
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8(rest[..end].to_vec()).expect("a line is text");
            rest = &rest[end + 1..];
            let last = line.strip_prefix("received ").is_some_and(|count| count == rest.len().to_string());
            lines.push(line);
            if last {
                break;
            }
        }
        Self { lines, received: rest.to_vec() }
    }

    /// Whether the handshake ended well.
    #[must_use]
    pub fn authenticated(&self) -> bool {
        self.lines.iter().any(|line| line == "authenticated")
    }

    /// What follows the first `key` at the start of a line, as `mutual` or `remote`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    }

    /// Whether some exception has `text` in its type or its message.
    #[must_use]
    pub fn excepts(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.starts_with("exception ") && line.contains(text))
    }
}

/// The folder of the runtimes.
#[track_caller]
fn dotnet() -> PathBuf {
    let folder = built("dotnet");
    assert!(
        folder.join("dotnet").is_file(),
        "{} is missing; scripts/install-peers makes it",
        folder.display()
    );
    folder
}

fn source(name: &str) -> PathBuf {
    paths::peer_sources().join("nns").join(name)
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}
