//! The replay store that instances share, held against a real server that is stopped, killed, restarted and replaced.
#![cfg(all(unix, feature = "valkey"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod replay_parts;

use countersign::replay::{OnAbsence, ReplayStore, ValkeyReplayConfig, ValkeyReplayStore};
use countersign_proto::error::{Refusal, code};
use countersign_proto::krb5::replay::ReplayUnavailable::{Changed, Down, Full, Horizon};
use countersign_proto::krb5::replay::ReplayVerdict::{Fresh, FreshHere, Seen, Unavailable};
use countersign_testkit::Valkey;
use proptest::prelude::*;
use replay_parts::*;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn config(url: &str) -> ValkeyReplayConfig {
    ValkeyReplayConfig::new(url, SKEW)
}

fn connect(url: &str) -> ValkeyReplayStore {
    ValkeyReplayStore::connect(config(url)).unwrap()
}

/// A store that tells, and what it told.
fn telling(config: ValkeyReplayConfig) -> (ValkeyReplayStore, Told) {
    let told = Told::default();
    let config = ValkeyReplayConfig { observer: told.observer(), ..config };
    (ValkeyReplayStore::connect(config).unwrap(), told)
}

#[track_caller]
fn refused(config: ValkeyReplayConfig) -> Refusal {
    ValkeyReplayStore::connect(config).unwrap_err()
}

#[test]
fn what_one_instance_accepted_is_seen_by_another_and_after_a_restart_of_either() {
    let server = Valkey::start();
    let (one, other) = (connect(&server.url()), connect(&server.url()));
    let asked: Vec<_> = (0..500).map(|number| presented(number, now())).collect();
    assert!(verdicts(&one, &asked, now()).iter().all(|&said| said == Fresh));
    assert!(verdicts(&one, &asked, now()).iter().all(|&said| said == Seen));
    assert!(verdicts(&other, &asked, now()).iter().all(|&said| said == Seen));
    drop((one, other));
    assert!(verdicts(&connect(&server.url()), &asked, now()).iter().all(|&said| said == Seen));
}

#[test]
fn of_two_instances_that_race_for_each_of_thousands_exactly_one_is_first() {
    const TAGS: u32 = 5_000;
    let server = Valkey::start();
    let stores = [connect(&server.url()), connect(&server.url())];
    let fresh: Vec<_> = (0..TAGS).map(|_| AtomicUsize::new(0)).collect();
    let time = now();
    std::thread::scope(|scope| {
        for (index, store) in stores.iter().chain(&stores).enumerate() {
            let fresh = &fresh;
            scope.spawn(move || {
                let numbers: Vec<u32> = (0..TAGS).map(|number| (number + index as u32) % TAGS).collect();
                for some in numbers.chunks(50) {
                    let asked: Vec<_> = some.iter().map(|&number| presented(number, time)).collect();
                    for (number, said) in some.iter().zip(verdicts(store, &asked, time)) {
                        match said {
                            Fresh => _ = fresh[*number as usize].fetch_add(1, Ordering::SeqCst),
                            Seen => {}
                            other => panic!("{other:?}"),
                        }
                    }
                }
            });
        }
    });
    assert!(fresh.iter().all(|count| count.load(Ordering::SeqCst) == 1));
}

#[test]
fn a_key_has_the_prefix_and_stays_until_two_skews_and_a_minute_after_the_ctime() {
    let server = Valkey::start();
    let store = ValkeyReplayStore::connect(ValkeyReplayConfig {
        prefix: "replays-of-a:".to_owned(),
        ..config(&format!("{}/3", server.url()))
    })
    .unwrap();
    let time = now();
    assert_eq!(verdict(&store, &presented(1, time.saturating_add(seconds(40))), time), Fresh);
    let key = server.command(&["-n", "3", "KEYS", "*"]);
    assert!(key.starts_with("replays-of-a:") && !key.contains('\n'), "{key}");
    let stays: i64 = server.command(&["-n", "3", "PTTL", &key]).parse().unwrap();
    assert!((690_000..=700_001).contains(&stays), "{stays}");
    assert_eq!(server.command(&["DBSIZE"]), "0");
}

#[test]
fn a_server_is_reached_by_its_unix_socket_and_with_a_user_and_a_password_from_a_file() {
    let server = Valkey::start_with(&["--requirepass", "the default user's"]);
    server.command(&[
        "ACL",
        "SETUSER",
        "service",
        "on",
        ">a secret",
        "+info",
        "+get",
        "+set",
        "~countersign:*",
    ]);
    let url = format!("unix://{}", server.socket().display());
    let file = server.folder().join("password");
    let with_password = |username: Option<&str>, password: &str| {
        std::fs::write(&file, password).unwrap();
        let username = username.map(str::to_owned);
        ValkeyReplayConfig { username, password_file: Some(file.clone()), ..config(&url) }
    };
    for (number, username, password) in
        [(1, None, "the default user's"), (2, Some("service"), "a secret\r\nrest")]
    {
        let store = ValkeyReplayStore::connect(with_password(username, password)).unwrap();
        assert_eq!(verdict(&store, &presented(number, now()), now()), Fresh);
    }
    for config in [with_password(None, "wrong"), with_password(Some("nobody"), "a secret"), config(&url)] {
        let refusal = refused(config);
        assert_eq!(refusal.code(), code::VALKEY_UNUSABLE);
        assert!(!refusal.to_string().contains("wrong\""), "{refusal}");
    }
    std::fs::remove_file(&file).unwrap();
    let missing = ValkeyReplayConfig { password_file: Some(file), ..config(&url) };
    assert_eq!(refused(missing).code(), code::PASSWORD_UNREADABLE);
}

#[test]
fn a_server_that_evicts_entries_is_refused_when_the_store_begins_and_when_it_comes_back() {
    let server = Valkey::start_with(&["--maxmemory-policy", "volatile-ttl"]);
    let refusal = refused(config(&server.url()));
    assert_eq!(refusal.code(), code::VALKEY_EVICTS);
    assert!(
        refusal.to_string().contains("volatile-ttl") && refusal.to_string().contains("noeviction"),
        "{refusal}"
    );
    // Memory does not stand in for a server that is there and wrong.
    let memory = ValkeyReplayConfig { on_absence: OnAbsence::Memory, ..config(&server.url()) };
    assert_eq!(refused(memory).code(), code::VALKEY_EVICTS);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let (store, told) = telling(config(&server.url()));
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    wait("VALKEY_EVICTS", || {
        told.code("failing").is_some_and(|told| told.number() == code::VALKEY_EVICTS.number())
    });
    assert_eq!(verdict(&store, &presented(1, now()), now()), Unavailable(Down));
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    told.wait_for("recovered", 1);
    assert_eq!(verdict(&store, &presented(2, now()), now()), Fresh);
}

#[test]
fn a_server_whose_memory_is_full_is_a_full_store() {
    let server = Valkey::start();
    let store = connect(&server.url());
    assert_eq!(verdict(&store, &presented(1, now()), now()), Fresh);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(verdict(&store, &presented(2, now()), now()), Unavailable(Full));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(verdict(&store, &presented(3, now()), now()), Fresh);
}

#[test]
fn a_replica_and_an_absent_server_are_refused() {
    let (primary, replica) = (Valkey::start(), Valkey::start());
    replica.replicate(&primary);
    let refusal = refused(config(&replica.url()));
    assert_eq!(refusal.code(), code::VALKEY_UNUSABLE);
    assert!(refusal.saw().contains("replica"), "{refusal}");
    let url = primary.url();
    drop(primary);
    let refusal = refused(config(&url));
    assert_eq!(refusal.code(), code::VALKEY_ABSENT);
    assert!(refusal.saw().contains("127.0.0.1"), "{refusal}");
}

#[test]
fn a_server_that_stands_still_is_given_up_within_the_deadline_and_used_again_when_it_goes_on() {
    let server = Valkey::start();
    let (store, told) = telling(config(&server.url()));
    assert_eq!(verdict(&store, &presented(0, now()), now()), Fresh);
    server.pause();
    let began = Instant::now();
    let asked: Vec<_> = (1..200).map(|number| presented(number, now())).collect();
    assert!(verdicts(&store, &asked, now()).iter().all(|&said| said == Unavailable(Down)));
    let (waited, again) = (began.elapsed(), Instant::now());
    assert!(waited < Duration::from_millis(2_600), "{waited:?}");
    // From now on nobody waits.
    for number in 200..300 {
        assert_eq!(verdict(&store, &presented(number, now()), now()), Unavailable(Down));
        assert_eq!(verdict(&store, &presented(0, now()), now()), Seen);
    }
    assert!(again.elapsed() < Duration::from_millis(500), "{:?}", again.elapsed());
    assert_eq!(told.code("failing"), Some(code::VALKEY_ABSENT));
    server.resume();
    told.wait_for("recovered", 1);
    assert_eq!((told.count("failing"), told.count("changed")), (1, 0));
    // The same run has lost nothing.
    assert_eq!(verdict(&store, &presented(300, now()), now()), Fresh);
}

#[test]
fn in_absence_memory_stands_in_only_if_that_is_said_and_each_use_is_told() {
    let server = Valkey::start();
    let memory = || ValkeyReplayConfig { on_absence: OnAbsence::Memory, ..config(&server.url()) };
    let (store, told) = telling(memory());
    let port = server.port();
    assert_eq!(verdict(&store, &presented(1, now()), now()), Fresh);
    assert_eq!(told.count("on memory alone"), 0);
    let other = memory();
    drop(server);
    told.wait_for("failing", 1);
    for number in 2..12 {
        assert_eq!(verdict(&store, &presented(number, now()), now()), FreshHere);
        assert_eq!(verdict(&store, &presented(number, now()), now()), Seen);
    }
    assert_eq!(verdict(&store, &presented(1, now()), now()), Seen);
    assert_eq!(told.count("on memory alone"), 10);
    // A store may also begin so.
    let (late, late_told) = telling(other);
    assert_eq!(verdict(&late, &presented(20, now()), now()), FreshHere);
    assert_eq!((late_told.count("failing"), late_told.count("on memory alone")), (1, 1));
    let server = Valkey::start_at(port, &[]);
    late_told.wait_for("recovered", 1);
    assert_eq!(verdict(&late, &presented(21, now().saturating_add(seconds(700))), now()), Fresh);
    assert_eq!(late_told.count("on memory alone"), 1);
    let entries = server.command(&["KEYS", "countersign:replay:*"]);
    assert_eq!(entries.lines().filter(|key| !key.ends_with(":changed")).count(), 1, "{entries}");
}

/// What was accepted before is nowhere accepted again, and authenticators of then are refused with the code for it.
#[track_caller]
fn refuses_what_may_be_lost(store: &ValkeyReplayStore, told: &Told, before: u32, unused: u32) {
    let refused = told.count("refused since change");
    for number in 0..before {
        let said = verdict(store, &presented(number, now().saturating_sub(seconds(1))), now());
        assert!([Seen, Unavailable(Changed)].contains(&said), "{number}: {said:?}");
    }
    assert_eq!(verdict(store, &presented(unused, now()), now()), Unavailable(Changed));
    assert!(told.count("refused since change") > refused);
    let two_skews = now().saturating_add(SKEW * 2);
    assert_eq!(
        verdict(store, &presented(unused + 1, two_skews.saturating_sub(seconds(30))), now()),
        Unavailable(Changed)
    );
    assert_eq!(verdict(store, &presented(unused + 2, two_skews.saturating_add(seconds(5))), now()), Fresh);
}

#[test]
fn after_a_restart_with_an_empty_memory_nothing_of_before_is_accepted_by_any_instance() {
    let server = Valkey::start();
    let port = server.port();
    let ((one, one_told), (idle, idle_told)) =
        (telling(config(&server.url())), telling(config(&server.url())));
    for number in 0..50 {
        assert_eq!(verdict(&one, &presented(number, now()), now()), Fresh);
    }
    drop(server);
    one_told.wait_for("failing", 1);
    idle_told.wait_for("failing", 1);
    assert_eq!(verdict(&idle, &presented(60, now()), now()), Unavailable(Down));
    let server = Valkey::start_at(port, &[]);
    for (store, told, unused) in [(&one, &one_told, 1_000), (&idle, &idle_told, 2_000)] {
        told.wait_for("recovered", 1);
        assert_eq!((told.count("changed"), told.code("changed")), (1, Some(code::REPLAY_STORE_CHANGED)));
        refuses_what_may_be_lost(store, told, 50, unused);
    }
    // So does an instance that begins only now.
    let (late, late_told) = telling(config(&server.url()));
    refuses_what_may_be_lost(&late, &late_told, 50, 3_000);
}

#[test]
fn an_instance_that_was_restarted_with_the_server_knows_of_it_by_its_file() {
    let server = Valkey::start();
    let port = server.port();
    let folder = tempfile::tempdir().unwrap();
    let run_file = folder.path().join("run");
    let with_file = |server: &Valkey| {
        let run_file = Some(run_file.clone());
        telling(ValkeyReplayConfig { run_file, ..config(&server.url()) })
    };
    let (store, _) = with_file(&server);
    assert_eq!(verdict(&store, &presented(1, now()), now()), Fresh);
    drop(store);
    let (store, told) = with_file(&server);
    assert_eq!((told.count("changed"), verdict(&store, &presented(2, now()), now())), (0, Fresh));
    drop((store, server));
    let server = Valkey::start_at(port, &[]);
    let (store, told) = with_file(&server);
    assert_eq!(told.count("changed"), 1);
    assert_eq!(verdict(&store, &presented(1, now()), now()), Unavailable(Changed));
    drop(store);
    // It still does after one more restart of its own.
    let (store, told) = with_file(&server);
    assert_eq!(
        (told.count("changed"), verdict(&store, &presented(2, now()), now())),
        (0, Unavailable(Changed))
    );
    let missing = Some(folder.path().join("missing/run"));
    let refusal = refused(ValkeyReplayConfig { run_file: missing, ..config(&server.url()) });
    assert_eq!(refusal.code(), code::REPLAY_STORE_UNREADABLE);
}

fn point(link: &Path, server: &Valkey) {
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(server.socket(), link).unwrap();
}

#[test]
fn after_a_failover_to_a_replica_nothing_of_before_is_accepted() {
    let (primary, replica) = (Valkey::start(), Valkey::start());
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("current");
    point(&link, &primary);
    let url = format!("unix://{}", link.display());
    let ((one, one_told), (idle, idle_told)) = (telling(config(&url)), telling(config(&url)));
    replica.replicate(&primary);
    for number in 0..50 {
        assert_eq!(verdict(&one, &presented(number, now()), now()), Fresh);
    }
    // What the replica does not get any more.
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    for number in 50..60 {
        assert_eq!(verdict(&one, &presented(number, now()), now()), Fresh);
    }
    point(&link, &replica);
    drop(primary);
    for (store, told, unused) in [(&one, &one_told, 1_000), (&idle, &idle_told, 2_000)] {
        told.wait_for("recovered", 1);
        refuses_what_may_be_lost(store, told, 60, unused);
    }
}

#[test]
fn a_server_that_is_made_a_replica_and_promoted_again_on_a_living_connection_is_another() {
    let (server, other) = (Valkey::start(), Valkey::start());
    let (store, told) = telling(config(&server.url()));
    for number in 0..20 {
        assert_eq!(verdict(&store, &presented(number, now()), now()), Fresh);
    }
    let mut known = presented(50, now());
    server.replicate(&other);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(server.command(&["DBSIZE"]), "0", "it took over the other's data");
    known.ctime = now();
    assert_ne!(verdict(&store, &known, now()), Fresh);
    told.wait_for("changed", 1);
    wait("connection", || store.is_up());
    refuses_what_may_be_lost(&store, &told, 20, 1_000);
}

#[test]
fn a_first_replica_is_no_change() {
    let (server, replica) = (Valkey::start(), Valkey::start());
    let (store, told) = telling(config(&server.url()));
    let history = || {
        let info = server.command(&["INFO", "replication"]);
        info.lines().find(|line| line.starts_with("master_replid:")).unwrap().to_owned()
    };
    let before = history();
    replica.replicate(&server);
    assert_ne!(history(), before, "it begins another history, and has lost nothing");
    assert_eq!(verdict(&store, &presented(1, now()), now()), Fresh);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(verdict(&store, &presented(2, now()), now()), Fresh);
    assert_eq!(told.count("changed"), 0);
}

#[test]
fn a_clock_that_is_set_back_lets_nothing_in_that_the_server_has_forgotten() {
    let server = Valkey::start();
    let (one, other) = (connect(&server.url()), connect(&server.url()));
    let time = now();
    let first = presented(1, time);
    assert_eq!(verdict(&one, &first, time), Fresh);
    let later = time.saturating_add(LIFETIME);
    assert_eq!(verdict(&other, &presented(2, later), later), Fresh);
    server.command(&["FLUSHALL"]);
    assert_eq!(verdict(&other, &first, time), Unavailable(Horizon));
    assert_eq!(verdict(&one, &first, time), Seen);
}

#[test]
#[ignore = "a measurement: cargo test --release -p countersign --features valkey --test replay_valkey -- --ignored --nocapture"]
fn many_entries_at_once_and_one_after_the_other() {
    let server = Valkey::start();
    let store = connect(&server.url());
    let time = now();
    let began = Instant::now();
    for round in 0..20 {
        let asked: Vec<_> = (0..5_000).map(|number| presented(round * 5_000 + number, time)).collect();
        assert!(verdicts(&store, &asked, time).iter().all(|&said| said == Fresh));
    }
    println!("100,000 entries, 5,000 at once: {:?}", began.elapsed());
    let began = Instant::now();
    for number in 200_000..202_000 {
        assert_eq!(verdict(&store, &presented(number, time), time), Fresh);
    }
    println!("2,000 entries, one after the other: {:?}", began.elapsed());
}

#[test]
fn whatever_happens_no_tag_is_fresh_twice() {
    let server = Valkey::start();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
    let done = runner.run(&happenings(), |happenings| {
        server.command(&["FLUSHALL"]);
        no_tag_is_fresh_twice(&happenings, |_| -> Box<dyn ReplayStore> { Box::new(connect(&server.url())) });
        Ok(())
    });
    done.unwrap();
}
