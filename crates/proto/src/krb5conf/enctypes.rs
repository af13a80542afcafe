//! Lists of etypes.

use super::values::words;
use crate::crypto::Etype;
use crate::policy::DEFAULT_PERMITTED_ENCTYPES;

use Etype::{
    Aes128CtsHmacSha1_96, Aes128CtsHmacSha256_128, Aes256CtsHmacSha1_96, Aes256CtsHmacSha384_192, ArcfourHmac,
};

/// Names of etypes and of families of them, as MIT and Heimdal have them; `aes-sha1` and `aes-sha2` are ours alone.
const NAMES: [(&str, &[Etype]); 18] = [
    ("aes", &DEFAULT_PERMITTED_ENCTYPES),
    ("aes-sha1", &[Aes256CtsHmacSha1_96, Aes128CtsHmacSha1_96]),
    ("aes-sha2", &[Aes256CtsHmacSha384_192, Aes128CtsHmacSha256_128]),
    ("rc4", &[ArcfourHmac]),
    ("aes256-cts-hmac-sha1-96", &[Aes256CtsHmacSha1_96]),
    ("aes256-cts", &[Aes256CtsHmacSha1_96]),
    ("aes256-sha1", &[Aes256CtsHmacSha1_96]),
    ("aes128-cts-hmac-sha1-96", &[Aes128CtsHmacSha1_96]),
    ("aes128-cts", &[Aes128CtsHmacSha1_96]),
    ("aes128-sha1", &[Aes128CtsHmacSha1_96]),
    ("aes256-cts-hmac-sha384-192", &[Aes256CtsHmacSha384_192]),
    ("aes256-sha2", &[Aes256CtsHmacSha384_192]),
    ("aes128-cts-hmac-sha256-128", &[Aes128CtsHmacSha256_128]),
    ("aes128-sha2", &[Aes128CtsHmacSha256_128]),
    ("arcfour-hmac", &[ArcfourHmac]),
    ("rc4-hmac", &[ArcfourHmac]),
    ("arcfour-hmac-md5", &[ArcfourHmac]),
    ("rc4-hmac-md5", &[ArcfourHmac]),
];

/// A list that was read.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct EnctypeList {
    /// The etypes, the preferred one first.
    pub(super) etypes: Vec<Etype>,
    /// Words that are no etype, or none that is implemented.
    pub(super) unknown: Vec<String>,
    /// Words that name nothing but etypes that must be allowed apart.
    pub(super) forbidden: Vec<String>,
}

/// The etypes where no list is given.
pub(super) fn defaults(allow_weak: bool) -> Vec<Etype> {
    let weak = allow_weak.then_some(ArcfourHmac);
    DEFAULT_PERMITTED_ENCTYPES.into_iter().chain(weak).collect()
}

/// Reads names that blanks or commas divide, in letters of any case. `DEFAULT` stands for the default list, a minus takes away
/// what it stands before. What comes twice keeps its first place.
pub(super) fn list(text: &str, allow_weak: bool) -> EnctypeList {
    let mut list = EnctypeList::default();
    for word in words(text) {
        let (removes, name) = match word.strip_prefix('-') {
            Some(name) => (true, name),
            None => (false, word.strip_prefix('+').unwrap_or(word)),
        };
        match named(name, allow_weak) {
            None => list.unknown.push(name.to_owned()),
            Some(named) if removes => list.etypes.retain(|etype| !named.contains(etype)),
            Some(named) => list.add(name, &named, allow_weak),
        }
    }
    list
}

fn named(name: &str, allow_weak: bool) -> Option<Vec<Etype>> {
    if name.eq_ignore_ascii_case("DEFAULT") {
        return Some(defaults(allow_weak));
    }
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, etypes)| etypes.to_vec())
}

impl EnctypeList {
    fn add(&mut self, name: &str, named: &[Etype], allow_weak: bool) {
        let mut allowed = named.iter().filter(|etype| allow_weak || !etype.is_weak()).peekable();
        if allowed.peek().is_none() {
            self.forbidden.push(name.to_owned());
        }
        for etype in allowed {
            if !self.etypes.contains(etype) {
                self.etypes.push(*etype);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str, allow_weak: bool) -> Vec<i32> {
        list(text, allow_weak).etypes.into_iter().map(Etype::wire).collect()
    }

    #[test]
    fn lists_are_read_with_families_and_signs() {
        for (text, expected) in [
            ("aes128-cts-hmac-sha1-96", vec![17]),
            ("aes", vec![18, 17, 20, 19]),
            ("aes-sha2,aes-sha1", vec![20, 19, 18, 17]),
            ("DEFAULT", vec![18, 17, 20, 19]),
            ("default -aes128-cts -aes-sha2", vec![18]),
            ("aes128-sha2 +DEFAULT", vec![19, 18, 17, 20]),
            ("AES256-SHA2 aes256-cts\taes256-sha2", vec![20, 18]),
            ("aes -DEFAULT", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(wire(text, false), expected, "{text}");
        }
    }

    #[test]
    fn rc4_needs_to_be_allowed_apart() {
        let refused = list("aes256-cts rc4-hmac", false);
        assert_eq!(refused.etypes, [Aes256CtsHmacSha1_96]);
        assert_eq!(refused.forbidden, ["rc4-hmac"]);
        assert_eq!(wire("aes256-cts rc4-hmac", true), [18, 23]);
        assert_eq!(wire("DEFAULT", true), [18, 17, 20, 19, 23]);
        assert_eq!(wire("DEFAULT -rc4", true), [18, 17, 20, 19]);
        assert_eq!(list("DEFAULT -rc4", false).forbidden, [""; 0]);
    }

    #[test]
    fn names_that_are_not_implemented_are_kept_apart() {
        let list = list("camellia256-cts-cmac aes256-cts -des3 nonsense", false);
        assert_eq!(list.etypes, [Aes256CtsHmacSha1_96]);
        assert_eq!(list.unknown, ["camellia256-cts-cmac", "des3", "nonsense"]);
    }
}
