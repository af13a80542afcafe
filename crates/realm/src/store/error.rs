//! Why the store of a realm refuses.

use super::name::AccountName;
use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;

/// Why an account cannot be had, or a change was not made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file cannot be read or written, or another process has it open.
    #[error("the realm's database ({0})")]
    Database(String),
    /// What lies in the database is not what was put there.
    #[error("the realm's database with {0}")]
    Damaged(String),
    /// The master key does not open what the database holds.
    #[error("the realm's database under another master key")]
    WrongMasterKey,
    /// The file with the master key holds something else.
    #[error("a master key that is not of 64 hex digits")]
    MasterKeyMalformed,
    /// The database was made by a later version of this program.
    #[error("the realm's database of format {found}")]
    TooNew {
        /// Its format.
        found: u32,
    },
    /// The database holds no realm.
    #[error("a database without a realm")]
    NoRealm,
    /// The database holds a realm already.
    #[error("a database that holds a realm")]
    HoldsRealm,
    /// No account, alias or realm can have that name.
    #[error("the name {name:?}")]
    NameUnusable {
        /// The name.
        name: String,
        /// What form names have.
        wants: &'static str,
    },
    /// An account or alias of that name exists.
    #[error("an account by the name of {0}")]
    Exists(AccountName),
    /// There is no such account.
    #[error("no account by the name of {0}")]
    Absent(AccountName),
}

impl Explain for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::Database(_) => code::REALM_UNREADABLE,
            Self::Damaged(_) => code::REALM_DAMAGED,
            Self::WrongMasterKey | Self::MasterKeyMalformed => code::MASTER_KEY_WRONG,
            Self::TooNew { .. } => code::REALM_TOO_NEW,
            Self::NoRealm => code::REALM_ABSENT,
            Self::HoldsRealm => code::REALM_EXISTS,
            Self::NameUnusable { .. } => code::ACCOUNT_NAME_UNUSABLE,
            Self::Exists(_) => code::ACCOUNT_EXISTS,
            Self::Absent(_) => code::ACCOUNT_ABSENT,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Database(_) => "no other copy of it".into(),
            Self::Damaged(_) => "nothing to mend it with".into(),
            Self::WrongMasterKey => "the one in the master key's file".into(),
            Self::MasterKeyMalformed => "no other way to open the realm's keys".into(),
            Self::TooNew { .. } => format!("format {} and those before it", super::FORMAT).into(),
            Self::NoRealm => "no accounts without one".into(),
            Self::HoldsRealm => "one realm a folder".into(),
            Self::NameUnusable { wants, .. } => (*wants).into(),
            Self::Exists(_) => "one account or alias a name".into(),
            Self::Absent(_) => "others only: countersign realm list shows them".into(),
        }
    }
}
