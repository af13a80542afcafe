#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_types,
    reason = "a test fails by panicking, and has files"
)]

use super::*;
use crate::accounts::Failures;
use countersign_testkit::TestRng;
use std::fs::OpenOptions;
use std::time::Duration;
use tempfile::TempDir;

const REALM_NAME: &str = "STORE.TEST";

const NOW: Timestamp = Timestamp::new(1_790_000_000, 0);

/// A realm's file and its master key.
struct Place {
    folder: TempDir,
    rng: TestRng,
    digits: Secret,
}

impl Place {
    fn new() -> Self {
        let mut rng = TestRng::new(1);
        let digits = MasterKey::generate(&mut rng).to_file();
        Self { folder: tempfile::tempdir().unwrap(), rng, digits }
    }

    fn file(&self) -> File {
        let path = self.folder.path().join("realm.redb");
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn master(&self) -> MasterKey {
        MasterKey::parse(&self.digits).unwrap()
    }

    fn create(&mut self) -> Store {
        let policy = RealmPolicy::new(REALM_NAME);
        Store::create(self.file(), &self.master(), &policy, NOW, &mut self.rng).unwrap()
    }

    fn open(&mut self) -> Result<Store, StoreError> {
        Store::open(self.file(), &self.master(), &mut self.rng)
    }
}

fn name(text: &str) -> AccountName {
    AccountName::parse(text).unwrap()
}

fn record(of: &AccountName, rng: &mut TestRng) -> Record {
    let kind = if of.components().len() == 2 { AccountKind::Service } else { AccountKind::User };
    Record::new(of, REALM_NAME, kind, random_keys(1, rng), NOW)
}

fn add(store: &Store, text: &str, rng: &mut TestRng) -> Record {
    let of = name(text);
    let record = record(&of, rng);
    store.insert(&of, &record, rng).unwrap();
    record
}

fn find(store: &Store, text: &str) -> Option<Account> {
    store.find(&name(text).principal(REALM_NAME)).unwrap()
}

/// The sealed record of an account, as it lies in the file.
fn sealed(store: &Store, text: &str) -> Vec<u8> {
    let read = store.database.begin_read().unwrap();
    let accounts = read.open_table(ACCOUNTS).unwrap();
    accounts.get(name(text).key().as_slice()).unwrap().unwrap().value().to_vec()
}

fn put_sealed(store: &Store, key: &[u8], sealed: &[u8]) {
    let changes = store.database.begin_write().unwrap();
    changes.open_table(ACCOUNTS).unwrap().insert(key, sealed).unwrap();
    changes.commit().unwrap();
}

#[test]
fn accounts_are_there_after_reopening() {
    let mut place = Place::new();
    let store = place.create();
    let alice = add(&store, "alice", &mut place.rng);
    add(&store, "HTTP/a.test", &mut place.rng);
    let secret = store.secret().clone();
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(store.realm(), REALM_NAME);
    assert_eq!(store.policy(), RealmPolicy::new(REALM_NAME));
    assert_eq!(store.secret().expose(), secret.expose());
    let found = find(&store, "alice").unwrap();
    assert_eq!(found.principal, alice.account.principal);
    assert_eq!(found.kind, AccountKind::User);
    let keys = |account: &Account| -> Vec<Vec<u8>> {
        account.keys.iter().map(|key| key.key.expose().to_vec()).collect()
    };
    assert_eq!(keys(&found), keys(&alice.account));
    assert_eq!(find(&store, "HTTP/a.test").unwrap().kind, AccountKind::Service);
    assert!(find(&store, "bob").is_none());
    let krbtgt = find(&store, "krbtgt/STORE.TEST").unwrap();
    assert_eq!(krbtgt.kind, AccountKind::TicketGranting);
    assert_eq!(krbtgt.keys.len(), 4);
}

#[test]
fn another_master_key_is_told_when_the_file_is_opened() {
    let mut place = Place::new();
    drop(place.create());
    place.digits = MasterKey::generate(&mut place.rng).to_file();
    assert_eq!(place.open().err(), Some(StoreError::WrongMasterKey));
}

#[test]
fn what_is_no_realm_is_refused() {
    let mut place = Place::new();
    assert_eq!(place.open().err(), Some(StoreError::NoRealm));
    std::fs::write(place.folder.path().join("realm.redb"), vec![b'x'; 8_192]).unwrap();
    assert!(place.open().is_err());
    let mut place = Place::new();
    drop(Database::builder().create_file(place.file()).unwrap());
    assert_eq!(place.open().err(), Some(StoreError::NoRealm));
}

#[test]
fn a_second_realm_in_one_file_is_refused() {
    let mut place = Place::new();
    drop(place.create());
    let policy = RealmPolicy::new("OTHER.TEST");
    let second = Store::create(place.file(), &place.master(), &policy, NOW, &mut TestRng::new(5));
    assert_eq!(second.err(), Some(StoreError::HoldsRealm));
    assert_eq!(place.open().unwrap().realm(), REALM_NAME);
}

#[test]
fn a_later_format_is_refused() {
    let mut place = Place::new();
    let store = place.create();
    let changes = store.database.begin_write().unwrap();
    let format = 2_u32.to_be_bytes();
    changes.open_table(REALM).unwrap().insert(ENTRY_FORMAT, format.as_slice()).unwrap();
    changes.commit().unwrap();
    drop(store);
    assert_eq!(place.open().err(), Some(StoreError::TooNew { found: 2 }));
}

#[test]
fn a_second_opener_of_the_file_is_refused() {
    let mut place = Place::new();
    let _store = place.create();
    let error = place.open().err().unwrap();
    assert!(error.to_string().contains("another process has it open"), "{error}");
}

#[test]
fn records_cannot_be_swapped_between_accounts() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    add(&store, "mallory", &mut place.rng);
    put_sealed(&store, b"alice", &sealed(&store, "mallory"));
    let alice = name("alice").principal(REALM_NAME);
    assert!(store.find(&alice).is_err());
    assert!(matches!(store.get(&name("alice")), Err(StoreError::Damaged(_))));
    assert!(find(&store, "mallory").is_some());
}

#[test]
fn an_altered_record_is_refused() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    let mut altered = sealed(&store, "alice");
    altered[40] ^= 1;
    put_sealed(&store, b"alice", &altered);
    assert!(store.find(&name("alice").principal(REALM_NAME)).is_err());
}

#[test]
fn an_alias_put_into_the_file_leads_nowhere() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "HTTP/evil.test", &mut place.rng);
    let changes = store.database.begin_write().unwrap();
    let (alias, own) = (name("HTTP/bank.test").key(), name("HTTP/evil.test").key());
    changes.open_table(ALIASES).unwrap().insert(alias.as_slice(), own.as_slice()).unwrap();
    changes.commit().unwrap();
    assert!(store.find(&name("HTTP/bank.test").principal(REALM_NAME)).is_err());
}

#[test]
fn no_key_lies_in_the_file_as_it_is() {
    let mut place = Place::new();
    let store = place.create();
    let record = add(&store, "alice", &mut place.rng);
    drop(store);
    let file = std::fs::read(place.folder.path().join("realm.redb")).unwrap();
    for key in &record.account.keys {
        let bytes = key.key.expose();
        assert!(!file.windows(bytes.len()).any(|window| window == bytes), "{}", key.key.etype());
    }
}

#[test]
fn aliases_lead_to_the_account_and_go_with_it() {
    let mut place = Place::new();
    let store = place.create();
    let of = name("HTTP/web.test");
    let mut web = record(&of, &mut place.rng);
    web.aliases = vec![name("HTTP/www.test"), name("HTTP/web")];
    store.insert(&of, &web, &mut place.rng).unwrap();
    assert_eq!(find(&store, "HTTP/www.test").unwrap().principal, of.principal(REALM_NAME));
    let taken = store.insert(&name("HTTP/web"), &web, &mut place.rng);
    assert_eq!(taken, Err(StoreError::Exists(name("HTTP/web"))));
    let added = store.update(&name("HTTP/web"), &mut place.rng, |record| {
        record.aliases.retain(|alias| *alias != name("HTTP/www.test"));
        record.aliases.push(name("HTTP/new.test"));
        Ok::<_, StoreError>(())
    });
    assert_eq!(added.unwrap().0, of);
    assert!(find(&store, "HTTP/www.test").is_none());
    assert!(find(&store, "HTTP/new.test").is_some());
    assert_eq!(store.remove(&name("HTTP/web")), Err(StoreError::Absent(name("HTTP/web"))));
    store.remove(&of).unwrap();
    for gone in ["HTTP/web.test", "HTTP/web", "HTTP/new.test"] {
        assert!(find(&store, gone).is_none(), "{gone}");
    }
    add(&store, "HTTP/web", &mut place.rng);
}

#[test]
fn an_alias_that_is_taken_leaves_everything_as_it_was() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    let of = name("bob");
    let mut bob = record(&of, &mut place.rng);
    bob.aliases = vec![name("robert"), name("alice")];
    assert_eq!(store.insert(&of, &bob, &mut place.rng), Err(StoreError::Exists(name("alice"))));
    assert!(find(&store, "bob").is_none());
    assert!(find(&store, "robert").is_none());
    let refused = store.update(&name("alice"), &mut place.rng, |record| {
        record.aliases.push(name("alice"));
        Ok::<_, StoreError>(())
    });
    assert_eq!(refused.err(), Some(StoreError::Exists(name("alice"))));
    assert!(store.get(&name("alice")).unwrap().unwrap().1.aliases.is_empty());
}

#[test]
fn a_change_that_refuses_changes_nothing() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    let refused = store.update(&name("alice"), &mut place.rng, |record| {
        record.account.disabled = true;
        Err(StoreError::NoRealm)
    });
    assert_eq!(refused.err(), Some(StoreError::NoRealm));
    assert!(!find(&store, "alice").unwrap().disabled);
}

#[test]
fn names_of_other_realms_and_shapes_find_nobody() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    let strangers = [
        Principal::new("OTHER.TEST", &["alice"]),
        Principal::new(REALM_NAME, &[]),
        Principal::new(REALM_NAME, &["alice", ""]),
        Principal::new(REALM_NAME, &["", ""]),
        Principal::new(REALM_NAME, &["\0"]),
        Principal::new(REALM_NAME, &["a", "b", "c"]),
        Principal::new(REALM_NAME, &[&"x".repeat(70_000)]),
        Principal { components: vec![vec![0xFF, 0xFE]], ..Principal::new(REALM_NAME, &[]) },
    ];
    for stranger in strangers {
        assert!(store.find(&stranger).unwrap().is_none(), "{stranger}");
        store.record_failure(&stranger, NOW).unwrap();
        store.record_success(&stranger).unwrap();
    }
    assert!(store.counts().take_unsaved().is_none());
}

#[test]
fn failures_are_counted_forgotten_and_written() {
    let mut place = Place::new();
    let store = place.create();
    add(&store, "alice", &mut place.rng);
    add(&store, "bob", &mut place.rng);
    let principal = |text| name(text).principal(REALM_NAME);
    for _ in 0..3 {
        store.record_failure(&principal("alice"), NOW).unwrap();
        store.record_failure(&principal("bob"), NOW).unwrap();
    }
    let failures = find(&store, "alice").unwrap().failures;
    assert_eq!(failures, Failures { count: 3, last: Some(NOW) });
    store.save_failures().unwrap();
    store.record_success(&principal("bob")).unwrap();
    assert_eq!(find(&store, "bob").unwrap().failures, Failures::default());
    store.save_failures().unwrap();
    drop(store);
    let store = place.open().unwrap();
    assert_eq!(find(&store, "alice").unwrap().failures, failures);
    assert_eq!(find(&store, "bob").unwrap().failures, Failures::default());
    store.remove(&name("alice")).unwrap();
    add(&store, "alice", &mut place.rng);
    assert_eq!(find(&store, "alice").unwrap().failures, Failures::default());
}

#[test]
fn accounts_are_listed_in_order_and_in_pieces() {
    let mut place = Place::new();
    let store = place.create();
    for user in ["zoe", "alice", "bob"] {
        add(&store, user, &mut place.rng);
    }
    let names = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(name);
        let listed = store.list(after.as_ref(), limit).unwrap();
        listed.into_iter().map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!(names(None, 10), ["alice", "bob", "krbtgt/STORE.TEST", "zoe"]);
    assert_eq!(names(None, 2), ["alice", "bob"]);
    assert_eq!(names(Some("bob"), 2), ["krbtgt/STORE.TEST", "zoe"]);
    assert_eq!(names(Some("zoe"), 2), Vec::<String>::new());
}

#[test]
fn a_policy_is_kept_and_the_realm_keeps_its_name() {
    let mut place = Place::new();
    let store = place.create();
    let mut policy = RealmPolicy::new("OTHER.TEST");
    policy.max_life = Duration::from_secs(77);
    policy.allow_encrypted_timestamp = true;
    store.set_policy(&policy, &mut place.rng).unwrap();
    policy.realm = REALM_NAME.to_owned();
    assert_eq!(store.policy(), policy);
    drop(store);
    assert_eq!(place.open().unwrap().policy(), policy);
}

#[test]
fn a_file_that_was_copied_in_the_middle_of_its_use_opens() {
    let mut place = Place::new();
    let store = place.create();
    for number in 0..50 {
        add(&store, &format!("user{number}"), &mut place.rng);
    }
    // As after kill -9: the file as the disk has it, without the end that closing gives it.
    let copy = std::fs::read(place.folder.path().join("realm.redb")).unwrap();
    drop(store);
    std::fs::write(place.folder.path().join("realm.redb"), copy).unwrap();
    let store = place.open().unwrap();
    assert_eq!(store.list(None, 100).unwrap().len(), 51);
}

#[test]
fn keys_whose_time_is_over_are_forgotten_in_every_account() {
    let mut place = Place::new();
    let store = place.create();
    let until = NOW.saturating_add(Duration::from_secs(60));
    for service in ["HTTP/a.test", "HTTP/b.test"] {
        add(&store, service, &mut place.rng);
        let changed = store.update(&name(service), &mut place.rng, |record| {
            record.replace_keys(random_keys(2, &mut TestRng::new(9)), Some(until), NOW);
            Ok::<_, StoreError>(())
        });
        assert_eq!(changed.unwrap().1.account.keys.len(), 8);
    }
    assert!(!store.forget_retired(NOW, &mut place.rng).unwrap());
    assert_eq!(find(&store, "HTTP/a.test").unwrap().keys.len(), 8);
    assert!(store.forget_retired(until, &mut place.rng).unwrap());
    assert!(!store.forget_retired(until, &mut place.rng).unwrap());
    assert_eq!(find(&store, "HTTP/a.test").unwrap().keys.len(), 4);
    assert_eq!(find(&store, "HTTP/b.test").unwrap().keys.len(), 4);
}
