//! Changes of what a realm grants.

use super::bounds::{self, Bounds};
use super::{AdminError, PolicyChanges};
use crate::policy::RealmPolicy;
use countersign_proto::crypto::Etype;
use countersign_proto::crypto::spake::SpakeGroup;
use std::time::Duration;

impl PolicyChanges {
    /// The policy with these changes.
    ///
    /// # Errors
    /// [`AdminError::OutOfBounds`].
    pub fn applied_to(&self, mut policy: RealmPolicy) -> Result<RealmPolicy, AdminError> {
        if let Some(numbers) = &self.permitted_enctypes {
            policy.permitted_enctypes = etypes(numbers)?;
        }
        if let Some(numbers) = &self.spake_groups {
            policy.spake_groups = groups(numbers)?;
        }
        let lockout = &mut policy.lockout;
        set(&mut policy.max_life, self.max_life, "a life of tickets", &bounds::LIFE)?;
        set(&mut policy.max_renewable_life, self.max_renewable_life, "a renewable life", &bounds::RENEWABLE)?;
        set(&mut policy.clock_skew, self.clock_skew, "a clock skew", &bounds::DELAY)?;
        set(&mut lockout.first_delay, self.lockout_first_delay, "a first delay", &bounds::DELAY)?;
        set(&mut lockout.longest_delay, self.lockout_longest_delay, "a longest delay", &bounds::DELAY)?;
        lockout.threshold = self.lockout_threshold.unwrap_or(lockout.threshold);
        let allow = self.allow_encrypted_timestamp;
        policy.allow_encrypted_timestamp = allow.unwrap_or(policy.allow_encrypted_timestamp);
        Ok(policy)
    }
}

fn set(
    to: &mut Duration,
    seconds: Option<u64>,
    what: &'static str,
    bounds: &Bounds,
) -> Result<(), AdminError> {
    if let Some(seconds) = seconds {
        bounds.check(what, seconds)?;
        *to = Duration::from_secs(seconds);
    }
    Ok(())
}

/// Some of the etypes that every account has keys of.
fn etypes(numbers: &[i32]) -> Result<Vec<Etype>, AdminError> {
    let known = numbers.iter().map(|number| Etype::from_wire(*number).filter(|etype| !etype.is_weak()));
    let etypes: Option<Vec<Etype>> = known.collect();
    etypes.filter(|etypes| !etypes.is_empty()).ok_or_else(|| AdminError::OutOfBounds {
        what: "permitted enctypes",
        value: format!("{numbers:?}"),
        wants: "one or more of the etypes 17 to 20",
    })
}

fn groups(numbers: &[i32]) -> Result<Vec<SpakeGroup>, AdminError> {
    let groups: Option<Vec<SpakeGroup>> =
        numbers.iter().map(|number| SpakeGroup::from_wire(*number)).collect();
    groups.ok_or_else(|| AdminError::OutOfBounds {
        what: "SPAKE groups",
        value: format!("{numbers:?}"),
        wants: "the groups 1 and 2, or none",
    })
}
