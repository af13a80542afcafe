//! The log: what this program reports, through `tracing`, as lines of text or of JSON on standard error.
//!
//! Only events of this program are logged; libraries have their own errors, which it reports. A line cannot be forged by
//! what a peer says: control characters are escaped.

use crate::config::{LogConfig, LogFormat, LogLevel};
use countersign::proto::time::Timestamp;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, set_global_default};
use tracing::{Event, Level, Metadata, Subscriber};

static SETTINGS: Settings = Settings::new();

/// Sets form and level of the log. Until then it is text from the level `info` on.
pub(crate) fn configure(config: &LogConfig) {
    SETTINGS.set(config);
    ready();
}

/// Makes sure that the log is there.
pub(crate) fn ready() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // It fails only where the log is there already.
        let _ = set_global_default(Lines { settings: &SETTINGS, write: to_stderr });
    });
}

fn to_stderr(line: &str) {
    // That nobody reads any more is no reason to fail.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Form and level, which may be set after the first line.
struct Settings {
    json: AtomicBool,
    level: AtomicU8,
}

impl Settings {
    const fn new() -> Self {
        Self { json: AtomicBool::new(false), level: AtomicU8::new(LogLevel::Info as u8) }
    }

    fn set(&self, config: &LogConfig) {
        self.json.store(config.format == LogFormat::Json, Ordering::Relaxed);
        self.level.store(config.level as u8, Ordering::Relaxed);
    }

    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().split("::").next() == Some("countersign");
        ours && number(*metadata.level()) <= self.level.load(Ordering::Relaxed)
    }
}

/// A level as a number that rises with how much is logged.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => LogLevel::Error as u8,
        Level::WARN => LogLevel::Warn as u8,
        Level::INFO => LogLevel::Info as u8,
        Level::DEBUG => LogLevel::Debug as u8,
        Level::TRACE => LogLevel::Trace as u8,
    }
}

/// Writes each event as a line. Spans are not kept: a line stands for itself.
struct Lines<W> {
    settings: &'static Settings,
    write: W,
}

impl<W: Fn(&str) + Send + Sync + 'static> Subscriber for Lines<W> {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.settings.takes(metadata)
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let line = if self.settings.json.load(Ordering::Relaxed) {
            said.as_json(*event.metadata().level(), SystemTime::now())
        } else {
            said.message
        };
        let mut escaped = String::with_capacity(line.len().saturating_add(1));
        let _ = if self.settings.json.load(Ordering::Relaxed) {
            escape(&line, &mut escaped, |out, code| write!(out, "\\u{code:04x}"))
        } else {
            escape(&line, &mut escaped, |out, code| write!(out, "\\u{{{code:x}}}"))
        };
        escaped.push('\n');
        (self.write)(&escaped);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    /// Names, and values as JSON.
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn as_json(&self, level: Level, now: SystemTime) -> String {
        let now = Timestamp::from_system(now);
        let whole = now.to_string();
        let (time, micros) = (whole.trim_end_matches('Z'), now.micros());
        let level = level.as_str().to_lowercase();
        let message = json(&self.message);
        let mut line = format!(r#"{{"time":"{time}.{micros:06}Z","level":"{level}","message":{message}"#);
        for (name, value) in &self.fields {
            // Names are identifiers of this program.
            line.extend([",\"", name, "\":", value]);
        }
        line.push('}');
        line
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.fields.push((field.name(), json(&format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), json(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.to_string()));
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Copies `text`, with what could end or hide a part of a line written as its code: control characters, line and paragraph
/// separators, and what turns the direction of writing around.
fn escape(
    text: &str,
    out: &mut String,
    mut written: impl FnMut(&mut String, u32) -> fmt::Result,
) -> fmt::Result {
    for character in text.chars() {
        let hides = character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hides {
            written(out, u32::from(character))?;
        } else {
            out.push(character);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Arc, Mutex};

    /// The lines that `events` led to, in this thread.
    pub(crate) fn logged(format: LogFormat, level: LogLevel, events: impl FnOnce()) -> Vec<String> {
        let settings: &'static Settings = Box::leak(Box::new(Settings::new()));
        settings.set(&LogConfig { format, level });
        let written = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&written);
        let write = move |line: &str| lines.lock().unwrap().push(line.to_owned());
        tracing::subscriber::with_default(Lines { settings, write }, events);
        let lines = written.lock().unwrap();
        assert!(
            lines.iter().all(|line| line.matches('\n').count() == 1 && line.ends_with('\n')),
            "{lines:?}"
        );
        lines.clone()
    }

    #[test]
    fn text_is_the_message_alone() {
        let lines = logged(LogFormat::Text, LogLevel::Info, || {
            tracing::info!(peer = "192.0.2.1:7", "{} refused: CS-2003", "192.0.2.1:7");
        });
        assert_eq!(lines, ["192.0.2.1:7 refused: CS-2003\n"]);
    }

    #[test]
    fn json_is_an_object_a_line_with_time_level_message_and_fields() {
        let lines = logged(LogFormat::Json, LogLevel::Info, || {
            tracing::warn!(listener = "echo", code = %"CS-2003", count = 7_u64, "said \"this\"");
        });
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(
            (&line["level"], &line["message"], &line["listener"], &line["code"], &line["count"]),
            (&"warn".into(), &"said \"this\"".into(), &"echo".into(), &"CS-2003".into(), &7.into())
        );
        let time = line["time"].as_str().unwrap();
        assert!(time.len() == "2026-11-23T01:46:00.000000Z".len() && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn what_a_peer_says_cannot_begin_a_line_nor_reach_the_terminal() {
        let said = "alice\n192.0.2.9:1 accepted: root\r\u{1b}[2K\u{9b}1m\u{2028}\u{202e}\u{0}";
        let text = logged(LogFormat::Text, LogLevel::Info, || tracing::info!("{said}"));
        assert_eq!(
            text,
            ["alice\\u{a}192.0.2.9:1 accepted: root\\u{d}\\u{1b}[2K\\u{9b}1m\\u{2028}\\u{202e}\\u{0}\n"]
        );
        let json = logged(LogFormat::Json, LogLevel::Info, || tracing::info!(said, "{said}"));
        assert!(json[0].trim_end().chars().all(|character| (' '..='~').contains(&character)), "{json:?}");
        let line: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!((&line["said"], &line["message"]), (&said.into(), &said.into()));
    }

    #[test]
    fn names_in_other_scripts_stay_readable() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Info, || tracing::info!("Zoë 李")), ["Zoë 李\n"]);
    }

    #[test]
    fn nothing_below_the_level_and_nothing_of_others_is_logged() {
        let events = || {
            tracing::error!("an error");
            tracing::info!("a session");
            tracing::error!(target: "hyper::server", "of a library");
            tracing::error!(target: "countersigned", "of another");
        };
        assert_eq!(logged(LogFormat::Text, LogLevel::Error, events), ["an error\n"]);
        assert_eq!(logged(LogFormat::Text, LogLevel::Trace, events), ["an error\n", "a session\n"]);
    }
}
