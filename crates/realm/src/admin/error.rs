//! Why a request of administration is refused.

use crate::store::StoreError;
use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;

/// Why nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdminError {
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The account is of a kind with which this cannot be done.
    #[error("{wish} for {name}, {kind}")]
    Unfit {
        /// What was asked for.
        wish: &'static str,
        /// The account.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// The password would be guessed.
    #[error("a password {0}")]
    WeakPassword(&'static str),
    /// A value that a property cannot have.
    #[error("{what} of {value}")]
    OutOfBounds {
        /// The property.
        what: &'static str,
        /// The value.
        value: String,
        /// What it may be.
        wants: &'static str,
    },
    /// A line that is no request or answer.
    #[error("a line of the administration that cannot be read: {0}")]
    Line(String),
}

impl Explain for AdminError {
    fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.code(),
            Self::Unfit { .. } => code::ACCOUNT_UNFIT,
            Self::WeakPassword(_) => code::PASSWORD_TOO_WEAK,
            Self::OutOfBounds { .. } => code::USAGE,
            Self::Line(_) => code::ADMINISTRATION_FAILED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Store(error) => error.have(),
            Self::Unfit { .. } => "it for accounts of another kind".into(),
            Self::WeakPassword(_) => {
                "a rule: 8 characters at least, not the account's name, not one character alone".into()
            }
            Self::OutOfBounds { wants, .. } => (*wants).into(),
            Self::Line(_) => "one request or answer in JSON a line".into(),
        }
    }
}
