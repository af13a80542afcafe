//! The reference listing's framing: a length of 4 bytes, little-endian, then that many bytes (SPEC section 1.2).

use super::FrameError;
use std::ops::Range;
use zeroize::Zeroizing;

/// How many bytes stand before each frame.
pub const HEADER_LEN: usize = 4;

/// Space that a reader begins with, in bytes: a Kerberos token mostly fits.
const FIRST_SPACE: usize = 4_096;

/// What stands before a frame of `len` bytes.
///
/// # Errors
/// [`FrameError::Empty`] if `len` is 0, [`FrameError::TooLong`] if it is over `limit` or does not fit in 32 bits.
pub fn header(len: usize, limit: usize) -> Result<[u8; HEADER_LEN], FrameError> {
    let announced = u32::try_from(len).map_err(|_| FrameError::TooLong { announced: u32::MAX, limit })?;
    checked(announced, limit)?;
    Ok(announced.to_le_bytes())
}

/// Collects the bytes of a stream and hands out whole frames.
///
/// A driver goes round in a circle: while [`is_ready`](Self::is_ready) says no, read into [`want`](Self::want) and tell
/// how much came with [`filled`](Self::filled); at the end of the stream ask [`finish`](Self::finish); when it says
/// yes, take the frame with [`next_frame`](Self::next_frame).
///
/// Bytes that come after a frame are kept for the next one, also when the limit changes in between. The buffer is used
/// again for every frame; it grows with the bytes that came (at most to twice as many), never because a length was
/// announced. It is wiped when it is given up, because frames are decrypted in it.
pub struct FrameReader {
    buffer: Zeroizing<Vec<u8>>,
    /// The bytes that came and were not handed out yet.
    unread: Range<usize>,
    limit: usize,
}

impl FrameReader {
    /// A reader of frames of 1 to `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: Zeroizing::default(), unread: 0..0, limit }
    }

    /// From the next frame on, frames have 1 to `limit` bytes: a handshake's limit is not that of the data after it.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where the next bytes of the stream go. It is empty only while a whole frame, or a refused one, waits and nothing
    /// fits behind it.
    pub fn want(&mut self) -> &mut [u8] {
        if self.unread.end == self.buffer.len() {
            self.make_space();
        }
        self.buffer.get_mut(self.unread.end..).unwrap_or_default()
    }

    /// Tells that the first `count` bytes of [`want`](Self::want) hold bytes of the stream now. More than there were is
    /// taken as all of them.
    pub fn filled(&mut self, count: usize) {
        self.unread.end = self.unread.end.saturating_add(count).min(self.buffer.len());
    }

    /// Whether a whole frame waits.
    ///
    /// # Errors
    /// [`FrameError::Empty`] and [`FrameError::TooLong`] as soon as the length is there. The reader stays where it is
    /// and gives the same answer again.
    pub fn is_ready(&self) -> Result<bool, FrameError> {
        Ok(self.frame_len()?.is_some_and(|len| self.unread.len() >= len.saturating_add(HEADER_LEN)))
    }

    /// The next frame without its length, to be worked on in place, or `None` while it is not all there. Its bytes are
    /// gone with the next call of any method.
    ///
    /// # Errors
    /// As for [`is_ready`](Self::is_ready).
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, FrameError> {
        let Some(len) = self.frame_len()? else { return Ok(None) };
        let start = self.unread.start.saturating_add(HEADER_LEN);
        let end = start.saturating_add(len);
        if end > self.unread.end {
            return Ok(None);
        }
        self.unread.start = end;
        Ok(self.buffer.get_mut(start..end))
    }

    /// Whether the stream may end here: all that came was handed out.
    ///
    /// # Errors
    /// [`FrameError::Cut`] if it ends inside a frame, or before a frame that came whole was taken.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let needed = self.announced().map(|len| (len as usize).saturating_add(HEADER_LEN));
        Err(FrameError::Cut { received: self.unread.len(), needed })
    }

    fn announced(&self) -> Option<u32> {
        let (length, _) = self.buffer.get(self.unread.clone())?.split_first_chunk()?;
        Some(u32::from_le_bytes(*length))
    }

    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        self.announced().map(|announced| checked(announced, self.limit)).transpose()
    }

    /// Makes space behind the unread bytes: by moving them to the front, and if nothing stands before them by growing.
    fn make_space(&mut self) {
        if !self.unread.is_empty() && self.unread.start == 0 {
            return self.grow();
        }
        if self.buffer.is_empty() {
            self.buffer.resize(FIRST_SPACE.min(self.limit.saturating_add(HEADER_LEN)), 0);
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
    }

    /// Grows the full buffer to the end of the frame that it begins with, but at most to twice of what has come.
    fn grow(&mut self) {
        let needed = match self.frame_len() {
            Ok(Some(len)) => len.saturating_add(HEADER_LEN),
            Ok(None) => HEADER_LEN,
            Err(_) => return,
        };
        let space = self.unread.len().saturating_mul(2).min(needed);
        if space > self.buffer.len() {
            // Not resized in place: that would leave a copy behind which is not wiped.
            let mut grown = Zeroizing::new(Vec::with_capacity(space));
            grown.extend_from_slice(&self.buffer);
            grown.resize(space, 0);
            self.buffer = grown;
        }
    }
}

/// How much it holds, not what: frames may lie in it decrypted.
impl std::fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader")
            .field("unread", &self.unread.len())
            .field("space", &self.buffer.len())
            .field("limit", &self.limit)
            .finish()
    }
}

fn checked(announced: u32, limit: usize) -> Result<usize, FrameError> {
    match usize::try_from(announced) {
        Ok(0) => Err(FrameError::Empty { limit }),
        Ok(len) if len <= limit => Ok(len),
        _ => Err(FrameError::TooLong { announced, limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::error::{Explain, code};
    use proptest::prelude::*;

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let framed = |frame: &Vec<u8>| [&header(frame.len(), usize::MAX).unwrap()[..], frame].concat();
        frames.iter().flat_map(framed).collect()
    }

    /// Reads as a driver does: `bytes` come in pieces of at most the given sizes, over and over.
    fn read(
        reader: &mut FrameReader,
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut frames = Vec::new();
        for &piece in pieces.iter().cycle() {
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame.to_vec());
            }
            if bytes.is_empty() {
                break;
            }
            let space = reader.want();
            let count = piece.min(bytes.len()).min(space.len());
            assert!(count > 0, "no space to read into");
            space[..count].copy_from_slice(&bytes[..count]);
            reader.filled(count);
            bytes = &bytes[count..];
        }
        Ok(frames)
    }

    #[test]
    fn a_header_is_the_length_in_little_endian() {
        assert_eq!(header(0x0102_0304, usize::MAX), Ok([4, 3, 2, 1]));
        assert_eq!(header(65_536, 65_536), Ok([0, 0, 1, 0]));
        assert_eq!(header(0, 10), Err(FrameError::Empty { limit: 10 }));
        assert_eq!(header(11, 10), Err(FrameError::TooLong { announced: 11, limit: 10 }));
        assert!(header(usize::MAX, usize::MAX).is_err());
    }

    #[test]
    fn an_empty_frame_is_refused_with_its_code() {
        let mut reader = FrameReader::new(10);
        let error = read(&mut reader, &[0, 0, 0, 0], &[1]).unwrap_err();
        assert_eq!((error, error.code()), (FrameError::Empty { limit: 10 }, code::FRAME_EMPTY));
        assert_eq!(reader.is_ready(), Err(error), "and again when asked again");
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_any_of_it_came_or_was_allocated() {
        for announced in [65_537_u32, 1 << 31, u32::MAX] {
            let mut reader = FrameReader::new(65_536);
            let error = read(&mut reader, &announced.to_le_bytes(), &[3, 1]).unwrap_err();
            assert_eq!(
                (error, error.code()),
                (FrameError::TooLong { announced, limit: 65_536 }, code::FRAME_TOO_LONG)
            );
            for _ in 0..10 {
                let space = reader.want().len();
                reader.filled(space);
            }
            assert_eq!(reader.want().len(), 0);
            assert_eq!(reader.buffer.len(), FIRST_SPACE);
        }
    }

    #[test]
    fn a_refused_length_is_shown_as_the_text_that_it_may_be() {
        let error = FrameError::TooLong { announced: u32::from_le_bytes(*b"GET "), limit: 65_536 };
        assert!(error.saw().contains("\"GET \""), "{}", error.saw());
        assert!(error.have().contains("1 to 65536"), "{}", error.have());
    }

    #[test]
    fn a_frame_of_exactly_the_limit_is_taken() {
        let frames = [vec![7; 65_536]];
        assert_eq!(read(&mut FrameReader::new(65_536), &stream(&frames), &[1_000]).unwrap(), frames);
    }

    #[test]
    fn the_buffer_grows_with_what_came_not_with_what_was_announced() {
        const LIMIT: usize = 1 << 30;
        let mut reader = FrameReader::new(LIMIT);
        let mut came = 0;
        for part in
            std::iter::once(&(1_u32 << 30).to_le_bytes()[..]).chain(std::iter::repeat_n(&[1; 100][..], 1_000))
        {
            assert!(read(&mut reader, part, &[100]).unwrap().is_empty());
            came += part.len();
            assert!(reader.buffer.len() <= FIRST_SPACE.max(2 * came), "{} for {came}", reader.buffer.len());
        }
    }

    #[test]
    fn the_buffer_is_used_again() {
        let mut reader = FrameReader::new(data_limit());
        let bytes = stream(&[vec![1; 100_000]]);
        read(&mut reader, &bytes, &[1_500]).unwrap();
        let space = reader.buffer.len();
        for _ in 0..100 {
            assert_eq!(read(&mut reader, &bytes, &[1_500]).unwrap().len(), 1);
        }
        assert_eq!(reader.buffer.len(), space);
    }

    fn data_limit() -> usize {
        super::super::data_limit(1 << 20)
    }

    #[test]
    fn bytes_after_the_last_handshake_frame_are_kept_for_the_data_limit() {
        let bytes = stream(&[vec![1; 60], vec![2; 3_000], vec![3; 10]]);
        let mut reader = FrameReader::new(100);
        reader.want();
        let mut rest = &bytes[..];
        while !reader.is_ready().unwrap() {
            let space = reader.want();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            reader.filled(count);
            rest = &rest[count..];
        }
        assert_eq!(reader.next_frame().unwrap().unwrap(), [1; 60]);
        reader.set_limit(3_000);
        assert_eq!(read(&mut reader, rest, &[7]).unwrap(), [vec![2; 3_000], vec![3; 10]]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_frame_can_be_decrypted_where_it_lies() {
        let mut reader = FrameReader::new(10);
        read(&mut reader, &stream(&[b"abc".to_vec()])[..6], &[6]).unwrap();
        reader.want()[..5].copy_from_slice(b"c\x01\0\0\0");
        reader.filled(5);
        let frame = reader.next_frame().unwrap().unwrap();
        frame.reverse();
        assert_eq!(frame, b"cba");
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn a_stream_may_end_only_between_frames() {
        let bytes = stream(&[b"abc".to_vec()]);
        for count in 0..bytes.len() {
            let mut reader = FrameReader::new(10);
            assert_eq!(read(&mut reader, &bytes[..count], &[1]).unwrap().len(), 0);
            match reader.finish() {
                Ok(()) => assert_eq!(count, 0),
                Err(error) => {
                    let needed = (count >= HEADER_LEN).then_some(7);
                    assert_eq!(error, FrameError::Cut { received: count, needed });
                    assert_eq!(error.code(), code::CONNECTION_CUT);
                }
            }
        }
    }

    #[test]
    fn telling_of_more_bytes_than_there_was_space_for_is_taken_as_all() {
        let mut reader = FrameReader::new(10);
        let space = reader.want().len();
        reader.filled(usize::MAX);
        assert_eq!(reader.unread.len(), space);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6_000), 0..6),
            pieces in prop::collection::vec(1_usize..9_000, 1..20),
        ) {
            let mut reader = FrameReader::new(6_000);
            prop_assert_eq!(read(&mut reader, &stream(&frames), &pieces).unwrap(), frames);
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow_past_its_limit(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..2_000),
            pieces in prop::collection::vec(1_usize..50, 1..5),
        ) {
            let mut reader = FrameReader::new(300);
            let _ = read(&mut reader, &bytes, &pieces);
            prop_assert!(reader.buffer.len() <= 304);
        }
    }
}
