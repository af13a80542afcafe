//! What a refusal is: a stable code, and a text that says what was seen, what we have, and what to do.
//!
//! Each floor has an error type of its own, with fields instead of sentences; [`Explain`] renders it. The table in
//! [`code`] holds, once, what belongs to a code whatever its fields: whose fault it is, which protocol error the peer
//! is told, and the general advice.

pub mod code;
mod status;

use std::borrow::Cow;
use std::fmt;

pub use code::Code;
pub use status::SecurityStatus;

/// Whose move it is after a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The other end sent something that no correct peer sends, or somebody altered it on the way.
    PeerMisbehaved,
    /// Both ends work, but what the peer offers is not what is configured here (keys, etypes, mechs, clock).
    Mismatch,
    /// A rule of this end's configuration or of the calling program says no.
    Policy,
    /// A file, flag or value given to this end is wrong.
    Configuration,
    /// The network, the other end's machine, or a limit of this one.
    Environment,
    /// The calling program used the library in an order it does not have.
    Caller,
}

impl Fault {
    /// One word for logs and tables.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::PeerMisbehaved => "peer",
            Self::Mismatch => "mismatch",
            Self::Policy => "policy",
            Self::Configuration => "configuration",
            Self::Environment => "environment",
            Self::Caller => "caller",
        }
    }
}

/// Renders an error of any floor as a refusal.
///
/// The texts are for the log of this end alone: a peer is told [`Code::krb_error`] and nothing else. They must never
/// hold a key, a password or a whole token.
pub trait Explain: std::error::Error {
    /// The stable code.
    fn code(&self) -> Code;
    /// What was seen, as a noun phrase: `ticket for HTTP/a.example.test kvno 9 aes256-sha1`.
    fn saw(&self) -> Cow<'static, str>;
    /// What this end has to set against it: `kvno 13 only`.
    fn have(&self) -> Cow<'static, str>;
    /// What to do about it. The default is the advice in the code's row.
    fn advice(&self) -> Cow<'static, str> {
        Cow::Borrowed(self.code().advice())
    }
}

/// A failure as it is logged, audited and shown to a person: the one error type that leaves this crate's state machines.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    saw: Cow<'static, str>,
    have: Cow<'static, str>,
    advice: Cow<'static, str>,
}

impl Refusal {
    /// Renders `error`; nothing of it is lost but its type.
    #[must_use]
    pub fn from_error(error: &dyn Explain) -> Self {
        Self { code: error.code(), saw: error.saw(), have: error.have(), advice: error.advice() }
    }

    /// A refusal made where there is no error value: by the caller, at the Authorize step, or by a driver.
    #[must_use]
    pub fn new(code: Code, saw: impl Into<Cow<'static, str>>, have: impl Into<Cow<'static, str>>) -> Self {
        Self { code, saw: saw.into(), have: have.into(), advice: Cow::Borrowed(code.advice()) }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What was seen.
    #[must_use]
    pub fn saw(&self) -> &str {
        &self.saw
    }

    /// What this end has to set against it.
    #[must_use]
    pub fn have(&self) -> &str {
        &self.have
    }

    /// What to do.
    #[must_use]
    pub fn advice(&self) -> &str {
        &self.advice
    }
}

/// `CS-2003 saw …; have …; do: …`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} saw {}; have {}; do: {}", self.code, self.saw, self.have, self.advice)
    }
}

/// The same: it is what a program prints whose `main` ends with one.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Refusal {}

impl<E: Explain> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::from_error(&error)
    }
}
