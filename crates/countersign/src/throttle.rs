//! What is logged of refusals before authentication: anybody can cause them, so each address has a few lines a second, and
//! the rest is counted and told in one.

use crate::limits::source;
use crate::recent::Recent;
use countersign_proto::error::Code;
use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The time for which lines are counted.
const SPAN: Duration = Duration::from_secs(1);

/// How many different codes of one address are counted apart.
const CODES: usize = 8;

/// How much is logged in a second. Memory is bounded by `addresses` times about 400 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThrottleLimits {
    /// Lines of one address; for IPv6 of one network of 64 bits.
    pub per_address: u32,
    /// Lines in all, against an attacker with many addresses.
    pub in_all: u32,
    /// How many addresses are counted apart: of more, those seen last.
    pub addresses: usize,
    /// How many addresses have a summary of their own when the second is over; the others share one.
    pub summaries: usize,
}

impl Default for ThrottleLimits {
    fn default() -> Self {
        Self { per_address: 10, in_all: 100, addresses: 4_096, summaries: 10 }
    }
}

/// Says which refusals are logged, and what stands for the others. It reads no clock: `now` must not run backwards.
///
/// A second begins with the first refusal after the one before it is over. What was counted in it is told by the next
/// [`refused`](Self::refused) or [`over`](Self::over); a program calls the latter about once a second.
pub struct RefusalThrottle {
    limits: ThrottleLimits,
    /// When the second that is counted began.
    since: Option<Instant>,
    lines: u32,
    sources: Recent<IpAddr, Source>,
    /// Of addresses that gave way to others within the second.
    rest: Suppressed,
}

/// What is to be done about one refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Whether it is logged; if not it is counted.
    pub log: bool,
    /// What stands for the refusals of a second that is over, to be logged before.
    pub over: Vec<Summary>,
}

/// One line for the refusals that were not logged: `127.0.0.9: 4,312 more refusals in 1 s, most often CS-1001`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Whose they were: an address, for IPv6 the first of its network of 64 bits; `None` for all other addresses.
    pub address: Option<IpAddr>,
    /// How many.
    pub refusals: u64,
    /// The code that most of them had.
    pub most_often: Option<Code>,
}

#[derive(Default)]
struct Source {
    lines: u32,
    suppressed: Suppressed,
}

#[derive(Default)]
struct Suppressed {
    refusals: u64,
    codes: Vec<(Code, u64)>,
}

impl RefusalThrottle {
    /// Nothing was refused yet.
    #[must_use]
    pub fn new(limits: ThrottleLimits) -> Self {
        let (sources, rest) = (Recent::new(limits.addresses), Suppressed::default());
        Self { limits, since: None, lines: 0, sources, rest }
    }

    /// Counts a refusal with `code` of a peer at `address`.
    pub fn refused(&mut self, address: IpAddr, code: Code, now: Instant) -> Decision {
        let over = self.over(now);
        self.since.get_or_insert(now);
        let (source, displaced) = self.sources.used(source(address));
        if let Some(displaced) = displaced {
            self.rest.join(displaced.suppressed);
        }
        let log = source.lines < self.limits.per_address && self.lines < self.limits.in_all;
        if log {
            source.lines = source.lines.saturating_add(1);
            self.lines = self.lines.saturating_add(1);
        } else {
            source.suppressed.add(code, 1);
        }
        Decision { log, over }
    }

    /// What stands for the refusals that were not logged, if their second is over: by falling number, and last all
    /// addresses that have no line of their own.
    pub fn over(&mut self, now: Instant) -> Vec<Summary> {
        match self.since {
            Some(since) if now.saturating_duration_since(since) >= SPAN => self.end(),
            _ => Vec::new(),
        }
    }

    /// Ends the second early: for a program that ends.
    pub fn end(&mut self) -> Vec<Summary> {
        (self.since, self.lines) = (None, 0);
        let mut rest = std::mem::take(&mut self.rest);
        let mut counted: Vec<_> =
            self.sources.drain().filter(|(_, source)| source.suppressed.refusals > 0).collect();
        counted.sort_unstable_by_key(|(address, source)| (Reverse(source.suppressed.refusals), *address));
        let others = counted.split_off(self.limits.summaries.min(counted.len()));
        others.into_iter().for_each(|(_, source)| rest.join(source.suppressed));
        let mut summaries: Vec<_> =
            counted.into_iter().map(|(address, source)| source.suppressed.summary(Some(address))).collect();
        if rest.refusals > 0 {
            summaries.push(rest.summary(None));
        }
        summaries
    }
}

impl Suppressed {
    fn add(&mut self, code: Code, count: u64) {
        self.refusals = self.refusals.saturating_add(count);
        if let Some((_, counted)) = self.codes.iter_mut().find(|(known, _)| *known == code) {
            *counted = counted.saturating_add(count);
        } else if self.codes.len() < CODES {
            self.codes.push((code, count));
        }
    }

    fn join(&mut self, other: Self) {
        let refusals = self.refusals.saturating_add(other.refusals);
        other.codes.into_iter().for_each(|(code, count)| self.add(code, count));
        // Of codes that are not counted apart too.
        self.refusals = refusals;
    }

    fn summary(self, address: Option<IpAddr>) -> Summary {
        let most_often = self.codes.iter().max_by_key(|(_, count)| *count).map(|(code, _)| *code);
        Summary { address, refusals: self.refusals, most_often }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(network)) => write!(f, "{network}/64")?,
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("other addresses")?,
        }
        let (count, noun) = (grouped(self.refusals), if self.refusals == 1 { "refusal" } else { "refusals" });
        write!(f, ": {count} more {noun} in {} s", SPAN.as_secs())?;
        self.most_often.map_or(Ok(()), |code| write!(f, ", most often {code}"))
    }
}

/// `4312` as `4,312`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.char_indices() {
        let left = digits.len().saturating_sub(index);
        if index > 0 && left.is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::error::code::{FRAME_EMPTY, TOKEN_UNRECOGNISED};

    fn throttle() -> RefusalThrottle {
        RefusalThrottle::new(ThrottleLimits::default())
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn lines(summaries: &[Summary]) -> Vec<String> {
        summaries.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_has_ten_lines_a_second_and_one_for_the_rest() {
        let (mut throttle, start) = (throttle(), Instant::now());
        let logged =
            (0..4_322).filter(|_| throttle.refused(ip("127.0.0.9"), TOKEN_UNRECOGNISED, start).log).count();
        assert_eq!(logged, 10);
        assert_eq!(throttle.over(start + SPAN / 2), []);
        let over = throttle.over(start + SPAN);
        assert_eq!(lines(&over), ["127.0.0.9: 4,312 more refusals in 1 s, most often CS-1001"]);
        assert_eq!(throttle.over(start + SPAN * 2), [], "it is told once");
    }

    #[test]
    fn a_new_second_brings_new_lines_and_tells_of_the_last_one_first() {
        let (mut throttle, start) = (throttle(), Instant::now());
        for _ in 0..11 {
            throttle.refused(ip("127.0.0.9"), FRAME_EMPTY, start);
        }
        let decision = throttle.refused(ip("127.0.0.8"), FRAME_EMPTY, start + SPAN);
        assert!(decision.log);
        assert_eq!(lines(&decision.over), ["127.0.0.9: 1 more refusal in 1 s, most often CS-8001"]);
        assert!(throttle.refused(ip("127.0.0.9"), FRAME_EMPTY, start + SPAN).log);
    }

    #[test]
    fn one_address_takes_no_lines_from_another() {
        let (mut throttle, start) = (throttle(), Instant::now());
        for _ in 0..100 {
            throttle.refused(ip("192.0.2.1"), FRAME_EMPTY, start);
        }
        assert!(throttle.refused(ip("192.0.2.2"), FRAME_EMPTY, start).log);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address_and_a_mapped_address_is_itself() {
        let (mut throttle, start) = (throttle(), Instant::now());
        for host in 0..11_u16 {
            throttle.refused(ip(&format!("2001:db8::{host:x}")), FRAME_EMPTY, start);
            throttle.refused(ip(&format!("::ffff:192.0.2.{host}")), FRAME_EMPTY, start);
        }
        let over = throttle.over(start + SPAN);
        assert_eq!(lines(&over), ["2001:db8::/64: 1 more refusal in 1 s, most often CS-8001"]);
    }

    #[test]
    fn many_addresses_have_a_bounded_number_of_lines_and_summaries_and_none_is_uncounted() {
        let limits = ThrottleLimits { addresses: 50, ..ThrottleLimits::default() };
        let (mut throttle, start) = (RefusalThrottle::new(limits), Instant::now());
        let mut logged = 0;
        for host in 0..=u16::MAX {
            let [high, low] = host.to_be_bytes();
            logged += u64::from(throttle.refused([10, 0, high, low].into(), FRAME_EMPTY, start).log);
        }
        assert_eq!((logged, throttle.sources.len()), (100, 50));
        let over = throttle.over(start + SPAN);
        assert_eq!((over.len(), over.last().unwrap().address), (11, None));
        let counted: u64 = over.iter().map(|summary| summary.refusals).sum();
        assert_eq!(counted + logged, 65_536);
        assert!(over.last().unwrap().to_string().starts_with("other addresses: 65,426 more refusals"));
    }

    #[test]
    fn the_code_that_came_most_often_is_named_even_where_there_are_more_than_are_counted() {
        let (mut throttle, start) = (throttle(), Instant::now());
        for code in countersign_proto::error::code::ALL {
            throttle.refused(ip("192.0.2.1"), *code, start);
        }
        for _ in 0..5 {
            throttle.refused(ip("192.0.2.1"), countersign_proto::error::code::ALL[12], start);
        }
        let over = throttle.end();
        assert_eq!(over[0].most_often, Some(countersign_proto::error::code::ALL[12]));
        assert_eq!(over[0].refusals as usize, countersign_proto::error::code::ALL.len() - 5);
    }

    #[test]
    fn numbers_are_grouped_by_three_digits() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
    }
}
