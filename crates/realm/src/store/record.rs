//! An account as bytes, before they are sealed: its facts in JSON, then the keys as they are.

use super::name::AccountName;
use crate::accounts::{Account, AccountKey, AccountKind, Failures};
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::secret::Secret;
use countersign_proto::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An account, and what else the database has about it.
#[derive(Clone)]
pub struct Record {
    /// The account as the KDC sees it. Its failures are kept apart, and are none where nothing else is said.
    pub account: Account,
    /// Other names that lead to it.
    pub aliases: Vec<AccountName>,
    /// Until when keys are kept that newer ones took the place of: a version and a time each.
    pub retired: Vec<(u32, Timestamp)>,
    /// When the newest keys were made.
    pub keys_made: Timestamp,
}

impl Record {
    /// An account of this name with these keys and nothing else about it.
    #[must_use]
    pub fn new(
        name: &AccountName,
        realm: &str,
        kind: AccountKind,
        keys: Vec<AccountKey>,
        now: Timestamp,
    ) -> Self {
        let account = Account {
            principal: name.principal(realm),
            kind,
            keys,
            max_life: None,
            max_renewable_life: None,
            expires: None,
            password_expires: None,
            disabled: false,
            forwardable: true,
            failures: Failures::default(),
        };
        Self { account, aliases: Vec::new(), retired: Vec::new(), keys_made: now }
    }

    /// The version of the newest keys; 0 if there are none.
    #[must_use]
    pub fn kvno(&self) -> u32 {
        self.account.keys.iter().map(|key| key.kvno).max().unwrap_or(0)
    }

    /// Puts `keys`, of a version above all others, in front. Those before them are kept until `keep_until`, or forgotten at
    /// once if that is not said.
    pub fn replace_keys(&mut self, keys: Vec<AccountKey>, keep_until: Option<Timestamp>, now: Timestamp) {
        let newest = self.kvno();
        match keep_until {
            Some(until) => self.retired.push((newest, until)),
            None => {
                self.account.keys.clear();
                self.retired.clear();
            }
        }
        self.account.keys.splice(0..0, keys);
        self.keys_made = now;
        self.forget_retired(now);
    }

    /// Forgets the keys whose time is over, and says whether there were any.
    pub fn forget_retired(&mut self, now: Timestamp) -> bool {
        let newest = self.kvno();
        let before = self.account.keys.len();
        let over: Vec<u32> =
            self.retired.iter().filter(|(_, until)| *until <= now).map(|(kvno, _)| *kvno).collect();
        self.account.keys.retain(|key| key.kvno == newest || !over.contains(&key.kvno));
        self.retired.retain(|(_, until)| *until > now);
        self.account.keys.len() != before
    }

    pub(super) fn to_bytes(&self) -> Result<Secret, serde_json::Error> {
        let facts = serde_json::to_vec(&Facts::of(self))?;
        let keys = &self.account.keys;
        let length = keys
            .iter()
            .fold(facts.len().saturating_add(LENGTH), |sum, key| sum.saturating_add(key.key.expose().len()));
        // Room for all of it at once: a buffer that grows leaves copies of keys behind.
        let mut bytes = Secret::new(Vec::with_capacity(length));
        let out = bytes.expose_mut();
        out.extend_from_slice(&u32::try_from(facts.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&facts);
        keys.iter().for_each(|key| out.extend_from_slice(key.key.expose()));
        Ok(bytes)
    }

    pub(super) fn from_bytes(name: &AccountName, realm: &str, bytes: &Secret) -> Option<Self> {
        let (length, rest) = bytes.expose().split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (facts, keys) = rest.split_at_checked(length)?;
        serde_json::from_slice::<Facts>(facts).ok()?.into_record(name, realm, keys)
    }
}

/// Bytes in front of the facts, which hold their length.
const LENGTH: usize = 4;

/// All but the keys' own bytes. Times are seconds since 1970, lengths of time seconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    kind: Kind,
    keys: Vec<KeyFacts>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    retired: Vec<(u32, i64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    keys_made: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_life: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_renewable_life: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_expires: Option<i64>,
    disabled: bool,
    forwardable: bool,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    User,
    Service,
    Realm,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFacts {
    kvno: u32,
    etype: i32,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
}

impl Facts {
    fn of(record: &Record) -> Self {
        let account = &record.account;
        Self {
            kind: match account.kind {
                AccountKind::User => Kind::User,
                AccountKind::Service => Kind::Service,
                AccountKind::TicketGranting => Kind::Realm,
            },
            keys: account.keys.iter().map(KeyFacts::of).collect(),
            retired: record.retired.iter().map(|(kvno, until)| (*kvno, until.seconds())).collect(),
            aliases: record.aliases.iter().map(ToString::to_string).collect(),
            keys_made: record.keys_made.seconds(),
            max_life: account.max_life.map(|length| length.as_secs()),
            max_renewable_life: account.max_renewable_life.map(|length| length.as_secs()),
            expires: account.expires.map(Timestamp::seconds),
            password_expires: account.password_expires.map(Timestamp::seconds),
            disabled: account.disabled,
            forwardable: account.forwardable,
        }
    }

    fn into_record(self, name: &AccountName, realm: &str, mut bytes: &[u8]) -> Option<Record> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for facts in self.keys {
            let etype = Etype::from_wire(facts.etype)?;
            let (key, rest) = bytes.split_at_checked(etype.key_len())?;
            bytes = rest;
            let salt = facts.salt.map(hex::decode).transpose().ok()?;
            keys.push(AccountKey { kvno: facts.kvno, key: Key::new(etype, key).ok()?, salt });
        }
        let time = |seconds: i64| Timestamp::new(seconds, 0);
        let account = Account {
            principal: name.principal(realm),
            kind: match self.kind {
                Kind::User => AccountKind::User,
                Kind::Service => AccountKind::Service,
                Kind::Realm => AccountKind::TicketGranting,
            },
            keys,
            max_life: self.max_life.map(Duration::from_secs),
            max_renewable_life: self.max_renewable_life.map(Duration::from_secs),
            expires: self.expires.map(time),
            password_expires: self.password_expires.map(time),
            disabled: self.disabled,
            forwardable: self.forwardable,
            failures: Failures::default(),
        };
        let aliases =
            self.aliases.iter().map(|alias| AccountName::parse(alias).ok()).collect::<Option<_>>()?;
        let retired = self.retired.into_iter().map(|(kvno, until)| (kvno, time(until))).collect();
        bytes.is_empty().then_some(Record { account, aliases, retired, keys_made: time(self.keys_made) })
    }
}

impl KeyFacts {
    fn of(key: &AccountKey) -> Self {
        Self { kvno: key.kvno, etype: key.key.etype().wire(), salt: key.salt.as_ref().map(hex::encode) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use countersign_proto::crypto::Etype;
    use countersign_testkit::TestRng;

    fn key(kvno: u32, etype: Etype) -> AccountKey {
        let salt = kvno.is_multiple_of(2).then(|| b"REALM.TESTalice".to_vec());
        AccountKey { kvno, key: Key::generate(etype, &mut TestRng::new(kvno.into())), salt }
    }

    fn kvnos(record: &Record) -> Vec<u32> {
        record.account.keys.iter().map(|key| key.kvno).collect()
    }

    fn service(now: i64) -> Record {
        let name = AccountName::parse("HTTP/a.test").unwrap();
        let keys = vec![key(1, Etype::Aes256CtsHmacSha1_96)];
        Record::new(&name, "REALM.TEST", AccountKind::Service, keys, Timestamp::new(now, 0))
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let name = AccountName::parse("alice").unwrap();
        let keys = vec![key(2, Etype::Aes128CtsHmacSha256_128), key(1, Etype::Aes256CtsHmacSha384_192)];
        let mut record = Record::new(&name, "REALM.TEST", AccountKind::User, keys, Timestamp::new(5, 0));
        record.aliases.push(AccountName::parse("alice@corp.test").unwrap());
        record.retired.push((1, Timestamp::new(9, 0)));
        record.account.max_life = Some(Duration::from_secs(60));
        record.account.expires = Some(Timestamp::new(7, 0));
        record.account.disabled = true;
        let bytes = record.to_bytes().unwrap();
        let same = Record::from_bytes(&name, "REALM.TEST", &bytes).unwrap();
        assert!(same.to_bytes().unwrap().ct_eq(bytes.expose()));
        assert_eq!(same.account.principal, record.account.principal);
        assert_eq!(kvnos(&same), [2, 1]);
        assert_eq!(same.account.keys[0].salt.as_deref(), Some(&b"REALM.TESTalice"[..]));
        assert_eq!(same.account.keys[1].salt, None);
        assert!(same.account.disabled);
    }

    #[test]
    fn bytes_that_are_cut_or_have_something_behind_them_are_no_record() {
        let name = AccountName::parse("HTTP/a.test").unwrap();
        let bytes = service(0).to_bytes().unwrap();
        for length in 0..bytes.len() {
            let cut = Secret::from(&bytes.expose()[..length]);
            assert!(Record::from_bytes(&name, "REALM.TEST", &cut).is_none(), "{length}");
        }
        let longer = Secret::new([bytes.expose(), b"x"].concat());
        assert!(Record::from_bytes(&name, "REALM.TEST", &longer).is_none());
    }

    #[test]
    fn old_keys_of_a_service_are_kept_for_a_time_and_then_forgotten() {
        let mut record = service(0);
        let until = Timestamp::new(100, 0);
        record.replace_keys(vec![key(2, Etype::Aes256CtsHmacSha1_96)], Some(until), Timestamp::new(10, 0));
        assert_eq!(kvnos(&record), [2, 1]);
        assert!(!record.forget_retired(Timestamp::new(99, 0)));
        assert_eq!(kvnos(&record), [2, 1]);
        assert!(record.forget_retired(until));
        assert_eq!(kvnos(&record), [2]);
        assert!(record.retired.is_empty());
    }

    #[test]
    fn old_keys_of_a_user_are_forgotten_at_once() {
        let mut record = service(0);
        record.replace_keys(vec![key(2, Etype::Aes256CtsHmacSha1_96)], None, Timestamp::new(10, 0));
        assert_eq!(kvnos(&record), [2]);
    }
}
