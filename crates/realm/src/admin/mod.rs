//! Administration of a realm: requests as values, one function that does what they ask, and their form as lines of JSON.
//!
//! The same requests are done by whoever has the realm's file open: the process that serves it, to which they come through
//! a socket, or the command itself if nobody serves.

mod bounds;
mod error;
mod password;
mod policy;
mod request;
mod response;
mod wire;

#[cfg(test)]
mod tests;

pub use error::AdminError;
pub use password::{MAX_PASSWORD, MIN_PASSWORD};
pub use request::{Changes, PolicyChanges, Request, Set};
pub use response::{AccountView, ExportedKey, KindView, PolicyView, Response};
pub use wire::{HexSecret, MAX_REQUEST_LINE, MAX_RESPONSE_LINE};

use crate::accounts::{AccountKey, AccountKind};
use crate::policy::RealmPolicy;
use crate::store::{AccountName, NameUse, Record, Store, StoreError, random_keys};
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use rand_core::CryptoRng;
use std::time::Duration;

/// Accounts in one answer.
const PAGE: usize = 256;

/// Most aliases of one account.
const MAX_ALIASES: usize = 64;

/// Does what `request` asks. A change is on the disk when this returns.
///
/// # Errors
/// If it cannot be done; nothing has changed then.
pub fn apply(
    store: &Store,
    request: &Request,
    now: Timestamp,
    rng: &mut dyn CryptoRng,
) -> Result<Response, AdminError> {
    let work = Work { store, policy: store.policy(), now };
    match request {
        Request::AddUser { name, password, changes } => work.add_user(name, &password.0, changes, rng),
        Request::AddService { name, changes } => work.add_service(name, changes, rng),
        Request::SetPassword { name, password } => work.set_password(name, &password.0, rng),
        Request::NewKeys { name } => work.new_keys(name, rng),
        Request::Change { name, changes } => work.change(name, changes, rng),
        Request::Remove { name } => work.remove(name),
        Request::List { after } => work.list(after.as_deref()),
        Request::Export { name } => work.export(name),
        Request::Policy { changes } => work.change_policy(changes, rng),
    }
}

/// What every request is done with.
struct Work<'a> {
    store: &'a Store,
    policy: RealmPolicy,
    now: Timestamp,
}

impl Work<'_> {
    fn add_user(
        &self,
        name: &str,
        password: &Secret,
        changes: &Changes,
        rng: &mut dyn CryptoRng,
    ) -> Result<Response, AdminError> {
        let name = AccountName::parse_new(name, NameUse::User)?;
        let principal = name.principal(self.store.realm());
        password::check(&principal, password)?;
        let keys = of_version(1, password::keys(&principal, password)?);
        self.add(&name, AccountKind::User, keys, changes, rng)
    }

    fn add_service(
        &self,
        name: &str,
        changes: &Changes,
        rng: &mut dyn CryptoRng,
    ) -> Result<Response, AdminError> {
        let name = AccountName::parse_new(name, NameUse::Service)?;
        let keys = random_keys(1, rng);
        self.add(&name, AccountKind::Service, keys, changes, rng)
    }

    fn add(
        &self,
        name: &AccountName,
        kind: AccountKind,
        keys: Vec<AccountKey>,
        changes: &Changes,
        rng: &mut dyn CryptoRng,
    ) -> Result<Response, AdminError> {
        let mut record = Record::new(name, self.store.realm(), kind, keys, self.now);
        apply_changes(&mut record, changes)?;
        self.store.insert(name, &record, rng)?;
        Ok(self.view(name, &record))
    }

    fn set_password(
        &self,
        name: &str,
        password: &Secret,
        rng: &mut dyn CryptoRng,
    ) -> Result<Response, AdminError> {
        let asked = AccountName::parse(name)?;
        let found = self.store.get(&asked)?.ok_or(StoreError::Absent(asked))?;
        let (name, record) = found;
        must_be(AccountKind::User, "a password", &name, record.account.kind)?;
        let principal = name.principal(self.store.realm());
        password::check(&principal, password)?;
        // Before the transaction: it takes long, and others wait for that.
        let keys = password::keys(&principal, password)?;
        let changed = self.store.update(&name, rng, |record| {
            must_be(AccountKind::User, "a password", &name, record.account.kind)?;
            let kvno = next_kvno(record)?;
            record.replace_keys(of_version(kvno, keys), None, self.now);
            record.account.password_expires = None;
            Ok::<_, AdminError>(())
        });
        let (name, mut record) = changed?;
        self.store.forget_failures(&name);
        record.account.failures = crate::accounts::Failures::default();
        Ok(self.view(&name, &record))
    }

    fn new_keys(&self, name: &str, rng: &mut dyn CryptoRng) -> Result<Response, AdminError> {
        let name = AccountName::parse(name)?;
        let keys = random_keys(0, rng);
        let (name, record) = self.store.update(&name, rng, |record| {
            if record.account.kind == AccountKind::User {
                return Err(unfit("random keys", &name, record.account.kind));
            }
            let kvno = next_kvno(record)?;
            // No ticket under the old keys lives longer, whatever its service's own limit is.
            let last_ticket = self.now.saturating_add(self.policy.max_life);
            let until = last_ticket.saturating_add(self.policy.clock_skew);
            record.replace_keys(of_version(kvno, keys), Some(until), self.now);
            Ok::<_, AdminError>(())
        })?;
        Ok(self.view(&name, &record))
    }

    fn change(&self, name: &str, changes: &Changes, rng: &mut dyn CryptoRng) -> Result<Response, AdminError> {
        let name = AccountName::parse(name)?;
        let (name, mut record) = self.store.update(&name, rng, |record| {
            if record.account.kind == AccountKind::TicketGranting {
                return Err(unfit("another property", &name, record.account.kind));
            }
            record.forget_retired(self.now);
            apply_changes(record, changes)
        })?;
        if changes.unlock {
            self.store.forget_failures(&name);
            record.account.failures = crate::accounts::Failures::default();
        }
        Ok(self.view(&name, &record))
    }

    fn remove(&self, name: &str) -> Result<Response, AdminError> {
        let name = AccountName::parse(name)?;
        if name == AccountName::ticket_granting(self.store.realm()) {
            return Err(unfit("removal", &name, AccountKind::TicketGranting));
        }
        self.store.remove(&name)?;
        Ok(Response::Removed)
    }

    fn list(&self, after: Option<&str>) -> Result<Response, AdminError> {
        let after = after.map(AccountName::parse).transpose()?;
        // One more than are shown tells whether there are others.
        let mut found = self.store.list(after.as_ref(), PAGE.saturating_add(1))?;
        let more = found.len() > PAGE;
        found.truncate(PAGE);
        let accounts = found.iter().map(|(name, record)| self.account_view(name, record)).collect();
        Ok(Response::Accounts { accounts, more })
    }

    fn export(&self, name: &str) -> Result<Response, AdminError> {
        let asked = AccountName::parse(name)?;
        let (name, record) = self.store.get(&asked)?.ok_or(StoreError::Absent(asked))?;
        must_be(AccountKind::Service, "a keytab", &name, record.account.kind)?;
        let keys = record.account.keys.iter().map(|key| ExportedKey {
            kvno: key.kvno,
            etype: key.key.etype().wire(),
            key: HexSecret(Secret::from(key.key.expose())),
        });
        let realm = self.store.realm().to_owned();
        Ok(Response::Keys { name: name.to_string(), realm, keys: keys.collect() })
    }

    fn change_policy(
        &self,
        changes: &PolicyChanges,
        rng: &mut dyn CryptoRng,
    ) -> Result<Response, AdminError> {
        let policy = changes.applied_to(self.policy.clone())?;
        if policy != self.policy {
            self.store.set_policy(&policy, rng)?;
        }
        Ok(Response::Policy((&policy).into()))
    }

    fn view(&self, name: &AccountName, record: &Record) -> Response {
        Response::Account(self.account_view(name, record))
    }

    fn account_view(&self, name: &AccountName, record: &Record) -> AccountView {
        AccountView::of(name, record, &self.policy, self.now)
    }
}

/// The same keys under another version.
fn of_version(kvno: u32, keys: Vec<AccountKey>) -> Vec<AccountKey> {
    keys.into_iter().map(|key| AccountKey { kvno, ..key }).collect()
}

fn next_kvno(record: &Record) -> Result<u32, AdminError> {
    let exhausted = || StoreError::Damaged("a key version that has no successor".to_owned());
    Ok(record.kvno().checked_add(1).ok_or_else(exhausted)?)
}

fn must_be(
    kind: AccountKind,
    wish: &'static str,
    name: &AccountName,
    found: AccountKind,
) -> Result<(), AdminError> {
    if found == kind { Ok(()) } else { Err(unfit(wish, name, found)) }
}

fn unfit(wish: &'static str, name: &AccountName, kind: AccountKind) -> AdminError {
    let kind = match kind {
        AccountKind::User => "a user, whose keys come from a password",
        AccountKind::Service => "a service, whose keys are random",
        AccountKind::TicketGranting => "the realm's own account",
    };
    AdminError::Unfit { wish, name: name.to_string(), kind }
}

fn apply_changes(record: &mut Record, changes: &Changes) -> Result<(), AdminError> {
    let account = &mut record.account;
    let time = |seconds: i64| Timestamp::new(seconds, 0);
    if let Set::To(seconds) = changes.max_life {
        bounds::LIFE.check("a life of tickets", seconds)?;
    }
    if let Set::To(seconds) = changes.max_renewable_life {
        bounds::RENEWABLE.check("a renewable life", seconds)?;
    }
    if account.kind != AccountKind::User && !changes.password_expires.is_keep() {
        let kind = "a service, whose keys are random";
        return Err(AdminError::Unfit {
            wish: "an end of its password",
            name: account.principal.name(),
            kind,
        });
    }
    account.disabled = changes.disabled.unwrap_or(account.disabled);
    account.forwardable = changes.forwardable.unwrap_or(account.forwardable);
    changes.expires.apply(&mut account.expires, time);
    changes.password_expires.apply(&mut account.password_expires, time);
    changes.max_life.apply(&mut account.max_life, Duration::from_secs);
    changes.max_renewable_life.apply(&mut account.max_renewable_life, Duration::from_secs);
    change_aliases(record, changes)
}

fn change_aliases(record: &mut Record, changes: &Changes) -> Result<(), AdminError> {
    for alias in &changes.remove_aliases {
        let alias = AccountName::parse(alias)?;
        let before = record.aliases.len();
        record.aliases.retain(|known| *known != alias);
        if record.aliases.len() == before {
            return Err(StoreError::Absent(alias).into());
        }
    }
    let used_for = match record.account.kind {
        AccountKind::User => NameUse::UserAlias,
        AccountKind::Service | AccountKind::TicketGranting => NameUse::Service,
    };
    for alias in &changes.add_aliases {
        let alias = AccountName::parse_new(alias, used_for)?;
        if record.aliases.contains(&alias) {
            return Err(StoreError::Exists(alias).into());
        }
        record.aliases.push(alias);
    }
    if record.aliases.len() > MAX_ALIASES {
        let value = record.aliases.len().to_string();
        let wants = "64 aliases for an account, at most";
        return Err(AdminError::OutOfBounds { what: "a number of aliases", value, wants });
    }
    Ok(())
}
