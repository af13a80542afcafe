//! Relations of one section, asked for by their names and types.

use super::error::Krb5ConfError;
use super::profile::{Note, Relation, Section};
use super::tokens::PathName;
use super::values;
use std::collections::BTreeSet;
use std::time::Duration;

/// What has been noted, and of what.
pub(super) struct Notes {
    pub(super) list: Vec<Note>,
    once: BTreeSet<String>,
}

impl Notes {
    pub(super) fn new(list: Vec<Note>) -> Self {
        Self { list, once: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, relation: &Relation, text: impl Into<String>) {
        self.list.push(Note::at(&relation.place, text));
    }

    /// Notes the same text once, however often it comes.
    fn add_once(&mut self, note: Note) {
        if self.once.insert(note.text.clone()) {
            self.list.push(note);
        }
    }
}

/// A section that remembers which of its keys were asked for.
pub(super) struct Fields<'a> {
    section: &'a Section,
    asked: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(section: &'a Section) -> Self {
        Self { section, asked: BTreeSet::new() }
    }

    /// All relations of this name.
    pub(super) fn all(&mut self, key: &'static str) -> &'a [Relation] {
        self.asked.insert(key);
        self.section.values(key)
    }

    /// The relation that counts: the first of the first name that there is one of.
    pub(super) fn first(&mut self, keys: &[&'static str]) -> Option<(&'static str, &'a Relation)> {
        self.asked.extend(keys);
        keys.iter().find_map(|key| Some((*key, self.section.values(key).first()?)))
    }

    /// The value of the relation that counts, if `parse` can read it.
    pub(super) fn parsed<T>(
        &mut self,
        keys: &[&'static str],
        wants: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Krb5ConfError> {
        let Some((key, relation)) = self.first(keys) else { return Ok(None) };
        let value = &relation.value;
        parse(value).map(Some).ok_or_else(|| Krb5ConfError::value(&relation.place, key, value, wants))
    }

    pub(super) fn flag(&mut self, keys: &[&'static str]) -> Result<Option<bool>, Krb5ConfError> {
        self.parsed(keys, "true, false, yes, no, on, off, 1 or 0", values::flag)
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, Krb5ConfError> {
        let wants = "a duration of up to 2147483647 seconds: 36000, 10h, 1d2h3m, 7:30:00, 1 day 2 hours";
        self.parsed(&[key], wants, values::duration)
    }

    pub(super) fn path_name(&mut self, keys: &[&'static str]) -> Option<PathName> {
        let (_, relation) = self.first(keys)?;
        Some(PathName { text: relation.value.clone(), place: Some(relation.place.clone()) })
    }

    /// Notes the relations that were not asked for, and of which it is not known that others read them.
    pub(super) fn note_unknown(&self, context: &str, known: &[&str], pkinit: &str, notes: &mut Notes) {
        for (name, relations) in self.section.relations() {
            let is_known = self.asked.contains(name) || known.contains(&name) || name.starts_with(pkinit);
            if let Some(relation) = relations.first().filter(|_| !is_known) {
                notes.add_once(Note::at(
                    &relation.place,
                    format!("{name} in {context} is not known and has no effect"),
                ));
            }
        }
    }
}
