//! Every byte of every answer of the KDC damaged in turn on its way to `countersign ticket get`: there is no ticket that
//! is good for anything but the very one that the KDC gave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod kdc_support;
mod support;

use countersign_testkit::kdc_message::{Kind, flip};
use countersign_testkit::{KdcMessage, KdcOptions, KdcProxy, Realm, run};
use kdc_support::{Client, PASSWORD, SPN, by_tcp, edit, realm};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::{DEADLINE, Serve, connect};

const ALICE: &str = "alice@KDC.TEST";
const FULL_SPN: &str = "echo/a.example.test@KDC.TEST";

/// Runs `attempt` with every index below `count`, in as many threads as there are `workers`.
fn each<W: Sync>(workers: &[W], count: usize, attempt: impl Fn(&W, usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| {
                while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < count) {
                    attempt(worker, index);
                }
            });
        }
    });
}

/// A client with a proxy that turns over one bit of every answer of a kind, at an index that changes.
struct Damaged {
    client: Client,
    proxy: KdcProxy,
    index: Arc<AtomicUsize>,
    /// Where in the last damaged answer its ticket's encrypted part stood, and how long the answer was.
    place: Arc<Mutex<(Range<usize>, usize)>>,
}

impl Damaged {
    fn new(realm: &Realm, kind: Kind) -> Self {
        let proxy = KdcProxy::before(realm.kdc().address());
        let (index, place) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<(Range<usize>, usize)>>::default());
        let (read, write) = (Arc::clone(&index), Arc::clone(&place));
        edit(&proxy, kind, move |answer| {
            let message = KdcMessage::of(&answer);
            let sealed = if kind == Kind::Error { 0..0 } else { message.place_of_sealed_ticket() };
            *write.lock().unwrap() = (sealed, answer.len());
            let index = read.load(Ordering::Acquire);
            if index < answer.len() { flip(answer, index, 1 << (index % 8)) } else { answer }
        });
        Self { client: by_tcp(realm, &proxy), proxy, index, place }
    }

    fn at(&self, index: usize) {
        self.index.store(index, Ordering::Release);
    }

    fn place(&self) -> (Range<usize>, usize) {
        self.place.lock().unwrap().clone()
    }
}

const WORKERS: usize = 3;

/// What a damaged reply came to.
enum Outcome {
    /// Words and no ticket.
    Refused,
    /// A ticket that is not what the KDC gave, as it says itself when it is used.
    Useless,
    /// The very ticket that the KDC gave: the byte means nothing, as the type of a name does.
    Untouched,
}

/// Damages every byte of the AS-REP to alice in turn, and returns what each came to.
fn damage_as_reps(realm: &Realm, options: &[&str]) -> Vec<Outcome> {
    let workers: Vec<_> = (0..WORKERS).map(|_| Damaged::new(realm, Kind::AsRep)).collect();
    let try_at = |worker: &Damaged, index: usize| {
        worker.at(index);
        let login = worker.client.login(ALICE, PASSWORD, options);
        match login.done.code() {
            0 => {
                let list = realm.klist(&login.ccache);
                assert!(list.contains("Default principal: alice@KDC.TEST\n"), "byte {index}: {list}");
                let used = realm.try_kvno_as(&realm.env(), SPN, &login.ccache, &[]).code() == 0;
                if used { Outcome::Untouched } else { Outcome::Useless }
            }
            1 | 3 if !login.ccache.exists() => Outcome::Refused,
            _ => panic!("byte {index}: {login:?}"),
        }
    };
    assert!(matches!(try_at(&workers[0], usize::MAX), Outcome::Untouched));
    let (_, length) = workers[0].place();
    assert!(length > 500, "hundreds of bytes");
    let outcomes = Mutex::new(Vec::new());
    each(&workers, length, |worker, index| {
        let outcome = try_at(worker, index);
        let (sealed, length) = worker.place();
        if matches!(outcome, Outcome::Useless) {
            assert!(sealed.contains(&index), "byte {index} spoils a ticket and is not noticed");
        }
        // A nonce makes lengths differ by a byte or two.
        if index < length {
            outcomes.lock().unwrap().push(outcome);
        }
    });
    outcomes.into_inner().unwrap()
}

fn count(outcomes: &[Outcome], wanted: impl Fn(&Outcome) -> bool) -> usize {
    outcomes.iter().filter(|outcome| wanted(outcome)).count()
}

#[test]
fn no_damaged_as_rep_gives_a_ticket_that_is_good_for_anything() {
    let outcomes = damage_as_reps(&realm(&KdcOptions::default()), &[]);
    let untouched = count(&outcomes, |outcome| matches!(outcome, Outcome::Untouched));
    // The reply tells etype and salt once more, which have served by then.
    assert!(untouched < 40, "{untouched} of {}", outcomes.len());
    assert!(count(&outcomes, |outcome| matches!(outcome, Outcome::Refused)) > outcomes.len() / 2);
}

#[test]
fn no_damaged_as_rep_gives_a_spoilt_ticket_under_armor() {
    let realm = realm(&KdcOptions::default());
    let armor = realm.kinit("alice", PASSWORD, &[]);
    let outcomes = damage_as_reps(&realm, &["--armor-ccache", armor.to_str().unwrap()]);
    assert_eq!(count(&outcomes, |outcome| matches!(outcome, Outcome::Useless)), 0);
    // The armor vouches for the client's name and realm inside of it; those outside mean nothing.
    let untouched = count(&outcomes, |outcome| matches!(outcome, Outcome::Untouched));
    assert!(untouched < 25, "{untouched} of {}", outcomes.len());
}

#[test]
fn no_damaged_tgs_rep_gives_a_ticket_that_is_good_for_anything() {
    let realm = realm(&KdcOptions::default());
    let tgt = realm.kinit("alice", PASSWORD, &[]);
    let serve = Serve::start(&realm.keytab(&[SPN]), &[]);
    let workers: Vec<_> = (0..WORKERS).map(|_| Damaged::new(&realm, Kind::TgsRep)).collect();
    let get = |worker: &Damaged, number: usize| {
        let ccache: PathBuf = worker.client.ccache(&number.to_string());
        std::fs::copy(&tgt, &ccache).unwrap();
        let done = run(worker.client.ticket_get(&ccache).args(["--service", SPN]), DEADLINE);
        (done, ccache)
    };
    workers[0].at(usize::MAX);
    get(&workers[0], usize::MAX).0.expect_success();
    let (_, length) = workers[0].place();
    let untouched = AtomicUsize::new(0);
    each(&workers, length, |worker, index| {
        worker.at(index);
        let (done, ccache) = get(worker, index);
        let (sealed, length) = worker.place();
        match done.code() {
            _ if index >= length => {}
            0 => {
                let mut used = connect(serve.address, FULL_SPN, &ccache);
                if run(used.args(["--message", "hello"]), DEADLINE).code() == 0 {
                    untouched.fetch_add(1, Ordering::Relaxed);
                } else {
                    assert!(sealed.contains(&index), "byte {index} spoils a ticket and is not noticed");
                }
            }
            1 | 3 => assert!(!worker.client.klist(&ccache).contains(SPN), "byte {index}: {done:?}"),
            _ => panic!("byte {index}: {done:?}"),
        }
    });
    let untouched = untouched.into_inner();
    assert!(untouched < 10, "{untouched} of {length}");
}

#[test]
fn a_damaged_error_ends_in_words_whatever_it_says() {
    let realm = realm(&KdcOptions::default());
    let workers: Vec<_> = (0..WORKERS).map(|_| Damaged::new(&realm, Kind::Error)).collect();
    each(&workers, 250, |worker, index| {
        worker.at(index);
        let login = worker.client.login(ALICE, PASSWORD, &[]);
        match login.done.code() {
            0 => realm.kvno(SPN, &login.ccache, &[]),
            1 | 3 => assert!(login.done.stderr.contains("CS-6"), "byte {index}: {login:?}"),
            _ => panic!("byte {index}: {login:?}"),
        }
        worker.proxy.clear();
    });
}
