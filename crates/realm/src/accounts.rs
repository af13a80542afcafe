//! Accounts, as the KDC asks for them, whatever keeps them.

use countersign_proto::crypto::{Etype, Key};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use std::time::Duration;

/// Whoever has keys in the realm.
///
/// There is no `Debug`: it holds keys.
#[derive(Clone)]
pub struct Account {
    /// Its canonical name, realm and components.
    pub principal: Principal,
    /// What it may do.
    pub kind: AccountKind,
    /// Its keys, those of the newest kvno first, of a kvno one for each etype. A service keeps old ones until the last
    /// ticket under them has ended; a user has none but the newest.
    pub keys: Vec<AccountKey>,
    /// Longest life of a ticket of or for it, if that is less than the realm's.
    pub max_life: Option<Duration>,
    /// How long such a ticket may be renewed from its start on, if that is less than the realm's.
    pub max_renewable_life: Option<Duration>,
    /// When the account ends. No ticket outlives it.
    pub expires: Option<Timestamp>,
    /// When the password ends. It is refused from then on, and the client told of the time from now on.
    pub password_expires: Option<Timestamp>,
    /// Whether it is out of use: no ticket of it and none for it.
    pub disabled: bool,
    /// Whether its tickets may be forwarded.
    pub forwardable: bool,
    /// What went wrong since it last proved itself.
    pub failures: Failures,
}

/// What an account may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccountKind {
    /// Its keys come from a password: it gets tickets, but there are none for it, since a ticket under a password's key is
    /// food for guessing. User-to-user, under its session key, remains.
    User,
    /// Its keys are random, and lie in a keytab: it gets tickets, and there are tickets for it.
    Service,
    /// The ticket-granting service `krbtgt/REALM`, which has no client's side.
    TicketGranting,
}

/// A key of an account.
#[derive(Clone)]
pub struct AccountKey {
    /// Its version.
    pub kvno: u32,
    /// The key.
    pub key: Key,
    /// With what salt it was made from a password, at the etype's default number of iterations; `None` if it is random.
    /// See [`default_salt`].
    pub salt: Option<Vec<u8>>,
}

/// Wrong passwords since the last right one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failures {
    /// How many that counted: those during a delay do not.
    pub count: u32,
    /// When the last one came.
    pub last: Option<Timestamp>,
}

impl Account {
    /// The newest key of this etype, if the newest kvno has one.
    #[must_use]
    pub fn newest_key(&self, etype: Etype) -> Option<&AccountKey> {
        self.newest_keys().find(|key| key.key.etype() == etype)
    }

    /// The keys of the newest kvno.
    pub fn newest_keys(&self) -> impl Iterator<Item = &AccountKey> {
        let newest = self.keys.iter().map(|key| key.kvno).max();
        self.keys.iter().filter(move |key| Some(key.kvno) == newest)
    }
}

/// Where accounts are kept. Several threads ask at once.
///
/// For a name that nobody has, each of these must do the same work as for one that somebody has and take as long, as far as
/// that can be: a realm does not tell strangers who is in it.
pub trait Accounts {
    /// The account with this name, or with this alias: then the account's own name is in it. The name type counts for
    /// nothing.
    ///
    /// # Errors
    /// If the store cannot tell.
    fn find(&self, name: &Principal) -> Result<Option<Account>, AccountsError>;

    /// Counts a wrong password of the account with this canonical name: one more in [`Failures::count`], `now` in
    /// [`Failures::last`]. For a name that nobody has it keeps nothing, and is no error.
    ///
    /// # Errors
    /// If the store cannot keep it. The login is refused then: a failure that is not counted is a free guess.
    fn record_failure(&self, name: &Principal, now: Timestamp) -> Result<(), AccountsError>;

    /// Forgets the failures of the account with this canonical name.
    ///
    /// # Errors
    /// If the store cannot keep it.
    fn record_success(&self, name: &Principal) -> Result<(), AccountsError>;
}

/// Why a store cannot answer, as its log tells it. The client learns that the service is not available.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(transparent)]
pub struct AccountsError(#[from] pub Refusal);

/// The salt with which a realm makes keys from passwords (RFC 4120 section 4): the realm and the components, laid end to end.
///
/// Every account is to be made with it. It is what the KDC tells of names that nobody has and of accounts with random keys,
/// so that salts set nobody apart.
#[must_use]
pub fn default_salt(principal: &Principal) -> Vec<u8> {
    std::iter::once(&principal.realm).chain(&principal.components).flatten().copied().collect()
}
