//! What keytabs and credential caches are read and written with: numbers are big-endian, and strings stand behind their
//! lengths.

use crate::secret::Secret;

/// The bytes of a keytab or credential cache end before a value does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{left} bytes left at offset {offset}")]
pub struct Truncated {
    /// Where the value begins, in bytes from the start of the file.
    pub offset: usize,
    /// What stands there.
    pub what: &'static str,
    /// How many bytes it needs.
    pub needed: u64,
    /// How many are left in the file, or in the record that the value belongs to.
    pub left: usize,
}

impl Truncated {
    /// What should have been there: `32 bytes of a key`.
    pub(crate) fn expected(&self) -> String {
        format!("{} bytes expected there, of {}", self.needed, self.what)
    }
}

/// A place in the bytes of a keytab or credential cache. Numbers are big-endian.
pub(crate) struct FileBytes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> FileBytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// How far this place is from the start of the file, in bytes.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes, which belong to `what`.
    pub(crate) fn take(&mut self, length: u32, what: &'static str) -> Result<&'a [u8], Truncated> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or(self.truncated(length.into(), what))?;
        self.advance(taken.len(), rest);
        Ok(taken)
    }

    /// The next `length` bytes as a place of its own, whose offsets still count from the start of the file.
    pub(crate) fn section(&mut self, length: u32, what: &'static str) -> Result<Self, Truncated> {
        let offset = self.offset;
        Ok(Self { rest: self.take(length, what)?, offset })
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Truncated> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(self.truncated(N as u64, what))?;
        self.advance(N, rest);
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Truncated> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Truncated> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, Truncated> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, Truncated> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    fn advance(&mut self, by: usize, rest: &'a [u8]) {
        self.offset = self.offset.saturating_add(by);
        self.rest = rest;
    }

    fn truncated(&self, needed: u64, what: &'static str) -> Truncated {
        Truncated { offset: self.offset, what, needed, left: self.rest.len() }
    }
}

/// Where the bytes of a file go: counted first, so that the buffer is as long as it will be before a key stands in it.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// How many they are.
impl Sink for usize {
    fn put(&mut self, bytes: &[u8]) {
        *self = self.saturating_add(bytes.len());
    }
}

impl Sink for Secret {
    fn put(&mut self, bytes: &[u8]) {
        self.expose_mut().extend_from_slice(bytes);
    }
}

/// An empty buffer with room for `length` bytes.
pub(crate) fn reserved(length: usize) -> Secret {
    Secret::new(Vec::with_capacity(length))
}

/// A value that has no place in the file's format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} that has no place in the format of the file")]
pub struct DoesNotFit(pub(crate) &'static str);
