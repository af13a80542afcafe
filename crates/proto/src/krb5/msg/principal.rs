//! Principal names.

use crate::error::{Code, Explain, code};
use std::borrow::Cow;
use std::fmt;

/// Name types of RFC 4120 section 7.5.8 and RFC 6111. A name type is a hint, never part of an identity.
pub mod name_type {
    /// Not known.
    pub const KRB_NT_UNKNOWN: i32 = 0;
    /// A user.
    pub const KRB_NT_PRINCIPAL: i32 = 1;
    /// A service and other unique instance.
    pub const KRB_NT_SRV_INST: i32 = 2;
    /// A service with a host name as instance.
    pub const KRB_NT_SRV_HST: i32 = 3;
    /// A user by a name that has the form of a mail address, in one component (RFC 6806 section 5).
    pub const KRB_NT_ENTERPRISE: i32 = 10;
    /// A name that means the same in every realm (RFC 6111).
    pub const KRB_NT_WELLKNOWN: i32 = 11;
}

/// A whole principal: a realm and every component, as the bytes that they are.
///
/// Two principals are equal if realm and components are equal byte by byte; the name type does not count (DESIGN
/// rule 7). Bytes are compared, never a string put together from them, so that no component can pass for two.
#[derive(Clone, Default)]
pub struct Principal {
    /// Name type, which is a hint only.
    pub name_type: i32,
    /// Realm, by convention in upper case.
    pub realm: Vec<u8>,
    /// Components in order, without the realm.
    pub components: Vec<Vec<u8>>,
}

/// Why a text is no principal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not a principal")]
pub struct PrincipalTextError(String);

impl Explain for PrincipalTextError {
    fn code(&self) -> Code {
        code::PRINCIPAL_MALFORMED
    }
    fn saw(&self) -> Cow<'static, str> {
        format!("principal {:?}", self.0).into()
    }
    fn have(&self) -> Cow<'static, str> {
        "the form COMPONENT[/COMPONENT...][@REALM] with no part empty".into()
    }
}

impl Principal {
    /// A principal with the name type that its shape suggests: a host-based service if it has two components.
    #[must_use]
    pub fn new(realm: &str, components: &[&str]) -> Self {
        let name_type =
            if components.len() == 2 { name_type::KRB_NT_SRV_HST } else { name_type::KRB_NT_PRINCIPAL };
        Self {
            name_type,
            realm: realm.as_bytes().to_vec(),
            components: components.iter().map(|component| component.as_bytes().to_vec()).collect(),
        }
    }

    /// Reads `COMPONENT[/COMPONENT...][@REALM]`. A backslash takes the meaning from a slash, at sign or backslash after
    /// it, and `\n`, `\t`, `\b`, `\0` stand for those bytes. Without `@REALM` the realm is empty.
    ///
    /// # Errors
    /// If a component, or a realm that is named, is empty; if an at sign comes twice; if a backslash ends the text.
    pub fn parse(text: &str) -> Result<Self, PrincipalTextError> {
        let refused = || PrincipalTextError(text.to_owned());
        let mut parts = vec![Vec::new()];
        let mut realm_at = None;
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'/' if realm_at.is_none() => parts.push(Vec::new()),
                b'@' if realm_at.is_none() => {
                    realm_at = Some(parts.len());
                    parts.push(Vec::new());
                }
                b'@' => return Err(refused()),
                _ => {
                    let literal = match byte {
                        b'\\' => unescaped(bytes.next().ok_or_else(refused)?),
                        other => other,
                    };
                    parts.last_mut().ok_or_else(refused)?.push(literal);
                }
            }
        }
        if parts.iter().any(Vec::is_empty) {
            return Err(refused());
        }
        let realm = if realm_at.is_some() { parts.pop().unwrap_or_default() } else { Vec::new() };
        let name_type =
            if parts.len() == 2 { name_type::KRB_NT_SRV_HST } else { name_type::KRB_NT_PRINCIPAL };
        Ok(Self { name_type, realm, components: parts })
    }

    /// Whether the components are equal when ASCII letters count the same in either case, and the realms byte by byte.
    #[must_use]
    pub fn eq_ignoring_case(&self, other: &Self) -> bool {
        self.realm == other.realm
            && self.components.len() == other.components.len()
            && self.components.iter().zip(&other.components).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    /// The name without the realm as a log shows it, escaped and cut as [`Display`](fmt::Display) does.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = EscapedText::default();
        for (index, component) in self.components.iter().enumerate() {
            if index > 0 {
                name.push(&['/']);
            }
            name.escape(component);
        }
        name.text
    }
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b't' => b'\t',
        b'b' => 0x08,
        b'0' => 0,
        other => other,
    }
}

/// Most characters of a name, or of a realm, that are shown.
const MAX_SHOWN: usize = 256;
/// Longest escape: `\u{10ffff}`.
const MAX_ESCAPE: usize = 10;

/// Bytes of a peer as a log shows them, escaped and cut as [`Principal`]'s `Display` does.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = EscapedText::default();
    text.escape(bytes);
    text.text
}

/// A text in which no two names look the same and with which no log line can be forged. After [`MAX_SHOWN`] characters it
/// ends with an ellipsis.
#[derive(Default)]
struct EscapedText {
    text: String,
    /// Characters in it.
    shown: usize,
    cut: bool,
}

impl EscapedText {
    fn escape(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.escape_text(chunk.valid());
            for byte in chunk.invalid() {
                self.push(&['\\', 'x', hex_digit(byte >> 4), hex_digit(byte & 0xF)]);
            }
            if self.cut {
                break;
            }
        }
    }

    fn escape_text(&mut self, text: &str) {
        let shown = self.shown.saturating_add(text.len());
        // Nearly every name: what a refusal costs is what its text costs.
        if text.bytes().all(is_plain) && shown <= MAX_SHOWN && !self.cut {
            self.text.push_str(text);
            self.shown = shown;
        } else {
            text.chars().for_each(|character| self.escape_char(character));
        }
    }

    fn escape_char(&mut self, character: char) {
        match character {
            '/' | '@' | '\\' => self.push(&['\\', character]),
            '\u{8}' => self.push(&['\\', 'b']),
            // Quotes end nothing here.
            '\'' | '"' => self.push(&[character]),
            // Escapes what is not seen by itself: controls, directions, separators, marks on other letters.
            other => {
                let mut escape = ['\0'; MAX_ESCAPE];
                let length = escape.iter_mut().zip(other.escape_debug()).map(|(to, from)| *to = from).count();
                self.push(escape.get(..length).unwrap_or_default());
            }
        }
    }

    /// Appends all of `characters` or none of them, so that no escape is cut in two.
    fn push(&mut self, characters: &[char]) {
        let shown = self.shown.saturating_add(characters.len());
        if self.cut {
            return;
        }
        if shown <= MAX_SHOWN {
            self.text.extend(characters);
            self.shown = shown;
        } else {
            self.text.push('…');
            self.cut = true;
        }
    }
}

/// Whether a byte is a character that stands for itself.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b'@' | b'\\')
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or_default()
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.realm == other.realm && self.components == other.components
    }
}

impl Eq for Principal {}

/// `NAME/INSTANCE@REALM` for people and logs: `/`, `@` and `\` that belong to a part have a backslash before them, what is
/// not seen by itself and bytes that are no UTF-8 stand as escapes, and of the name as of the realm at most 256 characters
/// are shown, then an ellipsis.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let realm = escaped(&self.realm);
        if realm.is_empty() { f.write_str(&self.name()) } else { write!(f, "{}@{realm}", self.name()) }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({self} type {})", self.name_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_itself_is_what_would_not_be_escaped() {
        for byte in 0..0x80 {
            let (mut whole, mut by_character) = (EscapedText::default(), EscapedText::default());
            whole.escape_text(char::from(byte).encode_utf8(&mut [0; 4]));
            by_character.escape_char(char::from(byte));
            assert_eq!((whole.text, whole.shown), (by_character.text, by_character.shown), "{byte:02x}");
        }
    }

    #[test]
    fn text_round_trips_with_every_escape() {
        for text in [
            "alice@EXAMPLE.TEST",
            "HTTP/a.example.test@EXAMPLE.TEST",
            "a\\/b\\@c\\\\d@R",
            "x\\0y/\\n@R",
            "bare",
        ] {
            assert_eq!(Principal::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn text_with_an_empty_part_is_refused() {
        for text in ["", "@R", "a@", "a//b@R", "/a", "a/", "a@b@c", "a\\"] {
            assert!(Principal::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_slash_inside_a_component_is_another_principal() {
        assert_ne!(Principal::new("R", &["a/b"]), Principal::new("R", &["a", "b"]));
        assert_ne!(Principal::new("R", &["a/b"]).to_string(), Principal::new("R", &["a", "b"]).to_string());
    }

    #[test]
    fn what_is_not_seen_by_itself_is_escaped() {
        let shown = |text: &str| Principal::new("R", &[text]).to_string();
        assert_eq!(shown("a\u{202E}b"), "a\\u{202e}b@R");
        assert_eq!(shown("a\u{200B}b"), "a\\u{200b}b@R");
        assert_eq!(shown("a\u{2028}b"), "a\\u{2028}b@R");
        assert_eq!(shown("e\u{301}"), "e\\u{301}@R");
        assert_eq!(shown("\r\u{1b}[2J"), "\\r\\u{1b}[2J@R");
        assert_eq!(shown("zoë o'hara"), "zoë o'hara@R");
        let invalid = Principal { components: vec![b"a\xFF\x0e\xC3".to_vec()], ..Principal::new("R", &[]) };
        assert_eq!(invalid.to_string(), "a\\xff\\u{e}\\xc3@R");
    }

    #[test]
    fn a_long_name_is_shown_to_its_256th_character() {
        let shown = |length: usize| Principal::new("", &[&"x".repeat(length)]).to_string();
        assert_eq!(shown(256), "x".repeat(256));
        assert_eq!(shown(257), "x".repeat(256) + "…");
        let escapes =
            Principal { components: vec![vec![0xFF; 1_000]; 30], realm: vec![0xFF; 1_000], name_type: 0 };
        assert_eq!(escapes.to_string(), format!("{0}…@{0}…", "\\xff".repeat(64)));
    }

    #[test]
    fn the_name_type_is_not_identity() {
        let mut other = Principal::new("R", &["a"]);
        other.name_type = 10;
        assert_eq!(other, Principal::new("R", &["a"]));
    }
}
