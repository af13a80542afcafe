//! NTLM: NEGOTIATE, AUTHENTICATE, and the word of the source of accounts.

use super::authorize::Proved;
use super::{AcceptorStep, Authorize, AwaitToken, Handshake, Phase, Turn, rejected};
use crate::context::candidate::by_ntlm;
use crate::context::envelope::Envelope;
use crate::ntlm::acceptor::{Challenged, Claimed};
use crate::ntlm::accounts::{Verdict, VerifyRequest};

impl Handshake {
    /// A token of NTLM: NEGOTIATE, or after our CHALLENGE the AUTHENTICATE.
    pub(super) fn ntlm_token(
        self,
        mut envelope: Envelope,
        challenged: Option<Challenged>,
        token: &[u8],
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        let policy = self.service.policy();
        let service = policy.ntlm().cloned().unwrap_or_default();
        let start = turn.out.len();
        let refused = match challenged {
            None => match Challenged::begin(token, &service.names, turn.now, turn.rng, turn.out) {
                Ok(challenged) => {
                    envelope.wrap_pending(turn.out, start);
                    let phase = Phase::Ntlm(envelope, challenged);
                    return AcceptorStep::AwaitToken(AwaitToken { handshake: self, phase });
                }
                Err(error) => error,
            },
            Some(challenged) => {
                let required = policy.require_channel_bindings;
                match challenged.authenticate(
                    token,
                    &policy.channel_bindings,
                    required,
                    &service.accepted_spns,
                ) {
                    Ok(claimed) => {
                        let peer_mic = peer_mic.map(<[u8]>::to_vec);
                        return AcceptorStep::VerifyNtlm(VerifyNtlm {
                            handshake: self,
                            envelope,
                            peer_mic,
                            claimed,
                        });
                    }
                    Err(error) => error,
                }
            }
        };
        envelope.wrap_reject(turn.out, start);
        rejected(refused.into(), None, None)
    }
}

/// Waits for the answer of the source of NTLM accounts.
pub struct VerifyNtlm {
    handshake: Handshake,
    envelope: Envelope,
    peer_mic: Option<Vec<u8>>,
    claimed: Claimed,
}

impl VerifyNtlm {
    /// What the source must be asked.
    #[must_use]
    pub fn request(&self) -> &VerifyRequest {
        self.claimed.request()
    }

    /// Takes the source's answer.
    #[must_use]
    pub fn verdict(self, verdict: Verdict, out: &mut Vec<u8>) -> AcceptorStep {
        let Self { handshake, envelope, peer_mic, claimed } = self;
        match claimed.judge(verdict) {
            Ok(established) => {
                let facts = by_ntlm(established.facts.clone());
                let proved = Proved::Ntlm(Box::new(established));
                AcceptorStep::Authorize(Authorize { handshake, envelope, peer_mic, facts, proved })
            }
            Err(error) => {
                let start = out.len();
                envelope.wrap_reject(out, start);
                rejected(error.into(), None, None)
            }
        }
    }
}
