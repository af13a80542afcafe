//! A throwaway Active Directory.

use crate::config::krb5_conf;
use crate::kdc::unique_file;
use crate::peers::{BuildLock, built, compile};
use crate::realm::{Env, kinit, krb5_env, with_ccache, with_keytab};
use crate::{Config, Finished, Process, paths, run};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A Samba domain controller in a temporary folder, with its KDC, its directory and winbindd, at an address of the
/// loopback that is its own. Everything ends when it is dropped, and also when the test program ends in any other way.
///
/// The domain is [`REALM`](Self::REALM), for NTLM [`NETBIOS`](Self::NETBIOS). Passwords must be as Active Directory
/// wants them: seven characters of three kinds, and nothing of the user's name. It needs root, for its ports.
pub struct Domain {
    process: Process,
    address: Ipv4Addr,
    krb5_conf: PathBuf,
    smb_conf: PathBuf,
    _reservation: TcpListener,
    // Last, so that the controller has ended when its folder goes.
    folder: TempDir,
}

const ADMIN_PASSWORD: &str = "Passw0rd.of.the.test";
const MINUTE: Duration = Duration::from_secs(60);
const KDC_PORT: u16 = 88;
const LDAP_PORT: u16 = 389;

impl Domain {
    /// The Kerberos realm.
    pub const REALM: &str = "SAMBA.TEST";
    /// The domain's short name, which NTLM uses.
    pub const NETBIOS: &str = "SAMBA";

    /// Makes the domain and starts its controller; it answers when this returns, after five to ten seconds.
    ///
    /// # Panics
    /// If Samba is not installed or does not work, or this is not root.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let folder =
            tempfile::Builder::new().prefix("countersign-domain-").tempdir().expect("a temporary folder");
        let (address, reservation) = own_address();
        provision(folder.path(), address);
        let smb_conf = unique_file(folder.path(), "smb-", &smb_conf(folder.path(), address));
        let krb5_conf = unique_file(
            folder.path(),
            "krb5-",
            &krb5_conf(Self::REALM, SocketAddrV4::new(address, KDC_PORT), &Config::default()),
        );
        let process = start(&smb_conf);
        let mut domain = Self { process, address, krb5_conf, smb_conf, _reservation: reservation, folder };
        domain.wait_until_ready();
        domain
    }

    /// The controller's address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where its KDC listens, by UDP and TCP.
    #[must_use]
    pub const fn kdc(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, KDC_PORT)
    }

    /// A krb5.conf of this domain with other settings, to be given as KRB5_CONFIG over one of the environments below.
    #[must_use]
    pub fn config(&self, config: &Config) -> PathBuf {
        unique_file(self.folder(), "krb5-", &krb5_conf(Self::REALM, self.kdc(), config))
    }

    /// The domain's folder, where a test may put files of its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a user.
    ///
    /// # Panics
    /// If Samba refuses, as it does a weak password; the same holds for all that changes the domain.
    #[track_caller]
    pub fn add_user(&self, user: &str, password: &str) {
        self.samba_tool(&["user", "create", user, password]);
    }

    /// Gives a user another password.
    #[track_caller]
    pub fn set_password(&self, user: &str, password: &str) {
        self.samba_tool(&["user", "setpassword", user, &format!("--newpassword={password}")]);
    }

    /// Disables a user's account.
    #[track_caller]
    pub fn disable(&self, user: &str) {
        self.samba_tool(&["user", "disable", user]);
    }

    /// Lets a user's account expire long ago.
    #[track_caller]
    pub fn expire(&self, user: &str) {
        // 1 January 1970, in the 100 ns of Windows.
        self.set_attribute(user, "accountExpires", "116444736000000000");
    }

    /// Lets a user's password be good for nothing but to be changed.
    #[track_caller]
    pub fn expire_password(&self, user: &str) {
        self.set_attribute(user, "pwdLastSet", "0");
    }

    /// From here on every account is locked after so many wrong passwords.
    #[track_caller]
    pub fn lock_out_after(&self, wrong_passwords: u32) {
        let threshold = format!("--account-lockout-threshold={wrong_passwords}");
        self.samba_tool(&["domain", "passwordsettings", "set", &threshold]);
    }

    /// Says which etypes the KDC may use for an account's tickets and keys, as bits: 8 is etype 17, 16 is etype 18, 4 is
    /// RC4 (MS-KILE section 2.2.7).
    #[track_caller]
    pub fn set_enctypes(&self, account: &str, bits: u32) {
        self.set_attribute(account, "msDS-SupportedEncryptionTypes", &bits.to_string());
    }

    /// Adds an account with a random password and the service principal name `spn`, CLASS/HOST, of which only AES keys
    /// may be used.
    #[track_caller]
    pub fn add_service(&self, account: &str, spn: &str) {
        self.samba_tool(&["user", "create", account, "--random-password"]);
        self.samba_tool(&["spn", "add", spn, account]);
        self.set_enctypes(account, 24);
    }

    /// A new keytab with the keys of the services `spns`.
    #[must_use]
    #[track_caller]
    pub fn keytab(&self, spns: &[&str]) -> PathBuf {
        let path = unique_file(self.folder(), "keytab-", "");
        // Samba takes an empty file for a damaged keytab, none at all for a new one.
        std::fs::remove_file(&path).expect("the domain's folder is writable");
        for spn in spns {
            let path = path.to_str().expect("a path of a test is UTF-8");
            self.samba_tool(&["domain", "exportkeytab", path, &format!("--principal={spn}")]);
        }
        path
    }

    /// The variables that make any Kerberos program use this domain and nothing of the machine's own configuration.
    #[must_use]
    pub fn env(&self) -> Env {
        krb5_env(&self.krb5_conf, self.folder())
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

    /// Gets a ticket-granting ticket into a new credential cache and returns its path, or what kinit said instead.
    #[track_caller]
    pub fn kinit(&self, user: &str, password: &str) -> Result<PathBuf, Finished> {
        let ccache = unique_file(self.folder(), "ccache-", "");
        let done = kinit(&self.env(), user, password, &[], &ccache);
        if done.code() == 0 { Ok(ccache) } else { Err(done) }
    }

    /// The variables under which Samba's client programs and libraries ask this domain's winbindd. For a program that
    /// runs `ntlm_auth` itself.
    ///
    /// # Panics
    /// If the compiler is missing.
    #[must_use]
    #[track_caller]
    pub fn ntlm_auth_env(&self) -> Env {
        vec![
            ("LD_PRELOAD".into(), winbindd_socket().into()),
            ("SELFTEST_WINBINDD_SOCKET_DIR".into(), self.folder().join(WINBINDD).into()),
        ]
    }

    /// `ntlm_auth` that asks this domain: with `--username`, `--domain` and `--password`, or with
    /// `--helper-protocol=ntlm-server-1`.
    ///
    /// # Panics
    /// If it is not installed, or as [`ntlm_auth_env`](Self::ntlm_auth_env).
    #[must_use]
    #[track_caller]
    pub fn ntlm_auth_command(&self) -> Command {
        let mut command = Command::new(paths::program("ntlm_auth"));
        command.envs(self.ntlm_auth_env()).arg("--configfile").arg(&self.smb_conf);
        command
    }

    #[track_caller]
    fn samba_tool(&self, arguments: &[&str]) {
        let mut command = Command::new(paths::program("samba-tool"));
        command.args(arguments).arg("--configfile").arg(&self.smb_conf);
        run(&mut command, MINUTE).expect_success();
    }

    #[track_caller]
    fn set_attribute(&self, account: &str, attribute: &str, value: &str) {
        let dn = format!("CN={account},CN=Users,{}", base_dn());
        self.ldbmodify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"
        ));
    }

    #[track_caller]
    fn ldbmodify(&self, ldif: &str) {
        let mut command = Command::new(paths::program("ldbmodify"));
        command.arg("--configfile").arg(&self.smb_conf);
        let mut process = Process::start(command.arg("-H").arg(self.folder().join("private/sam.ldb")));
        let mut stdin = process.stdin().expect("a process has one stdin");
        stdin.write_all(ldif.as_bytes()).expect("ldbmodify reads its input");
        drop(stdin);
        process.finish(MINUTE).expect_success();
    }

    /// Every part is asked once, as a user of it would.
    #[track_caller]
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + MINUTE;
        while !self.is_ready() {
            assert!(self.process.is_running(), "samba ended\n{}", self.process.stdout());
            assert!(Instant::now() < deadline, "samba does not answer\n{}", self.process.stdout());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_ready(&self) -> bool {
        self.folder().join(WINBINDD).join("pipe").exists()
            && [KDC_PORT, LDAP_PORT].iter().all(|port| TcpStream::connect((self.address, *port)).is_ok())
            && self.is_known_to_winbindd("Administrator", ADMIN_PASSWORD)
    }

    #[track_caller]
    fn is_known_to_winbindd(&self, user: &str, password: &str) -> bool {
        let mut command = self.ntlm_auth_command();
        command.args(["--domain", Self::NETBIOS, "--username", user, "--password", password]);
        run(&mut command, MINUTE).code() == 0
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // winbindd leads a process group of its own, and ends a little after the one that started it.
        let winbindd = std::fs::read_to_string(self.folder().join("winbindd.pid"));
        let winbindd = winbindd.ok().and_then(|pid| pid.trim().parse().ok());
        let groups = [Some(self.process.id()), winbindd].into_iter().flatten().collect::<Vec<u32>>();
        // Samba takes the end of its input for the order to end, and ends its children, winbindd among them.
        drop(self.process.stdin());
        let deadline = Instant::now() + Duration::from_secs(15);
        while self.process.is_running() || any_member_runs(&groups) {
            if Instant::now() > deadline {
                let groups = groups.iter().map(|group| format!("-{group}"));
                // It fails for a group that has just ended, which is as good.
                let _ = Command::new("kill").args(["-KILL", "--"]).args(groups).status();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a process of one of these process groups still runs.
fn any_member_runs(groups: &[u32]) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok());
    stats.into_iter().any(|stat| {
        // proc(5): after the program's name in parentheses come state, parent and process group.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ended = matches!(fields.next(), Some("Z" | "X"));
        let group = fields.nth(1).and_then(|group| group.parse().ok());
        !ended && group.is_some_and(|group| groups.contains(&group))
    })
}

const WINBINDD: &str = "winbindd";

/// Held by a domain at its own address, so that no two take the same one.
const RESERVATION_PORT: u16 = 10_389;

/// An address of the loopback whose ports are free: a controller's ports cannot be chosen.
#[track_caller]
fn own_address() -> (Ipv4Addr, TcpListener) {
    for last in 10..=250 {
        let address = Ipv4Addr::new(127, 0, 0, last);
        let Ok(reservation) = TcpListener::bind((address, RESERVATION_PORT)) else { continue };
        match TcpListener::bind((address, LDAP_PORT)) {
            Ok(_) => return (address, reservation),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => panic!("a domain controller needs port {LDAP_PORT}, and so root: {error}"),
        }
    }
    panic!("no address of the loopback has port {LDAP_PORT} free")
}

#[track_caller]
fn provision(folder: &Path, address: Ipv4Addr) {
    let nothing = unique_file(folder, "smb-empty-", "");
    let mut command = Command::new(paths::program("samba-tool"));
    command.args([
        "domain",
        "provision",
        "--server-role=dc",
        "--host-name=dc1",
        "--dns-backend=SAMBA_INTERNAL",
    ]);
    command.arg("--use-rfc2307").arg(format!("--host-ip={address}"));
    command.arg(format!("--realm={}", Domain::REALM)).arg(format!("--domain={}", Domain::NETBIOS));
    command.arg(format!("--adminpass={ADMIN_PASSWORD}"));
    command.arg("--targetdir").arg(folder).arg("--configfile").arg(nothing);
    run(&mut command, MINUTE).expect_success();
}

/// The text of an smb.conf that keeps everything in `folder`, and every socket at `address`. One worker a service is
/// enough for a test.
fn smb_conf(folder: &Path, address: Ipv4Addr) -> String {
    let folder = folder.display();
    format!(
        "[global]\n\
         netbios name = DC1\n\
         realm = {realm}\n\
         workgroup = {netbios}\n\
         server role = active directory domain controller\n\
         server services = rpc, ldap, cldap, kdc, winbindd\n\
         prefork children = 1\n\
         interfaces = {address}/8\n\
         bind interfaces only = yes\n\
         idmap_ldb:use rfc2307 = yes\n\
         tls enabled = no\n\
         private dir = {folder}/private\n\
         binddns dir = {folder}/bind-dns\n\
         cache directory = {folder}/cache\n\
         lock directory = {folder}\n\
         state directory = {folder}/state\n\
         pid directory = {folder}\n\
         ncalrpc dir = {folder}/ncalrpc\n\
         ntp signd socket directory = {folder}/ntp\n\
         winbindd socket directory = {folder}/{WINBINDD}\n\
         log file = {folder}/log.%m\n",
        realm = Domain::REALM,
        netbios = Domain::NETBIOS,
    )
}

#[track_caller]
fn start(smb_conf: &Path) -> Process {
    let mut command = Command::new(paths::program("samba"));
    // Interactive, for then it ends with its input: when the test program ends, however that does.
    command.args(["--interactive", "--debug-stdout", "--model=prefork", "--configfile"]).arg(smb_conf);
    Process::start(&mut command)
}

fn base_dn() -> String {
    let parts = Domain::REALM.split('.').map(|part| format!("DC={}", part.to_lowercase()));
    parts.collect::<Vec<_>>().join(",")
}

/// The library that makes Samba's clients look for winbindd where a variable says.
#[track_caller]
fn winbindd_socket() -> PathBuf {
    let _lock = BuildLock::take();
    let library = built("winbindd_socket.so");
    compile(&library, &["winbindd_socket.c"], || vec!["-shared".into(), "-fPIC".into()]);
    library.canonicalize().expect("it was just built")
}
