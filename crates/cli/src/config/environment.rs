//! Variables of the environment that override the file: `COUNTERSIGN_LIMITS_HANDSHAKES`, `COUNTERSIGN_LISTENER_WEB_KEYTAB`.

use super::fault::{Fault, Hint, Problem, Shown, nearest};
use super::keys::{SECTIONS, Section};
use super::settings::{Entry, Origin, Settings, Table, Value};
use std::ffi::{OsStr, OsString};

/// What every variable begins with.
const PREFIX: &str = "COUNTERSIGN_";

/// Longest value that is taken, in bytes.
const MAX_VALUE: usize = 64 << 10;

/// Puts the variables that begin with `COUNTERSIGN_` over what the file says. One that names no setting is a fault: it would
/// be thought to have an effect.
pub(super) fn apply(settings: &mut Settings, variables: &[(OsString, OsString)], faults: &mut Vec<Fault>) {
    for (name, value) in variables {
        let name = name.to_string_lossy();
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| !is_of_kubernetes(rest)) else { continue };
        let origin = Origin::Variable(name.clone().into_owned());
        let Some((table, key)) = setting(settings, rest) else {
            faults.push(Fault::new(origin, Problem::UnknownVariable { hint: hint(settings, &name) }));
            continue;
        };
        match word(value) {
            Some(value) => table.put_over(key, Entry { value, origin }),
            None => {
                let may = format!("UTF-8 of at most {MAX_VALUE} bytes").into();
                faults.push(Fault::new(
                    origin,
                    Problem::Value { key: key.to_owned(), shown: Shown::Nothing, may },
                ));
            }
        }
    }
}

/// Kubernetes tells every container of a namespace where a service called `countersign` is. No setting is called so.
fn is_of_kubernetes(rest: &str) -> bool {
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_")
}

fn word(value: &OsStr) -> Option<Value> {
    let text = value.to_str().filter(|text| text.len() <= MAX_VALUE)?;
    Some(Value::Word(text.to_owned()))
}

/// The table and the key that the rest of a variable's name stands for.
fn setting<'s>(settings: &'s mut Settings, rest: &str) -> Option<(&'s mut Table, &'static str)> {
    if let Some(rest) = rest.strip_prefix("LISTENER_") {
        let found = settings.listeners.iter().enumerate().find_map(|(index, listener)| {
            let key = rest.strip_prefix(&variable_part(name_of(listener)))?.strip_prefix('_')?;
            Some((index, key_of(Section::Listener, key).filter(|key| *key != "name")?))
        });
        let (index, key) = found?;
        return Some((settings.listeners.get_mut(index)?, key));
    }
    for section in Section::SINGLE {
        let key = rest.strip_prefix(&section.name().to_uppercase()).and_then(|rest| rest.strip_prefix('_'));
        if let Some(key) = key.and_then(|key| key_of(section, key)) {
            return Some((settings.section_mut(section), key));
        }
    }
    Some((&mut settings.top, key_of(Section::Top, rest)?))
}

fn key_of(section: Section, part: &str) -> Option<&'static str> {
    section.keys().iter().find(|key| key.to_uppercase() == part).copied()
}

/// What a listener is called, as far as that is known yet.
pub(super) fn name_of(listener: &Table) -> &str {
    match listener.entries.get("name").map(|entry| &entry.value) {
        Some(Value::Text(name)) => name,
        _ => super::listener::DEFAULT_NAME,
    }
}

/// A listener's name as variables have it: upper case, and `_` for what cannot be in one.
pub(super) fn variable_part(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(fit).collect()
}

fn hint(settings: &Settings, name: &str) -> Hint {
    let known = names(settings);
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => Hint::Near(near.to_owned()),
        None => {
            let listeners: Vec<_> =
                settings.listeners.iter().map(|listener| variable_part(name_of(listener))).collect();
            let sections: Vec<_> =
                Section::SINGLE.into_iter().map(|section| section.name().to_uppercase()).collect();
            let (sections, listeners) = (sections.join(", "), listeners.join(", "));
            Hint::Among(format!("the sections {sections} and the listeners {listeners}"))
        }
    }
}

/// Every variable that has a meaning with these settings.
fn names(settings: &Settings) -> Vec<String> {
    let of = |middle: &str, section: Section| {
        let middle = middle.to_owned();
        section.keys().iter().map(move |key| format!("{PREFIX}{middle}{}", key.to_uppercase()))
    };
    let mut names = Vec::new();
    for section in SECTIONS.into_iter().filter(|section| *section != Section::Listener) {
        let middle = if section == Section::Top {
            String::new()
        } else {
            format!("{}_", section.name().to_uppercase())
        };
        names.extend(of(&middle, section));
    }
    for listener in &settings.listeners {
        let middle = format!("LISTENER_{}_", variable_part(name_of(listener)));
        names.extend(of(&middle, Section::Listener).filter(|name| !name.ends_with("_NAME")));
    }
    names
}
