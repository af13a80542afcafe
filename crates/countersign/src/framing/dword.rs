//! The reference listing's framing: a length of 4 bytes, little-endian, then that many bytes (SPEC section 1.2). A frame of
//! length 0 is never sent, and refused.

use super::FrameError;

/// How many bytes stand before each frame.
pub const HEADER_LEN: usize = 4;

/// What stands before a frame of `len` bytes.
///
/// # Errors
/// [`FrameError::Empty`] if `len` is 0, [`FrameError::TooLong`] if it is over `limit` or does not fit in 32 bits.
pub fn header(len: usize, limit: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    if len == 0 {
        return Err(FrameError::Empty { limit });
    }
    let announced = u32::try_from(len).map_err(|_| FrameError::TooLong { announced: u32::MAX, limit })?;
    if len > limit { Err(FrameError::TooLong { announced, limit }) } else { Ok(announced.to_le_bytes()) }
}

/// The length of the frame that `bytes` begin with, once it stands there.
pub(super) fn announced(bytes: &[u8]) -> Option<u32> {
    let (length, _) = bytes.split_first_chunk()?;
    Some(u32::from_le_bytes(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_the_length_in_little_endian() {
        assert_eq!(header(0x0102_0304, usize::MAX), Ok([4, 3, 2, 1]));
        assert_eq!(header(65_536, 65_536), Ok([0, 0, 1, 0]));
        assert_eq!(header(0, 10), Err(FrameError::Empty { limit: 10 }));
        assert_eq!(header(11, 10), Err(FrameError::TooLong { announced: 11, limit: 10 }));
        assert!(header(usize::MAX, usize::MAX).is_err());
    }
}
