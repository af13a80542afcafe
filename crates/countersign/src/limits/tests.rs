//! Places, memory, and who gives way.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

use super::*;
use countersign_proto::error::{Explain, code};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

fn admission(total: usize, per_address: usize) -> Admission {
    Admission::new(HandshakeLimits { total, per_address, ..HandshakeLimits::default() })
}

fn enter(admission: &Admission, address: &str) -> Ticket {
    admission.enter(address.parse().unwrap())
}

fn lost(tickets: &[Ticket]) -> Vec<usize> {
    (0..tickets.len()).filter(|&index| tickets[index].eviction().is_some()).collect()
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let HandshakeLimits { total, per_address, memory } = HandshakeLimits::default();
    assert_eq!((total, per_address, memory), (16_384, 1_024, 256 << 20));
}

#[test]
fn nobody_is_evicted_up_to_the_limits() {
    let admission = admission(4, 2);
    let tickets = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|a| enter(&admission, a));
    assert_eq!((admission.open(), lost(&tickets)), (4, vec![]));
}

#[test]
fn when_full_the_address_with_most_open_loses_the_one_waiting_longest() {
    let admission = admission(4, 4);
    let mut tickets = ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
        .into_iter()
        .map(|a| enter(&admission, a))
        .collect::<Vec<_>>();
    tickets.push(enter(&admission, "192.0.2.3"));
    assert_eq!((admission.open(), lost(&tickets)), (4, vec![1]));
    let evicted = tickets[1].eviction().unwrap();
    assert_eq!((evicted.source_address, evicted.open), ("192.0.2.1".parse().unwrap(), 2));
}

#[test]
fn between_addresses_with_equally_many_the_one_waiting_longest_loses() {
    let admission = admission(3, 4);
    let mut tickets =
        ["192.0.2.2", "192.0.2.9", "192.0.2.1"].into_iter().map(|a| enter(&admission, a)).collect::<Vec<_>>();
    tickets.push(enter(&admission, "192.0.2.3"));
    tickets.push(enter(&admission, "192.0.2.4"));
    assert_eq!(lost(&tickets), [0, 1]);
}

#[test]
fn an_address_over_its_limit_loses_its_own() {
    let admission = admission(100, 2);
    let tickets: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.1"]
        .iter()
        .map(|address| enter(&admission, address))
        .collect();
    assert_eq!((admission.open(), lost(&tickets)), (4, vec![0]));
}

#[test]
fn a_flood_from_one_address_takes_no_place_from_others() {
    let admission = admission(10, 8);
    let honest: Vec<_> = (1..=3).map(|host| enter(&admission, &format!("192.0.2.{host}"))).collect();
    let flood: Vec<_> = (0..1_000).map(|_| enter(&admission, "198.51.100.7")).collect();
    let late = enter(&admission, "192.0.2.4");
    assert_eq!(lost(&honest), [0; 0]);
    assert_eq!((late.eviction(), lost(&flood).len(), admission.open()), (None, 994, 10));
}

#[test]
fn an_ipv6_network_of_64_bits_counts_as_one_address() {
    let admission = admission(100, 1);
    let tickets =
        ["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:1:ffff::2"].map(|a| enter(&admission, a));
    assert_eq!(lost(&tickets), [0]);
}

#[test]
fn a_mapped_ipv4_address_counts_as_itself() {
    let admission = admission(100, 1);
    let mapped = ["::ffff:192.0.2.1", "::ffff:192.0.2.2"].map(|address| enter(&admission, address));
    assert_eq!(lost(&mapped), [0; 0]);
    let _plain = enter(&admission, "192.0.2.1");
    assert_eq!(lost(&mapped), [0]);
}

#[test]
fn a_dropped_ticket_gives_its_place_back_once() {
    let admission = admission(2, 2);
    let (first, second) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
    drop(first);
    assert_eq!(admission.open(), 1);
    let (third, fourth) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
    assert!(second.eviction().is_some() && third.eviction().is_none());
    drop(second);
    assert_eq!(admission.open(), 2);
    drop((third, fourth));
    assert!(lock(&admission.0.table).is_empty());
}

#[test]
fn leaving_tells_whether_the_place_was_lost_and_with_which_code() {
    let admission = admission(1, 1);
    let (first, second) = (enter(&admission, "192.0.2.1"), enter(&admission, "192.0.2.1"));
    let evicted = first.leave().unwrap_err();
    assert_eq!(evicted.code(), code::HANDSHAKES_EXHAUSTED);
    assert!(evicted.saw().contains("2 handshakes open from 192.0.2.1"), "{}", evicted.saw());
    assert_eq!(second.leave(), Ok(()));
    assert_eq!(admission.open(), 0);
}

#[test]
fn a_limit_of_zero_still_lets_one_in() {
    let admission = admission(0, 0);
    let ticket = enter(&admission, "192.0.2.1");
    assert_eq!((ticket.eviction(), admission.open()), (None, 1));
}

#[test]
fn shedding_evicts_the_one_that_ranks_last_though_there_is_room() {
    let admission = admission(100, 100);
    let tickets: Vec<_> = ["192.0.2.9", "192.0.2.1", "192.0.2.1", "192.0.2.2"]
        .iter()
        .map(|address| enter(&admission, address))
        .collect();
    admission.shed();
    assert_eq!((admission.open(), lost(&tickets)), (3, vec![1]));
    let evicted = tickets[1].eviction().unwrap();
    assert_eq!(evicted.code(), code::HANDSHAKES_EXHAUSTED);
    assert!(evicted.have().contains("no descriptor left"), "{}", evicted.have());
    assert!(evicted.advice().contains("ulimit"), "{}", evicted.advice());
    (0..5).for_each(|_| admission.shed());
    assert_eq!((admission.open(), lost(&tickets)), (0, vec![0, 1, 2, 3]));
}

fn counter() -> (Arc<AtomicUsize>, impl Fn() + Clone + Send + 'static) {
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&count);
    (count, move || _ = shared.fetch_add(1, Ordering::SeqCst))
}

#[test]
fn the_action_runs_once_on_eviction_and_at_once_if_too_late() {
    let admission = admission(1, 1);
    let (count, action) = counter();
    let first = enter(&admission, "192.0.2.1");
    first.on_evict(action.clone());
    assert_eq!(count.load(Ordering::SeqCst), 0);
    let _second = enter(&admission, "192.0.2.1");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    first.on_evict(action);
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn the_action_does_not_run_after_the_ticket_left() {
    let admission = admission(1, 1);
    let (count, action) = counter();
    let first = enter(&admission, "192.0.2.1");
    first.on_evict(action);
    // As when the newcomer's thread took it off the table, and is slower than the loser.
    let eviction = Arc::clone(&first.eviction);
    first.leave().unwrap();
    let second = enter(&admission, "192.0.2.1");
    let _third = enter(&admission, "192.0.2.2");
    eviction.trip(second.eviction().unwrap());
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn a_task_that_waits_is_woken_by_its_eviction() {
    let admission = admission(1, 1);
    let first = enter(&admission, "192.0.2.1");
    let mut context = Context::from_waker(Waker::noop());
    let mut early = Box::pin(first.evicted());
    assert_eq!(early.as_mut().poll(&mut context), Poll::Pending);
    let _second = enter(&admission, "192.0.2.1");
    assert!(early.as_mut().poll(&mut context).is_ready());
    assert!(Box::pin(first.evicted()).as_mut().poll(&mut context).is_ready(), "and again, asked late");
}

#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    let admission = admission(20, 10);
    std::thread::scope(|scope| {
        for thread in 0..8_u8 {
            let admission = admission.clone();
            scope.spawn(move || {
                for round in 0..500_u32 {
                    let tickets: Vec<_> =
                        (0..5).map(|_| admission.enter([192, 0, 2, thread % 3].into())).collect();
                    tickets[round as usize % 5].on_evict(|| ());
                    assert!(admission.open() <= 20);
                }
            });
        }
    });
    assert!(lock(&admission.0.table).is_empty());
}

/// A handshake that holds so many KiB beyond what is free.
fn holding(admission: &Admission, address: &str, kib: usize) -> Ticket {
    let ticket = enter(admission, address);
    assert!(poll_once(&mut Box::pin(ticket.hold(FREE_SPACE + kib * 1_024))).is_ready());
    ticket
}

fn poll_once<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn with_memory(kib: usize) -> Admission {
    Admission::new(HandshakeLimits { memory: kib * 1_024, ..HandshakeLimits::default() })
}

#[test]
fn what_fits_into_the_free_space_is_not_counted_and_what_is_held_is_given_back() {
    let admission = with_memory(100);
    let short = holding(&admission, "192.0.2.1", 0);
    assert_eq!(admission.held(), 0);
    let long = holding(&admission, "192.0.2.2", 60);
    let third = holding(&admission, "192.0.2.2", 40);
    assert_eq!(admission.held(), 100 * 1_024);
    third.let_go();
    assert_eq!((admission.held(), admission.open()), (60 * 1_024, 3));
    drop(long);
    assert_eq!(admission.held(), 0);
    drop((short, third));
    assert!(lock(&admission.0.table).is_empty());
}

#[test]
fn what_is_held_already_is_counted_once_and_less_of_it_is_not_counted() {
    let admission = with_memory(100);
    let ticket = holding(&admission, "192.0.2.1", 30);
    for kib in [50, 20, 50] {
        assert!(poll_once(&mut Box::pin(ticket.hold(FREE_SPACE + kib * 1_024))).is_ready());
        assert_eq!(admission.held(), 50 * 1_024);
    }
}

#[test]
fn without_memory_the_longest_waiting_of_those_with_long_tokens_gives_way_and_is_waited_for() {
    let admission = with_memory(100);
    let tickets = [
        enter(&admission, "192.0.2.1"),
        holding(&admission, "192.0.2.2", 40),
        holding(&admission, "192.0.2.3", 60),
        enter(&admission, "192.0.2.4"),
    ];
    let mut waits = Box::pin(tickets[3].hold(FREE_SPACE + 50 * 1_024));
    assert!(poll_once(&mut waits).is_pending());
    assert_eq!(lost(&tickets), [1, 2], "the first of them was not enough");
    assert!(poll_once(&mut waits).is_pending(), "the memory is not given back yet");
    tickets[1].let_go();
    assert!(poll_once(&mut waits).is_pending());
    tickets[2].let_go();
    assert!(poll_once(&mut waits).is_ready());
    drop(waits);
    assert_eq!((admission.held(), admission.open()), (50 * 1_024, 2));
    let evicted = tickets[1].eviction().unwrap();
    assert_eq!(evicted.cause, Cause::Memory { held: 40 * 1_024, limit: 100 * 1_024 });
    assert_eq!(evicted.code(), code::HANDSHAKES_EXHAUSTED);
    assert_eq!(evicted.have(), "100 KiB for what all handshakes hold together");
    assert!(evicted.saw().contains("48 KiB held for 192.0.2.2"), "{}", evicted.saw());
}

#[test]
fn who_waits_for_memory_and_is_the_oldest_gives_way_itself() {
    let admission = with_memory(100);
    let oldest = holding(&admission, "192.0.2.1", 10);
    let other = holding(&admission, "192.0.2.2", 90);
    let mut waits = Box::pin(oldest.hold(FREE_SPACE + 20 * 1_024));
    assert!(poll_once(&mut waits).is_ready());
    assert!(oldest.eviction().is_some() && other.eviction().is_none());
}

#[test]
fn a_handshake_alone_may_hold_whatever_it_needs() {
    let admission = with_memory(100);
    let ticket = holding(&admission, "192.0.2.1", 1_000);
    assert_eq!((ticket.eviction(), admission.held()), (None, 100 * 1_024));
}

#[test]
fn who_was_evicted_for_its_place_gives_its_memory_back_when_it_ends() {
    let admission =
        Admission::new(HandshakeLimits { total: 1, memory: 100 * 1_024, ..HandshakeLimits::default() });
    let first = holding(&admission, "192.0.2.1", 100);
    let second = enter(&admission, "192.0.2.2");
    let mut waits = Box::pin(second.hold(FREE_SPACE + 1));
    assert!(first.eviction().is_some() && poll_once(&mut waits).is_pending());
    drop(first);
    assert!(poll_once(&mut waits).is_ready());
}

#[test]
fn what_waits_for_memory_and_is_given_up_holds_none() {
    let admission = with_memory(100);
    let (first, second) = (holding(&admission, "192.0.2.1", 100), enter(&admission, "192.0.2.2"));
    let mut waits = Box::pin(second.hold(FREE_SPACE + 100 * 1_024));
    assert!(poll_once(&mut waits).is_pending());
    drop(waits);
    drop((first, second));
    assert_eq!(admission.held(), 0);
    assert!(lock(&admission.0.table).is_empty());
}
