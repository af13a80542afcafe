//! A throwaway realm.

use crate::etype::names;
use crate::kdc::KdcOptions;
use crate::kdc::{on_loopback, unique_file};
use crate::{Clock, Config, Etype, Finished, Kdc, Process, paths};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Environment variables for a program, ready for [`Command::envs`].
pub type Env = Vec<(String, OsString)>;

/// An MIT realm in a temporary folder, with its KDC running. Everything is gone when it is dropped.
///
/// Service keys come from a text that is derived from the service's name and salted with the realm alone, so that
/// [`add_alias`](Self::add_alias) can give two principals one key.
pub struct Realm {
    name: String,
    kdc: Kdc,
    krb5_conf: PathBuf,
    kdc_conf: PathBuf,
    // Last, so that the KDC has ended when its folder goes.
    folder: TempDir,
}

/// No administration command takes a tenth of this, but machines that run tests are busy.
const DEADLINE: Duration = Duration::from_secs(30);

impl Realm {
    /// Makes the realm `name` and starts its KDC.
    ///
    /// # Panics
    /// If MIT's KDC programs are not installed or do not work.
    #[must_use]
    #[track_caller]
    pub fn new(name: &str) -> Self {
        Self::with(name, &KdcOptions::default())
    }

    /// Makes the realm `name` and starts a KDC that behaves as `options` say.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    #[track_caller]
    pub fn with(name: &str, options: &KdcOptions) -> Self {
        let folder =
            tempfile::Builder::new().prefix("countersign-realm-").tempdir().expect("a temporary folder");
        let no_kdc = crate::config::krb5_conf(name, on_loopback(0), &Config::default());
        let krb5_conf = unique_file(folder.path(), "krb5-", &no_kdc);
        let profile = crate::config::kdc_conf(name, folder.path(), 0, &KdcOptions::default());
        let kdc_conf = unique_file(folder.path(), "kdc-", &profile);
        let mut create = Command::new(paths::program("kdb5_util"));
        create.args(["-r", name, "-P", "master", "create", "-s"]);
        create.env("KRB5_CONFIG", krb5_conf).env("KRB5_KDC_PROFILE", &kdc_conf);
        crate::run(&mut create, DEADLINE).expect_success();
        let kdc = Kdc::start(name, folder.path(), options);
        Self { name: name.to_owned(), krb5_conf: kdc.config(&Config::default()), kdc, kdc_conf, folder }
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

    /// The realm's KDC.
    #[must_use]
    pub const fn kdc(&self) -> &Kdc {
        &self.kdc
    }

    /// A second KDC over the same accounts whose clock is `clock`. Tickets got from it, by clients with the same clock
    /// and a configuration from [`Kdc::config`], lie in its time: not yet valid, or expired, by this machine's.
    #[must_use]
    #[track_caller]
    pub fn kdc_at(&self, clock: Clock) -> Kdc {
        self.kdc_with(&KdcOptions { clock: Some(clock), ..KdcOptions::default() })
    }

    /// A second KDC over the same accounts that behaves as `options` say.
    #[must_use]
    #[track_caller]
    pub fn kdc_with(&self, options: &KdcOptions) -> Kdc {
        Kdc::start(&self.name, self.folder(), options)
    }

    /// The variables that make any program use this realm and nothing of the machine's own configuration.
    #[must_use]
    pub fn env(&self) -> Env {
        with(krb5_env(&self.krb5_conf, self.folder()), "KRB5_KDC_PROFILE", &self.kdc_conf)
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

    /// [`env`](Self::env) with [`config`](Self::config) of `config`.
    #[must_use]
    pub fn env_as(&self, config: &Config) -> Env {
        with(self.env(), "KRB5_CONFIG", self.config(config))
    }

    /// A krb5.conf of this realm with other settings, to be given as KRB5_CONFIG over one of the environments above.
    #[must_use]
    pub fn config(&self, config: &Config) -> PathBuf {
        self.kdc.config(config)
    }

    /// Adds a user, with keys of the four default etypes.
    #[track_caller]
    pub fn add_user(&self, user: &str, password: &str) {
        self.kadmin(&["addprinc", "-pw", password, user]);
    }

    /// Adds a user as the options of kadmin's `addprinc` say: `+requires_preauth`, `-expire yesterday`, `-pwexpire
    /// yesterday` or `"+10 days"`, `-allow_tix` (locked), `+needchange`, `-maxlife "1 hour"`, `-maxrenewlife`,
    /// `-allow_forwardable`, `-policy NAME`, and `-e ETYPE:SALT,...` for other keys than those of the four default etypes,
    /// where SALT is `normal` or one of MIT's others: `norealm`, `onlyrealm`, or `special`, which is random.
    ///
    /// MIT's database here knows no aliases; [`HeimdalRealm`](crate::HeimdalRealm) has them.
    #[track_caller]
    pub fn add_user_with(&self, user: &str, password: &str, options: &[&str]) {
        self.kadmin(&[&["addprinc", "-pw", password], options, &[user]].concat());
    }

    /// Changes a principal by the options of kadmin's `modprinc`, which are those of `addprinc` but `-e`; further
    /// `-unlock`, and on a service `+ok_as_delegate`.
    #[track_caller]
    pub fn modify(&self, principal: &str, options: &[&str]) {
        self.kadmin(&[&["modprinc"], options, &[principal]].concat());
    }

    /// Gives a user another password, under the next kvno.
    #[track_caller]
    pub fn set_password(&self, user: &str, password: &str) {
        self.kadmin(&["cpw", "-pw", password, user]);
    }

    /// Adds a policy by the options of kadmin's `addpol`, such as `-maxfailure 2` after which an account that
    /// `+requires_preauth` is locked out.
    #[track_caller]
    pub fn add_policy(&self, name: &str, options: &[&str]) {
        self.kadmin(&[&["addpol"], options, &[name]].concat());
    }

    /// Says that tickets for `principal` are for clients alone whose ticket-granting ticket bears `indicator`: `spake` or
    /// `encrypted-challenge`. With `krbtgt/REALM` as the principal the realm lets nobody in who proves himself in another
    /// way.
    #[track_caller]
    pub fn require_auth(&self, principal: &str, indicator: &str) {
        self.kadmin(&["setstr", principal, "require_auth", indicator]);
    }

    /// Lets clients of this realm, and of those that trust goes through to here, have tickets in `other`: both get the
    /// key of `krbtgt/OTHER@THIS`. For both directions call it on both.
    #[track_caller]
    pub fn let_into(&self, other: &Self) {
        let principal = format!("krbtgt/{}@{}", other.name, self.name);
        let password = format!("between {} and {}", self.name, other.name);
        let add = ["addprinc", "-pw", &password, "-e", "aes256-cts-hmac-sha1-96:normal", &principal];
        self.kadmin(&add);
        other.kadmin(&add);
    }

    /// Adds a service (`CLASS/HOST`) with a key of each of `etypes`, kvno 1.
    #[track_caller]
    pub fn add_service(&self, spn: &str, etypes: &[Etype]) {
        self.add_alias(spn, spn, etypes);
    }

    /// Adds the service `alias` with the keys that `add_service(spn, etypes)` gives `spn`: tickets for it can be
    /// decrypted with a keytab that knows `spn` only.
    #[track_caller]
    pub fn add_alias(&self, alias: &str, spn: &str, etypes: &[Etype]) {
        let password = format!("the key of {spn}");
        self.kadmin(&["addprinc", "-pw", &password, "-e", &names(etypes, ":onlyrealm", ","), alias]);
    }

    /// Gives a service new random keys of `etypes` under the next kvno; the KDC keeps the old ones, and new tickets are
    /// for the new.
    #[track_caller]
    pub fn rekey(&self, spn: &str, etypes: &[Etype]) {
        self.kadmin(&["cpw", "-randkey", "-keepold", "-e", &names(etypes, ":normal", ","), spn]);
    }

    /// Says which session keys the KDC may issue for a service, best first. Without it MIT issues SHA-1 session keys even
    /// for a service with SHA-2 keys.
    #[track_caller]
    pub fn set_session_enctypes(&self, spn: &str, etypes: &[Etype]) {
        self.kadmin(&["setstr", spn, "session_enctypes", &names(etypes, "", " ")]);
    }

    /// Adds all keys of a service, as they are now, to the keytab at `path`.
    #[track_caller]
    pub fn ktadd(&self, spn: &str, path: &Path) {
        let path = path.to_str().expect("a path of a test is UTF-8");
        self.kadmin(&["ktadd", "-norandkey", "-k", path, spn]);
    }

    /// A new keytab with all keys of `spns`.
    #[must_use]
    #[track_caller]
    pub fn keytab(&self, spns: &[&str]) -> PathBuf {
        let path = unique_file(self.folder(), "keytab-", "");
        // kadmin takes an empty file for a damaged keytab, none at all for a new one.
        std::fs::remove_file(&path).expect("the realm's folder is writable");
        for spn in spns {
            self.ktadd(spn, &path);
        }
        path
    }

    /// Gets a ticket-granting ticket into a new credential cache and returns its path. `options` go to kinit: `-l 60s`
    /// (lifetime), `-s 1h` (postdated), `-f` (forwardable), `-E` (enterprise name), `-S CLASS/HOST` (this service's ticket
    /// instead).
    #[track_caller]
    pub fn kinit(&self, user: &str, password: &str, options: &[&str]) -> PathBuf {
        self.kinit_as(&self.env(), user, password, options)
    }

    /// [`kinit`](Self::kinit) with another environment, for another clock or configuration.
    #[track_caller]
    pub fn kinit_as(&self, env: &Env, user: &str, password: &str, options: &[&str]) -> PathBuf {
        self.try_kinit_as(env, user, password, options).unwrap_or_else(|done| panic!("{done:?}"))
    }

    /// [`kinit`](Self::kinit) that may fail: what kinit said then.
    #[track_caller]
    pub fn try_kinit(&self, user: &str, password: &str, options: &[&str]) -> Result<PathBuf, Finished> {
        self.try_kinit_as(&self.env(), user, password, options)
    }

    /// [`try_kinit`](Self::try_kinit) with another environment.
    #[track_caller]
    pub fn try_kinit_as(
        &self,
        env: &Env,
        user: &str,
        password: &str,
        options: &[&str],
    ) -> Result<PathBuf, Finished> {
        let ccache = unique_file(self.folder(), "ccache-", "");
        let done = kinit(env, user, password, options, &ccache);
        if done.code() == 0 { Ok(ccache) } else { Err(done) }
    }

    /// Gets a ticket for a service into `ccache`. `options` go to kvno: `-e ETYPE` asks for a session key of that etype.
    #[track_caller]
    pub fn kvno(&self, spn: &str, ccache: &Path, options: &[&str]) {
        self.kvno_as(&self.env(), spn, ccache, options);
    }

    /// [`kvno`](Self::kvno) with another environment, for another clock or configuration.
    #[track_caller]
    pub fn kvno_as(&self, env: &Env, spn: &str, ccache: &Path, options: &[&str]) {
        self.try_kvno_as(env, spn, ccache, options).expect_success();
    }

    /// [`kvno_as`](Self::kvno_as) that may fail: what kvno said, whatever it did.
    #[must_use]
    #[track_caller]
    pub fn try_kvno_as(&self, env: &Env, spn: &str, ccache: &Path, options: &[&str]) -> Finished {
        let mut command = Command::new(paths::program("kvno"));
        command.envs(env.iter().cloned()).args(options).arg("-c").arg(ccache).arg(spn);
        crate::run(&mut command, DEADLINE)
    }

    /// What `klist -e -f` says of `ccache`: tickets with their flags, times and etypes.
    #[must_use]
    #[track_caller]
    pub fn klist(&self, ccache: &Path) -> String {
        let mut command = Command::new(paths::program("klist"));
        command.envs(self.env()).arg("-ef").arg(ccache);
        crate::run(&mut command, DEADLINE).expect_success().text()
    }

    #[track_caller]
    fn kadmin(&self, arguments: &[&str]) -> Finished {
        let mut command = Command::new(paths::program("kadmin.local"));
        command.envs(self.env()).args(["-r", &self.name]).args(arguments);
        crate::run(&mut command, DEADLINE).expect_success()
    }
}

/// Runs kinit into `ccache`; whether it succeeded is for the caller to see.
#[track_caller]
pub(crate) fn kinit(env: &Env, user: &str, password: &str, options: &[&str], ccache: &Path) -> Finished {
    let mut command = Command::new(paths::program("kinit"));
    command.envs(env.iter().cloned()).args(options).arg("-c").arg(ccache).arg(user);
    let mut kinit = Process::start(&mut command);
    let mut stdin = kinit.stdin().expect("a process has one stdin");
    writeln!(stdin, "{password}").expect("kinit reads the password");
    drop(stdin);
    kinit.finish(DEADLINE)
}

/// The variables that make a program use the configuration `krb5_conf`, and nothing of the machine's own: there is
/// neither a ccache nor a keytab, and replays are remembered in `folder`.
pub(crate) fn krb5_env(krb5_conf: &Path, folder: &Path) -> Env {
    vec![
        ("KRB5_CONFIG".into(), krb5_conf.into()),
        ("KRB5CCNAME".into(), prefixed("FILE:", &folder.join("no-ccache"))),
        ("KRB5_KTNAME".into(), prefixed("FILE:", &folder.join("no-keytab"))),
        ("KRB5_CLIENT_KTNAME".into(), prefixed("FILE:", &folder.join("no-client-keytab"))),
        ("KRB5RCACHEDIR".into(), folder.into()),
        ("TZ".into(), "UTC".into()),
    ]
}

/// `env` for a client whose tickets are in `ccache`.
pub(crate) fn with_ccache(env: Env, ccache: &Path) -> Env {
    with(env, "KRB5CCNAME", prefixed("FILE:", ccache))
}

/// `env` for a service whose keys are in `keytab`.
pub(crate) fn with_keytab(env: Env, keytab: &Path) -> Env {
    with(env, "KRB5_KTNAME", prefixed("FILE:", keytab))
}

fn prefixed(prefix: &str, path: &Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path);
    text
}

fn with(mut env: Env, name: &str, value: impl AsRef<OsStr>) -> Env {
    env.retain(|(known, _)| known != name);
    env.push((name.to_owned(), value.as_ref().to_owned()));
    env
}
