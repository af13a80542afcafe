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
use crate::accounts::Accounts;
use crate::store::MasterKey;
use countersign_proto::crypto::{Etype, string_to_key};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_testkit::TestRng;
use std::cell::RefCell;

const NOW: Timestamp = Timestamp::new(1_790_000_000, 0);

struct Office {
    store: Store,
    rng: RefCell<TestRng>,
}

impl Office {
    fn new() -> Self {
        let mut rng = TestRng::new(3);
        let master = MasterKey::generate(&mut rng);
        let policy = RealmPolicy::new("ADMIN.TEST");
        let store = Store::create(tempfile::tempfile().unwrap(), &master, &policy, NOW, &mut rng).unwrap();
        Self { store, rng: RefCell::new(rng) }
    }

    fn ask(&self, request: &Request) -> Result<Response, AdminError> {
        self.ask_at(request, NOW)
    }

    fn ask_at(&self, request: &Request, now: Timestamp) -> Result<Response, AdminError> {
        apply(&self.store, request, now, &mut *self.rng.borrow_mut())
    }

    fn account(&self, request: &Request) -> AccountView {
        match self.ask(request).unwrap() {
            Response::Account(account) => account,
            _ => panic!("another answer"),
        }
    }

    /// The code that a request is refused with, after its way over the wire.
    fn refused(&self, request: &Request) -> u16 {
        let refusal = Refusal::from(self.ask(request).err().expect("a refusal"));
        let line = Response::refused(&refusal).to_line().unwrap();
        let same = Response::from_line(line.expose()).unwrap().into_result().err().unwrap();
        assert_eq!(same, refusal);
        refusal.code().number()
    }

    fn add_user(&self, name: &str) {
        self.ask(&add_user(name, "Secret.123")).unwrap();
    }

    fn add_service(&self, name: &str) {
        self.ask(&Request::AddService { name: name.to_owned(), changes: Changes::default() }).unwrap();
    }

    fn kvnos(&self, name: &str) -> Vec<u32> {
        let (_, record) = self.store.get(&AccountName::parse(name).unwrap()).unwrap().unwrap();
        let mut kvnos: Vec<u32> = record.account.keys.iter().map(|key| key.kvno).collect();
        kvnos.dedup();
        kvnos
    }
}

fn secret(password: &str) -> HexSecret {
    HexSecret(Secret::from(password.as_bytes()))
}

fn add_user(name: &str, password: &str) -> Request {
    Request::AddUser { name: name.to_owned(), password: secret(password), changes: Changes::default() }
}

fn set_password(name: &str, password: &str) -> Request {
    Request::SetPassword { name: name.to_owned(), password: secret(password) }
}

fn new_keys(name: &str) -> Request {
    Request::NewKeys { name: name.to_owned() }
}

fn change(name: &str, changes: Changes) -> Request {
    Request::Change { name: name.to_owned(), changes }
}

fn remove(name: &str) -> Request {
    Request::Remove { name: name.to_owned() }
}

fn export(name: &str) -> Request {
    Request::Export { name: name.to_owned() }
}

#[test]
fn a_new_user_has_the_keys_of_the_password_in_every_etype() {
    let office = Office::new();
    let view = office.account(&add_user("alice", "Secret.123"));
    assert_eq!((view.name.as_str(), view.kind, view.kvno), ("alice", KindView::User, 1));
    assert_eq!(view.etypes.len(), 4);
    let alice = office.store.find(&Principal::new("ADMIN.TEST", &["alice"])).unwrap().unwrap();
    for key in &alice.keys {
        let same = string_to_key(key.key.etype(), b"Secret.123", b"ADMIN.TESTalice", None).unwrap();
        assert_eq!(same.expose(), key.key.expose());
        assert_eq!(key.salt.as_deref(), Some(&b"ADMIN.TESTalice"[..]));
    }
}

#[test]
fn a_new_password_takes_the_place_of_the_old_one_and_of_the_failures() {
    let office = Office::new();
    office.add_user("alice");
    let principal = Principal::new("ADMIN.TEST", &["alice"]);
    office.store.record_failure(&principal, NOW).unwrap();
    let before = office.store.find(&principal).unwrap().unwrap();
    let view = office.account(&set_password("alice", "Another.456"));
    assert_eq!((view.kvno, view.failures), (2, 0));
    assert_eq!(office.kvnos("alice"), [2]);
    let after = office.store.find(&principal).unwrap().unwrap();
    assert_eq!(after.failures.count, 0);
    assert!(after.keys.iter().zip(&before.keys).all(|(new, old)| new.key.expose() != old.key.expose()));
}

#[test]
fn passwords_that_would_be_guessed_are_refused() {
    let office = Office::new();
    for password in
        ["", "short.1", "aaaaaaaaaa", "alice.longname", "ALICE.Longname", "admin.test", "tab\tinside"]
    {
        let code = office.refused(&add_user("alice.longname", password));
        assert_eq!(code, code::PASSWORD_TOO_WEAK.number(), "{password:?}");
    }
    office.add_user("alice");
    assert_eq!(office.refused(&set_password("alice", "short")), code::PASSWORD_TOO_WEAK.number());
    assert_eq!(office.kvnos("alice"), [1]);
}

#[test]
fn names_are_taken_once() {
    let office = Office::new();
    office.add_user("alice");
    office.add_service("HTTP/a.test");
    assert_eq!(office.refused(&add_user("alice", "Secret.123")), code::ACCOUNT_EXISTS.number());
    let service = Request::AddService { name: "HTTP/a.test".to_owned(), changes: Changes::default() };
    assert_eq!(office.refused(&service), code::ACCOUNT_EXISTS.number());
    for name in ["krbtgt/OTHER.TEST", "kadmin/admin", "web", "a b/c"] {
        let service = Request::AddService { name: name.to_owned(), changes: Changes::default() };
        assert_eq!(office.refused(&service), code::ACCOUNT_NAME_UNUSABLE.number(), "{name}");
    }
}

#[test]
fn new_keys_of_a_service_leave_the_old_ones_until_no_ticket_is_under_them() {
    let office = Office::new();
    office.add_service("HTTP/a.test");
    let view = office.account(&new_keys("HTTP/a.test"));
    assert_eq!((view.kvno, view.older_kvnos.as_slice()), (2, &[1][..]));
    assert_eq!(office.kvnos("HTTP/a.test"), [2, 1]);
    let later = NOW.saturating_add(Duration::from_secs(10 * 3_600 + 300));
    office.ask_at(&change("HTTP/a.test", Changes::default()), later).unwrap();
    assert_eq!(office.kvnos("HTTP/a.test"), [2]);
}

#[test]
fn the_realms_own_keys_can_be_renewed_and_nothing_else_done_to_them() {
    let office = Office::new();
    let view = office.account(&new_keys("krbtgt/ADMIN.TEST"));
    assert_eq!((view.kind, view.kvno), (KindView::Realm, 2));
    assert_eq!(office.kvnos("krbtgt/ADMIN.TEST"), [2, 1]);
    let name = "krbtgt/ADMIN.TEST";
    for request in [
        remove(name),
        export(name),
        set_password(name, "Secret.123"),
        change(name, Changes { disabled: Some(true), ..Changes::default() }),
    ] {
        assert_eq!(office.refused(&request), code::ACCOUNT_UNFIT.number());
    }
}

#[test]
fn what_a_kind_of_account_has_not_is_refused() {
    let office = Office::new();
    office.add_user("alice");
    office.add_service("HTTP/a.test");
    let expires = Changes { password_expires: Set::To(5), ..Changes::default() };
    for request in [
        new_keys("alice"),
        export("alice"),
        set_password("HTTP/a.test", "Secret.123"),
        change("HTTP/a.test", expires),
    ] {
        assert_eq!(office.refused(&request), code::ACCOUNT_UNFIT.number(), "{}", request.described());
    }
}

#[test]
fn who_is_not_there_cannot_be_changed() {
    let office = Office::new();
    for request in [
        set_password("bob", "Secret.123"),
        new_keys("bob"),
        change("bob", Changes::default()),
        remove("bob"),
        export("HTTP/b.test"),
    ] {
        assert_eq!(office.refused(&request), code::ACCOUNT_ABSENT.number(), "{}", request.described());
    }
}

#[test]
fn an_exported_keytab_has_every_key_of_the_service_and_changes_none() {
    let office = Office::new();
    office.add_service("HTTP/a.test");
    office.ask(&new_keys("HTTP/a.test")).unwrap();
    let Response::Keys { name, realm, keys } = office.ask(&export("HTTP/a.test")).unwrap() else {
        panic!("another answer");
    };
    assert_eq!((name.as_str(), realm.as_str()), ("HTTP/a.test", "ADMIN.TEST"));
    let account = office.store.find(&Principal::new("ADMIN.TEST", &["HTTP", "a.test"])).unwrap().unwrap();
    let same = account.keys.iter().zip(&keys).all(|(key, exported)| {
        key.kvno == exported.kvno
            && key.key.etype().wire() == exported.etype
            && exported.key.0.ct_eq(key.key.expose())
    });
    assert!(same && keys.len() == 8 && account.keys.len() == 8);
}

#[test]
fn properties_change_one_by_one() {
    let office = Office::new();
    office.add_user("alice");
    let changes = Changes {
        disabled: Some(true),
        expires: Set::To(1_800_000_000),
        max_life: Set::To(3_600),
        add_aliases: vec!["alice@corp.test".to_owned()],
        ..Changes::default()
    };
    let view = office.account(&change("alice", changes));
    assert!(view.disabled && view.forwardable);
    assert_eq!(view.expires.as_deref(), Some("2027-01-15T08:00:00Z"));
    assert_eq!((view.max_life, view.max_renewable_life), (Some(3_600), None));
    assert_eq!(view.aliases, ["alice@corp.test"]);
    let back = Changes {
        disabled: Some(false),
        forwardable: Some(false),
        expires: Set::Clear,
        remove_aliases: vec!["alice@corp.test".to_owned()],
        ..Changes::default()
    };
    let view = office.account(&change("alice", back));
    assert!(!view.disabled && !view.forwardable && view.aliases.is_empty());
    assert_eq!((view.expires, view.max_life), (None, Some(3_600)));
}

#[test]
fn aliases_have_the_form_of_their_account() {
    let office = Office::new();
    office.add_user("alice");
    office.add_service("HTTP/a.test");
    let alias = |alias: &str| Changes { add_aliases: vec![alias.to_owned()], ..Changes::default() };
    for (name, other) in [("alice", "HTTP/b.test"), ("HTTP/a.test", "web"), ("HTTP/a.test", "krbtgt/X.TEST")]
    {
        assert_eq!(
            office.refused(&change(name, alias(other))),
            code::ACCOUNT_NAME_UNUSABLE.number(),
            "{other}"
        );
    }
    assert_eq!(office.refused(&change("HTTP/a.test", alias("HTTP/a.test"))), code::ACCOUNT_EXISTS.number());
    let absent = Changes { remove_aliases: vec!["ally".to_owned()], ..Changes::default() };
    assert_eq!(office.refused(&change("alice", absent)), code::ACCOUNT_ABSENT.number());
}

#[test]
fn a_locked_account_is_shown_and_unlocked() {
    let office = Office::new();
    office.add_user("alice");
    let principal = Principal::new("ADMIN.TEST", &["alice"]);
    for _ in 0..7 {
        office.store.record_failure(&principal, NOW).unwrap();
    }
    let view = office.account(&change("alice", Changes::default()));
    assert_eq!(view.failures, 7);
    assert_eq!(view.locked_until, Some(NOW.saturating_add(Duration::from_secs(2)).to_string()));
    let view = office.account(&change("alice", Changes { unlock: true, ..Changes::default() }));
    assert_eq!((view.failures, view.locked_until), (0, None));
}

#[test]
fn accounts_are_listed_in_pieces() {
    let office = Office::new();
    (0..300).for_each(|number| office.add_service(&format!("HTTP/host{number:03}.test")));
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let Response::Accounts { accounts, more } = office.ask(&Request::List { after }).unwrap() else {
            panic!("another answer");
        };
        names.extend(accounts.into_iter().map(|account| account.name));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names.len(), 301);
    assert!(names.is_sorted());
}

#[test]
fn a_policy_changes_within_its_bounds() {
    let office = Office::new();
    let ask = |changes: PolicyChanges| office.ask(&Request::Policy { changes });
    let good = PolicyChanges {
        permitted_enctypes: Some(vec![20, 18]),
        max_life: Some(3_600),
        allow_encrypted_timestamp: Some(true),
        lockout_threshold: Some(2),
        ..PolicyChanges::default()
    };
    assert!(ask(good).is_ok());
    let policy = office.store.policy();
    assert_eq!(policy.permitted_enctypes, [Etype::Aes256CtsHmacSha384_192, Etype::Aes256CtsHmacSha1_96]);
    assert_eq!(policy.max_life, Duration::from_secs(3_600));
    assert!(policy.allow_encrypted_timestamp);
    for wrong in [
        PolicyChanges { permitted_enctypes: Some(vec![]), ..PolicyChanges::default() },
        PolicyChanges { permitted_enctypes: Some(vec![18, 23]), ..PolicyChanges::default() },
        PolicyChanges { spake_groups: Some(vec![9]), ..PolicyChanges::default() },
        PolicyChanges { max_life: Some(59), ..PolicyChanges::default() },
        PolicyChanges { clock_skew: Some(86_401), ..PolicyChanges::default() },
        PolicyChanges { lockout_first_delay: Some(0), ..PolicyChanges::default() },
    ] {
        assert_eq!(office.refused(&Request::Policy { changes: wrong }), code::USAGE.number());
    }
    assert_eq!(office.store.policy(), policy);
}
