//! The configuration of `serve`: one file, variables of the environment over it, flags over both (docs/configuration.md).
//!
//! A file goes through three stages: [`document`] makes settings with their places of it, [`environment`] and flags put
//! theirs over them, and the readers turn them into the types that `serve` is built of. Every fault on the way is noted with
//! its place, and all are told. [`inspect`] then looks at the files that are named.

mod allow;
mod document;
mod environment;
mod fault;
mod forms;
mod inspect;
mod keys;
mod listener;
mod reader;
mod sections;
mod settings;
mod summary;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use allow::Allow;
pub(crate) use fault::Fault;
pub(crate) use forms::BindingSource;
pub(crate) use inspect::Findings;
pub(crate) use keys::Section;
pub(crate) use listener::{Bindings, KeySource, ListenAddress, ListenerConfig, NtlmAccounts, Target};
pub(crate) use sections::{
    AuditConfig, LimitsConfig, LogConfig, LogFormat, LogLevel, MetricsConfig, OnAbsence, ReplayConfig,
    ReplayStoreConfig, ValkeyConfig,
};
pub(crate) use upstream::{Upstream, UpstreamAddress, UpstreamIdentity};

use fault::{Problem, Shown};
use settings::{Entry, Origin, Settings, Table, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that `serve` is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Config {
    /// At least one.
    pub(crate) listeners: Vec<ListenerConfig>,
    /// What is bounded.
    pub(crate) limits: LimitsConfig,
    /// Where authenticators are remembered.
    pub(crate) replay: ReplayConfig,
    /// The audit file, if there is one.
    pub(crate) audit: Option<AuditConfig>,
    /// What is logged.
    pub(crate) log: LogConfig,
    /// Where metrics are asked for, if they are.
    pub(crate) metrics: Option<MetricsConfig>,
    /// The folder for what must outlast the process.
    pub(crate) state: Option<PathBuf>,
    /// How long sessions may go on after the program is told to end.
    pub(crate) drain_deadline: Duration,
}

/// A configuration that holds together, with the places of what it is made of.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What was said.
    pub(crate) config: Config,
    settings: Settings,
}

/// One setting of the command line.
pub(crate) struct FlagSetting {
    /// The table it belongs to.
    pub(crate) section: Section,
    /// Its key there.
    pub(crate) key: &'static str,
    /// The flag, with its dashes.
    pub(crate) flag: &'static str,
    /// What it is set to.
    pub(crate) value: FlagValue,
}

/// What a flag sets a key to.
pub(crate) enum FlagValue {
    /// One value.
    One(String),
    /// One for each time that the flag was given.
    Several(Vec<String>),
}

impl Config {
    /// Reads `file`, if one is named, and puts `variables` and then `flags` over it.
    ///
    /// # Errors
    /// Every fault, in the order of the file, then of the variables, then of the flags.
    pub(crate) fn load(
        file: Option<&Path>,
        variables: &[(OsString, OsString)],
        flags: Vec<FlagSetting>,
    ) -> Result<Loaded, Vec<Fault>> {
        let mut faults = Vec::new();
        let settings = match file {
            Some(path) => document::read(path, &mut faults),
            None => Settings::empty(),
        };
        // Where the file is no TOML, everything else would be held against what it does not say.
        if faults.iter().any(Fault::ends_reading) {
            return Err(faults);
        }
        Self::from_settings(settings, variables, flags, faults)
    }

    fn from_settings(
        mut settings: Settings,
        variables: &[(OsString, OsString)],
        flags: Vec<FlagSetting>,
        mut faults: Vec<Fault>,
    ) -> Result<Loaded, Vec<Fault>> {
        names_must_differ(&settings, &mut faults);
        environment::apply(&mut settings, variables, &mut faults);
        apply_flags(&mut settings, flags, &mut faults);
        let listeners: Vec<_> =
            settings.listeners.iter().map(|table| listener::read(table, &mut faults)).collect();
        let sections = sections::read(&settings, &mut faults);
        let config = Self {
            listeners,
            limits: sections.limits,
            replay: sections.replay,
            audit: sections.audit,
            log: sections.log,
            metrics: sections.metrics,
            state: sections.state,
            drain_deadline: sections.drain_deadline,
        };
        addresses_must_differ(&config, &settings, &mut faults);
        if faults.is_empty() {
            return Ok(Loaded { config, settings });
        }
        faults.sort_by(|a, b| a.at.cmp(&b.at));
        Err(faults)
    }
}

/// Several listeners must be told apart, in logs and in variables.
fn names_must_differ(settings: &Settings, faults: &mut Vec<Fault>) {
    if settings.listeners.len() < 2 {
        return;
    }
    let mut seen: BTreeMap<String, &Table> = BTreeMap::new();
    for table in &settings.listeners {
        let fault = |have: String, fix: &'static str| {
            let shown = table.entries.get("name").map_or(Shown::Nothing, |entry| entry.value.shown());
            let problem =
                Problem::Contradiction { key: "name".to_owned(), shown, have: have.into(), fix: fix.into() };
            Fault::new(table.origin_of("name"), problem)
        };
        if !table.has("name") {
            let have = format!("{} listeners, and this one without a name", settings.listeners.len());
            faults.push(fault(have, "give each a name of its own: name = \"...\""));
            continue;
        }
        let part = environment::variable_part(environment::name_of(table));
        match seen.get(&part) {
            Some(other) => {
                let have =
                    format!("{} at {}, which variables cannot tell from it", other.label, other.origin);
                faults.push(fault(have, "give each a name that differs by a letter or digit"));
            }
            None => _ = seen.insert(part, table),
        }
    }
}

fn apply_flags(settings: &mut Settings, flags: Vec<FlagSetting>, faults: &mut Vec<Fault>) {
    let listeners = settings.listeners.len();
    for FlagSetting { section, key, flag, value } in flags {
        let origin = Origin::Flag(flag);
        let value = match value {
            FlagValue::One(word) => Value::Word(word),
            FlagValue::Several(words) => {
                let of = |word| Entry { value: Value::Word(word), origin: origin.clone() };
                Value::List(words.into_iter().map(of).collect())
            }
        };
        let table = match section {
            Section::Listener if listeners > 1 => {
                let have = format!("{listeners} listeners in the file").into();
                let fix = "set it in the file, or in a variable COUNTERSIGN_LISTENER_NAME_KEY".into();
                let problem =
                    Problem::Contradiction { key: key.to_owned(), shown: Shown::Nothing, have, fix };
                faults.push(Fault::new(origin, problem));
                continue;
            }
            Section::Listener => settings.listeners.first_mut(),
            section => Some(settings.section_mut(section)),
        };
        if let Some(table) = table {
            table.put_over(key, Entry { value, origin });
        }
    }
}

/// Two sockets cannot listen on one address and port; one on every address takes the others' place too.
fn addresses_must_differ(config: &Config, settings: &Settings, faults: &mut Vec<Fault>) {
    let mut taken: Vec<(&ListenAddress, &Table)> = Vec::new();
    for (listener, table) in config.listeners.iter().zip(&settings.listeners) {
        for address in &listener.listen {
            if let Some((other, of)) = taken.iter().find(|(other, _)| other.overlaps(address)) {
                let have = if std::ptr::eq(*of, table) {
                    format!("{other} in the same list")
                } else {
                    format!("{other} for {} at {}", of.label, of.origin)
                };
                faults.push(address_taken(table, "listen", address, have));
            }
            taken.push((address, table));
        }
    }
    let metrics = config.metrics.map(|metrics| ListenAddress::Address(metrics.listen));
    if let (Some(address), Some(table)) = (metrics, settings.sections.get(&Section::Metrics))
        && let Some((other, of)) = taken.iter().find(|(other, _)| other.overlaps(&address))
    {
        faults.push(address_taken(
            table,
            "listen",
            &address,
            format!("{other} for {} at {}", of.label, of.origin),
        ));
    }
}

fn address_taken(table: &Table, key: &'static str, address: &ListenAddress, have: String) -> Fault {
    let shown = Shown::Value(address.to_string());
    let fix = "give each an address or port of its own".into();
    let problem = Problem::Contradiction { key: key.to_owned(), shown, have: have.into(), fix };
    Fault::new(table.origin_of(key), problem)
}

impl ListenAddress {
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Systemd(a), Self::Systemd(b)) => a == b,
            (Self::Address(a), Self::Address(b)) => addresses_overlap(a, b),
            _ => false,
        }
    }
}

/// Port 0 takes a free one each time. `[::]` takes the addresses of IPv4 too, where the system is set up as most are.
fn addresses_overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let takes = |all: &SocketAddr, one: &SocketAddr| match all.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || takes(a, b) || takes(b, a))
}
