//! The framing of .NET's NegotiateStream (MS-NNS): handshake records that say whether their sender is done, errors that say
//! why it gave up, and data records behind a length like [`super::dword`]'s.

mod error_payload;

pub use error_payload::{ErrorOrder, decode_error, encode_error};

use super::FrameError;
use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;

/// How many bytes stand before each handshake record: its kind, a version of two bytes, a length of two.
pub const RECORD_HEADER_LEN: usize = 5;

/// Longest handshake record, in bytes: its length is a number of two bytes.
pub const RECORD_LIMIT: usize = 65_535;

/// Longest data record that is taken, in bytes. The document has 64,560, which .NET itself exceeds with AES.
pub const DATA_LIMIT: usize = 65_536;

/// Longest data record that is sent, in bytes (MS-NNS section 2.2.2, with its erratum).
pub const SENT_DATA_LIMIT: usize = 0xFC30;

/// The version that records carry, which receivers ignore.
const VERSION: [u8; 2] = [1, 0];

/// How this end speaks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nns {
    /// The least protection that this end is content with.
    pub protection: Protection,
    /// How errors are written to the peer.
    pub error_order: ErrorOrder,
}

/// .NET's `ProtectionLevel`. `None` is not among them: it is a connection without protection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protection {
    /// Messages can be read by anybody and changed by nobody. The policy must give up that messages are sealed, too.
    Sign,
    /// Messages are sealed.
    #[default]
    EncryptAndSign,
}

/// What a handshake record says of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordKind {
    /// Its context is complete; a last token may be with it.
    Done = 0x14,
    /// It gives up, and says why.
    Error = 0x15,
    /// It waits for an answer to its token.
    InProgress = 0x16,
}

/// What stands before a handshake record of `len` bytes.
///
/// # Errors
/// [`FrameError::TooLong`] if there is no room for such a length.
pub fn record_header(kind: RecordKind, len: usize) -> Result<[u8; RECORD_HEADER_LEN], FrameError> {
    let too_long =
        |_| FrameError::TooLong { announced: u32::try_from(len).unwrap_or(u32::MAX), limit: RECORD_LIMIT };
    let [l1, l2] = u16::try_from(len).map_err(too_long)?.to_be_bytes();
    let [major, minor] = VERSION;
    Ok([kind as u8, major, minor, l1, l2])
}

/// The kind of the record behind `header`.
///
/// # Errors
/// If there is none such.
pub fn record_kind(header: &[u8]) -> Result<RecordKind, UnknownRecord> {
    match header.first().copied().unwrap_or_default() {
        0x14 => Ok(RecordKind::Done),
        0x15 => Ok(RecordKind::Error),
        0x16 => Ok(RecordKind::InProgress),
        kind => Err(UnknownRecord { kind }),
    }
}

/// The length of the record that `bytes` begin with, once it stands there.
pub(super) fn announced(bytes: &[u8]) -> Option<u16> {
    let (header, _) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()?;
    let [_, _, _, l1, l2] = *header;
    Some(u16::from_be_bytes([l1, l2]))
}

/// A record of a kind that NNS does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a handshake record of kind {kind:#04x}")]
pub struct UnknownRecord {
    kind: u8,
}

impl Explain for UnknownRecord {
    fn code(&self) -> Code {
        code::NNS_RECORD_UNKNOWN
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "NNS, whose records are of kind 0x14, 0x15 or 0x16".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_begins_with_its_kind_the_version_and_its_length_in_big_endian() {
        assert_eq!(record_header(RecordKind::InProgress, 0x0102), Ok([0x16, 1, 0, 1, 2]));
        assert_eq!(record_header(RecordKind::Done, 0), Ok([0x14, 1, 0, 0, 0]));
        assert_eq!(record_header(RecordKind::Error, 65_535), Ok([0x15, 1, 0, 0xFF, 0xFF]));
        assert_eq!(
            record_header(RecordKind::Done, 65_536),
            Err(FrameError::TooLong { announced: 65_536, limit: RECORD_LIMIT })
        );
    }

    #[test]
    fn kinds_are_read_whatever_the_version_and_others_refused() {
        for kind in [RecordKind::Done, RecordKind::Error, RecordKind::InProgress] {
            assert_eq!(record_kind(&[kind as u8, 9, 9, 0, 0]), Ok(kind));
        }
        for kind in [0, 0x13, 0x17, 0x60] {
            let error = record_kind(&[kind, 1, 0, 0, 0]).unwrap_err();
            assert_eq!((error, error.code()), (UnknownRecord { kind }, code::NNS_RECORD_UNKNOWN));
        }
    }
}
