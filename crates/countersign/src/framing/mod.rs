//! How tokens and protected messages are cut out of a stream of bytes. Without I/O: a driver reads and writes.

pub mod dword;
pub mod nns;
pub mod sample;

mod frames;

pub use frames::{Frame, FrameReader, Header};
pub use nns::Nns;
pub use sample::SampleData;

use countersign_proto::error::{Code, Explain, code};
use std::borrow::Cow;

/// How the two ends lay their tokens and messages into a stream. Both must use the same; the tokens are the same in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// The reference listing's handshake, and frames of the same kind for data ([`dword`]).
    #[default]
    Dword,
    /// .NET's NegotiateStream ([`nns`]).
    Nns(Nns),
    /// The reference listing's handshake, and the SDK sample's data ([`sample`]).
    Sample(SampleData),
}

/// Longest frame of a handshake, in bytes (DESIGN section 5).
pub const HANDSHAKE_LIMIT: usize = 65_536;

/// How much longer than its plaintext a protected message may be, in bytes (DESIGN section 5).
pub const MESSAGE_OVERHEAD: usize = 256;

/// Longest data frame, in bytes, where one message may have `max_message` bytes of plaintext.
#[must_use]
pub const fn data_limit(max_message: usize) -> usize {
    max_message.saturating_add(MESSAGE_OVERHEAD)
}

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame of length 0, which is never sent.
    #[error("a frame of 0 bytes")]
    Empty {
        /// Longest frame that would have been taken, in bytes.
        limit: usize,
    },
    /// A frame longer than the limit.
    #[error("a frame of {announced} bytes (its length as text: \"{}\")", u32::to_le_bytes(*announced).escape_ascii())]
    TooLong {
        /// Its length as announced, in bytes.
        announced: u32,
        /// Longest frame that would have been taken, in bytes.
        limit: usize,
    },
    /// The stream ended inside a frame.
    #[error("the end of the stream after {received} bytes of a frame")]
    Cut {
        /// How many bytes of the frame had come, its length field included.
        received: usize,
        /// How many it has, or `None` if not even its length had come.
        needed: Option<usize>,
    },
}

impl Explain for FrameError {
    fn code(&self) -> Code {
        match self {
            Self::Empty { .. } => code::FRAME_EMPTY,
            Self::TooLong { .. } => code::FRAME_TOO_LONG,
            Self::Cut { .. } => code::CONNECTION_CUT,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Empty { limit } | Self::TooLong { limit, .. } => {
                format!("room for frames of 1 to {limit} bytes").into()
            }
            Self::Cut { needed: Some(needed), .. } => format!("a frame of {needed} bytes to wait for").into(),
            Self::Cut { needed: None, .. } => "the rest of what stands before a frame to wait for".into(),
        }
    }
}
