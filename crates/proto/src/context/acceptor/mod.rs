//! The acceptor's handshake. A token comes to [`AwaitToken`], `dispatch` finds the mechanism that it is for, and the
//! mechanism's own file takes it to the next state: `kerberos` by way of [`CheckReplay`], `ntlm` of [`VerifyNtlm`],
//! `iakerb` of [`NeedKdc`] and then as Kerberos. All of them come together in [`Authorize`].

mod authorize;
mod dispatch;
mod iakerb;
mod kerberos;
mod ntlm;

pub use authorize::Authorize;
pub use iakerb::NeedKdc;
pub use kerberos::CheckReplay;
pub use ntlm::VerifyNtlm;

use super::candidate::Unproved;
use super::envelope::{Envelope, OwedMic, Sealed};
use super::{Facts, MAX_LEGS, SecurityContext};
use crate::error::{Refusal, code};
use crate::gss::MechChoice;
use crate::iakerb::acceptor::Relay;
use crate::krb5::keys::ServiceKeys;
use crate::ntlm::acceptor::Challenged;
use crate::policy::AcceptorPolicy;
use crate::spnego::acceptor::write_bare_reject;
use crate::spnego::message::{encode_mechs, write_hint};
use crate::time::Timestamp;
use dispatch::Begun;
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

    /// The same service with other keys.
    #[must_use]
    pub fn with_keys(&self, keys: ServiceKeys) -> Self {
        Self::with_max_legs(keys, self.0.policy.clone(), self.0.max_legs)
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

    /// The mechanisms that a client may choose among: those of the policy, Kerberos only with a key.
    #[must_use]
    pub fn mechs(&self) -> Vec<MechChoice> {
        let usable = |mech: &MechChoice| *mech != MechChoice::Kerberos || !self.keys().is_empty();
        self.policy().mechs().into_iter().filter(usable).collect()
    }

    /// Begins a handshake: the client speaks first.
    #[must_use]
    pub fn begin(&self) -> AwaitToken {
        let max_legs = self.0.max_legs;
        let handshake = Handshake { service: self.clone(), legs: 0, max_legs, skewed: None };
        AwaitToken { handshake, phase: Phase::First }
    }
}

/// What a step of an acceptor's handshake led to.
pub enum AcceptorStep {
    /// The client must send a token (another one, if an error was sent that it may answer).
    AwaitToken(AwaitToken),
    /// The replay store must be asked.
    CheckReplay(CheckReplay),
    /// The source of NTLM accounts must be asked.
    VerifyNtlm(VerifyNtlm),
    /// A KDC must be asked, on behalf of a client that reaches none.
    NeedKdc(NeedKdc),
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
    pub claimed_service: Option<String>,
    /// What was proved before it was refused, if that was enough to know the client.
    pub facts: Option<Facts>,
}

/// What goes through a handshake from its first token to its last.
struct Handshake {
    service: Acceptor,
    legs: u8,
    max_legs: u8,
    /// The skew that was told already: it is told once in a handshake.
    skewed: Option<Box<Rejected>>,
}

/// Where a handshake stands when a token is awaited.
enum Phase {
    /// Nothing came yet.
    First,
    /// Kerberos waits for its token; after SPNEGO's choice of NTLM, that does.
    Mech(Envelope),
    /// NTLM waits for its AUTHENTICATE.
    Ntlm(Envelope, Challenged),
    /// IAKERB waits for a message for a KDC, or the AP-REQ that all of them led to.
    Iakerb(Envelope, Relay),
    /// Only the initiator's MIC over the list of mechanisms is missing.
    Mic(OwedMic),
}

impl Phase {
    /// Whether SPNEGO is around the tokens.
    fn is_negotiated(&self) -> bool {
        match self {
            Self::First => false,
            Self::Mech(envelope) | Self::Ntlm(envelope, _) | Self::Iakerb(envelope, _) => {
                envelope.choice().is_some()
            }
            Self::Mic(_) => true,
        }
    }
}

/// Waits for the client's token.
pub struct AwaitToken {
    handshake: Handshake,
    phase: Phase,
}

impl AwaitToken {
    /// Takes the client's token.
    #[must_use]
    pub fn token(
        self,
        token: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> AcceptorStep {
        let Self { mut handshake, phase } = self;
        if let Err(refusal) = handshake.count_leg() {
            if phase.is_negotiated() {
                write_bare_reject(out);
            }
            return rejected(refusal, None, None);
        }
        let mut turn = Turn { now, rng, out };
        match phase {
            Phase::First => handshake.first_token(token, &mut turn),
            Phase::Mech(envelope) => handshake.later_token(envelope, Begun::Nothing, token, &mut turn),
            Phase::Ntlm(envelope, challenged) => {
                handshake.later_token(envelope, Begun::Ntlm(challenged), token, &mut turn)
            }
            Phase::Iakerb(envelope, relay) => {
                handshake.later_token(envelope, Begun::Iakerb(relay), token, &mut turn)
            }
            Phase::Mic(owed) => finished(owed.token(token, turn.out).map(Sealed::Done), handshake),
        }
    }

    /// Appends what this acceptor would take, for framings in which the client may ask before it speaks (MS-SPNG). The
    /// client then begins afresh: nothing of this is part of its handshake.
    pub fn hint(&self, out: &mut Vec<u8>) {
        let allowed = self.handshake.service.mechs();
        write_hint(&encode_mechs(&allowed.iter().map(|mech| mech.oid()).collect::<Vec<_>>()), out);
    }

    /// Ends the handshake because no token comes any more. What was refused already, and could have been tried again, is
    /// the cause if there is one; else `cause` is.
    #[must_use]
    pub fn abandon(self, cause: Refusal) -> Box<Rejected> {
        let unknown = || Box::new(Rejected { refusal: cause, claimed_service: None, facts: None });
        self.handshake.skewed.unwrap_or_else(unknown)
    }
}
impl Handshake {
    fn count_leg(&mut self) -> Result<(), Refusal> {
        let limit = self.max_legs;
        if self.legs >= limit {
            let saw = format!("token {} of one handshake", u16::from(self.legs).saturating_add(1));
            return Err(Refusal::new(code::HANDSHAKE_TOO_MANY_LEGS, saw, format!("a limit of {limit}")));
        }
        self.legs = self.legs.saturating_add(1);
        Ok(())
    }
}

/// What every step is given.
struct Turn<'a> {
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    out: &'a mut Vec<u8>,
}
fn finished(sealed: Result<Sealed, Unproved>, handshake: Handshake) -> AcceptorStep {
    match sealed {
        Ok(Sealed::Done(context)) => AcceptorStep::Done(Box::new(context)),
        Ok(Sealed::AwaitMic(owed)) => {
            AcceptorStep::AwaitToken(AwaitToken { handshake, phase: Phase::Mic(owed) })
        }
        Err(Unproved { refusal, facts }) => rejected(refusal, facts.claimed_service(), Some(facts)),
    }
}
/// Ends a handshake in which the mechanism has no word for what is wrong.
fn reject(envelope: Envelope, refusal: Refusal, turn: &mut Turn<'_>) -> AcceptorStep {
    let start = turn.out.len();
    envelope.wrap_reject(turn.out, start);
    rejected(refusal, None, None)
}

fn rejected(refusal: Refusal, claimed_service: Option<String>, facts: Option<Facts>) -> AcceptorStep {
    AcceptorStep::Rejected(Box::new(Rejected { refusal, claimed_service, facts }))
}
