//! Why a krb5.conf is refused.

use super::load::{LoadError, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_TOTAL_BYTES};
use super::parse::MAX_NESTING;
use super::profile::Place;
use crate::error::{Code, Explain, code};
use std::borrow::Cow;

/// Most characters of what stands in a file that an error or note shows.
const SHOWN: usize = 100;

/// The beginning of a text, which may be as long as a file.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// A configuration that cannot be used. Each names the file and, where there is one, the line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Krb5ConfError {
    /// Of the files that were named, not one exists.
    #[error("no file at {}", paths.join(" or "))]
    Absent {
        /// The files.
        paths: Vec<String>,
    },
    /// A file or folder cannot be read, or an included one does not exist.
    #[error("{path}{} ({fault})", included(included_at.as_ref()))]
    Unreadable {
        /// The file or folder.
        path: String,
        /// The line that includes it; none for a file that the caller named.
        included_at: Option<Place>,
        /// Why not.
        fault: LoadError,
    },
    /// A line that is not of the syntax.
    #[error("{place}: {fault}")]
    Syntax {
        /// The line.
        place: Place,
        /// What is wrong with it.
        fault: SyntaxFault,
    },
    /// The syntax is right, and the value is none that its key can have.
    #[error("{place}: {key} = {value:?}")]
    Value {
        /// The line.
        place: Place,
        /// The key.
        key: String,
        /// Its value, cut after 100 characters.
        value: String,
        /// What it could be.
        wants: Cow<'static, str>,
    },
    /// A `%{token}` in the name of a file that stands for nothing, or has no end.
    #[error("{}{text:?} with %{{{token}", place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default())]
    Token {
        /// The line, if the text is of a file.
        place: Option<Place>,
        /// The text that it stands in, cut after 100 characters.
        text: String,
        /// What follows the `%{`, up to the brace that closes it if there is one, cut in the same way.
        token: String,
    },
}

fn included(at: Option<&Place>) -> String {
    at.map(|place| format!(", which {place} includes")).unwrap_or_default()
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SyntaxFault {
    /// `[name` without the bracket that closes it.
    #[error("a section's name without a closing ]")]
    SectionUnclosed,
    /// Text after `[name]`; a comment counts too.
    #[error("text after the ] of a section's name")]
    TextAfterSection,
    /// `[name]` where a subsection is still open.
    #[error("a section begins before the subsection {0} has ended")]
    SectionInSubsection(String),
    /// `}` where no subsection is open.
    #[error("a }} that closes nothing")]
    BraceUnopened,
    /// A line that is no comment, section, brace or relation.
    #[error("a line without =")]
    NoEquals,
    /// A relation that begins with its equals sign.
    #[error("a value without a name before the =")]
    NoName,
    /// A name of several words.
    #[error("the name {0:?}, which has a space in it")]
    SpaceInName(String),
    /// `name =` with nothing after it begins a subsection, whose brace is not on the next line.
    #[error("no value after {0} =, and no {{ on the next line")]
    BraceMissing(String),
    /// Subsections within subsections, more than [`MAX_NESTING`].
    #[error("subsections nested too deeply")]
    Nesting,
    /// `module`: a plugin would give the configuration.
    #[error("a module line: the configuration would come from a plugin")]
    Module,
    /// Bytes that are not UTF-8, outside a comment.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// A byte of value 0.
    #[error("a byte 00")]
    Nul,
    /// `include` or `includedir` of a path that does not begin with a slash.
    #[error("an include of {0:?}, which is not an absolute path")]
    IncludeRelative(String),
    /// Files that include files, more than [`MAX_INCLUDE_DEPTH`] deep: a circle, as a rule.
    #[error("includes nested too deeply")]
    IncludeDepth,
    /// More than [`MAX_FILES`] files in all.
    #[error("too many included files")]
    TooManyFiles,
}

impl Krb5ConfError {
    /// A value that is none of its key's, as it is shown.
    pub(super) fn value(place: &Place, key: &str, value: &str, wants: impl Into<Cow<'static, str>>) -> Self {
        Self::Value {
            place: place.clone(),
            key: key.to_owned(),
            value: beginning(value),
            wants: wants.into(),
        }
    }
}

impl Explain for Krb5ConfError {
    fn code(&self) -> Code {
        match self {
            Self::Absent { .. } | Self::Unreadable { .. } => code::KRB5_CONF_UNREADABLE,
            Self::Syntax { .. } | Self::Value { .. } | Self::Token { .. } => code::KRB5_CONF_MALFORMED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        format!("Kerberos configuration {self}").into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Absent { .. } => "nothing to read instead".into(),
            Self::Unreadable { fault: LoadError::TooLarge, .. } => {
                format!("room for {MAX_TOTAL_BYTES} bytes in all files together").into()
            }
            Self::Unreadable { .. } => "nothing to read instead".into(),
            Self::Syntax { fault, .. } => fault.have(),
            Self::Value { wants, .. } => wants.clone(),
            Self::Token { .. } => {
                "the tokens uid, USERID, euid, username, TEMP, null, LIBDIR, BINDIR and SBINDIR, each ended by }".into()
            }
        }
    }

    fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::Absent { .. } => "correct KRB5_CONFIG, or create the file".into(),
            Self::Syntax { fault, .. } => {
                fault.advice().map_or_else(|| self.code().advice().into(), Cow::Borrowed)
            }
            Self::Value { value, .. } if value.contains(" #") || value.contains(" ;") => {
                "move the comment to a line of its own: after a value it belongs to the value".into()
            }
            _ => self.code().advice().into(),
        }
    }
}

impl SyntaxFault {
    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Nesting => format!("room for {MAX_NESTING} subsections within each other").into(),
            Self::IncludeDepth => {
                format!("room for {MAX_INCLUDE_DEPTH} files that include each other").into()
            }
            Self::TooManyFiles => format!("room for {MAX_FILES} files").into(),
            Self::Module => "a reader of files only".into(),
            Self::NotUtf8 | Self::Nul => "a reader of UTF-8 text".into(),
            Self::IncludeRelative(_) => "a reader of absolute paths, which begin with /".into(),
            _ => "[section], name = value, name = {, }, comments, include and includedir".into(),
        }
    }

    fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::BraceMissing(_) => "write a value, \"\" for an empty one, or { on the next line",
            Self::SectionInSubsection(_) => "close the subsection with } before the section",
            Self::Module => "export what the module says into a file, and name that in KRB5_CONFIG",
            Self::IncludeDepth => "break the circle: a file includes itself, by way of others",
            _ => return None,
        })
    }
}
