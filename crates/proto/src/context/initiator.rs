use super::candidate::{Candidate, ListProof};
use super::{MAX_LEGS, SecurityContext};
use crate::ccache::Ccache;
use crate::error::{Refusal, code};
use crate::gss::MechChoice;
use crate::iakerb;
use crate::iakerb::initiator::{Carried, IakerbLogin, Relaying, RelayingError, Ticket};
use crate::krb5::initiator::{
    self as krb5, Answer, Established, Forwarded, InitiateError, Sent, ServiceTicket,
};
use crate::krb5::msg::principal::Principal;
use crate::ntlm::initiator::{self as ntlm, Credential as NtlmCredential, Negotiated};
use crate::policy::{InitiatorPolicy, Waiver};
use crate::spnego::SpnegoError;
use crate::spnego::initiator::{Answer as SpnegoAnswer, Choice, Chosen, Concluded, Finishing, Offer};
use crate::spnego::message::NegState;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::sync::Arc;

/// A client that is to reach one service: what it can prove itself with, and its policy.
#[derive(Clone)]
pub struct Initiator {
    service: Principal,
    kerberos: Option<KerberosCredential>,
    iakerb: Option<IakerbLogin>,
    ntlm: Option<NtlmCredential>,
    policy: Arc<InitiatorPolicy>,
}

#[derive(Clone)]
struct KerberosCredential {
    ticket: ServiceTicket,
    /// The KDC's clock against ours, in microseconds to add.
    clock_offset: i64,
    /// What the service is given to act for the client with.
    delegated: Option<Forwarded>,
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
        let InitiatorPolicy { permitted_enctypes, clock_skew, .. } = &policy;
        let now = now.shifted(clock_offset);
        let ticket = ServiceTicket::select(ccache, service, permitted_enctypes, *clock_skew, now)?;
        Ok(Self::with_ticket(ticket, clock_offset, policy))
    }

    /// A client with a service's ticket; `clock_offset` is the KDC's clock against ours, in microseconds to add.
    #[must_use]
    pub fn with_ticket(ticket: ServiceTicket, clock_offset: i64, policy: InitiatorPolicy) -> Self {
        let service = ticket.service.clone();
        let kerberos = Some(KerberosCredential { ticket, clock_offset, delegated: None });
        Self { service, kerberos, iakerb: None, ntlm: None, policy: Arc::new(policy) }
    }

    /// A client that reaches no KDC, and logs in through the service itself (IAKERB).
    #[must_use]
    pub fn by_iakerb(service: Principal, login: IakerbLogin, policy: InitiatorPolicy) -> Self {
        Self { service, kerberos: None, iakerb: Some(login), ntlm: None, policy: Arc::new(policy) }
    }

    /// The same, which gives the service a ticket-granting ticket: it can then do all that the client can, wherever the client
    /// can. It goes with Kerberos alone.
    #[must_use]
    pub fn with_delegation(mut self, forwarded: Forwarded) -> Self {
        if let Some(kerberos) = &mut self.kerberos {
            kerberos.delegated = Some(forwarded);
        }
        self
    }

    /// A client that has a password for NTLM alone.
    ///
    /// # Errors
    /// If the policy does not allow NTLM.
    pub fn by_ntlm(
        service: Principal,
        credential: NtlmCredential,
        policy: InitiatorPolicy,
    ) -> Result<Self, Refusal> {
        Self { service, kerberos: None, iakerb: None, ntlm: None, policy: Arc::new(policy) }
            .with_ntlm(credential)
    }

    /// The same, with a password for NTLM to fall back to when the service does not speak Kerberos.
    ///
    /// # Errors
    /// If the policy does not allow NTLM.
    pub fn with_ntlm(self, credential: NtlmCredential) -> Result<Self, Refusal> {
        if self.policy.gives_up(Waiver::AllowNtlm) {
            return Ok(Self { ntlm: Some(credential), ..self });
        }
        let saw = format!("a password of {}", credential.user);
        Err(Refusal::new(code::NTLM_OFF, saw, "a policy of this client that does not allow NTLM"))
    }

    /// The ticket that will be presented, if there is one.
    #[must_use]
    pub fn ticket(&self) -> Option<&ServiceTicket> {
        self.kerberos.as_ref().map(|credential| &credential.ticket)
    }

    /// What this client demands.
    #[must_use]
    pub fn policy(&self) -> &InitiatorPolicy {
        &self.policy
    }

    /// The service that is to be reached.
    #[must_use]
    pub fn service(&self) -> &Principal {
        &self.service
    }

    /// Appends the first token to `out`: in SPNEGO, or bare where there is nothing to choose and policy does not want it.
    ///
    /// # Errors
    /// If the ticket is not good any more and there is no other credential.
    pub fn begin(
        &self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<AwaitReply, Refusal> {
        let handshake = Handshake {
            service: self.service.clone(),
            ntlm: self.ntlm.clone(),
            policy: self.policy.clone(),
            legs: 0,
            // By IAKERB the AP-REP comes after all messages of KDCs, and with SPNEGO a MIC after that.
            max_legs: if self.iakerb.is_some() { iakerb::MAX_LEGS.saturating_add(2) } else { MAX_LEGS },
        };
        let mut mech_token = Vec::new();
        let (first, mechs) = self.first_token(now, rng, &mut mech_token)?;
        // NTLM is never sent bare: only SPNEGO proves that nobody took Kerberos out of the list.
        let phase = match first {
            mech @ (Mech::Kerberos(_) | Mech::Iakerb(_)) if !self.policy.negotiate && mechs.len() == 1 => {
                out.append(&mut mech_token);
                Phase::Raw(mech)
            }
            first => Phase::Offered(Offer::write(mechs, &mech_token, out), first),
        };
        Ok(AwaitReply { handshake, phase })
    }

    /// The first message for a KDC.
    fn first_message(
        &self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(Mech, Vec<MechChoice>), Refusal> {
        let Some(login) = self.iakerb.clone() else {
            return Err(InitiateError::NoTicket { service: self.service.clone(), cached: Vec::new() }.into());
        };
        let relaying = Relaying::begin(login, self.service.clone(), now, rng, out)?;
        Ok((Mech::Iakerb(relaying), vec![MechChoice::Iakerb]))
    }

    /// The token of the mechanism that is preferred, and all that can be offered.
    fn first_token(
        &self,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(Mech, Vec<MechChoice>), Refusal> {
        let by_ntlm = self.ntlm.as_ref().map(|_| MechChoice::Ntlm);
        let kerberos = self.kerberos.as_ref().map(|credential| {
            credential.ticket.check(&self.policy, now.shifted(credential.clock_offset)).map(|()| credential)
        });
        match (kerberos, by_ntlm) {
            (Some(Ok(KerberosCredential { ticket, clock_offset, delegated })), _) => {
                let delegated = delegated.clone();
                let sent = krb5::begin(ticket.clone(), delegated, &self.policy, *clock_offset, now, rng, out);
                Ok((Mech::Kerberos(sent), std::iter::once(MechChoice::Kerberos).chain(by_ntlm).collect()))
            }
            (None, _) if self.iakerb.is_some() => self.first_message(now, rng, out),
            (_, Some(ntlm)) => Ok((Mech::Ntlm(ntlm::begin(&self.policy, out)), vec![ntlm])),
            (Some(Err(error)), None) => Err(error.into()),
            (None, None) => {
                Err(InitiateError::NoTicket { service: self.service.clone(), cached: Vec::new() }.into())
            }
        }
    }
}

/// A mechanism at work.
enum Mech {
    /// An AP-REQ was sent.
    Kerberos(Sent),
    /// A message for a KDC was sent.
    Iakerb(Relaying),
    /// A NEGOTIATE was sent.
    Ntlm(Negotiated),
}

/// What a step of an initiator's handshake led to.
pub enum InitiatorStep {
    /// Another token was appended; the service must answer it.
    AwaitReply(AwaitReply),
    /// The handshake is over, the service proved itself (not by NTLM): what was appended, if anything, is the last token,
    /// and messages may follow.
    Done(Box<SecurityContext>),
    /// The handshake is over without a context.
    Rejected(Box<Refusal>),
}

/// What goes through a handshake from its first token to its last.
struct Handshake {
    service: Principal,
    ntlm: Option<NtlmCredential>,
    policy: Arc<InitiatorPolicy>,
    legs: u8,
    max_legs: u8,
}

/// Where a handshake stands when a token is awaited.
enum Phase {
    /// A token of Kerberos was sent bare.
    Raw(Mech),
    /// A list of mechanisms was sent, the first one's token with it.
    Offered(Offer, Mech),
    /// The acceptor chose a mechanism, and it has not finished.
    Chosen(Chosen, Mech),
    /// The mechanism has finished, and our MIC over the list was sent.
    Finishing(Finishing, Candidate),
}

/// Waits for the service's token.
pub struct AwaitReply {
    handshake: Handshake,
    phase: Phase,
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
        let Self { mut handshake, phase } = self;
        let mut turn = Turn { now, rng, out };
        let step = handshake.count_leg().and_then(|()| match phase {
            Phase::Raw(mech) => handshake.raw(mech, token, &mut turn),
            Phase::Offered(offer, mech) => handshake.offered(offer, mech, token, &mut turn),
            Phase::Chosen(chosen, mech) => {
                let answer = chosen.answered(token)?;
                handshake.chosen(chosen, mech, &answer, &mut turn)
            }
            Phase::Finishing(finishing, mut candidate) => {
                let proof = finishing.token(token, &mut candidate)?;
                Ok(done(candidate, ListProof::Negotiated(proof)))
            }
        });
        step.unwrap_or_else(|refusal| InitiatorStep::Rejected(Box::new(refusal)))
    }

    /// Ends the handshake because no token comes any more: the service never proved itself. `how` says why none comes,
    /// as a noun phrase.
    #[must_use]
    pub fn abandon(self, how: &str) -> Refusal {
        InitiateError::NeverProved { service: self.handshake.service, how: how.to_owned() }.into()
    }
}

/// What every step is given.
struct Turn<'a> {
    now: Timestamp,
    rng: &'a mut dyn CryptoRng,
    out: &'a mut Vec<u8>,
}

impl Handshake {
    fn count_leg(&mut self) -> Result<(), Refusal> {
        let limit = self.max_legs;
        self.legs = self.legs.saturating_add(1);
        if self.legs <= limit {
            return Ok(());
        }
        let saw = format!("token {} of one handshake", self.legs);
        Err(Refusal::new(code::HANDSHAKE_TOO_MANY_LEGS, saw, format!("a limit of {limit}")))
    }

    fn raw(self, mech: Mech, token: &[u8], turn: &mut Turn<'_>) -> Result<InitiatorStep, Refusal> {
        let sent = match mech {
            Mech::Kerberos(sent) => sent,
            Mech::Iakerb(relaying) => {
                let mech = self.carried(relaying, token, turn.now, turn.rng, turn.out)?;
                return Ok(self.awaiting(Phase::Raw(mech)));
            }
            Mech::Ntlm(_) => return Err(SpnegoError::BareNtlm.into()),
        };
        match sent.answer(token, &self.policy, turn.now, turn.rng, turn.out)? {
            Answer::Established(established) => {
                Ok(done(self.candidate(*established), ListProof::NotNegotiated))
            }
            Answer::Retry(sent) => Ok(self.awaiting(Phase::Raw(Mech::Kerberos(sent)))),
        }
    }

    /// Takes what the service carried from a KDC. What follows is another message, or the AP-REQ with the ticket that all of
    /// them led to.
    fn carried(
        &self,
        relaying: Relaying,
        token: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Mech, Refusal> {
        let carried = relaying.token(token, now, rng, out).map_err(|error| match error {
            RelayingError::Framing(error) => Refusal::from(error),
            RelayingError::Iakerb(error) => error.into(),
        })?;
        Ok(match carried {
            Carried::Relaying(relaying) => Mech::Iakerb(relaying),
            Carried::Ticket(got) => {
                let Ticket { ticket, clock_offset, transcript } = *got;
                Mech::Kerberos(krb5::begin_by_iakerb(
                    ticket,
                    transcript,
                    &self.policy,
                    clock_offset,
                    now,
                    rng,
                    out,
                ))
            }
        })
    }

    fn offered(
        self,
        offer: Offer,
        mech: Mech,
        token: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<InitiatorStep, Refusal> {
        match offer.answered(token)? {
            Choice::First(chosen, answer) => self.chosen(chosen, mech, &answer, turn),
            Choice::Other(chosen) if chosen.mech() == MechChoice::Ntlm && self.ntlm.is_some() => {
                let mut mech_token = Vec::new();
                let negotiated = ntlm::begin(&self.policy, &mut mech_token);
                chosen.write(&mech_token, turn.out);
                Ok(self.awaiting(Phase::Chosen(chosen, Mech::Ntlm(negotiated))))
            }
            Choice::Other(_) => Err(SpnegoError::Unexpected("a mechanism that cannot begin afresh").into()),
        }
    }

    /// An answer of the acceptor for the mechanism that it chose.
    fn chosen(
        self,
        chosen: Chosen,
        mech: Mech,
        answer: &SpnegoAnswer<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<InitiatorStep, Refusal> {
        let nothing = SpnegoError::Unexpected("an answer without the token that the mechanism waits for");
        let mech_token = answer.mech_token.ok_or(nothing)?;
        // A rejection may carry the mechanism's reason, which it is asked for; nothing is sent after one.
        let rejected = answer.state == Some(NegState::Reject);
        let mut reply = Vec::new();
        match mech {
            Mech::Iakerb(relaying) => {
                let mech = self.carried(relaying, mech_token, turn.now, turn.rng, &mut reply)?;
                if rejected {
                    return Err(SpnegoError::Rejected { began: true }.into());
                }
                chosen.write(&reply, turn.out);
                Ok(self.awaiting(Phase::Chosen(chosen, mech)))
            }
            Mech::Ntlm(_) if rejected => Err(SpnegoError::Rejected { began: true }.into()),
            Mech::Ntlm(negotiated) => {
                let mut candidate = self.authenticate(negotiated, mech_token, turn, &mut reply)?;
                let finishing = chosen.conclude_with_token(&reply, &mut candidate, turn.out)?;
                Ok(self.awaiting(Phase::Finishing(finishing, candidate)))
            }
            Mech::Kerberos(sent) => {
                match sent.answer(mech_token, &self.policy, turn.now, turn.rng, &mut reply)? {
                    Answer::Retry(_) if rejected => {
                        let service = self.service;
                        let error_code = code::krb::KRB_AP_ERR_SKEW;
                        Err(InitiateError::KrbError { service, error_code }.into())
                    }
                    Answer::Retry(sent) => {
                        chosen.write(&reply, turn.out);
                        Ok(self.awaiting(Phase::Chosen(chosen, Mech::Kerberos(sent))))
                    }
                    Answer::Established(established) => self.conclude(chosen, answer, *established, turn),
                }
            }
        }
    }

    fn conclude(
        self,
        chosen: Chosen,
        answer: &SpnegoAnswer<'_>,
        established: Established,
        turn: &mut Turn<'_>,
    ) -> Result<InitiatorStep, Refusal> {
        let mut candidate = self.candidate(established);
        match chosen.conclude_on_answer(answer, &mut candidate, turn.out)? {
            Concluded::Done(proof) => Ok(done(candidate, ListProof::Negotiated(proof))),
            Concluded::Finishing(finishing) => Ok(self.awaiting(Phase::Finishing(finishing, candidate))),
        }
    }

    /// Answers NTLM's CHALLENGE.
    fn authenticate(
        &self,
        negotiated: Negotiated,
        token: &[u8],
        turn: &mut Turn<'_>,
        reply: &mut Vec<u8>,
    ) -> Result<Candidate, Refusal> {
        let no_credential = SpnegoError::Unexpected("NTLM where there is no password for it");
        let credential = self.ntlm.as_ref().ok_or(no_credential)?;
        let spn = self.service.name();
        let established = negotiated.challenge(token, credential, Some(&spn), turn.now, turn.rng, reply)?;
        Ok(Candidate::initiated_by_ntlm(established, self.require_sealed()))
    }

    fn candidate(&self, established: Established) -> Candidate {
        Candidate::initiated(established, self.require_sealed())
    }

    fn require_sealed(&self) -> bool {
        !self.policy.gives_up(Waiver::AllowUnsealed)
    }

    fn awaiting(self, phase: Phase) -> InitiatorStep {
        InitiatorStep::AwaitReply(AwaitReply { handshake: self, phase })
    }
}

fn done(candidate: Candidate, list: ListProof) -> InitiatorStep {
    InitiatorStep::Done(Box::new(candidate.prove(list)))
}
