use super::candidate::{Candidate, Unproved, by_ntlm};
use super::envelope::{Envelope, OwedMic, Sealed};
use super::{Facts, MAX_LEGS, SecurityContext};
use crate::error::code::krb;
use crate::error::{Explain, Refusal, code};
use crate::gss::MechChoice;
use crate::gss::framing::{Framed, FramingError, Mech, TokenId};
use crate::iakerb::acceptor::{KdcWish, Relay, Wish};
use crate::iakerb::{self, IakerbError};
use crate::krb5::acceptor::{self as krb5, AcceptError, Asked, Authentic, Request, Unverified, Verified};
use crate::krb5::keys::ServiceKeys;
use crate::krb5::replay::{Presented, ReplayVerdict};
use crate::ntlm::acceptor::{Challenged, Claimed, Established as NtlmEstablished};
use crate::ntlm::accounts::{Verdict, VerifyRequest};
use crate::ntlm::messages::is_ntlm;
use crate::policy::{AcceptorPolicy, Waiver};
use crate::spnego::SpnegoError;
use crate::spnego::acceptor::{Carried, Negotiation, write_bare_reject};
use crate::spnego::message::{NegotiationToken, encode_mechs, is_spnego, write_hint};
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

    fn first_token(self, token: &[u8], turn: &mut Turn<'_>) -> AcceptorStep {
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

    fn later_token(
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

    /// A token of IAKERB: a message for a KDC, or the AP-REQ.
    fn iakerb_token(
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

    /// A token of Kerberos: an AP-REQ.
    fn kerberos_token(
        self,
        envelope: Envelope,
        token: &[u8],
        peer_mic: Option<&[u8]>,
        turn: &mut Turn<'_>,
    ) -> AcceptorStep {
        self.ap_req(envelope, Request::parse(token), peer_mic, turn)
    }

    /// An AP-REQ, if it is one.
    fn ap_req(
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

    /// A token of NTLM: NEGOTIATE, or after our CHALLENGE the AUTHENTICATE.
    fn ntlm_token(
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
                let (bindings, required) =
                    (policy.channel_bindings.as_ref(), policy.require_channel_bindings);
                match challenged.authenticate(token, bindings, required, &service.accepted_spns) {
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

/// What a mechanism has done by the time of its next token.
enum Begun {
    Nothing,
    Ntlm(Challenged),
    Iakerb(Relay),
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
fn is_iakerb(token: &[u8]) -> bool {
    Framed::open(token).is_ok_and(|framed| framed.mech == Mech::Iakerb)
}

/// What every step is given.
struct Turn<'a> {
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    out: &'a mut Vec<u8>,
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

/// Waits for the policy's and the caller's word on a client that proved who it is.
pub struct Authorize {
    handshake: Handshake,
    envelope: Envelope,
    peer_mic: Option<Vec<u8>>,
    facts: Facts,
    proved: Proved,
}

/// What a mechanism has proved of the client.
enum Proved {
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

fn finished(sealed: Result<Sealed, Unproved>, handshake: Handshake) -> AcceptorStep {
    match sealed {
        Ok(Sealed::Done(context)) => AcceptorStep::Done(Box::new(context)),
        Ok(Sealed::AwaitMic(owed)) => {
            AcceptorStep::AwaitToken(AwaitToken { handshake, phase: Phase::Mic(owed) })
        }
        Err(Unproved { refusal, facts }) => rejected(refusal, facts.claimed_service(), Some(facts)),
    }
}

/// Why a first token that is no SPNEGO is refused where nothing else is taken.
fn raw_refused(token: &[u8]) -> Refusal {
    let what = match Request::parse(token) {
        Ok(_) => "a bare AP-REQ".to_owned(),
        Err(error) => error.saw().into_owned(),
    };
    FramingError::OtherMech(what).into()
}

/// Tells the peer what its protocol has a word for, and no more (DESIGN rule 2).
fn tell(error: &AcceptError, asked: Asked<'_>, retry: bool, now: Timestamp, out: &mut Vec<u8>) {
    if let Some(error_code) = error.code().krb_error() {
        krb5::krb_error(error_code, asked, retry, now, out);
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
