//! AV pairs (MS-NLMP section 2.2.2.1): `id u16 | length u16 | value`, the last one id 0 without a value. The server sends
//! them in its CHALLENGE; the client puts them and its own into its NT response, where the proof protects them.

use super::text::from_utf16;
use super::{Counted, LayoutError};
use crate::gss::BindingsHash;
use crate::time::Timestamp;

/// Ids of AV pairs.
pub mod av_id {
    /// The end.
    pub const EOL: u16 = 0;
    /// NetBIOS name of the server.
    pub const NB_COMPUTER_NAME: u16 = 1;
    /// NetBIOS name of its domain.
    pub const NB_DOMAIN_NAME: u16 = 2;
    /// DNS name of the server.
    pub const DNS_COMPUTER_NAME: u16 = 3;
    /// DNS name of its domain.
    pub const DNS_DOMAIN_NAME: u16 = 4;
    /// [`AvFlags`](super::AvFlags).
    pub const FLAGS: u16 = 6;
    /// The server's time.
    pub const TIMESTAMP: u16 = 7;
    /// The service that the client means to reach, as an SPN.
    pub const TARGET_NAME: u16 = 9;
    /// Hash of the client's channel bindings.
    pub const CHANNEL_BINDINGS: u16 = 10;
}

/// The value of the AV pair of that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AvFlags(pub u32);

impl AvFlags {
    /// The AUTHENTICATE carries a MIC.
    pub const MIC: Self = Self(2);
    /// The client had the target's name from a source that it does not trust.
    pub const UNVERIFIED_TARGET_NAME: Self = Self(4);

    /// Whether every bit of `flags` is set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// AV pairs that were read: whole, ended, and none twice.
#[derive(Clone, Copy)]
pub struct AvPairs<'m>(
    /// Up to the pair that ends them.
    &'m [u8],
);

impl<'m> AvPairs<'m> {
    /// Reads pairs up to the one that ends them; what comes after it is not looked at.
    ///
    /// # Errors
    /// If a pair is cut short, the last one is missing, or an id comes twice: then two readers could believe two things.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, LayoutError> {
        let mut rest = bytes;
        let mut seen = 0_u64;
        loop {
            let (id, value, after) = split_pair(rest).ok_or(LayoutError::AvPairsCut)?;
            if id == av_id::EOL {
                let length = bytes.len().saturating_sub(rest.len());
                return Ok(Self(bytes.get(..length).unwrap_or_default()));
            }
            // Ids that are not in use yet have no meaning here, so that it does not matter how often they come.
            let bit = 1_u64.checked_shl(id.into()).unwrap_or(0);
            if seen & bit != 0 {
                return Err(LayoutError::AvPairTwice(id));
            }
            seen |= bit;
            check_length(id, value)?;
            rest = after;
        }
    }

    /// Every pair but the end, in order.
    pub fn iter(self) -> impl Iterator<Item = (u16, &'m [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (id, value, after) = split_pair(rest)?;
            rest = after;
            Some((id, value))
        })
    }

    /// The value of a pair.
    #[must_use]
    pub fn get(self, id: u16) -> Option<&'m [u8]> {
        self.iter().find(|pair| pair.0 == id).map(|pair| pair.1)
    }

    /// The flags; none if there is no such pair.
    #[must_use]
    pub fn flags(self) -> AvFlags {
        let value = self.get(av_id::FLAGS).and_then(<[u8]>::first_chunk);
        AvFlags(value.map_or(0, |value| u32::from_le_bytes(*value)))
    }

    /// The server's time, in units of 100 ns since 1601.
    #[must_use]
    pub fn timestamp(self) -> Option<u64> {
        self.get(av_id::TIMESTAMP)?.first_chunk().map(|value| u64::from_le_bytes(*value))
    }

    /// Hash of the client's bindings; zeros if it sent none.
    #[must_use]
    pub fn channel_bindings(self) -> BindingsHash {
        let value = self.get(av_id::CHANNEL_BINDINGS).and_then(<[u8]>::first_chunk);
        BindingsHash(value.copied().unwrap_or_default())
    }

    /// The service that the client means to reach, if it says so. Clients send an empty name when they were given none.
    ///
    /// # Errors
    /// If it is not UTF-16.
    pub fn target_name(self) -> Result<Option<String>, LayoutError> {
        let Some(value) = self.get(av_id::TARGET_NAME) else { return Ok(None) };
        let name = from_utf16(value).ok_or(LayoutError::Text("target name"))?;
        Ok((!name.is_empty()).then_some(name))
    }
}

fn split_pair(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([i0, i1, l0, l1], rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes([*l0, *l1]));
    let (value, rest) = rest.split_at_checked(length)?;
    Some((u16::from_le_bytes([*i0, *i1]), value, rest))
}

fn check_length(id: u16, value: &[u8]) -> Result<(), LayoutError> {
    let due = match id {
        av_id::FLAGS => 4,
        av_id::TIMESTAMP => 8,
        av_id::CHANNEL_BINDINGS => 16,
        _ => return Ok(()),
    };
    if value.len() == due { Ok(()) } else { Err(LayoutError::AvPairLength { id, length: value.len() }) }
}

/// Appends a pair.
///
/// # Errors
/// If the value is longer than 65,535 bytes.
pub fn push_av_pair(out: &mut Vec<u8>, id: u16, value: &[u8]) -> Result<(), LayoutError> {
    let value = Counted::new("value of an AV pair", value)?;
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&value.length.to_le_bytes());
    out.extend_from_slice(value.bytes);
    Ok(())
}

/// A time as AV pair 7 and the NT response have it: units of 100 ns since 1601. Times before that are 1601.
#[must_use]
pub fn filetime(time: Timestamp) -> u64 {
    const MICROS_FROM_1601_TO_1970: i64 = 11_644_473_600_000_000;
    let micros = time.total_micros().saturating_add(MICROS_FROM_1601_TO_1970);
    u64::try_from(micros).unwrap_or(0).saturating_mul(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ntlm::messages::to_utf16;

    fn pairs(list: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, value) in list {
            push_av_pair(&mut bytes, *id, value).unwrap();
        }
        bytes
    }

    #[test]
    fn pairs_are_read_up_to_the_end_and_no_further() {
        let name = to_utf16("HTTP/a");
        let mut bytes = pairs(&[
            (6, &[2, 0, 0, 0]),
            (7, &[1, 0, 0, 0, 0, 0, 0, 0]),
            (9, &name),
            (10, &[7; 16]),
            (0, &[]),
        ]);
        bytes.extend([0xFF; 3]);
        let read = AvPairs::parse(&bytes).ok().unwrap();
        assert_eq!(read.flags(), AvFlags::MIC);
        assert_eq!(read.timestamp(), Some(1));
        assert_eq!(read.target_name(), Ok(Some("HTTP/a".to_owned())));
        assert!(read.channel_bindings().matches(&BindingsHash([7; 16])));
        assert_eq!(read.iter().count(), 4);
    }

    #[test]
    fn times_count_from_1601() {
        assert_eq!(filetime(Timestamp::new(0, 0)), 116_444_736_000_000_000);
        assert_eq!(filetime(Timestamp::new(1, 1)), 116_444_736_010_000_010);
        assert_eq!(filetime(Timestamp::new(i64::MIN, 0)), 0);
    }

    #[test]
    fn absent_pairs_say_nothing() {
        let bytes = pairs(&[(9, &[]), (0, &[])]);
        let read = AvPairs::parse(&bytes).ok().unwrap();
        assert_eq!((read.flags(), read.timestamp()), (AvFlags(0), None));
        assert_eq!(read.target_name(), Ok(None));
        assert!(read.channel_bindings().is_none());
    }

    #[test]
    fn every_shorter_list_is_refused() {
        let bytes = pairs(&[(2, b"D\0"), (1, b"S\0"), (0, &[])]);
        for length in 0..bytes.len() {
            assert_eq!(AvPairs::parse(&bytes[..length]).err(), Some(LayoutError::AvPairsCut), "{length}");
        }
    }

    #[test]
    fn a_pair_that_comes_twice_is_refused() {
        let bytes = pairs(&[(10, &[1; 16]), (10, &[2; 16]), (0, &[])]);
        assert_eq!(AvPairs::parse(&bytes).err(), Some(LayoutError::AvPairTwice(10)));
    }

    #[test]
    fn a_value_of_another_length_is_refused() {
        for (id, length) in [(6, 3), (7, 9), (10, 0)] {
            let bytes = pairs(&[(id, &vec![0; length]), (0, &[])]);
            assert_eq!(AvPairs::parse(&bytes).err(), Some(LayoutError::AvPairLength { id, length }));
        }
    }
}
