use super::{Failure, Machine, Step};
use crate::ambient;
use crate::service::Service;
use countersign_proto::context::{AcceptorStep, Authorize, AwaitToken};
use countersign_proto::error::{Refusal, code};

/// The acceptor's side: the step machine of proto, with the service's replay store and its word on who is welcome.
pub(crate) struct AcceptorMachine {
    service: Service,
    state: AwaitToken,
}

impl AcceptorMachine {
    pub(crate) fn new(service: &Service) -> Self {
        Self { service: service.clone(), state: service.acceptor().begin() }
    }

    fn authorize(service: &Service, asked: Authorize, out: &mut Vec<u8>) -> AcceptorStep {
        match service.authorize(asked.facts()) {
            Ok(()) => asked.admit(ambient::now(), &mut ambient::rng(), out),
            Err(refusal) => asked.refuse(refusal, ambient::now(), out),
        }
    }
}

impl Machine for AcceptorMachine {
    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self> {
        let Self { service, state } = self;
        let mut step = state.token(token, ambient::now(), out);
        loop {
            step = match step {
                AcceptorStep::CheckReplay(asked) => {
                    let verdict = service.replay_store().check(asked.presented(), ambient::now());
                    asked.verdict(verdict, ambient::now(), out)
                }
                AcceptorStep::Authorize(asked) => Self::authorize(&service, asked, out),
                AcceptorStep::AwaitToken(state) => return Step::Await(Self { service, state }),
                AcceptorStep::Done(context) => return Step::Done(context),
                AcceptorStep::Rejected(rejected) => return Step::Failed(rejected),
            }
        }
    }

    fn closed(self) -> Failure {
        let saw = "the end of the connection";
        self.abandon(Refusal::new(code::CONNECTION_CUT, saw, "a handshake that is not done"))
    }

    fn abandon(self, cause: Refusal) -> Failure {
        self.state.abandon(cause)
    }
}
