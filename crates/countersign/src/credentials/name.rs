use crate::files;
use countersign_proto::error::{Code, Explain, Refusal, code};
use countersign_proto::krb5conf::{Krb5Conf, PathTokens};
use rustix::process::{geteuid, getuid};
use std::borrow::Cow;
use std::env;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where a credential cache is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum CcacheName {
    /// A file.
    File(PathBuf),
    /// The primary one of the caches in a folder.
    Dir(PathBuf),
    /// A certain one of the caches in a folder: the path of a file whose name begins with `tkt`.
    DirMember(PathBuf),
    /// A cache of this process, gone with it.
    Memory(String),
}

/// Why a text names no credential cache that can be used here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("credential cache {text:?}{place}")]
pub struct CcacheNameError {
    text: String,
    /// Where the text stands: ` in KRB5CCNAME`, or nothing.
    place: &'static str,
    fault: NameFault,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum NameFault {
    /// Another program keeps such caches.
    Daemon,
    /// They are of another operating system.
    OtherSystem,
    UnknownType,
    Empty,
    /// A member of a folder whose file is not called `tkt...`, or has no folder.
    NoMember,
    NotText,
}

impl CcacheName {
    /// Reads `FILE:/path`, `/path`, `DIR:/folder`, `DIR::/folder/tktNAME` or `MEMORY:name`. A path with a colon in it needs
    /// its type before it, unless a slash comes before the colon.
    ///
    /// # Errors
    /// If the type is another one (KEYRING, KCM, API, MSLSA or none that exists), or nothing follows it.
    pub fn parse(text: &str) -> Result<Self, CcacheNameError> {
        let refused = |fault| CcacheNameError { text: text.to_owned(), place: "", fault };
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) if !kind.contains('/') => (kind, rest),
            _ => ("FILE", text),
        };
        if rest.is_empty() {
            return Err(refused(NameFault::Empty));
        }
        match kind {
            "FILE" => Ok(Self::File(rest.into())),
            "DIR" => match rest.strip_prefix(':') {
                None => Ok(Self::Dir(rest.into())),
                Some(member) if is_member(Path::new(member)) => Ok(Self::DirMember(member.into())),
                Some(_) => Err(refused(NameFault::NoMember)),
            },
            "MEMORY" => Ok(Self::Memory(rest.to_owned())),
            "KCM" | "KEYRING" => Err(refused(NameFault::Daemon)),
            "API" | "MSLSA" => Err(refused(NameFault::OtherSystem)),
            _ => Err(refused(NameFault::UnknownType)),
        }
    }

    /// The cache of whoever runs this program, where no flag names another: that of `KRB5CCNAME`, else that of
    /// `default_ccache_name` in `conf`, else `FILE:/tmp/krb5cc_UID`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), or if the setting has a token (`%{...}`) that stands for nothing.
    pub fn default_name(conf: &Krb5Conf) -> Result<Self, Refusal> {
        if let Some(name) = Self::from_environment()? {
            return Ok(name);
        }
        if let Some(name) = &conf.libdefaults.default_ccache_name {
            let place = " in default_ccache_name of krb5.conf";
            let text = name.expand(&tokens())?;
            return Self::parse(&text).map_err(|error| CcacheNameError { place, ..error }.into());
        }
        Ok(Self::File(format!("/tmp/krb5cc_{}", getuid().as_raw()).into()))
    }

    /// The cache that `KRB5CCNAME` names, if it is set.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_environment() -> Result<Option<Self>, Refusal> {
        let Some(value) = env::var_os("KRB5CCNAME") else { return Ok(None) };
        let place = " in KRB5CCNAME";
        let text = value.to_string_lossy().into_owned();
        let named = match value.to_str() {
            Some(text) => Self::parse(text),
            None => Err(CcacheNameError { text, place, fault: NameFault::NotText }),
        };
        named.map(Some).map_err(|error| CcacheNameError { place, ..error }.into())
    }
}

/// What the tokens in a setting stand for on this machine.
fn tokens() -> PathTokens {
    let euid = geteuid().as_raw();
    PathTokens {
        uid: getuid().as_raw(),
        euid,
        username: user_name(euid),
        temp: Some(env::var("TMPDIR").unwrap_or_else(|_| "/tmp".to_owned())),
        ..PathTokens::default()
    }
}

/// The user's name, if the machine's own table of users has it.
fn user_name(uid: u32) -> Option<String> {
    let table = File::open("/etc/passwd").and_then(files::contents).ok()?;
    let table = str::from_utf8(table.expose()).ok()?;
    let named = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?))
    });
    let uid = uid.to_string();
    named.into_iter().find(|(_, number)| *number == uid).map(|(name, _)| name.to_owned())
}

/// As MIT's library spells it.
impl fmt::Display for CcacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "FILE:{}", path.display()),
            Self::Dir(path) => write!(f, "DIR:{}", path.display()),
            Self::DirMember(path) => write!(f, "DIR::{}", path.display()),
            Self::Memory(name) => write!(f, "MEMORY:{name}"),
        }
    }
}

/// What the file of a member is called.
pub(super) fn is_member_name(name: &[u8]) -> bool {
    name.starts_with(b"tkt")
}

fn is_member(path: &Path) -> bool {
    let in_folder = path.parent().is_some_and(|folder| !folder.as_os_str().is_empty());
    in_folder && path.file_name().is_some_and(|name| is_member_name(name.as_encoded_bytes()))
}

impl Explain for CcacheNameError {
    fn code(&self) -> Code {
        code::CCACHE_TYPE_UNSUPPORTED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self.fault {
            NameFault::Empty => "a need for a path or name behind the type",
            NameFault::NoMember => "the form DIR::/folder/tktNAME for a member of a folder",
            NameFault::NotText => "names in UTF-8 only",
            _ => "caches of types FILE, DIR and MEMORY only",
        }
        .into()
    }

    fn advice(&self) -> Cow<'static, str> {
        match self.fault {
            NameFault::Daemon => {
                "log in again with KRB5CCNAME=FILE:/tmp/tickets, or name such a cache with --ccache: tickets in a keyring \
                 or with a daemon are out of reach"
            }
            NameFault::OtherSystem => {
                "log in again with KRB5CCNAME=FILE:/tmp/tickets: such caches exist on macOS and Windows only"
            }
            _ => self.code().advice(),
        }
        .into()
    }
}
