//! What a stream costs over sealing alone: `cargo run --release --example stream_cost`.
//!
//! For each record size the same bytes are sealed and opened where they lie, and sent through a stream, both ends in one thread:
//! in memory, and over loopback TCP. What is counted is the thread's time on a processor, the system's part with it, and the least
//! of several rounds in turn. The table has the streams' cost as a multiple of the cost of sealing and opening alone. A stream's
//! records are as long as its writes, up to 64 KiB; longer writes are divided.
//!
//! Linux only, for /proc.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to go on with"
)]

use countersign::proto::context::{Acceptor, Initiator};
use countersign::proto::crypto::Etype;
use countersign::proto::krb5::per_message::{Confidentiality, Layout};
use countersign::proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign::proto::protection::{Receiver, Sender};
use countersign::proto::time::Timestamp;
use countersign::tokio::{AuthStream, accept, connect};
use countersign::{Client, ClientConfig, ClientCredential, Service, ServiceConfig};
use countersign_testkit::mint::Mint;
use countersign_testkit::pair::Pair;
use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt};

const KIB: usize = 1 << 10;
const SIZES: [usize; 7] = [1, 4, 16, 32, 64, 128, 256];
const ETYPES: [Etype; 2] = [Etype::Aes256CtsHmacSha1_96, Etype::Aes256CtsHmacSha384_192];

/// What goes through in one round, in bytes.
const AMOUNT: usize = 64 << 20;
const ROUNDS: usize = 7;
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn main() {
    println!("etype                        record    alone      in memory   TCP");
    for etype in ETYPES {
        for kib in SIZES {
            let costs = costs(etype, kib * KIB);
            let [alone, memory, tcp] = costs.map(|nanos| nanos as f64 / AMOUNT as f64);
            let (memory, tcp) = (memory / alone, tcp / alone);
            println!(
                "{:<26} {kib:>4} KiB  {alone:.3} ns/B  {memory:>5.2} x    {tcp:>5.2} x",
                etype.to_string()
            );
        }
    }
}

/// Nanoseconds for a round alone, in memory, and over TCP.
fn costs(etype: Etype, size: usize) -> [u64; 3] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut alone = alone(etype);
    let mut memory = runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 20);
        streams(etype, near, far).await
    });
    let mut tcp = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        streams(etype, near, listener.accept().await.unwrap().0).await
    });
    let mut least = [u64::MAX; 3];
    for _ in 0..ROUNDS {
        let round = [
            spent(|| seal_and_open(&mut alone, size)),
            spent(|| runtime.block_on(send_through(&mut memory, size))),
            spent(|| runtime.block_on(send_through(&mut tcp, size))),
        ];
        least = [0, 1, 2].map(|index| least[index].min(round[index]));
    }
    least
}

/// How long this thread was on a processor while it did `work`, in nanoseconds.
fn spent(work: impl FnOnce()) -> u64 {
    let so_far = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = so_far();
    work();
    so_far() - before
}

fn mint(etype: Etype) -> Mint {
    Mint { now: Timestamp::from_system(SystemTime::now()), ..Mint::of_etype(etype) }
}

/// Policies by which messages are protected with this etype and no other.
fn policies(etype: Etype) -> (InitiatorPolicy, AcceptorPolicy) {
    let (mut initiator, mut acceptor) = (InitiatorPolicy::default(), AcceptorPolicy::default());
    initiator.permitted_enctypes = vec![etype];
    acceptor.permitted_enctypes = vec![etype];
    (initiator, acceptor)
}

/// What one end seals with, and the other opens.
fn alone(etype: Etype) -> (Sender, Receiver) {
    let (initiator, acceptor) = policies(etype);
    let mut pair = Pair::new(&mint(etype), initiator, acceptor);
    let (initiator, acceptor) = pair.meet().contexts();
    (initiator.into_parts().sender, acceptor.into_parts().receiver)
}

fn seal_and_open((sender, receiver): &mut (Sender, Receiver), size: usize) {
    let Layout { prefix, trailer } = sender.layout(Confidentiality::Sealed, size);
    let mut token = vec![7; prefix + size + trailer];
    let mut rng = rand::rng();
    for _ in 0..AMOUNT / size {
        sender.wrap_in_place(Confidentiality::Sealed, &mut token, &mut rng).unwrap();
        assert_eq!(receiver.unwrap_in_place(&mut token).unwrap().plaintext.len(), size);
    }
}

/// The client's stream and the service's.
async fn streams<S: AsyncRead + AsyncWrite + Unpin>(etype: Etype, near: S, far: S) -> [AuthStream<S>; 2] {
    let mint = mint(etype);
    let (initiator, acceptor) = policies(etype);
    let service = Service::new(ServiceConfig::new(Acceptor::new(mint.service_keys(), acceptor)));
    let ccache = mint.ccache(&[mint.ticket()]);
    let initiator = Initiator::from_ccache(&ccache, &mint.service, initiator, mint.now);
    let client = Client::new(ClientConfig::new(ClientCredential::Ready(initiator.unwrap())));
    let (serving, connecting) = tokio::join!(accept(&service, far, LOOPBACK), connect(&client, near));
    [connecting.unwrap().into_stream(), serving.unwrap().into_stream()]
}

async fn send_through<S: AsyncRead + AsyncWrite + Unpin>(streams: &mut [AuthStream<S>; 2], size: usize) {
    let [near, far] = streams;
    let bytes = vec![7; size];
    let writing = async {
        for _ in 0..AMOUNT / size {
            near.write_all(&bytes).await.unwrap();
        }
        near.flush().await.unwrap();
    };
    let reading = async {
        let mut left = AMOUNT / size * size;
        while left > 0 {
            let count = far.fill_buf().await.unwrap().len();
            far.consume(count);
            left -= count;
        }
    };
    tokio::join!(writing, reading);
}
