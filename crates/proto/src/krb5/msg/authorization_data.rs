//! AuthorizationData (RFC 4120 section 5.2.6).

use crate::der::{DerError, Problem, Reader, Writer, tag};

/// Element types (RFC 4120 section 7.5.4, RFC 7751, MS-KILE 2.2) that are told apart here.
pub mod ad_type {
    /// Elements inside may be ignored by whoever does not know them.
    pub const AD_IF_RELEVANT: i32 = 1;
    /// Elements vouched for by the KDC with a checksum.
    pub const AD_KDC_ISSUED: i32 = 4;
    /// Elements that matter to KDCs only.
    pub const AD_MANDATORY_FOR_KDC: i32 = 8;
    /// Container authenticated by several (RFC 7751).
    pub const AD_CAMMAC: i32 = 96;
    /// Privilege attribute certificate (MS-PAC).
    pub const AD_WIN2K_PAC: i32 = 128;
    /// List of etypes that the initiator takes (RFC 4537).
    pub const AD_ETYPE_NEGOTIATION: i32 = 129;
    /// Whose token the client holds (MS-KILE 2.2.6); nothing here restricts by it.
    pub const KERB_AUTH_DATA_TOKEN_RESTRICTIONS: i32 = 141;
    /// Known to the client's machine only (MS-KILE 2.2.4).
    pub const KERB_LOCAL: i32 = 142;
    /// KERB_AP_OPTIONS: the client does channel binding (MS-KILE 3.2.5.8).
    pub const KERB_AP_OPTIONS: i32 = 143;
    /// The SPN that the client meant (MS-KILE).
    pub const KERB_CLIENT_TARGET: i32 = 144;
}

/// Most elements of one list.
const MAX_ELEMENTS: usize = 64;
/// Deepest nesting of containers.
const MAX_DEPTH: usize = 4;

/// ```text
/// AuthorizationData       ::= SEQUENCE OF SEQUENCE {
///         ad-type         [0] Int32,
///         ad-data         [1] OCTET STRING
/// }
/// ```
///
/// The elements were checked when this was parsed, those within AD-IF-RELEVANT too.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationData<'a> {
    elements: Reader<'a>,
}

/// One element.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// What it is, see [`ad_type`].
    pub ad_type: i32,
    /// Its contents, whose form depends on the type.
    pub data: &'a [u8],
}

impl<'a> AuthorizationData<'a> {
    /// Reads an AuthorizationData, into AD-IF-RELEVANT too, of bounded count and depth.
    ///
    /// # Errors
    /// If it breaks DER or the bounds (64 elements a list, 4 lists deep).
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        Self::parse_at_depth(reader, MAX_DEPTH)
    }

    fn parse_at_depth(reader: &mut Reader<'a>, depth: usize) -> Result<Self, DerError> {
        let at = *reader;
        let depth =
            depth.checked_sub(1).ok_or(at.error(Problem::Value("authorization data nested too deep")))?;
        let elements = reader.element(tag::SEQUENCE)?;
        let mut unread = elements;
        let mut count = 0_usize;
        while !unread.is_empty() {
            let element = Element::parse(&mut unread)?;
            count = count.saturating_add(1);
            if element.ad_type == ad_type::AD_IF_RELEVANT {
                let mut inner = Reader::new(element.data);
                Self::parse_at_depth(&mut inner, depth)?;
                inner.finish()?;
            }
        }
        if count > MAX_ELEMENTS {
            return Err(at.error(Problem::Value("more than 64 elements of authorization data")));
        }
        Ok(Self { elements })
    }

    /// The elements of this list itself.
    pub fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let mut rest = self.elements;
        std::iter::from_fn(move || Element::parse(&mut rest).ok())
    }

    /// Calls `visit` with every element of this list and of the AD-IF-RELEVANT lists in it, containers left out.
    pub fn visit_relevant(&self, visit: &mut dyn FnMut(Element<'a>)) {
        for element in self.elements() {
            if element.ad_type != ad_type::AD_IF_RELEVANT {
                visit(element);
            } else if let Ok(inner) = Self::parse(&mut Reader::new(element.data)) {
                inner.visit_relevant(visit);
            }
        }
    }
}

impl<'a> Element<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |element| {
            Ok(Self { ad_type: element.field(0, Reader::int32)?, data: element.field(1, Reader::octets)? })
        })
    }

    /// Writes one element.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.sequence(|element| {
            element.field(0, |field| field.integer(self.ad_type.into()));
            element.field(1, |field| field.octets(self.data));
        });
    }
}

/// Encodes `elements` as an AuthorizationData whose one element is an AD-IF-RELEVANT around them.
#[must_use]
pub fn if_relevant(elements: &[Element<'_>]) -> Vec<u8> {
    let mut inner = Vec::new();
    Writer::new(&mut inner).sequence(|list| elements.iter().for_each(|element| element.write(list)));
    let mut out = Vec::new();
    Writer::new(&mut out)
        .sequence(|list| Element { ad_type: ad_type::AD_IF_RELEVANT, data: &inner }.write(list));
    out
}
