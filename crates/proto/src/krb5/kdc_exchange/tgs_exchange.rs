//! The TGS exchange (RFC 4120 section 3.3): a service's ticket for a ticket-granting ticket, through other realms if the
//! service is in one, by referral (RFC 6806 section 8) or along the path that capaths or the domain tree show.

use super::error::KdcError;
use super::options::TicketOptions;
use super::tgs_request::{TgsRequest, Wish};
use super::told::Answered;
use super::{Exchange, KdcRequest, Step, granting_realm, ticket_granting_service};
use crate::ccache::Credential;
use crate::error::code::krb;
use crate::krb5::initiator::ServiceTicket;
use crate::krb5::msg::kdc_req::KdcOptions;
use crate::krb5::msg::principal::Principal;
use crate::krb5::msg::ticket::TicketFlags;
use crate::krb5::transited::realms_between;
use crate::time::Timestamp;
use rand_core::CryptoRng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most realms that a request may be sent on to.
const MAX_REALMS: usize = 10;

/// Most answers of KDCs in one exchange: names of realms with many dots would make the way through them as long.
const MAX_ANSWERS: u8 = 64;

/// Tickets that a KDC gave.
pub struct TgsGranted {
    /// The service's ticket.
    pub credential: Credential,
    /// Ticket-granting tickets of other realms that were got on the way, in order.
    pub on_the_way: Vec<Credential>,
}

/// A TGS-REQ on the way to a service's ticket is to be answered.
pub struct TgsExchange {
    walk: Walk,
    leg: Leg,
    request: TgsRequest,
}

/// What the present request is for.
enum Leg {
    /// The service's ticket.
    Service,
    /// The ticket-granting ticket of `goal`, or of one of `nearer`, which are to be asked for if that is not to be had; with the
    /// refusal of `goal`.
    Realm { goal: Vec<u8>, nearer: Vec<Vec<u8>>, refusal: Option<KdcError> },
}

/// The way to a service.
struct Walk {
    service: Principal,
    options: Arc<TicketOptions>,
    /// Ticket-granting tickets, the client's own realm's first.
    tgts: Vec<ServiceTicket>,
    /// The one in use.
    tgt: ServiceTicket,
    /// Realms in which the service may be, once the present one turns out not to have it.
    candidates: VecDeque<Vec<u8>>,
    /// Realms that have been asked for the service, or on the way to it.
    been: Vec<Vec<u8>>,
    /// The KDCs' clock less ours, in microseconds.
    clock: i64,
    got: Vec<Credential>,
    refusal: Option<KdcError>,
    answers: u8,
}

impl TgsExchange {
    /// Asks for a ticket of `service`.
    ///
    /// `tgts` are the ticket-granting tickets there are, that of the client's own realm first and at least that. A service
    /// without realm is looked for in `candidates`, in their order, and first of all where they are none in the client's realm.
    /// `clock` is the KDC's clock less ours, in microseconds, as learnt with the ticket-granting ticket.
    ///
    /// # Errors
    /// If there is no ticket-granting ticket.
    pub fn begin(
        service: Principal,
        candidates: Vec<Vec<u8>>,
        tgts: Vec<ServiceTicket>,
        options: Arc<TicketOptions>,
        clock: i64,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, KdcError> {
        let Some(tgt) = tgts.first().cloned() else {
            return Err(KdcError::Nobody { service, cached: "no ticket-granting ticket" });
        };
        let home = tgt.client.realm.clone();
        let mut candidates: VecDeque<_> =
            if service.realm.is_empty() { candidates.into() } else { [service.realm.clone()].into() };
        let goal = candidates.pop_front().unwrap_or(home);
        let walk = Walk {
            service,
            options,
            tgts,
            tgt,
            candidates,
            been: Vec::new(),
            clock,
            got: Vec::new(),
            refusal: None,
            answers: 0,
        };
        Ok(walk.go_to(goal, now, rng))
    }

    /// A ticket came: of the service, or of a realm on the way.
    fn granted(
        self,
        credential: Credential,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self>, KdcError> {
        let Self { mut walk, leg, request } = self;
        let referred = granting_realm(&credential.server).map(<[u8]>::to_vec);
        let wanted = granting_realm(request.service()).map(<[u8]>::to_vec);
        match (leg, referred) {
            (Leg::Service, None) if credential.server.components == request.service().components => {
                Ok(Step::Done(walk.done(credential)))
            }
            (Leg::Service, Some(realm)) if Some(&realm) == wanted.as_ref() => {
                Ok(Step::Done(walk.done(credential)))
            }
            (Leg::Service, Some(realm)) if realm != walk.here() => {
                walk.enter(&realm, credential, now)?;
                Ok(Step::NeedKdc(walk.ask_service(now, rng)))
            }
            // A ticket of another service, or of this realm's own KDC: no other name than the one that was asked for is taken.
            (Leg::Service, _) => Ok(Step::NeedKdc(walk.ask_service_by_its_name(now, rng))),
            (Leg::Realm { goal, .. }, Some(realm)) => {
                walk.enter(&realm, credential, now)?;
                if realm == goal {
                    Ok(Step::NeedKdc(walk.ask_service(now, rng)))
                } else {
                    Ok(Step::NeedKdc(walk.go_on_to(goal, now, rng)))
                }
            }
            (Leg::Realm { goal, .. }, None) => Err(walk.astray(&goal)),
        }
    }

    /// No ticket came. A realm that is not known may have another one before it on the way; a service that is not known may
    /// be in another realm.
    fn refused(
        self,
        answered: Answered,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self>, KdcError> {
        let Self { mut walk, leg, request } = self;
        let unknown = matches!(
            answered.told.error_code,
            krb::KDC_ERR_S_PRINCIPAL_UNKNOWN | krb::KDC_ERR_C_PRINCIPAL_UNKNOWN | krb::KDC_ERR_WRONG_REALM
        );
        let refusal = request.refused(answered);
        if !unknown {
            return Err(refusal);
        }
        let refusal = match leg {
            Leg::Service => refusal,
            Leg::Realm { goal, mut nearer, refusal: first } => {
                // The first one is about the realm that is wanted, not about a way round.
                let refusal = first.unwrap_or(refusal);
                match nearer.pop() {
                    Some(realm) => {
                        let leg = Leg::Realm { goal, nearer, refusal: Some(refusal) };
                        return Ok(Step::NeedKdc(walk.ask_realm(&realm, leg, now, rng)));
                    }
                    None => refusal,
                }
            }
        };
        // As above: the first candidate is the realm in which the service is most likely to be.
        let refusal = walk.refusal.take().unwrap_or(refusal);
        let Some(goal) = walk.candidates.pop_front() else { return Err(refusal) };
        walk.refusal = Some(refusal);
        Ok(Step::NeedKdc(walk.go_to(goal, now, rng)))
    }
}

impl Walk {
    /// Sets out for `goal` from the known ticket-granting ticket that is nearest to it.
    fn go_to(mut self, goal: Vec<u8>, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let home = self.tgt_home();
        self.been.clear();
        let way = self.way(&home.client.realm.clone(), &goal);
        let known = |realm: &Vec<u8>| {
            self.tgts.iter().find(|tgt| granting_realm(&tgt.service) == Some(realm)).cloned()
        };
        self.tgt = way.iter().rev().find_map(known).unwrap_or(home);
        let here = self.here();
        self.been.push(here.clone());
        if here == goal { self.ask_service(now, rng) } else { self.go_on_to(goal, now, rng) }
    }

    /// The client's own ticket-granting ticket.
    fn tgt_home(&self) -> ServiceTicket {
        self.tgts.first().unwrap_or(&self.tgt).clone()
    }

    /// All realms from one to another, both included.
    fn way(&self, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
        let mut way = vec![from.to_vec()];
        way.extend(realms_between(from, to, &self.options.capaths));
        way.push(to.to_vec());
        way
    }

    /// The realm whose KDC takes the ticket-granting ticket in use.
    fn here(&self) -> Vec<u8> {
        granting_realm(&self.tgt.service).unwrap_or(&self.tgt.service.realm).to_vec()
    }

    /// Asks the KDC of this realm for the next one on the way to `goal`: `goal` itself first, since it may know a shorter way.
    /// Where a path is configured it is kept to, step by step.
    fn go_on_to(self, goal: Vec<u8>, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let home = &self.tgt.client.realm;
        let here = self.here();
        let whole = self.way(home, &goal);
        let after = whole.iter().position(|realm| *realm == here).map(|at| at.saturating_add(1));
        let mut nearer = match after {
            Some(after) => whole.get(after..).unwrap_or_default().to_vec(),
            None => self.way(&here, &goal).split_off(1),
        };
        if self.options.capaths.get(home, &goal).is_some() {
            // From the front: the next realm, then none.
            nearer.truncate(1);
        }
        let first = nearer.pop().unwrap_or_else(|| goal.clone());
        self.ask_realm(&first, Leg::Realm { goal, nearer, refusal: None }, now, rng)
    }

    fn ask_realm(self, realm: &[u8], leg: Leg, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let wish = self.wish(ticket_granting_service(realm, &self.here()), now);
        let request = TgsRequest::new(&self.tgt, wish, &self.options, now.shifted(self.clock), rng);
        TgsExchange { walk: self, leg, request }
    }

    fn ask_service(self, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let wish = self.wish(self.service.clone(), now);
        self.ask_for(wish, now, rng)
    }

    /// Asks for the service without letting the KDC refer or rename: the answer is a ticket under that name, or none.
    fn ask_service_by_its_name(self, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let wish = self.wish(self.service.clone(), now);
        let kdc_options = wish.kdc_options.without(KdcOptions::CANONICALIZE);
        self.ask_for(Wish { kdc_options, ..wish }, now, rng)
    }

    fn ask_for(self, wish: Wish, now: Timestamp, rng: &mut dyn CryptoRng) -> TgsExchange {
        let request = TgsRequest::new(&self.tgt, wish, &self.options, now.shifted(self.clock), rng);
        TgsExchange { walk: self, leg: Leg::Service, request }
    }

    fn wish(&self, service: Principal, now: Timestamp) -> Wish {
        let forwardable = self.options.forwardable && self.tgt.flags.contains(TicketFlags::FORWARDABLE);
        let options = if forwardable { KdcOptions::FORWARDABLE } else { KdcOptions::default() };
        // A service's ticket lives as long as the ticket-granting ticket, unless less is wished.
        let till = now.shifted(self.clock).saturating_add(self.options.lifetime).min(self.tgt.endtime);
        Wish { service, kdc_options: options.with(KdcOptions::CANONICALIZE), till, rtime: None }
    }

    /// Goes on with the ticket-granting ticket of another realm, in which the walk has not been yet.
    fn enter(&mut self, realm: &[u8], credential: Credential, now: Timestamp) -> Result<(), KdcError> {
        if self.been.len() >= MAX_REALMS || self.been.iter().any(|been| been == realm) {
            return Err(self.astray(realm));
        }
        self.tgt =
            self.options.usable(&credential, now.shifted(self.clock)).map_err(|_| self.astray(realm))?;
        self.been.push(realm.to_vec());
        self.tgts.push(self.tgt.clone());
        self.got.push(credential);
        Ok(())
    }

    fn astray(&self, to: &[u8]) -> KdcError {
        let went = self.been.clone();
        KdcError::Referral { from: self.here(), to: to.to_vec(), service: self.service.clone(), went }
    }

    fn done(self, credential: Credential) -> TgsGranted {
        TgsGranted { credential, on_the_way: self.got }
    }
}

impl Exchange for TgsExchange {
    type Granted = TgsGranted;

    fn request(&self) -> KdcRequest<'_> {
        self.request.request()
    }

    fn is_answer(&self, reply: &[u8]) -> bool {
        self.request.is_answer(reply)
    }

    fn reply(
        mut self,
        reply: &[u8],
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Result<Step<Self>, KdcError> {
        self.walk.answers = self.walk.answers.saturating_add(1);
        if self.walk.answers > MAX_ANSWERS {
            return Err(KdcError::TooLong { count: self.walk.answers, realm: self.walk.here() });
        }
        match self.request.reply(reply)? {
            Ok(credential) => self.granted(credential, now, rng),
            Err(answered) => self.refused(answered, now, rng),
        }
    }
}

/// The renewal of a ticket-granting ticket is to be answered.
pub struct Renew(TgsRequest);

impl Renew {
    /// Asks for `tgt` with a new life, as long as its first at most.
    #[must_use]
    pub fn begin(
        tgt: &ServiceTicket,
        options: &TicketOptions,
        clock: i64,
        now: Timestamp,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        let kdc_options = KdcOptions::RENEW.with(KdcOptions::RENEWABLE);
        let wish =
            Wish { service: tgt.service.clone(), kdc_options, till: Timestamp::default(), rtime: None };
        Self(TgsRequest::new(tgt, wish, options, now.shifted(clock), rng))
    }
}

impl Exchange for Renew {
    type Granted = Credential;

    fn request(&self) -> KdcRequest<'_> {
        self.0.request()
    }

    fn is_answer(&self, reply: &[u8]) -> bool {
        self.0.is_answer(reply)
    }

    fn reply(self, reply: &[u8], _: Timestamp, _: &mut dyn CryptoRng) -> Result<Step<Self>, KdcError> {
        match self.0.reply(reply)? {
            Ok(credential) => Ok(Step::Done(credential)),
            Err(answered) => Err(self.0.refused(answered)),
        }
    }
}
