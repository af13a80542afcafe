//! `[[listener]]`: an address, how clients prove themselves there, and where their messages go.

use super::allow::{Allow, AllowedClient};
use super::fault::Fault;
use super::forms::{self, BindingSource, Said, Wrong};
use super::reader::Reader;
use super::settings::Table;
use super::upstream::{self, Upstream};
use countersign::DEFAULT_MAX_MESSAGE;
use countersign::framing::nns::{ErrorOrder, Protection};
use countersign::framing::{Framing, Nns, SampleData};
use countersign::proto::crypto::Etype;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::policy::{DEFAULT_CLOCK_SKEW, DEFAULT_PERMITTED_ENCTYPES};
use countersign::service::DEFAULT_HANDSHAKE_DEADLINE;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything about one listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListenerConfig {
    /// What logs, metrics and variables call it.
    pub(crate) name: String,
    /// Where it listens; at least one.
    pub(crate) listen: Vec<ListenAddress>,
    /// How tokens and messages are framed.
    pub(crate) framing: Framing,
    /// Where its keys are.
    pub(crate) keys: KeySource,
    /// Realms to whose KDCs messages are carried, its own first (IAKERB). Empty with a realm's folder, which is its own KDC.
    pub(crate) relay_realms: Vec<String>,
    /// The service principals whose keys may be used; empty for every one in the keytab.
    pub(crate) accept_principals: Vec<Principal>,
    /// The clients that may come in.
    pub(crate) allow: Allow,
    /// Etypes that are permitted, the preferred one first.
    pub(crate) permitted_enctypes: Vec<Etype>,
    /// Whether RC4 may be among them.
    pub(crate) allow_rc4: bool,
    /// How far a client's clock may be from ours.
    pub(crate) clock_skew: Duration,
    /// Whether Kerberos tokens are taken that come bare.
    pub(crate) accept_raw_kerberos: bool,
    /// What clients must be bound to.
    pub(crate) channel_bindings: Bindings,
    /// How NTLM is accepted, if it is.
    pub(crate) ntlm: Option<NtlmConfig>,
    /// Let clients in that do not ask for the service's proof.
    pub(crate) allow_no_mutual: bool,
    /// Take messages that are signed but not sealed.
    pub(crate) allow_unsealed: bool,
    /// Do not check which realms a ticket came through.
    pub(crate) ignore_transited: bool,
    /// Where messages go.
    pub(crate) target: Target,
    /// How long a session may be silent in both directions; without it, for ever.
    pub(crate) idle_timeout: Option<Duration>,
    /// End sessions when the client's ticket does.
    pub(crate) sessions_end_with_ticket: bool,
    /// How long a whole handshake may take.
    pub(crate) handshake_deadline: Duration,
    /// Longest message that a client may send, in bytes of plaintext.
    pub(crate) max_message: usize,
}

/// Where a listener gets its socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ListenAddress {
    /// It listens there itself.
    Address(SocketAddr),
    /// The service manager passes it under this name (FileDescriptorName= of a systemd socket).
    Systemd(String),
}

/// Where the keys of a listener are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum KeySource {
    /// In a keytab; where none is named, KRB5_KTNAME's, else /etc/krb5.keytab.
    Keytab(Option<PathBuf>),
    /// In the folder of a realm.
    Realm {
        /// The folder.
        folder: PathBuf,
        /// The file with its master key; without it master.key in the folder.
        master_key_file: Option<PathBuf>,
    },
}

/// What is asked of clients about the channel that they come through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bindings {
    /// Nothing: what they say is not compared.
    Off,
    /// Who is bound must be bound to one of these; with none, nothing is compared.
    WhenOffered(Vec<BindingSource>),
    /// Everybody must be bound to one of these; at least one.
    Required(Vec<BindingSource>),
}

/// How NTLM is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NtlmConfig {
    /// Who knows the passwords.
    pub(crate) accounts: NtlmAccounts,
    /// SPNs by which clients must mean to reach this service; empty for any.
    pub(crate) spns: Vec<String>,
}

/// Who knows NTLM passwords.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NtlmAccounts {
    /// A file that `countersign ntlm add` made.
    File(PathBuf),
    /// This machine's domain, by Samba's helper program at this path.
    Winbind(PathBuf),
}

/// Where the messages of clients go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Back to the client.
    Echo,
    /// To another service.
    Upstream(Upstream),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// What an unnamed listener is called, if it is the only one.
pub(crate) const DEFAULT_NAME: &str = "default";

/// Where a listener listens if nothing is said.
const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 2_000);

/// Longest name, in bytes.
const MAX_NAME: usize = 64;

/// Reads the table of one listener. What comes back where faults were noted is of no use.
pub(super) fn read(table: &Table, faults: &mut Vec<Fault>) -> ListenerConfig {
    let reader = &mut Reader::new(table, faults);
    let allow_unsealed = reader.one("allow_unsealed", forms::boolean).unwrap_or(false);
    let allow_rc4 = reader.one("allow_rc4", forms::boolean).unwrap_or(false);
    let ntlm = ntlm(reader);
    let target = target(reader);
    ListenerConfig {
        name: reader.one("name", name).unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        listen: listen(reader),
        framing: framing(reader, allow_unsealed),
        keys: keys(reader),
        relay_realms: reader.list("relay_realms", forms::realm),
        accept_principals: reader.list("accept_principals", forms::principal),
        allow: allow(reader, &target, ntlm.is_some()),
        permitted_enctypes: permitted_enctypes(reader, allow_rc4),
        allow_rc4,
        clock_skew: reader.one("clock_skew", up_to(DAY)).unwrap_or(DEFAULT_CLOCK_SKEW),
        accept_raw_kerberos: reader.one("accept_raw_kerberos", forms::boolean).unwrap_or(true),
        channel_bindings: bindings(reader),
        ntlm,
        allow_no_mutual: reader.one("allow_no_mutual", forms::boolean).unwrap_or(false),
        allow_unsealed,
        ignore_transited: reader.one("ignore_transited", forms::boolean).unwrap_or(false),
        target,
        idle_timeout: reader.one("idle_timeout", up_to(DAY.saturating_mul(30))),
        sessions_end_with_ticket: reader.one("sessions_end_with_ticket", forms::boolean).unwrap_or(false),
        handshake_deadline: reader
            .one("handshake_deadline", up_to(Duration::from_secs(3_600)))
            .unwrap_or(DEFAULT_HANDSHAKE_DEADLINE),
        max_message: reader.one("max_message", forms::size(1..=1 << 30)).unwrap_or(DEFAULT_MAX_MESSAGE),
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn up_to(longest: Duration) -> impl Fn(&Said<'_>) -> Result<Duration, Wrong> {
    forms::duration(Duration::from_secs(1)..=longest)
}

fn name(said: &Said<'_>) -> Result<String, Wrong> {
    let fits = |text: &&str| (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_of_a_name);
    let name = said.text().filter(fits).map(str::to_owned);
    name.ok_or_else(|| Wrong::form("a name of 1 to 64 letters of ASCII, digits, '-', '_' and '.'"))
}

fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn listen(reader: &mut Reader<'_>) -> Vec<ListenAddress> {
    let addresses = reader.one_or_list("listen", listen_address);
    if reader.is_empty_list("listen") {
        reader.contradiction("listen", "no address to listen on", "name one, such as \"127.0.0.1:2000\"");
    }
    match addresses.is_empty() {
        true => vec![ListenAddress::Address(DEFAULT_LISTEN.into())],
        false => addresses,
    }
}

fn listen_address(said: &Said<'_>) -> Result<ListenAddress, Wrong> {
    said.text().and_then(|text| text.parse().ok()).ok_or_else(|| Wrong::form(LISTEN_FORM))
}

const LISTEN_FORM: &str =
    "an address and a port, such as \"127.0.0.1:2000\" or \"[::]:2000\", or \"systemd:NAME\"";

impl std::str::FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("systemd:") {
            // What systemd takes for FileDescriptorName=.
            Some(name) if (1..=255).contains(&name.len()) && name.bytes().all(is_of_a_systemd_name) => {
                Ok(Self::Systemd(name.to_owned()))
            }
            Some(_) => Err(LISTEN_FORM),
            None => text.parse().map(Self::Address).map_err(|_| LISTEN_FORM),
        }
    }
}

fn is_of_a_systemd_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FramingName {
    Dword,
    Nns,
    Sample,
}

const FRAMINGS: &[(&str, FramingName)] =
    &[("dword", FramingName::Dword), ("nns", FramingName::Nns), ("sample", FramingName::Sample)];
const PROTECTIONS: &[(&str, Protection)] =
    &[("encrypt-and-sign", Protection::EncryptAndSign), ("sign", Protection::Sign)];
const ERROR_ORDERS: &[(&str, ErrorOrder)] =
    &[("big-endian", ErrorOrder::BigEndian), ("little-endian", ErrorOrder::LittleEndian)];
const SAMPLE_DATA: &[(&str, SampleData)] = &[("sealed", SampleData::Sealed), ("signed", SampleData::Signed)];

fn framing(reader: &mut Reader<'_>, allow_unsealed: bool) -> Framing {
    let name = reader.one("framing", forms::choice(FRAMINGS)).unwrap_or(FramingName::Dword);
    let protection = reader.one("nns_protection", forms::choice(PROTECTIONS)).unwrap_or_default();
    let error_order = reader.one("nns_error_order", forms::choice(ERROR_ORDERS)).unwrap_or_default();
    let sample_data = reader.one("sample_data", forms::choice(SAMPLE_DATA)).unwrap_or_default();
    if name != FramingName::Nns {
        reader.meaningless("nns_protection", "another framing than nns");
        reader.meaningless("nns_error_order", "another framing than nns");
    }
    if name != FramingName::Sample {
        reader.meaningless("sample_data", "another framing than sample");
    }
    let unsealed = [
        ("nns_protection", protection == Protection::Sign),
        ("sample_data", sample_data == SampleData::Signed),
    ];
    for (key, _) in unsealed.into_iter().filter(|(_, unsealed)| *unsealed && !allow_unsealed) {
        let fix = "set allow_unsealed = true if these messages may be read by anybody";
        reader.contradiction(key, "a demand that messages are sealed", fix);
    }
    match name {
        FramingName::Dword => Framing::Dword,
        FramingName::Nns => Framing::Nns(Nns { protection, error_order }),
        FramingName::Sample => Framing::Sample(sample_data),
    }
}

fn keys(reader: &mut Reader<'_>) -> KeySource {
    let keytab = reader.one("keytab", forms::path);
    let realm = reader.one("realm", forms::path);
    let master_key_file = reader.one("master_key_file", forms::path);
    if reader.has("realm") {
        reader.meaningless("keytab", "a realm, which has the service's keys");
        reader.meaningless("relay_realms", "a realm, which is its own KDC");
    } else {
        reader.meaningless("master_key_file", "no realm");
    }
    match realm {
        Some(folder) => KeySource::Realm { folder, master_key_file },
        None => KeySource::Keytab(keytab),
    }
}

fn permitted_enctypes(reader: &mut Reader<'_>, allow_rc4: bool) -> Vec<Etype> {
    let permitted = reader.list("permitted_enctypes", forms::etype);
    if reader.is_empty_list("permitted_enctypes") {
        let fix = "name at least one, or take the key away for the default";
        reader.contradiction("permitted_enctypes", "no etype to work with", fix);
    }
    let named = permitted.contains(&Etype::ArcfourHmac);
    // A flag that names it is the leave itself.
    if named && !allow_rc4 && !reader.is_by_flag("permitted_enctypes") {
        let fix = "set allow_rc4 = true, or better take arcfour-hmac away";
        reader.contradiction("permitted_enctypes", "arcfour-hmac off: it is weak", fix);
    }
    if permitted.is_empty() { DEFAULT_PERMITTED_ENCTYPES.to_vec() } else { permitted }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BindingsMode {
    Off,
    WhenOffered,
    Required,
}

const BINDINGS_MODES: &[(&str, BindingsMode)] = &[
    ("off", BindingsMode::Off),
    ("when-offered", BindingsMode::WhenOffered),
    ("required", BindingsMode::Required),
];

fn bindings(reader: &mut Reader<'_>) -> Bindings {
    let mode = reader.one("channel_bindings", forms::choice(BINDINGS_MODES));
    let values = reader.one_or_list("channel_binding_values", forms::binding);
    let has_values = reader.has("channel_binding_values") && !reader.is_empty_list("channel_binding_values");
    match mode.unwrap_or(BindingsMode::WhenOffered) {
        BindingsMode::Off => {
            reader.meaningless("channel_binding_values", "channel_bindings = \"off\"");
            Bindings::Off
        }
        BindingsMode::WhenOffered => Bindings::WhenOffered(values),
        BindingsMode::Required if !has_values => {
            let fix = "name what clients must be bound to: channel_binding_values, or --channel-bindings <HEX|cert:FILE>";
            reader.contradiction("channel_bindings", "nothing to compare a client's binding with", fix);
            Bindings::Off
        }
        BindingsMode::Required => Bindings::Required(values),
    }
}

fn ntlm(reader: &mut Reader<'_>) -> Option<NtlmConfig> {
    let allowed = reader.one("allow_ntlm", forms::boolean);
    let file = reader.one("ntlm_accounts", forms::path);
    let winbind = reader.one("ntlm_winbind", forms::path);
    let spns = reader.list("ntlm_spns", forms::text);
    if allowed == Some(false) || !reader.has("allow_ntlm") {
        for key in ["ntlm_accounts", "ntlm_winbind", "ntlm_spns"] {
            reader.meaningless(key, "NTLM off: allow_ntlm is not true");
        }
    }
    let named = [reader.has("ntlm_accounts"), reader.has("ntlm_winbind")];
    if named == [true, true] {
        reader.meaningless("ntlm_winbind", "ntlm_accounts, and room for one source of accounts");
    } else if allowed == Some(true) && named == [false, false] {
        let fix = "name a file (ntlm_accounts) or Samba's helper (ntlm_winbind), or do not allow NTLM";
        reader.contradiction("allow_ntlm", "nobody who knows NTLM passwords", fix);
    }
    let accounts = file.map(NtlmAccounts::File).or(winbind.map(NtlmAccounts::Winbind))?;
    (allowed == Some(true)).then_some(NtlmConfig { accounts, spns })
}

fn target(reader: &mut Reader<'_>) -> Target {
    let echo = reader.one("echo", forms::boolean);
    let upstream = upstream::read(reader);
    match (echo, reader.has("upstream")) {
        (Some(true), true) => reader.meaningless("echo", "an upstream that messages go to"),
        (Some(false), false) => {
            reader.contradiction(
                "echo",
                "nothing else to do with messages",
                "name an upstream, or set echo = true",
            );
        }
        _ => {}
    }
    upstream.map_or(Target::Echo, Target::Upstream)
}

fn allow(reader: &mut Reader<'_>, target: &Target, ntlm: bool) -> Allow {
    let listed = reader.list("allow", AllowedClient::read);
    if reader.is_empty_list("allow") {
        let fix = "name clients, such as \"alice@EXAMPLE.TEST\" or \"*@EXAMPLE.TEST\", or take the key away";
        reader.contradiction("allow", "nobody who may come in", fix);
    }
    let has_account = listed.iter().any(|client| matches!(client, AllowedClient::NtlmAccount { .. }));
    if has_account && !ntlm && !reader.has("allow_ntlm") {
        let fix = "write principals with their realm (alice@EXAMPLE.TEST), or allow NTLM";
        reader.contradiction("allow", "NTLM off, and an account of it in the list", fix);
    }
    match (reader.has("allow"), target) {
        (true, _) => Allow::Listed(listed),
        (false, Target::Echo) => Allow::Everyone,
        (false, Target::Upstream(_)) => Allow::OwnRealm,
    }
}
