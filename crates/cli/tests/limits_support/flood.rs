//! Hostile clients: thousands of connections that never come to an end, and garbage.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// Addresses that half-open connections come from.
const ADDRESSES: usize = 200;
/// In which steps connections are opened and garbage is sent.
const STEP: Duration = Duration::from_millis(10);

/// What a flood does.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Connections that are open at a time and go no further. One that the service ends is opened anew.
    pub(crate) half_open: usize,
    /// The time over which the first of them are spread, so that the service's deadline does not end all at once.
    pub(crate) ramp: Duration,
    /// Frames of garbage a second, each on a connection and from an address of its own.
    pub(crate) garbage: usize,
}

/// A flood that goes on until it is dropped.
pub(crate) struct Flood {
    runtime: Option<Runtime>,
    pub(crate) counts: Arc<Counts>,
}

/// What it has come to.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) half_open: AtomicUsize,
    pub(crate) garbage: AtomicU64,
    /// Connections that could not be made.
    pub(crate) failed: AtomicU64,
    ended: AtomicBool,
}

impl Flood {
    /// Begins it, and returns once all connections were opened.
    pub(crate) fn begin(address: SocketAddr, plan: Plan) -> Self {
        enough_descriptors(plan.half_open + plan.garbage + 1_000);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let counts = Arc::new(Counts::default());
        let start = Instant::now();
        for number in 0..plan.half_open {
            let counts = Arc::clone(&counts);
            let begin = start + plan.ramp.mul_f64(number as f64 / plan.half_open as f64);
            runtime.spawn(async move {
                sleep_until(begin).await;
                stay_half_open(number, address, &counts).await;
            });
        }
        if plan.garbage > 0 {
            runtime.spawn(send_garbage(address, plan.garbage, Arc::clone(&counts)));
        }
        let flood = Self { runtime: Some(runtime), counts };
        let patience = std::time::Instant::now() + plan.ramp + super::DEADLINE;
        // A few are always between two connections.
        while flood.counts.half_open.load(Ordering::Relaxed) < plan.half_open * 98 / 100 {
            assert!(std::time::Instant::now() < patience, "{:?} of them", flood.counts.half_open);
            std::thread::sleep(STEP);
        }
        flood
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.counts.ended.store(true, Ordering::Relaxed);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(super::DEADLINE);
        }
    }
}

/// Raises this process's limit of open descriptors.
pub(crate) fn enough_descriptors(needed: usize) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.is_none_or(|maximum| maximum >= needed as u64);
    assert!(enough, "a flood takes {needed} descriptors, and this process may have {maximum:?}");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

async fn connected(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((IpAddr::V4(source), 0).into())?;
    socket.connect(address).await
}

/// One third is silent, one third sends a byte a second, one third stops after half a frame.
async fn stay_half_open(number: usize, address: SocketAddr, counts: &Counts) {
    let [high, low] = u16::try_from(number % ADDRESSES).unwrap().to_be_bytes();
    let source = Ipv4Addr::new(127, 10 + high, low, 1);
    while !counts.ended.load(Ordering::Relaxed) {
        let Ok(mut stream) = connected(source, address).await else {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            sleep(STEP).await;
            continue;
        };
        counts.half_open.fetch_add(1, Ordering::Relaxed);
        let _ = match number % 3 {
            0 => until_closed(&mut stream).await,
            1 => trickle(&mut stream).await,
            _ => half_a_frame(&mut stream).await,
        };
        counts.half_open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn until_closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0];
    while stream.read(&mut byte).await? > 0 {}
    Ok(())
}

async fn trickle(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut read, mut write) = stream.split();
    let mut byte = [0];
    let bytes = async {
        let mut seconds = interval(Duration::from_secs(1));
        for next in [0, 16, 0, 0].into_iter().chain(std::iter::repeat(0x60)) {
            seconds.tick().await;
            if write.write_all(&[next]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = read.read(&mut byte) => Ok(()),
        () = bytes => Ok(()),
    }
}

async fn half_a_frame(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = vec![0x60; 1_000];
    bytes[..4].copy_from_slice(&2_000_u32.to_le_bytes());
    stream.write_all(&bytes).await?;
    until_closed(stream).await
}

/// What is no token, and what is no frame.
const GARBAGE: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00\x00\x00\x00",
    b"\x08\x00\x00\x00garbage!",
    b"\x06\x00\x00\x00\x60\x04\x06\x02\x2a\x03",
];

async fn send_garbage(address: SocketAddr, frames: usize, counts: Arc<Counts>) {
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let a_step = (frames as f64 * STEP.as_secs_f64()) as usize;
    let mut number = 0_u32;
    while !counts.ended.load(Ordering::Relaxed) {
        steps.tick().await;
        for _ in 0..a_step {
            number += 1;
            let [_, a, b, c] = number.to_be_bytes();
            let source = Ipv4Addr::new(127, 64 + a, b, c.max(1));
            let (garbage, counts) = (GARBAGE[number as usize % GARBAGE.len()], Arc::clone(&counts));
            tokio::spawn(async move {
                let Ok(mut stream) = connected(source, address).await else {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                // The service may have closed it by then.
                let _ = stream.write_all(garbage).await;
                let _ = until_closed(&mut stream).await;
                counts.garbage.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}
