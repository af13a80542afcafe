//! An answer on a connection: four bytes of length, then the message (RFC 4120 section 7.2.2).

use super::error::Trouble;

/// Longest answer that is taken, in bytes. A ticket with a large PAC has some 100,000.
pub(super) const MAX_REPLY: usize = 1 << 20;

/// Most bytes that are read at once: memory grows with what has come, not with what is announced.
const PIECE: usize = 16_384;

/// Length of the length.
const HEADER: usize = 4;

/// A request as it goes over a connection.
pub(super) fn framed(request: &[u8]) -> Vec<u8> {
    // A request is made here and is never as long as the high bit of the length, which is reserved.
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), request].concat()
}

/// An answer that comes in pieces.
#[derive(Default)]
pub(super) struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// How many bytes are to be read next, at most; 0 when the answer is whole.
    ///
    /// # Errors
    /// If it is announced longer than [`MAX_REPLY`], or with the reserved high bit set.
    pub(super) fn wants(&self) -> Result<usize, Trouble> {
        let Some((header, message)) = self.bytes.split_first_chunk::<HEADER>() else {
            return Ok(HEADER.saturating_sub(self.bytes.len()));
        };
        let announced = u32::from_be_bytes(*header);
        let length = usize::try_from(announced).ok().filter(|length| *length <= MAX_REPLY);
        let length = length.ok_or(Trouble::Announced(announced))?;
        Ok(length.saturating_sub(message.len()).min(PIECE))
    }

    /// Takes what was read.
    pub(super) fn take(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// The answer, once it is whole.
    pub(super) fn into_message(mut self) -> Vec<u8> {
        self.bytes.drain(..HEADER.min(self.bytes.len()));
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembled(stream: &[u8], step: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let (mut assembly, mut rest) = (Assembly::default(), stream);
        loop {
            let wants = assembly.wants()?;
            if wants == 0 {
                return Ok(Some(assembly.into_message()));
            }
            let (piece, more) = rest.split_at(wants.min(step).min(rest.len()));
            if piece.is_empty() {
                return Ok(None);
            }
            assembly.take(piece);
            rest = more;
        }
    }

    #[test]
    fn what_was_framed_is_assembled_from_pieces_of_any_size() {
        let message: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        for step in [1, 3, 4, 5, 16_384, 1 << 20] {
            assert_eq!(assembled(&framed(&message), step).unwrap().as_deref(), Some(&message[..]));
        }
        assert_eq!(assembled(&framed(b""), 1).unwrap().as_deref(), Some(&b""[..]));
    }

    #[test]
    fn bytes_after_the_answer_are_not_asked_for() {
        let stream = [framed(b"answer"), b"more".to_vec()].concat();
        assert_eq!(assembled(&stream, 64).unwrap().as_deref(), Some(&b"answer"[..]));
    }

    #[test]
    fn a_length_beyond_the_bound_or_with_the_high_bit_is_refused_before_a_byte_is_kept() {
        for announced in [MAX_REPLY as u32 + 1, 0x8000_0000, 0x8000_0010, u32::MAX] {
            assert_eq!(assembled(&announced.to_be_bytes(), 4), Err(Trouble::Announced(announced)));
        }
        assert_eq!(assembled(&(MAX_REPLY as u32).to_be_bytes(), 4), Ok(None));
    }
}
