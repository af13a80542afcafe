//! The tables of the database, and what one transaction does with them.

use super::name::AccountName;
use super::record::Record;
use super::seal::{About, Seals};
use super::{FORMAT, StoreError};
use countersign_proto::secret::Secret;
use rand_core::CryptoRng;
use redb::{Database, Durability, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use std::fs::File;

type Bytes = &'static [u8];
/// Sealed records by the account's name.
pub(super) const ACCOUNTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("accounts");
/// From another name to the account's. Not sealed: the record has its aliases too, and they are compared.
pub(super) const ALIASES: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("aliases");
/// Number and time of wrong passwords by the account's name.
pub(super) const FAILURES: TableDefinition<'static, Bytes, (u32, i64)> = TableDefinition::new("failures");
/// What there is of the realm itself.
pub(super) const REALM: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("realm");

/// Entries of [`REALM`]: the format in four bytes; the others sealed.
pub(super) const ENTRY_FORMAT: &str = "format";
pub(super) const ENTRY_CHECK: &str = "check";
pub(super) const ENTRY_POLICY: &str = "policy";
pub(super) const ENTRY_SECRET: &str = "secret";

/// What of the file is kept in memory, in bytes, at most.
const CACHE: usize = 16 << 20;

pub(super) fn database(file: File) -> Result<Database, StoreError> {
    Database::builder().set_cache_size(CACHE).create_file(file).map_err(failed)
}

/// Does `work` in one transaction, which is on the disk when this returns.
pub(super) fn write<T, E: From<StoreError>>(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<T, E>,
) -> Result<T, E> {
    let mut changes = database.begin_write().map_err(failed)?;
    changes.set_durability(Durability::Immediate).map_err(failed)?;
    // The next opening after a crash need not walk the whole file, and no checksum alone decides which state is whole.
    changes.set_quick_repair(true);
    let done = work(&changes)?;
    changes.commit().map_err(failed)?;
    Ok(done)
}

pub(super) fn put(
    changes: &WriteTransaction,
    seals: &Seals,
    name: &AccountName,
    record: &Record,
    rng: &mut dyn CryptoRng,
) -> Result<(), StoreError> {
    let key = name.key();
    let bytes = record.to_bytes().map_err(unwritable)?;
    let sealed = seals.seal(About::Account(&key), &bytes, rng);
    let mut accounts = changes.open_table(ACCOUNTS).map_err(failed)?;
    accounts.insert(key.as_slice(), sealed.as_slice()).map_err(failed)?;
    Ok(())
}

pub(super) fn is_taken(changes: &WriteTransaction, name: &AccountName) -> Result<bool, StoreError> {
    let key = name.key();
    let accounts = changes.open_table(ACCOUNTS).map_err(failed)?;
    let aliases = changes.open_table(ALIASES).map_err(failed)?;
    let is_account = accounts.get(key.as_slice()).map_err(failed)?.is_some();
    let is_alias = aliases.get(key.as_slice()).map_err(failed)?.is_some();
    Ok(is_account || is_alias)
}

pub(super) fn link(
    changes: &WriteTransaction,
    name: &AccountName,
    aliases: &[AccountName],
) -> Result<(), StoreError> {
    for alias in aliases {
        if is_taken(changes, alias)? {
            return Err(StoreError::Exists(alias.clone()));
        }
        let mut table = changes.open_table(ALIASES).map_err(failed)?;
        table.insert(alias.key().as_slice(), name.key().as_slice()).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn unlink(changes: &WriteTransaction, aliases: &[AccountName]) -> Result<(), StoreError> {
    let mut table = changes.open_table(ALIASES).map_err(failed)?;
    for alias in aliases {
        table.remove(alias.key().as_slice()).map_err(failed)?;
    }
    Ok(())
}

/// The key that an alias leads to, or the same key.
pub(super) fn own_key(read: &ReadTransaction, key: &[u8]) -> Result<Vec<u8>, StoreError> {
    let aliases = read.open_table(ALIASES).map_err(failed)?;
    let target = aliases.get(key).map_err(failed)?;
    Ok(target.map_or_else(|| key.to_vec(), |target| target.value().to_vec()))
}

/// An entry of the realm itself, or nothing if it does not open.
pub(super) fn entry(read: &ReadTransaction, seals: &Seals, name: &str) -> Result<Option<Secret>, StoreError> {
    let entries = read.open_table(REALM).map_err(failed)?;
    let sealed = entries.get(name).map_err(failed)?;
    Ok(sealed.and_then(|sealed| seals.open(About::Realm(name), sealed.value())))
}

pub(super) fn check_format(read: &ReadTransaction) -> Result<(), StoreError> {
    let entries = match read.open_table(REALM) {
        Ok(entries) => entries,
        Err(redb::TableError::TableDoesNotExist(_)) => return Err(StoreError::NoRealm),
        Err(error) => return Err(failed(error)),
    };
    let format = entries.get(ENTRY_FORMAT).map_err(failed)?.ok_or(StoreError::NoRealm)?;
    let format = <[u8; 4]>::try_from(format.value()).map(u32::from_be_bytes);
    match format {
        Ok(FORMAT) => Ok(()),
        Ok(found) if found > FORMAT => Err(StoreError::TooNew { found }),
        _ => Err(StoreError::Damaged("a format that never was".to_owned())),
    }
}

pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::Database("another process has it open".to_owned()),
        redb::Error::Corrupted(what) => StoreError::Damaged(what),
        other => StoreError::Database(other.to_string()),
    }
}

pub(super) fn unwritable(error: serde_json::Error) -> StoreError {
    StoreError::Damaged(format!("something that has no form in JSON ({error})"))
}
