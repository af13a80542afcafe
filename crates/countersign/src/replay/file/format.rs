//! What stands in a file of the store: a header, then entries of one size, each with a checksum of its own. All numbers are
//! little-endian.
//!
//! ```text
//! header   magic "CSREPLAY" | version u32 | length of an entry u32 | sequence u64 | oldest u64 | horizon i64
//!          | key of the clients' hash [16] | key of the checksums [16] | checksum u64
//! entry    tag [24] | ctime, µs since 1970, i64 | hash of the client u64 | checksum u64
//! ```
//!
//! A checksum is SipHash-1-3, under the file's own random key, of what stands before it; an entry's also covers its place in
//! the file, so that no entry passes for another.

use countersign_proto::krb5::replay::TAG_LEN;
use countersign_proto::time::Timestamp;
use siphasher::sip::SipHasher13;

/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 80;
/// Bytes of an entry.
pub(super) const ENTRY_LEN: usize = 48;

const MAGIC: [u8; 8] = *b"CSREPLAY";
const VERSION: u32 = 1;
const CHECKSUM_LEN: usize = 8;
const ENTRY_BODY: usize = ENTRY_LEN - CHECKSUM_LEN;

/// What a file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    /// Its number: later files have higher ones.
    pub(super) sequence: u64,
    /// The number of the oldest file that was needed when this one was made.
    pub(super) oldest: u64,
    /// The highest ctime, in microseconds since 1970, of the entries whose files were deleted by then.
    pub(super) horizon: i64,
    /// The key under which clients are hashed, the same in every file.
    pub(super) client_key: [u8; 16],
    /// The key of this file's checksums.
    pub(super) salt: [u8; 16],
}

/// What is kept of an authenticator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) tag: [u8; TAG_LEN],
    pub(super) ctime: Timestamp,
    pub(super) client: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoHeader {
    /// Too few, or none was written yet.
    Unwritten,
    /// Written by a later version of this program.
    TooNew(u32),
    /// Altered, or of another program.
    Damaged,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let Self { sequence, oldest, horizon, client_key, salt } = self;
        let mut out = Writer::<HEADER_LEN>::new();
        out.put(&MAGIC);
        out.put(&VERSION.to_le_bytes());
        out.put(&(ENTRY_LEN as u32).to_le_bytes());
        out.put(&sequence.to_le_bytes());
        out.put(&oldest.to_le_bytes());
        out.put(&horizon.to_le_bytes());
        out.put(&client_key);
        out.put(&salt);
        let checksum = header_checksum(&salt, out.written());
        out.put(&checksum.to_le_bytes());
        out.bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let whole = bytes.first_chunk::<HEADER_LEN>().ok_or(NoHeader::Unwritten)?;
        if whole.iter().all(|&byte| byte == 0) {
            return Err(NoHeader::Unwritten);
        }
        let (body, checksum) = whole.split_last_chunk::<CHECKSUM_LEN>().ok_or(NoHeader::Damaged)?;
        let mut rest = Reader(body);
        if rest.take()? != MAGIC {
            return Err(NoHeader::Damaged);
        }
        let version = u32::from_le_bytes(rest.take()?);
        if version > VERSION {
            return Err(NoHeader::TooNew(version));
        }
        let entry_len = u32::from_le_bytes(rest.take()?);
        let header = Self {
            sequence: u64::from_le_bytes(rest.take()?),
            oldest: u64::from_le_bytes(rest.take()?),
            horizon: i64::from_le_bytes(rest.take()?),
            client_key: rest.take()?,
            salt: rest.take()?,
        };
        let is_ours = version == VERSION && entry_len == ENTRY_LEN as u32;
        let is_whole = header_checksum(&header.salt, body) == u64::from_le_bytes(*checksum);
        if is_ours && is_whole { Ok(header) } else { Err(NoHeader::Damaged) }
    }
}

fn header_checksum(salt: &[u8; 16], body: &[u8]) -> u64 {
    SipHasher13::new_with_key(salt).hash(body)
}

/// Writes and reads the entries of one file.
#[derive(Clone, Copy)]
pub(super) struct Entries(SipHasher13);

impl Entries {
    pub(super) fn of(header: &Header) -> Self {
        Self(SipHasher13::new_with_key(&header.salt))
    }

    /// Appends the entry that is the file's `index`-th.
    pub(super) fn write(&self, entry: &Entry, index: u64, out: &mut Vec<u8>) {
        let mut body = Writer::<ENTRY_BODY>::new();
        body.put(&entry.tag);
        body.put(&entry.ctime.total_micros().to_le_bytes());
        body.put(&entry.client.to_le_bytes());
        out.extend_from_slice(&body.bytes);
        out.extend_from_slice(&self.checksum(&body.bytes, index).to_le_bytes());
    }

    /// The entry in these bytes, if they are what was written as the file's `index`-th.
    pub(super) fn read(&self, bytes: &[u8], index: u64) -> Option<Entry> {
        let (body, checksum) = bytes.first_chunk::<ENTRY_LEN>()?.split_first_chunk::<ENTRY_BODY>()?;
        if checksum != self.checksum(body, index).to_le_bytes() {
            return None;
        }
        let mut rest = Reader(body);
        let tag = rest.take().ok()?;
        let ctime = Timestamp::default().shifted(i64::from_le_bytes(rest.take().ok()?));
        Some(Entry { tag, ctime, client: u64::from_le_bytes(rest.take().ok()?) })
    }

    fn checksum(&self, body: &[u8; ENTRY_BODY], index: u64) -> u64 {
        let mut covered = Writer::<ENTRY_LEN>::new();
        covered.put(&index.to_le_bytes());
        covered.put(body);
        self.0.hash(&covered.bytes)
    }
}

/// Where in a file its `index`-th entry begins.
pub(super) fn offset(index: u64) -> u64 {
    index.saturating_mul(ENTRY_LEN as u64).saturating_add(HEADER_LEN as u64)
}

struct Writer<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Writer<N> {
    fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// The caller's lengths add up to `N`; what would lie beyond it is left out.
    fn put(&mut self, field: &[u8]) {
        let end = self.length.saturating_add(field.len());
        if let Some(space) = self.bytes.get_mut(self.length..end) {
            space.copy_from_slice(field);
            self.length = end;
        }
    }

    fn written(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NoHeader> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(NoHeader::Damaged)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header =
        Header { sequence: 7, oldest: 3, horizon: i64::MIN, client_key: [1; 16], salt: [2; 16] };

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        assert_eq!(Header::parse(&HEADER.to_bytes()), Ok(HEADER));
    }

    #[test]
    fn a_header_with_any_bit_changed_is_none() {
        for bit in 0..HEADER_LEN * 8 {
            let mut bytes = HEADER.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_is_short_or_zero_was_not_written_yet() {
        let bytes = HEADER.to_bytes();
        (0..HEADER_LEN).for_each(|end| assert_eq!(Header::parse(&bytes[..end]), Err(NoHeader::Unwritten)));
        assert_eq!(Header::parse(&[0; HEADER_LEN]), Err(NoHeader::Unwritten));
    }

    #[test]
    fn a_header_of_a_later_version_is_told_from_a_damaged_one() {
        let mut bytes = HEADER.to_bytes();
        bytes[8] = 2;
        assert_eq!(Header::parse(&bytes), Err(NoHeader::TooNew(2)));
    }

    #[test]
    fn an_entry_is_read_only_at_its_place_and_only_unchanged() {
        let entry = Entry { tag: [9; TAG_LEN], ctime: Timestamp::new(-5, 3), client: 11 };
        let entries = Entries::of(&HEADER);
        let mut bytes = Vec::new();
        entries.write(&entry, 4, &mut bytes);
        assert_eq!(bytes.len(), ENTRY_LEN);
        assert_eq!(entries.read(&bytes, 4), Some(entry));
        assert_eq!(entries.read(&bytes, 5), None);
        assert_eq!(Entries::of(&Header { salt: [3; 16], ..HEADER }).read(&bytes, 4), None);
        for bit in 0..ENTRY_LEN * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(entries.read(&changed, 4), None, "bit {bit}");
        }
    }
}
