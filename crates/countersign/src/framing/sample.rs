//! The data layout of the SDK's socket sample (SPEC section 1.3): after a handshake in [`super::dword`] frames each end may
//! send one message, without a length around it, and ends its direction.
//!
//! It is there for programs that were built on the sample. The message is whole or refused, so its end is authenticated.

use super::FrameError;

/// How many bytes say how long the token of a sealed message is.
pub const TOKEN_LENGTH_LEN: usize = 4;

/// What stands in a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SampleData {
    /// The token's length in 4 bytes, little-endian, the token, and what it seals.
    #[default]
    Sealed,
    /// A signature, and what it signs in clear text. The policy must give up that messages are sealed, too.
    Signed,
}

/// The token and what it seals, which lie one behind the other, out of a sealed message.
///
/// # Errors
/// If the token is said to be longer than the message.
pub(crate) fn sealed_message(message: &mut [u8]) -> Result<&mut [u8], FrameError> {
    let received = message.len();
    let cut = FrameError::Cut { received, needed: None };
    let (length, rest) = message.split_first_chunk_mut::<TOKEN_LENGTH_LEN>().ok_or(cut)?;
    let token_len = u32::from_le_bytes(*length);
    if usize::try_from(token_len).is_ok_and(|len| len > 0 && len <= rest.len()) {
        Ok(rest)
    } else {
        Err(FrameError::TooLong { announced: token_len, limit: rest.len() })
    }
}
