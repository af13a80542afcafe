//! Points in time as Kerberos counts them. The clock itself is the caller's: every step takes `now`.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time with the resolution that Kerberos has: microseconds since 1970-01-01 00:00:00 UTC.
///
/// Arithmetic saturates: a time past the end of the range is the end of the range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

const MICROS: i64 = 1_000_000;

impl Timestamp {
    /// The time `seconds` and `micros` (0 to 999,999) after the epoch.
    #[must_use]
    pub const fn new(seconds: i64, micros: u32) -> Self {
        Self(seconds.saturating_mul(MICROS).saturating_add(micros as i64))
    }

    /// The time of a reading of the system clock, taken by a driver.
    #[must_use]
    pub fn from_system(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::default().saturating_add(after),
            Err(before) => Self::default().saturating_sub(before.duration()),
        }
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Microseconds within the second, 0 to 999,999.
    #[must_use]
    pub const fn micros(self) -> u32 {
        self.0.rem_euclid(MICROS) as u32
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn total_micros(self) -> i64 {
        self.0
    }

    /// This time and `duration`, or the end of the range.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This time less `duration`, or the start of the range.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }

    /// How far apart two times are, whichever came first.
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }

    /// Signed distance in microseconds from `earlier` to this time.
    #[must_use]
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved by a signed number of microseconds.
    #[must_use]
    pub const fn shifted(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, seconds resolution: `2026-11-23T01:46:00Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::from_unix_seconds(self.seconds());
        let Civil { year, month, day, hour, minute, second } = civil;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A date and time of day in the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// Year, which may be outside 0 to 9999.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

const DAYS_PER_ERA: i64 = 146_097;
const SECONDS_PER_DAY: i64 = 86_400;

#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Civil {
    /// The calendar date of a count of seconds since 1970; every `i64` a [`Timestamp`] can hold is in range.
    #[must_use]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let time = seconds.rem_euclid(SECONDS_PER_DAY);
        // Days are counted from 0000-03-01, so that the leap day ends a year and eras of 400 years repeat.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        Self {
            year,
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (time / 3_600) as u8,
            minute: (time / 60 % 60) as u8,
            second: (time % 60) as u8,
        }
    }

    /// Seconds since 1970 of this date, or `None` if no such date exists (month 13, 31 April, hour 24, a leap second).
    #[must_use]
    pub const fn to_unix_seconds(self) -> Option<i64> {
        let Self { year, month, day, hour, minute, second } = self;
        if year < 0 || year > 9_999 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let days_in_month = match month {
            2 => 28 + leap as u8,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if day < 1 || day > days_in_month {
            return None;
        }
        let shifted_year = if month <= 2 { year - 1 } else { year };
        let era = shifted_year.div_euclid(400);
        let year_of_era = shifted_year.rem_euclid(400);
        let month_from_march = (month as i64 + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * DAYS_PER_ERA + day_of_era - 719_468;
        Some(days * SECONDS_PER_DAY + hour as i64 * 3_600 + minute as i64 * 60 + second as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_round_trip_over_eight_centuries() {
        for day in 0..300_000_i64 {
            let seconds = (day - 25_000) * SECONDS_PER_DAY + 86_399;
            let civil = Civil::from_unix_seconds(seconds);
            assert_eq!(civil.to_unix_seconds(), Some(seconds), "{civil:?}");
        }
    }

    #[test]
    fn known_dates_have_known_seconds() {
        assert_eq!(Timestamp::new(0, 0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::new(951_782_400, 0).to_string(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp::new(-1, 0).to_string(), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        let date = |month, day| Civil { year: 2026, month, day, hour: 0, minute: 0, second: 0 };
        assert_eq!(date(2, 29).to_unix_seconds(), None);
        assert_eq!(date(4, 31).to_unix_seconds(), None);
        assert_eq!(date(13, 1).to_unix_seconds(), None);
        assert_eq!(Civil { second: 60, ..date(1, 1) }.to_unix_seconds(), None);
    }

    #[test]
    fn a_reading_before_the_epoch_is_negative() {
        let reading = UNIX_EPOCH - Duration::from_millis(1_500);
        assert_eq!(Timestamp::from_system(reading), Timestamp::new(-2, 500_000));
    }
}
