//! Takes the keys of a table, each in its form, and notes every fault instead of ending at the first.

use super::fault::{Fault, Hint, Problem, Shown, nearest};
use super::forms::{Said, Wrong};
use super::keys::SECTIONS;
use super::settings::{Entry, Table, Value};
use std::borrow::Cow;

/// Longest list that a key may have.
const MAX_LIST: usize = 1_024;

pub(super) struct Reader<'a> {
    table: &'a Table,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Begins with the keys that there are not.
    pub(super) fn new(table: &'a Table, faults: &'a mut Vec<Fault>) -> Self {
        let known = table.section.keys();
        for (key, entry) in table.entries.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let key: String = key.chars().take(80).collect();
            let problem = Problem::UnknownKey { hint: hint(table, &key), table: table.label.clone(), key };
            faults.push(Fault::new(entry.origin.clone(), problem));
        }
        Self { table, faults }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.has(key)
    }

    /// Whether `key` is set to a list with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        match self.table.entries.get(key).map(|entry| &entry.value) {
            Some(Value::List(list)) => list.is_empty(),
            Some(Value::Word(word)) => word.split(',').all(|word| word.trim().is_empty()),
            _ => false,
        }
    }

    /// Whether a flag sets `key`.
    pub(super) fn is_by_flag(&self, key: &str) -> bool {
        self.table.origin_of(key).is_flag()
    }

    /// The value of `key` in the form that `read` reads; nothing if it is not set or wrong.
    pub(super) fn one<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Said<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let entry = self.table.entries.get(key)?;
        self.read(key, entry, &read)
    }

    /// The same for a list, each element in the form that `read` reads; empty if it is not set.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Said<'_>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some(entry) = self.table.entries.get(key) else { return Vec::new() };
        match &entry.value {
            Value::List(list) if list.len() <= MAX_LIST => {
                list.iter().filter_map(|element| self.read(key, element, &read)).collect()
            }
            Value::Word(words) => {
                let of =
                    |word: &str| Entry { value: Value::Word(word.to_owned()), origin: entry.origin.clone() };
                let words = words.split(',').map(str::trim).filter(|word| !word.is_empty()).take(MAX_LIST);
                words.filter_map(|word| self.read(key, &of(word), &read)).collect()
            }
            other => {
                let may = format!("a list in brackets of at most {MAX_LIST}").into();
                let problem = Problem::Value { key: key.to_owned(), shown: other.shown(), may };
                self.faults.push(Fault::new(entry.origin.clone(), problem));
                Vec::new()
            }
        }
    }

    /// A list, or a single value that stands for a list of one.
    pub(super) fn one_or_list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Said<'_>) -> Result<T, Wrong>,
    ) -> Vec<T> {
        match self.table.entries.get(key).map(|entry| &entry.value) {
            Some(Value::List(_) | Value::Word(_)) | None => self.list(key, read),
            Some(_) => self.one(key, read).into_iter().collect(),
        }
    }

    /// Refuses `key` where it is set: `have` says what takes its meaning away.
    pub(super) fn meaningless(&mut self, key: &'static str, have: impl Into<Cow<'static, str>>) {
        if self.has(key) {
            let fix = format!("take {key} away, or change the other");
            self.contradiction(key, have, fix);
        }
    }

    /// Refuses what stands at `key`, or that nothing does.
    pub(super) fn contradiction(
        &mut self,
        key: &'static str,
        have: impl Into<Cow<'static, str>>,
        fix: impl Into<Cow<'static, str>>,
    ) {
        let shown = self.table.entries.get(key).map_or(Shown::Nothing, |entry| entry.value.shown());
        let problem =
            Problem::Contradiction { key: key.to_owned(), shown, have: have.into(), fix: fix.into() };
        self.faults.push(Fault::new(self.table.origin_of(key), problem));
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        entry: &Entry,
        read: &impl Fn(&Said<'_>) -> Result<T, Wrong>,
    ) -> Option<T> {
        let label = entry.origin.setting(key, &Shown::Nothing);
        let key = key.to_owned();
        let problem = match read(&Said { value: &entry.value, label: &label }) {
            Ok(value) => return Some(value),
            Err(Wrong::Form(may)) => Problem::Value { key, shown: entry.value.shown(), may },
            Err(Wrong::Unshown(may)) => Problem::Value { key, shown: Shown::Nothing, may },
            Err(Wrong::Refused(refusal)) => Problem::Refused { key, refusal },
        };
        self.faults.push(Fault::new(entry.origin.clone(), problem));
        None
    }
}

fn hint(table: &Table, key: &str) -> Hint {
    let known = table.section.keys();
    let elsewhere = SECTIONS.into_iter().find(|section| section.keys().contains(&key));
    if let Some(near) = nearest(key, known.iter().copied()) {
        Hint::Near(near.to_owned())
    } else if let Some(section) = elsewhere {
        Hint::Elsewhere(section.label())
    } else {
        Hint::Among(format!("there the keys {}", known.join(", ")))
    }
}
