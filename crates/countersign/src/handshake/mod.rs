//! A handshake over framed bytes, without the socket: what both drivers drive, for both roles.

mod acceptor;
mod initiator;
mod wire;

pub(crate) use acceptor::{AcceptorMachine, AcceptorQuestion};
pub(crate) use initiator::InitiatorMachine;

use crate::framing::{FrameReader, Framing, HANDSHAKE_LIMIT};
use countersign_proto::context::{Rejected, SecurityContext};
use countersign_proto::error::{Code, Explain, Refusal, code};
use countersign_proto::krb5::per_message::Role;
use countersign_proto::krb5::replay::ReplayVerdict;
use countersign_proto::ntlm::accounts::Verdict;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use wire::{Incoming, Said, Wire};

/// How a handshake ended without a context: why, and what was known of the peer by then.
pub type Failure = Box<Rejected>;

/// How long the end of a refused connection is waited for, so that the last token arrives (DESIGN rule 2).
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// How many bytes are thrown away meanwhile.
pub(crate) const LINGER_BYTES: usize = 65_536;

/// One role's side of a handshake: a token in, a token out.
pub(crate) trait Machine: Sized {
    /// Which role it is.
    const ROLE: Role;
    /// What this role may have to ask.
    type Question: Question<Self>;

    /// Takes the peer's token, and appends what answers it to `out`.
    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self>;
    /// Ends because the peer closed the connection instead of sending a token.
    fn closed(self) -> Failure;
    /// Ends for another cause that lies outside the protocol.
    fn abandon(self, cause: Refusal) -> Failure;
}

/// A question that only the outside can answer, and that may take time: whether an NTLM proof is right, what a KDC says,
/// whether an authenticator was seen before.
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
    /// Whether an authenticator was seen before.
    Replay(ReplayVerdict),
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
    wire: Wire,
    reader: FrameReader,
    output: Vec<u8>,
    /// Bytes of the tokens that went either way: the machine may keep all of them.
    passed: usize,
}

enum State<M: Machine> {
    Open(M),
    Asking(M::Question),
    /// Our context is complete; the peer has still to say that its own is.
    Awaited(Box<SecurityContext>),
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
    pub(crate) fn await_peer(machine: M, framing: Framing) -> Self {
        let wire = Wire::new(framing);
        Self { state: State::Open(machine), reader: wire.reader(), wire, output: Vec::new(), passed: 0 }
    }

    /// Whether the peer's next bytes are awaited, after the output was sent.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_) | State::Awaited(_))
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
        self.passed = self.passed.saturating_add(self.output.len());
        self.output.clear();
    }

    /// How many bytes it holds at most once [`Self::space`] was asked for: its buffers, and what the machine keeps of tokens,
    /// in buffers that may be twice as long.
    pub(crate) fn held(&self) -> usize {
        let buffers = self.reader.next_space().saturating_add(self.output.capacity());
        buffers.saturating_add(self.passed.saturating_mul(2))
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
                self.state = step(&self.wire, &mut self.output, |out| question.answered(answer, out));
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
            // Another protocol's bytes are known by their first: a length among them would be waited for in vain.
            let begun = self.wire.check(self.reader.next_header());
            let frame = match begun.and_then(|()| Ok(self.reader.next_frame()?)) {
                Ok(Some(frame)) => self.wire.read(frame),
                Ok(None) if closed_by_peer => return self.closed(),
                Ok(None) => return,
                Err(cause) => Err(cause),
            };
            let state = std::mem::replace(&mut self.state, State::Stepping);
            self.state = match (state, frame) {
                (State::Open(machine), Ok(Incoming::Token(token))) => {
                    self.passed = self.passed.saturating_add(token.len());
                    step(&self.wire, &mut self.output, |out| machine.token(token, out))
                }
                (State::Open(machine), Ok(Incoming::Done)) => {
                    fail(&self.wire, &mut self.output, machine.abandon(wire::done_too_early()))
                }
                (State::Open(machine), Err(cause)) => {
                    fail(&self.wire, &mut self.output, machine.abandon(cause))
                }
                // What comes with it is ignored: our context is complete (MS-NNS section 3.1.5.2).
                (State::Awaited(context), Ok(_)) if self.wire.peer_is_done() => State::Agreed(context),
                (State::Awaited(context), Ok(_)) => {
                    fail(&self.wire, &mut self.output, known(&context, wire::not_done()))
                }
                (State::Awaited(context), Err(cause)) => {
                    fail(&self.wire, &mut self.output, known(&context, cause))
                }
                (other, _) => other,
            };
        }
    }

    /// The peer closed the connection before the end.
    fn closed(&mut self) {
        let cut = self.reader.finish().map_err(Refusal::from);
        let failure = match (std::mem::replace(&mut self.state, State::Stepping), cut) {
            (State::Open(machine), Ok(())) => machine.closed(),
            (State::Open(machine), Err(cut)) => machine.abandon(cut),
            (State::Awaited(context), Ok(())) => known(&context, wire::never_done()),
            (State::Awaited(context), Err(cut)) => known(&context, cut),
            (other, _) => {
                self.state = other;
                return;
            }
        };
        self.state = State::Failed(failure);
    }

    /// Ends it, once the driver has stopped: because it is over (`Ok`), or for a cause of its own. A failure that was
    /// found before that cause came remains the failure.
    pub(crate) fn conclude(self, stopped: Result<(), Refusal>) -> Result<Agreed, Failed> {
        let given_up = |failure| Err(Failed { failure, last_words: None });
        match (self.state, stopped) {
            (State::Agreed(context), Ok(())) => Ok(Agreed { context, reader: self.reader }),
            (State::Agreed(context) | State::Awaited(context), Err(cause)) => {
                given_up(known(&context, cause))
            }
            (State::Failed(failure), _) => Err(Failed { failure, last_words: Some(self.output) }),
            (State::Open(machine), Err(cause)) => given_up(machine.abandon(cause)),
            (State::Asking(question), Err(cause)) => {
                Err(unanswered::<M>(question, cause, &self.wire, self.output))
            }
            (State::Stepping, Err(cause)) => given_up(bare(cause)),
            (State::Open(_) | State::Asking(_) | State::Awaited(_) | State::Stepping, Ok(())) => given_up(
                bare(Refusal::new(code::STATE_MISUSED, "a handshake left half-way", "its end to wait for")),
            ),
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
fn unanswered<M: Machine>(question: M::Question, cause: Refusal, wire: &Wire, mut output: Vec<u8>) -> Failed {
    let none = question.no_answer(&cause);
    let known = match step::<M>(wire, &mut output, |out| question.answered(none, out)) {
        State::Failed(failure) => *failure,
        _ => *bare(cause.clone()),
    };
    Failed { failure: Box::new(Rejected { refusal: cause, ..known }), last_words: Some(output) }
}

/// Lets the machine act; what it says is framed and appended to `output`.
fn step<M: Machine>(
    wire: &Wire,
    output: &mut Vec<u8>,
    act: impl FnOnce(&mut Vec<u8>) -> Step<M>,
) -> State<M> {
    let start = wire.begin(output);
    match act(output) {
        Step::Await(machine) => match wire.end(output, start, Said::InProgress) {
            Ok(()) if M::ROLE == Role::Initiator && wire.peer_is_done_already() => {
                // A peer that would not take our token is not given it.
                output.truncate(start);
                fail(wire, output, machine.abandon(wire::done_too_early()))
            }
            Ok(()) => State::Open(machine),
            Err(error) => fail(wire, output, machine.abandon(error.into())),
        },
        Step::Ask(question) => match wire.end(output, start, Said::InProgress) {
            Ok(()) => State::Asking(question),
            Err(error) => fail(wire, output, question.abandon(error.into())),
        },
        Step::Done(context) => done(wire, output, start, context),
        Step::Failed(failure) => {
            wire.refuse(output, start, &failure.refusal);
            State::Failed(failure)
        }
    }
}
/// Our context is complete. An acceptor says so and is through; an initiator may have to hear it from the peer, too.
fn done<M: Machine>(
    wire: &Wire,
    output: &mut Vec<u8>,
    start: usize,
    context: Box<SecurityContext>,
) -> State<M> {
    let heard = M::ROLE == Role::Initiator && wire.peer_is_done_already();
    let said = if heard {
        wire.end_unheard(output, start)
    } else {
        wire.end(output, start, Said::Done).map_err(Refusal::from)
    };
    match said {
        Err(cause) => fail(wire, output, known(&context, cause)),
        Ok(()) if M::ROLE == Role::Acceptor || wire.peer_is_done() => State::Agreed(context),
        Ok(()) => State::Awaited(context),
    }
}

/// The handshake has failed; the peer is told what its framing has a word for.
fn fail<M: Machine>(wire: &Wire, output: &mut Vec<u8>, failure: Failure) -> State<M> {
    let start = wire.begin(output);
    wire.refuse(output, start, &failure.refusal);
    State::Failed(failure)
}

/// A failure about whose peer all is known that a context knows.
pub(crate) fn known(context: &SecurityContext, refusal: Refusal) -> Failure {
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
