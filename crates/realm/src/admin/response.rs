//! What an administrator is answered.

use super::wire::HexSecret;
use crate::accounts::{Account, AccountKind};
use crate::policy::RealmPolicy;
use crate::store::{AccountName, Record};
use countersign_proto::crypto::Etype;
use countersign_proto::crypto::spake::SpakeGroup;
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The answer to one request.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// The account as it is now.
    Account(AccountView),
    /// It was removed.
    Removed,
    /// Accounts in the order of their names.
    Accounts {
        /// Some of them.
        accounts: Vec<AccountView>,
        /// Whether there are others after them.
        more: bool,
    },
    /// The keys of a service.
    Keys {
        /// Its name.
        name: String,
        /// The realm.
        realm: String,
        /// The newest first.
        keys: Vec<ExportedKey>,
    },
    /// What the realm grants.
    Policy(PolicyView),
    /// It was not done.
    Refused {
        /// Number of the code.
        code: u16,
        /// What was seen.
        saw: String,
        /// What there is.
        have: String,
    },
}

impl Response {
    /// The answer that says why not.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        let (saw, have) = (refusal.saw().to_owned(), refusal.have().to_owned());
        Self::Refused { code: refusal.code().number(), saw, have }
    }

    /// This answer, or the refusal that it is.
    ///
    /// # Errors
    /// The refusal; of an unknown number, as a later version may give one, ADMINISTRATION_FAILED.
    pub fn into_result(self) -> Result<Self, Refusal> {
        match self {
            Self::Refused { code: number, saw, have } => {
                let known = code::ALL.iter().find(|code| code.number() == number).copied();
                let code: Code = known.unwrap_or(code::ADMINISTRATION_FAILED);
                Err(Refusal::new(code, saw, have))
            }
            other => Ok(other),
        }
    }
}

/// An account as an administrator sees it: everything but the keys. Times are of RFC 3339, in UTC; lengths of time seconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountView {
    /// Its name without the realm.
    pub name: String,
    /// What it is.
    pub kind: KindView,
    /// Other names that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Version of its newest keys.
    pub kvno: u32,
    /// Versions of older keys that are kept for tickets that have not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub older_kvnos: Vec<u32>,
    /// Etypes of its newest keys.
    pub etypes: Vec<String>,
    /// When its newest keys were made.
    pub keys_made: String,
    /// Whether it is out of use.
    pub disabled: bool,
    /// Whether its tickets may be forwarded.
    pub forwardable: bool,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When its password ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_expires: Option<String>,
    /// Longest life of its tickets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_life: Option<u64>,
    /// How long they may be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_renewable_life: Option<u64>,
    /// Wrong passwords since the last right one.
    pub failures: u32,
    /// When the last one came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Until when no password is taken, as it stands now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<String>,
}

/// What an account is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindView {
    /// A user, with keys from a password.
    User,
    /// A service, with random keys.
    Service,
    /// The realm's own.
    Realm,
}

impl KindView {
    /// The word that `list` shows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Service => "service",
            Self::Realm => "realm",
        }
    }
}

impl From<AccountKind> for KindView {
    fn from(kind: AccountKind) -> Self {
        match kind {
            AccountKind::User => Self::User,
            AccountKind::Service => Self::Service,
            AccountKind::TicketGranting => Self::Realm,
        }
    }
}

impl AccountView {
    pub(super) fn of(name: &AccountName, record: &Record, policy: &RealmPolicy, now: Timestamp) -> Self {
        let account = &record.account;
        let text = |time: Timestamp| time.to_string();
        Self {
            name: name.to_string(),
            kind: account.kind.into(),
            aliases: record.aliases.iter().map(ToString::to_string).collect(),
            kvno: record.kvno(),
            older_kvnos: older_kvnos(account, record.kvno()),
            etypes: account.newest_keys().map(|key| key.key.etype().to_string()).collect(),
            keys_made: text(record.keys_made),
            disabled: account.disabled,
            forwardable: account.forwardable,
            expires: account.expires.map(text),
            password_expires: account.password_expires.map(text),
            max_life: account.max_life.as_ref().map(Duration::as_secs),
            max_renewable_life: account.max_renewable_life.as_ref().map(Duration::as_secs),
            failures: account.failures.count,
            last_failure: account.failures.last.map(text),
            locked_until: policy.lockout.delayed_until(&account.failures, now).map(text),
        }
    }
}

fn older_kvnos(account: &Account, newest: u32) -> Vec<u32> {
    let mut older: Vec<u32> =
        account.keys.iter().map(|key| key.kvno).filter(|kvno| *kvno != newest).collect();
    older.dedup();
    older
}

/// A key that leaves the realm.
#[derive(Serialize, Deserialize)]
pub struct ExportedKey {
    /// Its version.
    pub kvno: u32,
    /// Number of its etype.
    pub etype: i32,
    /// The key.
    pub key: HexSecret,
}

/// What a realm grants, as an administrator sees it. Lengths of time are seconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyView {
    /// Name of the realm.
    pub realm: String,
    /// Names of the permitted etypes, the preferred one first.
    pub permitted_enctypes: Vec<String>,
    /// Names of SPAKE's groups.
    pub spake_groups: Vec<String>,
    /// Longest life of a ticket.
    pub max_life: u64,
    /// How long a ticket may be renewed.
    pub max_renewable_life: u64,
    /// How far clocks may differ.
    pub clock_skew: u64,
    /// Whether an encrypted timestamp will do.
    pub allow_encrypted_timestamp: bool,
    /// Failures that cost nothing.
    pub lockout_threshold: u32,
    /// Delay after the first failure beyond those.
    pub lockout_first_delay: u64,
    /// Longest delay.
    pub lockout_longest_delay: u64,
}

impl From<&RealmPolicy> for PolicyView {
    fn from(policy: &RealmPolicy) -> Self {
        Self {
            realm: policy.realm.clone(),
            permitted_enctypes: policy.permitted_enctypes.iter().map(Etype::to_string).collect(),
            spake_groups: policy
                .spake_groups
                .iter()
                .copied()
                .map(SpakeGroup::name)
                .map(str::to_owned)
                .collect(),
            max_life: policy.max_life.as_secs(),
            max_renewable_life: policy.max_renewable_life.as_secs(),
            clock_skew: policy.clock_skew.as_secs(),
            allow_encrypted_timestamp: policy.allow_encrypted_timestamp,
            lockout_threshold: policy.lockout.threshold,
            lockout_first_delay: policy.lockout.first_delay.as_secs(),
            lockout_longest_delay: policy.lockout.longest_delay.as_secs(),
        }
    }
}
