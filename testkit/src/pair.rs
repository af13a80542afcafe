//! An initiator and an acceptor in one memory, with clocks that tests set and tokens that tests may alter on the way.

use crate::mint::{ApReq, Mint};
use crate::rng::TestRng;
use countersign_proto::context::{
    Acceptor, AcceptorStep, AwaitReply, AwaitToken, Initiator, InitiatorStep, Rejected, SecurityContext,
};
use countersign_proto::error::{Code, Refusal, code};
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::replay::{Presented, ReplayVerdict, TAG_LEN};
use countersign_proto::ntlm::NtHash;
use countersign_proto::ntlm::accounts::{Identity, Verdict, VerifyRequest};
use countersign_proto::policy::{AcceptorPolicy, InitiatorPolicy};
use countersign_proto::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// The acceptor's default policy with changes.
#[must_use]
pub fn acceptor_policy(change: impl FnOnce(&mut AcceptorPolicy)) -> AcceptorPolicy {
    let mut policy = AcceptorPolicy::default();
    change(&mut policy);
    policy
}

/// The initiator's default policy with changes.
#[must_use]
pub fn initiator_policy(change: impl FnOnce(&mut InitiatorPolicy)) -> InitiatorPolicy {
    let mut policy = InitiatorPolicy::default();
    change(&mut policy);
    policy
}

/// A replay store that remembers everything for ever.
#[derive(Clone, Default, Debug)]
pub struct ReplaySet {
    seen: BTreeSet<[u8; TAG_LEN]>,
}

impl ReplaySet {
    /// Whether it was never asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Whether the authenticator is new, which it is not the next time.
    pub fn check(&mut self, presented: &Presented) -> ReplayVerdict {
        if self.seen.insert(presented.tag) { ReplayVerdict::Fresh } else { ReplayVerdict::Seen }
    }
}

/// A service with its clock, its replay store and its random numbers. It lets every client in that proves itself.
pub struct Service {
    /// Keys and policy.
    pub acceptor: Acceptor,
    /// Its clock.
    pub now: Timestamp,
    /// What it has seen.
    pub replays: ReplaySet,
    /// Its random numbers.
    pub rng: TestRng,
    /// Its accounts for NTLM: user, domain and NT hash.
    pub accounts: Vec<(String, String, NtHash)>,
}

/// What a service made of one token.
pub enum Offered {
    /// It accepted.
    Accepted {
        /// The context.
        context: Box<SecurityContext>,
        /// What it sent.
        sent: Vec<u8>,
    },
    /// It refused, and the handshake is over.
    Refused {
        /// Why.
        rejected: Box<Rejected>,
        /// What it sent.
        sent: Vec<u8>,
    },
    /// It waits for another token.
    Again {
        /// The handshake.
        state: AwaitToken,
        /// What it sent.
        sent: Vec<u8>,
    },
}

impl Service {
    /// The service of `mint`, at the mint's time.
    #[must_use]
    pub fn new(mint: &Mint, policy: AcceptorPolicy) -> Self {
        Self::of(Acceptor::new(mint.service_keys(), policy), mint.now)
    }

    /// Any service, at the time `now`.
    #[must_use]
    pub fn of(acceptor: Acceptor, now: Timestamp) -> Self {
        Self { acceptor, now, replays: ReplaySet::default(), rng: TestRng::new(2), accounts: Vec::new() }
    }

    /// Offers `token` as the first of a new handshake.
    pub fn offer(&mut self, token: &[u8]) -> Offered {
        self.offer_to(self.acceptor.begin(), token)
    }

    /// Offers `request` to a new handshake, which must refuse it with `code`, tell the peer `error_code` in a KRB-ERROR
    /// that names the service as the ticket does, and tell it nothing else.
    ///
    /// # Panics
    /// If anything of that is not so.
    pub fn refuses(&mut self, request: &ApReq, code: Code, error_code: i32) -> Rejected {
        let (rejected, sent) = self.offer(&request.token()).refused();
        assert_eq!(rejected.refusal.code(), code, "{}", rejected.refusal);
        let service = request.ticket.service.clone();
        assert_eq!(rejected.claimed_service, Some(service.to_string()));
        let expected = Told { error_code, service, stime: self.now, e_text: None, e_data: None };
        assert_eq!(told(&sent), expected);
        rejected
    }

    /// Offers `token` to a handshake that waits for one.
    pub fn offer_to(&mut self, state: AwaitToken, token: &[u8]) -> Offered {
        let mut sent = Vec::new();
        let mut step = state.token(token, self.now, &mut self.rng, &mut sent);
        loop {
            step = match step {
                AcceptorStep::AwaitToken(state) => return Offered::Again { state, sent },
                AcceptorStep::CheckReplay(state) => {
                    let verdict = self.replays.check(state.presented());
                    state.verdict(verdict, self.now, &mut sent)
                }
                AcceptorStep::VerifyNtlm(state) => {
                    let verdict = self.verify(state.request());
                    state.verdict(verdict, &mut sent)
                }
                AcceptorStep::Authorize(state) => state.admit(self.now, &mut self.rng, &mut sent),
                AcceptorStep::Done(context) => return Offered::Accepted { context, sent },
                AcceptorStep::NeedKdc(_) => panic!("a policy without IAKERB carries nothing to a KDC"),
                AcceptorStep::Rejected(rejected) => return Offered::Refused { rejected, sent },
            }
        }
    }
}

impl Service {
    fn verify(&self, request: &VerifyRequest) -> Verdict {
        let named = |(user, domain, _): &&(String, String, NtHash)| {
            *user == request.user && *domain == request.domain
        };
        match self.accounts.iter().find(named).and_then(|(.., hash)| request.verify_with(hash)) {
            Some(session_base_key) => {
                let identity =
                    Identity { user: request.user.clone(), domain: request.domain.clone(), guest: false };
                Verdict::Valid { session_base_key, identity }
            }
            None => Verdict::Invalid,
        }
    }
}

impl Offered {
    /// The context and what was sent.
    ///
    /// # Panics
    /// If the token was not accepted.
    pub fn accepted(self) -> (SecurityContext, Vec<u8>) {
        match self {
            Self::Accepted { context, sent } => (*context, sent),
            Self::Refused { rejected, .. } => panic!("refused: {}", rejected.refusal),
            Self::Again { .. } => panic!("another token is awaited"),
        }
    }

    /// Why it was refused and what was sent.
    ///
    /// # Panics
    /// If the token was not refused.
    pub fn refused(self) -> (Rejected, Vec<u8>) {
        match self {
            Self::Refused { rejected, sent } => (*rejected, sent),
            Self::Accepted { .. } => panic!("accepted"),
            Self::Again { .. } => panic!("another token is awaited"),
        }
    }

    /// The handshake that goes on, and what was sent.
    ///
    /// # Panics
    /// If the handshake is over.
    pub fn again(self) -> (AwaitToken, Vec<u8>) {
        match self {
            Self::Again { state, sent } => (state, sent),
            Self::Accepted { .. } => panic!("accepted"),
            Self::Refused { rejected, .. } => panic!("refused: {}", rejected.refusal),
        }
    }
}

/// What a KRB-ERROR on the wire says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// error-code.
    pub error_code: i32,
    /// realm and sname.
    pub service: Principal,
    /// stime and susec.
    pub stime: Timestamp,
    /// e-text.
    pub e_text: Option<Vec<u8>>,
    /// e-data.
    pub e_data: Option<Vec<u8>>,
}

/// Reads a framed KRB-ERROR.
///
/// # Panics
/// If `token` is anything else.
#[must_use]
pub fn told(token: &[u8]) -> Told {
    let (token_id, body) = framing::open(token).expect("a framed token");
    assert_eq!(token_id, TokenId::KrbError);
    let error = KrbError::parse(body).expect("a KRB-ERROR");
    Told {
        error_code: error.error_code,
        service: error.sname.to_principal(error.realm),
        stime: error.stime,
        e_text: error.e_text.map(<[u8]>::to_vec),
        e_data: error.e_data.map(<[u8]>::to_vec),
    }
}

/// Which way a token goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the initiator.
    ToAcceptor,
    /// From the acceptor.
    ToInitiator,
}

/// A token on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Where it goes.
    pub direction: Direction,
    /// Its place among the tokens of the handshake, both directions counted, from 0.
    pub index: usize,
    /// Its bytes; `None` cuts the connection.
    pub token: Option<Vec<u8>>,
}

/// How a handshake ended, at both ends.
pub struct Meeting {
    /// The initiator's end.
    pub initiator: Result<SecurityContext, Refusal>,
    /// The acceptor's end.
    pub acceptor: Result<SecurityContext, Box<Rejected>>,
    /// What was sent, before it was altered.
    pub transcript: Vec<(Direction, Vec<u8>)>,
}

impl Meeting {
    /// Both contexts.
    ///
    /// # Panics
    /// If an end refused.
    #[must_use]
    pub fn contexts(self) -> (SecurityContext, SecurityContext) {
        let acceptor = self.acceptor.unwrap_or_else(|rejected| panic!("{}", rejected.refusal));
        (self.initiator.unwrap_or_else(|refusal| panic!("{refusal}")), acceptor)
    }
}

/// An initiator and the service that it is to reach.
pub struct Pair {
    /// The initiator.
    pub initiator: Initiator,
    /// The initiator's clock.
    pub initiator_now: Timestamp,
    /// The initiator's random numbers.
    pub initiator_rng: TestRng,
    /// The service.
    pub service: Service,
}

impl Pair {
    /// The client and the service of `mint`, the client with a ticket in its credential cache.
    ///
    /// # Panics
    /// If the mint's ticket cannot be used under the initiator's policy.
    #[must_use]
    pub fn new(mint: &Mint, initiator: InitiatorPolicy, acceptor: AcceptorPolicy) -> Self {
        let ccache = mint.ccache(&[mint.ticket()]);
        Self {
            initiator: Initiator::from_ccache(&ccache, &mint.service, initiator, mint.now).unwrap(),
            initiator_now: mint.now,
            initiator_rng: TestRng::new(3),
            service: Service::new(mint, acceptor),
        }
    }

    /// Lets time pass at both ends.
    pub fn advance(&mut self, by: Duration) {
        self.initiator_now = self.initiator_now.saturating_add(by);
        self.service.now = self.service.now.saturating_add(by);
    }

    /// A handshake that nobody disturbs.
    pub fn meet(&mut self) -> Meeting {
        self.meet_altered(|_| {})
    }

    /// A handshake in which `alter` sees each token before it arrives, and may change or swallow it.
    pub fn meet_altered(&mut self, mut alter: impl FnMut(&mut Delivery)) -> Meeting {
        let mut transcript = Vec::new();
        let mut carry = |direction, token: Vec<u8>| {
            let mut delivery = Delivery { direction, index: transcript.len(), token: Some(token.clone()) };
            transcript.push((direction, token));
            alter(&mut delivery);
            delivery.token
        };
        let mut request = Vec::new();
        let begun = self.initiator.begin(self.initiator_now, &mut self.initiator_rng, &mut request).unwrap();
        let (initiator, acceptor) = self.talk(begun, request, &mut carry);
        Meeting { initiator, acceptor, transcript }
    }

    fn talk(
        &mut self,
        mut initiator: AwaitReply,
        mut request: Vec<u8>,
        carry: &mut dyn FnMut(Direction, Vec<u8>) -> Option<Vec<u8>>,
    ) -> (Result<SecurityContext, Refusal>, Result<SecurityContext, Box<Rejected>>) {
        let cut = || Refusal::new(code::CONNECTION_CUT, "the end of the connection", "no context yet");
        let mut acceptor = self.service.acceptor.begin();
        loop {
            let Some(token) = carry(Direction::ToAcceptor, request) else {
                return (Err(initiator.abandon("the connection was cut")), Err(acceptor.abandon(cut())));
            };
            let (end, sent) = match self.service.offer_to(acceptor, &token) {
                Offered::Accepted { context, sent } => (Ok(*context), sent),
                Offered::Refused { rejected, sent } => (Err(rejected), sent),
                Offered::Again { state, sent } => {
                    acceptor = state;
                    let Some(token) = carry(Direction::ToInitiator, sent) else {
                        return (
                            Err(initiator.abandon("the connection was cut")),
                            Err(acceptor.abandon(cut())),
                        );
                    };
                    request = Vec::new();
                    let step =
                        initiator.token(&token, self.initiator_now, &mut self.initiator_rng, &mut request);
                    match ended(step) {
                        Ok(state) => initiator = state,
                        Err(end) => return (end, self.last_token(acceptor, request, carry, cut())),
                    }
                    continue;
                }
            };
            let arrived = if sent.is_empty() { None } else { carry(Direction::ToInitiator, sent) };
            let initiator = match arrived {
                None => Err(initiator.abandon("the connection was cut")),
                Some(token) => {
                    let mut more = Vec::new();
                    let step =
                        initiator.token(&token, self.initiator_now, &mut self.initiator_rng, &mut more);
                    ended(step).map_or_else(
                        |end| end,
                        |state| Err(state.abandon("nobody is left to answer a retry")),
                    )
                }
            };
            return (initiator, end);
        }
    }
}

impl Pair {
    /// The acceptor's end, when the initiator is done and may have left a token behind.
    fn last_token(
        &mut self,
        acceptor: AwaitToken,
        token: Vec<u8>,
        carry: &mut dyn FnMut(Direction, Vec<u8>) -> Option<Vec<u8>>,
        cut: Refusal,
    ) -> Result<SecurityContext, Box<Rejected>> {
        let arrived = if token.is_empty() { None } else { carry(Direction::ToAcceptor, token) };
        let Some(token) = arrived else { return Err(acceptor.abandon(cut)) };
        match self.service.offer_to(acceptor, &token) {
            Offered::Accepted { context, .. } => Ok(*context),
            Offered::Refused { rejected, .. } => Err(rejected),
            Offered::Again { state, .. } => Err(state.abandon(cut)),
        }
    }
}

/// The state that goes on, or how it ended.
fn ended(step: InitiatorStep) -> Result<AwaitReply, Result<SecurityContext, Refusal>> {
    match step {
        InitiatorStep::AwaitReply(state) => Ok(state),
        InitiatorStep::Done(context) => Err(Ok(*context)),
        InitiatorStep::Rejected(refusal) => Err(Err(*refusal)),
    }
}
