//! What the tests of `countersign realm` share: a realm in a folder, its server, and MIT's clients of it.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too; no test program uses all of them"
)]

use super::support::{DEADLINE, countersign};
use countersign_testkit::{Env, Finished, Process, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub(crate) const REALM: &str = "OWN.TEST";

/// The password of every user.
pub(crate) const PASSWORD: &str = "Secret.123";

/// A temporary folder, and in it a realm.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    /// A folder without a realm.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A new realm.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// A new realm that grants what the options of `init` say.
    #[track_caller]
    pub(crate) fn with(options: &[&str]) -> Self {
        let home = Self::empty();
        home.realm("init", &[&[REALM], options].concat()).expect_success();
        home
    }

    /// The temporary folder itself.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The realm's folder.
    pub(crate) fn realm_folder(&self) -> PathBuf {
        self.path().join("realm")
    }

    /// `countersign realm COMMAND --realm FOLDER`, to be run.
    pub(crate) fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut line = countersign(&["realm", command, "--realm"]);
        line.arg(self.realm_folder()).args(arguments);
        line
    }

    /// The same, run to its end.
    #[track_caller]
    pub(crate) fn realm(&self, command: &str, arguments: &[&str]) -> Finished {
        run(&mut self.command(command, arguments), DEADLINE)
    }

    /// A file with a password.
    pub(crate) fn password_file(&self, password: &str) -> String {
        let path = self.path().join("password");
        std::fs::write(&path, format!("{password}\n")).expect("the folder is writable");
        path.to_str().expect("a path of a test is UTF-8").to_owned()
    }

    #[track_caller]
    pub(crate) fn add_user(&self, user: &str, options: &[&str]) {
        let file = self.password_file(PASSWORD);
        let arguments = [&["--password-file", &file, user], options].concat();
        self.realm("add-user", &arguments).expect_success();
    }

    #[track_caller]
    pub(crate) fn add_service(&self, service: &str) {
        self.realm("add-service", &[service]).expect_success();
    }

    /// The keytab of `services`.
    #[track_caller]
    pub(crate) fn keytab(&self, services: &[&str]) -> PathBuf {
        let path = self.path().join("keytab");
        let text = path.to_str().expect("a path of a test is UTF-8");
        self.realm("export-keytab", &[&["--keytab", text], services].concat()).expect_success();
        path
    }

    /// What `list --json` says, by name.
    #[track_caller]
    pub(crate) fn account(&self, name: &str) -> Option<Value> {
        self.accounts().into_iter().find(|account| account["name"] == name)
    }

    #[track_caller]
    pub(crate) fn accounts(&self) -> Vec<Value> {
        let list = self.realm("list", &["--json"]).expect_success().text();
        list.lines().map(|line| serde_json::from_str(line).expect("JSON in each line")).collect()
    }

    #[track_caller]
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    #[track_caller]
    pub(crate) fn serve_with(&self, options: &[&str]) -> Server {
        let audit = self.path().join("audit.jsonl");
        let mut command = self.command("serve", &["--listen", "127.0.0.1:0"]);
        let process = Process::start(command.args(options).arg("--audit").arg(&audit));
        let address = process.listening();
        Server { process, address, audit }
    }

    /// The mode of a file in the realm's folder.
    #[track_caller]
    pub(crate) fn mode(&self, name: &str) -> u32 {
        let path = self.realm_folder().join(name);
        let metadata = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        metadata.permissions().mode() & 0o7777
    }
}

/// A running `countersign realm serve`.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    audit: PathBuf,
}

impl Server {
    /// One that was started in another way, and has no audit file.
    pub(crate) fn of(process: Process, address: SocketAddr) -> Self {
        Self { process, address, audit: PathBuf::new() }
    }

    /// Ends it as an operator does.
    #[track_caller]
    pub(crate) fn end(self) -> Finished {
        self.signal(Signal::TERM);
        self.process.finish(DEADLINE)
    }

    /// Kills it as a crash does.
    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.process.finish(DEADLINE);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the server runs");
    }

    /// The lines of the audit file so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit).expect("serve has made the audit file");
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object in each line")).collect()
    }
}

/// MIT's programs on a machine whose only KDC is a server of ours.
pub(crate) struct Client {
    folder: TempDir,
    env: Env,
}

impl Client {
    /// With further lines of `[libdefaults]`.
    pub(crate) fn of(server: SocketAddr, libdefaults: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let conf = folder.path().join("krb5.conf");
        let text = format!(
            "[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n\
             dns_canonicalize_hostname = false\nrdns = false\nspake_preauth_groups = edwards25519 P-256\n\
             {libdefaults}\n[realms]\n{REALM} = {{\nkdc = {server}\n}}\n"
        );
        std::fs::write(&conf, text).expect("the folder is writable");
        let env = vec![
            ("KRB5_CONFIG".to_owned(), conf.into()),
            ("KRB5CCNAME".to_owned(), folder.path().join("ccache").into()),
            ("KRB5_KTNAME".to_owned(), folder.path().join("no-keytab").into()),
            ("KRB5_TRACE".to_owned(), folder.path().join("trace").into()),
            ("TZ".to_owned(), "UTC".into()),
        ];
        Self { folder, env }
    }

    pub(crate) fn env(&self) -> Env {
        self.env.clone()
    }

    pub(crate) fn ccache(&self) -> PathBuf {
        self.folder.path().join("ccache")
    }

    /// Any of MIT's programs.
    pub(crate) fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(name);
        command.args(arguments).envs(self.env());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Finished {
        run(&mut self.program(name, arguments), DEADLINE)
    }

    /// kinit with a password.
    #[track_caller]
    pub(crate) fn kinit(&self, password: &str, arguments: &[&str]) -> Finished {
        let mut kinit = Process::start(&mut self.program("kinit", arguments));
        let mut stdin = kinit.stdin().expect("a process has one stdin");
        writeln!(stdin, "{password}").expect("kinit reads the password");
        drop(stdin);
        kinit.finish(DEADLINE)
    }

    /// What MIT's library told of its way so far.
    pub(crate) fn trace(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("trace")).unwrap_or_default()
    }
}
