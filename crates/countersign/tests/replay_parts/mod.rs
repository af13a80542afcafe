//! What the tests of the replay stores share.
#![allow(dead_code, reason = "each test uses a part of it")]

use countersign::replay::{Check, Event, Observer, ReplayStore};
use countersign_proto::error::Code;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::replay::{Presented, ReplayVerdict, TAG_LEN};
use countersign_proto::time::Timestamp;
use countersign_testkit::Process;
use proptest::prelude::*;
use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, SystemTime};

pub(crate) const SKEW: Duration = Duration::from_secs(300);
/// How long an entry stays.
pub(crate) const LIFETIME: Duration = Duration::from_secs(660);
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn presented(number: u32, ctime: Timestamp) -> Presented {
    let mut tag = [7; TAG_LEN];
    tag[..4].copy_from_slice(&number.to_be_bytes());
    Presented { tag, ctime, client: Principal::new("EXAMPLE.TEST", &[&format!("user{}", number % 997)]) }
}

/// What the store says, once it says it. It is waited for without any runtime.
pub(crate) fn verdict(store: &dyn ReplayStore, presented: &Presented, now: Timestamp) -> ReplayVerdict {
    settle(store.check(presented, now))
}

pub(crate) fn settle(check: Check) -> ReplayVerdict {
    match check {
        Check::Now(verdict) => verdict,
        Check::Later(mut answering) => {
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            loop {
                match answering.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(verdict) => return verdict,
                    Poll::Pending => std::thread::park(),
                }
            }
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What the store says of many that are asked before the first answer is waited for.
pub(crate) fn verdicts(store: &dyn ReplayStore, asked: &[Presented], now: Timestamp) -> Vec<ReplayVerdict> {
    let checks: Vec<Check> = asked.iter().map(|presented| store.check(presented, now)).collect();
    checks.into_iter().map(settle).collect()
}

/// What happened, and why.
type Line = (&'static str, Option<Code>);

/// What a store told, as text.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<Line>>>);

impl Told {
    pub(crate) fn observer(&self) -> Box<Observer> {
        let told = self.0.clone();
        Box::new(move |event| {
            let what = match event {
                Event::Failing(cause) => ("failing", Some(cause.code())),
                Event::Recovered => ("recovered", None),
                Event::Changed(cause) => ("changed", Some(cause.code())),
                Event::RefusedSinceChange(_) => ("refused since change", None),
                Event::OnMemoryAlone(_) => ("on memory alone", None),
                other => panic!("{other:?}"),
            };
            told.lock().unwrap().push(what);
        })
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|(told, _)| *told == what).count()
    }

    /// The code of the last event of that kind.
    pub(crate) fn code(&self, what: &str) -> Option<Code> {
        self.0.lock().unwrap().iter().rev().find(|(told, _)| *told == what).and_then(|(_, code)| *code)
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, count: usize) {
        wait(&format!("{count} times {what:?}"), || self.count(what) >= count);
    }
}

#[track_caller]
pub(crate) fn wait(what: &str, mut is_there: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !is_there() {
        assert!(std::time::Instant::now() < end, "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// This program again, running only the test `name`, which others leave out.
pub(crate) fn again(name: &str, arguments: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]);
    command.envs(arguments.iter().copied());
    command
}

pub(crate) fn start(mut command: Command) -> Process {
    Process::start(&mut command)
}

pub(crate) fn argument(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by the test that starts this one"))
}

/// What happens to a store in the property that every store has.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// The clock moves by so many seconds.
    Clock(i64),
    /// These are presented at once. A number stands for one authenticator, whose ctime no clock changes.
    Present(Vec<u32>),
    /// The store is closed and opened again.
    Restart,
}

pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        3 => (-40..60_i64).prop_map(Happening::Clock),
        1 => prop_oneof![Just(-700_i64), Just(700), Just(5_000), Just(-5_000)].prop_map(Happening::Clock),
        8 => prop::collection::vec(0..60_u32, 1..12).prop_map(Happening::Present),
        2 => Just(Happening::Restart),
    ];
    prop::collection::vec(one, 1..60)
}

/// Whatever happens, no tag is called fresh twice. `open` opens the store, and opens it again after it was dropped.
pub(crate) fn no_tag_is_fresh_twice(
    happenings: &[Happening],
    mut open: impl FnMut(Timestamp) -> Box<dyn ReplayStore>,
) {
    let begin = now();
    let mut now = begin;
    let mut store = Some(open(now));
    let mut fresh = HashSet::new();
    for happening in happenings {
        match happening {
            Happening::Clock(step) => now = now.shifted(step * 1_000_000),
            Happening::Restart => {
                drop(store.take());
                store = Some(open(now));
            }
            Happening::Present(numbers) => {
                let ctime = |number: u32| begin.shifted((i64::from(number % 20) * 15 - 60) * 1_000_000);
                let asked: Vec<_> = numbers.iter().map(|&number| presented(number, ctime(number))).collect();
                let said = verdicts(store.as_deref().unwrap(), &asked, now);
                for (authenticator, verdict) in asked.iter().zip(said) {
                    let again = [ReplayVerdict::Fresh, ReplayVerdict::FreshHere].contains(&verdict)
                        && !fresh.insert(authenticator.tag);
                    assert!(!again, "{authenticator:?}");
                }
            }
        }
    }
}
