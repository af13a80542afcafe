//! A realm does not tell strangers who is in it: a name that nobody has is answered as one that somebody has, in every step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::krb5::kdc_exchange::{Exchange, Login, Step, TicketOptions};
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_realm::{Outcome, RealmPolicy, Reason};
use support::wire::{error, etype_info2, shape};
use support::{ALL, NOW, REALM, SERVICE, TestRealm, after, named, password};

/// What can be seen of an answer: code, types and lengths of hints, length of the message.
type Seen = (i32, Vec<(i32, usize)>, usize);

/// What can be seen of the answers to a whole login.
fn seen(realm: &TestRealm, login: Login, options: TicketOptions) -> Vec<Seen> {
    let mut exchange = realm.begin(login, options, NOW);
    let mut seen = Vec::new();
    loop {
        let reply = realm.handle(exchange.request().message).reply.unwrap();
        let (code, hints) = error(&reply);
        seen.push((code, shape(&hints), reply.len()));
        match exchange.reply(&reply, NOW, &mut realm.fresh_rng()) {
            Ok(Step::NeedKdc(next)) => exchange = next,
            Ok(Step::Done(_)) => panic!("a ticket"),
            Err(_) => return seen,
        }
    }
}

fn realms() -> Vec<TestRealm> {
    let base = || RealmPolicy { allow_encrypted_timestamp: true, ..RealmPolicy::new(REALM) };
    vec![
        TestRealm::new(),
        TestRealm::with(base()),
        TestRealm::with(RealmPolicy { spake_groups: Vec::new(), ..base() }),
    ]
}

#[test]
fn a_stranger_of_the_same_length_of_name_sees_what_a_wrong_password_sees() {
    for realm in realms() {
        realm.accounts.change("alice", |alice| alice.disabled = true);
        let spake = !realm.kdc.policy().spake_groups.is_empty();
        for etype in ALL {
            let options = TicketOptions::default().with_enctypes(&[etype]);
            let known = seen(&realm, password("alice", "Wrong.789"), options.clone());
            for nobody in ["carol", "lla/e"] {
                let unknown = seen(&realm, password(nobody, "Wrong.789"), options.clone());
                if nobody == "carol" {
                    assert_eq!(unknown, known);
                }
                assert_eq!(unknown.len(), if spake { 3 } else { 2 });
                assert_eq!(unknown.last().unwrap().0, 24);
            }
        }
    }
}

#[test]
fn in_armor_strangers_see_the_same_too() {
    let realm = TestRealm::new();
    let armor = realm.armor();
    let login = |name| password(name, "Wrong.789").with_armor(armor.clone(), 0);
    let known = seen(&realm, login("alice"), TicketOptions::default());
    assert_eq!(seen(&realm, login("carol"), TicketOptions::default()), known);
    assert_eq!(known.iter().map(|step| step.0).collect::<Vec<_>>(), [25, 91, 24]);
}

#[test]
fn salts_are_told_of_everybody_and_do_not_change() {
    let realm = TestRealm::new();
    let salt = |name: &str| {
        let first = realm.begin(password(name, "x"), TicketOptions::default(), NOW);
        let (code, hints) = error(&realm.handle(first.request().message).reply.unwrap());
        assert_eq!(code, 25);
        etype_info2(&hints)
    };
    assert_eq!(salt("alice"), (18, b"REALM.TESTalice".to_vec()));
    assert_eq!(salt("carol"), (18, b"REALM.TESTcarol".to_vec()));
    assert_eq!(salt("carol"), salt("carol"));
    // A service's keys have no salt, and it is not to be known by that.
    assert_eq!(salt(SERVICE), (18, b"REALM.TESTHTTPa.example.test".to_vec()));
    assert_eq!(salt("HTTP/z.example.test"), (18, b"REALM.TESTHTTPz.example.test".to_vec()));
}

#[test]
fn the_store_has_the_same_work_with_everybody() {
    let realm = TestRealm::new();
    let guess = |name: &str, at| realm.login_at(password(name, "Wrong.789"), TicketOptions::default(), at).1;
    for count in 1..=12 {
        // From the seventh on alice is delayed, and nothing counts; strangers never are.
        let record = guess("alice", NOW);
        assert_eq!(
            record.outcome,
            Outcome::Refused(if count > 6 { Reason::Delayed } else { Reason::WrongPassword })
        );
        assert_eq!(realm.accounts.written(), (2 * count - 1, 0));
        assert_eq!(guess("carol", NOW).outcome, Outcome::Refused(Reason::ClientUnknown));
        assert_eq!(realm.accounts.written(), (2 * count, 0));
    }
    assert_eq!(realm.accounts.account("alice").failures.count, 6);
}

#[test]
fn a_delayed_account_looks_like_any_other_to_who_does_not_know_it() {
    let realm = TestRealm::new();
    let fresh = seen(&realm, password("alice", "Wrong.789"), TicketOptions::default());
    realm.accounts.change("alice", |alice| {
        alice.failures = countersign_realm::Failures { count: 30, last: Some(NOW) };
    });
    assert_eq!(seen(&realm, password("alice", "Wrong.789"), TicketOptions::default()), fresh);
    // The right password is not told from a wrong one either.
    assert_eq!(seen(&realm, password("alice", support::PASSWORD), TicketOptions::default()), fresh);
    assert!(
        realm.login_at(password("alice", support::PASSWORD), TicketOptions::default(), after(901)).0.is_ok()
    );
}

#[test]
fn a_made_up_key_is_the_same_in_every_step_and_nobody_knows_it() {
    // The password that a stranger tries makes no difference, not even the empty one.
    let realm = TestRealm::new();
    for text in ["", "x", support::PASSWORD] {
        let (granted, record) = realm.login(password("carol", text), TicketOptions::default());
        assert!(granted.is_err());
        assert_eq!(record.outcome, Outcome::Refused(Reason::ClientUnknown));
        assert_eq!(record.client, Some(named("carol")));
    }
}

#[test]
fn an_error_names_the_client_as_the_request_does() {
    let realm = TestRealm::new();
    let first = realm.begin(password("al", "x"), TicketOptions::default(), NOW);
    let reply = realm.handle(first.request().message).reply.unwrap();
    let error = KrbError::parse(&reply).unwrap();
    assert_eq!(error.cname.unwrap().to_principal(error.crealm.unwrap()), named("al"));
    assert_eq!((error.stime, error.realm), (NOW, REALM.as_bytes()));
}

/// Not a proof, which would take a quiet machine: but an answer that came early would show.
#[test]
fn a_stranger_waits_as_long_as_a_wrong_password() {
    let realm = TestRealm::new();
    let last_request = |name: &str| {
        let mut exchange = realm.begin(password(name, "Wrong.789"), TicketOptions::default(), NOW);
        for _ in 0..2 {
            let reply = realm.handle(exchange.request().message).reply.unwrap();
            match exchange.reply(&reply, NOW, &mut realm.fresh_rng()) {
                Ok(Step::NeedKdc(next)) => exchange = next,
                _ => panic!("the password is tried in the third request"),
            }
        }
        exchange.request().message.to_vec()
    };
    let (known, unknown) = (last_request("alice"), last_request("carol"));
    let time = |request: &[u8]| {
        #[allow(clippy::disallowed_methods, reason = "the time it takes is what is measured")]
        let start = std::time::Instant::now();
        assert_eq!(realm.handle(request).record.krb_error, Some(24));
        #[allow(clippy::disallowed_methods, reason = "as above")]
        start.elapsed()
    };
    // In pairs, each order as often as the other, so that what disturbs the machine disturbs both alike; the median is not
    // moved by what disturbs one. A machine that is too busy for that gets further chances.
    let close = || {
        let (mut differences, mut all) = (Vec::new(), Vec::new());
        for round in 0..400 {
            let (first, second) = if round % 2 == 0 { (&known, &unknown) } else { (&unknown, &known) };
            let (first, second) = (time(first).as_nanos() as i64, time(second).as_nanos() as i64);
            differences.push(if round % 2 == 0 { first - second } else { second - first });
            all.push(first);
        }
        differences.sort_unstable();
        all.sort_unstable();
        let (difference, usual) = (differences[200].abs(), all[200]);
        difference < usual / 50
    };
    assert!((0..8).any(|_| close()), "a stranger's answer takes another time than a wrong password's");
}
