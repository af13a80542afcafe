//! Settings before they mean anything: each with where it was said, and the layers over one another.

use super::fault::Shown;
use super::keys::Section;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where something was said. The order is that of the file, then variables, then flags.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    /// Nowhere: it is a default.
    Default,
    /// The file as a whole.
    File(Arc<str>),
    /// A line and column of the file, both from 1; columns count characters.
    Place { file: Arc<str>, line: usize, column: usize },
    /// A variable of the environment.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
}

impl Origin {
    pub(super) fn is_flag(&self) -> bool {
        matches!(self, Self::Flag(_))
    }

    /// The place, the key, and what stands there, in the form that it has there.
    pub(super) fn setting(&self, key: &str, shown: &Shown) -> String {
        match (self, shown) {
            (Self::Variable(name), Shown::Value(value)) => format!("{name}={value}"),
            (Self::Flag(name), Shown::Value(value)) => format!("{name} {value}"),
            (Self::Variable(_) | Self::Flag(_), Shown::Nothing) => self.to_string(),
            (Self::Default, _) => key.to_owned(),
            (_, Shown::Value(value)) => format!("{self} {key} = {value}"),
            (_, Shown::Nothing) => format!("{self} {key}"),
        }
    }

    fn is_of_another_layer_than(&self, other: &Self) -> bool {
        std::mem::discriminant(self) != std::mem::discriminant(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File(file) => f.write_str(file),
            Self::Place { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value, and where it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value as it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Entry>),
    /// From a variable or flag, which have no types: text, a number, true or false, or several with commas between.
    Word(String),
    /// What no key may have, in words.
    Other(String),
}

impl Value {
    pub(super) fn shown(&self) -> Shown {
        Shown::Value(match self {
            Self::Text(text) | Self::Word(text) => quoted(text),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(boolean) => boolean.to_string(),
            Self::List(list) => format!("a list of {}", list.len()),
            Self::Other(words) => words.clone(),
        })
    }
}

/// Longest text that a fault repeats, in characters.
const MAX_SHOWN: usize = 100;

fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}

/// One table of the file with what variables and flags put over it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) section: Section,
    /// What faults call it: `[limits]`, `[[listener]] "web"`.
    pub(super) label: String,
    /// Where it begins.
    pub(super) origin: Origin,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Table {
    pub(super) fn new(section: Section, origin: Origin) -> Self {
        Self { section, label: section.label().to_owned(), origin, entries: BTreeMap::new() }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the key was said, or else where its table begins.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.entries.get(key).map_or(&self.origin, |entry| &entry.origin).clone()
    }

    /// Puts `entry` over what lower layers say, and with it puts out what they say of its alternatives.
    pub(super) fn put_over(&mut self, key: &str, entry: Entry) {
        for other in self.section.displaced_by(key) {
            let lower = |old: &Entry| old.origin.is_of_another_layer_than(&entry.origin);
            if self.entries.get(*other).is_some_and(lower) {
                self.entries.remove(*other);
            }
        }
        self.entries.insert(key.to_owned(), entry);
    }
}

/// Everything that was said.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) top: Table,
    /// The tables that there is one of each.
    pub(super) sections: BTreeMap<Section, Table>,
    /// At least one.
    pub(super) listeners: Vec<Table>,
    /// The file's name, if there is a file.
    pub(super) file: Option<Arc<str>>,
}

impl Settings {
    /// Nothing was said: one listener, and every default.
    pub(super) fn empty() -> Self {
        let of = |section| Table::new(section, Origin::Default);
        Self {
            top: of(Section::Top),
            sections: Section::SINGLE.into_iter().map(|section| (section, of(section))).collect(),
            listeners: vec![of(Section::Listener)],
            file: None,
        }
    }

    /// The table of a section that there is one of.
    pub(super) fn section_mut(&mut self, section: Section) -> &mut Table {
        match section {
            Section::Top | Section::Listener => &mut self.top,
            _ => self.sections.entry(section).or_insert_with(|| Table::new(section, Origin::Default)),
        }
    }
}
