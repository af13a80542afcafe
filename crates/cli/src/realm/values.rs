//! Values of flags: times, lengths of time.

use crate::sources;
use countersign::Refusal;
use countersign::proto::krb5conf;
use countersign::proto::time::{Civil, Timestamp};
use countersign_realm::admin::Set;

/// A length of time in seconds, as krb5.conf writes it.
pub(super) fn seconds(flag: &str, text: &str) -> Result<u64, Refusal> {
    let length = krb5conf::duration(text);
    let wrong = || {
        sources::usage(format!("{flag} {text}"), "lengths of time such as 10h, 1d12h, 8:30, or 36000 seconds")
    };
    length.map(|length| length.as_secs()).ok_or_else(wrong)
}

/// The same where there may be none.
pub(super) fn length(flag: &str, text: Option<&str>) -> Result<Set<u64>, Refusal> {
    Ok(match text {
        None => Set::Keep,
        Some("none") => Set::Clear,
        Some(text) => Set::To(seconds(flag, text)?),
    })
}

/// A time, in seconds since 1970: a date, a date and time in UTC, a length of time from `now`, or never.
pub(super) fn time(flag: &str, text: Option<&str>, now: Timestamp) -> Result<Set<i64>, Refusal> {
    let Some(text) = text else { return Ok(Set::Keep) };
    if text == "never" {
        return Ok(Set::Clear);
    }
    let from_now = || krb5conf::duration(text).map(|length| now.saturating_add(length).seconds());
    let wrong = || {
        let have = "times such as 2027-01-31, 2027-01-31T12:00:00Z, 90d from now, or never";
        sources::usage(format!("{flag} {text}"), have)
    };
    calendar(text).or_else(from_now).map(Set::To).ok_or_else(wrong)
}

/// `YYYY-MM-DD`, or `YYYY-MM-DDThh:mm:ssZ`.
fn calendar(text: &str) -> Option<i64> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let small = |number: u16| u8::try_from(number).ok();
    let civil = Civil {
        year: year.into(),
        month: small(month)?,
        day: small(day)?,
        hour: small(hour)?,
        minute: small(minute)?,
        second: small(second)?,
    };
    civil.to_unix_seconds()
}

/// Three numbers with so many digits each.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u16; 3]> {
    let mut parts = text.split(separator);
    let mut next = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let [first, second, third] = digits;
    let read = [next(first)?, next(second)?, next(third)?];
    parts.next().is_none().then_some(read)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::new(1_790_000_000, 0);

    #[test]
    fn times_are_read_in_every_form() {
        let read = |text| time("--expires", Some(text), NOW).unwrap();
        assert_eq!(read("2027-01-15"), Set::To(1_799_971_200));
        assert_eq!(read("2027-01-15T08:00:00Z"), Set::To(1_800_000_000));
        assert_eq!(read("90d"), Set::To(1_790_000_000 + 90 * 86_400));
        assert_eq!(read("never"), Set::Clear);
        assert_eq!(time("--expires", None, NOW).unwrap(), Set::Keep);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2027-13-01",
            "2027-1-1",
            "2027-01-15T08:00:00",
            "2027-01-15T25:00:00Z",
            "+027-01-01",
        ] {
            assert!(time("--expires", Some(text), NOW).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_are_read_as_krb5_conf_writes_them() {
        assert_eq!(length("--max-life", Some("1d12h")).unwrap(), Set::To(129_600));
        assert_eq!(length("--max-life", Some("none")).unwrap(), Set::Clear);
        assert!(length("--max-life", Some("long")).is_err());
    }
}
