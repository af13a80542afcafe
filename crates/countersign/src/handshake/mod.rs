//! A handshake over framed bytes, without the socket: what both drivers drive, for both roles.

mod acceptor;
mod initiator;

pub(crate) use acceptor::AcceptorMachine;

use crate::framing::dword::{self, FrameReader, HEADER_LEN};
use crate::framing::{FrameError, HANDSHAKE_LIMIT};
use countersign_proto::context::{Rejected, SecurityContext};
use countersign_proto::error::{Code, Explain, Refusal, code};
use countersign_proto::ntlm::accounts::Verdict;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

/// How a handshake ended without a context: why, and what was known of the peer by then.
pub type Failure = Box<Rejected>;

/// How long the end of a refused connection is waited for, so that the last token arrives (DESIGN rule 2).
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How many bytes are thrown away meanwhile.
pub(crate) const LINGER_BYTES: usize = 65_536;

/// One role's side of a handshake: a token in, a token out.
pub(crate) trait Machine: Sized {
    /// What this role may have to ask.
    type Question: Question<Self>;

    /// Takes the peer's token, and appends what answers it to `out`.
    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self>;
    /// Ends because the peer closed the connection instead of sending a token.
    fn closed(self) -> Failure;
    /// Ends for another cause that lies outside the protocol.
    fn abandon(self, cause: Refusal) -> Failure;
}

/// A question that only the outside can answer, and that may take time: whether an NTLM proof is right, what a KDC says.
pub(crate) trait Question<M: Machine>: Sized {
    /// Asks it.
    fn ask(&self) -> Asking<'_>;
    /// Takes the answer, and appends what follows for the peer to `out`.
    fn answered(self, answer: Answer, out: &mut Vec<u8>) -> Step<M>;
    /// The answer that stands for none.
    fn no_answer(&self, cause: &Refusal) -> Answer;
    /// Ends because no answer came.
    fn abandon(self, cause: Refusal) -> Failure;
}

/// An answer to a question, when it comes.
pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// An answer to a question.
pub(crate) enum Answer {
    /// Whether an NTLM proof is right.
    Ntlm(Verdict),
    /// What a KDC says.
    Kdc(Result<Vec<u8>, Refusal>),
}

/// What a token led to.
pub(crate) enum Step<M: Machine> {
    Await(M),
    Ask(M::Question),
    Done(Box<SecurityContext>),
    Failed(Failure),
}

/// A handshake that a driver drives, frames in and frames out: while it [is open](Self::is_open) the driver sends the
/// output and reads; once it has [agreed](Self::is_agreed) the driver sends the output; then it
/// [concludes](Self::conclude). It stays whole while the driver waits, so that whatever ends the wait finds in it what is
/// known by then.
pub(crate) struct Handshake<M: Machine> {
    state: State<M>,
    reader: FrameReader,
    output: Vec<u8>,
}

enum State<M: Machine> {
    Open(M),
    Asking(M::Question),
    Agreed(Box<SecurityContext>),
    Failed(Failure),
    /// Only while a token is worked on.
    Stepping,
}

/// The end of a handshake that led to a context.
pub(crate) struct Agreed {
    pub(crate) context: Box<SecurityContext>,
    /// Holds what the peer sent after its last token.
    pub(crate) reader: FrameReader,
}

/// The end of a handshake that did not.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// What the peer is still to be told before the connection ends, or `None` if the connection is given up.
    pub(crate) last_words: Option<Vec<u8>>,
}

impl<M: Machine> Handshake<M> {
    /// A handshake in which the peer speaks first.
    pub(crate) fn await_peer(machine: M) -> Self {
        Self { state: State::Open(machine), reader: FrameReader::new(HANDSHAKE_LIMIT), output: Vec::new() }
    }

    /// Whether the peer's next bytes are awaited, after the output was sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the output is the last that is to be sent before messages may follow.
    pub(crate) fn is_agreed(&self) -> bool {
        matches!(self.state, State::Agreed(_))
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

    /// What must be asked before anything else happens.
    pub(crate) fn question(&self) -> Option<&M::Question> {
        match &self.state {
            State::Asking(question) => Some(question),
            _ => None,
        }
    }

    /// Takes the answer to [`Self::question`].
    pub(crate) fn answered(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.state, State::Stepping) {
            State::Asking(question) => {
                let (step, framed) = append_frame(&mut self.output, |out| question.answered(answer, out));
                self.state = next(step, framed);
                self.work(false);
            }
            other => self.state = other,
        }
    }

    /// Takes the first `count` bytes of [`Self::space`] as what the peer sent; 0 says that it closed the connection.
    pub(crate) fn received(&mut self, count: usize) {
        self.reader.filled(count);
        self.work(count == 0);
    }

    /// Works on the tokens that are there.
    fn work(&mut self, closed_by_peer: bool) {
        while self.is_open() {
            let State::Open(machine) = std::mem::replace(&mut self.state, State::Stepping) else { return };
            self.state = match self.reader.next_frame() {
                Ok(Some(token)) => step(machine, token, &mut self.output),
                Ok(None) if closed_by_peer => State::Failed(closed(machine, &self.reader)),
                Ok(None) => {
                    self.state = State::Open(machine);
                    return;
                }
                Err(error) => State::Failed(machine.abandon(error.into())),
            };
        }
    }

    /// Ends it, once the driver has stopped: because it is over (`Ok`), or for a cause of its own. A failure that was
    /// found before that cause came remains the failure.
    pub(crate) fn conclude(self, stopped: Result<(), Refusal>) -> Result<Agreed, Failed> {
        let given_up = |failure| Err(Failed { failure, last_words: None });
        match (self.state, stopped) {
            (State::Agreed(context), Ok(())) => Ok(Agreed { context, reader: self.reader }),
            (State::Agreed(context), Err(cause)) => given_up(known(&context, cause)),
            (State::Failed(failure), _) => Err(Failed { failure, last_words: Some(self.output) }),
            (State::Open(machine), Err(cause)) => given_up(machine.abandon(cause)),
            (State::Asking(question), Err(cause)) => Err(unanswered::<M>(question, cause, self.output)),
            (State::Stepping, Err(cause)) => given_up(bare(cause)),
            (State::Open(_) | State::Asking(_) | State::Stepping, Ok(())) => given_up(bare(Refusal::new(
                code::STATE_MISUSED,
                "a handshake left half-way",
                "its end to wait for",
            ))),
        }
    }
}

impl Agreed {
    /// The failure of a connection that ends for `cause`, although its handshake led to a context.
    pub(crate) fn failed(&self, cause: Refusal) -> Failure {
        known(&self.context, cause)
    }
}

/// No answer came to a question: the peer is told as if the source had none.
fn unanswered<M: Machine>(question: M::Question, cause: Refusal, mut output: Vec<u8>) -> Failed {
    let none = question.no_answer(&cause);
    let (step, _) = append_frame(&mut output, |out| question.answered(none, out));
    let known = match step {
        Step::Failed(failure) => *failure,
        _ => *bare(cause.clone()),
    };
    Failed { failure: Box::new(Rejected { refusal: cause, ..known }), last_words: Some(output) }
}

/// Hands a token to the machine; what it answers is framed and appended to `output`.
fn step<M: Machine>(machine: M, token: &[u8], output: &mut Vec<u8>) -> State<M> {
    let (step, framed) = append_frame(output, |out| machine.token(token, out));
    next(step, framed)
}

fn next<M: Machine>(step: Step<M>, framed: Result<(), OwnTokenTooLong>) -> State<M> {
    match (step, framed) {
        (Step::Await(machine), Ok(())) => State::Open(machine),
        (Step::Await(machine), Err(error)) => State::Failed(machine.abandon(error.into())),
        (Step::Ask(question), Ok(())) => State::Asking(question),
        (Step::Ask(question), Err(error)) => State::Failed(question.abandon(error.into())),
        (Step::Done(context), Ok(())) => State::Agreed(context),
        (Step::Done(context), Err(error)) => State::Failed(known(&context, error.into())),
        // Its cause counts, whether or not the peer can be told.
        (Step::Failed(failure), _) => State::Failed(failure),
    }
}

fn closed<M: Machine>(machine: M, reader: &FrameReader) -> Failure {
    match reader.finish() {
        Err(cut) => machine.abandon(cut.into()),
        Ok(()) => machine.closed(),
    }
}

/// A failure about whose peer all is known that a context knows.
fn known(context: &SecurityContext, refusal: Refusal) -> Failure {
    let facts = context.facts().clone();
    Box::new(Rejected { refusal, claimed_service: facts.claimed_service(), facts: Some(facts) })
}

/// A failure about whose peer nothing is known.
pub(crate) fn bare(refusal: Refusal) -> Failure {
    Box::new(Rejected { refusal, claimed_service: None, facts: None })
}

/// Our own token does not fit into a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a token of our own of {length} bytes")]
pub(crate) struct OwnTokenTooLong {
    length: usize,
}

impl Explain for OwnTokenTooLong {
    fn code(&self) -> Code {
        code::MESSAGE_TOO_LONG
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        format!("frames of at most {HANDSHAKE_LIMIT} bytes in a handshake").into()
    }

    fn advice(&self) -> Cow<'static, str> {
        "have the KDC put less into the ticket: it grows with the client's group memberships".into()
    }
}

/// Appends the frame of the token that `write` appends, or nothing if it appends nothing: an empty frame is never sent.
fn append_frame<T>(
    output: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> T,
) -> (T, Result<(), OwnTokenTooLong>) {
    let start = output.len();
    output.extend_from_slice(&[0; HEADER_LEN]);
    let written = write(output);
    let length = output.len().saturating_sub(start).saturating_sub(HEADER_LEN);
    let framed = match dword::header(length, HANDSHAKE_LIMIT) {
        Ok(header) => {
            if let Some(space) = output.get_mut(start..).and_then(|frame| frame.first_chunk_mut()) {
                *space = header;
            }
            Ok(())
        }
        Err(error) => {
            output.truncate(start);
            if matches!(error, FrameError::Empty { .. }) { Ok(()) } else { Err(OwnTokenTooLong { length }) }
        }
    };
    (written, framed)
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
