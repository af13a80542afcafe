//! The keys of a service, ready to open tickets, and the order in which they are tried (DESIGN rule 7).

use super::msg::principal::Principal;
use crate::crypto::{Cipher, CryptoError, Etype, Key, KeyUsage, etype_name};
use crate::keytab::Keytab;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most keys that are tried on one ticket.
pub const MAX_TRIALS: usize = 8;

/// How many names or versions a refusal lists.
const MAX_LISTED: usize = 8;

/// One key of the service.
pub struct ServiceKey {
    principal: Principal,
    kvno: u32,
    etype: Etype,
    ticket_cipher: Cipher,
}

impl ServiceKey {
    /// Whose key it is: the service principal that a context made with it reports.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Its version.
    #[must_use]
    pub fn kvno(&self) -> u32 {
        self.kvno
    }

    /// Its etype.
    #[must_use]
    pub fn etype(&self) -> Etype {
        self.etype
    }

    pub(crate) fn ticket_cipher(&self) -> &Cipher {
        &self.ticket_cipher
    }
}

/// All keys of a service. What each needs to open a ticket is derived here, once.
pub struct ServiceKeys {
    keys: Vec<ServiceKey>,
    /// Keys of etypes that are not implemented: told in a refusal, never used.
    unusable: Vec<(Principal, u32, i32)>,
    by_folded_name: BTreeMap<Vec<u8>, Vec<usize>>,
    by_etype: BTreeMap<(Etype, u32), Vec<usize>>,
}

/// What a ticket claims, by which a key is looked for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The ticket's realm and sname.
    pub service: Principal,
    /// Version of the key, if the ticket names one.
    pub kvno: Option<u32>,
    /// Etype of the ticket.
    pub etype: Etype,
}

/// Why no key was found, or none opened the ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Absence {
    /// There is not one key.
    NoKeys,
    /// The principal has keys, but `accept_principals` leaves it out.
    NotAccepted,
    /// No key of that principal is held.
    Principal,
    /// The principal's key is held, in other versions only.
    Kvno,
    /// The principal's key is held in that version, of other etypes only.
    Etype,
    /// A key of that principal, version and etype is held and does not open the ticket.
    Integrity,
}

impl ServiceKeys {
    /// Derives what each key of `keytab` needs. Keys of etypes that are not implemented are kept for the messages.
    ///
    /// # Errors
    /// If a key has another length than its etype.
    pub fn from_keytab(keytab: &Keytab) -> Result<Self, CryptoError> {
        let mut service = Self {
            keys: Vec::new(),
            unusable: Vec::new(),
            by_folded_name: BTreeMap::new(),
            by_etype: BTreeMap::new(),
        };
        for entry in &keytab.entries {
            match Etype::from_wire(entry.etype) {
                Some(etype) => {
                    let key = Key::new(etype, entry.key.expose())?;
                    service.insert(entry.principal.clone(), entry.kvno, &key);
                }
                None => service.unusable.push((entry.principal.clone(), entry.kvno, entry.etype)),
            }
        }
        Ok(service)
    }

    fn insert(&mut self, principal: Principal, kvno: u32, key: &Key) {
        let index = self.keys.len();
        self.by_folded_name.entry(folded(&principal)).or_default().push(index);
        self.by_etype.entry((key.etype(), kvno)).or_default().push(index);
        let ticket_cipher = key.cipher(KeyUsage::TICKET);
        self.keys.push(ServiceKey { principal, kvno, etype: key.etype(), ticket_cipher });
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Every key that can be used.
    pub fn iter(&self) -> impl Iterator<Item = &ServiceKey> {
        self.keys.iter()
    }

    /// Realm of the first key: the service's own realm.
    #[must_use]
    pub fn realm(&self) -> Option<&[u8]> {
        self.keys.first().map(|key| key.principal.realm.as_slice())
    }

    /// Keys to try on a ticket, the likeliest first and at most [`MAX_TRIALS`]: those of the principal that the ticket
    /// names, those of one equal but for case, and, unless `accepted` names some, any other of the etype; in each group
    /// those of the ticket's kvno first.
    pub fn candidates<'k, 'c>(
        &'k self,
        claim: &'c Claim,
        accepted: &'c [Principal],
    ) -> impl Iterator<Item = &'k ServiceKey> + use<'k, 'c> {
        let named = move |exact: bool, same_kvno: bool| {
            self.named(claim).filter(move |key| {
                key.etype == claim.etype
                    && (key.principal == claim.service) == exact
                    && has_kvno(key.kvno, claim.kvno) == same_kvno
            })
        };
        let others = move |same_kvno: bool| {
            let keys = if accepted.is_empty() { Some(self.of_etype(claim.etype)) } else { None };
            keys.into_iter().flatten().filter(move |key| {
                has_kvno(key.kvno, claim.kvno) == same_kvno && !key.principal.eq_ignoring_case(&claim.service)
            })
        };
        named(true, true)
            .chain(named(true, false))
            .chain(named(false, true))
            .chain(named(false, false))
            .chain(others(true))
            .chain(others(false))
            .filter(move |key| accepted.is_empty() || accepted.contains(&key.principal))
            .take(MAX_TRIALS)
    }

    /// Every key of the principal that the ticket names, or of one equal but for case.
    fn named<'k>(&'k self, claim: &Claim) -> impl Iterator<Item = &'k ServiceKey> + use<'k> {
        let indices = self.by_folded_name.get(&folded(&claim.service)).map_or(&[][..], Vec::as_slice);
        indices.iter().filter_map(|index| self.keys.get(*index))
    }

    fn of_etype(&self, etype: Etype) -> impl Iterator<Item = &ServiceKey> {
        let range = self.by_etype.range((etype, 0)..=(etype, u32::MAX));
        range.flat_map(|(_, indices)| indices).filter_map(|index| self.keys.get(*index))
    }

    /// Why none of the candidates opened the ticket.
    #[must_use]
    pub fn why_absent(&self, claim: &Claim, accepted: &[Principal]) -> Absence {
        if self.keys.is_empty() && self.unusable.is_empty() {
            return Absence::NoKeys;
        }
        let versions: Vec<(u32, i32)> = self.versions(&claim.service).collect();
        if versions.is_empty() {
            return Absence::Principal;
        }
        let mut names = self.held_of(&claim.service).map(|(principal, ..)| principal);
        if !accepted.is_empty() && !names.any(|principal| accepted.contains(principal)) {
            return Absence::NotAccepted;
        }
        let mut of_kvno = versions.iter().filter(|(kvno, _)| has_kvno(*kvno, claim.kvno)).peekable();
        if of_kvno.peek().is_none() {
            Absence::Kvno
        } else if of_kvno.any(|(_, etype)| *etype == claim.etype.wire()) {
            Absence::Integrity
        } else {
            Absence::Etype
        }
    }

    fn versions(&self, principal: &Principal) -> impl Iterator<Item = (u32, i32)> {
        self.held_of(principal).map(|(_, kvno, etype)| (kvno, etype))
    }

    /// Every key of `principal`, or of one equal but for case, that can be used or not: whose, its kvno and etype.
    fn held_of(&self, principal: &Principal) -> impl Iterator<Item = (&Principal, u32, i32)> {
        let usable = self.keys.iter().map(|key| (&key.principal, key.kvno, key.etype.wire()));
        let unusable = self.unusable.iter().map(|(principal, kvno, etype)| (principal, *kvno, *etype));
        usable.chain(unusable).filter(|(held, ..)| held.eq_ignoring_case(principal))
    }

    /// The keys that are held of `principal` in words: `kvno 13 aes256-cts-hmac-sha1-96, kvno 12 … in the keytab`; if none, the
    /// principals that there are.
    #[must_use]
    pub fn describe(&self, principal: &Principal) -> String {
        let mut versions: Vec<_> = self.versions(principal).collect();
        if versions.is_empty() {
            return self.describe_principals();
        }
        versions.sort_unstable_by(|a, b| b.cmp(a));
        let mut text = String::new();
        list(&mut text, versions.iter().map(|(kvno, etype)| format!("kvno {kvno} {}", etype_name(*etype))));
        text.push_str(" in the keytab");
        text
    }

    fn describe_principals(&self) -> String {
        let mut names: Vec<String> = self.keys.iter().map(|key| key.principal.to_string()).collect();
        names.extend(self.unusable.iter().map(|(principal, ..)| principal.to_string()));
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return "a keytab without keys".to_owned();
        }
        let mut text = String::from("keys of ");
        list(&mut text, names.into_iter());
        text.push_str(" in the keytab");
        text
    }
}

fn list(text: &mut String, items: impl ExactSizeIterator<Item = String>) {
    let more = items.len().saturating_sub(MAX_LISTED);
    for (index, item) in items.take(MAX_LISTED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{item}");
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
}

/// A ticket that names no kvno fits every key; some keytabs keep the lowest 8 bits only.
fn has_kvno(held: u32, wanted: Option<u32>) -> bool {
    wanted.is_none_or(|wanted| held == wanted || held == wanted & 0xFF)
}

/// A key for the index: realm and components with their lengths, ASCII letters in lower case in the components.
fn folded(principal: &Principal) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    append_counted(&mut bytes, principal.realm.iter().copied());
    for component in &principal.components {
        append_counted(&mut bytes, component.iter().map(u8::to_ascii_lowercase));
    }
    bytes
}

fn append_counted(bytes: &mut Vec<u8>, part: impl ExactSizeIterator<Item = u8>) {
    bytes.extend_from_slice(&part.len().to_be_bytes());
    bytes.extend(part);
}
