use super::{MAX_LEGS, SecurityContext};
use crate::ccache::Ccache;
use crate::error::{Refusal, code};
use crate::krb5::initiator::{self as krb5, Answer, InitiateError, Sent, ServiceTicket};
use crate::krb5::msg::principal::Principal;
use crate::krb5::per_message::SequenceMode;
use crate::policy::{InitiatorPolicy, Waiver};
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// A client that is to reach one service: its ticket and its policy.
#[derive(Clone)]
pub struct Initiator {
    ticket: ServiceTicket,
    policy: Arc<InitiatorPolicy>,
    clock_offset: i64,
}

impl Initiator {
    /// Takes the ticket for `service` out of a credential cache, and what the cache knows of the KDC's clock.
    ///
    /// # Errors
    /// If it holds none that is good now.
    pub fn from_ccache(
        ccache: &Ccache,
        service: &Principal,
        policy: InitiatorPolicy,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let clock_offset = ccache.kdc_offset.unwrap_or(0);
        let ticket = ServiceTicket::select(ccache, service, &policy, now.shifted(clock_offset))?;
        Ok(Self { ticket, policy: Arc::new(policy), clock_offset })
    }

    /// The ticket that will be presented.
    #[must_use]
    pub fn ticket(&self) -> &ServiceTicket {
        &self.ticket
    }

    /// Appends the first token to `out`.
    #[must_use]
    pub fn begin(&self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) -> AwaitReply {
        let sent = krb5::begin(self.ticket.clone(), &self.policy, self.clock_offset, now, rng, out);
        AwaitReply { sent, policy: self.policy.clone(), legs: 0 }
    }
}

/// What a step of an initiator's handshake led to.
pub enum InitiatorStep {
    /// Another token was appended; the service must answer it.
    AwaitReply(AwaitReply),
    /// The service proved itself: messages may follow.
    Done(Box<SecurityContext>),
    /// The handshake is over without a context.
    Rejected(Box<Refusal>),
}

/// Waits for the service's token.
pub struct AwaitReply {
    sent: Sent,
    policy: Arc<InitiatorPolicy>,
    legs: u8,
}

impl AwaitReply {
    /// Takes the service's token.
    #[must_use]
    pub fn token(
        self,
        token: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> InitiatorStep {
        let legs = self.legs.saturating_add(1);
        if legs > MAX_LEGS {
            let saw = format!("token {legs} of one handshake");
            let refusal = Refusal::new(code::HANDSHAKE_TOO_MANY_LEGS, saw, format!("a limit of {MAX_LEGS}"));
            return InitiatorStep::Rejected(Box::new(refusal));
        }
        match self.sent.answer(token, &self.policy, now, rng, out) {
            Ok(Answer::Established(established)) => {
                let require_sealed = !self.policy.gives_up(Waiver::AllowUnsealed);
                let mut established = *established;
                if !require_sealed {
                    established.facts.waivers.push(Waiver::AllowUnsealed);
                }
                let context = SecurityContext::initiated(established, SequenceMode::Strict, require_sealed);
                InitiatorStep::Done(Box::new(context))
            }
            Ok(Answer::Retry(sent)) => InitiatorStep::AwaitReply(Self { sent, policy: self.policy, legs }),
            Err(error) => InitiatorStep::Rejected(Box::new(error.into())),
        }
    }

    /// Ends the handshake because no token comes any more: the service never proved itself. `how` says why none comes,
    /// as a noun phrase.
    #[must_use]
    pub fn abandon(self, how: &str) -> Refusal {
        let service = self.sent.ticket().service.clone();
        InitiateError::NeverProved { service, how: how.to_owned() }.into()
    }
}
