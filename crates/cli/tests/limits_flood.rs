//! Issue 7, "It is done when": 10,000 half-open connections and garbage at 1,000 frames a second change neither what an
//! honest handshake costs the service, nor whether it succeeds; memory stays under what the service printed, and every
//! descriptor comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod limits_support;
mod support;

use countersign::Client;
use limits_support::flood::{Flood, Plan};
use limits_support::{Held, client, client_with, handshake, median, mint, printed, serve_with};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Serve, wait_for};

/// The claim is of optimised code (a stage of its own in scripts/test); without, this machine could not even make the flood.
const HALF_OPEN: usize = if cfg!(debug_assertions) { 3_000 } else { 10_000 };
const GARBAGE: usize = if cfg!(debug_assertions) { 300 } else { 1_000 };

/// The default, over which the half-open connections are spread: each second a tenth of them is ended and opened anew.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// The most that the flood may add to what an honest handshake costs the service.
const MAX_RISE: f64 = 1.25;

/// Optimised code is measured for longer: it is faster, and it is what is claimed of.
const HANDSHAKES: usize = if cfg!(debug_assertions) { 400 } else { 2_000 };
const ROUNDS: usize = if cfg!(debug_assertions) { 3 } else { 5 };
const FLOOD_ALONE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 1_000 } else { 2_000 });

/// How often the whole is measured at most. Whatever else runs on the machine takes processors' caches from the service and
/// so only ever adds to what is measured: one measure under the bound shows that the service keeps to it.
const ATTEMPTS: usize = 3;

#[test]
fn a_flood_takes_nothing_from_honest_clients_and_leaves_nothing_behind() {
    let (serve, _folder) = serve_with("log = { level = \"debug\" }\n", &[]);
    let held = Held::by(&serve);
    let permitted = printed(&serve.process.stderr(), "memory: at most ", " MiB before") << 20;
    let client = client();
    honest(&client, serve.address, 200);
    let idle = wait_for_calm(&held);
    let mut measured = Vec::new();
    for _ in 0..ATTEMPTS {
        let reached = measure(&serve, &held, &client);
        if let Some((alone, flooded)) = reached {
            measured.push(flooded / alone);
            println!("a handshake: {alone:.0} ns alone, {flooded:.0} ns under the flood");
        }
        let back = wait_for(|| (held.descriptors() == idle).then_some(()));
        assert!(back.is_some(), "{idle} descriptors before, {} after", held.descriptors());
        if reached.is_some_and(|(alone, flooded)| flooded <= alone * MAX_RISE) {
            break;
        }
    }
    assert!(!measured.is_empty(), "the machine was too busy to make the flood, {ATTEMPTS} times");
    let best = measured.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(best <= MAX_RISE, "an honest handshake costs {measured:.2?} times as much under a flood");
    let peak = held.peak_memory();
    println!("{} MiB at most, {} permitted", peak >> 20, permitted >> 20);
    assert!(peak < permitted, "{} KiB taken, {} permitted", peak >> 10, permitted >> 10);
    assert_refused_strangers_alone(&serve);
}

/// What a handshake costs the service, in nanoseconds of processor time: alone before and after, and in a flood, from which
/// what the flood costs by itself is taken away.
fn measure(serve: &Serve, held: &Held, client: &Client) -> Option<(f64, f64)> {
    let each = |time: u64| time as f64 / HANDSHAKES as f64;
    let alone_once = || {
        let before = held.processor_time();
        honest(client, serve.address, HANDSHAKES);
        each(held.processor_time() - before)
    };
    let mut alone: Vec<f64> = (0..ROUNDS).map(|_| alone_once()).collect();

    let plan = Plan { half_open: HALF_OPEN, ramp: HANDSHAKE_DEADLINE, garbage: GARBAGE };
    let (flood, began_at) = (Flood::begin(serve.address, plan), Instant::now());
    let garbage_before = flood.counts.garbage.load(Ordering::Relaxed);
    let mut by_flood = vec![flood_alone(held)];
    let mut together = Vec::new();
    for _ in 0..ROUNDS {
        let (before, began) = (held.processor_time(), Instant::now());
        honest(client, serve.address, HANDSHAKES);
        together.push((held.processor_time() - before, began.elapsed()));
        by_flood.push(flood_alone(held));
    }
    let half_open = flood.counts.half_open.load(Ordering::Relaxed);
    let garbage = (flood.counts.garbage.load(Ordering::Relaxed) - garbage_before) as f64;
    let garbage = garbage / began_at.elapsed().as_secs_f64();
    println!("{half_open} half open, {garbage:.0} frames of garbage a second");
    let reached = half_open > HALF_OPEN * 9 / 10 && garbage > GARBAGE as f64 * 0.75;
    assert_eq!(flood.counts.failed.load(Ordering::Relaxed), 0, "connections that could not be made");
    drop(flood);
    wait_for_calm(held);
    alone.extend((0..ROUNDS).map(|_| alone_once()));

    let flooded = together.iter().zip(by_flood.windows(2)).map(|((time, took), around)| {
        let of_flood = took.as_secs_f64() * (around[0] + around[1]) / 2.0;
        (*time as f64 - of_flood) / HANDSHAKES as f64
    });
    // Where other programs take the processors the flood stays small, and nothing is shown.
    reached.then(|| (median(alone), median(flooded.collect())))
}

/// What the flood costs by itself, in nanoseconds a second.
fn flood_alone(held: &Held) -> f64 {
    let (before, began) = (held.processor_time(), Instant::now());
    std::thread::sleep(FLOOD_ALONE);
    (held.processor_time() - before) as f64 / began.elapsed().as_secs_f64()
}

/// Handshakes of honest clients, four at a time, each from an address of its own, and all of them must succeed.
fn honest(client: &Client, address: SocketAddr, count: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let next = &next;
            scope.spawn(move || {
                let source = Ipv4Addr::new(127, 0, 0, 2 + thread);
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let session = handshake(client, source, address);
                    drop(session.unwrap_or_else(|failure| panic!("{}", failure.refusal)));
                }
            });
        }
    });
}

/// Waits until connections that end have ended, and says how many descriptors are left.
fn wait_for_calm(held: &Held) -> usize {
    let calm = wait_for(|| {
        let (before, time) = (held.descriptors(), held.processor_time());
        std::thread::sleep(Duration::from_millis(200));
        let is_calm = held.descriptors() == before && held.processor_time() - time < 2_000_000;
        is_calm.then_some(before)
    });
    calm.expect("the service comes to rest")
}

fn assert_refused_strangers_alone(serve: &Serve) {
    let records = serve.records();
    let is_honest = |peer: &str| peer.starts_with("127.0.0.");
    let honest = |outcome: &str| {
        let of = |record: &&serde_json::Value| record["outcome"] == outcome;
        records.iter().filter(of).filter(|record| is_honest(record["peer"].as_str().unwrap())).count()
    };
    assert_eq!((honest("refused"), honest("broken")), (0, 0));
    assert!(honest("accepted") >= 200 + 3 * ROUNDS * HANDSHAKES);
    assert!(!serve.process.stderr().contains("cannot accept"), "{}", serve.process.stderr());
}

/// Half-sent tokens as long as they may be, in so many handshakes that all of them would take twice what is permitted.
#[test]
fn long_tokens_that_come_in_part_hold_no_more_than_is_permitted_and_give_way_to_long_honest_ones() {
    const PERMITTED: usize = 32 << 20;
    const HALF: usize = 60_000;
    const COUNT: usize = 2 * PERMITTED / HALF;
    let limits = "log = { level = \"debug\" }\nreplay = { store = \"memory\", capacity = 1000 }\n\
                  limits = { handshake_memory = \"32 MiB\", handshakes = 2000, handshakes_per_address = 1000 }\n";
    let (serve, _folder) = serve_with(limits, &["--handshake-deadline", "60"]);
    let held = Held::by(&serve);
    let idle = held.descriptors();
    let permitted = printed(&serve.process.stderr(), "memory: at most ", " MiB before") << 20;
    let before = held.memory();
    limits_support::flood::enough_descriptors(COUNT + 1_000);
    let mut frame = vec![0x60; HALF];
    frame[..4].copy_from_slice(&65_536_u32.to_le_bytes());
    let hostile: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut stream =
                limits_support::connect_from(Ipv4Addr::new(127, 20, (number % 100) as u8, 1), serve.address);
            std::io::Write::write_all(&mut stream, &frame).unwrap();
            stream
        })
        .collect();
    let evicted = || {
        let for_memory = |record: &serde_json::Value| {
            record["code"] == "CS-8006"
                && record["reason"].as_str().unwrap().contains("32768 KiB for what all")
        };
        serve.records().iter().filter(|record| for_memory(record)).count()
    };
    // Each has a buffer of 64 KiB, of which 8 KiB are free.
    let least = COUNT - PERMITTED / (56 << 10);
    assert!(wait_for(|| (evicted() >= least).then_some(())).is_some(), "{} of {least} gave way", evicted());
    let mut ticket = mint().ticket();
    ticket.authorization_data = Some(long_authorization_data());
    let long = client_with(ticket);
    for _ in 0..20 {
        let session = handshake(&long, Ipv4Addr::new(127, 0, 0, 9), serve.address);
        drop(session.unwrap_or_else(|failure| panic!("{}", failure.refusal)));
    }
    let (peak, grown) = (held.peak_memory(), held.peak_memory().saturating_sub(before));
    println!(
        "{} MiB at most, {} permitted; {} more than when idle",
        peak >> 20,
        permitted >> 20,
        grown >> 20
    );
    assert!(peak < permitted && grown < PERMITTED * 3 / 2, "{peak} of {permitted}, {grown} of {PERMITTED}");
    drop(hostile);
    assert!(wait_for(|| (held.descriptors() == idle).then_some(())).is_some(), "{}", held.descriptors());
}

/// What a PAC is to those who know none: data that may be ignored, of 40,000 bytes.
fn long_authorization_data() -> Vec<u8> {
    use countersign_testkit::mint::authorization_data as data;
    data::if_relevant(&[(128, &[0; 40_000])])
}

/// What a session holds that has said something short and waits, as docs/limits.md has it.
#[test]
fn idle_sessions_hold_little() {
    const COUNT: usize = 400;
    let (serve, _folder) = serve_with("", &[]);
    let (held, client) = (Held::by(&serve), client());
    let echoed = |number: usize| {
        let source = Ipv4Addr::new(127, 0, 1, (number % 200) as u8 + 1);
        let mut session = handshake(&client, source, serve.address).unwrap();
        session.send(b"here").unwrap();
        assert_eq!(session.receive().unwrap(), Some(&b"here"[..]));
        session
    };
    (0..50).for_each(|number| drop(echoed(number)));
    let idle = wait_for_calm(&held);
    let before = held.memory();
    let sessions: Vec<_> = (0..COUNT).map(echoed).collect();
    assert_eq!(held.descriptors(), idle + COUNT);
    let each = held.memory().saturating_sub(before) / COUNT;
    println!("{each} bytes for a session");
    assert!(each < 40 << 10, "{each} bytes for a session");
    drop(sessions);
    assert_eq!(wait_for_calm(&held), idle);
}

/// One count for all listeners: a flood at one must not let the process have more open than it may.
#[test]
fn listeners_of_one_process_share_their_limits() {
    let configuration = "limits = { handshakes = 60, handshakes_per_address = 60 }\n\
                         [[listener]]\nname = \"one\"\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n\
                         [[listener]]\nname = \"two\"\nlisten = [\"127.0.0.1:0\"]\nframing = \"nns\"\n";
    let (serve, _folder) = limits_support::serve_several(configuration, 3);
    let silent = |number: usize| {
        let address = serve.addresses[number % 3];
        limits_support::connect_from(Ipv4Addr::new(127, 30, number as u8, 1), address)
    };
    let _open: Vec<_> = (0..60).map(silent).collect();
    let _more: Vec<_> = (60..66).map(silent).collect();
    let gone = || serve.process.stderr().matches("CS-8006").count();
    assert!(wait_for(|| (gone() == 6).then_some(())).is_some(), "{} gave way", gone());
}
