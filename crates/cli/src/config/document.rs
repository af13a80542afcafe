//! The file: from TOML to settings with their places.

use super::fault::{Fault, Hint, Problem, Shown, nearest};
use super::keys::Section;
use super::settings::{Entry, Origin, Settings, Table, Value};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// How many listeners a file may have.
const MAX_LISTENERS: usize = 256;

/// How many errors of syntax are told of one file: one often makes others.
const MAX_SYNTAX_FAULTS: usize = 10;

/// What the file at `path` says. Where it is no TOML, no more than that is told.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Settings {
    let name: Arc<str> = path.display().to_string().into();
    match contents(path) {
        Ok(text) => parse(&text, name, faults),
        Err(error) => {
            let problem = Problem::Unreadable { error: error.to_string() };
            faults.push(Fault::new(Origin::File(name), problem));
            Settings::empty()
        }
    }
}

fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    file.take(MAX_FILE.saturating_add(1)).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("more than the {MAX_FILE} bytes that there is room for")));
    }
    Ok(text)
}

/// What `text` says, which is called `name`.
pub(super) fn parse(text: &str, name: Arc<str>, faults: &mut Vec<Fault>) -> Settings {
    let mut document = Document { text, name: name.clone(), faults, settings: Settings::empty() };
    document.settings.file = Some(name.clone());
    document.settings.top.origin = Origin::File(name);
    let (parsed, errors) = DeTable::parse_recoverable(text.strip_prefix('\u{feff}').unwrap_or(text));
    if errors.is_empty() {
        document.top(parsed.get_ref());
    }
    for error in errors.iter().take(MAX_SYNTAX_FAULTS) {
        let at = document.place(error.span().map_or(0, |span| span.start));
        document.fault(at, Problem::Syntax { message: error.message().escape_debug().to_string() });
    }
    document.settings
}

struct Document<'a> {
    text: &'a str,
    name: Arc<str>,
    faults: &'a mut Vec<Fault>,
    settings: Settings,
}

impl Document<'_> {
    fn top(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let section = Section::SINGLE.into_iter().find(|section| section.name() == name);
            match (section, value.get_ref()) {
                _ if name == Section::Listener.name() => self.listeners(at, value.get_ref()),
                (Some(section), DeValue::Table(inner)) => {
                    let filled = self.table(section, at, inner);
                    *self.settings.section_mut(section) = filled;
                }
                (Some(section), other) => self.no_table(at, section, other),
                (None, DeValue::Table(_) | DeValue::Array(_)) if !Section::Top.keys().contains(&name) => {
                    self.unknown_section(at, name);
                }
                (None, _) => {
                    let entry = self.entry(at, value.get_ref());
                    self.settings.top.entries.insert(name.to_owned(), entry);
                }
            }
        }
    }

    fn listeners(&mut self, at: usize, value: &DeValue<'_>) {
        let DeValue::Array(array) = value else { return self.no_table(at, Section::Listener, value) };
        if array.len() > MAX_LISTENERS {
            let at = self.place(at);
            let shown = Shown::Value(format!("a list of {}", array.len()));
            let may = format!("at most {MAX_LISTENERS} listeners").into();
            return self.fault(at, Problem::Value { key: "listener".to_owned(), shown, may });
        }
        let mut listeners = Vec::new();
        for item in array {
            let at = item.span().start;
            match item.get_ref() {
                DeValue::Table(inner) => listeners.push(self.table(Section::Listener, at, inner)),
                other => self.no_table(at, Section::Listener, other),
            }
        }
        if !listeners.is_empty() {
            self.settings.listeners = listeners;
        }
    }

    fn table(&self, section: Section, at: usize, inner: &DeTable<'_>) -> Table {
        let mut table = Table::new(section, self.place(at));
        if let Some(DeValue::String(name)) = inner.get("name").map(toml::Spanned::get_ref) {
            table.label = format!("{} {:?}", section.label(), name.chars().take(80).collect::<String>());
        }
        for (key, value) in inner {
            let entry = self.entry(key.span().start, value.get_ref());
            table.entries.insert(key.get_ref().clone().into_owned(), entry);
        }
        table
    }

    fn entry(&self, at: usize, value: &DeValue<'_>) -> Entry {
        let value = match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Boolean(boolean) => Value::Boolean(*boolean),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("a number that is too large".to_owned()),
            },
            DeValue::Array(array) => {
                let entries = array.iter().map(|item| self.entry(item.span().start, item.get_ref()));
                Value::List(entries.collect())
            }
            DeValue::Table(_) => Value::Other("a table".to_owned()),
            DeValue::Float(float) => Value::Other(float.as_str().to_owned()),
            DeValue::Datetime(datetime) => Value::Other(datetime.to_string()),
        };
        Entry { value, origin: self.place(at) }
    }

    fn no_table(&mut self, at: usize, section: Section, value: &DeValue<'_>) {
        let entry = self.entry(at, value);
        let may = format!("a table: a line {}, and its keys below", section.label()).into();
        let problem = Problem::Value { key: section.name().to_owned(), shown: entry.value.shown(), may };
        self.fault(entry.origin, problem);
    }

    fn unknown_section(&mut self, at: usize, name: &str) {
        let sections = Section::SINGLE.into_iter().chain([Section::Listener]);
        let hint = match nearest(name, sections.clone().map(Section::name)) {
            Some(near) => Hint::Near(near.to_owned()),
            None => {
                let labels: Vec<_> = sections.map(Section::label).collect();
                Hint::Among(format!("the tables {}", labels.join(", ")))
            }
        };
        let key: String = name.chars().take(80).collect();
        let at = self.place(at);
        self.fault(at, Problem::UnknownKey { key, table: "the file".to_owned(), hint });
    }

    fn fault(&mut self, at: Origin, problem: Problem) {
        self.faults.push(Fault::new(at, problem));
    }

    /// Line and column of the byte at `offset`.
    fn place(&self, offset: usize) -> Origin {
        let offset = if self.text.starts_with('\u{feff}') { offset.saturating_add(3) } else { offset };
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count().saturating_add(1);
        let in_line = before.rsplit('\n').next().unwrap_or_default();
        let column = in_line.chars().filter(|c| *c != '\u{feff}').count().saturating_add(1);
        Origin::Place { file: self.name.clone(), line, column }
    }
}
