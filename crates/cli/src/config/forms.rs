//! The forms that values have.

use super::settings::Value;
use crate::sources;
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Refusal, code};
use countersign::proto::krb5::msg::principal::Principal;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A value, and what it is called where another floor speaks of it.
pub(super) struct Said<'a> {
    pub(super) value: &'a Value,
    pub(super) label: &'a str,
}

impl Said<'_> {
    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self.value {
            Value::Text(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    fn integer(&self) -> Option<i64> {
        match self.value {
            Value::Integer(number) => Some(*number),
            Value::Word(word) => word.parse().ok(),
            _ => None,
        }
    }
}

/// Why a value is not taken.
pub(super) enum Wrong {
    /// It is not of this form.
    Form(Cow<'static, str>),
    /// The same, of a value that must not be repeated.
    Unshown(Cow<'static, str>),
    /// What another floor says of it.
    Refused(Refusal),
}

impl Wrong {
    pub(super) fn form(may: impl Into<Cow<'static, str>>) -> Self {
        Self::Form(may.into())
    }
}

pub(super) fn boolean(said: &Said<'_>) -> Result<bool, Wrong> {
    match said.value {
        Value::Boolean(boolean) => Ok(*boolean),
        Value::Word(word) if word == "true" => Ok(true),
        Value::Word(word) if word == "false" => Ok(false),
        _ => Err(Wrong::form("true or false")),
    }
}

/// A text that is not empty, with no control character in it.
pub(super) fn text(said: &Said<'_>) -> Result<String, Wrong> {
    match said.text() {
        Some(text) if !text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control) => {
            Ok(text.to_owned())
        }
        _ => Err(Wrong::Form(format!("a text of 1 to {MAX_TEXT} bytes").into())),
    }
}

/// Longest text, in bytes.
const MAX_TEXT: usize = 4_096;

pub(super) fn path(said: &Said<'_>) -> Result<PathBuf, Wrong> {
    text(said).map(PathBuf::from).map_err(|_| Wrong::form("a path"))
}

/// One of the names, and what it stands for.
pub(super) fn choice<T: Copy>(names: &'static [(&'static str, T)]) -> impl Fn(&Said<'_>) -> Result<T, Wrong> {
    move |said| {
        let found = names.iter().find(|(name, _)| said.text() == Some(name));
        found.map(|(_, chosen)| *chosen).ok_or_else(|| {
            let names: Vec<_> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
            Wrong::Form(names.join(" or ").into())
        })
    }
}

/// A whole number.
pub(super) fn number(range: RangeInclusive<u32>) -> impl Fn(&Said<'_>) -> Result<u32, Wrong> {
    move |said| {
        let number = said.integer().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            Wrong::Form(format!("a whole number from {} to {}", range.start(), range.end()).into())
        })
    }
}

/// Seconds as a number, or a text with a unit.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Said<'_>) -> Result<Duration, Wrong> {
    move |said| {
        let seconds = said.integer().and_then(|number| u64::try_from(number).ok()).map(Duration::from_secs);
        let duration = seconds.or_else(|| said.text().and_then(with_time_unit));
        duration.filter(|duration| range.contains(duration)).ok_or_else(|| {
            let (from, to) = (written_duration(*range.start()), written_duration(*range.end()));
            Wrong::Form(
                format!("{from} to {to}: a number of seconds, or a text such as \"30s\"; units ms s m h d")
                    .into(),
            )
        })
    }
}

const TIME_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

fn with_time_unit(text: &str) -> Option<Duration> {
    with_unit(text, &TIME_UNITS).map(Duration::from_millis)
}

/// In the largest unit that leaves a whole number.
pub(super) fn written_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let largest_first = ["d", "h", "m", "s", "ms"];
    let fits = largest_first.iter().find_map(|name| {
        let (_, unit) = TIME_UNITS.iter().find(|(unit, _)| unit == name)?;
        let unit = u128::from(*unit);
        (millis != 0 && millis.checked_rem(unit)? == 0).then_some(())?;
        Some(format!("{}{name}", millis.checked_div(unit)?))
    });
    fits.unwrap_or_else(|| "0s".to_owned())
}

/// Bytes as a number, or a text with a unit.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Said<'_>) -> Result<usize, Wrong> {
    move |said| {
        let bytes = said.integer().and_then(|number| u64::try_from(number).ok());
        let bytes = bytes.or_else(|| said.text().and_then(|text| with_unit(text, &SIZE_UNITS)));
        let bytes = bytes.filter(|bytes| range.contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok());
        bytes.ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            Wrong::Form(
                format!(
                    "{from} to {to}: a number of bytes, or a text such as \"64 KiB\"; units B KiB MiB GiB"
                )
                .into(),
            )
        })
    }
}

const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

/// A number with one of `units` behind it, in the smallest unit. A unit must be there.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number = number.trim_end_matches(' ');
    // `parse` would take a plus sign.
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Address and port.
pub(super) fn socket_address(said: &Said<'_>) -> Result<SocketAddr, Wrong> {
    let address = said.text().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Wrong::form("an address and a port, such as \"127.0.0.1:9090\" or \"[::1]:9090\""))
}

pub(super) fn etype(said: &Said<'_>) -> Result<Etype, Wrong> {
    let name = said.text().ok_or_else(|| Wrong::form("the name of an etype"))?;
    sources::etype(name.trim(), said.label).map_err(Wrong::Refused)
}

pub(super) fn principal(said: &Said<'_>) -> Result<Principal, Wrong> {
    let name = said.text().ok_or_else(|| Wrong::form("a principal, CLASS/HOST@REALM"))?;
    sources::principal_with_realm(name, said.label).map_err(Wrong::Refused)
}

/// A realm's name.
pub(super) fn realm(said: &Said<'_>) -> Result<String, Wrong> {
    let fits =
        |name: &&str| !name.is_empty() && name.len() <= 255 && !name.contains(['/', '@', ':', '\0', ' ']);
    let name = said.text().filter(fits).map(str::to_owned);
    name.ok_or_else(|| Wrong::form("the name of a realm, such as \"EXAMPLE.TEST\""))
}

/// What clients are bound to: `cert:FILE`, or bytes in hex.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum BindingSource {
    /// The certificate of the TLS server in front.
    Certificate(PathBuf),
    /// The application data itself.
    ApplicationData(Vec<u8>),
}

pub(super) fn binding(said: &Said<'_>) -> Result<BindingSource, Wrong> {
    let Some(text) = said.text() else { return Err(Wrong::form("\"cert:FILE\", or bytes in hexadecimal")) };
    if let Some(path) = text.strip_prefix("cert:") {
        return Ok(BindingSource::Certificate(path.into()));
    }
    let refused = |saw: String| {
        Wrong::Refused(Refusal::new(code::CHANNEL_BINDINGS_MALFORMED, saw, "two hex digits for each byte"))
    };
    let shown: String = text.chars().take(MAX_SHOWN_BINDING).collect();
    match hex::decode(text) {
        Ok(bytes) if bytes.is_empty() => Err(refused(format!("{} without a byte", said.label))),
        Ok(bytes) if bytes.len() <= MAX_TEXT => Ok(BindingSource::ApplicationData(bytes)),
        Ok(bytes) => Err(refused(format!("{} with {} bytes", said.label, bytes.len()))),
        Err(error) => Err(refused(format!("{} {shown:?} ({error})", said.label))),
    }
}

/// How much of a value that is no binding is repeated, in characters.
const MAX_SHOWN_BINDING: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &Value) -> Said<'_> {
        Said { value, label: "key" }
    }

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        let read = duration(Duration::from_millis(1)..=Duration::from_secs(86_400 * 30));
        let of = |value: Value| read(&said(&value)).ok().map(|duration| duration.as_millis());
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, millis) in [
            (Value::Integer(30), Some(30_000)),
            (Value::Word("30".to_owned()), Some(30_000)),
            (text("30s"), Some(30_000)),
            (text("5m"), Some(300_000)),
            (text("10 h"), Some(36_000_000)),
            (text("2d"), Some(172_800_000)),
            (text("250ms"), Some(250)),
            (text("30"), None),
            (text("+30s"), None),
            (text("s"), None),
            (text("1.5h"), None),
            (text("1h30m"), None),
            (text("99999999999999999999s"), None),
            (text("18446744073709551615d"), None),
            (text("31d"), None),
            (Value::Integer(0), None),
            (Value::Integer(-1), None),
            (Value::Boolean(true), None),
        ] {
            assert_eq!(of(value.clone()), millis, "{value:?}");
        }
    }

    #[test]
    fn durations_are_written_in_the_largest_unit_that_fits() {
        for (millis, written) in [
            (0, "0s"),
            (250, "250ms"),
            (1_500, "1500ms"),
            (90_000, "90s"),
            (300_000, "5m"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(written_duration(Duration::from_millis(millis)), written);
        }
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let read = size(1..=1 << 30);
        let of = |value: Value| read(&said(&value)).ok();
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, bytes) in [
            (Value::Integer(65_536), Some(65_536)),
            (text("64 KiB"), Some(65_536)),
            (text("64KiB"), Some(65_536)),
            (text("1 MiB"), Some(1 << 20)),
            (text("1 GiB"), Some(1 << 30)),
            (text("7 B"), Some(7)),
            (text("64 KB"), None),
            (text("64"), None),
            (text("2 GiB"), None),
            (Value::Integer(0), None),
        ] {
            assert_eq!(of(value.clone()), bytes, "{value:?}");
        }
    }
}
