//! `allow`: which of the clients that proved who they are may come in.

use super::forms::{Said, Wrong};
use countersign::accounts::AccountName;
use countersign::proto::context::Facts;
use countersign::proto::error::{Refusal, code};
use countersign::proto::krb5::msg::principal::Principal;
use std::fmt;

/// The clients that may come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Allow {
    /// All that prove themselves: the default of a listener that echoes.
    Everyone,
    /// Those of the service's own realm, by Kerberos: the default of a listener with an upstream.
    OwnRealm,
    /// These.
    Listed(Vec<AllowedClient>),
}

/// A client, or all of a realm or domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum AllowedClient {
    /// This principal, compared whole but for its name-type.
    Principal(Principal),
    /// Every principal of this realm.
    Realm(Vec<u8>),
    /// By NTLM, this account, or every one of the domain where the user is `None`; letter case does not matter.
    NtlmAccount {
        /// The domain; empty for accounts that have none.
        domain: String,
        /// The user.
        user: Option<String>,
    },
}

impl Allow {
    /// Whether the client of this context may come in.
    ///
    /// # Errors
    /// `CLIENT_NOT_ALLOWED`, with who it is.
    pub(crate) fn admits(&self, facts: &Facts) -> Result<(), Refusal> {
        let admitted = match facts {
            Facts::Kerberos(facts) => self.admits_principal(&facts.client, &facts.service),
            Facts::Ntlm { facts, .. } => self.admits_account(&facts.client.domain, &facts.client.user),
        };
        let refused = || {
            let have = match self {
                Self::Listed(_) => "others in allow".to_owned(),
                Self::Everyone | Self::OwnRealm => {
                    "no allow, so only clients of the service's own realm".to_owned()
                }
            };
            Refusal::new(code::CLIENT_NOT_ALLOWED, facts.client(), have)
        };
        admitted.then_some(()).ok_or_else(refused)
    }
}

impl Allow {
    fn admits_principal(&self, client: &Principal, service: &Principal) -> bool {
        match self {
            Self::Everyone => true,
            Self::OwnRealm => client.realm == service.realm,
            Self::Listed(listed) => listed.iter().any(|allowed| allowed.is_principal(client)),
        }
    }

    fn admits_account(&self, domain: &str, user: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::OwnRealm => false,
            Self::Listed(listed) => listed.iter().any(|allowed| allowed.is_account(domain, user)),
        }
    }

    /// Whether an account of NTLM is in the list.
    pub(super) fn names_accounts(&self) -> bool {
        let Self::Listed(listed) = self else { return false };
        listed.iter().any(|client| matches!(client, AllowedClient::NtlmAccount { .. }))
    }
}

impl AllowedClient {
    fn is_principal(&self, client: &Principal) -> bool {
        match self {
            Self::Principal(principal) => {
                principal.realm == client.realm && principal.components == client.components
            }
            Self::Realm(realm) => *realm == client.realm,
            Self::NtlmAccount { .. } => false,
        }
    }

    fn is_account(&self, client_domain: &str, client_user: &str) -> bool {
        let Self::NtlmAccount { domain, user } = self else { return false };
        let same = |a: &str, b: &str| a.to_uppercase() == b.to_uppercase();
        same(domain, client_domain) && user.as_ref().is_none_or(|user| same(user, client_user))
    }

    /// `alice@REALM`, `*@REALM`, `DOMAIN\user` or `DOMAIN\*`.
    pub(super) fn read(said: &Said<'_>) -> Result<Self, Wrong> {
        let text = said.text().ok_or_else(|| Wrong::form(FORM))?;
        if let Some(realm) = text.strip_prefix("*@") {
            let fits = !realm.is_empty() && !realm.contains(['@', '*', '/', '\\', ' ']);
            return fits.then(|| Self::Realm(realm.into())).ok_or_else(|| Wrong::form(FORM));
        }
        if text.contains('@') {
            // Somebody who writes an asterisk there means a pattern, which this is not.
            let pattern = text.contains('*').then(|| Wrong::form(FORM));
            return pattern.map_or_else(|| super::forms::principal(said).map(Self::Principal), Err);
        }
        match text.strip_suffix("\\*") {
            Some(domain) if AccountName::parse(&format!("{domain}\\x")).is_ok() && !domain.contains('*') => {
                Ok(Self::NtlmAccount { domain: domain.to_owned(), user: None })
            }
            Some(_) => Err(Wrong::form(FORM)),
            None if text.contains('*') => Err(Wrong::form(FORM)),
            None => AccountName::parse(text)
                .map(|AccountName { domain, user }| Self::NtlmAccount { domain, user: Some(user) })
                .map_err(|_| Wrong::form(FORM)),
        }
    }
}

const FORM: &str =
    "\"alice@REALM\", \"*@REALM\" for a whole realm, or for NTLM 'DOMAIN\\user' or 'DOMAIN\\*'";

impl fmt::Display for AllowedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Principal(principal) => principal.fmt(f),
            Self::Realm(realm) => write!(f, "*@{}", String::from_utf8_lossy(realm)),
            Self::NtlmAccount { domain, user } => {
                let user = user.as_deref().unwrap_or("*");
                let separator = if domain.is_empty() { "" } else { "\\" };
                write!(f, "{domain}{separator}{user}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Value;
    use super::*;

    fn read(text: &str) -> Option<AllowedClient> {
        let value = Value::Text(text.to_owned());
        AllowedClient::read(&Said { value: &value, label: "allow" }).ok()
    }

    fn admits(allowed: &str, principal: &str) -> bool {
        read(allowed).unwrap().is_principal(&Principal::parse(principal).unwrap())
    }

    #[test]
    fn a_principal_is_compared_whole() {
        assert!(admits("alice@EXAMPLE.TEST", "alice@EXAMPLE.TEST"));
        assert!(admits("HTTP/a@EXAMPLE.TEST", "HTTP/a@EXAMPLE.TEST"));
        for other in [
            "alice@EXAMPLE.TESTX",
            "alice@example.test",
            "Alice@EXAMPLE.TEST",
            "alice/admin@EXAMPLE.TEST",
            "bob@EXAMPLE.TEST",
        ] {
            assert!(!admits("alice@EXAMPLE.TEST", other), "{other}");
        }
        // One component with a slash in it is another name than two components.
        assert!(!admits("HTTP/a@EXAMPLE.TEST", "HTTP\\/a@EXAMPLE.TEST"));
    }

    #[test]
    fn without_a_list_everybody_comes_in_or_those_of_the_own_realm_by_kerberos() {
        let principal = |text: &str| Principal::parse(text).unwrap();
        let service = principal("HTTP/a@EXAMPLE.TEST");
        for (client, is_own) in
            [("alice@EXAMPLE.TEST", true), ("alice@SUB.EXAMPLE.TEST", false), ("alice@example.test", false)]
        {
            assert_eq!(Allow::OwnRealm.admits_principal(&principal(client), &service), is_own, "{client}");
            assert!(Allow::Everyone.admits_principal(&principal(client), &service), "{client}");
        }
        assert!(!Allow::OwnRealm.admits_account("EXAMPLE.TEST", "alice"));
        assert!(Allow::Everyone.admits_account("EXAMPLE", "alice"));
        let listed = Allow::Listed(vec![read("bob@EXAMPLE.TEST").unwrap(), read("EXAMPLE\\eve").unwrap()]);
        assert!(listed.admits_principal(&principal("bob@EXAMPLE.TEST"), &service));
        assert!(!listed.admits_principal(&principal("alice@EXAMPLE.TEST"), &service));
        assert!(listed.admits_account("EXAMPLE", "eve") && !listed.admits_account("EXAMPLE", "bob"));
    }

    #[test]
    fn a_whole_realm_is_that_realm_alone() {
        assert!(admits("*@EXAMPLE.TEST", "alice@EXAMPLE.TEST"));
        assert!(admits("*@EXAMPLE.TEST", "HTTP/a.example.test@EXAMPLE.TEST"));
        for other in ["alice@SUB.EXAMPLE.TEST", "alice@EXAMPLE.TES", "alice@example.test"] {
            assert!(!admits("*@EXAMPLE.TEST", other), "{other}");
        }
    }

    #[test]
    fn accounts_of_ntlm_are_compared_in_any_case_and_never_with_principals() {
        let alice = read("EXAMPLE\\alice").unwrap();
        assert!(alice.is_account("example", "ALICE"));
        assert!(!alice.is_account("", "alice") && !alice.is_account("EXAMPLE", "bob"));
        assert!(read("EXAMPLE\\*").unwrap().is_account("Example", "anybody"));
        assert!(read("alice").unwrap().is_account("", "alice"));
        assert!(!admits("EXAMPLE\\*", "alice@EXAMPLE"));
        assert!(!read("*@EXAMPLE").unwrap().is_account("EXAMPLE", "alice"));
    }

    #[test]
    fn what_looks_like_a_pattern_and_is_none_is_refused() {
        for text in [
            "*",
            "al*@EXAMPLE.TEST",
            "*/admin@EXAMPLE.TEST",
            "alice@*",
            "*@",
            "*@*",
            "*@A@B",
            "\\*",
            "EX*\\*",
            "EX\\a*",
            "",
            "a@",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
