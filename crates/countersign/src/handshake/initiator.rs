use super::{Answer, Asking, Failure, Handshake, Machine, Question, Step, append_frame};
use crate::ambient;
use countersign_proto::context::{AwaitReply, Initiator, InitiatorStep, Rejected};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;
use std::convert::Infallible;

/// The initiator's side.
pub(crate) struct InitiatorMachine {
    service: Principal,
    state: AwaitReply,
}

impl Handshake<InitiatorMachine> {
    /// A handshake that begins with our token.
    pub(crate) fn begin(initiator: &Initiator) -> Result<Self, Failure> {
        let service = initiator.service().clone();
        let mut output = Vec::new();
        let (state, framed) =
            append_frame(&mut output, |out| initiator.begin(ambient::now(), &mut ambient::rng(), out));
        let state = state.map_err(|refusal| failure(refusal, service.clone()))?;
        if let Err(error) = framed {
            return Err(failure(error.into(), service));
        }
        let mut handshake = Self::await_peer(InitiatorMachine { service, state });
        handshake.output = output;
        Ok(handshake)
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
