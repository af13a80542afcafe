//! Wrong passwords, counted in memory.

use super::StoreError;
use super::tables::{ACCOUNTS, FAILURES, failed};
use crate::accounts::Failures;
use countersign_proto::time::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use std::collections::{BTreeMap, BTreeSet};

/// The failures of every account that has some, by the key of its name: never more of them than there are accounts.
#[derive(Default)]
pub(super) struct FailureCounts {
    counts: BTreeMap<Vec<u8>, Failures>,
    /// Whose counts the disk does not have yet.
    unsaved: BTreeSet<Vec<u8>>,
    /// What is counted where there is no account, so that it takes the same time.
    nobody: Failures,
}

/// Counts to be written; none where they were forgotten.
pub(super) struct Unsaved(Vec<(Vec<u8>, Option<Failures>)>);

impl FailureCounts {
    pub(super) fn read(read: &ReadTransaction) -> Result<Self, StoreError> {
        let table = read.open_table(FAILURES).map_err(failed)?;
        let mut counts = BTreeMap::new();
        for entry in table.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            let (count, last) = value.value();
            let last = Some(Timestamp::default().shifted(last));
            counts.insert(key.value().to_vec(), Failures { count, last });
        }
        Ok(Self { counts, ..Self::default() })
    }

    pub(super) fn of(&self, key: &[u8]) -> Failures {
        self.counts.get(key).copied().unwrap_or_default()
    }

    /// One failure more of the account with this key, or of nobody.
    pub(super) fn count(&mut self, key: Option<Vec<u8>>, now: Timestamp) {
        let failures = match key {
            Some(key) => {
                self.unsaved.insert(key.clone());
                self.counts.entry(key).or_default()
            }
            None => &mut self.nobody,
        };
        failures.count = failures.count.saturating_add(1);
        failures.last = Some(now);
    }

    pub(super) fn forget(&mut self, key: &[u8]) {
        if self.counts.remove(key).is_some() {
            self.unsaved.insert(key.to_vec());
        }
    }

    pub(super) fn take_unsaved(&mut self) -> Option<Unsaved> {
        let keys = std::mem::take(&mut self.unsaved);
        let unsaved: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let failures = self.counts.get(&key).copied();
                (key, failures)
            })
            .collect();
        (!unsaved.is_empty()).then_some(Unsaved(unsaved))
    }

    pub(super) fn put_back(&mut self, unsaved: Unsaved) {
        self.unsaved.extend(unsaved.0.into_iter().map(|(key, _)| key));
    }
}

impl Unsaved {
    pub(super) fn write(&self, changes: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = changes.open_table(FAILURES).map_err(failed)?;
        let accounts = changes.open_table(ACCOUNTS).map_err(failed)?;
        for (key, failures) in &self.0 {
            // The account may have been removed since.
            let exists = accounts.get(key.as_slice()).map_err(failed)?.is_some();
            match failures.filter(|_| exists) {
                Some(Failures { count, last }) => {
                    let last = last.map(Timestamp::total_micros).unwrap_or_default();
                    table.insert(key.as_slice(), (count, last)).map_err(failed)?;
                }
                None => {
                    table.remove(key.as_slice()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}
