//! What is wrong with a configuration, and where.

use super::settings::Origin;
use countersign::proto::error::{Code, Explain, Refusal, code};
use std::borrow::Cow;
use std::fmt;

/// One fault, at the place where it was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(super) at: Origin,
    pub(super) problem: Problem,
}

/// What is wrong there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// The file cannot be read.
    Unreadable { error: String },
    /// The file is no TOML.
    Syntax { message: String },
    /// No key of that name may stand there.
    UnknownKey { key: String, table: String, hint: Hint },
    /// The origin is a variable that names no setting.
    UnknownVariable { hint: Hint },
    /// A value of the wrong type, or one that the key cannot have.
    Value { key: String, shown: Shown, may: Cow<'static, str> },
    /// Two settings that do not go together, or one without the other.
    Contradiction { key: String, shown: Shown, have: Cow<'static, str>, fix: Cow<'static, str> },
    /// A file that is not there, or is not what the key names.
    File { key: String, path: String, why: String, code: Code },
    /// What another floor said of the value.
    Refused { key: String, refusal: Refusal },
}

/// A value as faults show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// As it was written.
    Value(String),
    /// Nothing: it is absent, or may hold a secret.
    Nothing,
}

/// What was probably meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Hint {
    /// This, which differs by a letter or two.
    Near(String),
    /// It is a key of that other table.
    Elsewhere(&'static str),
    /// One of these.
    Among(String),
}

impl Fault {
    pub(super) fn new(at: Origin, problem: Problem) -> Self {
        Self { at, problem }
    }

    /// Whether nothing can be read after it.
    pub(super) fn ends_reading(&self) -> bool {
        matches!(self.problem, Problem::Unreadable { .. } | Problem::Syntax { .. })
    }

    fn hint(&self) -> Option<&Hint> {
        match &self.problem {
            Problem::UnknownKey { hint, .. } | Problem::UnknownVariable { hint } => Some(hint),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.saw(), self.have())
    }
}

impl std::error::Error for Fault {}

impl Explain for Fault {
    fn code(&self) -> Code {
        match &self.problem {
            Problem::Unreadable { .. } | Problem::Syntax { .. } => code::CONFIG_UNREADABLE,
            Problem::UnknownKey { .. } => code::CONFIG_KEY_UNKNOWN,
            Problem::UnknownVariable { .. } => code::CONFIG_VARIABLE_UNKNOWN,
            Problem::File { code, .. } => *code,
            // What a flag does wrong is told as it is for every command.
            Problem::Refused { refusal, .. } if refusal.code() != code::USAGE => refusal.code(),
            _ if self.at.is_flag() => code::USAGE,
            Problem::Value { .. } | Problem::Refused { .. } => code::CONFIG_VALUE_WRONG,
            Problem::Contradiction { .. } => code::CONFIG_CONTRADICTORY,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        match &self.problem {
            Problem::Unreadable { error } => format!("{} ({error})", self.at),
            Problem::Syntax { message } => format!("{} {message}", self.at),
            Problem::UnknownKey { key, table, .. } => format!("{} {key:?} in {table}", self.at),
            Problem::UnknownVariable { .. } => self.at.to_string(),
            Problem::Value { key, shown, .. } | Problem::Contradiction { key, shown, .. } => {
                self.at.setting(key, shown)
            }
            Problem::File { key, path, why, .. } => {
                format!("{} {path} ({why})", self.at.setting(key, &Shown::Nothing))
            }
            Problem::Refused { key, refusal } => {
                let label = self.at.setting(key, &Shown::Nothing);
                // Some floors name the flag themselves.
                if refusal.saw().contains(&label) {
                    refusal.saw().to_owned()
                } else {
                    format!("{label}: {}", refusal.saw())
                }
            }
        }
        .into()
    }

    fn have(&self) -> Cow<'static, str> {
        match (&self.problem, self.hint()) {
            (_, Some(Hint::Near(near))) => format!("{near}, which is nearest").into(),
            (_, Some(Hint::Elsewhere(table))) => format!("that key in {table}").into(),
            (_, Some(Hint::Among(known))) => known.clone().into(),
            (Problem::Value { may, .. }, _) => may.clone(),
            (Problem::Contradiction { have, .. }, _) => have.clone(),
            (Problem::Refused { refusal, .. }, _) => refusal.have().to_owned().into(),
            (Problem::Syntax { .. }, _) => "TOML 1.1".into(),
            _ => "nothing to use instead".into(),
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match (&self.problem, self.hint()) {
            (_, Some(Hint::Near(near))) => format!("did you mean {near}?").into(),
            (_, Some(Hint::Elsewhere(table))) => format!("move it to {table}").into(),
            (Problem::Contradiction { fix, .. }, _) => fix.clone(),
            (Problem::Refused { refusal, .. }, _) if refusal.code() != code::USAGE => {
                refusal.advice().to_owned().into()
            }
            _ => self.code().advice().into(),
        }
    }
}

/// The one of `known` that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Names of any length come from outside, and comparing costs the product of two lengths.
    if name.len() > 128 {
        return None;
    }
    let near = known.into_iter().map(|other| (strsim::damerau_levenshtein(name, other), other)).min()?;
    (near.0 <= 1_usize.saturating_add(name.len() / 4)).then_some(near.1)
}
