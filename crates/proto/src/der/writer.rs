use super::tag;
use crate::time::{Civil, Timestamp};

/// Appends DER to a buffer that the caller owns.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`; what stands there stays.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// An element whose contents `body` writes.
    pub fn constructed(&mut self, identifier: u8, body: impl FnOnce(&mut Writer<'_>)) {
        self.out.push(identifier);
        let start = self.out.len();
        body(&mut Writer { out: self.out });
        let (octets, count) = length_octets(self.out.len().saturating_sub(start));
        // The length is known only now: it moves the contents up by the one to five octets it takes.
        self.out.splice(start..start, octets.into_iter().take(count));
    }

    /// SEQUENCE.
    pub fn sequence(&mut self, body: impl FnOnce(&mut Writer<'_>)) {
        self.constructed(tag::SEQUENCE, body);
    }

    /// `[number]` EXPLICIT.
    pub fn field(&mut self, number: u8, body: impl FnOnce(&mut Writer<'_>)) {
        self.constructed(tag::context(number), body);
    }

    /// An element with these contents.
    pub fn primitive(&mut self, identifier: u8, contents: &[u8]) {
        self.out.push(identifier);
        let (octets, count) = length_octets(contents.len());
        self.out.extend(octets.into_iter().take(count));
        self.out.extend_from_slice(contents);
    }

    /// An element that is encoded already.
    pub fn encoded(&mut self, element: &[u8]) {
        self.out.extend_from_slice(element);
    }

    /// INTEGER.
    pub fn integer(&mut self, value: i64) {
        let octets = value.to_be_bytes();
        let redundant = octets
            .windows(2)
            .take_while(|pair| {
                matches!(pair, [0x00, next] if next & 0x80 == 0)
                    || matches!(pair, [0xFF, next] if next & 0x80 != 0)
            })
            .count();
        self.primitive(tag::INTEGER, octets.get(redundant..).unwrap_or_default());
    }

    /// OCTET STRING.
    pub fn octets(&mut self, contents: &[u8]) {
        self.primitive(tag::OCTET_STRING, contents);
    }

    /// KerberosString.
    pub fn general_string(&mut self, contents: &[u8]) {
        self.primitive(tag::GENERAL_STRING, contents);
    }

    /// KerberosFlags: always 32 bits, as RFC 4120 section 5.2.8 wants them sent.
    pub fn flags(&mut self, word: u32) {
        let [a, b, c, d] = word.to_be_bytes();
        self.primitive(tag::BIT_STRING, &[0, a, b, c, d]);
    }

    /// KerberosTime, the second that `time` lies in.
    pub fn time(&mut self, time: Timestamp) {
        let Civil { year, month, day, hour, minute, second } = Civil::from_unix_seconds(time.seconds());
        let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
        self.primitive(tag::GENERALIZED_TIME, text.as_bytes());
    }
}

/// The length octets and how many of the array they are.
fn length_octets(length: usize) -> ([u8; 5], usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let [a, b, c, d] = length.to_be_bytes();
    match length {
        0..=0x7F => ([d, 0, 0, 0, 0], 1),
        0x80..=0xFF => ([0x81, d, 0, 0, 0], 2),
        0x100..=0xFFFF => ([0x82, c, d, 0, 0], 3),
        0x1_0000..=0xFF_FFFF => ([0x83, b, c, d, 0], 4),
        _ => ([0x84, a, b, c, d], 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::Reader;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn what_is_written_reads_back() {
        for value in [0, 1, -1, 127, 128, -128, -129, 65_535, i64::MAX, i64::MIN] {
            assert_eq!(Reader::new(&written(|w| w.integer(value))).integer(), Ok(value));
        }
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 1 << 24] {
            let contents = vec![7; length];
            assert_eq!(Reader::new(&written(|w| w.octets(&contents))).octets(), Ok(&contents[..]));
            let nested = written(|w| w.sequence(|w| w.octets(&contents)));
            assert_eq!(Reader::new(&nested).within(tag::SEQUENCE, Reader::octets), Ok(&contents[..]));
        }
        let time = Timestamp::new(1_790_000_000, 0);
        assert_eq!(Reader::new(&written(|w| w.time(time))).time(), Ok(time));
        assert_eq!(Reader::new(&written(|w| w.flags(0xDEAD_BEEF))).flags(), Ok(0xDEAD_BEEF));
    }
}
