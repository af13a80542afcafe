use super::{MAX_LEGS, SecurityContext};
use crate::error::{Code, Explain, Refusal, code};
use crate::krb5::acceptor::{self as krb5, AcceptError, Asked, Authentic, Request, Unverified, Verified};
use crate::krb5::facts::Facts;
use crate::krb5::keys::ServiceKeys;
use crate::krb5::msg::principal::Principal;
use crate::krb5::per_message::SequenceMode;
use crate::krb5::replay::{Presented, ReplayVerdict};
use crate::policy::{AcceptorPolicy, Waiver};
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// A service that accepts clients: its keys and its policy. Cheap to clone; shared by all its handshakes.
#[derive(Clone)]
pub struct Acceptor(Arc<Service>);

struct Service {
    keys: ServiceKeys,
    policy: AcceptorPolicy,
    max_legs: u8,
}

impl Acceptor {
    /// A service with these keys.
    #[must_use]
    pub fn new(keys: ServiceKeys, policy: AcceptorPolicy) -> Self {
        Self(Arc::new(Service { keys, policy, max_legs: MAX_LEGS }))
    }

    /// The same with another bound on the tokens that a client may send in one handshake, 1 to [`MAX_LEGS`].
    #[must_use]
    pub fn with_max_legs(keys: ServiceKeys, policy: AcceptorPolicy, max_legs: u8) -> Self {
        Self(Arc::new(Service { keys, policy, max_legs: max_legs.clamp(1, MAX_LEGS) }))
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &ServiceKeys {
        &self.0.keys
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &AcceptorPolicy {
        &self.0.policy
    }

    /// Begins a handshake: the client speaks first.
    #[must_use]
    pub fn begin(&self) -> AwaitToken {
        AwaitToken { service: self.clone(), legs: 0, skewed: None }
    }
}

/// What a step of an acceptor's handshake led to.
pub enum AcceptorStep {
    /// The client must send a token (another one, if an error was sent that it may answer).
    AwaitToken(AwaitToken),
    /// The replay store must be asked.
    CheckReplay(CheckReplay),
    /// The caller must decide whether this client is welcome.
    Authorize(Authorize),
    /// The handshake is over: what was appended is its last token, and messages may follow.
    Done(Box<SecurityContext>),
    /// The handshake is over: what was appended, if anything, is the error that the protocol has for it.
    Rejected(Box<Rejected>),
}

/// An end without a context.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Why.
    pub refusal: Refusal,
    /// The service that the client's ticket names, if it sent one.
    pub claimed_service: Option<Principal>,
    /// What was proved before it was refused, if that was enough to know the client.
    pub facts: Option<Facts>,
}

/// Waits for the client's token.
pub struct AwaitToken {
    service: Acceptor,
    legs: u8,
    /// The skew that was told already: it is told once in a handshake.
    skewed: Option<Box<Rejected>>,
}

impl AwaitToken {
    /// Takes the client's token.
    #[must_use]
    pub fn token(mut self, token: &[u8], now: Timestamp, out: &mut Vec<u8>) -> AcceptorStep {
        if self.legs >= self.service.0.max_legs {
            let saw = format!("token {} of one handshake", u16::from(self.legs).saturating_add(1));
            let have = format!("a limit of {}", self.service.0.max_legs);
            return rejected(Refusal::new(code::HANDSHAKE_TOO_MANY_LEGS, saw, have), None, None);
        }
        self.legs = self.legs.saturating_add(1);
        let request = match Request::parse(token) {
            Ok(request) => request,
            Err(error) => return rejected(error.into(), None, None),
        };
        match request.verify(self.service.keys(), self.service.policy(), now) {
            Ok(verified) => AcceptorStep::CheckReplay(CheckReplay { handshake: self, verified }),
            Err(Unverified { error, facts }) => {
                refuse_to_peer(&error, request.asked(), false, now, out);
                rejected(error.into(), Some(request.claimed_service().clone()), facts)
            }
        }
    }

    /// Ends the handshake because no token comes any more. What was refused already, and could have been tried again, is
    /// the cause if there is one; else `cause` is.
    #[must_use]
    pub fn abandon(self, cause: Refusal) -> Box<Rejected> {
        self.skewed
            .unwrap_or_else(|| Box::new(Rejected { refusal: cause, claimed_service: None, facts: None }))
    }
}

/// Waits for the replay store's answer.
pub struct CheckReplay {
    handshake: AwaitToken,
    verified: Verified,
}

impl CheckReplay {
    /// What the store must be asked.
    #[must_use]
    pub fn presented(&self) -> &Presented {
        self.verified.presented()
    }

    /// Takes the store's answer.
    #[must_use]
    pub fn verdict(self, verdict: ReplayVerdict, now: Timestamp, out: &mut Vec<u8>) -> AcceptorStep {
        let Self { mut handshake, verified } = self;
        let facts = verified.facts().clone();
        let mech = verified.asked().mech;
        match verified.judge(verdict, handshake.service.policy(), now) {
            Ok(authentic) => AcceptorStep::Authorize(Authorize { service: handshake.service, authentic }),
            Err(error) => {
                let retry = matches!(error, AcceptError::Skew { .. }) && handshake.skewed.is_none();
                let asked = Asked { mech, service: &facts.claimed_service };
                refuse_to_peer(&error, asked, retry, now, out);
                let claimed = Some(facts.claimed_service.clone());
                let ended = Box::new(Rejected {
                    refusal: error.into(),
                    claimed_service: claimed,
                    facts: Some(facts),
                });
                if !retry {
                    return AcceptorStep::Rejected(ended);
                }
                handshake.skewed = Some(ended);
                AcceptorStep::AwaitToken(handshake)
            }
        }
    }
}

/// Waits for the policy's and the caller's word on a client that proved who it is.
pub struct Authorize {
    service: Acceptor,
    authentic: Authentic,
}

impl Authorize {
    /// Who it is, and what is known.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.authentic.facts()
    }

    /// Lets the client in.
    #[must_use]
    pub fn admit(self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) -> AcceptorStep {
        let Self { service, authentic } = self;
        if let Err(error) = authentic.check_times(service.policy(), now) {
            refuse_to_peer(&error, authentic.asked(), false, now, out);
            return rejected_known(error.into(), authentic.into_facts());
        }
        let mut established = authentic.establish(rng, out);
        let require_sealed = !service.policy().gives_up(Waiver::AllowUnsealed);
        if !require_sealed {
            established.facts.waivers.push(Waiver::AllowUnsealed);
        }
        let context = SecurityContext::accepted(established, SequenceMode::Strict, require_sealed);
        AcceptorStep::Done(Box::new(context))
    }

    /// Turns the client away, for a reason that only this end's log learns.
    #[must_use]
    pub fn refuse(self, refusal: Refusal, now: Timestamp, out: &mut Vec<u8>) -> AcceptorStep {
        tell(refusal.code(), self.authentic.asked(), false, now, out);
        rejected_known(refusal, self.authentic.into_facts())
    }
}

fn rejected_known(refusal: Refusal, facts: Facts) -> AcceptorStep {
    rejected(refusal, Some(facts.claimed_service.clone()), Some(facts))
}

fn refuse_to_peer(error: &AcceptError, asked: Asked<'_>, retry: bool, now: Timestamp, out: &mut Vec<u8>) {
    tell(error.code(), asked, retry, now, out);
}

/// Tells the peer what its protocol has a word for, and no more (DESIGN rule 2).
fn tell(code: Code, asked: Asked<'_>, retry: bool, now: Timestamp, out: &mut Vec<u8>) {
    if let Some(error_code) = code.krb_error() {
        krb5::krb_error(error_code, asked, retry, now, out);
    }
}

fn rejected(refusal: Refusal, claimed_service: Option<Principal>, facts: Option<Facts>) -> AcceptorStep {
    AcceptorStep::Rejected(Box::new(Rejected { refusal, claimed_service, facts }))
}
