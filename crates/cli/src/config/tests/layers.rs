//! Variables over the file, flags over both.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, its helpers too"
)]

use super::{SAMPLE, load, load_with};
use crate::config::{
    Config, FlagSetting, FlagValue, KeySource, ListenAddress, ReplayStoreConfig, Section, Target,
};
use countersign::proto::error::{Refusal, code};
use countersign::replay::Durability;
use std::path::Path;
use std::time::Duration;

fn flag(flag: &'static str, key: &'static str, value: &str) -> FlagSetting {
    FlagSetting { section: Section::Listener, key, flag, value: FlagValue::One(value.to_owned()) }
}

fn with(text: &str, variables: &[(&str, &str)], flags: Vec<FlagSetting>) -> Config {
    load_with(text, variables, flags).unwrap_or_else(|faults| panic!("{faults:?}")).config
}

#[track_caller]
fn told(text: &str, variables: &[(&str, &str)], flags: Vec<FlagSetting>) -> Vec<String> {
    let faults = load_with(text, variables, flags).unwrap_err();
    faults.iter().map(|fault| Refusal::from_error(fault).to_string()).collect()
}

#[test]
fn nothing_said_is_one_listener_that_echoes_with_every_default() {
    let config = with("", &[], Vec::new());
    let listener = &config.listeners[0];
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(listener.listen, [ListenAddress::Address("127.0.0.1:2000".parse().unwrap())]);
    assert_eq!((&listener.keys, &listener.target), (&KeySource::Keytab(None), &Target::Echo));
    assert_eq!(
        (listener.clock_skew, listener.handshake_deadline),
        (Duration::from_secs(300), Duration::from_secs(10))
    );
    assert_eq!((listener.max_message, listener.permitted_enctypes.len()), (1 << 20, 4));
    assert_eq!((config.limits.handshakes.total, config.limits.handshakes.per_address), (16_384, 1_024));
    let durability = Durability::Process;
    assert_eq!(config.replay.store, ReplayStoreConfig::Unnamed { durability });
    assert_eq!(config, load("[[listener]]\n").unwrap().config);
}

#[test]
fn a_flag_goes_before_a_variable_and_that_before_the_file() {
    let text = "[[listener]]\nclock_skew = 1\n";
    let variable = [("COUNTERSIGN_LISTENER_DEFAULT_CLOCK_SKEW", "2")];
    let skew = |config: Config| config.listeners[0].clock_skew.as_secs();
    assert_eq!(skew(with(text, &[], Vec::new())), 1);
    assert_eq!(skew(with(text, &variable, Vec::new())), 2);
    assert_eq!(skew(with(text, &variable, vec![flag("--clock-skew", "clock_skew", "3")])), 3);
}

#[test]
fn variables_reach_every_section_and_listeners_by_name() {
    let variables = [
        ("COUNTERSIGN_STATE", "/srv/state"),
        ("COUNTERSIGN_DRAIN_DEADLINE", "5m"),
        ("COUNTERSIGN_LIMITS_HANDSHAKES_PER_ADDRESS", "7"),
        ("COUNTERSIGN_REPLAY_DURABILITY", "power"),
        ("COUNTERSIGN_AUDIT_FILE", "/srv/audit"),
        ("COUNTERSIGN_LOG_FORMAT", "json"),
        ("COUNTERSIGN_METRICS_LISTEN", "127.0.0.1:1"),
        ("COUNTERSIGN_LISTENER_OWN_REALM_UPSTREAM_IDENTITY", "json"),
        ("COUNTERSIGN_LISTENER_DATABASE_ALLOW", "alice@A, *@B"),
        ("COUNTERSIGN_LISTENER_DATABASE_ALLOW_NO_MUTUAL", "true"),
        ("COUNTERSIGN_LISTENER_DATABASE_MAX_MESSAGE", "64 KiB"),
        ("PATH", "/bin"),
        ("COUNTERSIGNED", "yes"),
    ];
    let before = load(SAMPLE).unwrap().config;
    let config = with(SAMPLE, &variables, Vec::new());
    assert_eq!(config.state.as_deref(), Some(Path::new("/srv/state")));
    assert_eq!(config.drain_deadline, Duration::from_secs(300));
    assert_eq!(config.limits.handshakes.per_address, 7);
    assert_ne!(
        (&config.replay, &config.audit, &config.log, &config.metrics),
        (&before.replay, &before.audit, &before.log, &before.metrics)
    );
    assert_eq!(config.listeners[1..3], before.listeners[1..3]);
    assert_ne!(config.listeners[3], before.listeners[3]);
    let database = &config.listeners[0];
    assert_eq!((database.allow_no_mutual, database.max_message), (true, 65_536));
    assert_ne!(database.allow, before.listeners[0].allow);
}

#[test]
fn a_variable_that_names_no_setting_is_refused_by_its_name_and_its_value_is_not_told() {
    for (name, near) in [
        ("COUNTERSIGN_LIMITS_HANDSHAKE", "COUNTERSIGN_LIMITS_HANDSHAKES"),
        ("COUNTERSIGN_STAT", "COUNTERSIGN_STATE"),
        ("COUNTERSIGN_REPLAY_PASSWORD_FIL", "COUNTERSIGN_REPLAY_PASSWORD_FILE"),
        ("COUNTERSIGN_LISTENER_DATABASE_KEYTABS", "COUNTERSIGN_LISTENER_DATABASE_KEYTAB"),
        ("COUNTERSIGN_LISTENER_DATABAS_KEYTAB", "COUNTERSIGN_LISTENER_DATABASE_KEYTAB"),
        ("COUNTERSIGN_listener_database_keytab", ""),
        // A listener's name is what the variable goes by.
        ("COUNTERSIGN_LISTENER_DATABASE_NAME", ""),
        ("COUNTERSIGN_ENTIRELY_DIFFERENT", "the listeners DATABASE, DOTNET, SAMPLE, OWN_REALM"),
        ("COUNTERSIGN_", "the sections LIMITS"),
    ] {
        let told = told(SAMPLE, &[(name, "hunter2")], Vec::new());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with(&format!("CS-7225 saw {name};")), "{told:?}");
        assert!(!told[0].contains("hunter2"), "{told:?}");
        assert!(told[0].contains(near), "{told:?} lacks {near}");
    }
}

#[test]
fn a_wrong_value_of_a_variable_or_flag_is_told_as_it_was_said_there() {
    let told = told(
        "",
        &[("COUNTERSIGN_LIMITS_HANDSHAKES", "many")],
        vec![flag("--clock-skew", "clock_skew", "soon")],
    );
    assert!(
        told[0].starts_with("CS-7223 saw COUNTERSIGN_LIMITS_HANDSHAKES=\"many\"; have a whole number"),
        "{told:?}"
    );
    assert!(told[1].starts_with("CS-9001 saw --clock-skew \"soon\"; have 1s to 1d"), "{told:?}");
}

#[test]
fn a_flag_puts_out_what_the_file_says_of_its_alternatives() {
    let keytab = "[[listener]]\nkeytab = 'k'\nrelay_realms = ['A']\n";
    let config = with(keytab, &[], vec![flag("--realm", "realm", "r")]);
    assert!(matches!(&config.listeners[0].keys, KeySource::Realm { folder, .. } if folder == Path::new("r")));
    let realm = "[[listener]]\nrealm = 'r'\nmaster_key_file = 'm'\n";
    let config = with(realm, &[("COUNTERSIGN_LISTENER_DEFAULT_KEYTAB", "k")], Vec::new());
    assert_eq!(config.listeners[0].keys, KeySource::Keytab(Some("k".into())));
    let upstream = "[[listener]]\nupstream = 'h:1'\nupstream_identity = 'json'\n";
    assert_eq!(with(upstream, &[], vec![flag("--echo", "echo", "true")]).listeners[0].target, Target::Echo);
    // Two flags stand on one level, so they are a contradiction still.
    let both = vec![flag("--keytab", "keytab", "k"), flag("--realm", "realm", "r")];
    assert!(told("", &[], both)[0].starts_with("CS-9001 saw --keytab"));
}

#[test]
fn a_flag_of_a_listener_is_refused_where_there_are_several() {
    let faults = load_with(SAMPLE, &[], vec![flag("--keytab", "keytab", "k")]).unwrap_err();
    let refusal = Refusal::from_error(&faults[0]);
    assert_eq!(refusal.code(), code::USAGE);
    let text = refusal.to_string();
    assert!(text.contains("--keytab") && text.contains("4 listeners in the file"), "{text}");
    assert!(text.contains("COUNTERSIGN_LISTENER_NAME_KEY"), "{text}");
    let one = "[[listener]]\nname = 'web'\n";
    assert_eq!(
        with(one, &[], vec![flag("--keytab", "keytab", "k")]).listeners[0].keys,
        KeySource::Keytab(Some("k".into()))
    );
}

#[test]
fn rc4_needs_leave_in_the_file_and_a_flag_that_names_it_is_leave() {
    let list = |words: &[&str]| FlagValue::Several(words.iter().map(|word| (*word).to_owned()).collect());
    let etypes = FlagSetting {
        section: Section::Listener,
        key: "permitted_enctypes",
        flag: "--permitted-enctypes",
        value: list(&["arcfour-hmac", "aes256-cts"]),
    };
    assert_eq!(with("", &[], vec![etypes]).listeners[0].permitted_enctypes.len(), 2);
    let named = "[[listener]]\npermitted_enctypes = ['aes256-cts', 'arcfour-hmac']\n";
    assert!(load(named).is_err());
    assert!(load(&format!("{named}allow_rc4 = true\n")).is_ok());
    let variable = [("COUNTERSIGN_LISTENER_DEFAULT_PERMITTED_ENCTYPES", "arcfour-hmac")];
    assert!(load_with("", &variable, Vec::new()).is_err());
}

#[test]
fn a_state_folder_makes_the_replay_store_a_file_in_it() {
    let config = with("", &[("COUNTERSIGN_STATE", "/srv/state")], Vec::new());
    let folder = Path::new("/srv/state/replay");
    assert!(matches!(&config.replay.store, ReplayStoreConfig::File { folder: found, .. } if found == folder));
}

#[test]
fn variables_and_flags_alone_make_a_listener_too() {
    let variables = [("COUNTERSIGN_LISTENER_DEFAULT_UPSTREAM", "127.0.0.1:80")];
    let listen = FlagSetting {
        section: Section::Listener,
        key: "listen",
        flag: "--listen",
        value: FlagValue::Several(vec!["127.0.0.1:1".to_owned(), "systemd:web".to_owned()]),
    };
    let loaded =
        Config::load(None, &variables.map(|(name, value)| (name.into(), value.into())), vec![listen]);
    let listener = loaded.unwrap().config.listeners.remove(0);
    assert_eq!(listener.listen.len(), 2);
    assert!(matches!(listener.target, Target::Upstream(_)));
}
