//! Kerberos: an AP-REQ, and the replay store's word on it.

use super::authorize::Proved;
use super::{AcceptorStep, Authorize, AwaitToken, Handshake, Phase, Rejected, Turn, rejected};
use crate::context::Facts;
use crate::context::envelope::Envelope;
use crate::error::Explain;
use crate::gss::framing::Mech;
use crate::krb5::acceptor::{self as krb5, AcceptError, Asked, Request, Unverified, Verified};
use crate::krb5::replay::{Presented, ReplayVerdict};
use crate::time::Timestamp;

impl Handshake {
    /// A token of Kerberos: an AP-REQ.
    pub(super) fn kerberos_token(
        self,
        envelope: Envelope,
        token: &[u8],
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        self.ap_req(envelope, Request::parse(token), peer_mic, turn)
    }

    /// An AP-REQ, if it is one.
    pub(super) fn ap_req(
        self,
        envelope: Envelope,
        request: Result<Request<'_>, AcceptError>,
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        let start = turn.out.len();
        let request = match request {
            Ok(request) => request,
            Err(error) => {
                envelope.wrap_reject(turn.out, start);
                return rejected(error.into(), None, None);
            }
        };
        match request.verify(self.service.keys(), self.service.policy(), turn.now) {
            Ok(verified) => {
                let peer_mic = peer_mic.map(<[u8]>::to_vec);
                AcceptorStep::CheckReplay(CheckReplay { handshake: self, envelope, peer_mic, verified })
            }
            Err(Unverified { error, facts }) => {
                tell(&error, request.asked(), false, turn.now, turn.out);
                envelope.wrap_reject(turn.out, start);
                let claimed_service = request.claimed_service().to_string();
                rejected(error.into(), Some(claimed_service), facts.map(Facts::Kerberos))
            }
        }
    }
}

/// Waits for the replay store's answer.
pub struct CheckReplay {
    handshake: Handshake,
    envelope: Envelope,
    peer_mic: Option<Vec<u8>>,
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
        let Self { mut handshake, mut envelope, peer_mic, verified } = self;
        let known = verified.facts().clone();
        let mech = verified.asked().mech;
        let facts = Facts::Kerberos(known.clone());
        let start = out.len();
        let error = match verified.judge(verdict, handshake.service.policy(), now) {
            Ok(authentic) => {
                let proved = Proved::Kerberos(Box::new(authentic));
                return AcceptorStep::Authorize(Authorize { handshake, envelope, peer_mic, facts, proved });
            }
            Err(error) => error,
        };
        // By IAKERB the client has its clock from our KDC, so a skew is no accident.
        let may_retry = handshake.skewed.is_none() && mech != Mech::Iakerb;
        let retry = matches!(error, AcceptError::Skew { .. }) && may_retry;
        tell(&error, Asked { mech, service: &known.claimed_service }, retry, now, out);
        let claimed_service = facts.claimed_service();
        let ended = Box::new(Rejected { refusal: error.into(), claimed_service, facts: Some(facts) });
        if !retry {
            envelope.wrap_reject(out, start);
            return AcceptorStep::Rejected(ended);
        }
        envelope.wrap_pending(out, start);
        handshake.skewed = Some(ended);
        AcceptorStep::AwaitToken(AwaitToken { handshake, phase: Phase::Mech(envelope) })
    }
}
/// Tells the peer what its protocol has a word for, and no more (DESIGN rule 2).
pub(super) fn tell(error: &AcceptError, asked: Asked<'_>, retry: bool, now: Timestamp, out: &mut Vec<u8>) {
    if let Some(error_code) = error.code().krb_error() {
        krb5::krb_error(error_code, asked, retry, now, out);
    }
}
