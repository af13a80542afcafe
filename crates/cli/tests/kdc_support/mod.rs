//! What the tests of tickets share: the program as a KDC's client, and what it got, as MIT's klist sees it.

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
use countersign_testkit::kdc_message::Kind;
use countersign_testkit::{Config, Env, Etype, Fate, Finished, KdcMessage, KdcOptions, KdcProxy, Realm, run};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The password of every user.
pub(crate) const PASSWORD: &str = "Secret.123";

/// A service of every realm here.
pub(crate) const SPN: &str = "echo/a.example.test";

/// A client machine: its configuration, and a folder for passwords and credential caches.
pub(crate) struct Client {
    env: Env,
    folder: TempDir,
}

impl Client {
    /// A machine with these variables.
    pub(crate) fn new(env: Env) -> Self {
        Self { env, folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The machine's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its variables.
    pub(crate) fn env(&self) -> Env {
        self.env.clone()
    }

    /// A file with `password`.
    pub(crate) fn password_file(&self, password: &str) -> PathBuf {
        let path = self.folder().join(format!("password-{password}"));
        std::fs::write(&path, format!("{password}\n")).expect("the folder is writable");
        path
    }

    /// The path of a credential cache; there may be none yet.
    pub(crate) fn ccache(&self, name: &str) -> PathBuf {
        self.folder().join(format!("ccache-{name}"))
    }

    /// `countersign ticket get` into `ccache`.
    pub(crate) fn ticket_get(&self, ccache: &Path) -> Command {
        let mut command = countersign(&["ticket", "get", "--ccache"]);
        command.arg(ccache).envs(self.env());
        command
    }

    /// The same for `user` with `password`, and with further options.
    #[track_caller]
    pub(crate) fn login(&self, user: &str, password: &str, options: &[&str]) -> Login {
        let ccache = self.ccache(&user.replace(['/', '@', '\\'], "-"));
        // What an earlier login left must not be taken for what this one got.
        let _ = std::fs::remove_file(&ccache);
        let mut command = self.ticket_get(&ccache);
        command.args(["--user", user, "--password-file"]).arg(self.password_file(password)).args(options);
        Login { done: run(&mut command, DEADLINE), ccache }
    }

    /// The same with a keytab instead of a password.
    #[track_caller]
    pub(crate) fn login_by_keytab(&self, user: &str, keytab: &Path, options: &[&str]) -> Login {
        let ccache = self.ccache("by-keytab");
        let _ = std::fs::remove_file(&ccache);
        let mut command = self.ticket_get(&ccache);
        command.args(["--user", user, "--client-keytab"]).arg(keytab).args(options);
        Login { done: run(&mut command, DEADLINE), ccache }
    }

    /// What MIT's `klist -e -f` says of `ccache`.
    #[track_caller]
    pub(crate) fn klist(&self, ccache: &Path) -> String {
        let mut command = Command::new("klist");
        run(command.arg("-ef").arg(ccache).envs(self.env()), DEADLINE).expect_success().text()
    }

    /// MIT's kvno for `spn` out of `ccache`.
    #[track_caller]
    pub(crate) fn kvno(&self, spn: &str, ccache: &Path) -> Finished {
        let mut command = Command::new("kvno");
        run(command.arg("-c").arg(ccache).arg(spn).envs(self.env()), DEADLINE)
    }
}

/// What came of `countersign ticket get`.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) done: Finished,
    pub(crate) ccache: PathBuf,
}

impl Login {
    /// The cache.
    #[track_caller]
    pub(crate) fn got(self) -> PathBuf {
        self.done.expect_success();
        self.ccache
    }

    /// Asserts that there is no ticket, that the program ended with `exit`, and that it gave `code` and its reason.
    /// Returns all that it said.
    #[track_caller]
    pub(crate) fn refused(self, exit: i32, code: &str) -> String {
        let done = self.done.expect_code(exit);
        assert!(done.stderr.contains(code), "{done:?} lacks {code}");
        for part in ["saw ", "; have ", "; do: "] {
            assert!(done.stderr.contains(part), "{done:?} does not say {part}");
        }
        assert!(!self.ccache.exists(), "a cache was made");
        done.stderr
    }
}

/// A realm with alice, who must prove herself before she gets a ticket, and the service [`SPN`].
pub(crate) fn realm(options: &KdcOptions) -> Realm {
    realm_of("KDC.TEST", options)
}

/// The same by another name.
pub(crate) fn realm_of(name: &str, options: &KdcOptions) -> Realm {
    let realm = Realm::with(name, options);
    realm.add_user_with("alice", PASSWORD, &["+requires_preauth"]);
    realm.add_service(SPN, &[Etype::Aes256Sha1]);
    realm
}

/// A client that reaches its KDC through `proxy`.
pub(crate) fn through(realm: &Realm, proxy: &KdcProxy, config: Config) -> Client {
    Client::new(realm.env_as(&Config { kdcs: vec![proxy.address().to_string()], ..config }))
}

/// A client that reaches its KDC through `proxy` by TCP alone, where an answer that is none of the expected ends the
/// request at once: by UDP the client listens on. MIT's programs cannot read its configuration.
pub(crate) fn by_tcp(realm: &Realm, proxy: &KdcProxy) -> Client {
    let kdcs = vec![format!("tcp/{}", proxy.address())];
    Client::new(realm.env_as(&Config { kdcs, ..Config::default() }))
}

/// From here on `edit` is done to every answer of the KDC that is of this kind.
pub(crate) fn edit(proxy: &KdcProxy, kind: Kind, edit: impl Fn(Vec<u8>) -> Vec<u8> + Clone + Send + 'static) {
    proxy.set_rule(move |_| {
        let edit = edit.clone();
        Fate::Edit(Box::new(
            move |answer| {
                if KdcMessage::of(&answer).kind() == kind { edit(answer) } else { answer }
            },
        ))
    });
}

/// Lines of krb5.conf.
pub(crate) fn lines(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An address of the loopback where nobody listens.
pub(crate) fn nobody() -> SocketAddrV4 {
    let realm = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = realm.local_addr().expect("a bound socket has an address").port();
    SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port)
}

/// The services that `list`, made by klist, has tickets for.
pub(crate) fn services(list: &str) -> Vec<&str> {
    let rows = list.lines().skip_while(|line| !line.starts_with("Valid starting")).skip(1);
    rows.filter(|line| !line.starts_with(['\t', ' ']))
        .filter_map(|line| line.rsplit("  ").next())
        .filter(|service| service.contains('@'))
        .collect()
}

/// The flags of the ticket for `service` in `list`.
#[track_caller]
pub(crate) fn flags<'a>(list: &'a str, service: &str) -> &'a str {
    let rest = list.split_once(service).unwrap_or_else(|| panic!("no {service} in {list}")).1;
    rest.split_once("Flags: ")
        .unwrap_or_else(|| panic!("no flags in {list}"))
        .1
        .split([',', '\n'])
        .next()
        .unwrap()
}
