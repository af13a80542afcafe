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

    /// The name without the realm, escaped as [`Display`](fmt::Display) does.
    #[must_use]
    pub fn name(&self) -> String {
        let mut text = String::new();
        for (index, component) in self.components.iter().enumerate() {
            if index > 0 {
                text.push('/');
            }
            escape(component, &mut text);
        }
        text
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

/// Writes `bytes` so that no two names look the same and no log line can be forged with them.
fn escape(bytes: &[u8], out: &mut String) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '/' | '@' | '\\' => out.extend(['\\', character]),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\0' => out.push_str("\\0"),
                other if other.is_control() => out.extend(other.escape_unicode()),
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.realm == other.realm && self.components == other.components
    }
}

impl Eq for Principal {}

/// `NAME/INSTANCE@REALM` in which `/`, `@` and `\` that belong to a part have a backslash before them.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut realm = String::new();
        escape(&self.realm, &mut realm);
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
    fn the_name_type_is_not_identity() {
        let mut other = Principal::new("R", &["a"]);
        other.name_type = 10;
        assert_eq!(other, Principal::new("R", &["a"]));
    }
}
