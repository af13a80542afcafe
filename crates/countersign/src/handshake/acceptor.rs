use super::{Failure, Machine, Question, Step};
use crate::accounts::Answer;
use crate::ambient;
use crate::service::Service;
use countersign_proto::context::{AcceptorStep, Authorize, AwaitToken, Rejected, VerifyNtlm};
use countersign_proto::error::{Refusal, code};
use countersign_proto::ntlm::accounts::Verdict;

/// The acceptor's side: the step machine of proto, with the service's replay store, its accounts and its word on who is
/// welcome.
pub(crate) struct AcceptorMachine {
    service: Service,
    state: AwaitToken,
}

/// Whether an NTLM proof is right.
pub(crate) struct NtlmQuestion {
    service: Service,
    state: VerifyNtlm,
}

impl AcceptorMachine {
    pub(crate) fn new(service: &Service) -> Self {
        Self { service: service.clone(), state: service.acceptor().begin() }
    }
}

/// Answers what can be answered at once, until something else is awaited.
fn walk(service: Service, mut step: AcceptorStep, out: &mut Vec<u8>) -> Step<AcceptorMachine> {
    loop {
        step = match step {
            AcceptorStep::CheckReplay(asked) => {
                let verdict = service.replay_store().check(asked.presented(), ambient::now());
                asked.verdict(verdict, ambient::now(), out)
            }
            AcceptorStep::Authorize(asked) => authorize(&service, asked, out),
            AcceptorStep::VerifyNtlm(state) => return Step::Ask(NtlmQuestion { service, state }),
            AcceptorStep::AwaitToken(state) => return Step::Await(AcceptorMachine { service, state }),
            AcceptorStep::Done(context) => return Step::Done(context),
            AcceptorStep::Rejected(rejected) => return Step::Failed(rejected),
        }
    }
}

fn authorize(service: &Service, asked: Authorize, out: &mut Vec<u8>) -> AcceptorStep {
    match service.authorize(asked.facts()) {
        Ok(()) => asked.admit(ambient::now(), &mut ambient::rng(), out),
        Err(refusal) => asked.refuse(refusal, ambient::now(), out),
    }
}

impl Machine for AcceptorMachine {
    type Question = NtlmQuestion;

    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self> {
        let step = self.state.token(token, ambient::now(), &mut ambient::rng(), out);
        walk(self.service, step, out)
    }

    fn closed(self) -> Failure {
        self.abandon(Refusal::new(
            code::CONNECTION_CUT,
            "the end of the connection",
            "a handshake that is not done",
        ))
    }

    fn abandon(self, cause: Refusal) -> Failure {
        self.state.abandon(cause)
    }
}

impl Question<AcceptorMachine> for NtlmQuestion {
    fn ask(&self) -> Answer<'_> {
        match self.service.accounts() {
            Some(accounts) => accounts.verify(self.state.request()),
            None => Box::pin(std::future::ready(Verdict::Unavailable)),
        }
    }

    fn answered(self, verdict: Verdict, out: &mut Vec<u8>) -> Step<AcceptorMachine> {
        let step = self.state.verdict(verdict, out);
        walk(self.service, step, out)
    }

    fn abandon(self, refusal: Refusal) -> Failure {
        Box::new(Rejected { refusal, claimed_service: None, facts: None })
    }
}
