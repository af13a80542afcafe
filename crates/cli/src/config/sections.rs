//! The tables that there is one of: limits, replay store, audit, log, metrics; and what stands before every table.

use super::fault::Fault;
use super::forms::{self, Said, Wrong};
use super::keys::Section;
use super::reader::Reader;
use super::settings::{Settings, Table};
use countersign::audit::OnAuditFailure;
use countersign::limits::HandshakeLimits;
use countersign::replay::Durability;
use countersign::service::DEFAULT_REPLAY_CAPACITY;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is bounded in the whole process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LimitsConfig {
    /// Handshakes that are open at once.
    pub(crate) handshakes: HandshakeLimits,
    /// Sessions that are open at once, in all.
    pub(crate) tunnels: usize,
    /// Attempts that may fail in a minute, of one address or one principal, before answers are delayed; `None` for any number.
    pub(crate) failed_attempts: Option<u32>,
    /// Attempts that may fail in a minute before an address is not listened to for a while; `None` for any number.
    pub(crate) failed_attempts_block: Option<u32>,
    /// Refusals before authentication that are logged in a second of one address; the others are counted.
    pub(crate) refusal_log_lines_per_second: u32,
}

/// Where authenticators are remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReplayConfig {
    /// The store.
    pub(crate) store: ReplayStoreConfig,
    /// How many authenticators this process remembers.
    pub(crate) capacity: usize,
}

/// A replay store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReplayStoreConfig {
    /// In this process, until it ends.
    Memory,
    /// Nothing was said of it: in files of a folder that this machine has for such things, if there is one that can be
    /// written, else in memory.
    Unnamed {
        /// What the files must outlast.
        durability: Durability,
    },
    /// In files below the state folder.
    File {
        /// Their folder.
        folder: PathBuf,
        /// What they must outlast.
        durability: Durability,
    },
    /// In Valkey or Redis, for several instances.
    Valkey(ValkeyConfig),
}

/// How Valkey or Redis is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ValkeyConfig {
    /// `redis://HOST:PORT[/DATABASE]`, or `unix:///path[?db=DATABASE]`, without name or password.
    pub(crate) url: String,
    /// The user, if it is not the default one.
    pub(crate) username: Option<String>,
    /// The file whose first line is the password.
    pub(crate) password_file: Option<PathBuf>,
    /// What its keys begin with.
    pub(crate) prefix: String,
    /// What is done while it does not answer.
    pub(crate) on_absence: OnAbsence,
    /// How long one request may take.
    pub(crate) timeout: Duration,
}

/// What is done while a shared store does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnAbsence {
    /// Clients are refused.
    Refuse,
    /// This instance's own memory decides.
    Memory,
}

/// The audit file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AuditConfig {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// What is done when it cannot be written.
    pub(crate) on_failure: OnAuditFailure,
}

/// What is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogConfig {
    /// In which form.
    pub(crate) format: LogFormat,
    /// The least that is logged.
    pub(crate) level: LogLevel,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// How much is logged, the least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may.
    Warn,
    /// And every session.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

/// Where metrics and health are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MetricsConfig {
    /// The address of the HTTP server.
    pub(crate) listen: SocketAddr,
}

/// The sections as they are read.
pub(super) struct Sections {
    pub(super) limits: LimitsConfig,
    pub(super) replay: ReplayConfig,
    pub(super) audit: Option<AuditConfig>,
    pub(super) log: LogConfig,
    pub(super) metrics: Option<MetricsConfig>,
    pub(super) state: Option<PathBuf>,
    pub(super) drain_deadline: Duration,
}

/// The folder below the state folder that a replay store in files has.
const REPLAY_FOLDER: &str = "replay";

/// Reads every table but those of listeners. What comes back where faults were noted is of no use.
pub(super) fn read(settings: &Settings, faults: &mut Vec<Fault>) -> Sections {
    let (state, drain_deadline) = top(&settings.top, faults);
    let nothing = Table::new(Section::Top, super::settings::Origin::Default);
    let table = |section| settings.sections.get(&section).unwrap_or(&nothing);
    Sections {
        limits: limits(table(Section::Limits), faults),
        replay: replay(table(Section::Replay), state.as_deref(), settings.top.has("state"), faults),
        audit: audit(table(Section::Audit), faults),
        log: log(table(Section::Log), faults),
        metrics: Reader::new(table(Section::Metrics), faults)
            .one("listen", forms::socket_address)
            .map(|listen| MetricsConfig { listen }),
        state,
        drain_deadline,
    }
}

/// How long open sessions may go on after the program is told to end, where nothing is said.
const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(30);

fn top(table: &Table, faults: &mut Vec<Fault>) -> (Option<PathBuf>, Duration) {
    let mut reader = Reader::new(table, faults);
    let state = reader.one("state", forms::path);
    let drain_deadline =
        reader.one("drain_deadline", forms::duration(Duration::ZERO..=Duration::from_secs(86_400)));
    (state, drain_deadline.unwrap_or(DEFAULT_DRAIN_DEADLINE))
}

/// Sessions that may be open at once where nothing is said. Each with an upstream takes two descriptors.
const DEFAULT_TUNNELS: u32 = 8_192;

/// Attempts of one address that may fail in a minute where nothing is said.
const DEFAULT_FAILED_ATTEMPTS: u32 = 10;
/// Behind a proxy all clients have one address.
const DEFAULT_FAILED_ATTEMPTS_BLOCK: u32 = 0;

/// Refusals that are logged in a second of one address where nothing is said.
const DEFAULT_REFUSAL_LOG_LINES: u32 = 10;

/// What all handshakes hold together: no less than one of them may need, in bytes.
const MIN_HANDSHAKE_MEMORY: u64 = 1 << 20;
const MAX_HANDSHAKE_MEMORY: u64 = 1 << 40;

fn limits(table: &Table, faults: &mut Vec<Fault>) -> LimitsConfig {
    let mut reader = Reader::new(table, faults);
    let default = HandshakeLimits::default();
    let total = reader.one("handshakes", count(1)).unwrap_or(default.total);
    let per_address = reader.one("handshakes_per_address", count(1)).unwrap_or(default.per_address);
    let memory = reader.one("handshake_memory", forms::size(MIN_HANDSHAKE_MEMORY..=MAX_HANDSHAKE_MEMORY));
    let memory = memory.unwrap_or(default.memory);
    let tunnels = reader.one("tunnels", count(1));
    let attempts =
        reader.one("failed_attempts", forms::number(0..=MAX_COUNT)).unwrap_or(DEFAULT_FAILED_ATTEMPTS);
    let block = reader.one("failed_attempts_block", forms::number(0..=MAX_COUNT));
    let block = block.unwrap_or(DEFAULT_FAILED_ATTEMPTS_BLOCK);
    if reader.has("failed_attempts_block") && (1..attempts).contains(&block) {
        let have = format!("failed_attempts = {attempts}, which comes first");
        reader.contradiction(
            "failed_attempts_block",
            have,
            "set it to no less than failed_attempts, or to 0 for never",
        );
    }
    let lines = reader.one("refusal_log_lines_per_second", forms::number(0..=MAX_COUNT));
    LimitsConfig {
        handshakes: HandshakeLimits { total, per_address, memory },
        tunnels: tunnels.unwrap_or_else(|| usize::try_from(DEFAULT_TUNNELS).unwrap_or(usize::MAX)),
        failed_attempts: (attempts > 0).then_some(attempts),
        failed_attempts_block: (block > 0).then_some(block),
        refusal_log_lines_per_second: lines.unwrap_or(DEFAULT_REFUSAL_LOG_LINES),
    }
}

/// Largest number that any limit may have.
const MAX_COUNT: u32 = 1_000_000;

fn count(least: u32) -> impl Fn(&Said<'_>) -> Result<usize, Wrong> {
    move |said| {
        forms::number(least..=MAX_COUNT)(said).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreName {
    /// Nothing was said, and there is no state folder.
    Unnamed,
    File,
    Memory,
    Valkey,
}

const STORES: &[(&str, StoreName)] =
    &[("file", StoreName::File), ("memory", StoreName::Memory), ("valkey", StoreName::Valkey)];
const DURABILITIES: &[(&str, Durability)] = &[("process", Durability::Process), ("power", Durability::Power)];
const ON_ABSENCE: &[(&str, OnAbsence)] = &[("refuse", OnAbsence::Refuse), ("memory", OnAbsence::Memory)];

fn replay(table: &Table, state: Option<&Path>, has_state: bool, faults: &mut Vec<Fault>) -> ReplayConfig {
    let reader = &mut Reader::new(table, faults);
    let named = reader.one("store", forms::choice(STORES));
    let durability = reader.one("durability", forms::choice(DURABILITIES)).unwrap_or(Durability::Process);
    let capacity = reader.one("capacity", forms::number(1_000..=100_000_000));
    let store = named.unwrap_or(if has_state { StoreName::File } else { StoreName::Unnamed });
    let valkey = valkey(reader);
    match store {
        StoreName::File => {}
        StoreName::Unnamed if durability == Durability::Process => {}
        // Who cares that much must be told if there is no such place.
        StoreName::Unnamed => {
            let fix = "name a folder: state, or --state DIR";
            reader.contradiction("durability", "no state folder to keep replays in", fix);
        }
        StoreName::Memory | StoreName::Valkey => {
            reader.meaningless("durability", "a replay store that is not in a file");
        }
    }
    if store != StoreName::Valkey {
        for key in ["url", "username", "password_file", "prefix", "on_absence", "timeout"] {
            reader.meaningless(key, "a replay store that is not Valkey: store is not \"valkey\"");
        }
    }
    let store = match store {
        StoreName::Memory => ReplayStoreConfig::Memory,
        StoreName::Unnamed => ReplayStoreConfig::Unnamed { durability },
        StoreName::File if !has_state => {
            reader.contradiction(
                "store",
                "no state folder to keep it in",
                "name a folder: state, or --state DIR",
            );
            ReplayStoreConfig::Memory
        }
        StoreName::File => {
            ReplayStoreConfig::File { folder: state.unwrap_or(Path::new("")).join(REPLAY_FOLDER), durability }
        }
        StoreName::Valkey => {
            if cfg!(not(feature = "valkey")) {
                let fix = "build the program with the feature valkey, or take another store";
                reader.contradiction("store", "a program that was built without Valkey", fix);
            }
            if !reader.has("url") {
                reader.contradiction("store", "no url", "say where it is: url = \"redis://127.0.0.1:6379\"");
            }
            ReplayStoreConfig::Valkey(valkey)
        }
    };
    let capacity =
        capacity.and_then(|number| usize::try_from(number).ok()).unwrap_or(DEFAULT_REPLAY_CAPACITY);
    ReplayConfig { store, capacity }
}

/// What the keys begin with where nothing is said.
const DEFAULT_PREFIX: &str = "countersign:replay:";

/// How long a request may take where nothing is said.
const DEFAULT_VALKEY_TIMEOUT: Duration = Duration::from_secs(1);

fn valkey(reader: &mut Reader<'_>) -> ValkeyConfig {
    ValkeyConfig {
        url: reader.one("url", valkey_url).unwrap_or_default(),
        username: reader.one("username", forms::text),
        password_file: reader.one("password_file", forms::path),
        prefix: reader.one("prefix", prefix).unwrap_or_else(|| DEFAULT_PREFIX.to_owned()),
        on_absence: reader.one("on_absence", forms::choice(ON_ABSENCE)).unwrap_or(OnAbsence::Refuse),
        timeout: reader
            .one("timeout", forms::duration(Duration::from_millis(10)..=Duration::from_secs(60)))
            .unwrap_or(DEFAULT_VALKEY_TIMEOUT),
    }
}

fn valkey_url(said: &Said<'_>) -> Result<String, Wrong> {
    const FORM: &str = "\"redis://HOST:PORT/DATABASE\" or \"unix:///path?db=DATABASE\"; TLS is not spoken, and a \
                        name or password goes to username and password_file";
    // The value is not repeated: it may hold a password, which is what is wrong with it.
    let wrong = || Wrong::Unshown(FORM.into());
    let text = forms::text(said).map_err(|_| wrong())?;
    let rest = ["redis://", "valkey://", "unix://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let fits = rest.is_some_and(|rest| is_place(rest, text.starts_with("unix://")));
    fits.then_some(text).ok_or_else(wrong)
}

/// Host, port and database; or the path of a socket, and its database behind `?db=`.
fn is_place(rest: &str, is_socket: bool) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let place = match rest.split_once('?') {
        Some((place, query)) => {
            is_socket.then_some(place).filter(|_| query.strip_prefix("db=").is_some_and(digits))
        }
        None => Some(rest),
    };
    place.is_some_and(|place| {
        !place.is_empty() && is_socket == place.starts_with('/') && !place.contains(['@', '#', ' '])
    })
}

/// Longest prefix of Valkey's keys, in bytes.
const MAX_PREFIX: usize = 128;

fn prefix(said: &Said<'_>) -> Result<String, Wrong> {
    let text = forms::text(said).ok().filter(|text| text.len() <= MAX_PREFIX);
    text.ok_or_else(|| Wrong::form(format!("a text of 1 to {MAX_PREFIX} bytes")))
}

const ON_AUDIT_FAILURE: &[(&str, OnAuditFailure)] =
    &[("refuse", OnAuditFailure::Refuse), ("continue", OnAuditFailure::Continue)];

fn audit(table: &Table, faults: &mut Vec<Fault>) -> Option<AuditConfig> {
    let mut reader = Reader::new(table, faults);
    let file = reader.one("file", forms::path);
    let on_failure = reader.one("on_failure", forms::choice(ON_AUDIT_FAILURE));
    if !reader.has("file") {
        reader.meaningless("on_failure", "no audit file");
    }
    Some(AuditConfig { file: file?, on_failure: on_failure.unwrap_or(OnAuditFailure::Refuse) })
}

const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

fn log(table: &Table, faults: &mut Vec<Fault>) -> LogConfig {
    let mut reader = Reader::new(table, faults);
    LogConfig {
        format: reader.one("format", forms::choice(LOG_FORMATS)).unwrap_or(LogFormat::Text),
        level: reader.one("level", forms::choice(LOG_LEVELS)).unwrap_or(LogLevel::Info),
    }
}
