use super::{Failure, Handshake, Machine, Step, append_frame};
use crate::ambient;
use countersign_proto::context::{AwaitReply, Initiator, InitiatorStep, Rejected};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;

/// The initiator's side.
pub(crate) struct InitiatorMachine {
    service: Principal,
    state: AwaitReply,
}

impl Handshake<InitiatorMachine> {
    /// A handshake that begins with our token.
    pub(crate) fn begin(initiator: &Initiator) -> Result<Self, Failure> {
        let service = initiator.ticket().service.clone();
        let mut output = Vec::new();
        let (state, framed) =
            append_frame(&mut output, |out| initiator.begin(ambient::now(), &mut ambient::rng(), out));
        if let Err(error) = framed {
            return Err(failure(error.into(), service));
        }
        let mut handshake = Self::await_peer(InitiatorMachine { service, state });
        handshake.output = output;
        Ok(handshake)
    }
}

impl Machine for InitiatorMachine {
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
    Box::new(Rejected { refusal, claimed_service: Some(service), facts: None })
}
