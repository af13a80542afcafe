//! Which realm a host belongs to.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The relations of `[domain_realm]`. Letter case of domains does not matter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct DomainRealms(BTreeMap<String, String>);

impl DomainRealms {
    /// Adds a host, a domain with all below it, or with a dot before it what is below it alone. What is there stays.
    pub(super) fn add(&mut self, domain: &str, realm: &str) {
        self.0.entry(domain.to_ascii_lowercase()).or_insert_with(|| realm.to_owned());
    }

    /// The realm of `host`: what is said of it, else of `.domain`, else of `domain`, and so on up. Addresses have none; nor has
    /// a host whose entry is empty, which leaves the question to the KDC.
    pub(super) fn realm_of(&self, host: &str) -> Option<&str> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if host.parse::<IpAddr>().is_ok() {
            return None;
        }
        let dots = host.match_indices('.').flat_map(|(at, _)| [at, at.saturating_add(1)]);
        let mut suffixes = std::iter::once(0).chain(dots).filter_map(|from| host.get(from..));
        suffixes.find_map(|suffix| self.0.get(suffix)).map(String::as_str).filter(|realm| !realm.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_gives_the_realm() {
        let mut domains = DomainRealms::default();
        for (domain, realm) in [
            ("crash.mit.test", "CRASH"),
            (".dev.mit.test", "DEV"),
            ("MIT.test", "MIT"),
            ("mit.test", "SECOND"),
            (".open.mit.test", ""),
            ("192.0.2.1", "ADDRESS"),
        ] {
            domains.add(domain, realm);
        }
        for (host, realm) in [
            ("crash.mit.test", Some("CRASH")),
            ("CRASH.MIT.TEST.", Some("CRASH")),
            ("under.crash.mit.test", Some("CRASH")),
            ("a.dev.mit.test", Some("DEV")),
            ("a.b.dev.mit.test", Some("DEV")),
            ("dev.mit.test", Some("MIT")),
            ("mit.test", Some("MIT")),
            ("submit.test", None),
            ("a.open.mit.test", None),
            ("test", None),
            ("192.0.2.1", None),
            ("", None),
        ] {
            assert_eq!(domains.realm_of(host), realm, "{host}");
        }
    }
}
