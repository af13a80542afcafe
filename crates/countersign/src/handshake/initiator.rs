use super::{Failure, Machine, Step};
use crate::ambient;
use countersign_proto::context::{AwaitReply, Initiator, InitiatorStep, Rejected};
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::principal::Principal;

/// The initiator's side.
pub(crate) struct InitiatorMachine {
    service: Principal,
    state: AwaitReply,
}

impl InitiatorMachine {
    /// The machine, with the first token appended to `out`.
    pub(crate) fn begin(initiator: &Initiator, out: &mut Vec<u8>) -> Self {
        let state = initiator.begin(ambient::now(), &mut ambient::rng(), out);
        Self { service: initiator.ticket().service.clone(), state }
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

    fn abandon(self, cause: Refusal) -> Failure {
        failure(self.state.abandon(cause.saw()), self.service)
    }
}

fn failure(refusal: Refusal, service: Principal) -> Failure {
    Box::new(Rejected { refusal, claimed_service: Some(service), facts: None })
}
