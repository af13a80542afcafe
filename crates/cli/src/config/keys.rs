//! Every key that there is, by the table that it stands in.

/// A table of the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Section {
    /// What stands before every table.
    Top,
    /// `[[listener]]`, of which there may be several.
    Listener,
    /// `[limits]`
    Limits,
    /// `[replay]`
    Replay,
    /// `[audit]`
    Audit,
    /// `[log]`
    Log,
    /// `[metrics]`
    Metrics,
}

impl Section {
    /// Those that there is one of, besides [`Section::Top`].
    pub(super) const SINGLE: [Self; 5] = [Self::Limits, Self::Replay, Self::Audit, Self::Log, Self::Metrics];

    /// The name between the brackets.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Top => "",
            Self::Listener => "listener",
            Self::Limits => "limits",
            Self::Replay => "replay",
            Self::Audit => "audit",
            Self::Log => "log",
            Self::Metrics => "metrics",
        }
    }

    /// What faults call it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Top => "the top of the file",
            Self::Listener => "[[listener]]",
            Self::Limits => "[limits]",
            Self::Replay => "[replay]",
            Self::Audit => "[audit]",
            Self::Log => "[log]",
            Self::Metrics => "[metrics]",
        }
    }

    /// The keys that may stand in it.
    pub(crate) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Top => &["state", "drain_deadline"],
            Self::Listener => LISTENER,
            Self::Limits => LIMITS,
            Self::Replay => REPLAY,
            Self::Audit => &["file", "on_failure"],
            Self::Log => &["format", "level"],
            Self::Metrics => &["listen"],
        }
    }

    /// The keys whose settings in lower layers end when `key` is set in a higher one: flags win over the file, also where
    /// the two could not stand together.
    pub(super) fn displaced_by(self, key: &str) -> &'static [&'static str] {
        match (self, key) {
            (Self::Listener, "keytab") => &["realm", "master_key_file"],
            (Self::Listener, "realm") => &["keytab", "relay_realms", "master_key_file"],
            (Self::Listener, "echo") => {
                &["upstream", "upstream_identity", "upstream_connect_timeout", "allow_unmarked_end"]
            }
            (Self::Listener, "upstream") => &["echo"],
            (Self::Listener, "ntlm_accounts") => &["ntlm_winbind"],
            (Self::Listener, "ntlm_winbind") => &["ntlm_accounts"],
            _ => &[],
        }
    }
}

/// Every section.
pub(super) const SECTIONS: [Section; 7] = [
    Section::Top,
    Section::Listener,
    Section::Limits,
    Section::Replay,
    Section::Audit,
    Section::Log,
    Section::Metrics,
];

const LISTENER: &[&str] = &[
    "name",
    "listen",
    "framing",
    "nns_protection",
    "nns_error_order",
    "sample_data",
    "keytab",
    "realm",
    "master_key_file",
    "relay_realms",
    "accept_principals",
    "allow",
    "permitted_enctypes",
    "allow_rc4",
    "clock_skew",
    "accept_raw_kerberos",
    "channel_bindings",
    "channel_binding_values",
    "allow_ntlm",
    "ntlm_accounts",
    "ntlm_winbind",
    "ntlm_spns",
    "allow_no_mutual",
    "allow_unsealed",
    "ignore_transited",
    "echo",
    "upstream",
    "upstream_identity",
    "upstream_connect_timeout",
    "allow_unmarked_end",
    "idle_timeout",
    "sessions_end_with_ticket",
    "handshake_deadline",
    "max_message",
];

const LIMITS: &[&str] = &[
    "handshakes",
    "handshakes_per_address",
    "handshake_memory",
    "tunnels",
    "failed_attempts",
    "failed_attempts_block",
    "refusal_log_lines_per_second",
];

const REPLAY: &[&str] = &[
    "store",
    "durability",
    "capacity",
    "url",
    "username",
    "password_file",
    "prefix",
    "on_absence",
    "timeout",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_a_listener_can_be_read_in_one_way_only() {
        for key in LISTENER {
            for other in LISTENER {
                assert!(
                    !key.ends_with(&format!("_{other}")),
                    "{key} ends with {other}: NAME_{key} is ambiguous"
                );
            }
        }
    }

    #[test]
    fn what_is_displaced_is_a_key() {
        for section in SECTIONS {
            for key in section.keys() {
                for other in section.displaced_by(key) {
                    assert!(section.keys().contains(other), "{key} displaces {other}");
                }
            }
        }
    }
}
