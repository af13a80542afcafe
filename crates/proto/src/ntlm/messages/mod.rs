//! The three messages of a handshake (MS-NLMP section 2.2.1) and the AV pairs in two of them.
//!
//! Every message is `"NTLMSSP\0" | type u32 | header | payload`, all numbers little-endian. A field of the header is
//! `length u16 | room u16 | offset u32` and says where in the message its bytes lie, anywhere after the header. A field
//! of length 0 lies nowhere: its offset is not looked at, as peers put there what they like.

mod authenticate;
mod av_pairs;
mod challenge;
mod negotiate;
mod text;

pub use authenticate::{Authenticate, NewAuthenticate};
pub use av_pairs::{AvFlags, AvPairs, av_id, filetime, push_av_pair};
pub use challenge::{Challenge, NewChallenge};
pub use negotiate::Negotiate;
pub use text::{from_utf16, to_utf16};

use super::NegotiateFlags;

/// Most bytes of a NEGOTIATE: it is kept until the MIC is checked, and honest ones have some dozens.
pub const MAX_NEGOTIATE: usize = 4_096;
/// Most bytes of a CHALLENGE or an AUTHENTICATE.
pub const MAX_MESSAGE: usize = 65_536;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// Whether these bytes begin a message of NTLM.
#[must_use]
pub fn is_ntlm(token: &[u8]) -> bool {
    token.starts_with(SIGNATURE)
}
/// Length of the version field, which is for people who look at captures.
const VERSION_LEN: usize = 8;
/// Ours: major and minor version, build, three bytes reserved, and the revision that all NTLMv2 has.
const VERSION: [u8; VERSION_LEN] = [0, 1, 0, 0, 0, 0, 0, 15];

/// Which of the three messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageType {
    /// What the client can do.
    Negotiate,
    /// The server's challenge.
    Challenge,
    /// The client's proof.
    Authenticate,
}

impl MessageType {
    const fn wire(self) -> u32 {
        match self {
            Self::Negotiate => 1,
            Self::Challenge => 2,
            Self::Authenticate => 3,
        }
    }

    /// The name in MS-NLMP.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Negotiate => "NEGOTIATE",
            Self::Challenge => "CHALLENGE",
            Self::Authenticate => "AUTHENTICATE",
        }
    }
}

/// How a message breaks its layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// It does not begin with the signature of NTLM.
    #[error("no NTLMSSP signature")]
    NotNtlm,
    /// It is another message than the one that is due.
    #[error("message type {0}")]
    Type(u32),
    /// It ends within the header.
    #[error("{0} bytes, which end within the header")]
    Short(usize),
    /// It is longer than a message may be.
    #[error("{0} bytes, more than one may have")]
    Long(usize),
    /// A field points out of the message or into the header.
    #[error("the {0} does not lie in the payload")]
    Outside(&'static str),
    /// A field has a length that it cannot have.
    #[error("the {field} has {length} bytes")]
    Length {
        /// Which field.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A text is not UTF-16, or a name has a backslash or a control character.
    #[error("the {0} is not UTF-16, or has a character that no name may have")]
    Text(&'static str),
    /// AV pairs end within a pair, or without the pair that ends them.
    #[error("AV pairs that are cut short")]
    AvPairsCut,
    /// One AV pair comes twice.
    #[error("AV pair {0} twice")]
    AvPairTwice(u16),
    /// An AV pair has a length that it cannot have.
    #[error("AV pair {id} of {length} bytes")]
    AvPairLength {
        /// Its id.
        id: u16,
        /// Its length in bytes.
        length: usize,
    },
    /// The NT response says that it is made in a way that is not known.
    #[error("an NT response of version {0}.{1}")]
    ResponseVersion(u8, u8),
}

/// The bytes of a message whose signature and type are right.
#[derive(Clone, Copy)]
struct Message<'m>(&'m [u8]);

impl<'m> Message<'m> {
    fn open(bytes: &'m [u8], due: MessageType, most: usize) -> Result<Self, LayoutError> {
        if bytes.len() > most {
            return Err(LayoutError::Long(bytes.len()));
        }
        if !bytes.starts_with(SIGNATURE) {
            return Err(LayoutError::NotNtlm);
        }
        let message = Self(bytes);
        let found = u32::from_le_bytes(message.array(8)?);
        if found != due.wire() {
            return Err(LayoutError::Type(found));
        }
        Ok(message)
    }

    /// `N` bytes of the header.
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], LayoutError> {
        let array = self.0.get(at..).and_then(<[u8]>::first_chunk);
        array.copied().ok_or(LayoutError::Short(self.0.len()))
    }

    fn flags(self, at: usize) -> Result<NegotiateFlags, LayoutError> {
        self.array(at).map(|bytes| NegotiateFlags(u32::from_le_bytes(bytes)))
    }

    /// The field that the header has at `at`.
    fn field(self, at: usize, name: &'static str) -> Result<Field<'m>, LayoutError> {
        let [l0, l1, _, _, o0, o1, o2, o3] = self.array(at)?;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        if length == 0 {
            return Ok(Field { name, offset: None, bytes: &[] });
        }
        let outside = LayoutError::Outside(name);
        let offset = usize::try_from(u32::from_le_bytes([o0, o1, o2, o3])).map_err(|_| outside)?;
        let bytes = self.0.get(offset..).and_then(|rest| rest.get(..length)).ok_or(outside)?;
        Ok(Field { name, offset: Some(offset), bytes })
    }
}

/// A field of the header with the bytes that it points to.
#[derive(Clone, Copy)]
struct Field<'m> {
    name: &'static str,
    /// Where the bytes lie, if there are any.
    offset: Option<usize>,
    bytes: &'m [u8],
}

/// Refuses fields whose bytes lie in a header of `header` bytes.
fn check_payload(header: usize, fields: &[Field<'_>]) -> Result<(), LayoutError> {
    match fields.iter().find(|field| field.offset.is_some_and(|offset| offset < header)) {
        Some(field) => Err(LayoutError::Outside(field.name)),
        None => Ok(()),
    }
}

/// Where the payload begins: the lowest offset of a field that has bytes, or the end of the message. This alone tells
/// which of the later parts of a header an old peer left out.
fn payload_start(message: Message<'_>, fields: &[Field<'_>]) -> usize {
    fields.iter().filter_map(|field| field.offset).min().unwrap_or(message.0.len())
}

/// Writes a message: a header of fixed length, the payload behind it in the order of the fields.
struct Builder<'o> {
    out: &'o mut Vec<u8>,
    payload: Vec<u8>,
    /// Length of the header.
    header: usize,
}

impl<'o> Builder<'o> {
    fn new(out: &'o mut Vec<u8>, message_type: MessageType, header: usize) -> Self {
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&message_type.wire().to_le_bytes());
        Self { out, payload: Vec::new(), header }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A field and its bytes; `length` is that of `bytes`, which the caller has checked to fit.
    fn field(&mut self, bytes: Counted<'_>) {
        let offset = self.header.saturating_add(self.payload.len());
        let length = bytes.length.to_le_bytes();
        self.bytes(&length);
        self.bytes(&length);
        // Five fields of 65,535 bytes at most do not come near the end of 32 bits.
        self.bytes(&u32::try_from(offset).unwrap_or(u32::MAX).to_le_bytes());
        self.payload.extend_from_slice(bytes.bytes);
    }

    fn finish(self) {
        self.out.extend_from_slice(&self.payload);
    }
}

/// Bytes whose number a field or an AV pair can tell.
#[derive(Clone, Copy)]
struct Counted<'b> {
    bytes: &'b [u8],
    length: u16,
}

impl<'b> Counted<'b> {
    fn new(field: &'static str, bytes: &'b [u8]) -> Result<Self, LayoutError> {
        let length =
            u16::try_from(bytes.len()).map_err(|_| LayoutError::Length { field, length: bytes.len() })?;
        Ok(Self { bytes, length })
    }
}
