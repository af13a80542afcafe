//! Accepting an AP-REQ (RFC 4120 section 3.2.3, RFC 4121 section 4.1), as stages that only one after the other can be
//! reached: [`Request`] (parsed) → [`Verified`] (opened and checked) → [`Authentic`] (not a replay, clocks agree) →
//! [`Established`] (AP-REP made).

mod authenticator;
mod checksum;
mod error;
mod reply;
mod ticket;

pub use authenticator::AuthenticatorOpened;
pub use checksum::{BindingsCompared, ConversationCompared};
pub use error::{AcceptError, KeyPart};
pub use reply::{Asked, Established, krb_error};
pub use ticket::TicketOpened;

use super::facts::Facts;
use super::keys::ServiceKeys;
use super::msg::ap_req::{ApOptions, ApReq};
use super::msg::principal::Principal;
use super::replay::{Presented, ReplayVerdict};
use super::transcript::Transcript;
use crate::crypto::{Etype, Key};
use crate::gss::framing::{Framed, FramingError, Mech, TokenId};
use crate::policy::{AcceptorPolicy, Waiver};
use crate::time::Timestamp;

/// An AP-REQ that parsed, nothing of it believed yet.
pub struct Request<'t> {
    mech: Mech,
    ap_req: ApReq<'t>,
    service: Principal,
    transcript: Option<&'t Transcript>,
}

impl<'t> Request<'t> {
    /// Opens the GSS frame and reads the AP-REQ in it.
    ///
    /// # Errors
    /// If `token` is anything else. A peer is told nothing of such an error.
    pub fn parse(token: &'t [u8]) -> Result<Self, AcceptError> {
        let framed = Framed::open(token)?;
        if framed.mech == Mech::Iakerb {
            return Err(FramingError::OtherMech(framed.mech.to_string()).into());
        }
        Self::framed(framed, None)
    }

    /// Reads an AP-REQ of IAKERB, out of its frame, that must prove what was said before it.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn by_iakerb(framed: Framed<'t>, transcript: &'t Transcript) -> Result<Self, AcceptError> {
        Self::framed(framed, Some(transcript))
    }

    fn framed(framed: Framed<'t>, transcript: Option<&'t Transcript>) -> Result<Self, AcceptError> {
        let Framed { mech, token_id, body } = framed;
        if token_id != TokenId::ApReq {
            return Err(AcceptError::NotApReq(token_id));
        }
        let ap_req = ApReq::parse(body).map_err(AcceptError::ApReq)?;
        let service = ap_req.ticket.sname.to_principal(ap_req.ticket.realm);
        Ok(Self { mech, ap_req, service, transcript })
    }

    /// The service that the ticket names: a claim.
    #[must_use]
    pub fn claimed_service(&self) -> &Principal {
        &self.service
    }

    /// What a KRB-ERROR repeats.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked { mech: self.mech, service: &self.service }
    }

    /// Opens ticket and authenticator and makes every check that needs neither memory nor the outside.
    ///
    /// # Errors
    /// The first check that fails. The clock is looked at last, and for what can never be accepted any more: that takes no
    /// room in the replay store. An authenticator whose time is yet to come must be remembered, or it could be presented
    /// again then: [`Verified::judge`] tells that it is too early.
    pub fn verify(
        &self,
        keys: &ServiceKeys,
        policy: &AcceptorPolicy,
        now: Timestamp,
    ) -> Result<Verified, Unverified> {
        let verified = self.verify_at_any_time(keys, policy)?;
        let Presented { ctime, .. } = verified.presented;
        match ticket::check_not_over(&verified.facts, ctime, policy, now) {
            Ok(()) => Ok(verified),
            Err(error) => Err(Unverified { error, facts: Some(verified.facts) }),
        }
    }

    fn verify_at_any_time(
        &self,
        keys: &ServiceKeys,
        policy: &AcceptorPolicy,
    ) -> Result<Verified, AcceptError> {
        let claimed = &self.service;
        if self.ap_req.ap_options.contains(ApOptions::USE_SESSION_KEY) {
            return Err(AcceptError::UserToUser);
        }
        let ticket = ticket::open(claimed, &self.ap_req.ticket.enc_part, keys, policy)?;
        let service = ticket.key.principal().clone();
        let part = ticket.parse(claimed)?;
        let session_key = ticket::session_key(claimed, &part, policy)?;
        let client = part.cname.to_principal(part.crealm);

        let opened = authenticator::open(&client, &session_key, &self.ap_req.authenticator)?;
        let (authenticator, authenticator_opened) = opened.parse(&client, &part)?;
        ticket::check_named(&client, part.flags)?;
        let mut waivers = Vec::new();
        waivers.extend(ticket::check_transited(&client, &service, &part, policy)?);
        ticket::check_authorization_data(&client, "ticket", part.authorization_data.as_ref())?;
        ticket::check_authorization_data(
            &client,
            "authenticator",
            authenticator.authorization_data.as_ref(),
        )?;

        let gss = checksum::read(&client, &authenticator)?;
        let extensions = authenticator::extensions(&client, authenticator.authorization_data.as_ref())?;
        let bindings = checksum::compare(&client, &gss.bindings, extensions.asserts_channel_binding, policy)?;
        authenticator::check_target(&client, extensions.target.as_deref(), &policy.accept_principals)?;
        let subkey = authenticator::subkey(&client, claimed, &authenticator, policy)?;
        let conversation = checksum::compare_transcript(&client, &gss, subkey.as_ref(), self.transcript)?;
        let initiator_key = subkey.unwrap_or_else(|| session_key.clone());
        let (flags, waiver) = checksum::grant(&client, gss.flags, initiator_key.etype(), policy)?;
        waivers.extend(waiver);

        let facts = Facts {
            client: client.clone(),
            service,
            claimed_service: claimed.clone(),
            ticket_etype: ticket.key.etype().wire(),
            kvno: Some(ticket.key.kvno()),
            session_etype: session_key.etype(),
            message_etype: initiator_key.etype(),
            flags,
            ticket_flags: part.flags,
            mutual: false,
            by_iakerb: self.transcript.is_some(),
            bindings: bindings.state(),
            authtime: part.authtime,
            starttime: part.valid_from(),
            endtime: part.endtime,
            waivers,
        };
        Ok(Verified {
            mech: self.mech,
            subkey_etype: choose_subkey_etype(policy, &extensions.etypes, &session_key, &initiator_key),
            facts,
            session_key,
            initiator_key,
            initiator_seq: authenticator.seq_number.unwrap_or(0),
            presented: Presented { tag: opened.tag, ctime: authenticator.ctime, client },
            proofs: StatelessProofs {
                ticket: ticket.proof,
                authenticator: authenticator_opened,
                bindings,
                conversation,
            },
        })
    }
}

/// Why a request was not verified.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The check that failed.
    pub error: AcceptError,
    /// What is known all the same, if only the time was wrong.
    pub facts: Option<Facts>,
}

impl From<AcceptError> for Unverified {
    fn from(error: AcceptError) -> Self {
        Self { error, facts: None }
    }
}

/// Etype of the acceptor's subkey (RFC 4537): the first of our permitted list that the initiator named or used, if it is
/// one of AES. Tokens of RC4 do not say whose key they are made with, and initiators take their own for granted.
fn choose_subkey_etype(
    policy: &AcceptorPolicy,
    named: &[Etype],
    session_key: &Key,
    initiator_key: &Key,
) -> Option<Etype> {
    let taken = |etype: &&Etype| {
        named.contains(etype) || **etype == session_key.etype() || **etype == initiator_key.etype()
    };
    let mut strong = policy.permitted_enctypes.iter().filter(|etype| !etype.is_weak());
    strong.find(taken).copied()
}

struct StatelessProofs {
    ticket: TicketOpened,
    authenticator: AuthenticatorOpened,
    bindings: BindingsCompared,
    conversation: ConversationCompared,
}

/// An AP-REQ that is genuine, and may still be a replay.
pub struct Verified {
    mech: Mech,
    facts: Facts,
    session_key: Key,
    initiator_key: Key,
    subkey_etype: Option<Etype>,
    initiator_seq: u32,
    presented: Presented,
    proofs: StatelessProofs,
}

/// Proof that the authenticator was not presented before, and that its time is ours within the skew. Only
/// [`Verified::judge`] makes it.
pub struct NotReplayed(());

impl Verified {
    /// What the replay store must be asked.
    #[must_use]
    pub fn presented(&self) -> &Presented {
        &self.presented
    }

    /// What a KRB-ERROR repeats.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        Asked { mech: self.mech, service: &self.facts.claimed_service }
    }

    /// What would be known of the context.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes the replay store's answer, and makes every check that depends on the clock.
    ///
    /// # Errors
    /// If it is a replay, the ticket is not good now, the clocks are too far apart, or the store cannot tell; in this
    /// order, so that a clock that is off is told as that. But a client whose clock is ahead gets no other chance from a
    /// store that cannot tell: its authenticator was not remembered, and could be presented again once its time has come.
    pub fn judge(
        mut self,
        verdict: ReplayVerdict,
        policy: &AcceptorPolicy,
        now: Timestamp,
    ) -> Result<Authentic, AcceptError> {
        let Presented { ctime, client, .. } = &self.presented;
        if verdict == ReplayVerdict::Seen {
            return Err(AcceptError::Replay { client: client.clone(), ctime: *ctime });
        }
        ticket::check_times(&self.facts, policy, now)?;
        let skew = policy.clock_skew;
        let skewed = ctime.abs_diff(now) > skew;
        match verdict {
            ReplayVerdict::Unavailable(fault) if !skewed || *ctime > now => {
                Err(AcceptError::ReplayStore { client: client.clone(), ctime: *ctime, fault })
            }
            _ if skewed => Err(AcceptError::Skew { client: client.clone(), ctime: *ctime, now, skew }),
            ReplayVerdict::FreshHere => {
                self.facts.waivers.push(Waiver::OnAbsence);
                Ok(Authentic { verified: self, fresh: NotReplayed(()) })
            }
            _ => Ok(Authentic { verified: self, fresh: NotReplayed(()) }),
        }
    }
}

/// An AP-REQ that proves its sender, for the policy and the caller to decide about.
pub struct Authentic {
    verified: Verified,
    fresh: NotReplayed,
}

impl Authentic {
    /// What would be known of the context.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.verified.facts
    }

    /// What a KRB-ERROR repeats.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        self.verified.asked()
    }

    /// Whether the ticket is still good, when time has passed since [`Verified::judge`].
    ///
    /// # Errors
    /// If it is not.
    pub fn check_times(&self, policy: &AcceptorPolicy, now: Timestamp) -> Result<(), AcceptError> {
        ticket::check_times(&self.verified.facts, policy, now)
    }

    /// What is known, when there is to be no context.
    #[must_use]
    pub fn into_facts(self) -> Facts {
        self.verified.facts
    }
}
