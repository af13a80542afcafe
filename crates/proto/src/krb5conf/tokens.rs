//! `%{uid}` and the like, in the names of caches and keytabs.

use super::error::{Krb5ConfError, beginning};
use super::profile::Place;

/// The name of a cache or keytab as the configuration has it: `KEYRING:persistent:%{uid}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathName {
    /// The text, its tokens in it.
    pub text: String,
    /// Where it stands, if in a file.
    pub place: Option<Place>,
}

/// What the tokens stand for. Those that are none are refused like unknown ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathTokens {
    /// `%{uid}` and `%{USERID}`: the real user.
    pub uid: u32,
    /// `%{euid}`: the effective user.
    pub euid: u32,
    /// `%{username}`: the effective user's name.
    pub username: Option<String>,
    /// `%{TEMP}`: the folder for temporary files, without a slash at its end.
    pub temp: Option<String>,
    /// `%{LIBDIR}`: where libraries are.
    pub libdir: Option<String>,
    /// `%{BINDIR}`: where programs are.
    pub bindir: Option<String>,
    /// `%{SBINDIR}`: where an administrator's programs are.
    pub sbindir: Option<String>,
}

impl PathName {
    /// The name with its tokens replaced.
    ///
    /// # Errors
    /// If a token is not known or not closed: [`Krb5ConfError::Token`], with the line.
    pub fn expand(&self, tokens: &PathTokens) -> Result<String, Krb5ConfError> {
        expanded(&self.text, tokens, self.place.as_ref())
    }
}

/// Replaces the tokens in `text`. What they stand for is not looked into for more.
///
/// # Errors
/// If a token is not known or not closed: [`Krb5ConfError::Token`].
pub fn expand_tokens(text: &str, tokens: &PathTokens) -> Result<String, Krb5ConfError> {
    expanded(text, tokens, None)
}

fn expanded(text: &str, tokens: &PathTokens, place: Option<&Place>) -> Result<String, Krb5ConfError> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from_token)) = rest.split_once("%{") {
        let fault = |token: &str| Krb5ConfError::Token {
            place: place.cloned(),
            text: beginning(text),
            token: beginning(token),
        };
        let (token, after) = from_token.split_once('}').ok_or_else(|| fault(from_token))?;
        result.push_str(before);
        result.push_str(&tokens.value(token).ok_or_else(|| fault(token))?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}

impl PathTokens {
    fn value(&self, token: &str) -> Option<String> {
        match token {
            "uid" | "USERID" => Some(self.uid.to_string()),
            "euid" => Some(self.euid.to_string()),
            "username" => self.username.clone(),
            "TEMP" => self.temp.clone(),
            "LIBDIR" => self.libdir.clone(),
            "BINDIR" => self.bindir.clone(),
            "SBINDIR" => self.sbindir.clone(),
            "null" => Some(String::new()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;

    fn tokens() -> PathTokens {
        PathTokens {
            uid: 1000,
            euid: 0,
            username: Some("al%{uid}".into()),
            temp: Some("/tmp".into()),
            ..Default::default()
        }
    }

    #[test]
    fn tokens_are_replaced() {
        for (text, expanded) in [
            ("FILE:%{TEMP}/krb5cc_%{uid}", "FILE:/tmp/krb5cc_1000"),
            ("KEYRING:persistent:%{USERID}", "KEYRING:persistent:1000"),
            ("%{euid}%{null}%{euid}", "00"),
            ("%{username}", "al%{uid}"),
            ("100% {uid} }", "100% {uid} }"),
            ("", ""),
        ] {
            assert_eq!(expand_tokens(text, &tokens()).as_deref(), Ok(expanded), "{text}");
        }
    }

    #[test]
    fn unknown_tokens_are_refused_with_their_place() {
        for text in ["%{nobody}", "%{UID}", "%{}", "%{uid", "a%{LIBDIR}"] {
            assert!(expand_tokens(text, &tokens()).is_err(), "{text}");
        }
        let place = Place { file: "/etc/krb5.conf".into(), line: 7 };
        let name = PathName { text: "FILE:%{home}/cc".into(), place: Some(place) };
        let error = name.expand(&tokens()).unwrap_err();
        assert_eq!(error.to_string(), "/etc/krb5.conf:7: \"FILE:%{home}/cc\" with %{home");
        assert!(error.have().contains("username"));
    }
}
