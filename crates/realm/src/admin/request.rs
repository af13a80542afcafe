//! What an administrator asks for.

use super::wire::HexSecret;
use serde::{Deserialize, Serialize};

/// One request. Names are those of [`AccountName`](crate::store::AccountName), without the realm.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A new user, with keys from a password.
    AddUser {
        /// The user's name.
        name: String,
        /// The password, in UTF-8.
        password: HexSecret,
        /// What else the account is to be.
        #[serde(default)]
        changes: Changes,
    },
    /// A new service, with random keys.
    AddService {
        /// CLASS/HOST.
        name: String,
        /// What else the account is to be.
        #[serde(default)]
        changes: Changes,
    },
    /// Another password for a user. The keys from the old one are forgotten, and failures with it.
    SetPassword {
        /// The user's name, or an alias.
        name: String,
        /// The password, in UTF-8.
        password: HexSecret,
    },
    /// New random keys for a service or for the realm's own account. The old ones are kept until the last ticket under them has
    /// ended.
    NewKeys {
        /// CLASS/HOST, an alias of it, or krbtgt/REALM.
        name: String,
    },
    /// Other properties of an account.
    Change {
        /// Its name, or an alias.
        name: String,
        /// What is to change.
        changes: Changes,
    },
    /// An account to be removed, with its keys and aliases.
    Remove {
        /// Its name; an alias is not enough.
        name: String,
    },
    /// What accounts there are, some at a time.
    List {
        /// Only those whose names come after this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// The keys of a service, for its keytab.
    Export {
        /// CLASS/HOST, or an alias of it.
        name: String,
    },
    /// What the realm grants, after these changes.
    Policy {
        /// What is to change; by default nothing is.
        #[serde(default)]
        changes: PolicyChanges,
    },
}

impl Request {
    /// A word for logs, and the name that it is about; never a password.
    #[must_use]
    pub fn described(&self) -> String {
        match self {
            Self::AddUser { name, .. } => format!("add-user {name}"),
            Self::AddService { name, .. } => format!("add-service {name}"),
            Self::SetPassword { name, .. } | Self::NewKeys { name } => format!("passwd {name}"),
            Self::Change { name, .. } => format!("modify {name}"),
            Self::Remove { name } => format!("remove {name}"),
            Self::List { .. } => "list".to_owned(),
            Self::Export { name } => format!("export-keytab {name}"),
            Self::Policy { .. } => "policy".to_owned(),
        }
    }
}

/// What is to change about an account. The default changes nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// Whether it is out of use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Whether its tickets may be forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwardable: Option<bool>,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub expires: Set<i64>,
    /// When its password ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub password_expires: Set<i64>,
    /// Longest life of its tickets, in seconds.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub max_life: Set<u64>,
    /// How long they may be renewed, in seconds.
    #[serde(skip_serializing_if = "Set::is_keep")]
    pub max_renewable_life: Set<u64>,
    /// Other names to add.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_aliases: Vec<String>,
    /// Other names to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_aliases: Vec<String>,
    /// Whether its failures are to be forgotten.
    #[serde(skip_serializing_if = "is_false")]
    pub unlock: bool,
}

/// What becomes of a value that there may be or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set<T> {
    /// It stays.
    #[default]
    Keep,
    /// There is none any more.
    Clear,
    /// It becomes this.
    To(T),
}

impl<T> Set<T> {
    /// Whether nothing is to change.
    #[must_use]
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// Does it to `value`, which holds what `make` makes of this.
    pub fn apply<V>(self, value: &mut Option<V>, make: impl FnOnce(T) -> V) {
        match self {
            Self::Keep => {}
            Self::Clear => *value = None,
            Self::To(new) => *value = Some(make(new)),
        }
    }
}

/// What is to change about the realm's policy. The default changes nothing; lengths of time are seconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyChanges {
    /// Etypes by their numbers, the preferred one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted_enctypes: Option<Vec<i32>>,
    /// Groups of SPAKE by their numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spake_groups: Option<Vec<i32>>,
    /// Longest life of a ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_life: Option<u64>,
    /// How long a ticket may be renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_renewable_life: Option<u64>,
    /// How far clocks may differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew: Option<u64>,
    /// Whether an encrypted timestamp will do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_encrypted_timestamp: Option<bool>,
    /// Failures that cost nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_threshold: Option<u32>,
    /// Delay after the first failure beyond those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_first_delay: Option<u64>,
    /// Longest delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_longest_delay: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}
