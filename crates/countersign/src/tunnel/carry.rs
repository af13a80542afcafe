use super::{Plain, TunnelEnd};
use crate::session::refusal_in;
use crate::tokio::{AuthStream, ReadHalf, WriteHalf};
use countersign_proto::error::{Code, Refusal, code};
use std::future::{Future, pending};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

/// Room for what the plain side says at once, in bytes: one record.
const ROOM: usize = 65_536;

/// How a tunnel carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carrying {
    /// How long it may be that nothing goes either way; `None` for ever. What counts of the sealed side is what was verified:
    /// a message once all of it has come.
    pub idle_timeout: Option<Duration>,
    /// Take the end of the sealed connection for the end of what it says, where the mark of the end is missing: for foreign
    /// peers. Without this the plain side is reset, so that nobody takes a stream that was cut for a whole one.
    pub allow_unmarked_end: bool,
}

/// Is told of plaintext as it goes.
pub trait Observer: Sync {
    /// So many bytes went to the plain side.
    fn to_plain(&self, bytes: usize);
    /// So many bytes went to the sealed side.
    fn to_sealed(&self, bytes: usize);
}

impl Observer for () {
    fn to_plain(&self, _: usize) {}
    fn to_sealed(&self, _: usize) {}
}

/// What became of a tunnel.
#[derive(Debug)]
pub struct Carried {
    /// How it ended.
    pub end: TunnelEnd,
    /// Why, where that is not plain from how.
    pub refusal: Option<Refusal>,
    /// Bytes of plaintext that went to the plain side.
    pub to_plain: u64,
    /// Bytes of plaintext that went to the sealed side.
    pub to_sealed: u64,
}

/// Carries bytes both ways until both sides are done, one of them fails, nothing goes for too long, or `stop` says how it is
/// to end. Each side reads no faster than the other one takes. When one side is done, the other is told and may go on.
///
/// A tunnel that ends otherwise than done resets the plain side, and leaves the sealed one without the mark of the end.
pub async fn carry<S>(
    sealed: AuthStream<S>,
    plain: Plain,
    carrying: Carrying,
    observer: &dyn Observer,
    stop: impl Future<Output = TunnelEnd>,
) -> Carried
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sealed_read, mut sealed_write) = sealed.into_split();
    let (mut plain_read, mut plain_write) = tokio::io::split(plain);
    let moved = Moved::new(observer);
    let ended = {
        let inwards = unseal(&mut sealed_read, &mut plain_write, carrying.allow_unmarked_end, &moved);
        let outwards = seal(&mut plain_read, &mut sealed_write, &moved);
        tokio::select! {
            both = async { tokio::try_join!(inwards, outwards) } => both.map(|_| ()),
            () = idle(carrying.idle_timeout, &moved) => Err(Broken { end: TunnelEnd::Idle, refusal: None }),
            end = stop => Err(Broken { end, refusal: None }),
        }
    };
    let (end, refusal) = match ended {
        Ok(()) => {
            plain_read.unsplit(plain_write).end();
            (TunnelEnd::Done, None)
        }
        // That the plain side is dropped resets it.
        Err(Broken { end, refusal }) => (end, refusal),
    };
    Carried { end, refusal, to_plain: moved.to_plain(), to_sealed: moved.to_sealed() }
}

/// Why a tunnel ended before both sides were done.
struct Broken {
    end: TunnelEnd,
    refusal: Option<Refusal>,
}

/// From the sealed side to the plain one, straight from where it was decrypted.
async fn unseal<S>(
    from: &mut ReadHalf<S>,
    to: &mut tokio::io::WriteHalf<Plain>,
    allow_unmarked_end: bool,
    moved: &Moved<'_>,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let count = match from.fill_buf().await {
            Ok([]) => break,
            // Not all at once: a side that takes little by little is not idle.
            Ok(bytes) => match to.write(bytes).await {
                Ok(0) => return Err(of_plain(&io::ErrorKind::WriteZero.into())),
                Ok(count) => count,
                Err(error) => return Err(of_plain(&error)),
            },
            Err(error) if allow_unmarked_end && is_unmarked(&error) => break,
            Err(error) => return Err(of_sealed(&error)),
        };
        from.consume(count);
        moved.unsealed(count);
    }
    to.shutdown().await.map_err(|error| of_plain(&error))
}

/// From the plain side to the sealed one. What came is sent before more is awaited.
async fn seal<S>(
    from: &mut tokio::io::ReadHalf<Plain>,
    to: &mut WriteHalf<S>,
    moved: &Moved<'_>,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut room = vec![0; ROOM];
    loop {
        let count = from.read(&mut room).await.map_err(|error| of_plain(&error))?;
        moved.something();
        match room.get(..count) {
            None | Some([]) => break,
            Some(bytes) => to.write_all(bytes).await.map_err(|error| of_sealed(&error))?,
        }
        to.flush().await.map_err(|error| of_sealed(&error))?;
        moved.sealed(count);
    }
    to.shutdown().await.map_err(|error| of_sealed(&error))
}

/// Waits until nothing has gone either way for as long as may be.
async fn idle(timeout: Option<Duration>, moved: &Moved<'_>) {
    let Some(timeout) = timeout else { return pending().await };
    loop {
        let last = moved.last();
        // What goes meanwhile is seen at the end of the wait, which then begins anew from there.
        let Some(due) = last.checked_add(timeout) else { return pending().await };
        sleep_until(due).await;
        if moved.last() == last {
            return;
        }
    }
}

/// What has gone so far.
struct Moved<'o> {
    to_plain: AtomicU64,
    to_sealed: AtomicU64,
    began: Instant,
    /// When anything went last, in microseconds from the beginning.
    last: AtomicU64,
    observer: &'o dyn Observer,
}

impl<'o> Moved<'o> {
    fn new(observer: &'o dyn Observer) -> Self {
        let (to_plain, to_sealed, last) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { to_plain, to_sealed, began: Instant::now(), last, observer }
    }

    fn something(&self) {
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(micros, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        let since = Duration::from_micros(self.last.load(Ordering::Relaxed));
        self.began.checked_add(since).unwrap_or(self.began)
    }

    fn unsealed(&self, bytes: usize) {
        self.something();
        self.to_plain.fetch_add(bytes as u64, Ordering::Relaxed);
        self.observer.to_plain(bytes);
    }

    fn sealed(&self, bytes: usize) {
        self.something();
        self.to_sealed.fetch_add(bytes as u64, Ordering::Relaxed);
        self.observer.to_sealed(bytes);
    }

    fn to_plain(&self) -> u64 {
        self.to_plain.load(Ordering::Relaxed)
    }

    fn to_sealed(&self) -> u64 {
        self.to_sealed.load(Ordering::Relaxed)
    }
}

fn is_unmarked(error: &io::Error) -> bool {
    refusal_in(error).is_some_and(|refusal| refusal.code() == code::END_UNMARKED)
}

fn of_plain(error: &io::Error) -> Broken {
    let saw = format!("an error of the plain connection ({error})");
    let refusal = Refusal::new(code::CONNECTION_FAILED, saw, "a tunnel that is not done");
    Broken { end: TunnelEnd::Upstream, refusal: Some(refusal) }
}

fn of_sealed(error: &io::Error) -> Broken {
    let refusal = refusal_in(error).cloned();
    let end = match refusal.as_ref().map(Refusal::code) {
        Some(code) if code == code::SESSION_EXPIRED => TunnelEnd::Expired,
        Some(code) if LOST.contains(&code) => TunnelEnd::Client,
        Some(_) => TunnelEnd::Message,
        None => TunnelEnd::Client,
    };
    Broken { end, refusal }
}

/// What a connection is lost by, rather than by what its peer sends.
const LOST: [Code; 3] = [code::END_UNMARKED, code::CONNECTION_CUT, code::CONNECTION_FAILED];
