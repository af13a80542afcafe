//! What the realm grants, as the database has it.

use crate::policy::{Lockout, RealmPolicy};
use countersign_proto::crypto::Etype;
use countersign_proto::crypto::spake::SpakeGroup;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A [`RealmPolicy`] in JSON. Lengths of time are milliseconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    realm: String,
    permitted_enctypes: Vec<i32>,
    max_life: u64,
    max_renewable_life: u64,
    clock_skew: u64,
    allow_encrypted_timestamp: bool,
    spake_groups: Vec<i32>,
    lockout_threshold: u32,
    lockout_first_delay: u64,
    lockout_longest_delay: u64,
}

pub(super) fn to_bytes(policy: &RealmPolicy) -> Result<Vec<u8>, serde_json::Error> {
    let millis = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    serde_json::to_vec(&Settings {
        realm: policy.realm.clone(),
        permitted_enctypes: policy.permitted_enctypes.iter().map(|etype| etype.wire()).collect(),
        max_life: millis(policy.max_life),
        max_renewable_life: millis(policy.max_renewable_life),
        clock_skew: millis(policy.clock_skew),
        allow_encrypted_timestamp: policy.allow_encrypted_timestamp,
        spake_groups: policy.spake_groups.iter().map(|group| group.wire()).collect(),
        lockout_threshold: policy.lockout.threshold,
        lockout_first_delay: millis(policy.lockout.first_delay),
        lockout_longest_delay: millis(policy.lockout.longest_delay),
    })
}

pub(super) fn from_bytes(bytes: &[u8]) -> Option<RealmPolicy> {
    let settings: Settings = serde_json::from_slice(bytes).ok()?;
    let etypes = settings.permitted_enctypes.into_iter().map(Etype::from_wire);
    let groups = settings.spake_groups.into_iter().map(SpakeGroup::from_wire);
    let mut policy = RealmPolicy::new(settings.realm);
    policy.permitted_enctypes = etypes.collect::<Option<_>>()?;
    policy.max_life = Duration::from_millis(settings.max_life);
    policy.max_renewable_life = Duration::from_millis(settings.max_renewable_life);
    policy.clock_skew = Duration::from_millis(settings.clock_skew);
    policy.allow_encrypted_timestamp = settings.allow_encrypted_timestamp;
    policy.spake_groups = groups.collect::<Option<_>>()?;
    policy.lockout = Lockout {
        threshold: settings.lockout_threshold,
        first_delay: Duration::from_millis(settings.lockout_first_delay),
        longest_delay: Duration::from_millis(settings.lockout_longest_delay),
    };
    Some(policy)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_setting_comes_back() {
        let mut policy = RealmPolicy::new("REALM.TEST");
        policy.permitted_enctypes = vec![Etype::Aes256CtsHmacSha384_192];
        policy.max_life = Duration::from_secs(61);
        policy.max_renewable_life = Duration::from_secs(62);
        policy.clock_skew = Duration::from_secs(63);
        policy.allow_encrypted_timestamp = true;
        policy.spake_groups = vec![SpakeGroup::P256];
        policy.lockout.threshold = 9;
        policy.lockout.first_delay = Duration::from_millis(1);
        policy.lockout.longest_delay = Duration::from_secs(64);
        assert_eq!(from_bytes(&to_bytes(&policy).unwrap()), Some(policy));
    }
}
