//! The field that GSS puts where an authenticator's checksum stands (RFC 4121 section 4.1.1): channel bindings, flags,
//! a delegated credential, extensions. It is no checksum: the authenticator's own encryption protects it.

use super::{BindingsHash, GssFlags};

/// cksumtype of this field.
pub const CKSUMTYPE: i32 = 0x8003;

const BINDINGS_LENGTH: u32 = 16;
const DELEGATION_OPTION: u16 = 1;
/// Extension type of IAKERB-FINISHED.
const IAKERB_FINISHED: u32 = 2;

/// The field, read.
#[derive(Clone, Copy)]
pub struct GssChecksum<'a> {
    /// Hash of the bindings that the initiator has; zeros if none.
    pub bindings: BindingsHash,
    /// What the initiator asks for, DELEG only if a credential really follows.
    pub flags: GssFlags,
    /// A KRB-CRED, still encrypted.
    pub delegation: Option<&'a [u8]>,
    /// An IAKERB-FINISHED (extension 2), encoded.
    pub iakerb_finished: Option<&'a [u8]>,
}

/// How the field breaks its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GssChecksumError {
    /// Under 24 bytes.
    #[error("{0} bytes where at least 24 are needed")]
    TooShort(usize),
    /// The length of the bindings hash is not 16.
    #[error("a bindings hash of {0} bytes where 16 are needed")]
    BindingsLength(u32),
    /// The delegation option is not 1.
    #[error("delegation option {0} where 1 is needed")]
    DelegationOption(u16),
    /// The credential or an extension says it is longer than what is left.
    #[error("a length of {announced} bytes where {left} are left")]
    Overrun {
        /// What it says.
        announced: usize,
        /// What there is.
        left: usize,
    },
}

impl<'a> GssChecksum<'a> {
    /// Reads the field. Extensions of any type are checked for their lengths and passed over.
    ///
    /// # Errors
    /// If it breaks the layout.
    pub fn parse(field: &'a [u8]) -> Result<Self, GssChecksumError> {
        let too_short = GssChecksumError::TooShort(field.len());
        let (length, rest) = split_u32_le(field).ok_or(too_short)?;
        let (bindings, rest) = rest.split_first_chunk::<16>().ok_or(too_short)?;
        let (flags, rest) = split_u32_le(rest).ok_or(too_short)?;
        if length != BINDINGS_LENGTH {
            return Err(GssChecksumError::BindingsLength(length));
        }
        let flags = GssFlags(flags);
        let (delegation, extensions) =
            if flags.contains(GssFlags::DELEG) { split_delegation(rest)? } else { (None, rest) };
        let iakerb_finished = finished_among(extensions)?;
        let granted = if delegation.is_some() { flags } else { GssFlags(flags.0 & !GssFlags::DELEG.0) };
        Ok(Self { bindings: BindingsHash(*bindings), flags: granted, delegation, iakerb_finished })
    }
}

/// With fewer than 4 bytes left there is no credential whatever the flag says, as MIT reads it.
fn split_delegation(rest: &[u8]) -> Result<(Option<&[u8]>, &[u8]), GssChecksumError> {
    let Some(([o1, o2, l1, l2], rest)) = rest.split_first_chunk::<4>() else {
        return Ok((None, &[]));
    };
    let option = u16::from_le_bytes([*o1, *o2]);
    if option != DELEGATION_OPTION {
        return Err(GssChecksumError::DelegationOption(option));
    }
    let announced = usize::from(u16::from_le_bytes([*l1, *l2]));
    let overrun = GssChecksumError::Overrun { announced, left: rest.len() };
    let (credential, extensions) = rest.split_at_checked(announced).ok_or(overrun)?;
    Ok((Some(credential), extensions))
}

/// Checks the lengths of all extensions, and finds IAKERB's.
fn finished_among(mut rest: &[u8]) -> Result<Option<&[u8]>, GssChecksumError> {
    let mut finished = None;
    while !rest.is_empty() {
        let short = GssChecksumError::Overrun { announced: 8, left: rest.len() };
        let (extension, body) = rest.split_first_chunk::<4>().ok_or(short)?;
        let (length, body) = body.split_first_chunk::<4>().ok_or(short)?;
        let announced = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let overrun = GssChecksumError::Overrun { announced, left: body.len() };
        let (data, after) = body.split_at_checked(announced).ok_or(overrun)?;
        if u32::from_be_bytes(*extension) == IAKERB_FINISHED {
            finished = Some(data);
        }
        rest = after;
    }
    Ok(finished)
}

fn split_u32_le(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(word, rest)| (u32::from_le_bytes(*word), rest))
}

/// Encodes the field; `delegated` is a KRB-CRED of at most 65,535 bytes, which has a place in it only if `flags` have DELEG, and
/// `finished` an IAKERB-FINISHED.
#[must_use]
pub fn encode(
    bindings: BindingsHash,
    flags: GssFlags,
    delegated: Option<&[u8]>,
    finished: Option<&[u8]>,
) -> Vec<u8> {
    let mut field = [&BINDINGS_LENGTH.to_le_bytes(), bindings.0.as_slice(), &flags.0.to_le_bytes()].concat();
    if let Some((credential, length)) = delegated.and_then(|it| Some((it, u16::try_from(it.len()).ok()?))) {
        field.extend_from_slice(&DELEGATION_OPTION.to_le_bytes());
        field.extend_from_slice(&length.to_le_bytes());
        field.extend_from_slice(credential);
    }
    if let Some((finished, length)) = finished.and_then(|it| Some((it, u32::try_from(it.len()).ok()?))) {
        field.extend_from_slice(&IAKERB_FINISHED.to_be_bytes());
        field.extend_from_slice(&length.to_be_bytes());
        field.extend_from_slice(finished);
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(flags: u32, tail: &[u8]) -> Vec<u8> {
        let mut field = encode(BindingsHash([7; 16]), GssFlags(flags), None, None);
        field.extend_from_slice(tail);
        field
    }

    #[test]
    fn what_is_encoded_reads_back() {
        let bytes = field(0x3E, &[]);
        let read = GssChecksum::parse(&bytes).ok().unwrap();
        assert_eq!(read.flags, GssFlags(0x3E));
        assert!(read.bindings.matches(&BindingsHash([7; 16])));
    }

    #[test]
    fn every_shorter_field_is_refused() {
        let whole = field(2, &[]);
        for length in 0..whole.len() {
            assert_eq!(GssChecksum::parse(&whole[..length]).err(), Some(GssChecksumError::TooShort(length)));
        }
    }

    #[test]
    fn delegation_counts_only_when_a_credential_follows() {
        let bytes = field(3, &[1, 0, 2, 0, 0xAA, 0xBB]);
        assert_eq!(GssChecksum::parse(&bytes).ok().unwrap().delegation, Some(&[0xAA, 0xBB][..]));
        let bytes = field(3, &[1, 0]);
        let read = GssChecksum::parse(&bytes).ok().unwrap();
        assert!(read.delegation.is_none() && !read.flags.contains(GssFlags::DELEG));
        assert_eq!(
            GssChecksum::parse(&field(3, &[2, 0, 0, 0])).err(),
            Some(GssChecksumError::DelegationOption(2))
        );
        let overrun = GssChecksumError::Overrun { announced: 3, left: 2 };
        assert_eq!(GssChecksum::parse(&field(3, &[1, 0, 3, 0, 1, 2])).err(), Some(overrun));
    }

    #[test]
    fn extensions_are_passed_over_but_must_fit() {
        assert!(GssChecksum::parse(&field(2, &[0, 0, 0, 9, 0, 0, 0, 1, 0xAA])).is_ok());
        assert!(GssChecksum::parse(&field(2, &[0, 0, 0, 9, 0, 0, 0, 2, 0xAA])).is_err());
        assert!(GssChecksum::parse(&field(2, &[0, 0, 0])).is_err());
    }

    #[test]
    fn a_bindings_hash_of_another_length_is_refused() {
        let mut bytes = field(2, &[]);
        bytes[0] = 17;
        assert_eq!(GssChecksum::parse(&bytes).err(), Some(GssChecksumError::BindingsLength(17)));
    }
}
