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

/// The token and what it seals, which lie one behind the other, out of a sealed message; and the length that the token is said
/// to have.
///
/// # Errors
/// If the token is said to be longer than the message.
pub(crate) fn sealed_message(message: &mut [u8]) -> Result<(usize, &mut [u8]), FrameError> {
    let received = message.len();
    let cut = FrameError::Cut { received, needed: None };
    let (length, rest) = message.split_first_chunk_mut::<TOKEN_LENGTH_LEN>().ok_or(cut)?;
    let announced = u32::from_le_bytes(*length);
    match usize::try_from(announced) {
        Ok(len) if len > 0 && len <= rest.len() => Ok((len, rest)),
        _ => Err(FrameError::TooLong { announced, limit: rest.len() }),
    }
}

/// How many bytes stand behind the plaintext's place in a message that begins with `token`: one of padding in Kerberos with RC4,
/// whose tokens alone begin with GSS-API's frame (RFC 4757 section 7.3).
pub(crate) fn padding(token: &[u8]) -> usize {
    usize::from(token.first() == Some(&0x60))
}
