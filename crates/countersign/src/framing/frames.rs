//! Collects the bytes of a stream and hands out whole frames, whatever stands before each of them.

use super::{FrameError, dword, nns};
use std::ops::Range;
use zeroize::Zeroizing;

/// Space that a reader begins with, in bytes: a Kerberos token mostly fits.
const FIRST_SPACE: usize = 4_096;

/// What stands before each frame of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// A length of 4 bytes, little-endian; no frame is empty ([`dword`]).
    Length,
    /// The head of a handshake record of NNS, 5 bytes; a record may be empty ([`nns`]).
    NnsRecord,
    /// Nothing: all bytes to the end of the stream are one frame ([`super::sample`]).
    ToEnd,
}

impl Header {
    /// Its length in bytes.
    #[must_use]
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::Length => dword::HEADER_LEN,
            Self::NnsRecord => nns::RECORD_HEADER_LEN,
            Self::ToEnd => 0,
        }
    }

    /// The length of the frame that `bytes` begin with, once it stands there.
    fn announced(self, bytes: &[u8]) -> Option<u32> {
        match self {
            Self::Length => dword::announced(bytes),
            Self::NnsRecord => nns::announced(bytes).map(u32::from),
            Self::ToEnd => None,
        }
    }
}

/// One frame, where it lies in the reader.
#[derive(PartialEq, Eq, Debug)]
pub struct Frame<'b> {
    /// What stands before it.
    pub header: &'b [u8],
    /// Its bytes, to be worked on in place.
    pub body: &'b mut [u8],
    /// Where the body begins, for [`FrameReader::bytes`].
    pub(crate) start: usize,
}

/// Collects the bytes of a stream and hands out whole frames.
///
/// A driver goes round in a circle: while [`is_ready`](Self::is_ready) says no, read into [`want`](Self::want) and tell
/// how much came with [`filled`](Self::filled), or that the stream [has ended](Self::ended); when it says yes, take the
/// frame with [`next_frame`](Self::next_frame).
///
/// Bytes that come after a frame are kept for the next one, also when the framing changes in between. The buffer is used
/// again for every frame; it grows with the bytes that came (at most to twice as many), never because a length was
/// announced. It is wiped when it is given up, because frames are decrypted in it.
pub struct FrameReader {
    buffer: Zeroizing<Vec<u8>>,
    /// The bytes that came and were not handed out yet.
    unread: Range<usize>,
    header: Header,
    limit: usize,
    ended: bool,
}

impl FrameReader {
    /// A reader of frames of at most `limit` bytes behind such headers.
    #[must_use]
    pub fn new(header: Header, limit: usize) -> Self {
        Self { buffer: Zeroizing::default(), unread: 0..0, header, limit, ended: false }
    }

    /// From the next frame on, frames have such headers and at most `limit` bytes: a handshake's are not those of the data
    /// after it.
    pub fn reframe(&mut self, header: Header, limit: usize) {
        self.header = header;
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

    /// Tells that no more bytes come: what is there may be a whole frame now.
    pub fn ended(&mut self) {
        self.ended = true;
    }

    /// Whether a whole frame waits.
    ///
    /// # Errors
    /// [`FrameError::Empty`] and [`FrameError::TooLong`] as soon as the length is there. The reader stays where it is
    /// and gives the same answer again.
    pub fn is_ready(&self) -> Result<bool, FrameError> {
        Ok(self.frame_len()?.is_some_and(|len| self.unread.len() >= len.saturating_add(self.header.size())))
    }

    /// The next frame, or `None` while it is not all there. Its bytes are gone with the next call of
    /// [`want`](Self::want).
    ///
    /// # Errors
    /// As for [`is_ready`](Self::is_ready).
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(len) = self.frame_len()? else { return Ok(None) };
        let begin = self.unread.start;
        let start = begin.saturating_add(self.header.size());
        let end = start.saturating_add(len);
        if end > self.unread.end {
            return Ok(None);
        }
        self.unread.start = end;
        let frame = self.buffer.get_mut(begin..end).unwrap_or_default();
        let (header, body) = frame.split_at_mut_checked(self.header.size()).unwrap_or_default();
        Ok(Some(Frame { header, body, start }))
    }

    /// What stands before the next frame, once it has come.
    pub(crate) fn next_header(&self) -> Option<&[u8]> {
        self.buffer.get(self.unread.clone())?.get(..self.header.size())
    }

    /// Bytes of a frame that was handed out, until the next call of [`want`](Self::want).
    pub(crate) fn bytes(&self, place: Range<usize>) -> &[u8] {
        self.buffer.get(place).unwrap_or_default()
    }

    /// Whether the stream may end here: all that came was handed out.
    ///
    /// # Errors
    /// [`FrameError::Cut`] if it ends inside a frame, or before a frame that came whole was taken.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.unread.is_empty() {
            return Ok(());
        }
        let needed = self.announced().map(|len| (len as usize).saturating_add(self.header.size()));
        Err(FrameError::Cut { received: self.unread.len(), needed })
    }

    fn announced(&self) -> Option<u32> {
        self.header.announced(self.buffer.get(self.unread.clone())?)
    }

    fn frame_len(&self) -> Result<Option<usize>, FrameError> {
        match self.header {
            Header::ToEnd => self.len_to_end(),
            header => self.announced().map(|announced| checked(header, announced, self.limit)).transpose(),
        }
    }

    fn len_to_end(&self) -> Result<Option<usize>, FrameError> {
        let len = self.unread.len();
        if len > self.limit {
            let announced = u32::try_from(len).unwrap_or(u32::MAX);
            return Err(FrameError::TooLong { announced, limit: self.limit });
        }
        Ok(Some(len).filter(|len| self.ended && *len > 0))
    }

    /// Makes space behind the unread bytes: by moving them to the front, and if nothing stands before them by growing.
    fn make_space(&mut self) {
        if !self.unread.is_empty() && self.unread.start == 0 {
            return self.grow();
        }
        if self.buffer.is_empty() {
            self.buffer.resize(FIRST_SPACE.min(self.limit.saturating_add(self.header.size()).max(1)), 0);
        }
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
    }

    /// The length of the buffer after the next call of [`want`](Self::want), in bytes, for who must know before.
    pub(crate) fn next_space(&self) -> usize {
        let is_full =
            self.unread.end == self.buffer.len() && !self.unread.is_empty() && self.unread.start == 0;
        if is_full { self.grown().max(self.buffer.len()) } else { self.buffer.len().max(FIRST_SPACE) }
    }

    /// How long a full buffer is to become: to the end of the frame that it begins with, but at most twice of what has come.
    fn grown(&self) -> usize {
        let needed = match (self.header, self.frame_len()) {
            (_, Err(_)) => 0,
            // One byte over the limit shows that there are too many.
            (Header::ToEnd, _) => self.limit.saturating_add(1),
            (_, Ok(Some(len))) => len.saturating_add(self.header.size()),
            (_, Ok(None)) => self.header.size(),
        };
        self.unread.len().saturating_mul(2).min(needed)
    }

    /// Grows the full buffer.
    fn grow(&mut self) {
        let space = self.grown();
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
            .field("header", &self.header)
            .field("limit", &self.limit)
            .finish()
    }
}

fn checked(header: Header, announced: u32, limit: usize) -> Result<usize, FrameError> {
    match usize::try_from(announced) {
        Ok(0) if header == Header::Length => Err(FrameError::Empty { limit }),
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
        let framed = |frame: &Vec<u8>| [&dword::header(frame.len(), usize::MAX).unwrap()[..], frame].concat();
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
                frames.push(frame.body.to_vec());
            }
            if bytes.is_empty() {
                break;
            }
            let foretold = reader.next_space();
            let space = reader.want();
            let count = piece.min(bytes.len()).min(space.len());
            assert!(count > 0, "no space to read into");
            space[..count].copy_from_slice(&bytes[..count]);
            assert!(reader.buffer.len() <= foretold, "{} of {foretold}", reader.buffer.len());
            reader.filled(count);
            bytes = &bytes[count..];
        }
        Ok(frames)
    }

    #[test]
    fn an_empty_frame_is_refused_with_its_code() {
        let mut reader = FrameReader::new(Header::Length, 10);
        let error = read(&mut reader, &[0, 0, 0, 0], &[1]).unwrap_err();
        assert_eq!((error, error.code()), (FrameError::Empty { limit: 10 }, code::FRAME_EMPTY));
        assert_eq!(reader.is_ready(), Err(error), "and again when asked again");
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_any_of_it_came_or_was_allocated() {
        for announced in [65_537_u32, 1 << 31, u32::MAX] {
            let mut reader = FrameReader::new(Header::Length, 65_536);
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
        assert_eq!(
            read(&mut FrameReader::new(Header::Length, 65_536), &stream(&frames), &[1_000]).unwrap(),
            frames
        );
    }

    #[test]
    fn the_buffer_grows_with_what_came_not_with_what_was_announced() {
        const LIMIT: usize = 1 << 30;
        let mut reader = FrameReader::new(Header::Length, LIMIT);
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
        let mut reader = FrameReader::new(Header::Length, data_limit());
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
        let mut reader = FrameReader::new(Header::Length, 100);
        reader.want();
        let mut rest = &bytes[..];
        while !reader.is_ready().unwrap() {
            let space = reader.want();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            reader.filled(count);
            rest = &rest[count..];
        }
        assert_eq!(reader.next_frame().unwrap().unwrap().body, [1; 60]);
        reader.reframe(Header::Length, 3_000);
        assert_eq!(read(&mut reader, rest, &[7]).unwrap(), [vec![2; 3_000], vec![3; 10]]);
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_frame_can_be_decrypted_where_it_lies() {
        let mut reader = FrameReader::new(Header::Length, 10);
        read(&mut reader, &stream(&[b"abc".to_vec()])[..6], &[6]).unwrap();
        reader.want()[..5].copy_from_slice(b"c\x01\0\0\0");
        reader.filled(5);
        let frame = reader.next_frame().unwrap().unwrap().body;
        frame.reverse();
        assert_eq!(frame, b"cba");
        assert_eq!(reader.next_frame(), Ok(None));
    }

    #[test]
    fn a_stream_may_end_only_between_frames() {
        let bytes = stream(&[b"abc".to_vec()]);
        for count in 0..bytes.len() {
            let mut reader = FrameReader::new(Header::Length, 10);
            assert_eq!(read(&mut reader, &bytes[..count], &[1]).unwrap().len(), 0);
            match reader.finish() {
                Ok(()) => assert_eq!(count, 0),
                Err(error) => {
                    let needed = (count >= dword::HEADER_LEN).then_some(7);
                    assert_eq!(error, FrameError::Cut { received: count, needed });
                    assert_eq!(error.code(), code::CONNECTION_CUT);
                }
            }
        }
    }

    #[test]
    fn telling_of_more_bytes_than_there_was_space_for_is_taken_as_all() {
        let mut reader = FrameReader::new(Header::Length, 10);
        let space = reader.want().len();
        reader.filled(usize::MAX);
        assert_eq!(reader.unread.len(), space);
    }

    #[test]
    fn a_stream_without_headers_is_one_frame_once_it_has_ended() {
        let mut reader = FrameReader::new(Header::ToEnd, 5_000);
        assert!(read(&mut reader, &[7; 5_000], &[999]).unwrap().is_empty());
        assert_eq!(reader.is_ready(), Ok(false));
        reader.ended();
        assert_eq!(reader.next_frame().unwrap().unwrap().body, [7; 5_000]);
        assert_eq!(reader.next_frame(), Ok(None));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_stream_without_headers_that_is_too_long_is_refused_with_the_first_byte_that_is() {
        let mut reader = FrameReader::new(Header::ToEnd, 5_000);
        let error = read(&mut reader, &[7; 6_000], &[999]).unwrap_err();
        assert_eq!(error, FrameError::TooLong { announced: 5_001, limit: 5_000 });
        assert_eq!(reader.buffer.len(), 5_001);
    }

    #[test]
    fn records_of_nns_may_be_empty_and_keep_what_stands_before_them() {
        let mut reader = FrameReader::new(Header::NnsRecord, 100);
        let bytes = [0x14, 1, 0, 0, 0, 0x16, 1, 0, 0, 2, 8, 9];
        let space = reader.want();
        space[..bytes.len()].copy_from_slice(&bytes);
        reader.filled(bytes.len());
        let done = reader.next_frame().unwrap().unwrap();
        assert_eq!((done.header, &*done.body), (&bytes[..5], &[][..]));
        let going_on = reader.next_frame().unwrap().unwrap();
        assert_eq!((going_on.header, &*going_on.body), (&bytes[5..10], &[8, 9][..]));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6_000), 0..6),
            pieces in prop::collection::vec(1_usize..9_000, 1..20),
        ) {
            let mut reader = FrameReader::new(Header::Length, 6_000);
            prop_assert_eq!(read(&mut reader, &stream(&frames), &pieces).unwrap(), frames);
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow_past_its_limit(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 1 => any::<u8>()], 0..2_000),
            pieces in prop::collection::vec(1_usize..50, 1..5),
        ) {
            let mut reader = FrameReader::new(Header::Length, 300);
            let _ = read(&mut reader, &bytes, &pieces);
            prop_assert!(reader.buffer.len() <= 304);
        }
    }
}
