//! Why no KDC answered.

use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::time::Duration;

/// Most KDCs that a refusal tells of.
const MAX_TOLD: usize = 12;

/// Why an exchange with the KDCs of a realm came to nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum KdcError {
    /// It is not known where the KDCs are, and there is nobody to ask.
    #[error("no KDC is known for {}", realm.escape_ascii())]
    Unknown { realm: Vec<u8>, why: &'static str },
    /// The DNS was asked where they are, and did not say.
    #[cfg(feature = "dns-srv")]
    #[error("the KDCs of {domain} cannot be looked up: {cause}")]
    LookupFailed { domain: String, cause: String },
    /// They were tried, and none gave an answer of use.
    #[error("no answer of the KDCs of {}", realm.escape_ascii())]
    Undelivered { realm: Vec<u8>, length: usize, tried: Vec<Tried> },
}

/// What became of asking one KDC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Tried {
    /// `kdc1.example.test (192.0.2.1:88)`
    pub(super) place: String,
    pub(super) attempts: Vec<Attempt>,
}

/// What became of asking one KDC in one way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    /// `udp`, `tcp`, `https`, `its name`
    pub(super) way: &'static str,
    /// `None` if the time was up before its turn came.
    pub(super) trouble: Option<Trouble>,
    /// How often it was tried.
    pub(super) tries: u32,
    /// How long it was waited for in all.
    pub(super) waited: Duration,
}

/// What went wrong with one attempt.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no answer")]
    Silent,
    #[error("nothing listens there")]
    Refused,
    #[error("the connection ended before the answer did")]
    Cut,
    #[error("{0}")]
    Io(String),
    #[error("the name has no address")]
    NoAddress,
    #[error("the answer does not fit into a datagram")]
    TooLongForUdp,
    #[error("an answer of {0} bytes is announced, more than is taken")]
    Announced(u32),
    #[error("the answer is no Kerberos message")]
    NotKerberos,
    #[error("the answer is to another request")]
    Foreign,
    #[error("KDC_ERR_SVC_UNAVAILABLE")]
    Unavailable,
    #[error("{0}")]
    Proxy(String),
}

impl From<&io::Error> for Trouble {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silent,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Cut,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl Explain for KdcError {
    fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => code::KDC_NOT_CONFIGURED,
            #[cfg(feature = "dns-srv")]
            Self::LookupFailed { .. } => code::KDC_LOOKUP_FAILED,
            Self::Undelivered { tried, .. } => undelivered_code(tried),
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        match self {
            Self::Unknown { realm, .. } => {
                format!("realm {}, for which krb5.conf names no KDC", realm.escape_ascii()).into()
            }
            #[cfg(feature = "dns-srv")]
            Self::LookupFailed { domain, cause } => {
                format!("no SRV record _kerberos of {domain}: {cause}").into()
            }
            Self::Undelivered { realm, length, .. } => {
                let realm = realm.escape_ascii();
                format!("no answer of use to a request of {length} bytes to realm {realm}").into()
            }
        }
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Unknown { why, .. } => Cow::Borrowed(why),
            #[cfg(feature = "dns-srv")]
            Self::LookupFailed { .. } => "no KDC of that realm in krb5.conf".into(),
            Self::Undelivered { tried, .. } => told(tried).into(),
        }
    }
}

/// What says most about the cause comes first: who answered at all is known to be there.
fn undelivered_code(tried: &[Tried]) -> Code {
    let attempts = || tried.iter().flat_map(|tried| &tried.attempts);
    let any = |is: fn(&Trouble) -> bool| attempts().any(|attempt| attempt.trouble.as_ref().is_some_and(is));
    if any(|trouble| matches!(trouble, Trouble::Unavailable)) {
        code::KDC_UNAVAILABLE
    } else if any(is_unusable) {
        code::KDC_ANSWER_UNUSABLE
    } else if any(|trouble| matches!(trouble, Trouble::Proxy(_))) {
        code::KKDCP_FAILED
    } else if any(|trouble| matches!(trouble, Trouble::Silent)) {
        code::KDC_NO_ANSWER
    } else {
        code::KDC_UNREACHABLE
    }
}

fn is_unusable(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Cut
            | Trouble::TooLongForUdp
            | Trouble::Announced(_)
            | Trouble::NotKerberos
            | Trouble::Foreign
    )
}

fn told(tried: &[Tried]) -> String {
    let mut text: Vec<String> = tried.iter().take(MAX_TOLD).map(Tried::to_string).collect();
    match tried.len().saturating_sub(MAX_TOLD) {
        0 => {}
        more => text.push(format!("{more} more")),
    }
    text.join("; ")
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.place)?;
        for (number, attempt) in self.attempts.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{attempt}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trouble {
            None => return write!(f, "{}: not tried, the time was up", self.way),
            Some(trouble) => write!(f, "{}: {trouble}", self.way)?,
        }
        if self.trouble == Some(Trouble::Silent) {
            write!(f, " in {} s", seconds(self.waited))?;
        }
        if self.tries > 1 {
            write!(f, " ({} tries)", self.tries)?;
        }
        Ok(())
    }
}

/// Seconds, with a decimal place where they are few.
fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 && time.subsec_millis() >= 50 {
        format!("{seconds:.1}")
    } else {
        format!("{seconds:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(way: &'static str, trouble: Option<Trouble>, tries: u32, millis: u64) -> Attempt {
        Attempt { way, trouble, tries, waited: Duration::from_millis(millis) }
    }

    fn undelivered(attempts: Vec<Attempt>) -> KdcError {
        let tried = vec![Tried { place: "127.0.0.1:88".into(), attempts }];
        KdcError::Undelivered { realm: b"EXAMPLE.TEST".to_vec(), length: 210, tried }
    }

    #[test]
    fn every_attempt_is_told() {
        let error = undelivered(vec![
            attempt("udp", Some(Trouble::Silent), 3, 7_000),
            attempt("tcp", Some(Trouble::Refused), 1, 0),
            attempt("https", None, 0, 0),
        ]);
        assert_eq!(error.code(), code::KDC_NO_ANSWER);
        assert_eq!(error.saw(), "no answer of use to a request of 210 bytes to realm EXAMPLE.TEST");
        assert_eq!(
            error.have(),
            "127.0.0.1:88 udp: no answer in 7 s (3 tries), tcp: nothing listens there, \
             https: not tried, the time was up"
        );
    }

    #[test]
    fn the_code_is_that_of_the_nearest_miss() {
        let one = |trouble| undelivered(vec![attempt("tcp", Some(trouble), 1, 0)]).code();
        assert_eq!(one(Trouble::Refused), code::KDC_UNREACHABLE);
        assert_eq!(one(Trouble::Silent), code::KDC_NO_ANSWER);
        assert_eq!(one(Trouble::Foreign), code::KDC_ANSWER_UNUSABLE);
        assert_eq!(one(Trouble::Unavailable), code::KDC_UNAVAILABLE);
        assert_eq!(one(Trouble::Proxy("404".into())), code::KKDCP_FAILED);
        let both = undelivered(vec![
            attempt("udp", Some(Trouble::Silent), 1, 0),
            attempt("tcp", Some(Trouble::NotKerberos), 1, 0),
        ]);
        assert_eq!(both.code(), code::KDC_ANSWER_UNUSABLE);
    }

    #[test]
    fn a_realm_is_shown_escaped_and_many_kdcs_are_cut_short() {
        let tried =
            Tried { place: "k".into(), attempts: vec![attempt("udp", Some(Trouble::Silent), 1, 300)] };
        let error = KdcError::Undelivered { realm: b"A\x1b[2J".to_vec(), length: 1, tried: vec![tried; 20] };
        assert!(error.saw().ends_with("realm A\\x1b[2J"), "{}", error.saw());
        assert!(error.have().ends_with("k udp: no answer in 0.3 s; 8 more"), "{}", error.have());
    }
}
