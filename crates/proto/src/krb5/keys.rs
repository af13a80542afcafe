//! The keys of a service, ready to open tickets, and the order in which they are tried (DESIGN rule 7).
//!
//! What a ticket that nobody can open costs does not grow with the keytab: keys are found by index, at most
//! [`MAX_TRIALS`] are tried, and what a refusal says of all keys is put into words when they are loaded.

use super::msg::principal::Principal;
use crate::crypto::{Cipher, CryptoError, Etype, Key, KeyUsage, etype_name};
use crate::keytab::{Keytab, KeytabEntry};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

/// Most keys that are tried on one ticket.
pub const MAX_TRIALS: usize = 8;

/// How many names or versions a refusal lists.
const MAX_LISTED: usize = 8;

/// One key of the service.
pub struct ServiceKey {
    principal: Principal,
    kvno: u32,
    etype: Etype,
    /// Place of the first key with the same bytes and etype: a ticket that it does not open this one does not either.
    twin: usize,
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
#[derive(Default)]
pub struct ServiceKeys {
    /// In the order of the keytab.
    keys: Vec<ServiceKey>,
    by_folded_name: BTreeMap<Vec<u8>, Held>,
    /// Of all twins the one with the highest kvno, the highest first.
    by_etype: BTreeMap<Etype, Vec<usize>>,
    /// Of all twins in one version the first.
    by_version: BTreeMap<(Etype, u32), Vec<usize>>,
    /// Whose keys there are, in words.
    principals: String,
}

/// The keys of one principal, and of those equal to it but for case.
#[derive(Default)]
struct Held {
    principals: Vec<Principal>,
    /// The keys that can be used, the highest kvno first.
    usable: Vec<usize>,
    /// All keys, the highest kvno first.
    versions: BTreeSet<Reverse<Version>>,
}

/// A key as a refusal tells of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    kvno: u32,
    etype: i32,
    /// Its length in bytes, if that is not what its etype has.
    wrong_length: Option<usize>,
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
    /// The principal's key of that version and etype has a length that no such key has.
    Malformed,
    /// A key of that principal, version and etype is held and does not open the ticket.
    Integrity,
}

impl ServiceKeys {
    /// Derives what each key of `keytab` needs. A key that cannot be used, as its etype is not implemented or its length is
    /// not its etype's, is kept for the messages.
    ///
    /// # Errors
    /// [`CryptoError::KeyLength`] if no key can be used, and one of them because of its length.
    pub fn from_keytab(keytab: &Keytab) -> Result<Self, CryptoError> {
        let mut service = Self {
            keys: Vec::with_capacity(keytab.entries.len()),
            by_folded_name: BTreeMap::new(),
            by_etype: BTreeMap::new(),
            by_version: BTreeMap::new(),
            principals: describe_principals(keytab),
        };
        let mut unusable = None;
        // How long it takes to find twins depends on the keys, but is seen only by whoever starts the service.
        let mut twins = BTreeMap::new();
        for entry in &keytab.entries {
            let key = Etype::from_wire(entry.etype).map(|etype| Key::new(etype, entry.key.expose()));
            let wrong_length = matches!(key, Some(Err(_))).then_some(entry.key.len());
            service.note(entry, wrong_length);
            match key {
                Some(Ok(key)) => {
                    let index = service.keys.len();
                    let twin = *twins.entry((entry.etype, entry.key.expose())).or_insert(index);
                    service.keys.push(ServiceKey::new(entry, &key, twin));
                }
                Some(Err(error)) => unusable = Some(error),
                None => {}
            }
        }
        service.index();
        match unusable {
            Some(error) if service.keys.is_empty() => Err(error),
            _ => Ok(service),
        }
    }

    /// Makes a key known by name, whether it can be used or not.
    fn note(&mut self, entry: &KeytabEntry, wrong_length: Option<usize>) {
        let held = self.by_folded_name.entry(folded(&entry.principal)).or_default();
        held.versions.insert(Reverse(Version { kvno: entry.kvno, etype: entry.etype, wrong_length }));
        if !held.principals.contains(&entry.principal) {
            held.principals.push(entry.principal.clone());
        }
    }

    /// Sorts the keys that can be used into the order in which they are tried.
    fn index(&mut self) {
        let mut sorted: Vec<(usize, &ServiceKey)> = self.keys.iter().enumerate().collect();
        sorted.sort_by_key(|(_, key)| Reverse(key.kvno));
        let (mut twins, mut twins_in_version) = (BTreeSet::new(), BTreeSet::new());
        for (index, key) in sorted {
            self.by_folded_name.entry(folded(&key.principal)).or_default().usable.push(index);
            if twins.insert(key.twin) {
                self.by_etype.entry(key.etype).or_default().push(index);
            }
            if twins_in_version.insert((key.kvno, key.twin)) {
                self.by_version.entry((key.etype, key.kvno)).or_default().push(index);
            }
        }
    }

    /// No keys at all, for services that do not speak Kerberos.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
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
    /// those of the ticket's kvno first, then the highest kvno. Of keys with the same bytes only the first is tried.
    pub fn candidates<'k, 'c>(
        &'k self,
        claim: &'c Claim,
        accepted: &'c [Principal],
    ) -> impl Iterator<Item = &'k ServiceKey> + use<'k, 'c> {
        let held = self.by_folded_name.get(&folded(&claim.service)).map(|held| &held.usable);
        let named = move |exact: bool, same_kvno: bool| {
            self.at(held).filter(move |key| {
                key.etype == claim.etype
                    && (key.principal == claim.service) == exact
                    && has_kvno(key.kvno, claim.kvno) == same_kvno
            })
        };
        let others = accepted.is_empty().then_some(()).into_iter().flat_map(|()| self.others(claim));
        let mut tried = Tried::default();
        named(true, true)
            .chain(named(true, false))
            .chain(named(false, true))
            .chain(named(false, false))
            .chain(others)
            .filter(move |key| accepted.is_empty() || accepted.contains(&key.principal))
            .filter(move |key| tried.is_new(key.twin))
            .take(MAX_TRIALS)
    }

    /// Keys of the etype whoever they belong to, those of the ticket's kvno first.
    fn others<'k>(&'k self, claim: &Claim) -> impl Iterator<Item = &'k ServiceKey> + use<'k> {
        let of_version =
            |kvno: Option<u32>| self.at(kvno.and_then(|kvno| self.by_version.get(&(claim.etype, kvno))));
        of_version(claim.kvno)
            .chain(of_version(claim.kvno.map(low_bits)))
            .chain(self.at(self.by_etype.get(&claim.etype)))
    }

    fn at<'k>(&'k self, indices: Option<&'k Vec<usize>>) -> impl Iterator<Item = &'k ServiceKey> + use<'k> {
        indices.into_iter().flatten().filter_map(|index| self.keys.get(*index))
    }

    /// Why none of the candidates opened the ticket.
    #[must_use]
    pub fn why_absent(&self, claim: &Claim, accepted: &[Principal]) -> Absence {
        let Some(held) = self.by_folded_name.get(&folded(&claim.service)) else {
            return if self.by_folded_name.is_empty() { Absence::NoKeys } else { Absence::Principal };
        };
        if !accepted.is_empty() && !held.principals.iter().any(|principal| accepted.contains(principal)) {
            return Absence::NotAccepted;
        }
        let versions = held.versions.iter().map(|Reverse(version)| version);
        let mut of_kvno = versions.filter(|version| has_kvno(version.kvno, claim.kvno)).peekable();
        if of_kvno.peek().is_none() {
            return Absence::Kvno;
        }
        let mut of_etype = of_kvno.filter(|version| version.etype == claim.etype.wire()).peekable();
        if of_etype.peek().is_none() {
            Absence::Etype
        } else if of_etype.all(|version| version.wrong_length.is_some()) {
            Absence::Malformed
        } else {
            Absence::Integrity
        }
    }

    /// The keys that are held of `principal`, or of one equal but for case, in words: `kvno 13 aes256-cts-hmac-sha1-96,
    /// kvno 12 … in the keytab`; if none, the principals that there are.
    #[must_use]
    pub fn describe(&self, principal: &Principal) -> String {
        match self.by_folded_name.get(&folded(principal)) {
            Some(held) => {
                let versions = held.versions.iter().map(|Reverse(version)| version.to_string());
                list_in_words("", versions, " in the keytab")
            }
            None => self.principals.clone(),
        }
    }
}

impl ServiceKey {
    fn new(entry: &KeytabEntry, key: &Key, twin: usize) -> Self {
        Self {
            principal: entry.principal.clone(),
            kvno: entry.kvno,
            etype: key.etype(),
            twin,
            ticket_cipher: key.cipher(KeyUsage::TICKET),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kvno {} {}", self.kvno, etype_name(self.etype))?;
        match self.wrong_length {
            Some(length) => write!(f, " of {length} bytes, which no such key has"),
            None => Ok(()),
        }
    }
}

/// The keys that were tried on a ticket, by their first twin.
struct Tried {
    twins: [usize; MAX_TRIALS],
    count: usize,
}

impl Default for Tried {
    fn default() -> Self {
        Self { twins: [usize::MAX; MAX_TRIALS], count: 0 }
    }
}

impl Tried {
    /// Whether no twin was tried; from now on one was.
    fn is_new(&mut self, twin: usize) -> bool {
        if self.twins.contains(&twin) {
            return false;
        }
        if let Some(free) = self.twins.get_mut(self.count) {
            *free = twin;
            self.count = self.count.saturating_add(1);
        }
        true
    }
}

fn describe_principals(keytab: &Keytab) -> String {
    let names: BTreeSet<String> = keytab.entries.iter().map(|entry| entry.principal.to_string()).collect();
    if names.is_empty() {
        return "a keytab without keys".to_owned();
    }
    list_in_words("keys of ", names.into_iter(), " in the keytab")
}

/// The first of `items` and how many more there are, with a text before and after.
pub(crate) fn list_in_words(
    before: &str,
    items: impl ExactSizeIterator<Item = String>,
    after: &str,
) -> String {
    let mut text = before.to_owned();
    let more = items.len().saturating_sub(MAX_LISTED);
    for (index, item) in items.take(MAX_LISTED).enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{item}");
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text + after
}

/// A ticket that names no kvno fits every key; some keytabs keep the lowest 8 bits only.
fn has_kvno(held: u32, wanted: Option<u32>) -> bool {
    wanted.is_none_or(|wanted| held == wanted || held == low_bits(wanted))
}

const fn low_bits(kvno: u32) -> u32 {
    kvno & 0xFF
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
