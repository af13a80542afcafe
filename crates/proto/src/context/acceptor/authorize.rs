//! The last word on a client that proved who it is: the policy's and the caller's.

use super::kerberos::tell;
use super::{AcceptorStep, Handshake, finished, rejected};
use crate::context::Facts;
use crate::context::candidate::Candidate;
use crate::context::envelope::Envelope;
use crate::error::Refusal;
use crate::error::code::krb;
use crate::krb5::acceptor::{self as krb5, Authentic};
use crate::ntlm::acceptor::Established as NtlmEstablished;
use crate::policy::Waiver;
use crate::time::Timestamp;
use rand_core::CryptoRng;

/// Waits for the policy's and the caller's word on a client that proved who it is.
pub struct Authorize {
    pub(super) handshake: Handshake,
    pub(super) envelope: Envelope,
    pub(super) peer_mic: Option<Vec<u8>>,
    pub(super) facts: Facts,
    pub(super) proved: Proved,
}

/// What a mechanism has proved of the client.
pub(super) enum Proved {
    Kerberos(Box<Authentic>),
    Ntlm(Box<NtlmEstablished>),
}

impl Authorize {
    /// Who it is, and what is known.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Lets the client in.
    #[must_use]
    pub fn admit(self, now: Timestamp, rng: &mut dyn CryptoRng, out: &mut Vec<u8>) -> AcceptorStep {
        let Self { handshake, envelope, peer_mic, facts, proved } = self;
        let policy = handshake.service.policy();
        let require_sealed = !policy.gives_up(Waiver::AllowUnsealed);
        let start = out.len();
        let (candidate, list_demanded) = match proved {
            Proved::Ntlm(established) => (Candidate::accepted_by_ntlm(*established, require_sealed), true),
            Proved::Kerberos(authentic) => {
                if let Err(error) = authentic.check_times(policy, now) {
                    tell(&error, authentic.asked(), false, now, out);
                    envelope.wrap_reject(out, start);
                    return rejected(error.into(), facts.claimed_service(), Some(facts));
                }
                (Candidate::accepted(authentic.establish(rng, out), require_sealed), false)
            }
        };
        finished(envelope.conclude(candidate, peer_mic.as_deref(), list_demanded, out, start), handshake)
    }

    /// Turns the client away, for a reason that only this end's log learns.
    #[must_use]
    pub fn refuse(self, refusal: Refusal, now: Timestamp, out: &mut Vec<u8>) -> AcceptorStep {
        let start = out.len();
        if let Proved::Kerberos(authentic) = &self.proved {
            // Whatever the program's reason is, the protocol has one word for it.
            krb5::krb_error(krb::KRB_ERR_GENERIC, authentic.asked(), false, now, out);
        }
        self.envelope.wrap_reject(out, start);
        rejected(refusal, self.facts.claimed_service(), Some(self.facts))
    }
}
