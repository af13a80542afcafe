//! A connection in memory, for both faces, that moves as many bytes at a time as a test wants, and stalls, fails and is tampered
//! with where a test wants it.

use super::{AMPLE, Socket};
use countersign::blocking::Transport;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// How an end of a pipe behaves.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    /// Everything goes at once.
    Smooth,
    /// At most so many bytes go at a time, and calls get nowhere now and then: they are interrupted, or pending and woken at
    /// once.
    Uneven { most: usize, dice: Dice },
    /// At most `most` bytes go at a time, and the call that finds `calls` at 0 gets nowhere: it is pending and nobody is
    /// woken, or is out of time.
    Stall { most: usize, calls: usize },
    /// At most `most` bytes go at a time, and the call that finds `calls` at 0 and every later one fails.
    Reset { most: usize, calls: usize },
}

enum Turn {
    Go(usize),
    Later,
    Stall,
    Fail,
}

impl Behaviour {
    fn turn(&mut self) -> Turn {
        match self {
            Self::Smooth => Turn::Go(usize::MAX),
            Self::Uneven { most, dice } => match dice.below(4) {
                0 => Turn::Later,
                _ => Turn::Go(dice.below(*most) + 1),
            },
            Self::Stall { most, calls: 0 } => {
                *self = Self::Stall { most: *most, calls: usize::MAX };
                Turn::Stall
            }
            Self::Reset { calls: 0, .. } => Turn::Fail,
            Self::Stall { most, calls } | Self::Reset { most, calls } => {
                *calls -= 1;
                Turn::Go(*most)
            }
        }
    }
}

/// One direction of a pipe.
pub(crate) struct Lane {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bytes: VecDeque<u8>,
    /// How many bytes there is room for.
    room: usize,
    /// No more bytes come.
    ended: bool,
    /// Nobody reads any more.
    unread: bool,
    /// How many bytes were taken out.
    taken: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Lane {
    fn new() -> Arc<Self> {
        let state = State {
            bytes: VecDeque::new(),
            room: usize::MAX,
            ended: false,
            unread: false,
            taken: 0,
            reader: None,
            writer: None,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap();
        let changed = change(&mut state);
        self.wake(&mut state);
        changed
    }

    fn wake(&self, state: &mut State) {
        state.reader.take().into_iter().chain(state.writer.take()).for_each(Waker::wake);
        self.changed.notify_all();
    }

    /// From now on there is room for so many bytes.
    pub(crate) fn limit(&self, room: usize) {
        self.change(|state| state.room = room);
    }

    /// Takes out all that is on its way.
    pub(crate) fn drain(&self) -> Vec<u8> {
        self.change(|state| state.bytes.drain(..).collect())
    }

    /// Puts bytes on their way.
    pub(crate) fn put(&self, bytes: &[u8]) {
        self.change(|state| state.bytes.extend(bytes));
    }

    /// No more bytes come.
    pub(crate) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// How many bytes have arrived since it was made.
    pub(crate) fn taken(&self) -> usize {
        self.state.lock().unwrap().taken
    }

    fn leave_unread(&self) {
        self.change(|state| state.unread = true);
    }

    /// Moves bytes to the reader, or says that there are none yet.
    fn take(&self, state: &mut State, space: &mut [u8], most: usize) -> Option<usize> {
        let count = state.bytes.len().min(space.len()).min(most);
        if count == 0 && !state.ended && !space.is_empty() {
            return None;
        }
        for (place, byte) in space.iter_mut().zip(state.bytes.drain(..count)) {
            *place = byte;
        }
        state.taken += count;
        self.wake(state);
        Some(count)
    }

    /// Moves bytes from the writer, or says that there is no room yet.
    fn give(&self, state: &mut State, bytes: &[u8], most: usize) -> Option<io::Result<usize>> {
        if state.ended || state.unread {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(most).min(state.room.saturating_sub(state.bytes.len()));
        if count == 0 && !bytes.is_empty() {
            return None;
        }
        state.bytes.extend(&bytes[..count]);
        self.wake(state);
        Some(Ok(count))
    }
}

/// One end of a connection in memory.
pub(crate) struct Pipe {
    end: Arc<End>,
    bounds: Arc<Mutex<[Option<Duration>; 2]>>,
}

struct End {
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.end();
        self.incoming.leave_unread();
    }
}

/// What a test keeps of an end of a pipe.
#[derive(Clone)]
pub(crate) struct Tap {
    pub(crate) incoming: Arc<Lane>,
    pub(crate) outgoing: Arc<Lane>,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Tap {
    /// From now on the end behaves so.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Whether the call at which the end was to stall or fail has come.
    pub(crate) fn has_struck(&self) -> bool {
        match &*self.behaviour.lock().unwrap() {
            Behaviour::Stall { calls, .. } => *calls > usize::MAX / 2,
            Behaviour::Reset { calls, .. } => *calls == 0,
            Behaviour::Smooth | Behaviour::Uneven { .. } => false,
        }
    }
}

/// Two ends, and what tests keep of them.
pub(crate) fn pipe() -> ((Pipe, Pipe), (Tap, Tap)) {
    let (there, back) = (Lane::new(), Lane::new());
    let (near, near_tap) = end(&back, &there);
    let (far, far_tap) = end(&there, &back);
    ((near, far), (near_tap, far_tap))
}

fn end(incoming: &Arc<Lane>, outgoing: &Arc<Lane>) -> (Pipe, Tap) {
    let behaviour = Arc::new(Mutex::new(Behaviour::Smooth));
    let (incoming, outgoing) = (incoming.clone(), outgoing.clone());
    let tap = Tap { incoming: incoming.clone(), outgoing: outgoing.clone(), behaviour: behaviour.clone() };
    (Pipe { end: Arc::new(End { incoming, outgoing, behaviour }), bounds: Arc::default() }, tap)
}

impl Pipe {
    /// How a blocking call goes: how many bytes may move, or its error.
    fn turn(&self) -> io::Result<usize> {
        match self.end.behaviour.lock().unwrap().turn() {
            Turn::Go(most) => Ok(most),
            Turn::Later => Err(io::ErrorKind::Interrupted.into()),
            Turn::Stall => Err(io::ErrorKind::WouldBlock.into()),
            Turn::Fail => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn poll_turn(&self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        match self.end.behaviour.lock().unwrap().turn() {
            Turn::Go(most) => Poll::Ready(Ok(most)),
            Turn::Later => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Turn::Stall => Poll::Pending,
            Turn::Fail => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn until(&self, which: usize) -> Instant {
        Instant::now() + self.bounds.lock().unwrap()[which].unwrap_or(AMPLE)
    }
}

/// Waits until `step` has something to give.
fn wait<T>(lane: &Lane, until: Instant, mut step: impl FnMut(&mut State) -> Option<T>) -> io::Result<T> {
    let mut state: MutexGuard<'_, State> = lane.state.lock().unwrap();
    loop {
        if let Some(done) = step(&mut state) {
            return Ok(done);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state = lane.changed.wait_timeout(state, left).unwrap().0;
    }
}

impl Read for Pipe {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let most = self.turn()?;
        let lane = &self.end.incoming;
        wait(lane, self.until(0), |state| lane.take(state, space, most))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.turn()?;
        let lane = &self.end.outgoing;
        wait(lane, self.until(1), |state| lane.give(state, bytes, most))?
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Pipe {
    fn bound_reads(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.bounds.lock().unwrap()[0] = timeout;
        Ok(())
    }

    fn bound_writes(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.bounds.lock().unwrap()[1] = timeout;
        Ok(())
    }

    fn end(&self, directions: Shutdown) -> io::Result<()> {
        if directions != Shutdown::Read {
            self.end.outgoing.end();
        }
        if directions != Shutdown::Write {
            self.end.incoming.end();
        }
        Ok(())
    }

    fn second_handle(&self) -> io::Result<Self> {
        Ok(Self { end: self.end.clone(), bounds: self.bounds.clone() })
    }
}

impl Socket for Pipe {
    type Async = Self;
    fn into_async(self) -> Self {
        self
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = std::task::ready!(self.poll_turn(context))?;
        let lane = &self.end.incoming;
        let mut state = lane.state.lock().unwrap();
        match lane.take(&mut state, space.initialize_unfilled(), most) {
            Some(count) => {
                space.advance(count);
                Poll::Ready(Ok(()))
            }
            None => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = std::task::ready!(self.poll_turn(context))?;
        let lane = &self.end.outgoing;
        let mut state = lane.state.lock().unwrap();
        match lane.give(&mut state, bytes, most) {
            Some(given) => Poll::Ready(given),
            None => {
                // As a socket does, it remembers the last one alone.
                state.writer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_turn(context).map_ok(drop)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_turn(context))?;
        self.end.outgoing.end();
        Poll::Ready(Ok(()))
    }
}
