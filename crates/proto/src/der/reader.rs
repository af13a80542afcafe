use super::{DerError, Problem, tag};
use crate::time::{Civil, Timestamp};

/// A cursor over DER that yields slices of the message it was given.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

type Result<T> = std::result::Result<T, DerError>;

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// Reads by `read` a value that fills `bytes`.
    ///
    /// # Errors
    /// If `read` fails or leaves something.
    pub fn whole<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut reader = Self::new(bytes);
        let value = read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// An error at the cursor.
    #[must_use]
    pub const fn error(&self, problem: Problem) -> DerError {
        DerError { offset: self.offset, problem }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, unread.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The identifier octet of the next element, if there is one.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Ends reading.
    ///
    /// # Errors
    /// If bytes are left.
    pub const fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.error(Problem::Trailing(self.rest.len()))) }
    }

    /// The next element whatever it is: its identifier octet and a reader of its contents.
    ///
    /// # Errors
    /// If it breaks the rules of identifier or length, or does not fit into the bytes.
    #[inline]
    pub fn any(&mut self) -> Result<(u8, Reader<'a>)> {
        let (&identifier, after_tag) = self.rest.split_first().ok_or(self.error(Problem::Truncated))?;
        if identifier & 0x1F == 0x1F {
            return Err(self.error(Problem::HighTag));
        }
        let (header, length) = self.length(after_tag)?;
        let body = self.rest.get(header..).ok_or(self.error(Problem::Truncated))?;
        let (contents, rest) = body.split_at_checked(length).ok_or(self.error(Problem::Truncated))?;
        let inner = Reader { rest: contents, offset: self.offset.saturating_add(header) };
        self.offset = inner.offset.saturating_add(length);
        self.rest = rest;
        Ok((identifier, inner))
    }

    /// Length of the header (identifier and length octets) and of the contents.
    #[inline]
    fn length(&self, after_tag: &[u8]) -> Result<(usize, usize)> {
        let truncated = self.error(Problem::Truncated);
        let wrong = self.error(Problem::Length);
        let (&first, more) = after_tag.split_first().ok_or(truncated)?;
        if first < 0x80 {
            return Ok((2, usize::from(first)));
        }
        let count = usize::from(first & 0x7F);
        if count == 0 || count > 4 {
            return Err(wrong);
        }
        let octets = more.get(..count).ok_or(truncated)?;
        let length = octets.iter().fold(0_u64, |value, &octet| value << 8 | u64::from(octet));
        let shortest = length >= 0x80 && octets.first() != Some(&0);
        let length = usize::try_from(length).map_err(|_| wrong)?;
        if shortest { Ok((count.saturating_add(2), length)) } else { Err(wrong) }
    }

    /// The contents of the next element, which must have this identifier octet.
    ///
    /// # Errors
    /// If there is none or another one.
    #[inline]
    pub fn element(&mut self, expected: u8) -> Result<Reader<'a>> {
        match self.peek() {
            Some(found) if found == expected => self.any().map(|(_, contents)| contents),
            Some(found) => Err(self.error(Problem::Tag { expected, found })),
            None => Err(self.error(Problem::Missing { expected })),
        }
    }

    /// The contents of the next element if it has this identifier octet; nothing is read otherwise.
    ///
    /// # Errors
    /// If it is there and broken.
    #[inline]
    pub fn optional(&mut self, expected: u8) -> Result<Option<Reader<'a>>> {
        if self.peek() == Some(expected) { self.element(expected).map(Some) } else { Ok(None) }
    }

    /// Reads the element with this identifier octet by `read`, which must read all of it.
    ///
    /// # Errors
    /// If it is not there, `read` fails, or leaves something.
    #[inline]
    pub fn within<T>(&mut self, expected: u8, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<T> {
        let mut contents = self.element(expected)?;
        let value = read(&mut contents)?;
        contents.finish()?;
        Ok(value)
    }

    /// Reads the field `[number]` EXPLICIT by `read`.
    ///
    /// # Errors
    /// As [`Reader::within`].
    #[inline]
    pub fn field<T>(&mut self, number: u8, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<T> {
        self.within(tag::context(number), read)
    }

    /// Reads the field `[number]` EXPLICIT OPTIONAL by `read`.
    ///
    /// # Errors
    /// As [`Reader::within`], but not if the field is absent.
    #[inline]
    pub fn optional_field<T>(
        &mut self,
        number: u8,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.peek() == Some(tag::context(number)) { self.field(number, read).map(Some) } else { Ok(None) }
    }

    /// Reads by `read`, and yields beside the value the bytes it was read from: what a checksum is over.
    ///
    /// # Errors
    /// If `read` fails.
    pub fn with_encoding<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, &'a [u8])> {
        let start = *self;
        let value = read(self)?;
        let length = start.rest.len().saturating_sub(self.rest.len());
        let encoding = start.rest.get(..length).ok_or(start.error(Problem::Truncated))?;
        Ok((value, encoding))
    }

    /// SEQUENCE OF at most `most` elements, each read by `read`.
    ///
    /// # Errors
    /// If it is not one, `read` fails, or there are more, which is told in the words of `too_many`.
    pub fn sequence_of<T>(
        &mut self,
        most: usize,
        too_many: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut unread = self.element(tag::SEQUENCE)?;
        let mut values = Vec::new();
        while !unread.is_empty() {
            if values.len() == most {
                return Err(unread.error(Problem::Value(too_many)));
            }
            values.push(read(&mut unread)?);
        }
        Ok(values)
    }

    /// INTEGER of at most 64 bits.
    ///
    /// # Errors
    /// If it is empty, longer, or not minimal.
    #[inline]
    pub fn integer(&mut self) -> Result<i64> {
        let at = self.error(Problem::Integer);
        let octets = self.element(tag::INTEGER)?.rest;
        let minimal = match octets {
            [] => false,
            [0x00, second, ..] => second & 0x80 != 0,
            [0xFF, second, ..] => second & 0x80 == 0,
            _ => true,
        };
        // A ninth octet, 00 before a set bit, would be an unsigned 64-bit number: no field here has such a range.
        if !minimal || octets.len() > 8 {
            return Err(at);
        }
        let negative = octets.first().is_some_and(|first| first & 0x80 != 0);
        let start = if negative { -1_i64 } else { 0 };
        Ok(octets.iter().fold(start, |value, &octet| value << 8 | i64::from(octet)))
    }

    /// Int32 of RFC 4120.
    ///
    /// # Errors
    /// If it is not in the range of `i32`.
    #[inline]
    pub fn int32(&mut self) -> Result<i32> {
        let at = self.error(Problem::Integer);
        i32::try_from(self.integer()?).map_err(|_| at)
    }

    /// UInt32 of RFC 4120. Some peers encode numbers from 2^31 as negative ones: those are taken for what they mean.
    ///
    /// # Errors
    /// If it is outside -2^31 to 2^32-1.
    #[inline]
    pub fn uint32(&mut self) -> Result<u32> {
        let at = self.error(Problem::Integer);
        let value = self.integer()?;
        match i32::try_from(value) {
            Ok(small) => Ok(small.cast_unsigned()),
            Err(_) => u32::try_from(value).map_err(|_| at),
        }
    }

    /// Microseconds of RFC 4120: 0 to 999,999.
    ///
    /// # Errors
    /// If it is outside that range.
    #[inline]
    pub fn microseconds(&mut self) -> Result<u32> {
        let at = self.error(Problem::Integer);
        match self.integer()? {
            value @ 0..=999_999 => u32::try_from(value).map_err(|_| at),
            _ => Err(at),
        }
    }

    /// OCTET STRING.
    ///
    /// # Errors
    /// If it is not one.
    #[inline]
    pub fn octets(&mut self) -> Result<&'a [u8]> {
        self.element(tag::OCTET_STRING).map(|contents| contents.rest)
    }

    /// KerberosString: GeneralString, its bytes as they are.
    ///
    /// # Errors
    /// If it is not one.
    #[inline]
    pub fn general_string(&mut self) -> Result<&'a [u8]> {
        self.element(tag::GENERAL_STRING).map(|contents| contents.rest)
    }

    /// KerberosFlags: the first 32 bits of a BIT STRING, bit 0 the highest; missing ones are 0.
    ///
    /// # Errors
    /// If the bit string is malformed or its padding bits are not zero.
    #[inline]
    pub fn flags(&mut self) -> Result<u32> {
        let at = self.error(Problem::BitString);
        let octets = self.element(tag::BIT_STRING)?.rest;
        let (&unused, bits) = octets.split_first().ok_or(at)?;
        let last = bits.last().copied();
        let padding = 1_u16.checked_shl(u32::from(unused)).map_or(0xFF, |bit| bit.wrapping_sub(1));
        let well_formed = unused < 8
            && match last {
                Some(last) => u16::from(last) & padding == 0,
                None => unused == 0,
            };
        if !well_formed {
            return Err(at);
        }
        let mut word = [0_u8; 4];
        for (to, from) in word.iter_mut().zip(bits) {
            *to = *from;
        }
        Ok(u32::from_be_bytes(word))
    }

    /// KerberosTime: GeneralizedTime of the form `YYYYMMDDHHMMSSZ`.
    ///
    /// # Errors
    /// If it has another form or is no date.
    #[inline]
    pub fn time(&mut self) -> Result<Timestamp> {
        let at = self.error(Problem::Time);
        let octets = self.element(tag::GENERALIZED_TIME)?.rest;
        let digits: &[u8; 15] = octets.try_into().map_err(|_| at)?;
        parse_time(digits).ok_or(at)
    }
}

fn parse_time(text: &[u8; 15]) -> Option<Timestamp> {
    let [y1, y2, y3, y4, mo1, mo2, d1, d2, h1, h2, mi1, mi2, s1, s2, b'Z'] = *text else {
        return None;
    };
    let civil = Civil {
        year: i64::from(pair(y1, y2)?).checked_mul(100)?.checked_add(i64::from(pair(y3, y4)?))?,
        month: pair(mo1, mo2)?,
        day: pair(d1, d2)?,
        hour: pair(h1, h2)?,
        minute: pair(mi1, mi2)?,
        second: pair(s1, s2)?,
    };
    civil.to_unix_seconds().map(|seconds| Timestamp::new(seconds, 0))
}

fn pair(tens: u8, ones: u8) -> Option<u8> {
    let digit = |byte: u8| byte.checked_sub(b'0').filter(|digit| *digit < 10);
    digit(tens)?.checked_mul(10)?.checked_add(digit(ones)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T>) -> Problem {
        result.unwrap_err().problem
    }

    #[test]
    fn lengths_that_are_not_shortest_are_refused() {
        for bytes in [
            &[0x04, 0x81, 0x01, 0xAA][..],
            &[0x04, 0x82, 0x00, 0x80],
            &[0x04, 0x80, 0, 0],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
        ] {
            assert_eq!(problem(Reader::new(bytes).octets()), Problem::Length, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        assert_eq!(problem(Reader::new(&[0x04, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]).octets()), Problem::Truncated);
        assert_eq!(problem(Reader::new(&[0x04]).octets()), Problem::Truncated);
        assert_eq!(problem(Reader::new(&[]).octets()), Problem::Missing { expected: 0x04 });
    }

    #[test]
    fn integers_have_their_value_and_only_one_form() {
        for (bytes, value) in [
            (&[0x02, 0x01, 0x00][..], 0),
            (&[0x02, 0x01, 0xFF], -1),
            (&[0x02, 0x02, 0x00, 0x80], 128),
            (&[0x02, 0x02, 0xFF, 0x76], -138),
            (&[0x02, 0x08, 0x80, 0, 0, 0, 0, 0, 0, 0], i64::MIN),
        ] {
            assert_eq!(Reader::new(bytes).integer(), Ok(value));
        }
        for bytes in [
            &[0x02, 0x00][..],
            &[0x02, 0x02, 0x00, 0x7F],
            &[0x02, 0x02, 0xFF, 0x80],
            &[0x02, 0x09, 0, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(problem(Reader::new(bytes).integer()), Problem::Integer, "{bytes:02x?}");
        }
    }

    #[test]
    fn uint32_takes_the_negative_form_for_what_it_means() {
        assert_eq!(Reader::new(&[0x02, 0x01, 0xFF]).uint32(), Ok(u32::MAX));
        assert_eq!(Reader::new(&[0x02, 0x05, 0, 0xFF, 0xFF, 0xFF, 0xFF]).uint32(), Ok(u32::MAX));
        assert!(Reader::new(&[0x02, 0x05, 1, 0, 0, 0, 0]).uint32().is_err());
    }

    #[test]
    fn flags_with_padding_bits_set_are_refused() {
        assert_eq!(Reader::new(&[0x03, 0x05, 0, 0x20, 0, 0, 1]).flags(), Ok(0x2000_0001));
        assert_eq!(Reader::new(&[0x03, 0x02, 5, 0x20]).flags(), Ok(0x2000_0000));
        assert_eq!(Reader::new(&[0x03, 0x01, 0]).flags(), Ok(0));
        for bytes in [&[0x03, 0x02, 6, 0x20][..], &[0x03, 0x02, 8, 0], &[0x03, 0x01, 1], &[0x03, 0x00]] {
            assert_eq!(problem(Reader::new(bytes).flags()), Problem::BitString, "{bytes:02x?}");
        }
    }

    #[test]
    fn times_are_dates_in_one_form() {
        let time = |text: &str| {
            let mut bytes = vec![0x18, u8::try_from(text.len()).unwrap()];
            bytes.extend_from_slice(text.as_bytes());
            Reader::new(&bytes).time()
        };
        assert_eq!(time("19700101000001Z"), Ok(Timestamp::new(1, 0)));
        for text in
            ["19700101000001", "19700101000001.5Z", "19701301000001Z", "1970010100000AZ", "19700101000060Z"]
        {
            assert_eq!(problem(time(text)), Problem::Time, "{text}");
        }
    }

    #[test]
    fn an_error_names_the_offset_in_the_whole_message() {
        let bytes = [0x30, 0x06, 0xA0, 0x04, 0x02, 0x02, 0x00, 0x01];
        let error = Reader::new(&bytes).within(tag::SEQUENCE, |seq| seq.field(0, Reader::int32)).unwrap_err();
        assert_eq!(error, DerError { offset: 4, problem: Problem::Integer });
    }

    #[test]
    fn an_encoding_is_the_bytes_that_were_read_and_no_others() {
        let mut reader = Reader::new(&[0x02, 0x01, 0x05, 0x02, 0x02, 0x01, 0x00, 0x04, 0x00]);
        assert_eq!(reader.with_encoding(Reader::integer), Ok((5, &[0x02, 0x01, 0x05][..])));
        assert_eq!(reader.with_encoding(Reader::integer), Ok((256, &[0x02, 0x02, 0x01, 0x00][..])));
        assert_eq!(reader.with_encoding(|_| Ok(())), Ok(((), &[][..])));
        assert!(reader.with_encoding(Reader::integer).is_err());
        assert_eq!(reader.rest(), &[0x04, 0x00]);
    }

    #[test]
    fn a_list_is_read_to_its_bound_and_refused_beyond() {
        let list = [0x30, 0x09, 0x02, 0x01, 0x01, 0x02, 0x01, 0x02, 0x02, 0x01, 0x03];
        let read = |most| Reader::new(&list).sequence_of(most, "more", Reader::integer);
        assert_eq!(read(3), Ok(vec![1, 2, 3]));
        assert_eq!(read(2), Err(DerError { offset: 8, problem: Problem::Value("more") }));
        assert_eq!(Reader::new(&[0x30, 0]).sequence_of(0, "more", Reader::integer), Ok(vec![]));
    }

    #[test]
    fn a_value_that_does_not_fill_its_bytes_is_refused() {
        assert_eq!(Reader::whole(&[0x02, 0x01, 0x05], Reader::integer), Ok(5));
        assert_eq!(problem(Reader::whole(&[0x02, 0x01, 0x05, 0x00], Reader::integer)), Problem::Trailing(1));
    }

    #[test]
    fn bytes_after_a_field_are_refused() {
        let bytes = [0xA0, 0x04, 0x02, 0x01, 0x05, 0x00];
        assert_eq!(problem(Reader::new(&bytes).field(0, Reader::int32)), Problem::Trailing(1));
    }
}
