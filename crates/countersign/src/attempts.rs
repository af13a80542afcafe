//! Failed attempts: who fails often waits longer for each refusal, and an address that goes on is not let in for a while.
//!
//! Nobody can lock out anybody else with this:
//!
//! - Only refusals wait. A client that proves itself is let in at once, whatever was counted against its name before, so
//!   whoever fails in the name of another costs that one at most [`AttemptLimits::longest_delay`] for a mistake of its own.
//! - Against a name counts only what came with its password's or its ticket's weight: a ticket that one of our keys opened
//!   and that was refused for something else, or a wrong NTLM proof. What a recorded or a late AP-REQ says of its client
//!   (a replay, a clock that is off) counts against the address it came from and nothing else: anybody can send those.
//! - Only an address is ever shut out, and only for its own failures: it cannot be forged on a connection that is
//!   established. Clients behind one address share its fate; a success of any of them forgives all of them.
//! - What says nothing of the client's intent is not counted: connections that end or idle away, faults of this end.
//! - Loopback's 127.0.0.1 and ::1 are everybody on this machine, so they are not counted unless that is asked for.

use crate::handshake::Failure;
use crate::limits::source;
use crate::mutex::lock;
use crate::recent::Recent;
use countersign_proto::error::{Code, Explain, Fault, code};
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The first delay; each failure after it doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// How many failures are borne. Memory is bounded by `entries` times about 400 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptLimits {
    /// The time in which failures are counted together, from the first of them.
    pub window: Duration,
    /// Failures of one address, or in one name, after which refusals wait; `None`: they never do.
    pub delay_after: Option<u32>,
    /// The longest that a refusal waits.
    pub longest_delay: Duration,
    /// Failures of one address after which its connections are closed at once; `None`: they never are.
    pub block_after: Option<u32>,
    /// How long they are.
    pub block_for: Duration,
    /// Addresses that are counted, and as many names: of more, those that failed last.
    pub entries: usize,
    /// Whether 127.0.0.1 and ::1 are counted like other addresses.
    pub count_loopback: bool,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            delay_after: Some(10),
            longest_delay: Duration::from_secs(2),
            block_after: Some(100),
            block_for: Duration::from_secs(60),
            entries: 16_384,
            count_loopback: false,
        }
    }
}

/// A handshake that failed by the client's doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attempt {
    address: IpAddr,
    /// In whose name, if it counts against a name.
    name: Option<String>,
}

/// Whether what failed shows that its client holds a key: who only recorded an AP-REQ can send it again.
#[must_use]
pub fn proves_a_client(failure: &Failure) -> bool {
    failure.facts.is_some() && !SAYS_NOTHING_OF_ITS_CLIENT.contains(&failure.refusal.code())
}

impl Attempt {
    /// The attempt that `failure` was, of a client at `address`; `None` if it was none: the network's fault, or ours.
    #[must_use]
    pub fn of(address: IpAddr, failure: &Failure) -> Option<Self> {
        let code = failure.refusal.code();
        match code.fault() {
            Fault::PeerMisbehaved | Fault::Mismatch | Fault::Policy => (),
            Fault::Configuration | Fault::Environment | Fault::Caller => return None,
        }
        let name = if code == code::NTLM_PROOF_WRONG {
            // Only the text says which account it was.
            Some(failure.refusal.saw().to_lowercase())
        } else if SAYS_NOTHING_OF_ITS_CLIENT.contains(&code) {
            None
        } else {
            failure.facts.as_ref().map(|facts| facts.client())
        };
        Some(Self { address, name })
    }
}

/// Refusals of AP-REQs that somebody else than their client can have sent.
const SAYS_NOTHING_OF_ITS_CLIENT: [Code; 4] =
    [code::REPLAY, code::CLOCK_SKEW, code::REPLAY_HORIZON, code::REPLAY_CLIENT_SHARE_USED];

/// Counts failed attempts. It reads no clock: every call is given the time.
pub struct FailedAttempts {
    limits: AttemptLimits,
    /// Names are kept as hashes: their length is the clients' choice.
    hasher: RandomState,
    counts: Mutex<Counts>,
    /// How many addresses are counted: where none is, no lock is taken.
    addresses: AtomicUsize,
}

struct Counts {
    addresses: Recent<IpAddr, Count>,
    names: Recent<u64, Count>,
}

/// The failures of one address or in one name.
#[derive(Default)]
struct Count {
    failures: u32,
    since: Option<Instant>,
    blocked_until: Option<Instant>,
}

impl FailedAttempts {
    /// Nobody failed yet.
    #[must_use]
    pub fn new(limits: AttemptLimits) -> Self {
        let counts = Counts { addresses: Recent::new(limits.entries), names: Recent::new(limits.entries) };
        let (hasher, addresses) = (RandomState::new(), AtomicUsize::new(0));
        Self { limits, hasher, counts: Mutex::new(counts), addresses }
    }

    /// Whether a connection from `address` may begin a handshake.
    ///
    /// # Errors
    /// [`Blocked`] if the address is shut out: the connection is to be closed without a word.
    pub fn admits(&self, address: IpAddr, now: Instant) -> Result<(), Blocked> {
        if self.addresses.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let source_address = source(address);
        let counts = lock(&self.counts);
        let until = counts.addresses.get(&source_address).and_then(|count| count.blocked_until);
        match until.map(|until| until.saturating_duration_since(now)) {
            Some(left) if !left.is_zero() => Err(Blocked { source_address, left }),
            _ => Ok(()),
        }
    }

    /// Counts an attempt, and says how long its refusal is to wait before the client is told of it.
    pub fn failed(&self, attempt: &Attempt, now: Instant) -> Duration {
        let mut counts = lock(&self.counts);
        let by_address = self.count_address(&mut counts, attempt.address, now);
        let by_name = attempt.name.as_ref().map(|name| {
            let (count, _) = counts.names.used(self.hasher.hash_one(name));
            count.add(self.limits.window, now)
        });
        by_address.into_iter().chain(by_name).map(|failures| self.delay(failures)).max().unwrap_or_default()
    }

    /// A client at `address` proved itself: what was counted against the address is forgiven.
    pub fn succeeded(&self, address: IpAddr) {
        if self.addresses.load(Ordering::Relaxed) > 0 {
            let mut counts = lock(&self.counts);
            counts.addresses.remove(&source(address));
            self.addresses.store(counts.addresses.len(), Ordering::Relaxed);
        }
    }

    fn count_address(&self, counts: &mut Counts, address: IpAddr, now: Instant) -> Option<u32> {
        let source = source(address);
        let shared_by_all = [IpAddr::from(Ipv4Addr::LOCALHOST), self::source(Ipv6Addr::LOCALHOST.into())];
        if shared_by_all.contains(&source) && !self.limits.count_loopback {
            return None;
        }
        let (count, _) = counts.addresses.used(source);
        let failures = count.add(self.limits.window, now);
        if self.limits.block_after.is_some_and(|limit| failures > limit) {
            count.blocked_until = now.checked_add(self.limits.block_for);
        }
        self.addresses.store(counts.addresses.len(), Ordering::Relaxed);
        Some(failures)
    }

    fn delay(&self, failures: u32) -> Duration {
        let over = match self.limits.delay_after {
            Some(free) if failures > free => failures.saturating_sub(free),
            _ => return Duration::ZERO,
        };
        let doubled = 1_u32.checked_shl(over.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST_DELAY.saturating_mul(doubled).min(self.limits.longest_delay)
    }
}

impl Count {
    fn add(&mut self, window: Duration, now: Instant) -> u32 {
        match self.since {
            Some(since) if now.saturating_duration_since(since) < window => (),
            _ => (self.failures, self.since) = (0, Some(now)),
        }
        self.failures = self.failures.saturating_add(1);
        self.failures
    }
}

/// An address is shut out for what it failed at before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a connection from {source_address}, of which too many handshakes failed")]
pub struct Blocked {
    /// The address; for IPv6 the first of its network of 64 bits.
    pub source_address: IpAddr,
    /// For how long it still is.
    pub left: Duration,
}

impl Explain for Blocked {
    fn code(&self) -> Code {
        code::ATTEMPTS_BLOCKED
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        format!("no more of them for another {} s", self.left.as_secs().saturating_add(1)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::context::Rejected;
    use countersign_proto::error::Refusal;

    const MINUTE: Duration = Duration::from_secs(60);

    fn attempt(address: &str) -> Attempt {
        Attempt { address: address.parse().unwrap(), name: None }
    }

    fn in_name(address: &str, name: &str) -> Attempt {
        Attempt { name: Some(name.to_owned()), ..attempt(address) }
    }

    fn admits(attempts: &FailedAttempts, address: &str, now: Instant) -> bool {
        attempts.admits(address.parse().unwrap(), now).is_ok()
    }

    fn failure(code: Code) -> Failure {
        let refusal = Refusal::new(code, "NTLM proof for EXAMPLE\\Alice", "nothing");
        Box::new(Rejected { refusal, claimed_service: None, facts: None })
    }

    #[test]
    fn ten_failures_in_a_minute_are_free_and_then_refusals_wait_up_to_two_seconds() {
        let (attempts, now) = (FailedAttempts::new(AttemptLimits::default()), Instant::now());
        let waited: Vec<_> =
            (0..20).map(|_| attempts.failed(&attempt("192.0.2.1"), now).as_millis()).collect();
        assert_eq!(waited[..10], [0; 10]);
        assert_eq!(waited[10..], [50, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000, 2_000]);
        assert_eq!(attempts.failed(&attempt("192.0.2.1"), now + MINUTE), Duration::ZERO, "a new minute");
        assert_eq!(attempts.failed(&attempt("192.0.2.2"), now), Duration::ZERO, "another address");
    }

    #[test]
    fn an_address_that_goes_on_is_shut_out_for_a_while_and_no_other() {
        let (attempts, now) = (FailedAttempts::new(AttemptLimits::default()), Instant::now());
        for count in 0..101 {
            assert!(admits(&attempts, "192.0.2.1", now), "after {count}");
            attempts.failed(&attempt("192.0.2.1"), now);
        }
        let blocked = attempts.admits("::ffff:192.0.2.1".parse().unwrap(), now).unwrap_err();
        assert_eq!((blocked.code(), blocked.left), (code::ATTEMPTS_BLOCKED, MINUTE));
        assert!(admits(&attempts, "192.0.2.2", now));
        assert!(!admits(&attempts, "192.0.2.1", now + MINUTE - Duration::from_secs(1)));
        assert!(admits(&attempts, "192.0.2.1", now + MINUTE));
    }

    #[test]
    fn a_success_forgives_the_address() {
        let (attempts, now) = (FailedAttempts::new(AttemptLimits::default()), Instant::now());
        (0..200).for_each(|_| _ = attempts.failed(&attempt("192.0.2.1"), now));
        attempts.succeeded("192.0.2.1".parse().unwrap());
        assert!(admits(&attempts, "192.0.2.1", now));
        assert_eq!(attempts.failed(&attempt("192.0.2.1"), now), Duration::ZERO);
    }

    #[test]
    fn a_name_that_fails_from_many_addresses_waits_and_shuts_nobody_out() {
        let (attempts, now) = (FailedAttempts::new(AttemptLimits::default()), Instant::now());
        let mut last = Duration::ZERO;
        for host in 0..=u8::MAX {
            last = attempts.failed(&in_name(&format!("192.0.2.{host}"), "alice@EXAMPLE.TEST"), now);
        }
        assert_eq!(last, Duration::from_secs(2));
        assert!(admits(&attempts, "192.0.2.7", now));
        assert_eq!(attempts.failed(&in_name("198.51.100.1", "bob@EXAMPLE.TEST"), now), Duration::ZERO);
        // Nor does a success elsewhere forgive the name: the attacker could be let in under another.
        attempts.succeeded("192.0.2.7".parse().unwrap());
        let again = attempts.failed(&in_name("198.51.100.2", "alice@EXAMPLE.TEST"), now);
        assert_eq!(again, Duration::from_secs(2));
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let limits = AttemptLimits { block_after: Some(1), ..AttemptLimits::default() };
        let (attempts, now) = (FailedAttempts::new(limits), Instant::now());
        attempts.failed(&attempt("2001:db8::1"), now);
        attempts.failed(&attempt("2001:db8::2"), now);
        assert!(!admits(&attempts, "2001:db8::3", now) && admits(&attempts, "2001:db8:0:1::1", now));
    }

    #[test]
    fn the_address_that_all_programs_of_this_machine_share_is_counted_only_if_that_is_asked_for() {
        for (count_loopback, address, admitted) in [
            (false, "127.0.0.1", true),
            (false, "::1", true),
            (true, "127.0.0.1", false),
            (true, "::1", false),
            (false, "127.0.0.9", false),
        ] {
            let limits = AttemptLimits { block_after: Some(2), count_loopback, ..AttemptLimits::default() };
            let (attempts, now) = (FailedAttempts::new(limits), Instant::now());
            (0..3).for_each(|_| _ = attempts.failed(&attempt(address), now));
            assert_eq!(admits(&attempts, address, now), admitted, "{address} {count_loopback}");
        }
    }

    #[test]
    fn both_can_be_switched_off() {
        let limits = AttemptLimits { delay_after: None, block_after: None, ..AttemptLimits::default() };
        let (attempts, now) = (FailedAttempts::new(limits), Instant::now());
        let longest = (0..1_000).map(|_| attempts.failed(&in_name("192.0.2.1", "alice"), now)).max();
        assert!(longest == Some(Duration::ZERO) && admits(&attempts, "192.0.2.1", now));
    }

    #[test]
    fn memory_is_bounded_and_who_failed_last_is_remembered() {
        let limits = AttemptLimits { entries: 10, block_after: Some(0), ..AttemptLimits::default() };
        let (attempts, now) = (FailedAttempts::new(limits), Instant::now());
        for host in 0..=u8::MAX {
            attempts.failed(&in_name(&format!("192.0.2.{host}"), &format!("user{host}")), now);
        }
        let counts = lock(&attempts.counts);
        assert_eq!((counts.addresses.len(), counts.names.len()), (10, 10));
        drop(counts);
        assert!(!admits(&attempts, "192.0.2.255", now) && admits(&attempts, "192.0.2.1", now));
    }

    #[test]
    fn what_the_client_did_not_do_is_no_attempt() {
        let address = "192.0.2.1".parse().unwrap();
        for code in
            [code::CONNECTION_CUT, code::HANDSHAKE_DEADLINE, code::REPLAY_STORE_FULL, code::NOT_RECORDED]
        {
            assert_eq!(Attempt::of(address, &failure(code)), None, "{code}");
        }
        for code in [code::TOKEN_UNRECOGNISED, code::REPLAY, code::CLOCK_SKEW, code::TICKET_INTEGRITY] {
            assert_eq!(Attempt::of(address, &failure(code)), Some(attempt("192.0.2.1")), "{code}");
        }
    }

    #[test]
    fn a_wrong_ntlm_proof_counts_against_the_account_however_it_is_spelled() {
        let address = "192.0.2.1".parse().unwrap();
        let attempt = Attempt::of(address, &failure(code::NTLM_PROOF_WRONG)).unwrap();
        assert_eq!(attempt.name.as_deref(), Some("ntlm proof for example\\alice"));
    }
}
