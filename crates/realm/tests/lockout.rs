//! Wrong passwords: what they cost who guesses, and nobody else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod support;

use countersign_proto::crypto::KeyUsage;
use countersign_proto::krb5::kdc_exchange::{Exchange, Step, TicketOptions};
use countersign_proto::time::Timestamp;
use countersign_realm::{Failures, Handled, Outcome, Reason};
use std::time::Duration;
use support::wire::{timestamp, with_padata};
use support::{ALL, NOW, PASSWORD, TestRealm, after, password};

fn guess(realm: &TestRealm, text: &str, at: Timestamp) -> Outcome {
    realm.login_at(password("alice", text), TicketOptions::default(), at).1.outcome
}

fn wrong(realm: &TestRealm, at: Timestamp) -> Outcome {
    guess(realm, "Wrong.789", at)
}

const WRONG: Outcome = Outcome::Refused(Reason::WrongPassword);
const DELAYED: Outcome = Outcome::Refused(Reason::Delayed);

#[test]
fn five_wrong_passwords_cost_nothing_and_each_further_one_doubles_the_delay() {
    let realm = TestRealm::new();
    for _ in 0..6 {
        assert_eq!(wrong(&realm, NOW), WRONG);
    }
    let mut at = NOW;
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let end = at.saturating_add(Duration::from_secs(seconds));
        let within = end.saturating_sub(Duration::from_micros(1));
        assert_eq!(wrong(&realm, within), DELAYED);
        assert_eq!(guess(&realm, PASSWORD, within), DELAYED, "the right one is not taken either");
        assert_eq!(wrong(&realm, end), WRONG, "{seconds}");
        at = end;
    }
    assert_eq!(guess(&realm, PASSWORD, at.saturating_add(Duration::from_secs(900))), Outcome::Granted);
    assert_eq!(realm.accounts.account("alice").failures, Failures::default());
}

#[test]
fn a_right_password_forgets_the_wrong_ones() {
    let realm = TestRealm::new();
    for round in 0..3 {
        for _ in 0..5 {
            assert_eq!(wrong(&realm, after(round)), WRONG);
        }
        assert_eq!(guess(&realm, PASSWORD, after(round)), Outcome::Granted);
        assert_eq!(realm.accounts.account("alice").failures.count, 0);
    }
    let before = realm.accounts.written();
    assert_eq!(guess(&realm, PASSWORD, after(9)), Outcome::Granted);
    assert_eq!(realm.accounts.written(), before, "a login after no failure writes nothing");
}

#[test]
fn ten_thousand_guesses_get_as_many_tries_as_the_lockout_says_and_others_log_in_meanwhile() {
    let realm = TestRealm::lenient();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    let key = realm.accounts.account(support::SERVICE).newest_key(ALL[0]).unwrap().key.clone();
    let wrong = with_padata(first.request().message, |padata| {
        padata.push((2, timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, NOW)));
    });
    let mut tried = 0;
    for number in 0..10_000_u64 {
        // Ten a second, for a bit less than 17 minutes.
        let at = NOW.saturating_add(Duration::from_millis(100 * number));
        if realm.handle_at(&wrong, at).record.outcome == WRONG {
            tried += 1;
        }
        if number % 2_000 == 0 {
            let armor = realm.armor();
            assert_eq!(armor.client, support::named(support::SECOND_SERVICE));
        }
    }
    // 5 free, the first beyond, and one after each delay of 1, 2, 4, ... 256 seconds; the one of 512 has not ended.
    assert_eq!(tried, 5 + 1 + 9);
}

/// The last request of a login, and the answers that led to it.
fn last_request(realm: &TestRealm, text: &str, at: Timestamp) -> Vec<u8> {
    let mut exchange = realm.begin(password("alice", text), TicketOptions::default(), at);
    for _ in 0..2 {
        let reply = realm.handle_at(exchange.request().message, at).reply.unwrap();
        match exchange.reply(&reply, at, &mut realm.fresh_rng()) {
            Ok(Step::NeedKdc(next)) => exchange = next,
            _ => panic!("SPAKE takes three requests"),
        }
    }
    exchange.request().message.to_vec()
}

#[test]
fn a_login_that_was_overheard_does_not_help_a_guesser_when_it_is_sent_again() {
    let realm = TestRealm::new();
    let overheard = last_request(&realm, PASSWORD, NOW);
    assert_eq!(realm.handle(&overheard).record.outcome, Outcome::Granted);
    for second in 1..=4 {
        assert_eq!(wrong(&realm, after(second)), WRONG);
        // It is answered, which is of no use to who does not know the password, and forgets nothing.
        assert_eq!(realm.handle_at(&overheard, after(second)).record.outcome, Outcome::Granted);
    }
    assert_eq!(realm.accounts.account("alice").failures.count, 4);
    assert_eq!(guess(&realm, PASSWORD, after(5)), Outcome::Granted);
    assert_eq!(realm.accounts.account("alice").failures.count, 0);
}

#[test]
fn a_timestamp_that_was_overheard_does_not_either_even_from_a_clock_that_is_ahead() {
    let realm = TestRealm::lenient();
    let key = realm.accounts.account("alice").newest_key(ALL[0]).unwrap().key.clone();
    let first = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
    let overheard = with_padata(first.request().message, |padata| {
        padata.push((2, timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, after(290))));
    });
    let send = |at| -> Handled { realm.handle_at(&overheard, at) };
    assert_eq!(send(NOW).record.outcome, Outcome::Granted);
    for second in [1, 100, 289, 400] {
        assert_eq!(wrong(&realm, after(second)), WRONG);
        assert_eq!(send(after(second)).record.outcome, Outcome::Granted);
    }
    assert_eq!(realm.accounts.account("alice").failures.count, 4);
    // A timestamp that must be younger than the last failure forgets it.
    let later = with_padata(first.request().message, |padata| {
        padata.push((2, timestamp(&key, KeyUsage::PA_ENC_TIMESTAMP, after(701))));
    });
    assert_eq!(realm.handle_at(&later, after(701)).record.outcome, Outcome::Granted);
    assert_eq!(realm.accounts.account("alice").failures.count, 0);
}

#[test]
fn guesses_at_once_are_counted_one_after_the_other() {
    let realm = TestRealm::new();
    let requests: Vec<_> = (0..24).map(|_| last_request(&realm, "Wrong.789", NOW)).collect();
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            requests.iter().map(|request| scope.spawn(|| realm.handle(request).record.outcome)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == WRONG).count(), 6);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == DELAYED).count(), 18);
    assert_eq!(realm.accounts.account("alice").failures.count, 6);
}

#[test]
fn asking_for_a_challenge_is_no_guess() {
    let realm = TestRealm::new();
    for _ in 0..20 {
        let exchange = realm.begin(password("alice", PASSWORD), TicketOptions::default(), NOW);
        let reply = realm.handle(exchange.request().message).reply.unwrap();
        let Ok(Step::NeedKdc(exchange)) = exchange.reply(&reply, NOW, &mut realm.fresh_rng()) else {
            panic!("a challenge is to be asked for");
        };
        assert_eq!(realm.handle(exchange.request().message).record.krb_error, Some(91));
    }
    assert_eq!(realm.accounts.written(), (0, 0));
}
