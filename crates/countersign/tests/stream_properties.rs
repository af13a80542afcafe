//! Streams and messages arrive as they were sent, however they are written, read and cut up on their way, and in whatever
//! order the tasks of both ends are run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod ends;

use countersign::{blocking, tokio as asynchronous};
use ends::kinds::{Kind, kinds};
use ends::pipe::{Behaviour, Dice, Pipe, Tap, pipe};
use ends::tasks::{Task, run};
use ends::{Face, Session};
use proptest::prelude::*;
use std::io::{self, BufRead, IoSlice, Write};
use std::thread;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What who writes does next.
#[derive(Clone, Debug)]
enum Writes {
    /// Writes so many bytes, once.
    Bytes(usize),
    /// Writes parts of so many bytes, once.
    Parts(Vec<usize>),
    Flush,
}

/// What who reads does, over and over.
#[derive(Clone, Debug)]
enum Reads {
    /// Reads into so much space, which may be none.
    Into(usize),
    /// Looks at what is there and consumes so much of it at most.
    Consume(usize),
}

/// One direction.
#[derive(Clone, Debug)]
struct Way {
    writes: Vec<Writes>,
    reads: Vec<Reads>,
    /// How many bytes are on their way at most.
    room: usize,
}

/// How the tasks of one end share its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sharing {
    /// They have its own halves.
    Halves,
    /// They lock it in turn (`tokio::io::split`).
    Locked,
    /// One task does both at once.
    OneTask,
}

#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    ways: [Way; 2],
    sharing: [Sharing; 2],
    seed: u64,
    /// How many bytes move at once at most.
    most: usize,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 8 => 1_usize..100, 4 => 100_usize..5_000, 1 => 60_000_usize..140_000]
}

fn way() -> impl Strategy<Value = Way> {
    let writes = prop_oneof![
        4 => size().prop_map(Writes::Bytes),
        2 => prop::collection::vec(size(), 0..4).prop_map(Writes::Parts),
        1 => Just(Writes::Flush),
    ];
    let reads = prop_oneof![size().prop_map(Reads::Into), size().prop_map(Reads::Consume)];
    // Something must come of reading.
    let reads = prop::collection::vec(reads, 0..4).prop_map(|mut reads| {
        reads.push(Reads::Into(3_000));
        reads
    });
    let room = prop_oneof![1_usize..100, 1_000_usize..200_000];
    (prop::collection::vec(writes, 0..10), reads, room).prop_map(|(writes, reads, room)| {
        // One byte at a time is for short conversations.
        let room = room.max(writes.iter().map(Writes::len).sum::<usize>() / 1_000 + 1);
        Way { writes, reads, room }
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let sharing = || prop_oneof![Just(Sharing::Halves), Just(Sharing::Locked), Just(Sharing::OneTask)];
    let kind = prop::sample::select(kinds().collect::<Vec<_>>());
    let most = prop_oneof![1_usize..10, 10_usize..2_000, 2_000_usize..100_000];
    (kind, [way(), way()], [sharing(), sharing()], any::<u64>(), most).prop_map(
        |(kind, ways, sharing, seed, most)| {
            let total = ways.iter().map(Way::total).sum::<usize>();
            Plan { kind, ways, sharing, seed, most: most.max(total / 500 + 1) }
        },
    )
}

impl Writes {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(len) => *len,
            Self::Parts(parts) => parts.iter().sum(),
            Self::Flush => 0,
        }
    }
}

impl Way {
    /// How many bytes it offers.
    fn total(&self) -> usize {
        self.writes.iter().map(Writes::len).sum()
    }
}

/// The byte at a place of a stream: the same at both ends, and telling if the place is another.
fn byte(place: usize) -> u8 {
    (place ^ (place >> 8) ^ (place >> 13)) as u8
}

fn bytes(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

/// The parts of one write, from a place of the stream on.
fn parts(from: usize, lens: &[usize]) -> Vec<Vec<u8>> {
    let mut from = from;
    let next = |len: &usize| {
        let part = bytes(from, *len);
        from += len;
        part
    };
    lens.iter().map(next).collect()
}

#[track_caller]
fn assert_takes(taken: usize, offered: usize) {
    assert!(taken <= offered && (taken > 0) == (offered > 0), "{taken} bytes taken of {offered}");
}

/// Checks what came against its place.
#[track_caller]
fn assert_follows(read: &mut usize, came: &[u8]) {
    assert!(came == bytes(*read, came.len()), "at {read}, {} bytes", came.len());
    *read += came.len();
}

/// Writes, ends the stream, and gives the length of what was taken.
async fn write_all_of(way: &Way, stream: &mut (impl AsyncWrite + Unpin)) -> usize {
    let mut written = 0;
    for step in &way.writes {
        let taken = match step {
            Writes::Bytes(len) => stream.write(&bytes(written, *len)).await.unwrap(),
            Writes::Parts(lens) => {
                let parts = parts(written, lens);
                let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                stream.write_vectored(&parts).await.unwrap()
            }
            Writes::Flush => {
                stream.flush().await.unwrap();
                continue;
            }
        };
        assert_takes(taken, step.len());
        written += taken;
    }
    stream.shutdown().await.unwrap();
    written
}

/// Reads to the end, and gives how much came.
async fn read_all_of(way: &Way, stream: &mut (impl AsyncBufRead + Unpin)) -> usize {
    let mut read = 0;
    for step in way.reads.iter().cycle() {
        match step {
            Reads::Into(0) => assert_eq!(stream.read(&mut []).await.unwrap(), 0),
            Reads::Into(len) => {
                let mut space = vec![0; *len];
                let count = stream.read(&mut space).await.unwrap();
                if count == 0 {
                    break;
                }
                assert_follows(&mut read, &space[..count]);
            }
            Reads::Consume(len) => {
                let there = stream.fill_buf().await.unwrap();
                if there.is_empty() {
                    break;
                }
                let count = there.len().min(*len);
                assert_follows(&mut read, &there[..count]);
                stream.consume(count);
            }
        }
    }
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0, "it stays at its end");
    read
}

fn write_all_of_blocking(way: &Way, stream: &mut impl Write) -> usize {
    let mut written = 0;
    for step in &way.writes {
        let taken = match step {
            Writes::Bytes(len) => stream.write(&bytes(written, *len)).unwrap(),
            Writes::Parts(lens) => {
                let parts = parts(written, lens);
                let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
                stream.write_vectored(&parts).unwrap()
            }
            Writes::Flush => {
                stream.flush().unwrap();
                continue;
            }
        };
        assert_takes(taken, step.len());
        written += taken;
    }
    written
}

fn read_all_of_blocking(way: &Way, stream: &mut impl BufRead) -> usize {
    let mut read = 0;
    for step in way.reads.iter().cycle() {
        match step {
            Reads::Into(0) => assert_eq!(stream.read(&mut []).unwrap(), 0),
            Reads::Into(len) => {
                let mut space = vec![0; *len];
                let count = stream.read(&mut space).unwrap();
                if count == 0 {
                    break;
                }
                assert_follows(&mut read, &space[..count]);
            }
            Reads::Consume(len) => {
                let there = stream.fill_buf().unwrap();
                if there.is_empty() {
                    break;
                }
                let count = there.len().min(*len);
                assert_follows(&mut read, &there[..count]);
                stream.consume(count);
            }
        }
    }
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "it stays at its end");
    read
}

/// Makes both ends uneven, the two of a plan each in its own way.
fn unsettle(plan: &Plan, taps: &(Tap, Tap)) {
    for (tap, seed) in [(&taps.0, plan.seed), (&taps.1, !plan.seed)] {
        tap.behave(Behaviour::Uneven { most: plan.most, dice: Dice(seed) });
    }
    taps.0.outgoing.limit(plan.ways[0].room);
    taps.1.outgoing.limit(plan.ways[1].room);
}

fn tokio_ends(kind: Kind, ends: (Pipe, Pipe)) -> [asynchronous::Session<Pipe>; 2] {
    match kind.sessions((Face::Tokio, Face::Tokio), ends) {
        (Session::Tokio(_, serving), Session::Tokio(_, connecting)) => [connecting, serving],
        _ => panic!("another face than asked for"),
    }
}

fn blocking_ends(kind: Kind, ends: (Pipe, Pipe)) -> [blocking::Session<Pipe>; 2] {
    match kind.sessions((Face::Blocking, Face::Blocking), ends) {
        (Session::Blocking(serving), Session::Blocking(connecting)) => [connecting, serving],
        _ => panic!("another face than asked for"),
    }
}

/// The tasks of one end, which say what they wrote and read.
fn tasks<'t>(
    stream: asynchronous::AuthStream<Pipe>,
    sharing: Sharing,
    (out, back): (&'t Way, &'t Way),
    (wrote, read): (&'t mut usize, &'t mut usize),
) -> Vec<Task<'t>> {
    match sharing {
        Sharing::Halves => {
            let (mut reading, mut writing) = stream.into_split();
            vec![
                Box::pin(async move { *wrote = write_all_of(out, &mut writing).await }),
                Box::pin(async move { *read = read_all_of(back, &mut reading).await }),
            ]
        }
        Sharing::Locked => {
            let (reading, mut writing) = tokio::io::split(stream);
            let mut reading = Reader(reading);
            vec![
                Box::pin(async move { *wrote = write_all_of(out, &mut writing).await }),
                Box::pin(async move { *read = reading.read_all_of(back).await }),
            ]
        }
        Sharing::OneTask => {
            let (reading, mut writing) = tokio::io::split(stream);
            let mut reading = Reader(reading);
            vec![Box::pin(async move {
                let writing = write_all_of(out, &mut writing);
                (*wrote, *read) = tokio::join!(writing, reading.read_all_of(back));
            })]
        }
    }
}

/// A half that cannot be looked into.
struct Reader(tokio::io::ReadHalf<asynchronous::AuthStream<Pipe>>);

impl Reader {
    async fn read_all_of(&mut self, way: &Way) -> usize {
        let mut read = 0;
        for step in way.reads.iter().cycle() {
            let (Reads::Into(len) | Reads::Consume(len)) = step;
            let mut space = vec![0; *len];
            let count = self.0.read(&mut space).await.unwrap();
            if count == 0 && *len > 0 {
                break;
            }
            assert_follows(&mut read, &space[..count]);
        }
        read
    }
}

fn assert_all_came(plan: &Plan, wrote: [usize; 2], read: [usize; 2]) {
    assert_eq!(read, [wrote[1], wrote[0]]);
    for (way, wrote) in plan.ways.iter().zip(wrote) {
        // A write may take a part of what it is offered, but not where everything is collected.
        assert!(wrote <= way.total());
        assert!(wrote == way.total() || !plan.kind.is_single());
    }
}

fn check_tokio(plan: &Plan) {
    let (pair, taps) = pipe();
    let [near, far] = tokio_ends(plan.kind, pair);
    unsettle(plan, &taps);
    let [out, back] = &plan.ways;
    let (mut wrote, mut read) = ([0; 2], [0; 2]);
    {
        let ([near_wrote, far_wrote], [near_read, far_read]) = (&mut wrote, &mut read);
        let mut all = tasks(near.into_stream(), plan.sharing[0], (out, back), (near_wrote, near_read));
        all.extend(tasks(far.into_stream(), plan.sharing[1], (back, out), (far_wrote, far_read)));
        run(all, Dice(plan.seed.rotate_left(32)));
    }
    assert_all_came(plan, wrote, read);
}

/// Each half in a thread of its own.
fn check_halves_blocking(plan: &Plan) {
    let (pair, taps) = pipe();
    let [near, far] = blocking_ends(plan.kind, pair);
    unsettle(plan, &taps);
    let [out, back] = &plan.ways;
    let (near_read, near_write) = near.into_stream().into_split().unwrap();
    let (far_read, far_write) = far.into_stream().into_split().unwrap();
    let write = |way, mut half: blocking::WriteHalf<Pipe>| {
        let written = write_all_of_blocking(way, &mut half);
        half.finish().unwrap();
        written
    };
    thread::scope(|scope| {
        let near_wrote = scope.spawn(move || write(out, near_write));
        let far_wrote = scope.spawn(move || write(back, far_write));
        let far_read = scope.spawn(move || read_all_of_blocking(out, &mut { far_read }));
        let near_read = read_all_of_blocking(back, &mut { near_read });
        let wrote = [near_wrote.join().unwrap(), far_wrote.join().unwrap()];
        assert_all_came(plan, wrote, [near_read, far_read.join().unwrap()]);
    });
}

/// One end speaks, then the other.
fn check_whole_blocking(plan: &Plan) {
    let (pair, taps) = pipe();
    let ends = blocking_ends(plan.kind, pair).map(blocking::Session::into_stream);
    unsettle(plan, &taps);
    let [out, back] = &plan.ways;
    let [mut near, mut far] = ends;
    thread::scope(|scope| {
        let far = scope.spawn(move || {
            let read = read_all_of_blocking(out, &mut far);
            let wrote = write_all_of_blocking(back, &mut far);
            far.finish().unwrap();
            (wrote, read)
        });
        let wrote = write_all_of_blocking(out, &mut near);
        near.finish().unwrap();
        let read = read_all_of_blocking(back, &mut near);
        let (far_wrote, far_read) = far.join().unwrap();
        assert_all_came(plan, [wrote, far_wrote], [read, far_read]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_split_by_any_scheduler_gives_the_same_bytes_over_tokio(plan in plan()) {
        check_tokio(&plan);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn any_split_gives_the_same_bytes_to_blocking_halves_in_four_threads(plan in plan()) {
        check_halves_blocking(&plan);
    }

    #[test]
    fn any_split_gives_the_same_bytes_to_blocking_streams_that_are_whole(plan in plan()) {
        check_whole_blocking(&plan);
    }
}

/// Messages of such sizes, each sent as one.
fn messages(kind: Kind, sizes: &[usize]) -> Vec<Vec<u8>> {
    let sizes = if kind.is_single() { &sizes[..sizes.len().min(1)] } else { sizes };
    parts(0, sizes)
}

fn check_messages_tokio(kind: Kind, sizes: &[usize], most: usize, seed: u64) {
    let (pair, taps) = pipe();
    let [near, far] = tokio_ends(kind, pair);
    let messages = messages(kind, sizes);
    let way = Way { writes: Vec::new(), reads: Vec::new(), room: most };
    let sharing = [Sharing::Halves; 2];
    unsettle(&Plan { kind, ways: [way.clone(), way], sharing, seed, most }, &taps);
    let (mut sending, _near_receiving) = near.into_split();
    let (_far_sending, mut receiving) = far.into_split();
    let send = async {
        for message in &messages {
            sending.send(message).await.unwrap();
        }
        sending.finish().await.unwrap();
    };
    let receive = async {
        for message in &messages {
            assert_eq!(receiving.receive_any().await.unwrap().as_ref(), Some(&&message[..]));
        }
        if messages.last().is_none_or(|last| !last.is_empty()) && !kind.is_single() {
            assert_eq!(receiving.receive_any().await.unwrap(), Some(&b""[..]));
        }
        if kind.is_single() && messages.is_empty() {
            assert_eq!(receiving.receive_any().await.unwrap(), Some(&b""[..]));
        }
        assert_eq!(receiving.receive_any().await.unwrap(), None);
    };
    run(vec![Box::pin(send), Box::pin(receive)], Dice(seed));
}

fn check_messages_blocking(kind: Kind, sizes: &[usize], most: usize, seed: u64) {
    let (pair, taps) = pipe();
    let [mut near, mut far] = blocking_ends(kind, pair);
    let messages = messages(kind, sizes);
    let way = Way { writes: Vec::new(), reads: Vec::new(), room: most };
    let sharing = [Sharing::Halves; 2];
    unsettle(&Plan { kind, ways: [way.clone(), way], sharing, seed, most }, &taps);
    thread::scope(|scope| {
        scope.spawn(|| {
            messages.iter().for_each(|message| near.send(message).unwrap());
            near.finish().unwrap();
        });
        for message in &messages {
            assert_eq!(far.receive_any().unwrap().as_ref(), Some(&&message[..]));
        }
        let last_is_mark = messages.last().is_some_and(|last| last.is_empty() || kind.is_single());
        if !last_is_mark {
            assert_eq!(far.receive_any().unwrap(), Some(&b""[..]));
        }
        assert_eq!(far.receive_any().unwrap(), None);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(80) })]

    #[test]
    fn messages_arrive_one_by_one_empty_ones_too(
        kind in prop::sample::select(kinds().collect::<Vec<_>>()),
        sizes in prop::collection::vec(size(), 0..7),
        seed in any::<u64>(),
        most in 300_usize..30_000,
    ) {
        // NNS sends no records of more than 64,560 bytes.
        let sizes: Vec<_> = sizes.into_iter().map(|size| size.min(60_000)).collect();
        check_messages_tokio(kind, &sizes, most, seed);
        check_messages_blocking(kind, &sizes, most, seed);
    }
}

/// What was received as a message is not there a second time when the session becomes a stream.
#[test]
fn a_session_that_becomes_a_stream_goes_on_where_it_was() {
    for kind in kinds().filter(|kind| !kind.is_single()) {
        let [mut near, mut far] = blocking_ends(kind, pipe().0);
        near.send(b"a message").unwrap();
        assert_eq!(far.receive().unwrap(), Some(&b"a message"[..]));
        let (mut near, mut far) = (near.into_stream(), far.into_stream());
        near.write_all(b"and a stream").unwrap();
        near.finish().unwrap();
        assert_eq!(io::read_to_string(&mut far).unwrap(), "and a stream");

        let [mut near, mut far] = tokio_ends(kind, pipe().0);
        ends::block_on(async {
            near.send(b"a message").await.unwrap();
            assert_eq!(far.receive().await.unwrap(), Some(&b"a message"[..]));
            let (mut near, mut far) = (near.into_stream(), far.into_stream());
            near.write_all(b"and a stream").await.unwrap();
            near.shutdown().await.unwrap();
            let mut text = String::new();
            far.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "and a stream");
        });
    }
}
