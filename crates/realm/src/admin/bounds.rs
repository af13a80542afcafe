//! Bounds of what an administrator may set.

use super::AdminError;

/// Seconds that a length of time may have.
pub(super) struct Bounds {
    least: u64,
    most: u64,
    /// The same in words.
    wants: &'static str,
}

/// Ten years, in seconds.
const TEN_YEARS: u64 = 315_360_000;

/// How long a ticket may live.
pub(super) const LIFE: Bounds = Bounds { least: 60, most: TEN_YEARS, wants: "a minute to ten years" };

/// How long tickets may be renewed.
pub(super) const RENEWABLE: Bounds = Bounds { least: 0, most: TEN_YEARS, wants: "ten years at most" };

/// How far clocks may differ, and how long a delay may last.
pub(super) const DELAY: Bounds = Bounds { least: 1, most: 86_400, wants: "a second to a day" };

impl Bounds {
    /// Refuses `seconds` of `what` that are out of bounds.
    pub(super) fn check(&self, what: &'static str, seconds: u64) -> Result<(), AdminError> {
        if (self.least..=self.most).contains(&seconds) {
            return Ok(());
        }
        Err(AdminError::OutOfBounds { what, value: format!("{seconds} s"), wants: self.wants })
    }
}
