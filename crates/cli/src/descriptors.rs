//! How many connections the system lets this process hold.

use crate::report;
use countersign::limits::HandshakeLimits;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises this process's limit of open descriptors as far as it may, and lowers the limits of handshakes that are wanted
/// where that is still too few for them: a quarter is left for those who are through, listeners and files.
pub(crate) fn handshake_limits(wanted: HandshakeLimits) -> HandshakeLimits {
    let Some(descriptors) = raised() else { return wanted };
    let limits = within(descriptors, wanted);
    if limits != wanted {
        report::line(&format!(
            "at most {} handshakes at once, {} of them from one address: this process may have {descriptors} \
             descriptors open (raise it with ulimit -n or LimitNOFILE)",
            limits.total, limits.per_address
        ));
    }
    limits
}

/// The limits for which three quarters of the descriptors suffice.
fn within(descriptors: u64, wanted: HandshakeLimits) -> HandshakeLimits {
    let room = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).saturating_mul(3).max(1);
    HandshakeLimits { total: wanted.total.min(room), per_address: wanted.per_address.min(room), ..wanted }
}

/// The limit of open descriptors after it was raised; `None` if there is none.
pub(crate) fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            report::line(&format!("the limit of open descriptors cannot be raised: {error}"));
            current
        }
    }
}

/// Whether `error` says that this process, or the whole system, has no descriptor left.
pub(crate) fn are_exhausted(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_quarters_of_the_descriptors_are_for_handshakes_and_no_more_than_are_wanted() {
        let wanted = HandshakeLimits::default();
        for (descriptors, total, per_address) in [
            (0, 1, 1),
            (40, 30, 30),
            (1_024, 768, 768),
            (4_096, 3_072, 1_024),
            (21_844, 16_383, 1_024),
            (21_848, 16_384, 1_024),
            (u64::MAX, 16_384, 1_024),
        ] {
            let limits = HandshakeLimits { total, per_address, ..wanted };
            assert_eq!(within(descriptors, wanted), limits, "{descriptors}");
        }
    }
}
