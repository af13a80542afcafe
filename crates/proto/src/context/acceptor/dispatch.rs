//! Which mechanism a token is for: what its first bytes are, or what SPNEGO chose.

use super::iakerb::is_iakerb;
use super::{AcceptorStep, AwaitToken, Handshake, Phase, Turn, rejected};
use crate::context::envelope::Envelope;
use crate::error::{Explain, Refusal};
use crate::gss::MechChoice;
use crate::gss::framing::FramingError;
use crate::iakerb::acceptor::Relay;
use crate::krb5::acceptor::Request;
use crate::ntlm::acceptor::Challenged;
use crate::ntlm::messages::is_ntlm;
use crate::spnego::SpnegoError;
use crate::spnego::acceptor::{Carried, Negotiation, write_bare_reject};
use crate::spnego::message::{NegotiationToken, is_spnego};

impl Handshake {
    pub(super) fn first_token(self, token: &[u8], turn: &mut Turn<'_>) -> AcceptorStep {
        if is_spnego(token) {
            return self.negotiate(token, turn);
        }
        if is_ntlm(token) {
            return match self.service.policy().ntlm() {
                Some(_) => self.ntlm_token(Envelope::Raw, None, token, None, turn),
                None => rejected(SpnegoError::BareNtlm.into(), None, None),
            };
        }
        let policy = self.service.policy();
        if !policy.accept_raw_kerberos {
            return rejected(raw_refused(token), None, None);
        }
        if policy.iakerb.is_some() && is_iakerb(token) {
            return self.iakerb_token(Envelope::Raw, Relay::default(), token, None, turn);
        }
        self.kerberos_token(Envelope::Raw, token, None, turn)
    }

    /// A first message of SPNEGO: choose, and give the chosen mechanism its token if that came along.
    fn negotiate(self, token: &[u8], turn: &mut Turn<'_>) -> AcceptorStep {
        let init = match NegotiationToken::parse(token) {
            Ok(NegotiationToken::Init(init)) => init,
            Ok(NegotiationToken::Resp(_)) => {
                let error = SpnegoError::Unexpected("an answer (NegTokenResp) as the first message");
                write_bare_reject(turn.out);
                return rejected(error.into(), None, None);
            }
            Err(error) => {
                write_bare_reject(turn.out);
                return rejected(SpnegoError::from(error).into(), None, None);
            }
        };
        match Negotiation::begin(&init, &self.service.mechs()) {
            Err(error) => {
                write_bare_reject(turn.out);
                rejected(error.into(), None, None)
            }
            Ok((negotiation, Carried { mech_token: Some(mech_token), mic })) => {
                self.mech_token(Envelope::Spnego(negotiation), Begun::Nothing, mech_token, mic, turn)
            }
            Ok((negotiation, Carried { mech_token: None, .. })) => {
                let mut envelope = Envelope::Spnego(negotiation);
                let start = turn.out.len();
                envelope.wrap_pending(turn.out, start);
                AcceptorStep::AwaitToken(AwaitToken { handshake: self, phase: Phase::Mech(envelope) })
            }
        }
    }

    pub(super) fn later_token(
        self,
        envelope: Envelope,
        begun: Begun,
        token: &[u8],
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        let error = match envelope.open(token) {
            Ok(Carried { mech_token: Some(mech_token), mic }) => {
                return self.mech_token(envelope, begun, mech_token, mic, turn);
            }
            Ok(Carried { mech_token: None, .. }) => {
                SpnegoError::Unexpected("a mechListMIC before the mechanism's token")
            }
            Err(error) => error,
        };
        let start = turn.out.len();
        envelope.wrap_reject(turn.out, start);
        rejected(error.into(), None, None)
    }

    fn mech_token(
        self,
        envelope: Envelope,
        begun: Begun,
        token: &[u8],
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        match (begun, envelope.choice()) {
            (Begun::Ntlm(challenged), _) => {
                self.ntlm_token(envelope, Some(challenged), token, peer_mic, turn)
            }
            (Begun::Iakerb(relay), _) => self.iakerb_token(envelope, relay, token, peer_mic, turn),
            (Begun::Nothing, Some(MechChoice::Ntlm)) => {
                self.ntlm_token(envelope, None, token, peer_mic, turn)
            }
            (Begun::Nothing, Some(MechChoice::Iakerb)) => {
                self.iakerb_token(envelope, Relay::default(), token, peer_mic, turn)
            }
            (Begun::Nothing, Some(MechChoice::Kerberos) | None) => {
                self.kerberos_token(envelope, token, peer_mic, turn)
            }
        }
    }
}

/// What a mechanism has done by the time of its next token.
pub(super) enum Begun {
    Nothing,
    Ntlm(Challenged),
    Iakerb(Relay),
}

/// Why a first token that is no SPNEGO is refused where nothing else is taken.
fn raw_refused(token: &[u8]) -> Refusal {
    let what = match Request::parse(token) {
        Ok(_) => "a bare AP-REQ".to_owned(),
        Err(error) => error.saw().into_owned(),
    };
    FramingError::OtherMech(what).into()
}
