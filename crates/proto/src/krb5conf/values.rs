//! Values that are no plain text.

use super::parse::is_space;
use std::time::Duration;

const YES: [&str; 6] = ["y", "yes", "true", "t", "1", "on"];
const NO: [&str; 6] = ["n", "no", "false", "nil", "0", "off"];

/// A boolean in any spelling that MIT's library knows, in letters of any case.
pub(super) fn flag(text: &str) -> Option<bool> {
    let among = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if among(&YES) { Some(true) } else { among(&NO).then_some(false) }
}

/// `kdc_timesync` is a number to MIT and a boolean to Heimdal.
pub(super) fn flag_or_number(text: &str) -> Option<bool> {
    flag(text).or_else(|| text.parse::<i32>().ok().map(|number| number != 0))
}

/// What a list is divided by.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', '\r', '\n', ',']).filter(|word| !word.is_empty())
}

/// Longest duration in seconds: the KDC's times have 32 bits.
const MAX_SECONDS: u64 = i32::MAX as u64;

/// Units by their names; the first of those that begin alike is meant by a beginning.
const UNITS: [(&str, u64); 7] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 7 * 86_400),
    ("month", 30 * 86_400),
    ("year", 365 * 86_400),
];

/// A duration: `300`, `10h`, `1d2h3m4s`, `h:m`, `h:m:s` and `d-h:m:s` as MIT has them, `1 month 2 days 30 min` as Heimdal
/// has them. Negative ones are none.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim_matches(is_space);
    let seconds = match number(text) {
        Some(seconds) => Some(seconds),
        None if text.contains(':') => clock(text),
        None => units(text),
    };
    seconds.filter(|seconds| *seconds <= MAX_SECONDS).map(Duration::from_secs)
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// `[d-]h:m[:s]`
fn clock(text: &str) -> Option<u64> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let mut fields = rest.split(':');
    let hours = fields.next()?;
    let minutes = fields.next().and_then(two_digits)?;
    let seconds = match fields.next() {
        Some(seconds) => two_digits(seconds)?,
        // With days all three are needed.
        None if days.is_some() => return None,
        None => 0,
    };
    let hours = if days.is_some() { two_digits(hours) } else { number(hours) }?;
    if fields.next().is_some() {
        return None;
    }
    [(days.unwrap_or(0), 86_400), (hours, 3_600), (minutes, 60), (seconds, 1)].into_iter().try_fold(0, add)
}

fn two_digits(text: &str) -> Option<u64> {
    number(text).filter(|_| text.len() <= 2)
}

/// Numbers, each with its unit.
fn units(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = None;
    while !rest.is_empty() {
        let (digits, after) = split_while(rest, |character| character.is_ascii_digit());
        let (word, after) =
            split_while(after.trim_start_matches(is_space), |character| character.is_ascii_alphabetic());
        total = Some(add(total.unwrap_or(0), (number(digits)?, unit(word)?))?);
        rest = after.trim_start_matches(|character| is_space(character) || character == ',');
    }
    total
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|character| !belongs(character)).unwrap_or(text.len()))
}

fn unit(word: &str) -> Option<u64> {
    let word = word.to_ascii_lowercase();
    let meant = |name: &str| name.starts_with(&word) || word.strip_suffix('s') == Some(name);
    UNITS.iter().find(|(name, _)| !word.is_empty() && meant(name)).map(|(_, seconds)| *seconds)
}

fn add(total: u64, (count, unit): (u64, u64)) -> Option<u64> {
    total.checked_add(count.checked_mul(unit)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_mit_and_heimdal_read_them() {
        for (text, seconds) in [
            ("0", 0),
            ("300", 300),
            (" 36000 ", 36_000),
            ("10h", 36_000),
            ("7d", 604_800),
            ("1d2h3m4s", 93_784),
            ("1d 2h 3m", 93_780),
            ("1d4s", 86_404),
            ("30m", 1_800),
            ("7:30", 27_000),
            ("7:30:00", 27_000),
            ("100:00:01", 360_001),
            ("1-02:03:04", 93_784),
            ("10 hours", 36_000),
            ("1 month 2 days 30 min", 2_766_600),
            ("1 day, 1 hour", 90_000),
            ("2 Weeks", 1_209_600),
            ("2147483647", 2_147_483_647),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_duration_are_refused() {
        for text in [
            "",
            "h",
            "-5",
            "10x",
            "10h30",
            "1:2:3:4",
            "1-2:3",
            "1:234",
            "1d-2:3:4",
            "2147483648",
            "99999999999999999999",
            "300000y",
            "1.5h",
            "ten hours",
            "10h # ten",
            "1 2 3",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn booleans_are_read_in_every_spelling() {
        for (text, expected) in [
            ("TRUE", Some(true)),
            ("on", Some(true)),
            ("Y", Some(true)),
            ("nil", Some(false)),
            ("Off", Some(false)),
            ("2", None),
            ("", None),
            ("true # yes", None),
        ] {
            assert_eq!(flag(text), expected, "{text}");
        }
        assert_eq!(flag_or_number("2"), Some(true));
        assert_eq!(flag_or_number("00"), Some(false));
    }
}
