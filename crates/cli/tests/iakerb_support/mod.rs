//! Two ends of MIT krb5 1.22 that speak IAKERB with each other, and the record of what they said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use super::support::{DEADLINE, countersign, file};
use countersign_testkit::{Config, Env, Etype, Finished, KdcOptions, Process, Realm, Sid, run};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use tempfile::TempDir;

/// The service, with a key of etype 18 under kvno 1.
pub(crate) const SPN: &str = "echo/a.example.test";

/// Alice's password.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

const REALM: &str = "CAPTURE.TEST";

/// A client's krb5.conf that knows no realm and no KDC, and asks nobody for one.
const NO_REALM: &str = "[libdefaults]\ndns_lookup_kdc = false\ndns_lookup_realm = false\n\
                        dns_canonicalize_hostname = false\nrdns = false\n";

/// A realm with alice, who must prove herself before she gets a ticket, and the service [`SPN`] that relays to its KDC.
pub(crate) struct Mit {
    pub(crate) realm: Realm,
    keytab: PathBuf,
    relaying: Config,
    /// The service's realm, if it is another than alice's.
    _services: Option<Realm>,
}

/// What came of a handshake.
pub(crate) struct Shown {
    initiator: Finished,
    record: String,
}

impl Mit {
    pub(crate) fn with(options: &KdcOptions) -> Self {
        let realm = with_alice(options);
        realm.add_service(SPN, &[Etype::Aes256Sha1]);
        Self { keytab: realm.keytab(&[SPN]), realm, relaying: Config::default(), _services: None }
    }

    /// The service is in a realm of its own, OTHER.TEST, which alice's KDC refers to; it relays to both.
    pub(crate) fn across_realms() -> Self {
        let domain_realm = vec![("a.example.test".to_owned(), "OTHER.TEST".to_owned())];
        let config = Config { domain_realm, ..Config::default() };
        let realm =
            with_alice(&KdcOptions { config, refer_host_based_services: true, ..KdcOptions::default() });
        let services = Realm::new("OTHER.TEST");
        services.add_service(SPN, &[Etype::Aes256Sha1]);
        realm.let_into(&services);
        let other_realms = vec![(services.name().to_owned(), services.kdc().address())];
        Self {
            keytab: services.keytab(&[SPN]),
            realm,
            relaying: Config { other_realms, ..Config::default() },
            _services: Some(services),
        }
    }

    /// The same with an acceptor that is configured otherwise.
    pub(crate) fn relaying_as(self, config: &Config) -> Self {
        Self { relaying: config.clone(), ..self }
    }

    /// An initiator as `options` say and an acceptor, both with `mech`, with alice's password.
    pub(crate) fn handshake(&self, name: &str, mech: &[&str], options: &[&str]) -> Shown {
        self.handshake_as(name, mech, options, PASSWORD)
    }

    /// [`handshake`](Self::handshake) with another password.
    pub(crate) fn handshake_as(&self, name: &str, mech: &[&str], options: &[&str], password: &str) -> Shown {
        let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let acceptor = self.acceptor(mech);
        let options = [mech, options].concat();
        let shown = Stranger::new().gss_peer(acceptor.listening(), &options, password);
        if let Some(folder) = std::env::var_os("COUNTERSIGN_CAPTURE") {
            let text = self.capture(name, &options.join(" "), password, began, &shown);
            std::fs::write(Path::new(&folder).join(name).with_extension("txt"), text).unwrap();
        }
        shown
    }

    /// An acceptor of MIT's with the service's keys, which relays.
    pub(crate) fn acceptor(&self, mech: &[&str]) -> Process {
        let mut command = Sid::get().gss_peer();
        command.envs(self.acceptor_env()).args(["accept", "0"]).args(mech);
        Process::start(&mut command)
    }

    /// The environment of an acceptor.
    pub(crate) fn acceptor_env(&self) -> Env {
        let mut env = self.realm.service_env(&self.keytab);
        env.push(("KRB5_CONFIG".to_owned(), self.realm.config(&self.relaying).into()));
        env
    }

    /// The vector file of a handshake: how it came to be, what is needed to replay it, and the tokens.
    fn capture(&self, name: &str, options: &str, password: &str, began: u64, shown: &Shown) -> String {
        let mit = Sid::get().version("libgssapi-krb5-2");
        let kdc = run(Command::new("krb5-config").arg("--version"), DEADLINE).expect_success().text();
        let kdc_keytab = self.realm.keytab(&[&format!("krbtgt/{REALM}")]);
        let mut text = format!(
            "# {name}: IAKERB between two ends of MIT krb5 {mit} (Debian sid), the acceptor relaying to a KDC of MIT's\n\
             # {}. I is the initiator's token, A the acceptor's; an empty line ends a handshake.\n\
             # Made by `scripts/test-sid --capture`, which ran\n\
             #   gss_peer initiate {options}\n\
             # without a KDC within reach. time is when it began, in seconds since 1970; keytab is the service's, kdc_keytab the\n\
             # KDC's own; outcome is what the initiator said.\n\n",
            kdc.trim()
        );
        let said = shown.initiator.stderr.trim().replace('\n', "; ");
        let outcome = shown.client().map_or(said, |client| format!("authenticated {client}"));
        for (name, value) in [
            ("time", began.to_string()),
            ("realm", REALM.to_owned()),
            ("service", SPN.to_owned()),
            ("password", password.to_owned()),
            ("keytab", hex::encode(std::fs::read(&self.keytab).unwrap())),
            ("kdc_keytab", hex::encode(std::fs::read(kdc_keytab).unwrap())),
            ("outcome", outcome),
        ] {
            writeln!(text, "{name} = {value}").unwrap();
        }
        text + "\n" + shown.record.trim_end() + "\n"
    }
}

/// The realm, with alice.
fn with_alice(options: &KdcOptions) -> Realm {
    let realm = Realm::with(REALM, options);
    realm.add_user_with("alice", PASSWORD, &["+requires_preauth"]);
    realm
}

/// A client machine that knows no realm and reaches no KDC.
pub(crate) struct Stranger {
    folder: TempDir,
}

impl Stranger {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("krb5.conf"), NO_REALM).unwrap();
        Self { folder }
    }

    /// MIT's initiator towards [`SPN`].
    pub(crate) fn gss_peer(&self, address: SocketAddr, options: &[&str], password: &str) -> Shown {
        let record = self.folder.path().join("record");
        let mut command = Sid::get().gss_peer();
        command.envs(self.env()).args(["initiate", "127.0.0.1", &address.port().to_string(), SPN]);
        command.args(options).args(["--password", password, "--message", "hello"]);
        let initiator = run(command.arg("--record").arg(&record), DEADLINE);
        // There is none if the initiator had nothing to send.
        Shown { initiator, record: std::fs::read_to_string(&record).unwrap_or_default() }
    }

    /// `countersign connect` towards [`SPN`].
    pub(crate) fn connect(&self, address: SocketAddr, options: &[&str], password: &str) -> Finished {
        let file = file(self.folder.path(), "password", format!("{password}\n").as_bytes());
        let mut command = countersign(&["connect", &address.to_string(), "--spn", SPN, "--message", "hello"]);
        command.arg("--password-file").arg(file).args(options).envs(self.env());
        run(&mut command, DEADLINE)
    }

    fn env(&self) -> Env {
        let variables = [
            ("KRB5_CONFIG", "krb5.conf"),
            ("KRB5CCNAME", "no-ccache"),
            ("KRB5_KTNAME", "no-keytab"),
            ("KRB5_CLIENT_KTNAME", "no-client-keytab"),
            ("KRB5RCACHEDIR", ""),
        ];
        variables.map(|(name, file)| (name.to_owned(), self.folder.path().join(file).into())).into()
    }
}

impl Shown {
    /// As whom the initiator was authenticated.
    fn client(&self) -> Option<String> {
        let text = self.initiator.text();
        let line = text.lines().find_map(|line| line.strip_prefix("authenticated "))?;
        line.split(' ').next().map(str::to_owned)
    }

    /// Both ends are content: the acceptor echoed what the initiator sealed, under a key of `etype`.
    #[track_caller]
    pub(crate) fn authenticated(&self, client: &str, etype: i32) {
        let said = self.initiator.text();
        assert_eq!(self.initiator.code(), 0, "{:?}", self.initiator);
        assert!(said.contains(&format!("authenticated {client} to {SPN}")), "{said}");
        assert!(said.contains(&format!(" etype {etype} flags mutual")), "{said}");
        assert!(said.contains("reply hello"), "{said}");
    }

    /// The initiator was refused, and says `reason`.
    #[track_caller]
    pub(crate) fn refused(&self, reason: &str) {
        assert_eq!(self.initiator.code(), 1, "{:?}", self.initiator);
        assert!(self.initiator.stderr.contains(reason), "{:?}", self.initiator);
    }

    /// How many tokens the initiator sent, and how many the acceptor.
    pub(crate) fn tokens(&self) -> (usize, usize) {
        let of = |side| self.record.lines().filter(|line| line.starts_with(side)).count();
        (of("I = "), of("A = "))
    }
}
