use super::{Answer, Asking, Failure, Machine, Question, Step, bare};
use crate::ambient;
use crate::mutex::lock;
use crate::replay::{Answering, Check};
use crate::service::Service;
use countersign_proto::context::{
    AcceptorStep, Authorize, AwaitToken, CheckReplay, NeedKdc, Rejected, VerifyNtlm,
};
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::krb5::per_message::Role;
use countersign_proto::krb5::replay::{ReplayUnavailable, ReplayVerdict};
use countersign_proto::ntlm::accounts::Verdict;
use std::sync::Mutex;

/// The acceptor's side: the step machine of proto, with the service's replay store, its accounts and its word on who is
/// welcome.
pub(crate) struct AcceptorMachine {
    service: Service,
    state: AwaitToken,
    /// Which keys it began with, while it has seen no token.
    fresh: Option<u64>,
}

/// What only the outside can answer.
pub(crate) struct AcceptorQuestion {
    service: Service,
    state: Asked,
}

enum Asked {
    /// Whether an NTLM proof is right.
    Ntlm(VerifyNtlm),
    /// What a KDC says to a client's message.
    Kdc(NeedKdc),
    /// Whether an authenticator was seen before. The store is asked already; who waits takes its answer out.
    Replay(CheckReplay, Mutex<Option<Answering>>),
}

impl AcceptorMachine {
    pub(crate) fn new(service: &Service) -> Self {
        let key_changes = service.key_changes();
        Self { service: service.clone(), state: service.acceptor().begin(), fresh: Some(key_changes) }
    }
}

/// Answers what can be answered at once, until something else is awaited.
fn walk(service: Service, mut step: AcceptorStep, out: &mut Vec<u8>) -> Step<AcceptorMachine> {
    loop {
        step = match step {
            AcceptorStep::CheckReplay(asked) => {
                match service.replay_store().check(asked.presented(), ambient::now()) {
                    Check::Now(verdict) => asked.verdict(verdict, ambient::now(), out),
                    Check::Later(answering) => {
                        let state = Asked::Replay(asked, Mutex::new(Some(answering)));
                        return Step::Ask(AcceptorQuestion { service, state });
                    }
                }
            }
            AcceptorStep::Authorize(asked) => authorize(&service, asked, out),
            AcceptorStep::VerifyNtlm(state) => {
                return Step::Ask(AcceptorQuestion { service, state: Asked::Ntlm(state) });
            }
            AcceptorStep::NeedKdc(state) => {
                return Step::Ask(AcceptorQuestion { service, state: Asked::Kdc(state) });
            }
            AcceptorStep::AwaitToken(state) => {
                return Step::Await(AcceptorMachine { service, state, fresh: None });
            }
            AcceptorStep::Done(context) => return Step::Done(context),
            AcceptorStep::Rejected(rejected) => return Step::Failed(rejected),
        }
    }
}

/// Whether another key might have opened the ticket.
fn wants_key(rejected: &Rejected) -> bool {
    const BY_KEYS: [Code; 5] = [
        code::SERVICE_KEY_ABSENT,
        code::KEYTAB_WITHOUT_KEYS,
        code::KVNO_ABSENT,
        code::ETYPE_KEY_ABSENT,
        code::TICKET_INTEGRITY,
    ];
    BY_KEYS.contains(&rejected.refusal.code())
}

/// The handshake from its beginning, if the keys have changed since: a client must not be refused because its ticket is
/// newer than our last look at the keytab.
fn again(service: &Service, began: u64) -> Option<AwaitToken> {
    service.refresh_keys();
    (service.key_changes() != began).then(|| service.acceptor().begin())
}

fn authorize(service: &Service, asked: Authorize, out: &mut Vec<u8>) -> AcceptorStep {
    match service.authorize(asked.facts()) {
        Ok(()) => asked.admit(ambient::now(), &mut ambient::rng(), out),
        Err(refusal) => asked.refuse(refusal, ambient::now(), out),
    }
}

impl Machine for AcceptorMachine {
    const ROLE: Role = Role::Acceptor;

    type Question = AcceptorQuestion;

    fn token(self, token: &[u8], out: &mut Vec<u8>) -> Step<Self> {
        let Self { service, state, fresh } = self;
        let start = out.len();
        let step = state.token(token, ambient::now(), &mut ambient::rng(), out);
        let step = match (step, fresh) {
            (AcceptorStep::Rejected(rejected), Some(began)) if wants_key(&rejected) => {
                match again(&service, began) {
                    Some(state) => {
                        out.truncate(start);
                        state.token(token, ambient::now(), &mut ambient::rng(), out)
                    }
                    None => AcceptorStep::Rejected(rejected),
                }
            }
            (step, _) => step,
        };
        walk(service, step, out)
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

impl Question<AcceptorMachine> for AcceptorQuestion {
    fn ask(&self) -> Asking<'_> {
        match (&self.state, self.service.accounts(), self.service.relay()) {
            (Asked::Ntlm(state), Some(accounts), _) => {
                let verdict = accounts.verify(state.request());
                Box::pin(async move { Answer::Ntlm(verdict.await) })
            }
            (Asked::Kdc(state), _, Some(relay)) => {
                let reply = relay.carry(state.wish());
                Box::pin(async move { Answer::Kdc(reply.await) })
            }
            (Asked::Replay(_, answering), ..) => match lock(answering).take() {
                Some(answering) => Box::pin(async move { Answer::Replay(answering.await) }),
                None => Box::pin(std::future::ready(Answer::Replay(STORE_DOWN))),
            },
            _ => Box::pin(std::future::ready(self.no_answer(&nobody_to_ask()))),
        }
    }

    fn answered(self, answer: Answer, out: &mut Vec<u8>) -> Step<AcceptorMachine> {
        let step = match (self.state, answer) {
            (Asked::Ntlm(state), Answer::Ntlm(verdict)) => state.verdict(verdict, out),
            (Asked::Ntlm(state), _) => state.verdict(Verdict::Unavailable, out),
            (Asked::Kdc(state), Answer::Kdc(reply)) => {
                let reply = reply.as_deref().map_err(Clone::clone);
                state.reply(reply, ambient::now(), out)
            }
            (Asked::Kdc(state), _) => state.reply(Err(nobody_to_ask()), ambient::now(), out),
            (Asked::Replay(state, _), Answer::Replay(verdict)) => state.verdict(verdict, ambient::now(), out),
            (Asked::Replay(state, _), _) => state.verdict(STORE_DOWN, ambient::now(), out),
        };
        walk(self.service, step, out)
    }

    fn no_answer(&self, cause: &Refusal) -> Answer {
        match &self.state {
            Asked::Ntlm(_) => Answer::Ntlm(Verdict::Unavailable),
            Asked::Kdc(_) => Answer::Kdc(Err(cause.clone())),
            Asked::Replay(..) => Answer::Replay(STORE_DOWN),
        }
    }

    fn abandon(self, refusal: Refusal) -> Failure {
        bare(refusal)
    }
}

/// What stands for an answer of the replay store that did not come.
const STORE_DOWN: ReplayVerdict = ReplayVerdict::Unavailable(ReplayUnavailable::Down);

fn nobody_to_ask() -> Refusal {
    let have = "no way to a KDC of its own";
    Refusal::new(code::IAKERB_RELAY_FAILED, "a client's message for a KDC", have)
}
