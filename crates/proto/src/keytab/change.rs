//! Changes to a keytab where it lies.

use super::read::{Record, Records};
use super::write::record_bytes;
use super::{KeytabEntry, KeytabError};
use crate::krb5::msg::principal::Principal;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::ops::Range;

/// What is to be done to the bytes of a keytab file so that it holds more or fewer entries. Nothing is moved, so a program
/// that waits for its turn to write to the same file loses nothing.
pub struct Change {
    /// How long the file is before anything is appended, in bytes; what follows there belongs to no entry.
    pub end: usize,
    /// Records to append. As long as the first 4 bytes, the length of the first record, are zeros, readers see none of them.
    pub append: Secret,
    /// Records to turn into holes: in the first 4 bytes the length of the rest as a negative number, the rest zeros.
    pub holes: Vec<Range<usize>>,
    /// The entries that are in those records.
    pub removed: Vec<KeytabEntry>,
    /// How many entries are appended.
    pub added: usize,
    /// How many of the entries to be added the file holds already, key and all; they are not appended again.
    pub held: usize,
    /// Of the entries to be added, those with another key that a later one took the place of.
    pub passed_over: Vec<KeytabEntry>,
}

/// Which entries are meant.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Entries of this principal.
    pub principal: Principal,
    /// Of this kvno only.
    pub kvno: Option<u32>,
    /// Of this etype only.
    pub etype: Option<i32>,
    /// All but those of the newest kvno that the principal has in the keytab.
    pub old: bool,
}

impl Change {
    /// Adds `entries` to the keytab `file`. One of the same principal, kvno and etype is replaced, and of two such in
    /// `entries` the later one counts.
    ///
    /// # Errors
    /// If `file` is no keytab, or an entry does not fit the format.
    pub fn adding(file: &[u8], entries: &[KeytabEntry]) -> Result<Self, KeytabError> {
        let Records { records, end } = Records::parse(file)?;
        let mut present: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
        records.iter().for_each(|record| present.entry(use_of(&record.entry)).or_default().push(record));
        let latest: BTreeMap<_, usize> =
            entries.iter().enumerate().map(|(index, entry)| (use_of(entry), index)).collect();
        let (mut holes, mut removed, mut appended) = (Vec::new(), Vec::new(), Vec::new());
        let (mut passed_over, mut held) = (Vec::new(), 0_usize);
        for (index, entry) in entries.iter().enumerate() {
            let key = use_of(entry);
            let counts = latest.get(&key).copied().unwrap_or(index);
            if counts != index {
                let later = entries.get(counts).unwrap_or(entry);
                if !later.key.ct_eq(entry.key.expose()) {
                    passed_over.push(entry.clone());
                }
                continue;
            }
            let (same, others): (Vec<&Record>, Vec<&Record>) = present
                .remove(&key)
                .unwrap_or_default()
                .into_iter()
                .partition(|record| record.entry.key.ct_eq(entry.key.expose()));
            for record in others {
                holes.push(record.place.clone());
                removed.push(record.entry.clone());
            }
            if same.is_empty() {
                appended.push(entry.clone());
            } else {
                held = held.saturating_add(1);
            }
        }
        let append = record_bytes(&appended)?;
        Ok(Self { end, append, holes, removed, added: appended.len(), held, passed_over })
    }

    /// Removes the entries that `selection` means from the keytab `file`.
    ///
    /// # Errors
    /// If `file` is no keytab.
    pub fn removing(file: &[u8], selection: &Selection) -> Result<Self, KeytabError> {
        let Records { records, end } = Records::parse(file)?;
        let of_principal = || records.iter().filter(|record| record.entry.principal == selection.principal);
        let newest = of_principal().map(|record| &record.entry).reduce(newer).map(|entry| entry.kvno);
        let (mut holes, mut removed) = (Vec::new(), Vec::new());
        for record in of_principal() {
            let entry = &record.entry;
            if selection.kvno.is_none_or(|kvno| kvno == entry.kvno)
                && selection.etype.is_none_or(|etype| etype == entry.etype)
                && !(selection.old && newest == Some(entry.kvno))
            {
                holes.push(record.place.clone());
                removed.push(entry.clone());
            }
        }
        let (append, passed_over) = (Secret::default(), Vec::new());
        Ok(Self { end, append, holes, removed, added: 0, held: 0, passed_over })
    }
}

/// Two entries with the same one are for the same use: realm, components, kvno and etype.
fn use_of(entry: &KeytabEntry) -> (&[u8], &[Vec<u8>], u32, i32) {
    (&entry.principal.realm, &entry.principal.components, entry.kvno, entry.etype)
}

/// The newer one of two entries: that of the higher kvno, but where a number past 240 and one below 128 meet, the later
/// written counts, because an old 8-bit kvno may have begun anew (MIT decides the same way).
fn newer<'a>(a: &'a KeytabEntry, b: &'a KeytabEntry) -> &'a KeytabEntry {
    let began_anew = |new: &KeytabEntry, old: &KeytabEntry| {
        new.kvno < 128 && old.kvno > 240 && new.timestamp >= old.timestamp
    };
    if began_anew(a, b) || (a.kvno > b.kvno && !began_anew(b, a)) { a } else { b }
}
