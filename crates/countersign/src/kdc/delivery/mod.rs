//! Whom to ask next, how, and how long to wait: one exchange with the KDCs of a realm, without the sockets.
//!
//! The driver asks [`Delivery::next`] what to do, does it, and tells what came of it, until nothing is left to do. The way
//! over the KDCs is that of MIT's library: first each KDC once, by the transport that fits the request's length; then each
//! by its other transport; then those that were silent again, with twice the patience each time. A KDC that refuses
//! datagrams, or whose answer does not fit into one, is asked by TCP at once.

mod target;
#[cfg(test)]
mod tests;

use super::error::{KdcError, Tried, Trouble};
use super::{KdcPatience, after};
use countersign_proto::der::{Reader, tag};
use countersign_proto::error::code::krb::KDC_ERR_SVC_UNAVAILABLE;
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5conf::{KdcAddress, Transport};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use target::{Place, State, Target, Way};

/// Most KDCs of one realm that are asked.
pub(super) const MAX_KDCS: usize = 32;
/// Most addresses of one name that are used.
const MAX_ADDRESSES: usize = 8;
/// Longest request that is sent in a datagram, in bytes (MIT's bound).
const MAX_DATAGRAM: usize = 32_700;
/// Most passes over the KDCs.
const MAX_PASSES: u32 = 16;
/// Response too big for UDP, retry with TCP (RFC 4120 section 7.5.9).
const KRB_ERR_RESPONSE_TOO_BIG: i32 = 52;

/// What is to be delivered, and where to.
pub(super) struct Plan {
    pub(super) realm: Vec<u8>,
    /// KDCs, best first.
    pub(super) addresses: Vec<KdcAddress>,
    /// Length of the request, in bytes.
    pub(super) length: usize,
    /// Longest request that UDP is tried first with, in bytes.
    pub(super) udp_preference_limit: usize,
    pub(super) patience: KdcPatience,
    /// When the whole must be over.
    pub(super) end: Instant,
}

/// What the driver does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Look the addresses of `host` up, and tell [`Delivery::resolved`].
    Resolve { host: String, port: u16, until: Instant },
    /// Send the request in a datagram from the socket that is connected to `to`, or only listen on it once more if not
    /// `send`, and tell [`Delivery::came`] what comes until then. The socket stays open until all is over, so that a late
    /// answer to an earlier datagram is found in it.
    Datagram { to: SocketAddr, send: bool, until: Instant },
    /// Connect to `to`, send the request with its length before it, read the answer, and tell [`Delivery::came`].
    Connection { to: SocketAddr, until: Instant },
    /// Post the request to the proxy at `url`, and tell [`Delivery::came`].
    Post { url: String, until: Instant },
    /// Nothing more: see [`Delivery::conclude`].
    Over,
}

/// An exchange under way.
pub(super) struct Delivery {
    plan: Plan,
    /// What this pass still has to do.
    queue: VecDeque<Job>,
    pass: Pass,
    current: Current,
    targets: Vec<Target>,
    /// Names that led nowhere.
    unresolved: Vec<Tried>,
    answer: Option<(Vec<u8>, KdcAddress)>,
}

enum Job {
    /// Begin with this KDC of the plan.
    Begin(usize),
    Ask(usize, Way),
}

#[derive(Clone, Copy)]
enum Pass {
    First,
    OtherTransport,
    Again(u32),
}

/// What the driver is at.
#[derive(Clone, Copy)]
enum Current {
    Nothing,
    Name { kdc: usize, began: Instant },
    Attempt { target: usize, way: Way, began: Instant, until: Instant },
}

impl Delivery {
    pub(super) fn new(mut plan: Plan) -> Self {
        plan.addresses.truncate(MAX_KDCS);
        Self {
            queue: (0..plan.addresses.len()).map(Job::Begin).collect(),
            plan,
            pass: Pass::First,
            current: Current::Nothing,
            targets: Vec::new(),
            unresolved: Vec::new(),
            answer: None,
        }
    }

    /// What to do next.
    pub(super) fn next(&mut self, now: Instant) -> Step {
        if let Current::Attempt { target, way, until, .. } = self.current {
            if let (Some(step), true) = (self.listening(target, way, until), now < until) {
                return step;
            }
            self.fail(Trouble::Silent, now);
        }
        while self.answer.is_none() && now < self.plan.end {
            let step = match self.queue.pop_front() {
                Some(Job::Begin(kdc)) => self.begin(kdc, now),
                Some(Job::Ask(target, way)) => self.ask(target, way, now),
                None if self.next_pass() => None,
                None => break,
            };
            if let Some(step) = step {
                return step;
            }
        }
        Step::Over
    }

    /// Takes what became of a [`Step::Resolve`].
    pub(super) fn resolved(&mut self, found: Result<Vec<SocketAddr>, Trouble>, now: Instant) {
        let Current::Name { kdc, began } = self.current else { return };
        self.current = Current::Nothing;
        let Some(KdcAddress::Socket { transport, host, port }) = self.plan.addresses.get(kdc).cloned() else {
            return;
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => self.found(kdc, &addresses, port, transport),
            Ok(_) => self.unresolved.push(Tried::name(host, Trouble::NoAddress, Duration::ZERO)),
            Err(trouble) => {
                let waited = now.saturating_duration_since(began);
                self.unresolved.push(Tried::name(host, trouble, waited));
            }
        }
    }

    /// Takes what became of a step that asked a KDC. `accepts` says whether an answer belongs to the request.
    pub(super) fn came(
        &mut self,
        answer: Result<Vec<u8>, Trouble>,
        accepts: &mut dyn FnMut(&[u8]) -> bool,
        now: Instant,
    ) {
        let Current::Attempt { target, way, .. } = self.current else { return };
        let answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => return self.fail(trouble, now),
        };
        match judge(&answer, way, accepts) {
            None => {
                let from = self.targets.get(target).and_then(|target| self.plan.addresses.get(target.kdc));
                self.answer = from.map(|from| (answer, from.clone()));
                self.current = Current::Nothing;
            }
            // A stranger's datagram must not end the wait for the KDC's.
            Some(trouble @ (Trouble::NotKerberos | Trouble::Foreign)) if way == Way::Datagram => {
                self.with_lane(target, way, |lane| lane.trouble = Some(trouble));
            }
            Some(trouble) => self.fail(trouble, now),
        }
    }

    /// The answer and who gave it, or why there is none.
    pub(super) fn conclude(self) -> Result<(Vec<u8>, KdcAddress), KdcError> {
        self.answer.ok_or_else(|| {
            let mut tried: Vec<_> = self.targets.iter().map(Target::tried).collect();
            tried.extend(self.unresolved);
            let begun =
                |kdc| self.queue.iter().all(|job| !matches!(job, Job::Begin(waiting) if *waiting == kdc));
            let waiting = self.plan.addresses.iter().enumerate().filter(|(kdc, _)| !begun(*kdc));
            tried.extend(waiting.map(|(_, address)| Tried::not_begun(address)));
            KdcError::Undelivered { realm: self.plan.realm, length: self.plan.length, tried }
        })
    }

    fn begin(&mut self, kdc: usize, now: Instant) -> Option<Step> {
        match self.plan.addresses.get(kdc)?.clone() {
            KdcAddress::Https { url } => {
                self.targets.push(Target::proxy(kdc, url));
                self.queue.push_front(Job::Ask(self.targets.len().saturating_sub(1), Way::Post));
                None
            }
            KdcAddress::Socket { transport, host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => {
                    self.found(kdc, &[SocketAddr::new(ip, port)], port, transport);
                    None
                }
                Err(_) => {
                    self.current = Current::Name { kdc, began: now };
                    Some(Step::Resolve { host, port, until: self.until(now, self.plan.patience.connection) })
                }
            },
        }
    }

    /// Puts the addresses of a KDC next in this pass, in their order.
    fn found(&mut self, kdc: usize, addresses: &[SocketAddr], port: u16, transport: Option<Transport>) {
        let mut jobs = Vec::new();
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let mut address = *address;
            address.set_port(port);
            let target = self.admit(kdc, address, transport);
            // By its other transport alone a KDC is asked after those that can be asked by the better one.
            let first = self.targets.get(target).and_then(|target| target.first(self.prefers_udp()));
            jobs.extend(first.map(|way| Job::Ask(target, way)));
        }
        jobs.into_iter().rev().for_each(|job| self.queue.push_front(job));
    }

    /// The target at this address, with the ways that `transport` allows added to those it has.
    fn admit(&mut self, kdc: usize, address: SocketAddr, transport: Option<Transport>) -> usize {
        let at = self.targets.iter().position(|target| target.place == Place::Socket(address));
        let at = at.unwrap_or_else(|| {
            let name = match self.plan.addresses.get(kdc) {
                Some(KdcAddress::Socket { host, .. }) => host.clone(),
                _ => String::new(),
            };
            self.targets.push(Target::socket(kdc, address, name));
            self.targets.len().saturating_sub(1)
        });
        let fits = self.plan.length <= MAX_DATAGRAM;
        if let Some(target) = self.targets.get_mut(at) {
            if fits && transport != Some(Transport::Tcp) {
                target.datagram.allow();
            }
            if !fits || transport != Some(Transport::Udp) {
                target.connection.allow();
            }
        }
        at
    }

    fn ask(&mut self, target: usize, way: Way, now: Instant) -> Option<Step> {
        let patience = match way {
            Way::Datagram => self.plan.patience.datagram,
            Way::Connection | Way::Post => self.plan.patience.connection,
        };
        let until = self.until(now, patience.saturating_mul(self.pass.factor()));
        let asked = self.targets.get_mut(target)?;
        let lane = asked.lane(way);
        // Another answer may have closed it meanwhile.
        if !lane.is_open() {
            return None;
        }
        lane.tries = lane.tries.saturating_add(1);
        self.current = Current::Attempt { target, way, began: now, until };
        Some(match (&asked.place, way) {
            (Place::Proxy(url), _) => Step::Post { url: url.clone(), until },
            (Place::Socket(to), Way::Datagram) => Step::Datagram { to: *to, send: true, until },
            (Place::Socket(to), _) => Step::Connection { to: *to, until },
        })
    }

    /// The step that goes on listening for a datagram.
    fn listening(&self, target: usize, way: Way, until: Instant) -> Option<Step> {
        match (&self.targets.get(target)?.place, way) {
            (Place::Socket(to), Way::Datagram) => Some(Step::Datagram { to: *to, send: false, until }),
            _ => None,
        }
    }

    /// The current attempt came to this.
    fn fail(&mut self, trouble: Trouble, now: Instant) {
        let Current::Attempt { target, way, began, until } = self.current else { return };
        self.current = Current::Nothing;
        let waited = now.min(until).saturating_duration_since(began);
        let silent = trouble == Trouble::Silent;
        let unavailable = trouble == Trouble::Unavailable;
        self.with_lane(target, way, |lane| lane.fail(trouble, waited));
        let Some(asked) = self.targets.get_mut(target) else { return };
        if unavailable {
            asked.give_up();
        } else if way == Way::Datagram && !silent && asked.connection.is_open() {
            // Now, instead of when its turn comes in this pass.
            let same = |job: &Job| matches!(job, Job::Ask(other, Way::Connection) if *other == target);
            self.queue.retain(|job| !same(job));
            self.queue.push_front(Job::Ask(target, Way::Connection));
        }
    }

    fn with_lane(&mut self, target: usize, way: Way, change: impl FnOnce(&mut target::Lane)) {
        if let Some(target) = self.targets.get_mut(target) {
            change(target.lane(way));
        }
    }

    /// Fills the queue for the next pass; `false` if there is none.
    fn next_pass(&mut self) -> bool {
        let last = self.plan.patience.passes.clamp(1, MAX_PASSES).saturating_sub(1);
        let (pass, wanted) = match self.pass {
            Pass::First => (Pass::OtherTransport, State::Untried),
            Pass::OtherTransport if last == 0 => return false,
            Pass::OtherTransport => (Pass::Again(1), State::Silent),
            Pass::Again(number) if number >= last => return false,
            Pass::Again(number) => (Pass::Again(number.saturating_add(1)), State::Silent),
        };
        self.pass = pass;
        let ways = Way::in_order(self.prefers_udp());
        for (number, target) in self.targets.iter_mut().enumerate() {
            let wanted = ways.into_iter().filter(|way| target.lane(*way).state == wanted);
            self.queue.extend(wanted.map(|way| Job::Ask(number, way)).collect::<Vec<_>>());
        }
        true
    }

    fn prefers_udp(&self) -> bool {
        self.plan.length <= self.plan.udp_preference_limit
    }

    fn until(&self, now: Instant, wait: Duration) -> Instant {
        after(now, wait).min(self.plan.end)
    }
}

impl Pass {
    /// How many times as long as at first is waited.
    fn factor(self) -> u32 {
        match self {
            Self::First | Self::OtherTransport => 1,
            Self::Again(number) => 1_u32.checked_shl(number).unwrap_or(1),
        }
    }
}

/// What is wrong with an answer, if it is not the answer that is waited for.
fn judge(answer: &[u8], way: Way, accepts: &mut dyn FnMut(&[u8]) -> bool) -> Option<Trouble> {
    if !is_kdc_message(answer) {
        return Some(Trouble::NotKerberos);
    }
    match KrbError::parse(answer).map(|error| error.error_code) {
        Ok(KRB_ERR_RESPONSE_TOO_BIG) if way == Way::Datagram => Some(Trouble::TooLongForUdp),
        Ok(KDC_ERR_SVC_UNAVAILABLE) => Some(Trouble::Unavailable),
        _ => (!accepts(answer)).then_some(Trouble::Foreign),
    }
}

/// Whether the bytes are one element with the tag of an AS-REP, a TGS-REP or a KRB-ERROR.
fn is_kdc_message(bytes: &[u8]) -> bool {
    let message = Reader::whole(bytes, |reader| reader.any().map(|(identifier, _)| identifier));
    [11, 13, 30].map(tag::application).iter().any(|known| message == Ok(*known))
}
