//! A throwaway realm of Heimdal.

use crate::config::krb5_conf;
use crate::etype::names;
use crate::kdc::{END_WITH_INPUT, end_with_input, free_port, on_loopback, unique_file};
use crate::realm::{Env, krb5_env, with_ccache, with_keytab};
use crate::{Clock, Config, Etype, Finished, Process, paths, run};
use std::io::Write;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A Heimdal realm in a temporary folder, with its KDC running. Everything is gone when it is dropped.
///
/// Its programs are Heimdal 7.8's, which `scripts/install-peers` unpacks: its packages cannot be installed beside MIT's.
/// Pre-authentication is required of everyone; SPAKE is not known to this version.
pub struct HeimdalRealm {
    name: String,
    address: SocketAddrV4,
    krb5_conf: PathBuf,
    process: Process,
    // Last, so that the KDC has ended when its folder goes.
    folder: TempDir,
}

/// No administration command takes a tenth of this, but machines that run tests are busy.
const DEADLINE: Duration = Duration::from_secs(30);
const PORTS_TRIED: u32 = 20;

impl HeimdalRealm {
    /// Makes the realm `name` and starts its KDC, by UDP and TCP, with another time if there is a `clock`.
    ///
    /// # Panics
    /// If Heimdal's programs are not there or do not work.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str, clock: Option<Clock>) -> Self {
        let folder =
            tempfile::Builder::new().prefix("countersign-heimdal-").tempdir().expect("a temporary folder");
        let mut kstash = program("usr/sbin/kstash");
        kstash.arg("--random-key").arg(format!("--key-file={}", folder.path().join("master-key").display()));
        run(&mut kstash, DEADLINE).expect_success();
        let lives = ["--realm-max-ticket-life=7d", "--realm-max-renewable-life=14d"];
        kadmin(name, folder.path(), &Etype::DEFAULT, &[&["init"], &lives[..], &[name]].concat());
        let (process, address) = start(name, folder.path(), clock);
        let text = krb5_conf(name, address, &Config::default());
        Self {
            name: name.to_owned(),
            address,
            krb5_conf: unique_file(folder.path(), "krb5-", &text),
            process,
            folder,
        }
    }

    /// The realm's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The realm's folder, where a test may put files of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where its KDC listens, by UDP and TCP.
    #[must_use]
    pub const fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The variables that make any Kerberos program use this realm and nothing of the machine's own configuration.
    #[must_use]
    pub fn env(&self) -> Env {
        krb5_env(&self.krb5_conf, self.folder())
    }

    /// [`env`](Self::env) with [`config`](Self::config) of `config`.
    #[must_use]
    pub fn env_as(&self, config: &Config) -> Env {
        krb5_env(&self.config(config), self.folder())
    }

    /// [`env`](Self::env) for a client whose tickets are in `ccache`.
    #[must_use]
    pub fn client_env(&self, ccache: &Path) -> Env {
        with_ccache(self.env(), ccache)
    }

    /// [`env`](Self::env) for a service whose keys are in `keytab`.
    #[must_use]
    pub fn service_env(&self, keytab: &Path) -> Env {
        with_keytab(self.env(), keytab)
    }

    /// A krb5.conf of this realm with other settings, to be given as KRB5_CONFIG over one of the environments above.
    #[must_use]
    pub fn config(&self, config: &Config) -> PathBuf {
        unique_file(self.folder(), "krb5-", &krb5_conf(&self.name, self.address, config))
    }

    /// Adds a user with keys of `etypes`.
    #[track_caller]
    pub fn add_user(&self, user: &str, password: &str, etypes: &[Etype]) {
        self.add_user_with(user, password, etypes, &[]);
    }

    /// Adds a user as the options of Heimdal's `kadmin add` say: `--expiration-time=2020-01-01`,
    /// `--pw-expiration-time=2020-01-01`, `--attributes=disallow-all-tix` (locked), `--max-ticket-life=1h`.
    #[track_caller]
    pub fn add_user_with(&self, user: &str, password: &str, etypes: &[Etype], options: &[&str]) {
        let password = format!("--password={password}");
        self.kadmin(etypes, &[&["add", "--use-defaults", &password], options, &[user]].concat());
    }

    /// Adds a service (`CLASS/HOST`) with random keys of `etypes`, kvno 1.
    #[track_caller]
    pub fn add_service(&self, spn: &str, etypes: &[Etype]) {
        self.kadmin(etypes, &["add", "--use-defaults", "--random-key", spn]);
    }

    /// Lets a principal be known by another name too. Clients find it by that one if they ask for canonicalization.
    #[track_caller]
    pub fn add_alias(&self, alias: &str, principal: &str) {
        self.kadmin(&Etype::DEFAULT, &["modify", &format!("--alias={alias}"), principal]);
    }

    /// A new keytab with all keys of `principals`.
    #[must_use]
    #[track_caller]
    pub fn keytab(&self, principals: &[&str]) -> PathBuf {
        let path = unique_file(self.folder(), "keytab-", "");
        // As with MIT's kadmin, an empty file is a damaged one.
        std::fs::remove_file(&path).expect("the realm's folder is writable");
        let option = format!("--keytab={}", path.display());
        self.kadmin(&Etype::DEFAULT, &[&["ext_keytab", &option], principals].concat());
        path
    }

    /// Gets a ticket-granting ticket by Heimdal's kinit into a new credential cache and returns its path, or what kinit
    /// said instead. `options` go to kinit: `--canonicalize`, `--enterprise`, `--fast-armor-cache=CCACHE`.
    #[track_caller]
    pub fn kinit(&self, user: &str, password: &str, options: &[&str]) -> Result<PathBuf, Finished> {
        self.kinit_as(&self.env(), user, password, options)
    }

    /// [`kinit`](Self::kinit) with another environment.
    #[track_caller]
    pub fn kinit_as(
        &self,
        env: &Env,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<PathBuf, Finished> {
        let ccache = unique_file(self.folder(), "ccache-", "");
        let mut command = program("usr/bin/kinit.heimdal");
        command.envs(with_ccache(env.clone(), &ccache)).arg("--password-file=STDIN").args(options).arg(user);
        let mut process = Process::start(&mut command);
        let mut stdin = process.stdin().expect("a process has one stdin");
        writeln!(stdin, "{password}").expect("kinit reads the password");
        drop(stdin);
        let done = process.finish(DEADLINE);
        if done.code() == 0 { Ok(ccache) } else { Err(done) }
    }

    /// Gets a ticket for a service by Heimdal's kgetcred into `ccache`; whether it succeeded is for the caller to see.
    /// `options` go to kgetcred: `--canonicalize`.
    #[must_use]
    #[track_caller]
    pub fn kgetcred(&self, spn: &str, ccache: &Path, options: &[&str]) -> Finished {
        let mut command = program("usr/bin/kgetcred");
        run(command.envs(self.client_env(ccache)).args(options).arg(spn), DEADLINE)
    }

    /// What Heimdal's `klist --verbose` says of `ccache`.
    #[must_use]
    #[track_caller]
    pub fn klist(&self, ccache: &Path) -> String {
        let mut command = program("usr/bin/heimtools");
        command.envs(self.client_env(ccache)).args(["klist", "--verbose"]);
        run(&mut command, DEADLINE).expect_success().text()
    }

    #[track_caller]
    fn kadmin(&self, etypes: &[Etype], arguments: &[&str]) {
        kadmin(&self.name, self.folder(), etypes, arguments);
    }
}

impl Drop for HeimdalRealm {
    fn drop(&mut self) {
        end_with_input(&mut self.process);
    }
}

/// Runs kadmin on the database in `folder`; principals that it adds get keys of `etypes`.
#[track_caller]
fn kadmin(realm: &str, folder: &Path, etypes: &[Etype], arguments: &[&str]) {
    let config = unique_file(folder, "kadmin-", &kdc_conf(realm, folder, etypes));
    let mut command = program("usr/bin/kadmin.heimdal");
    command.env("KRB5_CONFIG", config).args(["--local", &format!("--realm={realm}")]).args(arguments);
    run(&mut command, DEADLINE).expect_success();
}

/// Starts a KDC on a free port; it answers when this returns.
#[track_caller]
fn start(realm: &str, folder: &Path, clock: Option<Clock>) -> (Process, SocketAddrV4) {
    let mut log = String::new();
    for _ in 0..PORTS_TRIED {
        match try_port(realm, folder, free_port(), clock) {
            Ok(started) => return started,
            // Somebody took the port between our look and the KDC's bind: another one.
            Err(output) => log = output,
        }
    }
    panic!("Heimdal's kdc did not start on any of {PORTS_TRIED} ports; at the last it said: {log}")
}

fn try_port(
    realm: &str,
    folder: &Path,
    port: u16,
    clock: Option<Clock>,
) -> Result<(Process, SocketAddrV4), String> {
    let config = unique_file(folder, "kdc-", &kdc_conf(realm, folder, &Etype::DEFAULT));
    let kdc = installed("usr/lib/heimdal-servers/kdc");
    let mut command = Command::new("sh");
    command.args(["-c", END_WITH_INPUT, "sh"]).arg(kdc).arg(format!("--config-file={}", config.display()));
    command.args(["--addresses=127.0.0.1", &format!("--ports={port}")]);
    command.env("KRB5_CONFIG", &config).envs(clock.map(Clock::env).unwrap_or_default());
    let mut process = Process::start(&mut command);
    // The log tells of each socket that was bound, by this KDC alone: a stranger on the port cannot be mistaken for it.
    let deadline = Instant::now() + Duration::from_secs(10);
    let log = folder.join("kdc.log");
    let bound =
        ["udp", "tcp"].map(|transport| format!("listening on IPv4:127.0.0.1 port {port}/{transport}"));
    loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if bound.iter().all(|line| said.contains(line)) {
            return Ok((process, on_loopback(port)));
        }
        if !process.is_running() || Instant::now() > deadline {
            return Err(process.stderr() + &said);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The configuration of the KDC and of kadmin, which read it from a krb5.conf.
fn kdc_conf(realm: &str, folder: &Path, etypes: &[Etype]) -> String {
    let weak = Config { allow_weak_crypto: true, ..Config::default() };
    let folder = folder.display();
    krb5_conf(realm, on_loopback(0), &weak)
        + &format!(
            "[kdc]\n\
             database = {{\n\
             dbname = sqlite:{folder}/heimdal\n\
             realm = {realm}\n\
             mkey_file = {folder}/master-key\n\
             acl_file = {folder}/acl\n\
             log_file = {folder}/changes\n\
             }}\n\
             require-preauth = true\n\
             num-kdc-processes = 1\n\
             [kadmin]\n\
             default_keys = {keys}\n\
             [logging]\n\
             kdc = 0-/FILE:{folder}/kdc.log\n",
            keys = names(etypes, ":pw-salt", " ")
        )
}

/// A program of Heimdal's, to be given its arguments.
#[track_caller]
fn program(path: &str) -> Command {
    Command::new(installed(path))
}

#[track_caller]
fn installed(path: &str) -> PathBuf {
    let program = paths::target_dir().join("peers/heimdal").join(path);
    assert!(program.is_file(), "{} is missing; scripts/install-peers unpacks it", program.display());
    program
}
