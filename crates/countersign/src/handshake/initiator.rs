use super::wire::Said;
use super::{Answer, Asking, Failure, Handshake, Machine, Question, Step};
use crate::ambient;
use crate::framing::Framing;
use countersign_proto::context::{AwaitReply, Initiator, InitiatorStep, Rejected};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::per_message::Role;
use std::convert::Infallible;

/// The initiator's side.
pub(crate) struct InitiatorMachine {
    service: Principal,
    state: AwaitReply,
}

impl InitiatorMachine {
    /// Appends our first token to `out`.
    pub(crate) fn begin(initiator: &Initiator, out: &mut Vec<u8>) -> Result<Self, Failure> {
        let service = initiator.service().clone();
        match initiator.begin(ambient::now(), &mut ambient::rng(), out) {
            Ok(state) => Ok(Self { service, state }),
            Err(refusal) => Err(failure(refusal, service)),
        }
    }
}

impl Handshake<InitiatorMachine> {
    /// A handshake that begins with our token.
    pub(crate) fn begin(initiator: &Initiator, framing: Framing) -> Result<Self, Failure> {
        let mut token = Vec::new();
        let machine = InitiatorMachine::begin(initiator, &mut token)?;
        let service = machine.service.clone();
        let mut handshake = Self::await_peer(machine, framing);
        let start = handshake.wire.begin(&mut handshake.output);
        handshake.output.append(&mut token);
        match handshake.wire.end(&mut handshake.output, start, Said::InProgress) {
            Ok(()) => Ok(handshake),
            Err(error) => Err(failure(error.into(), service)),
        }
    }
}

/// An initiator has nothing to ask.
impl Question<InitiatorMachine> for Infallible {
    fn ask(&self) -> Asking<'_> {
        match *self {}
    }

    fn answered(self, _: Answer, _: &mut Vec<u8>) -> Step<InitiatorMachine> {
        match self {}
    }

    fn no_answer(&self, _: &Refusal) -> Answer {
        match *self {}
    }

    fn abandon(self, _: Refusal) -> Failure {
        match self {}
    }
}

impl Machine for InitiatorMachine {
    const ROLE: Role = Role::Initiator;
    type Question = Infallible;

    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self> {
        let Self { service, state } = self;
        match state.token(token, ambient::now(), &mut ambient::rng(), out) {
            InitiatorStep::AwaitReply(state) => Step::Await(Self { service, state }),
            InitiatorStep::Done(context) => Step::Done(context),
            InitiatorStep::Rejected(refusal) => Step::Failed(failure(*refusal, service)),
        }
    }

    fn closed(self) -> Failure {
        failure(self.state.abandon("the end of the connection"), self.service)
    }

    fn abandon(self, cause: Refusal) -> Failure {
        let saw = format!("{} before {} proved itself", cause.saw(), self.service);
        failure(Refusal::new(cause.code(), saw, cause.have().to_owned()), self.service)
    }
}

fn failure(refusal: Refusal, service: Principal) -> Failure {
    Box::new(Rejected { refusal, claimed_service: Some(service.to_string()), facts: None })
}
