//! A handshake over framed bytes, without the socket: what both drivers drive, for both roles.

mod acceptor;
mod initiator;

pub(crate) use acceptor::AcceptorMachine;
pub(crate) use initiator::InitiatorMachine;

use crate::framing::dword::{self, FrameReader, HEADER_LEN};
use crate::framing::{FrameError, HANDSHAKE_LIMIT};
use countersign_proto::context::{Rejected, SecurityContext};
use countersign_proto::error::{Refusal, code};
use std::io;
use std::time::Duration;

/// How a handshake ended without a context: why, and what was known of the peer by then.
pub type Failure = Box<Rejected>;

/// How long the end of a refused connection is waited for, so that the last token arrives (DESIGN rule 2).
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How many bytes are thrown away meanwhile.
pub(crate) const LINGER_BYTES: usize = 65_536;

/// One role's side of a handshake: a token in, a token out.
pub(crate) trait Machine: Sized {
    /// Takes the peer's token, and appends what answers it to `out`.
    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self>;
    /// Ends because no token comes any more.
    fn abandon(self, cause: Refusal) -> Failure;
}

/// What a token led to.
pub(crate) enum Step<M> {
    Await(M),
    Done(Box<SecurityContext>),
    Failed(Failure),
}

/// A handshake in progress: frames in, frames out.
pub(crate) struct Handshake<M> {
    machine: M,
    reader: FrameReader,
    output: Vec<u8>,
}

/// What the bytes that came led to.
pub(crate) enum Progress<M> {
    /// Send the output, and read on.
    Pending(Handshake<M>),
    /// Send the output; then messages may follow.
    Done(Agreed),
    /// Send the output, and end the connection.
    Failed { failure: Failure, output: Vec<u8> },
}

/// The end of a handshake that led to a context.
pub(crate) struct Agreed {
    pub(crate) context: Box<SecurityContext>,
    /// Holds what the peer sent after its last token.
    pub(crate) reader: FrameReader,
    /// What is still to be sent.
    pub(crate) output: Vec<u8>,
}

impl<M: Machine> Handshake<M> {
    /// A handshake in which the peer speaks first.
    pub(crate) fn await_peer(machine: M) -> Self {
        Self { machine, reader: FrameReader::new(HANDSHAKE_LIMIT), output: Vec::new() }
    }

    /// A handshake that begins with `token`.
    pub(crate) fn begin_with(machine: M, token: &[u8]) -> Result<Self, Failure> {
        let mut handshake = Self::await_peer(machine);
        match append_frame(&mut handshake.output, |out| out.extend_from_slice(token)) {
            Ok(()) => Ok(handshake),
            Err(error) => Err(handshake.machine.abandon(error.into())),
        }
    }

    /// What must be sent before anything is read.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Tells that all output was sent.
    pub(crate) fn sent(&mut self) {
        self.output.clear();
    }

    /// Where the next bytes of the peer go.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.reader.want()
    }

    /// Takes the first `count` bytes of [`Self::space`] as what the peer sent.
    pub(crate) fn received(mut self, count: usize) -> Progress<M> {
        self.reader.filled(count);
        loop {
            let Self { machine, mut reader, mut output } = self;
            let token = match reader.next_frame() {
                Ok(Some(token)) => token,
                Ok(None) => return Progress::Pending(Self { machine, reader, output }),
                Err(error) => return Progress::Failed { failure: machine.abandon(error.into()), output },
            };
            let mut step = None;
            let framed = append_frame(&mut output, |out| step = Some(machine.token(token, out)));
            match (step, framed) {
                (Some(Step::Await(machine)), Ok(())) => self = Self { machine, reader, output },
                (Some(Step::Done(context)), Ok(())) => {
                    return Progress::Done(Agreed { context, reader, output });
                }
                (Some(Step::Failed(failure)), _) => return Progress::Failed { failure, output },
                (_, framed) => return Progress::Failed { failure: unsendable(framed.err()), output },
            }
        }
    }

    /// Ends because the peer closed the connection.
    pub(crate) fn closed(self) -> Failure {
        let cause = match self.reader.finish() {
            Err(cut) => cut.into(),
            Ok(()) => ended("the end of the connection"),
        };
        self.machine.abandon(cause)
    }

    /// Ends for a cause that lies outside the protocol.
    pub(crate) fn abandon(self, cause: Refusal) -> Failure {
        self.machine.abandon(cause)
    }
}

fn ended(how: &'static str) -> Refusal {
    Refusal::new(code::CONNECTION_CUT, how, "a handshake that is not done")
}

/// A failure about whose peer nothing is known.
pub(crate) fn bare(refusal: Refusal) -> Failure {
    Box::new(Rejected { refusal, claimed_service: None, facts: None })
}

fn unsendable(error: Option<FrameError>) -> Failure {
    bare(error.map_or_else(|| ended("a handshake without a next step"), Refusal::from))
}

/// Appends the frame of the token that `write` appends, or nothing if it appends nothing: an empty frame is never sent.
fn append_frame(output: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), FrameError> {
    let start = output.len();
    output.extend_from_slice(&[0; HEADER_LEN]);
    write(output);
    let length = output.len().saturating_sub(start).saturating_sub(HEADER_LEN);
    if length == 0 {
        output.truncate(start);
        return Ok(());
    }
    let header = dword::header(length, HANDSHAKE_LIMIT).inspect_err(|_| output.truncate(start))?;
    if let Some(space) = output.get_mut(start..).and_then(|frame| frame.first_chunk_mut()) {
        *space = header;
    }
    Ok(())
}

/// A failure of the network during a handshake.
pub(crate) fn network(error: &io::Error) -> Refusal {
    let saw = format!("an error of the connection ({error})");
    Refusal::new(code::CONNECTION_FAILED, saw, "a handshake that is not done")
}

/// The deadline has come.
pub(crate) fn late(deadline: Duration) -> Refusal {
    let have = format!("a deadline of {} s for the whole handshake", deadline.as_secs_f32());
    Refusal::new(code::HANDSHAKE_DEADLINE, "no end of the handshake in time", have)
}
