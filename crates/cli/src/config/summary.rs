//! What would be served, in a few lines for people. No secret is in a configuration, so none is here.

use super::forms::written_duration;
use super::listener::{Bindings, KeySource, ListenerConfig, NtlmAccounts, Target};
use super::sections::{OnAbsence, ReplayStoreConfig};
use super::{Allow, Config, LimitsConfig, UpstreamIdentity};
use crate::serve::memory::MemoryBound;
use countersign::audit::OnAuditFailure;
use countersign::framing::Framing;
use countersign::replay::Durability;
use std::fmt::Write;

impl Config {
    /// A line for each listener below a heading, and a line for each other part.
    pub(crate) fn summary(&self) -> String {
        let heading =
            ["LISTENER", "LISTENS ON", "FRAMING", "KEYS", "MECHS", "BINDINGS", "CLIENTS", "MESSAGES GO TO"];
        let mut rows = vec![heading.map(str::to_owned)];
        rows.extend(self.listeners.iter().map(row));
        let mut text = aligned(&rows);
        for listener in &self.listeners {
            let waivers = waivers(listener);
            if !waivers.is_empty() {
                let _ = writeln!(text, "{} gives up: {}", listener.name, waivers.join(", "));
            }
        }
        for (what, value) in self.parts() {
            let _ = writeln!(text, "{what}: {value}");
        }
        text
    }

    fn parts(&self) -> Vec<(&'static str, String)> {
        let state = self.state.as_ref().map(|state| ("state", state.display().to_string()));
        let audit = self.audit.as_ref().map(|audit| {
            let failing = match audit.on_failure {
                OnAuditFailure::Refuse => "clients are refused while it cannot be written",
                OnAuditFailure::Continue => "clients come in also while it cannot be written",
            };
            ("audit", format!("{}; {failing}", audit.file.display()))
        });
        let metrics = self.metrics.map(|metrics| ("metrics", format!("http://{}/metrics", metrics.listen)));
        let level = format!("{:?}", self.log.level).to_lowercase();
        let log =
            ("log", format!("{} from level {level} on", format!("{:?}", self.log.format).to_lowercase()));
        let drain = ("drain deadline", written_duration(self.drain_deadline));
        let fixed = [
            ("replay store", self.replay_store()),
            ("limits", limits(&self.limits)),
            ("memory", MemoryBound::of(self).to_string()),
        ];
        state.into_iter().chain(fixed).chain(audit).chain(metrics).chain([log, drain]).collect()
    }

    fn replay_store(&self) -> String {
        let store = match &self.replay.store {
            ReplayStoreConfig::Memory => "in memory, until restart".to_owned(),
            ReplayStoreConfig::Unnamed { .. } => {
                "in a default folder if it can be written, else in memory".to_owned()
            }
            ReplayStoreConfig::File { folder, durability } => {
                let outlasts = match durability {
                    Durability::Process => "process",
                    Durability::Power => "power",
                };
                format!("{}, durability {outlasts}", folder.display())
            }
            ReplayStoreConfig::Valkey(valkey) => {
                let absence = match valkey.on_absence {
                    OnAbsence::Refuse => "clients are refused while it is away",
                    OnAbsence::Memory => "this instance's memory decides while it is away",
                };
                format!("{}, keys {}*; {absence}", valkey.url, valkey.prefix)
            }
        };
        format!("{store}; {} authenticators", self.replay.capacity)
    }
}

fn limits(limits: &LimitsConfig) -> String {
    let handshakes = limits.handshakes;
    format!(
        "{} handshakes at once, {} of them from one address; {} sessions",
        handshakes.total, handshakes.per_address, limits.tunnels
    )
}

type Row = [String; 8];

fn row(listener: &ListenerConfig) -> Row {
    let listen: Vec<_> = listener.listen.iter().map(ToString::to_string).collect();
    [
        listener.name.clone(),
        listen.join(" "),
        match listener.framing {
            Framing::Dword => "dword",
            Framing::Nns(_) => "nns",
            Framing::Sample(_) => "sample",
        }
        .to_owned(),
        match &listener.keys {
            KeySource::Keytab(Some(path)) => path.display().to_string(),
            KeySource::Keytab(None) => "the default keytab".to_owned(),
            KeySource::Realm { folder, .. } => format!("realm {}", folder.display()),
        },
        mechs(listener),
        match &listener.channel_bindings {
            Bindings::Off => "off".to_owned(),
            Bindings::WhenOffered(values) if values.is_empty() => "none".to_owned(),
            Bindings::WhenOffered(values) => format!("{} when offered", values.len()),
            Bindings::Required(values) => format!("{} required", values.len()),
        },
        clients(&listener.allow),
        match &listener.target {
            Target::Echo => "echo".to_owned(),
            Target::Upstream(upstream) if upstream.identity == UpstreamIdentity::None => {
                upstream.address.to_string()
            }
            Target::Upstream(upstream) => format!("{} ({})", upstream.address, upstream.identity),
        },
    ]
}

fn mechs(listener: &ListenerConfig) -> String {
    let iakerb = !listener.relay_realms.is_empty() || matches!(listener.keys, KeySource::Realm { .. });
    let ntlm = listener.ntlm.as_ref().map(|ntlm| match &ntlm.accounts {
        NtlmAccounts::File(_) => "ntlm",
        NtlmAccounts::Winbind(_) => "ntlm (winbind)",
    });
    let mechs: Vec<_> = ["kerberos"].into_iter().chain(iakerb.then_some("iakerb")).chain(ntlm).collect();
    mechs.join(", ")
}

/// How many clients of a list are written out.
const MAX_LISTED: usize = 3;

fn clients(allow: &Allow) -> String {
    match allow {
        Allow::Everyone => "any".to_owned(),
        Allow::OwnRealm => "own realm".to_owned(),
        Allow::Listed(listed) => {
            let first: Vec<_> = listed.iter().take(MAX_LISTED).map(ToString::to_string).collect();
            match listed.len().saturating_sub(MAX_LISTED) {
                0 => first.join(" "),
                more => format!("{} and {more} more", first.join(" ")),
            }
        }
    }
}

/// The demands that a listener gives up, by the names of the keys.
fn waivers(listener: &ListenerConfig) -> Vec<&'static str> {
    [
        ("allow_no_mutual", listener.allow_no_mutual),
        ("allow_ntlm", listener.ntlm.is_some()),
        ("allow_rc4", listener.allow_rc4),
        ("allow_unsealed", listener.allow_unsealed),
        ("ignore_transited", listener.ignore_transited),
    ]
    .into_iter()
    .filter_map(|(name, given_up)| given_up.then_some(name))
    .collect()
}

fn aligned(rows: &[Row]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}
