//! Every key that there is, one row each: in the sample it stands, a wrong type is refused, an unknown neighbour is refused
//! with the key as the nearest, and another good value changes what would be served.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

use super::{FILE, SAMPLE, load, sample_with_valkey};
use crate::config::Section;
use crate::config::keys::SECTIONS;
use countersign::proto::error::{Explain, code};

/// A key, where it stands in the sample, and another value that it may have.
struct Row {
    section: Section,
    /// The listener's name in the sample; nothing for other sections.
    listener: &'static str,
    key: &'static str,
    /// As TOML.
    other: &'static str,
    /// Lines of the same table that the other value needs taken away, by their keys.
    without: &'static [&'static str],
    /// Lines that it needs in the table.
    with: &'static str,
}

const fn row(section: Section, listener: &'static str, key: &'static str, other: &'static str) -> Row {
    Row { section, listener, key, other, without: &[], with: "" }
}

const fn db(key: &'static str, other: &'static str) -> Row {
    row(Section::Listener, "database", key, other)
}

impl Row {
    const fn without(self, without: &'static [&'static str]) -> Self {
        Self { without, ..self }
    }

    const fn with(self, with: &'static str) -> Self {
        Self { with, ..self }
    }
}

const ROWS: &[Row] = &[
    row(Section::Top, "", "state", "\"/srv/state\""),
    row(Section::Top, "", "drain_deadline", "0"),
    db("name", "\"db\""),
    db("listen", "[\"127.0.0.1:3000\", \"systemd:db\"]"),
    db("framing", "\"sample\""),
    row(Section::Listener, "dotnet", "nns_protection", "\"encrypt-and-sign\""),
    row(Section::Listener, "dotnet", "nns_error_order", "\"big-endian\""),
    row(Section::Listener, "sample", "sample_data", "\"signed\"").with("allow_unsealed = true"),
    db("keytab", "\"/etc/other.keytab\""),
    row(Section::Listener, "own-realm", "realm", "\"/srv/realm\""),
    row(Section::Listener, "own-realm", "master_key_file", "\"/srv/key\""),
    db("relay_realms", "[\"EXAMPLE.TEST\", \"PARTNER.TEST\"]"),
    db("accept_principals", "[\"a/b@C\"]"),
    db("allow", "[\"*@EXAMPLE.TEST\"]"),
    db("permitted_enctypes", "[\"aes256-sha2\"]"),
    db("allow_rc4", "true"),
    db("clock_skew", "\"2m\""),
    db("accept_raw_kerberos", "false"),
    db("channel_bindings", "\"when-offered\""),
    db("channel_binding_values", "[\"c0ffee\"]"),
    row(Section::Listener, "dotnet", "allow_ntlm", "false").without(&["ntlm_accounts", "ntlm_spns"]),
    row(Section::Listener, "dotnet", "ntlm_accounts", "\"/etc/accounts\""),
    row(Section::Listener, "sample", "ntlm_winbind", "\"/usr/bin/ntlm_auth\""),
    row(Section::Listener, "dotnet", "ntlm_spns", "[]"),
    db("allow_no_mutual", "true"),
    row(Section::Listener, "dotnet", "allow_unsealed", "false").without(&["nns_protection"]),
    db("ignore_transited", "true"),
    row(Section::Listener, "dotnet", "echo", "false").with("upstream = \"h:1\""),
    db("upstream", "\"127.0.0.1:5432\""),
    db("upstream_identity", "\"json\""),
    db("upstream_connect_timeout", "\"250ms\""),
    db("allow_unmarked_end", "true"),
    db("idle_timeout", "60"),
    db("sessions_end_with_ticket", "false"),
    db("handshake_deadline", "5"),
    db("max_message", "65536"),
    row(Section::Limits, "", "handshakes", "100"),
    row(Section::Limits, "", "handshakes_per_address", "10"),
    row(Section::Limits, "", "handshake_memory", "\"1 MiB\""),
    row(Section::Limits, "", "tunnels", "50"),
    row(Section::Limits, "", "failed_attempts", "0"),
    row(Section::Limits, "", "failed_attempts_block", "200"),
    row(Section::Limits, "", "refusal_log_lines_per_second", "1"),
    row(Section::Replay, "", "store", "\"memory\"").without(&["durability"]),
    row(Section::Replay, "", "durability", "\"power\""),
    row(Section::Replay, "", "capacity", "5000"),
    row(Section::Replay, "", "url", "\"unix:///run/valkey.sock\""),
    row(Section::Replay, "", "username", "\"other\""),
    row(Section::Replay, "", "password_file", "\"/etc/other\""),
    row(Section::Replay, "", "prefix", "\"other:\""),
    row(Section::Replay, "", "on_absence", "\"memory\""),
    row(Section::Replay, "", "timeout", "\"250ms\""),
    row(Section::Audit, "", "file", "\"/var/log/other\""),
    row(Section::Audit, "", "on_failure", "\"continue\""),
    row(Section::Log, "", "format", "\"json\""),
    row(Section::Log, "", "level", "\"debug\""),
    row(Section::Metrics, "", "listen", "\"127.0.0.1:9465\""),
];

/// The sample in which the row's key stands, and the line it stands in, counted from 0.
fn place(row: &Row) -> (String, usize) {
    for text in [SAMPLE.to_owned(), sample_with_valkey()] {
        let (mut section, mut listener) = (String::new(), String::new());
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
                listener.clear();
            } else if let Some(name) = line.strip_prefix("name = ") {
                listener = name.trim_matches('"').to_owned();
            }
            let is_key = line.strip_prefix(row.key).is_some_and(|rest| rest.starts_with(" = "));
            // A listener's name is the first of its keys.
            if is_key && section == row.section.name() && listener == row.listener {
                return (text, index);
            }
        }
    }
    panic!("{} does not stand in the sample, in {:?} {}", row.key, row.section, row.listener);
}

/// The sample with the row's line replaced by `line`, and what the row says taken out of its table or put into it.
fn changed(row: &Row, line: &str, as_row_says: bool) -> (String, usize) {
    let (text, at) = place(row);
    let lines: Vec<&str> = text.lines().collect();
    let begin = (0..at).rev().find(|index| lines[*index].starts_with('[')).unwrap_or(0);
    let end = (at..lines.len()).skip(1).find(|index| lines[*index].starts_with('[')).unwrap_or(lines.len());
    let goes = |index: usize| {
        let of = |key: &&&str| lines[index].starts_with(&format!("{key} = "));
        as_row_says && (begin..end).contains(&index) && row.without.iter().any(|key| of(&key))
    };
    let mut made = Vec::new();
    let mut number = 0;
    let mut in_value = false;
    for (index, old) in lines.iter().enumerate() {
        if index == at {
            made.push(line.to_owned());
            number = made.len();
            if as_row_says && !row.with.is_empty() {
                made.push(row.with.to_owned());
            }
            in_value = old.ends_with('[');
        } else if in_value {
            in_value = *old != "]";
        } else if !goes(index) {
            made.push((*old).to_owned());
        }
    }
    (made.join("\n"), number)
}

#[test]
fn every_key_has_a_row_and_every_row_a_key() {
    for section in SECTIONS {
        for key in section.keys() {
            let rows = ROWS.iter().filter(|row| row.section == section && row.key == *key).count();
            assert_eq!(rows, 1, "{key} in {section:?}");
        }
    }
    assert_eq!(ROWS.len(), SECTIONS.iter().map(|section| section.keys().len()).sum::<usize>());
}

#[test]
fn the_sample_can_be_served_in_both_of_its_forms() {
    let plain = load(SAMPLE).unwrap().config;
    assert_eq!(plain.listeners.len(), 4);
    assert_ne!(plain, load(&sample_with_valkey()).unwrap().config);
}

#[test]
fn another_value_of_any_key_changes_what_is_served() {
    for row in ROWS {
        let before = load(&place(row).0).unwrap().config;
        let (text, _) = changed(row, &format!("{} = {}", row.key, row.other), true);
        // What the row takes away or adds must not be what makes the difference.
        let kept = changed(row, place(row).0.lines().nth(place(row).1).unwrap(), true).0;
        let after =
            load(&text).unwrap_or_else(|faults| panic!("{} = {}: {faults:?}", row.key, row.other)).config;
        assert_ne!(before, after, "{} = {}", row.key, row.other);
        if let Ok(kept) = load(&kept) {
            assert_ne!(kept.config, after, "{} = {} makes no difference", row.key, row.other);
        }
    }
}

#[test]
fn a_wrong_type_is_refused_with_its_place_at_every_key() {
    for row in ROWS {
        for wrong in ["{ a = 1 }", "1979-05-27", "1.5", "[[1]]"] {
            let (text, line) = changed(row, &format!("{} = {wrong}", row.key), false);
            let faults = load(&text).unwrap_err();
            let place = format!("{FILE}:{line}:");
            let found = faults.iter().find(|fault| fault.saw().starts_with(&place));
            let fault = found.unwrap_or_else(|| panic!("{} = {wrong}: {faults:?}", row.key));
            assert_eq!(fault.code(), code::CONFIG_VALUE_WRONG, "{fault}");
            assert!(fault.saw().contains(row.key) && !fault.have().is_empty(), "{fault}");
        }
    }
}

#[test]
fn an_unknown_neighbour_of_every_key_is_refused_with_the_key_as_the_nearest() {
    for row in ROWS {
        let neighbour = format!("{}x", row.key);
        let (text, line) = changed(row, &format!("{neighbour} = {}", row.other), false);
        let faults = load(&text).unwrap_err();
        let unknown = faults.iter().find(|fault| fault.code() == code::CONFIG_KEY_UNKNOWN);
        let fault = unknown.unwrap_or_else(|| panic!("{neighbour}: {faults:?}"));
        assert!(fault.saw().starts_with(&format!("{}:{line}:1 \"{neighbour}\"", FILE)), "{fault}");
        assert_eq!(fault.advice(), format!("did you mean {}?", row.key));
    }
}

#[test]
fn every_key_of_the_sample_has_a_comment_above_it_where_it_stands_first() {
    let text = sample_with_valkey();
    for row in ROWS {
        let first = text.lines().chain(SAMPLE.lines()).collect::<Vec<_>>();
        let at = first.iter().position(|line| line.starts_with(&format!("{} = ", row.key))).unwrap();
        let above =
            first[..at].iter().rev().find(|line| !line.contains(" = ") || line.starts_with('#')).unwrap();
        assert!(above.starts_with("# "), "{} has {above:?} above it", row.key);
    }
}

#[test]
fn every_key_is_on_the_page_about_the_configuration() {
    let page = include_str!("../../../../../docs/configuration.md");
    for row in ROWS {
        assert!(page.contains(&format!("`{}`", row.key)), "docs/configuration.md lacks {}", row.key);
    }
}
