//! What a realm grants: `countersign realm policy`, and the flags of `init`.

use super::folder;
use super::values::seconds;
use crate::args::{RealmGrantsArguments, RealmPolicyArguments};
use crate::{output, sources};
use countersign::Refusal;
use countersign::proto::crypto::Etype;
use countersign::proto::crypto::spake::SpakeGroup;
use countersign::proto::error::code;
use countersign_realm::admin::{PolicyChanges, PolicyView, Request, Response};

pub(super) fn run(arguments: &RealmPolicyArguments) -> Result<(), Refusal> {
    let changes = changes(&arguments.grants)?;
    let Response::Policy(policy) = folder(&arguments.realm).administer(&Request::Policy { changes })? else {
        return Err(unexpected());
    };
    if arguments.json {
        let line = serde_json::to_string(&policy);
        let line = line.map_err(|error| sources::usage(error.to_string(), "a form in JSON"))?;
        return output::print(&format!("{line}\n"));
    }
    output::print(&table(&policy))
}

/// The names as krb5.conf(5) has them where it does.
fn table(policy: &PolicyView) -> String {
    let groups =
        if policy.spake_groups.is_empty() { "none".to_owned() } else { policy.spake_groups.join(" ") };
    let lines = [
        ("realm", policy.realm.clone()),
        ("permitted_enctypes", policy.permitted_enctypes.join(" ")),
        ("spake_groups", groups),
        ("max_life", length(policy.max_life)),
        ("max_renewable_life", length(policy.max_renewable_life)),
        ("clock_skew", length(policy.clock_skew)),
        ("allow_encrypted_timestamp", policy.allow_encrypted_timestamp.to_string()),
        ("lockout_threshold", policy.lockout_threshold.to_string()),
        ("lockout_first_delay", length(policy.lockout_first_delay)),
        ("lockout_longest_delay", length(policy.lockout_longest_delay)),
    ];
    lines.iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
}

/// A length of time as krb5.conf writes it, and its flags read it: `7d`, `10h`, `300s`.
fn length(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let whole = units.iter().find(|(unit, _)| seconds > 0 && seconds.checked_rem(*unit) == Some(0));
    match whole {
        Some((unit, letter)) => format!("{}{letter}", seconds.checked_div(*unit).unwrap_or(seconds)),
        None => format!("{seconds}s"),
    }
}

/// The changes that the flags ask for.
pub(super) fn changes(arguments: &RealmGrantsArguments) -> Result<PolicyChanges, Refusal> {
    let length = |flag, text: &Option<String>| text.as_deref().map(|text| seconds(flag, text)).transpose();
    Ok(PolicyChanges {
        permitted_enctypes: etypes(&arguments.permitted_enctypes)?,
        spake_groups: groups(&arguments.spake_groups)?,
        max_life: length("--max-life", &arguments.max_life)?,
        max_renewable_life: length("--max-renewable-life", &arguments.max_renewable_life)?,
        clock_skew: length("--clock-skew", &arguments.clock_skew)?,
        allow_encrypted_timestamp: arguments.allow_encrypted_timestamp,
        lockout_threshold: arguments.lockout_threshold,
        lockout_first_delay: length("--lockout-first-delay", &arguments.lockout_first_delay)?,
        lockout_longest_delay: length("--lockout-longest-delay", &arguments.lockout_longest_delay)?,
    })
}

fn etypes(names: &[String]) -> Result<Option<Vec<i32>>, Refusal> {
    if names.is_empty() {
        return Ok(None);
    }
    let etypes = sources::etypes_named(names, "--permitted-enctypes")?;
    Ok(Some(etypes.into_iter().map(Etype::wire).collect()))
}

fn groups(names: &[String]) -> Result<Option<Vec<i32>>, Refusal> {
    match names {
        [] => Ok(None),
        [none] if none == "none" => Ok(Some(Vec::new())),
        names => names.iter().map(|name| group(name)).collect::<Result<_, _>>().map(Some),
    }
}

fn group(name: &str) -> Result<i32, Refusal> {
    let wrong =
        || sources::usage(format!("--spake-groups {name}"), "the groups edwards25519 and P-256, or none");
    SpakeGroup::from_name(name.trim()).map(SpakeGroup::wire).ok_or_else(wrong)
}

/// An answer to something else than was asked.
pub(super) fn unexpected() -> Refusal {
    Refusal::new(code::ADMINISTRATION_FAILED, "an answer to another request", "one answer to a request")
}
