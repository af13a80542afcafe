//! Somebody on the path who sees every byte.

use super::scene::failed;
use countersign::Refusal;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Passes one connection on, and keeps what went through it.
pub(super) struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<[Vec<u8>; 2]>>,
}

/// What went through.
pub(super) struct Record {
    pub(super) from_client: Vec<u8>,
    from_service: Vec<u8>,
    pub(super) tokens_from_client: usize,
    pub(super) tokens_from_service: usize,
    /// Length of the client's last frame, in bytes.
    pub(super) last_from_client: usize,
}

impl Recorder {
    /// Stands before the service at `service`.
    pub(super) async fn before(service: SocketAddr) -> Result<Self, Refusal> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| failed("the recorder", &error))?;
        let address = listener.local_addr().map_err(|error| failed("the recorder", &error))?;
        let seen = Arc::new(Mutex::default());
        let record = Arc::clone(&seen);
        tokio::spawn(async move {
            // What goes wrong here the two ends see, as the end of their connection.
            let Ok((client, _)) = listener.accept().await else { return };
            let Ok(service) = TcpStream::connect(service).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_service, to_service) = service.into_split();
            tokio::spawn(pass(from_service, to_client, Arc::clone(&record), 1));
            pass(from_client, to_service, record, 0).await;
        });
        Ok(Self { address, seen })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone through by now.
    pub(super) fn record(&self) -> Record {
        let [from_client, from_service] = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sent = frames(&from_client);
        Record {
            tokens_from_client: sent.len(),
            last_from_client: sent.last().copied().unwrap_or_default(),
            tokens_from_service: frames(&from_service).len(),
            from_client,
            from_service,
        }
    }
}

impl Record {
    /// Whether this text stands in what went through.
    pub(super) fn shows(&self, text: &str) -> bool {
        let within = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        within(&self.from_client) || within(&self.from_service)
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    seen: Arc<Mutex<[Vec<u8>; 2]>>,
    direction: usize,
) {
    let mut bytes = vec![0; 16_384];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let Some(read) = bytes.get(..count) else { return };
        if let Some(seen) = seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(direction) {
            seen.extend_from_slice(read);
        }
        if to.write_all(read).await.is_err() {
            return;
        }
    }
    // The other end sees the end when this half goes.
    let _ = to.shutdown().await;
}

/// Lengths of the frames in a direction (4 bytes little-endian before each).
fn frames(mut bytes: &[u8]) -> Vec<usize> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        frames.push(length);
        bytes = rest.get(length..).unwrap_or_default();
    }
    frames
}
