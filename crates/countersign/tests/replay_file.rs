//! The replay store in files: nothing that was accepted is forgotten, however the process ends and whatever its disk does.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod replay_parts;

use countersign::replay::{Durability, FileReplayConfig, FileReplayStore, ReplayStore};
use countersign_proto::error::code;
use countersign_proto::krb5::replay::ReplayUnavailable::{ClientShare, Down, Full, Horizon};
use countersign_proto::krb5::replay::ReplayVerdict::{Fresh, Seen, Unavailable};
use countersign_proto::time::Timestamp;
use countersign_testkit::Process;
use proptest::prelude::*;
use replay_parts::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const HEADER_LEN: u64 = 80;
const ENTRY_LEN: u64 = 48;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_800_000_000 + seconds, 0)
}

fn open(folder: &Path, now: Timestamp) -> FileReplayStore {
    FileReplayStore::open_at(FileReplayConfig::new(folder, SKEW), now).unwrap()
}

/// The files with entries, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, PermissionsExt::from_mode(0o700)).unwrap();
    for path in files(from) {
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn an_authenticator_is_fresh_once_also_after_the_store_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state/replay");
    let store = open(&folder, at(0));
    let asked: Vec<_> = (0..500).map(|number| presented(number, at(0))).collect();
    assert!(verdicts(&store, &asked, at(0)).iter().all(|&verdict| verdict == Fresh));
    assert!(verdicts(&store, &asked, at(1)).iter().all(|&verdict| verdict == Seen));
    assert_eq!(store.len(), 500);
    drop(store);
    let store = open(&folder, at(10));
    assert_eq!(store.restored().entries, 500);
    assert_eq!((store.restored().expired, store.restored().torn), (0, 0));
    assert!(verdicts(&store, &asked, at(10)).iter().all(|&verdict| verdict == Seen));
    assert_eq!(verdict(&store, &presented(500, at(10)), at(10)), Fresh);
}

#[test]
fn folder_and_files_are_their_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("replay");
    let store = open(&folder, at(0));
    assert_eq!(verdict(&store, &presented(1, at(0)), at(0)), Fresh);
    assert_eq!(mode(&folder), 0o700);
    std::fs::read_dir(&folder).unwrap().for_each(|file| assert_eq!(mode(&file.unwrap().path()), 0o600));
    drop(store);
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
    let refusal = FileReplayStore::open(FileReplayConfig::new(&folder, SKEW)).unwrap_err();
    assert_eq!(refusal.code(), code::REPLAY_STORE_EXPOSED);
    assert!(refusal.saw().contains("mode 0750"), "{refusal}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let refusal = FileReplayStore::open(FileReplayConfig::new("/dev/null/replay", SKEW)).unwrap_err();
    assert_eq!(refusal.code(), code::REPLAY_STORE_UNREADABLE);
    assert!(refusal.saw().contains("/dev/null/replay"), "{refusal}");
}

#[test]
#[ignore = "it is the process that a_second_process_is_refused_and_told_who_has_the_folder starts"]
fn second_process() {
    let folder = argument("REPLAY_FOLDER");
    let refusal = FileReplayStore::open(FileReplayConfig::new(folder, SKEW)).unwrap_err();
    assert_eq!(refusal.code(), code::REPLAY_STORE_IN_USE);
    println!("{}", refusal.saw());
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let path = folder.path().display().to_string();
    let store = open(folder.path(), at(0));
    let done = start(again("second_process", &[("REPLAY_FOLDER", &path)])).finish(DEADLINE).expect_success();
    assert!(done.text().contains(&format!("in use by process {}", std::process::id())), "{done:?}");
    assert!(FileReplayStore::open(FileReplayConfig::new(folder.path(), SKEW)).is_err());
    drop(store);
    open(folder.path(), at(0));
}

#[test]
fn capacity_and_share_are_those_of_memory_and_hold_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("replay");
    let config = || FileReplayConfig { capacity: 32, ..FileReplayConfig::new(&folder, SKEW) };
    let of = |client: &str, number| {
        let client = countersign_proto::krb5::msg::principal::Principal::new("R", &[client]);
        countersign_proto::krb5::replay::Presented { client, ..presented(number, at(0)) }
    };
    let store = FileReplayStore::open_at(config(), at(0)).unwrap();
    assert_eq!(
        verdicts(&store, &[of("a", 0), of("a", 1), of("a", 2)], at(0)),
        [Fresh, Fresh, Unavailable(ClientShare)]
    );
    drop(store);
    let store = FileReplayStore::open_at(config(), at(0)).unwrap();
    assert_eq!(verdict(&store, &of("a", 3), at(0)), Unavailable(ClientShare));
    for number in 10..40 {
        assert_eq!(verdict(&store, &of(&number.to_string(), number), at(0)), Fresh);
    }
    assert_eq!(verdict(&store, &of("b", 4), at(0)), Unavailable(Full));
    drop(store);
    // What was accepted stays known, also where it is more than there is room for now.
    let config = FileReplayConfig { capacity: 8, ..config() };
    let store = FileReplayStore::open_at(config, at(0)).unwrap();
    assert_eq!((store.len(), verdict(&store, &of("10", 10), at(0))), (32, Seen));
    assert_eq!(verdict(&store, &of("b", 5), at(0)), Unavailable(Full));
}

#[test]
fn what_has_expired_is_dropped_when_the_store_is_opened_and_a_clock_that_is_set_back_lets_no_replay_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("replay");
    let store = open(&folder, at(0));
    assert_eq!(verdict(&store, &presented(1, at(0)), at(0)), Fresh);
    assert_eq!(verdict(&store, &presented(2, at(100)), at(0)), Fresh);
    drop(store);
    let store = open(&folder, at(0).saturating_add(LIFETIME));
    assert_eq!((store.restored().entries, store.restored().expired), (1, 1));
    assert_eq!(verdict(&store, &presented(1, at(0)), at(0)), Unavailable(Horizon));
    assert_eq!(verdict(&store, &presented(2, at(100)), at(0)), Seen);
    drop(store);
    // Once more, when even the file with the first is gone.
    let later = at(1_000).saturating_add(LIFETIME);
    drop(open(&folder, later));
    assert_eq!(files(&folder).len(), 1);
    let store = open(&folder, at(0));
    assert!(store.is_empty());
    for (number, ctime) in [(1, 0), (2, 100), (3, 100)] {
        assert_eq!(verdict(&store, &presented(number, at(ctime)), at(0)), Unavailable(Horizon));
    }
    assert_eq!(verdict(&store, &presented(4, at(101)), at(0)), Fresh);
}

#[test]
fn files_are_deleted_whole_as_they_expire_and_the_horizon_outlives_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("replay");
    let store = open(&folder, at(0));
    for round in 0..60 {
        let now = at(round * 50);
        assert_eq!(verdict(&store, &presented(u32::try_from(round).unwrap(), now), now), Fresh);
        assert!(files(&folder).len() <= 10, "{:?}", files(&folder));
    }
    drop(store);
    let store = open(&folder, at(0));
    for round in 0..60 {
        let said = verdict(&store, &presented(u32::try_from(round).unwrap(), at(round * 50)), at(0));
        assert!([Seen, Unavailable(Horizon)].contains(&said), "{round}: {said:?}");
    }
    assert!(store.restored().entries < 20, "{:?}", store.restored());
    assert_eq!(verdict(&store, &presented(99, at(40 * 50)), at(0)), Unavailable(Horizon));
}

#[test]
fn authenticators_from_the_future_do_not_let_the_files_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("replay");
    let store = open(&folder, at(0));
    let future = |round: u32| presented(4_000_000 + round, at(100_000));
    let mut largest = 0;
    for round in 0..100 {
        let now = at(i64::from(round) * 90);
        let mut asked: Vec<_> = (0..4_000).map(|number| presented(round * 4_000 + number, now)).collect();
        asked.push(future(round));
        assert!(verdicts(&store, &asked, now).iter().all(|&verdict| verdict == Fresh), "{round}");
        largest = largest.max(files(&folder).iter().map(|file| file.metadata().unwrap().len()).sum::<u64>());
    }
    assert!(largest < 140_000 * ENTRY_LEN, "{} entries", largest / ENTRY_LEN);
    drop(store);
    let store = open(&folder, at(99 * 90));
    for round in 0..100 {
        assert_eq!(verdict(&store, &future(round), at(99 * 90)), Seen);
    }
    for number in (0..400_000).step_by(37) {
        let ctime = at(i64::from(number / 4_000) * 90);
        let said = verdict(&store, &presented(number, ctime), ctime);
        assert!([Seen, Unavailable(Horizon)].contains(&said), "{number}: {said:?}");
    }
}

/// A folder with a file of `count` entries, and the path of that file.
fn written(folder: &Path, count: u32) -> PathBuf {
    let store = open(folder, at(0));
    let asked: Vec<_> = (0..count).map(|number| presented(number, at(0))).collect();
    assert!(verdicts(&store, &asked, at(0)).iter().all(|&verdict| verdict == Fresh));
    drop(store);
    files(folder).pop().unwrap()
}

#[test]
fn an_end_that_was_torn_at_any_byte_is_cut_off_and_everything_before_it_is_known() {
    let place = tempfile::tempdir().unwrap();
    let (folder, torn) = (place.path().join("replay"), place.path().join("torn"));
    let file = written(&folder, 4);
    let length = file.metadata().unwrap().len();
    assert_eq!(length, HEADER_LEN + 4 * ENTRY_LEN);
    for end in 0..=length {
        copy(&folder, &torn);
        let file = torn.join(file.file_name().unwrap());
        std::fs::File::options().write(true).open(&file).unwrap().set_len(end).unwrap();
        let store = open(&torn, at(1));
        let whole = u32::try_from(end.saturating_sub(HEADER_LEN) / ENTRY_LEN).unwrap();
        for number in 0..4 {
            let expected = if number < whole { Seen } else { Fresh };
            assert_eq!(
                verdict(&store, &presented(number, at(0)), at(1)),
                expected,
                "{number} of {end} bytes"
            );
        }
        drop(store);
        let store = open(&torn, at(1));
        (0..4).for_each(|number| assert_eq!(verdict(&store, &presented(number, at(0)), at(1)), Seen));
    }
}

#[test]
fn zeros_at_the_end_are_what_a_machine_without_power_did_not_write() {
    let place = tempfile::tempdir().unwrap();
    for zeros in [1, 47, 48, 49, 4_096, 100_000] {
        let folder = place.path().join(zeros.to_string());
        let file = written(&folder, 3);
        std::fs::File::options().append(true).open(&file).unwrap().write_all(&vec![0; zeros]).unwrap();
        let store = open(&folder, at(1));
        assert_eq!(store.restored().torn, zeros as u64);
        (0..3).for_each(|number| assert_eq!(verdict(&store, &presented(number, at(0)), at(1)), Seen));
    }
}

#[test]
fn a_bit_that_changed_anywhere_is_noticed_and_the_file_named() {
    let place = tempfile::tempdir().unwrap();
    let (folder, changed) = (place.path().join("replay"), place.path().join("changed"));
    let file = written(&folder, 3);
    let bytes = std::fs::read(&file).unwrap();
    for position in 0..bytes.len() {
        copy(&folder, &changed);
        let file = changed.join(file.file_name().unwrap());
        let mut bytes = bytes.clone();
        bytes[position] ^= 1 << (position % 8);
        std::fs::write(&file, bytes).unwrap();
        let refusal = FileReplayStore::open_at(FileReplayConfig::new(&changed, SKEW), at(1)).unwrap_err();
        let expected = [code::REPLAY_STORE_DAMAGED, code::REPLAY_STORE_TOO_NEW];
        assert!(expected.contains(&refusal.code()), "byte {position}: {refusal}");
        assert!(refusal.saw().contains(&file.display().to_string()), "{refusal}");
    }
}

#[test]
fn a_file_that_is_missing_or_under_another_name_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let (folder, changed) = (place.path().join("replay"), place.path().join("changed"));
    (0..4).for_each(|_| add_file(&folder));
    let all = files(&folder);
    assert_eq!(all.len(), 4);
    for missing in &all[..3] {
        copy(&folder, &changed);
        let missing = changed.join(missing.file_name().unwrap());
        std::fs::remove_file(&missing).unwrap();
        let refusal = FileReplayStore::open_at(FileReplayConfig::new(&changed, SKEW), at(1)).unwrap_err();
        assert_eq!(refusal.code(), code::REPLAY_STORE_DAMAGED);
        assert!(refusal.saw().contains(&missing.display().to_string()), "{refusal}");
        std::fs::copy(&all[3], &missing).unwrap();
        let refusal = FileReplayStore::open_at(FileReplayConfig::new(&changed, SKEW), at(1)).unwrap_err();
        assert_eq!(refusal.code(), code::REPLAY_STORE_DAMAGED);
    }
}

/// A file more.
fn add_file(folder: &Path) {
    let store = open(folder, at(0));
    let number = u32::try_from(store.len()).unwrap();
    assert_eq!(verdict(&store, &presented(number, at(0)), at(0)), Fresh);
}

#[test]
fn only_the_newest_file_may_have_a_torn_end() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("replay");
    (0..2).for_each(|_| add_file(&folder));
    let oldest = files(&folder).remove(0);
    let length = oldest.metadata().unwrap().len();
    std::fs::File::options().write(true).open(&oldest).unwrap().set_len(length - 1).unwrap();
    let refusal = FileReplayStore::open_at(FileReplayConfig::new(&folder, SKEW), at(1)).unwrap_err();
    assert_eq!(refusal.code(), code::REPLAY_STORE_DAMAGED);
    assert!(refusal.saw().contains(&oldest.display().to_string()), "{refusal}");
}

#[test]
#[ignore = "it is the process that a_killed_process_forgets_nothing_that_it_accepted kills"]
fn process_to_be_killed() {
    let durability = if argument("REPLAY_POWER") == "1" { Durability::Power } else { Durability::Process };
    let config = FileReplayConfig { durability, ..FileReplayConfig::new(argument("REPLAY_FOLDER"), SKEW) };
    let store = FileReplayStore::open(config).unwrap();
    let begin: u32 = argument("REPLAY_BEGIN").parse().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for number in (begin + thread..).step_by(4) {
                    let authenticator = presented(number, now());
                    assert_eq!(verdict(store, &authenticator, now()), Fresh);
                    println!("fresh {number} {}", authenticator.ctime.total_micros());
                }
            });
        }
    });
}

/// The whole lines that it printed.
fn accepted(output: &str) -> Vec<(u32, Timestamp)> {
    let whole = output.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let line = |line: &str| {
        let (number, ctime) = line.split_once("fresh ")?.1.split_once(' ')?;
        Some((number.parse().ok()?, Timestamp::default().shifted(ctime.parse().ok()?)))
    };
    whole.lines().filter_map(line).collect()
}

#[test]
fn a_killed_process_forgets_nothing_that_it_accepted() {
    let place = tempfile::tempdir().unwrap();
    for power in ["0", "1"] {
        let folder = place.path().join(power);
        let mut known = Vec::new();
        for round in 0..5_u32 {
            let begin = (round * 10_000_000).to_string();
            let arguments = [
                ("REPLAY_FOLDER", folder.to_str().unwrap()),
                ("REPLAY_POWER", power),
                ("REPLAY_BEGIN", &begin),
            ];
            let process = start(again("process_to_be_killed", &arguments));
            process.wait_for_line("fresh ", DEADLINE);
            std::thread::sleep(std::time::Duration::from_millis(100 + 37 * u64::from(round)));
            known.extend(accepted(&killed(process)));
        }
        assert!(known.len() > 50, "{}", known.len());
        let store = open(&folder, now());
        for &(number, ctime) in &known {
            assert_eq!(
                verdict(&store, &presented(number, ctime), now()),
                Seen,
                "{number} of {}",
                known.len()
            );
        }
        assert_eq!(verdict(&store, &presented(4_000_000_000, now()), now()), Fresh);
    }
}

/// Kills it with SIGKILL, and returns all that it printed.
fn killed(process: Process) -> String {
    let id = process.id().to_string();
    countersign_testkit::run(Command::new("kill").args(["-KILL", &id]), DEADLINE).expect_success();
    process.finish(DEADLINE).text()
}

fn limit_files(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).unwrap();
}

#[test]
#[ignore = "it is the process of a_full_disk_refuses_clients_is_told_once_and_is_over_when_there_is_room"]
fn process_with_a_full_disk() {
    let told = Told::default();
    let config = FileReplayConfig {
        observer: told.observer(),
        ..FileReplayConfig::new(argument("REPLAY_FOLDER"), SKEW)
    };
    let store = FileReplayStore::open_at(config, at(0)).unwrap();
    // Not a whole number of entries, so that a write is cut in the middle of one.
    limit_files(Some(HEADER_LEN + 20 * ENTRY_LEN + 7));
    for number in 0..20 {
        assert_eq!(verdict(&store, &presented(number, at(0)), at(0)), Fresh);
    }
    for number in 20..40 {
        assert_eq!(verdict(&store, &presented(number, at(0)), at(0)), Unavailable(Down));
        assert_eq!(verdict(&store, &presented(number - 20, at(0)), at(0)), Seen);
    }
    // The next file cannot be begun either.
    limit_files(Some(8));
    assert_eq!(verdict(&store, &presented(40, at(400)), at(400)), Unavailable(Down));
    assert_eq!((told.count("failing"), told.count("recovered")), (1, 0));
    assert_eq!(told.code("failing"), Some(code::REPLAY_STORE_UNREADABLE));
    limit_files(None);
    for number in 50..60 {
        assert_eq!(verdict(&store, &presented(number, at(400)), at(400)), Fresh);
    }
    told.wait_for("recovered", 1);
    assert_eq!((told.count("failing"), told.count("recovered")), (1, 1));
}

#[test]
fn a_full_disk_refuses_clients_is_told_once_and_is_over_when_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("replay");
    let child = again("process_with_a_full_disk", &[]);
    // Without the signal, which would end the process, a write beyond the limit fails with an error.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(child.get_program()).args(child.get_args());
    shell.env("REPLAY_FOLDER", &folder);
    let done = start(shell).finish(DEADLINE).expect_success();
    assert!(done.text().contains("1 passed"), "{done:?}");
    let store = open(&folder, at(400));
    for number in (0..20).chain(50..60) {
        let ctime = if number < 20 { at(0) } else { at(400) };
        assert_eq!(verdict(&store, &presented(number, ctime), at(400)), Seen, "{number}");
    }
}

#[test]
fn of_racing_threads_exactly_one_is_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("replay"), at(0));
    let fresh = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let asked: Vec<_> = (0..3_000).map(|number| presented(number, at(0))).collect();
                let count = verdicts(&store, &asked, at(0)).iter().filter(|&&said| said == Fresh).count();
                fresh.fetch_add(count, std::sync::atomic::Ordering::SeqCst);
            });
        }
    });
    assert_eq!(fresh.into_inner(), 3_000);
}

#[test]
#[ignore = "a measurement: cargo test --release -p countersign --test replay_file -- --ignored a_million --nocapture"]
fn a_million_entries_are_read_back_in_a_stated_time() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("replay");
    let store = open(&folder, at(0));
    let began = std::time::Instant::now();
    for round in 0..100 {
        let asked: Vec<_> = (0..10_000).map(|number| presented(round * 10_000 + number, at(0))).collect();
        assert!(verdicts(&store, &asked, at(0)).iter().all(|&verdict| verdict == Fresh));
    }
    let stored = began.elapsed();
    drop(store);
    let began = std::time::Instant::now();
    let store = open(&folder, at(1));
    println!("1,000,000 entries: stored in {stored:?}, read back in {:?}", began.elapsed());
    assert_eq!(store.len(), 1_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_no_tag_is_fresh_twice(happenings in happenings()) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("replay");
        no_tag_is_fresh_twice(&happenings, |now| -> Box<dyn ReplayStore> {
            Box::new(FileReplayStore::open_at(FileReplayConfig::new(&folder, seconds(5)), now).unwrap())
        });
    }
}
