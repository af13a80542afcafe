//! Handshakes and messages for callers that have a framing of their own, such as HTTP, SASL or fields of another protocol:
//! tokens in, tokens out, and nothing around them.
//!
//! The replay store, the accounts, the limits and the deadline of a [`Service`] are at work here as on sockets; what
//! the caller does is to carry the tokens.
//!
//! ```no_run
//! # fn receive() -> Vec<u8> { Vec::new() }
//! # fn send(_: &[u8]) {}
//! # fn service() -> Result<(), Box<dyn std::error::Error>> {
//! use countersign::bare::{Accepting, Progress};
//!
//! let service = countersign::Service::from_keytab("/etc/krb5.keytab")?;
//! let mut exchange = Accepting::begin(&service, "192.0.2.1".parse()?);
//! let mut context = loop {
//!     match exchange.token_blocking(&receive()) {
//!         Ok(Progress::Continue { token, exchange: next }) => {
//!             send(&token);
//!             exchange = next;
//!         }
//!         Ok(Progress::Done { token, context }) => {
//!             token.iter().for_each(|token| send(token));
//!             break context;
//!         }
//!         Err(refused) => {
//!             refused.token.iter().for_each(|token| send(token));
//!             return Err(refused.failure.refusal.into());
//!         }
//!     }
//! };
//! send(&context.wrap(b"welcome")?);
//! # Ok(())
//! # }
//! ```

use crate::ambient;
use crate::blocking::wait;
use crate::client::Client;
use crate::framing::{FrameError, HANDSHAKE_LIMIT};
use crate::handshake::{
    AcceptorMachine, AcceptorQuestion, Answer, Failure, InitiatorMachine, Machine, Question, Step, bare,
    known, late,
};
use crate::limits::Ticket;
use crate::service::Service;
use countersign_proto::context::{ContextParts, Facts, Initiator, PeerProof, Rejected, SecurityContext};
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::krb5::per_message::Confidentiality;
use countersign_proto::krb5::pseudo_random::PrfKey;
use countersign_proto::protection::{ExportKeys, Receiver, Sender};
use countersign_proto::secret::Secret;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What a token led to; `H` is the handshake that goes on.
pub enum Progress<H> {
    /// The token is to be sent, and the peer's next one handed in.
    Continue {
        /// For the peer.
        token: Vec<u8>,
        /// Takes the peer's next token.
        exchange: H,
    },
    /// The handshake is over.
    Done {
        /// For the peer, before any message; `None` if there is nothing to send.
        token: Option<Vec<u8>>,
        /// Protects messages.
        context: Box<Context>,
    },
}

/// A handshake that led to no context.
#[derive(Debug)]
pub struct Refused {
    /// What the peer is told, if its protocol has a word for it.
    pub token: Option<Vec<u8>>,
    /// Why, and what is known of the peer.
    pub failure: Failure,
}

/// An acceptor's handshake: it holds a place among those that the service lets be open at once.
pub struct Accepting {
    service: Service,
    machine: AcceptorMachine,
    place: Ticket,
    until: Instant,
}

/// An initiator's handshake.
pub struct Initiating {
    machine: InitiatorMachine,
    max_message: usize,
    deadline: Duration,
    until: Instant,
}

impl Accepting {
    /// Awaits the first token of a client at `address`.
    #[must_use]
    pub fn begin(service: &Service, address: IpAddr) -> Self {
        Self {
            service: service.clone(),
            machine: AcceptorMachine::new(service),
            place: service.admission().enter(address),
            until: end_of(service.handshake_deadline()),
        }
    }

    /// Takes the client's next token, of at most 65,536 bytes.
    ///
    /// # Errors
    /// If the client is refused, or the handshake took too long or had to give way.
    pub async fn token(self, token: &[u8]) -> Result<Progress<Self>, Refused> {
        let mut turn = self.take(token)?;
        while let Step::Ask(question) = turn.step {
            let left = turn.until.saturating_duration_since(Instant::now());
            let answer = tokio::time::timeout(left, question.ask()).await.ok();
            turn.step = answered(&turn.service, &mut turn.out, question, answer)?;
        }
        turn.end()
    }

    /// [`Accepting::token`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Accepting::token`].
    pub fn token_blocking(self, token: &[u8]) -> Result<Progress<Self>, Refused> {
        let mut turn = self.take(token)?;
        while let Step::Ask(question) = turn.step {
            let answer = wait::until(Some(turn.until), question.ask());
            turn.step = answered(&turn.service, &mut turn.out, question, answer)?;
        }
        turn.end()
    }

    fn take(self, token: &[u8]) -> Result<Turn, Refused> {
        let Self { service, machine, place, until } = self;
        if let Some(cause) = unfit(token, until, service.handshake_deadline(), Some(&place)) {
            return Err(Refused { token: None, failure: machine.abandon(cause) });
        }
        let mut out = Vec::new();
        let step = machine.token(token, &mut out);
        Ok(Turn { service, place, until, step, out })
    }
}

/// A token that is worked on.
struct Turn {
    service: Service,
    place: Ticket,
    until: Instant,
    step: Step<AcceptorMachine>,
    out: Vec<u8>,
}

impl Turn {
    fn end(self) -> Result<Progress<Accepting>, Refused> {
        let Self { service, place, until, step, out } = self;
        match step {
            Step::Await(machine) => {
                let exchange = Accepting { service, machine, place, until };
                Ok(Progress::Continue { token: out, exchange })
            }
            Step::Done(context) => match place.leave() {
                Ok(()) => Ok(done(out, context, service.terms().max_message)),
                Err(evicted) => Err(Refused { token: None, failure: known(&context, evicted.into()) }),
            },
            Step::Failed(failure) => Err(Refused { token: some(out), failure }),
            // Questions were answered before.
            Step::Ask(question) => {
                let cause =
                    Refusal::new(code::STATE_MISUSED, "a question left open", "its answer to wait for");
                Err(Refused { token: None, failure: question.abandon(cause) })
            }
        }
    }
}

/// What an answer leads to; `None` says that none came in time.
fn answered(
    service: &Service,
    out: &mut Vec<u8>,
    question: AcceptorQuestion,
    answer: Option<Answer>,
) -> Result<Step<AcceptorMachine>, Refused> {
    if let Some(answer) = answer {
        return Ok(question.answered(answer, out));
    }
    // The client is told as if the source had no answer.
    let cause = late(service.handshake_deadline());
    let none = question.no_answer(&cause);
    let failure = match question.answered(none, out) {
        Step::Failed(failure) => Box::new(Rejected { refusal: cause, ..*failure }),
        _ => bare(cause),
    };
    Err(Refused { token: some(std::mem::take(out)), failure })
}

impl Initiating {
    /// Begins a handshake with the service that `client` names, and gives the first token.
    ///
    /// # Errors
    /// If there is no ticket to be had.
    pub async fn begin(client: &Client) -> Result<(Vec<u8>, Self), Failure> {
        let initiator = client.initiator().await.map_err(bare)?;
        Self::begin_with(client, &initiator)
    }

    /// [`Initiating::begin`] for a thread that may wait.
    ///
    /// # Errors
    /// As [`Initiating::begin`].
    pub fn begin_blocking(client: &Client) -> Result<(Vec<u8>, Self), Failure> {
        let initiator = client.initiator_blocking().map_err(bare)?;
        Self::begin_with(client, &initiator)
    }

    fn begin_with(client: &Client, initiator: &Initiator) -> Result<(Vec<u8>, Self), Failure> {
        let mut token = Vec::new();
        let machine = InitiatorMachine::begin(initiator, &mut token)?;
        let deadline = client.handshake_deadline();
        let max_message = client.terms().max_message;
        Ok((token, Self { machine, max_message, deadline, until: end_of(deadline) }))
    }

    /// Takes the service's next token, of at most 65,536 bytes.
    ///
    /// # Errors
    /// If the service did not prove itself, refused this client, or the handshake took too long.
    pub fn token(self, token: &[u8]) -> Result<Progress<Self>, Refused> {
        let Self { machine, max_message, deadline, until } = self;
        if let Some(cause) = unfit(token, until, deadline, None) {
            return Err(Refused { token: None, failure: machine.abandon(cause) });
        }
        let mut out = Vec::new();
        match machine.token(token, &mut out) {
            Step::Await(machine) => {
                let exchange = Self { machine, max_message, deadline, until };
                Ok(Progress::Continue { token: out, exchange })
            }
            Step::Done(context) => Ok(done(out, context, max_message)),
            Step::Failed(failure) => Err(Refused { token: some(out), failure }),
            Step::Ask(never) => match never {},
        }
    }
}

/// Protects messages and verifies those of the peer, token by token and in order.
pub struct Context {
    facts: Facts,
    export: ExportKeys,
    sender: Sender,
    receiver: Receiver,
    confirmed: bool,
    max_message: usize,
}

impl Context {
    /// Who the ends are, by which mechanism and keys, under which conditions, until when.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the peer has shown that it holds the session's key: at a client from the start, at a service once a
    /// message came (DESIGN rule 10).
    #[must_use]
    pub fn peer_confirmed(&self) -> bool {
        self.confirmed || self.receiver.has_verified_any()
    }

    /// `length` bytes, at most 65,536, of a key for a protocol above, which the peer gets for the same `label` too and
    /// nobody else (GSS_Pseudo_random, RFC 4401 and RFC 7802).
    ///
    /// # Errors
    /// If NTLM authenticated, or `length` is too much.
    pub fn export_key(&self, label: &[u8], length: usize) -> Result<Secret, Refusal> {
        Ok(self.export.pseudo_random(PrfKey::Full, label, length)?)
    }

    /// The token of one sealed message (GSS_Wrap with confidentiality) of at most `max_message` bytes.
    ///
    /// # Errors
    /// If it is too long, or the sequence numbers are used up.
    pub fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.wrapped(Confidentiality::Sealed, message)
    }

    /// The token of one message that is signed and can be read by anybody (GSS_Wrap without confidentiality).
    ///
    /// # Errors
    /// As [`Context::wrap`].
    pub fn wrap_signed(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.wrapped(Confidentiality::SignedOnly, message)
    }

    fn wrapped(&mut self, confidentiality: Confidentiality, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.bounded(message.len(), code::MESSAGE_TOO_LONG)?;
        let mut token = Vec::new();
        self.sender.wrap(confidentiality, message, &mut ambient::rng(), &mut token)?;
        Ok(token)
    }

    /// Opens the token of one message where it lies. One that is signed only is refused unless the policy takes it.
    ///
    /// # Errors
    /// If it is malformed, altered, of another context, out of order, too long, or not sealed; the context can be used
    /// on, but on a stream that is the end, and by NTLM, whose keys are a stream, after a message that was altered.
    pub fn unwrap<'t>(&mut self, token: &'t mut [u8]) -> Result<&'t [u8], Refusal> {
        let plaintext = self.receiver.unwrap_in_place(token)?.plaintext;
        self.bounded(plaintext.len(), code::FRAME_TOO_LONG)?;
        Ok(plaintext)
    }

    /// A token that signs a message which travels elsewhere (GSS_GetMIC).
    ///
    /// # Errors
    /// If the sequence numbers are used up.
    pub fn mic(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut token = Vec::new();
        self.sender.mic(&[message], &mut token)?;
        Ok(token)
    }

    /// Verifies a token over a message that travelled elsewhere (GSS_VerifyMIC).
    ///
    /// # Errors
    /// As [`Context::unwrap`].
    pub fn verify_mic(&mut self, message: &[u8], token: &[u8]) -> Result<(), Refusal> {
        self.receiver.verify_mic(&[message], token)?;
        Ok(())
    }

    fn bounded(&self, length: usize, code: Code) -> Result<(), Refusal> {
        if length <= self.max_message {
            return Ok(());
        }
        let saw = format!("a message of {length} bytes");
        Err(Refusal::new(code, saw, format!("max_message {}", self.max_message)))
    }
}

fn done<H>(out: Vec<u8>, context: Box<SecurityContext>, max_message: usize) -> Progress<H> {
    let confirmed = context.peer_proof() == PeerProof::Confirmed;
    let ContextParts { facts, sender, receiver, export } = context.into_parts();
    let context = Context { facts, export, sender, receiver, confirmed, max_message };
    Progress::Done { token: some(out), context: Box::new(context) }
}

/// An empty token is none.
fn some(token: Vec<u8>) -> Option<Vec<u8>> {
    Some(token).filter(|token| !token.is_empty())
}

fn end_of(deadline: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(deadline).unwrap_or(now)
}

/// Why a token is not even looked at.
fn unfit(token: &[u8], until: Instant, deadline: Duration, place: Option<&Ticket>) -> Option<Refusal> {
    let limit = HANDSHAKE_LIMIT;
    if let Some(evicted) = place.and_then(Ticket::eviction) {
        return Some(evicted.into());
    }
    if Instant::now() >= until {
        return Some(late(deadline));
    }
    match u32::try_from(token.len()).unwrap_or(u32::MAX) {
        0 => Some(FrameError::Empty { limit }.into()),
        announced if token.len() > limit => Some(FrameError::TooLong { announced, limit }.into()),
        _ => None,
    }
}
