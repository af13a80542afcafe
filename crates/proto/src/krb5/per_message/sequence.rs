//! The order of messages: 64-bit numbers, a window for those that may come late.

use super::MessageError;

/// How strictly numbers must follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SequenceMode {
    /// Every number is the next one, as on a stream: anything else is an error.
    Strict,
    /// Numbers may be missing or late, none may come twice, as with datagrams; none may be later than 64 numbers.
    Window,
}

/// A message's place among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// It is the next one.
    InOrder,
    /// Messages before it are missing so far.
    Gap,
    /// It is one of those that were missing.
    Late,
}

const WINDOW: u64 = 64;

/// What of a direction's numbers was seen. Numbers count from the first of the handshake, so that they never wrap.
pub(super) struct SequenceWindow {
    first: u64,
    /// The number after the highest that was seen.
    next: u64,
    /// Bit n: the number `next - 1 - n` was seen.
    seen: u64,
    mode: SequenceMode,
}

impl SequenceWindow {
    pub(super) fn new(first: u64, mode: SequenceMode) -> Self {
        Self { first, next: 0, seen: 0, mode }
    }

    /// Takes the number of a message whose integrity was verified.
    pub(super) fn admit(&mut self, seq: u64) -> Result<Order, MessageError> {
        // A number before the first of the handshake wraps to an enormous one; no honest direction comes near either.
        let seq = seq.wrapping_sub(self.first);
        if seq >= 1 << 63 {
            return Err(MessageError::Replayed { seq });
        }
        if seq < self.next { self.admit_late(seq) } else { self.admit_ahead(seq) }
    }

    /// Takes the number of a verified message that bears the low 32 bits of it: the nearest to the next one is meant.
    /// `numbers` is how many the direction has, at most 2^32, as nothing tells later ones from the first.
    pub(super) fn admit_low_bits(&mut self, low: u32, numbers: u64) -> Result<Order, MessageError> {
        let due = self.first.wrapping_add(self.next) as u32;
        let ahead = low.wrapping_sub(due).cast_signed();
        let seq = self.next.wrapping_add_signed(ahead.into());
        if (numbers..1 << 63).contains(&seq) {
            return Err(MessageError::SequenceExhausted);
        }
        self.admit(self.first.wrapping_add(seq))
    }

    fn admit_ahead(&mut self, seq: u64) -> Result<Order, MessageError> {
        let skipped = seq.saturating_sub(self.next);
        if skipped > 0 && self.mode == SequenceMode::Strict {
            return Err(MessageError::OutOfOrder { seq, expected: self.next });
        }
        let shift = u32::try_from(skipped.saturating_add(1)).unwrap_or(u32::MAX);
        self.seen = self.seen.checked_shl(shift).unwrap_or(0) | 1;
        self.next = seq.saturating_add(1);
        Ok(if skipped == 0 { Order::InOrder } else { Order::Gap })
    }

    fn admit_late(&mut self, seq: u64) -> Result<Order, MessageError> {
        let age = self.next.saturating_sub(1).saturating_sub(seq);
        let bit = if age < WINDOW { 1_u64 << age } else { 0 };
        if bit == 0 || self.seen & bit != 0 {
            return Err(MessageError::Replayed { seq });
        }
        // In strict mode no number below the next one can be missing, so this is reached in a window only.
        self.seen |= bit;
        Ok(Order::Late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = 1 << 32;

    fn window(mode: SequenceMode) -> SequenceWindow {
        SequenceWindow::new(1_000, mode)
    }

    #[test]
    fn a_stream_takes_the_next_number_and_no_other() {
        let mut stream = window(SequenceMode::Strict);
        assert_eq!(stream.admit(1_000), Ok(Order::InOrder));
        assert_eq!(stream.admit(1_000), Err(MessageError::Replayed { seq: 0 }));
        assert_eq!(stream.admit(1_002), Err(MessageError::OutOfOrder { seq: 2, expected: 1 }));
        assert_eq!(stream.admit(1_001), Ok(Order::InOrder));
        assert!(stream.admit(999).is_err());
    }

    #[test]
    fn a_window_takes_late_numbers_once() {
        let mut datagrams = window(SequenceMode::Window);
        assert_eq!(datagrams.admit(1_000), Ok(Order::InOrder));
        assert_eq!(datagrams.admit(1_005), Ok(Order::Gap));
        assert_eq!(datagrams.admit(1_003), Ok(Order::Late));
        assert_eq!(datagrams.admit(1_003), Err(MessageError::Replayed { seq: 3 }));
        assert_eq!(datagrams.admit(1_006), Ok(Order::InOrder));
        assert_eq!(datagrams.admit(1_200), Ok(Order::Gap));
        assert_eq!(datagrams.admit(1_136), Err(MessageError::Replayed { seq: 136 }));
        assert_eq!(datagrams.admit(1_137), Ok(Order::Late));
    }

    #[test]
    fn no_number_is_ever_taken_twice() {
        let mut datagrams = window(SequenceMode::Window);
        let mut taken = std::collections::BTreeSet::new();
        let mut state = 12_345_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let seq = 1_000 + (state >> 40) % 300;
            if datagrams.admit(seq).is_ok() {
                assert!(taken.insert(seq), "{seq}");
            }
        }
        assert!(taken.len() > 10);
    }

    #[test]
    fn numbers_go_on_past_32_bits() {
        let mut stream = SequenceWindow::new(u64::from(u32::MAX), SequenceMode::Strict);
        assert_eq!(stream.admit(u64::from(u32::MAX)), Ok(Order::InOrder));
        assert_eq!(stream.admit(1 << 32), Ok(Order::InOrder));
    }

    #[test]
    fn low_bits_stand_for_the_nearest_number() {
        let mut datagrams = SequenceWindow::new(u64::from(u32::MAX) - 1, SequenceMode::Window);
        assert_eq!(datagrams.admit_low_bits(u32::MAX - 1, ALL), Ok(Order::InOrder));
        assert_eq!(datagrams.admit_low_bits(1, ALL), Ok(Order::Gap));
        assert_eq!(datagrams.admit_low_bits(u32::MAX, ALL), Ok(Order::Late));
        assert_eq!(datagrams.admit_low_bits(0, ALL), Ok(Order::Late));
        assert_eq!(datagrams.admit_low_bits(0, ALL), Err(MessageError::Replayed { seq: 2 }));
        assert_eq!(datagrams.admit_low_bits(2, ALL), Ok(Order::InOrder));
        assert!(matches!(datagrams.admit_low_bits(u32::MAX - 2, ALL), Err(MessageError::Replayed { .. })));
        assert!(matches!(datagrams.admit_low_bits(0x9000_0000, ALL), Err(MessageError::Replayed { .. })));
    }

    #[test]
    fn low_bits_are_not_taken_a_second_time_around() {
        let mut datagrams = window(SequenceMode::Window);
        datagrams.next = (1 << 32) - 1;
        assert_eq!(datagrams.admit_low_bits(999, ALL), Ok(Order::InOrder));
        assert_eq!(datagrams.admit_low_bits(1_000, ALL), Err(MessageError::SequenceExhausted));
    }

    #[test]
    fn a_direction_that_has_fewer_numbers_ends_with_the_last() {
        let mut datagrams = window(SequenceMode::Window);
        assert_eq!(datagrams.admit_low_bits(1_001, 2), Ok(Order::Gap));
        assert_eq!(datagrams.admit_low_bits(1_002, 2), Err(MessageError::SequenceExhausted));
        assert_eq!(datagrams.admit_low_bits(1_000, 2), Ok(Order::Late));
    }
}
