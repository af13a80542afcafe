//! PA-DATA and METHOD-DATA (RFC 4120 sections 5.2.7 and 5.9.1).

use crate::der::{DerError, Problem, Reader, Writer, tag};

/// Types of PA-DATA (RFC 4120 section 7.5.2, RFC 6113, RFC 6806, RFC 9588, MS-KILE 2.2) that are told apart here.
pub mod pa_type {
    /// The AP-REQ with the TGT of a TGS-REQ.
    pub const PA_TGS_REQ: i32 = 1;
    /// The time under the client's key.
    pub const PA_ENC_TIMESTAMP: i32 = 2;
    /// A salt alone, as KDCs sent it before there was ETYPE-INFO.
    pub const PA_PW_SALT: i32 = 3;
    /// ETYPE-INFO: etypes and salts of the client's keys, in the old form.
    pub const PA_ETYPE_INFO: i32 = 11;
    /// ETYPE-INFO2: etypes, salts and parameters of the client's keys.
    pub const PA_ETYPE_INFO2: i32 = 19;
    /// The realm that a KDC refers to, in the encrypted part of its reply (PA-SVR-REFERRAL-DATA, MS-KILE 2.2).
    pub const PA_SVR_REFERRAL_INFO: i32 = 20;
    /// Whether a PAC is wanted (MS-KILE 2.2.3).
    pub const PA_PAC_REQUEST: i32 = 128;
    /// State that the KDC leaves with the client between two requests (RFC 6113 section 5.2).
    pub const PA_FX_COOKIE: i32 = 133;
    /// FAST's armored request or reply (RFC 6113 section 5.4).
    pub const PA_FX_FAST: i32 = 136;
    /// The KRB-ERROR proper, inside of FAST's armor (RFC 6113 section 5.4.4).
    pub const PA_FX_ERROR: i32 = 137;
    /// The encrypted challenge (RFC 6113 section 5.4.6).
    pub const PA_ENCRYPTED_CHALLENGE: i32 = 138;
    /// Asks for, and carries, the checksum over the request in the reply's encrypted part (RFC 6806 section 11).
    pub const PA_REQ_ENC_PA_REP: i32 = 149;
    /// SPAKE (RFC 9588).
    pub const PA_SPAKE: i32 = 151;
    /// What else of PACs and delegation the client knows (MS-KILE 2.2.10).
    pub const PA_PAC_OPTIONS: i32 = 167;
}

/// Most elements of one list.
const MAX_ELEMENTS: usize = 64;

/// One element of what client and KDC say to each other beside the messages proper.
///
/// ```text
/// PA-DATA         ::= SEQUENCE {
///         -- NOTE: first tag is [1], not [0]
///         padata-type     [1] Int32,
///         padata-value    [2] OCTET STRING -- might be encoded AP-REQ
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PaData<'a> {
    /// What it is, see [`pa_type`].
    pub padata_type: i32,
    /// Its contents, whose form depends on the type and on who sends it.
    pub padata_value: &'a [u8],
}

impl<'a> PaData<'a> {
    /// Reads one PA-DATA.
    ///
    /// # Errors
    /// If it breaks DER.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |element| {
            Ok(Self {
                padata_type: element.field(1, Reader::int32)?,
                padata_value: element.field(2, Reader::octets)?,
            })
        })
    }

    /// Writes one PA-DATA.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|element| {
            element.field(1, |field| field.integer(self.padata_type.into()));
            element.field(2, |field| field.octets(self.padata_value));
        });
    }
}

/// A list of PA-DATA, each of which was checked when this was parsed. The default is the empty one.
///
/// ```text
/// METHOD-DATA     ::= SEQUENCE OF PA-DATA
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MethodData<'a> {
    elements: Reader<'a>,
}

impl Default for MethodData<'_> {
    fn default() -> Self {
        Self { elements: Reader::new(&[]) }
    }
}

impl<'a> MethodData<'a> {
    /// Reads a SEQUENCE OF PA-DATA of at most 64 elements.
    ///
    /// # Errors
    /// If it breaks DER or has more.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        let elements = reader.element(tag::SEQUENCE)?;
        let (mut unread, mut count) = (elements, 0_usize);
        while !unread.is_empty() {
            if count == MAX_ELEMENTS {
                return Err(unread.error(Problem::Value("more than 64 elements of preauthentication data")));
            }
            PaData::parse(&mut unread)?;
            count = count.saturating_add(1);
        }
        Ok(Self { elements })
    }

    /// Reads a METHOD-DATA that fills `bytes`: the e-data of a KRB-ERROR.
    ///
    /// # Errors
    /// As [`MethodData::parse`], and if bytes follow it.
    pub fn parse_bytes(bytes: &'a [u8]) -> Result<Self, DerError> {
        Reader::whole(bytes, Self::parse)
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = PaData<'a>> + use<'a> {
        let mut rest = self.elements;
        std::iter::from_fn(move || PaData::parse(&mut rest).ok())
    }

    /// The value of the first element of this type.
    #[must_use]
    pub fn find(&self, padata_type: i32) -> Option<&'a [u8]> {
        self.iter().find(|element| element.padata_type == padata_type).map(|element| element.padata_value)
    }

    /// Whether there are no elements.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Writes `elements` as a SEQUENCE OF PA-DATA.
    pub fn write_list(writer: &mut Writer<'_>, elements: &[PaData<'_>]) {
        writer.sequence(|list| elements.iter().for_each(|element| element.write(list)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(elements: &[PaData<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        MethodData::write_list(&mut Writer::new(&mut out), elements);
        out
    }

    #[test]
    fn a_list_reads_back_in_order_and_the_first_of_a_type_is_found() {
        let pairs: [(i32, &[u8]); 4] = [(19, b"first"), (-5, b""), (19, b"second"), (i32::MAX, &[0; 300])];
        let elements = pairs.map(|(padata_type, padata_value)| PaData { padata_type, padata_value });
        let bytes = written(&elements);
        let read = MethodData::parse_bytes(&bytes).unwrap();
        assert!(read.iter().map(|element| (element.padata_type, element.padata_value)).eq(pairs));
        assert_eq!(read.find(19), Some(&b"first"[..]));
        assert_eq!(read.find(-5), Some(&b""[..]));
        assert_eq!(read.find(2), None);
        assert!(!read.is_empty() && MethodData::default().is_empty());
    }

    #[test]
    fn a_list_of_64_is_read_and_one_of_65_refused() {
        let element = PaData { padata_type: 1, padata_value: b"" };
        assert_eq!(MethodData::parse_bytes(&written(&[element; 64])).unwrap().iter().count(), 64);
        assert!(MethodData::parse_bytes(&written(&[element; 65])).is_err());
    }

    #[test]
    fn a_broken_element_is_told_when_the_list_is_parsed() {
        let mut bytes = written(&[PaData { padata_type: 1, padata_value: b"x" }; 2]);
        let last = bytes.len() - 3;
        bytes[last] = 0x05;
        assert!(MethodData::parse_bytes(&bytes).is_err());
        let mut longer = written(&[]);
        longer.push(0);
        assert!(MethodData::parse_bytes(&longer).is_err());
    }
}
