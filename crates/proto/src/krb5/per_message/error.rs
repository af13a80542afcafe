use crate::error::{Code, Explain, code};
use std::borrow::Cow;

/// Why a protected message is refused, or cannot be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is no token, or breaks the layout.
    #[error("{0}")]
    Malformed(&'static str),
    /// The checksum or the sealed copy of the header does not match.
    #[error("a message that our key does not verify")]
    Integrity,
    /// It says that our own end sent it.
    #[error("a message that bears our own direction flag")]
    Direction,
    /// It says that it is made with another key than the one agreed on.
    #[error("a message whose AcceptorSubkey flag is {}", if *flag { "set" } else { "clear" })]
    WrongKeyFlag {
        /// The flag in the message.
        flag: bool,
    },
    /// It is not sealed.
    #[error("a message in clear text, signed only")]
    NotSealed,
    /// Its number was seen before, or is older than can be told.
    #[error("message number {seq} again, or one older than can be told")]
    Replayed {
        /// Its number, counted from the first.
        seq: u64,
    },
    /// Its number is not the next one.
    #[error("message number {seq}")]
    OutOfOrder {
        /// Its number, counted from the first.
        seq: u64,
        /// The number that is due.
        expected: u64,
    },
    /// The last sequence number was used.
    #[error("a further message")]
    SequenceExhausted,
}

impl Explain for MessageError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => code::MESSAGE_MALFORMED,
            Self::Integrity => code::MESSAGE_INTEGRITY,
            Self::Direction => code::MESSAGE_DIRECTION,
            Self::WrongKeyFlag { .. } => code::MESSAGE_WRONG_KEY_FLAG,
            Self::NotSealed => code::MESSAGE_NOT_SEALED,
            Self::Replayed { .. } => code::MESSAGE_REPLAYED,
            Self::OutOfOrder { .. } => code::MESSAGE_OUT_OF_ORDER,
            Self::SequenceExhausted => code::SEQUENCE_EXHAUSTED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::Malformed(_) => {
                "the layout of RFC 4121 section 4.2.6, with a key of RC4 that of RFC 4757 section 7".into()
            }
            Self::Integrity => "the key that the handshake agreed on".into(),
            Self::Direction => "the other direction flag as the peer's".into(),
            Self::WrongKeyFlag { flag } => {
                if *flag {
                    "no acceptor subkey in this context".into()
                } else {
                    "an acceptor subkey, which must be used".into()
                }
            }
            Self::NotSealed => "confidentiality as a demand".into(),
            Self::Replayed { .. } => "each number taken once".into(),
            Self::OutOfOrder { expected, .. } => format!("message number {expected} as the next").into(),
            Self::SequenceExhausted => "no sequence number left".into(),
        }
    }
}
