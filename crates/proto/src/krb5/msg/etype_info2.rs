//! ETYPE-INFO2 and its forerunner ETYPE-INFO (RFC 4120 sections 5.2.7.4 and 5.2.7.5).

use crate::der::{DerError, Reader, Writer, tag};

/// Most entries of one list.
const MAX_ENTRIES: usize = 32;
const TOO_MANY: &str = "more than 32 etypes with salts";

/// An etype that the client has a key of, and how that key comes from the password.
///
/// ```text
/// ETYPE-INFO2-ENTRY       ::= SEQUENCE {
///         etype           [0] Int32,
///         salt            [1] KerberosString OPTIONAL,
///         s2kparams       [2] OCTET STRING OPTIONAL
/// }
/// ETYPE-INFO2             ::= SEQUENCE SIZE (1..MAX) OF ETYPE-INFO2-ENTRY
///
/// ETYPE-INFO-ENTRY        ::= SEQUENCE {
///         etype           [0] Int32,
///         salt            [1] OCTET STRING OPTIONAL
/// }
/// ETYPE-INFO              ::= SEQUENCE OF ETYPE-INFO-ENTRY
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EtypeInfo2Entry<'a> {
    /// Encryption type; any number that the KDC wrote.
    pub etype: i32,
    /// Salt; absent means the default one, realm and components laid end to end.
    pub salt: Option<&'a [u8]>,
    /// Parameters of string-to-key; for the AES etypes the iteration count, 4 bytes big-endian.
    pub s2kparams: Option<&'a [u8]>,
}

impl<'a> EtypeInfo2Entry<'a> {
    /// Reads an ETYPE-INFO2 of at most 32 entries that fills `bytes`. An empty one is taken: a KDC may have nothing to
    /// name.
    ///
    /// # Errors
    /// If it breaks DER, has more entries, or bytes follow it.
    pub fn parse_list(bytes: &'a [u8]) -> Result<Vec<Self>, DerError> {
        Reader::whole(bytes, |reader| reader.sequence_of(MAX_ENTRIES, TOO_MANY, Self::parse))
    }

    /// Reads an ETYPE-INFO of at most 32 entries that fills `bytes`. It has no s2kparams.
    ///
    /// # Errors
    /// As [`EtypeInfo2Entry::parse_list`].
    pub fn parse_old_list(bytes: &'a [u8]) -> Result<Vec<Self>, DerError> {
        Reader::whole(bytes, |reader| reader.sequence_of(MAX_ENTRIES, TOO_MANY, Self::parse_old))
    }

    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |entry| {
            Ok(Self {
                etype: entry.field(0, Reader::int32)?,
                salt: entry.optional_field(1, Reader::general_string)?,
                s2kparams: entry.optional_field(2, Reader::octets)?,
            })
        })
    }

    fn parse_old(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |entry| {
            Ok(Self {
                etype: entry.field(0, Reader::int32)?,
                salt: entry.optional_field(1, Reader::octets)?,
                s2kparams: None,
            })
        })
    }

    /// Writes `entries` as an ETYPE-INFO2.
    pub fn write_list(writer: &mut Writer<'_>, entries: &[Self]) {
        writer.sequence(|list| entries.iter().for_each(|entry| entry.write(list)));
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|entry| {
            entry.field(0, |field| field.integer(self.etype.into()));
            if let Some(salt) = self.salt {
                entry.field(1, |field| field.general_string(salt));
            }
            if let Some(s2kparams) = self.s2kparams {
                entry.field(2, |field| field.octets(s2kparams));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: EtypeInfo2Entry<'_> =
        EtypeInfo2Entry { etype: 18, salt: Some(b"R.TESTalice"), s2kparams: Some(&[0, 0, 0x10, 0]) };

    fn written(entries: &[EtypeInfo2Entry<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        EtypeInfo2Entry::write_list(&mut Writer::new(&mut out), entries);
        out
    }

    #[test]
    fn an_absent_salt_reads_back_as_another_thing_than_an_empty_one() {
        let entries = [
            FULL,
            EtypeInfo2Entry { etype: -7, salt: None, s2kparams: None },
            EtypeInfo2Entry { etype: 20, salt: Some(b""), s2kparams: None },
        ];
        assert_eq!(EtypeInfo2Entry::parse_list(&written(&entries)).unwrap(), entries);
    }

    #[test]
    fn a_list_of_32_is_read_and_one_of_33_refused() {
        assert_eq!(EtypeInfo2Entry::parse_list(&written(&[FULL; 32])).unwrap().len(), 32);
        assert!(EtypeInfo2Entry::parse_list(&written(&[FULL; 33])).is_err());
        assert_eq!(EtypeInfo2Entry::parse_list(&written(&[])), Ok(vec![]));
    }

    #[test]
    fn the_old_form_has_its_salt_in_an_octet_string() {
        let old =
            [0x30, 0x0E, 0x30, 0x0C, 0xA0, 0x03, 0x02, 0x01, 0x12, 0xA1, 0x05, 0x04, 0x03, b'a', b'b', b'c'];
        let entry = EtypeInfo2Entry { etype: 18, salt: Some(b"abc"), s2kparams: None };
        assert_eq!(EtypeInfo2Entry::parse_old_list(&old).unwrap(), [entry]);
        assert!(EtypeInfo2Entry::parse_list(&old).is_err());
        assert!(EtypeInfo2Entry::parse_old_list(&written(&[entry])).is_err());
    }
}
