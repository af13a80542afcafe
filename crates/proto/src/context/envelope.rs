//! What goes around a mechanism's tokens at an acceptor: nothing, or SPNEGO.

use super::SecurityContext;
use super::candidate::{Candidate, ListProof, Unproved};
use crate::gss::MechChoice;
use crate::spnego::SpnegoError;
use crate::spnego::acceptor::{AwaitMic, Carried, Concluded, Negotiation, write_bare_reject};

/// The wrapping that the initiator's first token came in, and so every later one must.
pub(super) enum Envelope {
    /// The mechanism's own framing.
    Raw,
    /// SPNEGO.
    Spnego(Negotiation),
}

/// What the end of the mechanism's part led to.
pub(super) enum Sealed {
    Done(SecurityContext),
    AwaitMic(OwedMic),
}

/// A context that waits for the initiator's MIC over the list of mechanisms.
pub(super) struct OwedMic {
    pending: AwaitMic,
    candidate: Candidate,
}

impl Envelope {
    /// The mechanism that was negotiated, if one was.
    pub(super) fn choice(&self) -> Option<MechChoice> {
        match self {
            Self::Raw => None,
            Self::Spnego(negotiation) => Some(negotiation.choice()),
        }
    }

    /// What a later token carries for the mechanism.
    pub(super) fn open<'t>(&self, token: &'t [u8]) -> Result<Carried<'t>, SpnegoError> {
        match self {
            Self::Raw => Ok(Carried { mech_token: Some(token), mic: None }),
            Self::Spnego(negotiation) => negotiation.later(token),
        }
    }

    /// Wraps what the mechanism appended to `out` from `start` on, which the initiator is to answer.
    pub(super) fn wrap_pending(&mut self, out: &mut Vec<u8>, start: usize) {
        if let Self::Spnego(negotiation) = self {
            let mech_token = out.split_off(start);
            negotiation.write_pending(present(&mech_token), out);
        }
    }

    /// Wraps what the mechanism appended to `out` from `start` on as the last word of a handshake that failed.
    pub(super) fn wrap_reject(self, out: &mut Vec<u8>, start: usize) {
        if let Self::Spnego(mut negotiation) = self {
            let mech_error = out.split_off(start);
            negotiation.write_reject(present(&mech_error), out);
        }
    }

    /// Wraps the mechanism's last token, appended to `out` from `start` on, and proves the list of mechanisms, which
    /// the mechanism may demand even where SPNEGO does not. A failure replaces the token by a rejection.
    pub(super) fn conclude(
        self,
        mut candidate: Candidate,
        peer_mic: Option<&[u8]>,
        list_demanded: bool,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<Sealed, Unproved> {
        let Self::Spnego(negotiation) = self else {
            return Ok(Sealed::Done(candidate.prove(ListProof::NotNegotiated)));
        };
        let mech_token = out.split_off(start);
        match negotiation.conclude(&mech_token, peer_mic, list_demanded, &mut candidate, out) {
            Ok(Concluded::Done(proof)) => Ok(Sealed::Done(candidate.prove(ListProof::Negotiated(proof)))),
            Ok(Concluded::AwaitMic(pending)) => Ok(Sealed::AwaitMic(OwedMic { pending, candidate })),
            Err(error) => Err(unproved(&error, candidate, out)),
        }
    }
}

impl OwedMic {
    /// Takes the initiator's last message.
    pub(super) fn token(self, token: &[u8], out: &mut Vec<u8>) -> Result<SecurityContext, Unproved> {
        let Self { pending, mut candidate } = self;
        match pending.token(token, &mut candidate) {
            Ok(proof) => Ok(candidate.prove(ListProof::Negotiated(proof))),
            Err(error) => Err(unproved(&error, candidate, out)),
        }
    }
}

fn unproved(error: &SpnegoError, candidate: Candidate, out: &mut Vec<u8>) -> Unproved {
    write_bare_reject(out);
    Unproved { refusal: error.clone().into(), facts: candidate.into_facts() }
}

fn present(token: &[u8]) -> Option<&[u8]> {
    Some(token).filter(|token| !token.is_empty())
}
