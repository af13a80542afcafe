//! The accounts of a realm in one file: a transactional database (redb), in which every record is sealed under the realm's
//! master key.
//!
//! A change is on the disk when the call that makes it returns; after a crash the database opens with every change that
//! was acknowledged and with none half made. One process has the file open, and any number of its threads.
//!
//! Wrong passwords are counted in memory, and written by [`Store::save_failures`]: a guess must not cost a write to the
//! disk. After a crash the counts since the last writing are lost.

// The store is the one part of this crate that has a file; it is given it open.
#![allow(clippy::disallowed_types, reason = "see the line above")]

mod error;
mod failures;
mod name;
mod record;
mod seal;
mod settings;
mod tables;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use name::{AccountName, MAX_NAME, NameUse, check_realm};
pub use record::Record;
pub use seal::MasterKey;

use crate::accounts::{Account, AccountKey, AccountKind, Accounts, AccountsError};
use crate::policy::RealmPolicy;
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use failures::FailureCounts;
use rand_core::CryptoRng;
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use seal::{About, Seals};
use std::fs::File;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use tables::{
    ACCOUNTS, ALIASES, ENTRY_CHECK, ENTRY_FORMAT, ENTRY_POLICY, ENTRY_SECRET, FAILURES, REALM, check_format,
    database, entry, failed, is_taken, link, own_key, put, unlink, unwritable, write,
};

/// The format that is written, and the last one that is read.
pub const FORMAT: u32 = 1;

/// The etypes that every account has keys of.
pub const KEY_ETYPES: [Etype; 4] = [
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha384_192,
    Etype::Aes128CtsHmacSha256_128,
];

/// Accounts that are looked at in one reading.
const PAGE: usize = 256;

/// Of the realm's own secret.
const SECRET: Etype = Etype::Aes256CtsHmacSha384_192;

/// The key of no account, by which the store keeps what it does its work on where there is no account.
const NOBODY: &[u8] = b"\0";

/// The accounts of one realm.
pub struct Store {
    database: Database,
    seals: Seals,
    realm: String,
    policy: RwLock<RealmPolicy>,
    secret: Key,
    /// The sealed record of nobody, which is opened where there is no account, so that both cases take the same time.
    nobody: Vec<u8>,
    failures: Mutex<FailureCounts>,
}

impl Store {
    /// Makes a realm in `file`, which is new and empty: its policy, a secret of its own, and the account of its
    /// ticket-granting service with random keys.
    ///
    /// # Errors
    /// If the realm cannot have that name, the file holds one already, or cannot be written.
    pub fn create(
        file: File,
        master: &MasterKey,
        policy: &RealmPolicy,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, StoreError> {
        check_realm(&policy.realm)?;
        let database = database(file)?;
        let seals = Seals::new(master);
        let secret = Secret::from(Key::generate(SECRET, rng).expose());
        let realm = &policy.realm;
        let name = AccountName::ticket_granting(realm);
        let krbtgt = Record::new(&name, realm, AccountKind::TicketGranting, random_keys(1, rng), now);
        write(&database, |changes| {
            let mut entries = changes.open_table(REALM).map_err(failed)?;
            if entries.get(ENTRY_FORMAT).map_err(failed)?.is_some() {
                return Err(StoreError::HoldsRealm);
            }
            let settings = Secret::new(settings::to_bytes(policy).map_err(unwritable)?);
            for (entry, content) in
                [(ENTRY_CHECK, &Secret::default()), (ENTRY_POLICY, &settings), (ENTRY_SECRET, &secret)]
            {
                let sealed = seals.seal(About::Realm(entry), content, rng);
                entries.insert(entry, sealed.as_slice()).map_err(failed)?;
            }
            entries.insert(ENTRY_FORMAT, FORMAT.to_be_bytes().as_slice()).map_err(failed)?;
            changes.open_table(ALIASES).map_err(failed)?;
            changes.open_table(FAILURES).map_err(failed)?;
            put(changes, &seals, &name, &krbtgt, rng)
        })?;
        Self::of(database, seals, rng)
    }

    /// Opens the realm in `file`. If the process that had it open before was killed, what it left is put in order first,
    /// which takes no longer for a large realm than for a small one.
    ///
    /// # Errors
    /// If another process has it open, `master` is not its master key, a later version wrote it, it holds no realm, or cannot
    /// be read and written.
    pub fn open(file: File, master: &MasterKey, rng: &mut dyn CryptoRng) -> Result<Self, StoreError> {
        if file.metadata().map_err(|error| StoreError::Database(error.to_string()))?.len() == 0 {
            return Err(StoreError::NoRealm);
        }
        Self::of(database(file)?, Seals::new(master), rng)
    }

    fn of(database: Database, seals: Seals, rng: &mut dyn CryptoRng) -> Result<Self, StoreError> {
        let read = database.begin_read().map_err(failed)?;
        check_format(&read)?;
        entry(&read, &seals, ENTRY_CHECK)?.ok_or(StoreError::WrongMasterKey)?;
        let damaged = || StoreError::Damaged("settings that cannot be read".to_owned());
        let policy = entry(&read, &seals, ENTRY_POLICY)?.ok_or_else(damaged)?;
        let policy = settings::from_bytes(policy.expose()).ok_or_else(damaged)?;
        let secret = entry(&read, &seals, ENTRY_SECRET)?.ok_or_else(damaged)?;
        let secret = Key::new(SECRET, secret.expose()).map_err(|_| damaged())?;
        let failures = FailureCounts::read(&read)?;
        drop(read);
        let nobody = sealed_nobody(&seals, &policy.realm, rng)?;
        Ok(Self {
            database,
            seals,
            realm: policy.realm.clone(),
            policy: RwLock::new(policy),
            secret,
            nobody,
            failures: Mutex::new(failures),
        })
    }

    /// The realm's name.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// What the realm grants.
    #[must_use]
    pub fn policy(&self) -> RealmPolicy {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A random key that is the realm's own and never changes: what its KDC derives from it is the same after a restart.
    #[must_use]
    pub const fn secret(&self) -> &Key {
        &self.secret
    }

    /// Changes what the realm grants. Its name stays.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_policy(&self, policy: &RealmPolicy, rng: &mut dyn CryptoRng) -> Result<(), StoreError> {
        let policy = RealmPolicy { realm: self.realm.clone(), ..policy.clone() };
        let settings = Secret::new(settings::to_bytes(&policy).map_err(unwritable)?);
        let sealed = self.seals.seal(About::Realm(ENTRY_POLICY), &settings, rng);
        // Held while it is written, so that two changes end in the same order in memory as on the disk.
        let mut held = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        write(&self.database, |changes| {
            let mut entries = changes.open_table(REALM).map_err(failed)?;
            entries.insert(ENTRY_POLICY, sealed.as_slice()).map_err(failed)?;
            Ok(())
        })?;
        *held = policy;
        Ok(())
    }

    /// Adds an account with its aliases.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if one of the names is taken; if it cannot be written.
    pub fn insert(
        &self,
        name: &AccountName,
        record: &Record,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), StoreError> {
        write(&self.database, |changes| {
            if is_taken(changes, name)? {
                return Err(StoreError::Exists(name.clone()));
            }
            put(changes, &self.seals, name, record, rng)?;
            link(changes, name, &record.aliases)
        })
    }

    /// Changes the account of this name, or alias, and returns it as it is then. If `change` refuses, nothing has changed.
    ///
    /// # Errors
    /// [`StoreError::Absent`]; [`StoreError::Exists`] if `change` gives it an alias that is taken; if it cannot be written; what
    /// `change` says.
    pub fn update<E: From<StoreError>>(
        &self,
        name: &AccountName,
        rng: &mut dyn CryptoRng,
        change: impl FnOnce(&mut Record) -> Result<(), E>,
    ) -> Result<(AccountName, Record), E> {
        let (key, record) = write(&self.database, |changes| {
            let (key, mut record) = self.get_to_change(changes, name)?;
            let before = record.aliases.clone();
            let own = AccountName::of_key(&key).ok_or_else(|| StoreError::Absent(name.clone()))?;
            change(&mut record)?;
            put(changes, &self.seals, &own, &record, rng)?;
            if record.aliases != before {
                unlink(changes, &before)?;
                link(changes, &own, &record.aliases)?;
            }
            Ok::<_, E>((key, record))
        })?;
        Ok(self.completed(&key, record)?)
    }

    /// Removes the account of this name, its aliases and its failures. An alias is not enough.
    ///
    /// # Errors
    /// [`StoreError::Absent`]; if it cannot be written.
    pub fn remove(&self, name: &AccountName) -> Result<(), StoreError> {
        let key = name.key();
        write(&self.database, |changes| {
            let mut accounts = changes.open_table(ACCOUNTS).map_err(failed)?;
            let sealed = accounts.remove(key.as_slice()).map_err(failed)?;
            let record = sealed.map(|sealed| self.open_record(&key, sealed.value()));
            let record = record.ok_or_else(|| StoreError::Absent(name.clone()))??;
            changes.open_table(FAILURES).map_err(failed)?.remove(key.as_slice()).map_err(failed)?;
            unlink(changes, &record.aliases)
        })?;
        self.counts().forget(&key);
        Ok(())
    }

    /// The account of this name, or alias, if there is one, and its own name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn get(&self, name: &AccountName) -> Result<Option<(AccountName, Record)>, StoreError> {
        match self.look_up(&name.key())? {
            Some((key, record)) => self.completed(&key, record).map(Some),
            None => Ok(None),
        }
    }

    /// At most `limit` accounts in the order of their names, those after `after`.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn list(
        &self,
        after: Option<&AccountName>,
        limit: usize,
    ) -> Result<Vec<(AccountName, Record)>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let accounts = read.open_table(ACCOUNTS).map_err(failed)?;
        let after = after.map(AccountName::key);
        let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = accounts.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)?;
        range
            .take(limit)
            .map(|entry| {
                let (key, sealed) = entry.map_err(failed)?;
                let record = self.open_record(key.value(), sealed.value())?;
                self.completed(key.value(), record)
            })
            .collect()
    }

    /// Forgets the failures of the account of this name.
    pub fn forget_failures(&self, name: &AccountName) {
        self.counts().forget(&name.key());
    }

    /// Writes the failures that were counted since the last time, if there are any.
    ///
    /// # Errors
    /// If they cannot be written; they stay to be written the next time.
    pub fn save_failures(&self) -> Result<(), StoreError> {
        let Some(unsaved) = self.counts().take_unsaved() else { return Ok(()) };
        let saved = write(&self.database, |changes| unsaved.write(changes));
        if saved.is_err() {
            self.counts().put_back(unsaved);
        }
        saved
    }

    /// Forgets keys that newer ones took the place of, of every account whose tickets under them have ended, and says whether
    /// there were any.
    ///
    /// # Errors
    /// If they cannot be written; some may be forgotten then, and those that are left are the next time.
    pub fn forget_retired(&self, now: Timestamp, rng: &mut dyn CryptoRng) -> Result<bool, StoreError> {
        let (mut after, mut any) = (None, false);
        loop {
            let page = self.list(after.as_ref(), PAGE)?;
            for (name, record) in &page {
                if record.retired.iter().any(|(_, until)| *until <= now) {
                    self.update(name, rng, |record| {
                        any |= record.forget_retired(now);
                        Ok::<_, StoreError>(())
                    })?;
                }
            }
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(any),
            }
        }
    }

    /// The record that `name`, or an alias, leads to, with its key, in a transaction that is to change it.
    fn get_to_change(
        &self,
        changes: &WriteTransaction,
        name: &AccountName,
    ) -> Result<(Vec<u8>, Record), StoreError> {
        let key = name.key();
        let target = changes.open_table(ALIASES).map_err(failed)?;
        let target = target.get(key.as_slice()).map_err(failed)?.map(|target| target.value().to_vec());
        let own = target.unwrap_or(key);
        let accounts = changes.open_table(ACCOUNTS).map_err(failed)?;
        let sealed = accounts.get(own.as_slice()).map_err(failed)?;
        let record = sealed.map(|sealed| self.open_record(&own, sealed.value()));
        let record = record.ok_or_else(|| StoreError::Absent(name.clone()))??;
        Ok((own, record))
    }

    /// The record that the name or alias with this key leads to. For a key that leads nowhere the same is done.
    fn look_up(&self, key: &[u8]) -> Result<Option<(Vec<u8>, Record)>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let own = own_key(&read, key)?;
        let accounts = read.open_table(ACCOUNTS).map_err(failed)?;
        let Some(sealed) = accounts.get(own.as_slice()).map_err(failed)? else {
            let _nobody = self.open_record(NOBODY, &self.nobody)?;
            return Ok(None);
        };
        let record = self.open_record(&own, sealed.value())?;
        if own != key && !record.aliases.iter().any(|alias| alias.key() == key) {
            let what = "an alias that its account does not know";
            return Err(StoreError::Damaged(what.to_owned()));
        }
        Ok(Some((own, record)))
    }

    fn open_record(&self, key: &[u8], sealed: &[u8]) -> Result<Record, StoreError> {
        let name = AccountName::of_key(key);
        let damaged = || {
            let whose = AccountName::of_key(key).map(|name| name.to_string()).unwrap_or_default();
            StoreError::Damaged(format!("an account {whose:?} that cannot be read"))
        };
        let name = name.ok_or_else(damaged)?;
        let bytes = self.seals.open(About::Account(key), sealed).ok_or_else(damaged)?;
        Record::from_bytes(&name, &self.realm, &bytes).ok_or_else(damaged)
    }

    /// The record with its failures, and the name of its key.
    fn completed(&self, key: &[u8], mut record: Record) -> Result<(AccountName, Record), StoreError> {
        record.account.failures = self.counts().of(key);
        let name = AccountName::of_key(key);
        let name = name.ok_or_else(|| StoreError::Damaged("a name that cannot be read".to_owned()))?;
        Ok((name, record))
    }

    fn counts(&self) -> MutexGuard<'_, FailureCounts> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key by which a principal is looked for; nobody's if it can have no account.
    fn key_of(&self, name: &Principal) -> Vec<u8> {
        let of_this_realm = name.realm == self.realm.as_bytes();
        name::key_of(name).filter(|_| of_this_realm).unwrap_or_else(|| NOBODY.to_vec())
    }

    /// The key of the account that a principal leads to, if there is one.
    fn existing(&self, name: &Principal) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.database.begin_read().map_err(failed)?;
        let own = own_key(&read, &self.key_of(name))?;
        let accounts = read.open_table(ACCOUNTS).map_err(failed)?;
        Ok(accounts.get(own.as_slice()).map_err(failed)?.is_some().then_some(own))
    }
}

impl Accounts for Store {
    fn find(&self, name: &Principal) -> Result<Option<Account>, AccountsError> {
        let key = self.key_of(name);
        let found = self.look_up(&key).map_err(told)?;
        let counted = self.counts().of(found.as_ref().map_or(NOBODY, |(own, _)| own.as_slice()));
        Ok(found.map(|(_, record)| Account { failures: counted, ..record.account }))
    }

    fn record_failure(&self, name: &Principal, now: Timestamp) -> Result<(), AccountsError> {
        let own = self.existing(name).map_err(told)?;
        self.counts().count(own, now);
        Ok(())
    }

    fn record_success(&self, name: &Principal) -> Result<(), AccountsError> {
        if let Some(own) = self.existing(name).map_err(told)? {
            self.counts().forget(&own);
        }
        Ok(())
    }
}

fn told(error: StoreError) -> AccountsError {
    AccountsError(error.into())
}

/// New random keys of every etype, of this version.
#[must_use]
pub fn random_keys(kvno: u32, rng: &mut dyn CryptoRng) -> Vec<AccountKey> {
    KEY_ETYPES.map(|etype| AccountKey { kvno, key: Key::generate(etype, rng), salt: None }).into()
}

/// A record like that of a user with keys from a password.
fn sealed_nobody(seals: &Seals, realm: &str, rng: &mut dyn CryptoRng) -> Result<Vec<u8>, StoreError> {
    let name = AccountName::ticket_granting(realm);
    let mut record = Record::new(&name, realm, AccountKind::User, random_keys(1, rng), Timestamp::default());
    for key in &mut record.account.keys {
        key.salt = Some(crate::accounts::default_salt(&record.account.principal));
    }
    Ok(seals.seal(About::Account(NOBODY), &record.to_bytes().map_err(unwritable)?, rng))
}
