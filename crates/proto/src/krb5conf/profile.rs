//! The tree of sections and relations, whatever they mean.

use super::error::Krb5ConfError;
use super::load::{self, Loader};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Most characters of a note.
const MAX_NOTE: usize = 400;

/// What all files say together: sections of the same name are one section, wherever they stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    root: Section,
    notes: Vec<Note>,
}

/// A section or subsection.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    place: Option<Place>,
    is_final: bool,
    relations: BTreeMap<String, Vec<Relation>>,
    sections: BTreeMap<String, Section>,
}

/// `name = value`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relation {
    /// The value: without quotes and their escapes, or trimmed.
    pub value: String,
    /// Where it stands.
    pub place: Place,
    is_final: bool,
}

/// A line of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file's path, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

/// Something in a file that has no effect, or not the effect that its writer may have meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The file's path, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// What there is to say about it: a clause without a full stop, of at most 400 characters.
    pub text: String,
}

impl Profile {
    /// Reads the files at `paths` with everything that they include. Of a key that several files have, the values of the
    /// earlier file come first. A file of the list that does not exist is passed over if another does; a folder in the list
    /// stands for the files in it, as with `includedir`.
    ///
    /// # Errors
    /// If none of the files exists, one cannot be read, a line breaks the syntax, or a bound is passed
    /// ([`MAX_TOTAL_BYTES`](super::MAX_TOTAL_BYTES), [`MAX_FILES`](super::MAX_FILES),
    /// [`MAX_INCLUDE_DEPTH`](super::MAX_INCLUDE_DEPTH), [`MAX_NESTING`](super::MAX_NESTING)).
    pub fn read(paths: &[&str], loader: &mut dyn Loader) -> Result<Self, Krb5ConfError> {
        load::profile(paths, loader)
    }

    /// The section that `path` leads to, from the outermost in.
    #[must_use]
    pub fn section(&self, path: &[&str]) -> Option<&Section> {
        path.iter().try_fold(&self.root, |section, name| section.sections.get(*name))
    }

    /// The section that holds all others.
    #[must_use]
    pub fn root(&self) -> &Section {
        &self.root
    }

    /// What was passed over while reading, in the order of the files.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    pub(super) fn note(&mut self, place: &Place, text: impl Into<String>) {
        self.notes.push(Note::at(place, text));
    }

    /// The section at `path`, made where it is missing.
    pub(super) fn enter(&mut self, path: &[String], place: &Place) -> &mut Section {
        let section = path
            .iter()
            .fold(&mut self.root, |section, name| section.sections.entry(name.clone()).or_default());
        section.place.get_or_insert_with(|| place.clone());
        section
    }
}

impl Section {
    /// The relations called `name`, in the order of the files.
    #[must_use]
    pub fn values(&self, name: &str) -> &[Relation] {
        self.relations.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// All relations, by their names.
    pub fn relations(&self) -> impl Iterator<Item = (&str, &[Relation])> {
        self.relations.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// The sections in it, by their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.sections.iter().map(|(name, section)| (name.as_str(), section))
    }

    /// Where it begins first; none for the section that holds all others.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    pub(super) fn is_final(&self) -> bool {
        self.is_final
    }

    pub(super) fn make_final(&mut self) {
        self.is_final = true;
    }

    /// Adds a relation, unless one of its name is final: nothing comes after that.
    pub(super) fn add(&mut self, name: &str, value: String, is_final: bool, place: &Place) {
        let closed = self.values(name).last().is_some_and(|last| last.is_final);
        if !closed {
            let values = self.relations.entry(name.to_owned()).or_default();
            values.push(Relation { value, place: place.clone(), is_final });
        }
    }
}

impl Note {
    pub(super) fn at(place: &Place, text: impl Into<String>) -> Self {
        let mut text = text.into();
        // A name in it may be as long as a file.
        if let Some((end, _)) = text.char_indices().nth(MAX_NOTE) {
            text.truncate(end);
        }
        Self { file: place.file.as_ref().to_owned(), line: place.line, text }
    }
}

/// `file:line`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// `file:line: text`
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}
