//! IAKERB: messages that are carried to a KDC and back, until the AP-REQ comes.

use super::{AcceptorStep, AwaitToken, Handshake, Phase, Turn, reject, rejected};
use crate::context::envelope::Envelope;
use crate::error::Refusal;
use crate::error::code::krb;
use crate::gss::framing::{Framed, Mech, TokenId};
use crate::iakerb::acceptor::{KdcWish, Relay, Wish};
use crate::iakerb::{self, IakerbError};
use crate::krb5::acceptor::Request;
use crate::time::Timestamp;

impl Handshake {
    /// A token of IAKERB: a message for a KDC, or the AP-REQ.
    pub(super) fn iakerb_token(
        mut self,
        envelope: Envelope,
        relay: Relay,
        token: &[u8],
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        // The messages for KDCs, the AP-REQ, and with SPNEGO a MIC.
        self.max_legs = iakerb::MAX_LEGS.saturating_add(2);
        let framed = match Framed::open(token) {
            Ok(framed) => framed,
            Err(error) => return reject(envelope, error.into(), turn),
        };
        match (framed.mech, framed.token_id) {
            (Mech::Iakerb, TokenId::ApReq) => {
                self.ap_req(envelope, Request::by_iakerb(framed, relay.transcript()), peer_mic, turn)
            }
            (Mech::Iakerb, TokenId::IakerbProxy) => self.carry(envelope, relay, token, framed.body, turn),
            (_, other) => reject(envelope, IakerbError::Token(other).into(), turn),
        }
    }

    /// A message for a KDC, or the question for our realm.
    fn carry(
        self,
        mut envelope: Envelope,
        mut relay: Relay,
        token: &[u8],
        body: &[u8],
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        let Some(policy) = &self.service.policy().iakerb else {
            let error = IakerbError::Unexpected("nothing that this service carries for anybody");
            return reject(envelope, error.into(), turn);
        };
        let start = turn.out.len();
        let error = match relay.wish(token, body, policy) {
            Ok(Wish::Kdc(wish)) => {
                return AcceptorStep::NeedKdc(NeedKdc { handshake: self, envelope, relay, wish });
            }
            Ok(Wish::Realm) => {
                let realm = policy.realms.first().map_or("", String::as_str);
                match relay.answer(realm, &[], turn.out) {
                    Ok(()) => {
                        envelope.wrap_pending(turn.out, start);
                        let phase = Phase::Iakerb(envelope, relay);
                        return AcceptorStep::AwaitToken(AwaitToken { handshake: self, phase });
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if let IakerbError::Realm { realm, .. } = &error {
            let error_code = krb::KRB_AP_ERR_IAKERB_KDC_NOT_FOUND;
            iakerb::acceptor::write_failure(realm, error_code, turn.now, turn.out);
        }
        envelope.wrap_reject(turn.out, start);
        rejected(error.into(), None, None)
    }
}

/// Waits for a KDC's answer to a client's message.
pub struct NeedKdc {
    handshake: Handshake,
    envelope: Envelope,
    relay: Relay,
    wish: KdcWish,
}

impl NeedKdc {
    /// What is to be carried where. It is a request for a ticket of one of the policy's realms.
    #[must_use]
    pub fn wish(&self) -> &KdcWish {
        &self.wish
    }

    /// Takes the KDC's answer, whatever it says; or that none came, which ends the handshake.
    #[must_use]
    pub fn reply(self, reply: Result<&[u8], Refusal>, now: Timestamp, out: &mut Vec<u8>) -> AcceptorStep {
        let Self { handshake, mut envelope, mut relay, wish } = self;
        let start = out.len();
        let answered = reply.and_then(|message| Ok(relay.answer(&wish.realm, message, out)?));
        match answered {
            Ok(()) => {
                envelope.wrap_pending(out, start);
                AcceptorStep::AwaitToken(AwaitToken { handshake, phase: Phase::Iakerb(envelope, relay) })
            }
            Err(refusal) => {
                let error_code = krb::KRB_AP_ERR_IAKERB_KDC_NO_RESPONSE;
                iakerb::acceptor::write_failure(&wish.realm, error_code, now, out);
                envelope.wrap_reject(out, start);
                rejected(refusal, None, None)
            }
        }
    }
}

/// Whether this is framed as a token of IAKERB.
pub(super) fn is_iakerb(token: &[u8]) -> bool {
    Framed::open(token).is_ok_and(|framed| framed.mech == Mech::Iakerb)
}
