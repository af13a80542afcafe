//! Every key of docs/countersign.sample.toml as a running `serve` heeds it: one row each, in which the key is changed and the
//! difference is seen from outside. And the sample as it stands, served.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod realm_support;
mod serve_rows;
mod serve_support;
mod support;

use countersign::proto::keytab::Keytab;
use countersign::proto::krb5::msg::principal::Principal;
use countersign_testkit::mint::{self, Mint};
use countersign_testkit::{Valkey, run};
use realm_support::Home;
use serve_rows::framings::FRAMINGS;
use serve_rows::keys::KEYS;
use serve_rows::limits::LIMITS;
use serve_rows::ntlm::NTLM;
use serve_rows::policy::POLICY;
use serve_rows::process::{OBSERVATION, TOP};
use serve_rows::stores::REPLAY;
use serve_rows::targets::TARGETS;
use serve_rows::{ALICE, OWN, Row, accounts, by_password, home, listening_upstream, winbind_helper};
use serve_support::{Running, Scene};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use support::{DEADLINE, countersign};

const ALL: [&[Row]; 9] = [TOP, FRAMINGS, KEYS, POLICY, NTLM, TARGETS, LIMITS, REPLAY, OBSERVATION];

fn sample() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/countersign.sample.toml");
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_key_of_the_sample_has_a_row_here_and_every_row_a_key() {
    let (mut section, mut keys) = (String::new(), BTreeSet::new());
    for line in sample().lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        }
        let line = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        let key = line.split_once(" = ").map(|(key, _)| key);
        if let Some(key) =
            key.filter(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || b"_4".contains(&byte)))
        {
            keys.insert((section.clone(), key.to_owned()));
        }
    }
    let rows =
        ALL.iter().copied().flatten().map(|(section, key, _)| ((*section).to_owned(), (*key).to_owned()));
    assert_eq!(rows.collect::<BTreeSet<_>>(), keys);
}

fn see(rows: &[Row]) {
    for (section, key, shown) in rows {
        println!("[{section}] {key}");
        shown();
    }
}

#[test]
fn a_service_heeds_every_key_of_the_top() {
    see(TOP);
}

#[test]
fn a_listener_heeds_every_key_of_framings() {
    see(FRAMINGS);
}

#[test]
fn a_listener_heeds_every_key_about_its_keys() {
    see(KEYS);
}

#[test]
fn a_listener_heeds_every_key_of_its_policy() {
    see(POLICY);
}

#[test]
fn a_listener_heeds_every_key_of_ntlm() {
    see(NTLM);
}

#[test]
fn a_listener_heeds_every_key_about_where_messages_go_and_for_how_long() {
    see(TARGETS);
}

#[test]
fn a_service_heeds_every_key_of_limits() {
    see(LIMITS);
}

#[test]
fn a_service_heeds_every_key_of_its_replay_store() {
    see(REPLAY);
}

#[test]
fn a_service_heeds_every_key_of_what_operators_see() {
    see(OBSERVATION);
}

/// The sample with this machine's paths, ports and programs in the place of its own.
struct SampleHouse {
    scene: Scene,
    home: Home,
    upstream: SocketAddr,
    valkey: Valkey,
}

impl SampleHouse {
    fn new() -> Self {
        let (scene, home) = (Scene::new(), home());
        let database = Principal::new("EXAMPLE.TEST", &["postgres", "db.example.test"]);
        let of = |principal: &Principal| scene.mint.entry(principal, 2, scene.mint.ticket_etype);
        let keytab = |entries| mint::keytab_bytes(&Keytab { entries });
        scene.write("database.keytab", &keytab(vec![of(&database)]));
        for certificate in ["tls.pem", "tls-next.pem"] {
            let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificate.pem");
            fs::copy(file, scene.path(certificate)).unwrap();
        }
        accounts(&scene, "ntlm-accounts");
        winbind_helper(&scene);
        fs::rename(home.realm_folder().join("master.key"), scene.path("master.key")).unwrap();
        for secret in ["database.keytab", "keytab"] {
            fs::set_permissions(scene.path(secret), PermissionsExt::from_mode(0o600)).unwrap();
        }
        let (upstream, _hears) = listening_upstream();
        Self { scene, home, upstream, valkey: Valkey::start_with(&["--requirepass", "a secret"]) }
    }

    /// The sample, plain or with its lines for Valkey.
    fn text(&self, with_valkey: bool) -> String {
        let lines = sample();
        let lines = lines.lines().filter_map(|line| {
            let commented = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty());
            match (commented, with_valkey) {
                (Some(rest), true) => Some(rest),
                (None, true) if line == "store = \"file\"" || line.starts_with("durability") => None,
                _ => Some(line),
            }
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        for (theirs, ours) in [
            ("/var/lib/countersign/realm", self.home.realm_folder().display().to_string()),
            ("/var/lib/countersign", self.scene.named("state")),
            ("/etc/countersign", self.scene.folder.path().display().to_string()),
            ("/var/log/countersign/audit.jsonl", self.scene.named("audit")),
            ("127.0.0.1:2000", "127.0.0.1:0".to_owned()),
            ("[\"127.0.0.1:2001\", \"[::1]:2001\"]", "[\"127.0.0.1:0\", \"127.0.0.6:0\"]".to_owned()),
            ("127.0.0.1:2002", "127.0.0.1:0".to_owned()),
            ("systemd:sample", "127.0.0.1:0".to_owned()),
            ("127.0.0.1:9464", "127.0.0.1:0".to_owned()),
            ("unix:/run/postgresql/.s.PGSQL.5432", self.upstream.to_string()),
            ("127.0.0.1:8080", self.upstream.to_string()),
            ("\"ntlm_auth\"", format!("\"{}\"", self.scene.named("ntlm_auth"))),
            ("redis://127.0.0.1:6379/0", self.valkey.url()),
            ("username = \"countersign\"", "username = \"default\"".to_owned()),
        ] {
            assert!(
                text.contains(theirs) || theirs.starts_with("redis") || theirs.starts_with("username"),
                "{theirs}"
            );
            text = text.replace(theirs, &ours);
        }
        text
    }
}

#[test]
fn the_sample_is_served_as_it_stands_in_both_of_its_forms() {
    let house = SampleHouse::new();
    let scene = &house.scene;
    let password = scene.write("valkey-password", b"a secret\n");
    fs::set_permissions(password, PermissionsExt::from_mode(0o600)).unwrap();
    // Listeners for which the sample names no keytab have the one of the environment.
    let environment = ("KRB5_KTNAME", scene.path("keytab"));
    for with_valkey in [false, true] {
        let text = house.text(with_valkey);
        let mut serve = scene.command(&text);
        let check = run(
            countersign(&["check-config", &scene.named("serve.toml")]).env(environment.0, &environment.1),
            DEADLINE,
        );
        let printed = check.expect_success().text();
        assert!(printed.contains("ok, 4 listeners"), "{printed}");
        assert!(
            printed.contains(if with_valkey { "replay store: redis://" } else { "state/replay" }),
            "{printed}"
        );

        let serve = Running::start(serve.env(environment.0, &environment.1), 5, scene.path("audit"));
        let [database, dotnet, dotnet_too, sample, own] = serve.addresses[..] else { panic!("five sockets") };
        serve.wait_for_ready(200);
        // The database demands bindings, and keys of its own.
        let mint = Mint {
            service: Principal::new("EXAMPLE.TEST", &["postgres", "db.example.test"]),
            ..scene.mint.clone()
        };
        scene.write("to-database", &mint::ccache_bytes(&mint.ccache(&[mint.ticket()])));
        let mut command = support::connect(database, &mint.service.to_string(), &scene.path("to-database"));
        let certificate = format!("cert:{}", scene.named("tls.pem"));
        command.args(["--message", "hello", "--channel-bindings", &certificate]);
        assert_eq!(run(&mut command, DEADLINE).expect_success().text(), "ok\n");
        for address in [dotnet, dotnet_too] {
            scene.connect(address, &["--framing", "nns"]).expect_success();
        }
        scene.connect(sample, &["--framing", "sample"]).expect_success();
        let reply = by_password(&house.home, own, OWN, ALICE).expect_success().text();
        assert!(reply.starts_with("ok"), "{reply}");
        let listeners: BTreeSet<String> =
            serve.records().iter().map(|record| record["listener"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listeners, ["database", "dotnet", "own-realm", "sample"].map(str::to_owned).into());
        serve.end().expect_success();
        fs::remove_file(scene.path("audit")).unwrap();
    }
}
