//! Names of accounts: which there may be, and how the database orders them.

use super::StoreError;
use countersign_proto::krb5::msg::principal::Principal;
use std::fmt;

/// Longest component of a name, and longest realm, in bytes.
pub const MAX_NAME: usize = 255;

/// First components that belong to Kerberos itself or that other programs give a meaning, in lower case.
const RESERVED: [&str; 5] = ["krbtgt", "kadmin", "kiprop", "changepw", "wellknown"];

/// Between the components of a key of the database. No component has it.
const SEPARATOR: u8 = 0;

/// The name of an account without its realm: `alice`, or CLASS/HOST for a service.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AccountName {
    components: Vec<String>,
}

/// What a name is for, which decides its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameUse {
    /// A user: one component.
    User,
    /// Another name of a user: one component, which may have the form of a mail address (RFC 6806 section 5).
    UserAlias,
    /// A service, or another name of one: CLASS/HOST.
    Service,
}

impl AccountName {
    /// Reads the name of an account that there may be: one or two components of at most [`MAX_NAME`] bytes each, with `/`
    /// between, in which nothing is escaped.
    ///
    /// # Errors
    /// [`StoreError::NameUnusable`] if it is empty, too long, or has characters that no name has: white space, control
    /// characters, `@` in a service, backslashes.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let components: Vec<String> = text.split('/').map(str::to_owned).collect();
        let at_most_two = components.len() <= 2;
        let at_sign = components.len() == 1;
        if !at_most_two || !components.iter().all(|component| is_component(component, at_sign)) {
            return Err(unusable(
                text,
                "USER, or CLASS/HOST, without white space, backslashes and further slashes",
            ));
        }
        Ok(Self { components })
    }

    /// Reads a name for a new account or alias.
    ///
    /// # Errors
    /// [`StoreError::NameUnusable`] if it has not the form that its use demands, or is one that Kerberos itself uses.
    pub fn parse_new(text: &str, used_for: NameUse) -> Result<Self, StoreError> {
        let name = Self::parse(text)?;
        let first = name.components.first().map(|first| first.to_ascii_lowercase()).unwrap_or_default();
        if RESERVED.contains(&first.as_str()) {
            return Err(unusable(text, "other names: this one belongs to Kerberos itself"));
        }
        let fits = match (used_for, name.components.as_slice()) {
            (NameUse::User, [user]) => !user.contains('@'),
            (NameUse::UserAlias, [_]) | (NameUse::Service, [_, _]) => true,
            _ => false,
        };
        match (fits, used_for) {
            (true, _) => Ok(name),
            (false, NameUse::User) => {
                Err(unusable(text, "one word for a user, without a slash or an at sign"))
            }
            (false, NameUse::UserAlias) => Err(unusable(text, "one word for another name of a user")),
            (false, NameUse::Service) => Err(unusable(text, "the form CLASS/HOST for a service")),
        }
    }

    /// The account under whose key the realm's ticket-granting tickets are.
    #[must_use]
    pub fn ticket_granting(realm: &str) -> Self {
        Self { components: vec!["krbtgt".to_owned(), realm.to_owned()] }
    }

    /// Its components, one or two.
    #[must_use]
    pub fn components(&self) -> &[String] {
        &self.components
    }

    /// The whole principal in `realm`.
    #[must_use]
    pub fn principal(&self, realm: &str) -> Principal {
        let components: Vec<&str> = self.components.iter().map(String::as_str).collect();
        Principal::new(realm, &components)
    }

    /// The key of the database that stands for it: the components with a byte 0 between, which none of them has.
    pub(super) fn key(&self) -> Vec<u8> {
        self.components.join("\0").into_bytes()
    }

    /// The name that a key of the database stands for.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        Some(Self { components: text.split('\0').map(str::to_owned).collect() })
    }
}

/// The key of the database for a principal that somebody asks for, or nothing if no account can have that name.
pub(super) fn key_of(principal: &Principal) -> Option<Vec<u8>> {
    let components = &principal.components;
    let whole = components.iter().all(|component| !component.is_empty() && !component.contains(&SEPARATOR));
    let bounded = (1..=2).contains(&components.len()) && components.iter().all(|part| part.len() <= MAX_NAME);
    (whole && bounded).then(|| components.join(&SEPARATOR))
}

/// Refuses what cannot be the name of a realm: it goes into files of other programs, where few characters are safe.
///
/// # Errors
/// [`StoreError::NameUnusable`].
pub fn check_realm(name: &str) -> Result<(), StoreError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(unusable(name, "letters, digits, dots, hyphens and underscores for a realm, such as EXAMPLE.TEST"))
}

fn is_component(text: &str, at_sign: bool) -> bool {
    let unfit = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || character == '\\'
            || (character == '@' && !at_sign)
            || is_unseen(character)
    };
    (1..=MAX_NAME).contains(&text.len()) && !text.contains(unfit)
}

/// Characters that make two names look the same though they differ: marks of direction, and those of no width.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
    )
}

fn unusable(name: &str, wants: &'static str) -> StoreError {
    StoreError::NameUnusable { name: name.chars().take(MAX_NAME).collect(), wants }
}

/// The components with a slash between: what [`AccountName::parse`] reads.
impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.components.join("/"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown_alike() {
        for text in
            ["alice", "zoë", "o'hara", "HTTP/web.example.test", "MSSQLSvc/db.example.test:1433", "a@b.test"]
        {
            assert_eq!(AccountName::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_account_can_be_called_is_refused() {
        for text in
            ["", "/", "a/", "/a", "a/b/c", "a b", "a\tb", "a\\b", "a\0b", "a/b@c", "a\u{202E}b", "a\u{200B}"]
        {
            assert!(AccountName::parse(text).is_err(), "{text:?}");
        }
        assert!(AccountName::parse(&"x".repeat(MAX_NAME)).is_ok());
        assert!(AccountName::parse(&"x".repeat(MAX_NAME + 1)).is_err());
    }

    #[test]
    fn new_names_have_the_form_of_their_use_and_leave_kerberos_its_own() {
        let fits = |text, used_for| AccountName::parse_new(text, used_for).is_ok();
        assert!(fits("alice", NameUse::User));
        assert!(!fits("alice/admin", NameUse::User));
        assert!(!fits("alice@example.test", NameUse::User));
        assert!(fits("alice@example.test", NameUse::UserAlias));
        assert!(!fits("HTTP/a", NameUse::UserAlias));
        assert!(fits("HTTP/a", NameUse::Service));
        assert!(!fits("http", NameUse::Service));
        for reserved in ["krbtgt/OTHER.TEST", "KrbTgt/OTHER.TEST", "kadmin/admin"] {
            assert!(!fits(reserved, NameUse::Service), "{reserved}");
        }
        for reserved in ["krbtgt", "WELLKNOWN", "changepw"] {
            assert!(!fits(reserved, NameUse::User), "{reserved}");
        }
    }

    #[test]
    fn no_component_passes_for_two() {
        let one = Principal { components: vec![b"HTTP\0a".to_vec()], ..Principal::default() };
        assert_eq!(key_of(&one), None);
        let slash = Principal { components: vec![b"HTTP/a".to_vec()], ..Principal::default() };
        assert_ne!(key_of(&slash), key_of(&Principal::new("R", &["HTTP", "a"])));
        let name = AccountName::parse("HTTP/a").unwrap();
        assert_eq!(key_of(&name.principal("R")), Some(name.key()));
        assert_eq!(AccountName::of_key(&name.key()), Some(name));
    }

    #[test]
    fn realms_have_names_that_every_file_takes() {
        assert!(check_realm("EXAMPLE.TEST").is_ok());
        assert!(check_realm("host-1.local").is_ok());
        for name in ["", ".TEST", "-X", "A B", "A/B", "A@B", "A\nB", "ÄRZTE.TEST"] {
            assert!(check_realm(name).is_err(), "{name:?}");
        }
    }
}
