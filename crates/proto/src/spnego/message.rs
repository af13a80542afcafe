//! The two messages (RFC 4178 section 4.2, MS-SPNG 2.2.1), parsed where they lie. What is optional in the standard or in
//! practice is optional here; what must follow from it the states decide.

use crate::der::{DerError, Problem, Reader, Writer, tag};
use crate::gss::framing::Mech;

/// Most mechanisms of one list.
const MAX_MECHS: usize = 32;

/// First message of an initiator, or of an acceptor that was asked to speak first.
///
/// ```text
/// NegTokenInit ::= SEQUENCE {
///     mechTypes       [0] MechTypeList,
///     reqFlags        [1] ContextFlags  OPTIONAL,
///     mechToken       [2] OCTET STRING  OPTIONAL,
///     mechListMIC     [3] OCTET STRING  OPTIONAL
/// }
/// NegTokenInit2 ::= SEQUENCE {
///     mechTypes       [0] MechTypeList OPTIONAL,
///     reqFlags        [1] ContextFlags OPTIONAL,
///     mechToken       [2] OCTET STRING OPTIONAL,
///     negHints        [3] NegHints OPTIONAL,
///     mechListMIC     [4] OCTET STRING OPTIONAL
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NegTokenInit<'a> {
    /// Contents of the list, each element checked when this was parsed.
    mechs: Reader<'a>,
    /// The MechTypeList element exactly as it came: what a mechListMIC is made over.
    pub encoded_mechs: &'a [u8],
    /// The optimistic token, for the first mechanism of the list.
    pub mech_token: Option<&'a [u8]>,
    /// A MIC over the list; in a first message it can come only from a mechanism that needs no answer.
    pub mech_list_mic: Option<&'a [u8]>,
}

impl<'a> NegTokenInit<'a> {
    /// Reads the contents of `[0]` of a NegotiationToken. reqFlags are not protected, and passed over.
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let (mechs, encoded_mechs) = fields.field(0, mech_type_list)?;
            fields.optional_field(1, Reader::flags)?;
            let mech_token = fields.optional_field(2, Reader::octets)?;
            let hinted = fields.peek() == Some(tag::context(3)) && is_hints(*fields);
            if hinted {
                fields.element(tag::context(3))?;
            }
            let mech_list_mic = fields.optional_field(if hinted { 4 } else { 3 }, Reader::octets)?;
            Ok(Self { mechs, encoded_mechs, mech_token, mech_list_mic })
        })
    }

    /// Object identifiers (contents octets) of the mechanisms, the preferred one first.
    pub fn mechs(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.mechs;
        std::iter::from_fn(move || rest.element(tag::OID).ok().map(|oid| oid.rest()))
    }
}

/// Field 3 holds hints where it holds a SEQUENCE, and a MIC where it holds an OCTET STRING.
fn is_hints(mut fields: Reader<'_>) -> bool {
    fields.element(tag::context(3)).is_ok_and(|contents| contents.peek() == Some(tag::SEQUENCE))
}

fn mech_type_list<'a>(field: &mut Reader<'a>) -> Result<(Reader<'a>, &'a [u8]), DerError> {
    let at = *field;
    let encoded = field.rest();
    let mechs = field.element(tag::SEQUENCE)?;
    let encoded = encoded.get(..encoded.len().saturating_sub(field.rest().len())).unwrap_or_default();
    let mut unread = mechs;
    let mut count = 0_usize;
    while !unread.is_empty() {
        unread.element(tag::OID)?;
        count = count.saturating_add(1);
    }
    match count {
        0 => Err(at.error(Problem::Value("a list without mechanisms"))),
        1..=MAX_MECHS => Ok((mechs, encoded)),
        _ => Err(at.error(Problem::Value("a list of more than 32 mechanisms"))),
    }
}

/// Every message after the first.
///
/// ```text
/// NegTokenResp ::= SEQUENCE {
///     negState       [0] ENUMERATED { accept-completed (0), accept-incomplete (1), reject (2), request-mic (3) } OPTIONAL,
///     supportedMech   [1] MechType      OPTIONAL,
///     responseToken   [2] OCTET STRING  OPTIONAL,
///     mechListMIC     [3] OCTET STRING  OPTIONAL
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NegTokenResp<'a> {
    /// Where the sender thinks the negotiation stands. Windows clients leave it out.
    pub neg_state: Option<NegState>,
    /// The mechanism that the acceptor chose, in its first message only: contents octets of the object identifier.
    pub supported_mech: Option<&'a [u8]>,
    /// The mechanism's token.
    pub response_token: Option<&'a [u8]>,
    /// A MIC over the initiator's list.
    pub mech_list_mic: Option<&'a [u8]>,
}

/// Where a negotiation stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NegState {
    /// No further message is needed.
    AcceptCompleted = 0,
    /// Another message is needed.
    AcceptIncomplete = 1,
    /// It has failed.
    Reject = 2,
    /// Another mechanism than the preferred one was chosen, so both must prove that nobody changed the list.
    RequestMic = 3,
}

const ENUMERATED: u8 = 0x0A;

impl NegState {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DerError> {
        let at = *reader;
        match reader.element(ENUMERATED)?.rest() {
            [0] => Ok(Self::AcceptCompleted),
            [1] => Ok(Self::AcceptIncomplete),
            [2] => Ok(Self::Reject),
            [3] => Ok(Self::RequestMic),
            _ => Err(at.error(Problem::Value("a negState that does not exist"))),
        }
    }
}

impl<'a> NegTokenResp<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |fields| {
            let neg_state = fields.optional_field(0, NegState::parse)?;
            let supported_mech =
                fields.optional_field(1, |field| field.element(tag::OID).map(|oid| oid.rest()))?;
            let response_token = fields.optional_field(2, Reader::octets)?;
            let mech_list_mic = fields.optional_field(3, Reader::octets)?;
            // Windows 2000 sends its token a second time where the MIC belongs.
            let mech_list_mic = mech_list_mic.filter(|mic| Some(*mic) != response_token);
            Ok(Self { neg_state, supported_mech, response_token, mech_list_mic })
        })
    }

    /// Appends the message, unframed as every message after the first is.
    pub fn write(&self, out: &mut Vec<u8>) {
        Writer::new(out).field(1, |choice| {
            choice.sequence(|fields| {
                if let Some(state) = self.neg_state {
                    fields.field(0, |field| field.primitive(ENUMERATED, &[state as u8]));
                }
                if let Some(mech) = self.supported_mech {
                    fields.field(1, |field| field.primitive(tag::OID, mech));
                }
                if let Some(token) = self.response_token {
                    fields.field(2, |field| field.octets(token));
                }
                if let Some(mic) = self.mech_list_mic {
                    fields.field(3, |field| field.octets(mic));
                }
            });
        });
    }
}

/// Encodes a MechTypeList: what a mechListMIC of ours is made over.
#[must_use]
pub fn encode_mechs(mechs: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).sequence(|list| mechs.iter().for_each(|mech| list.primitive(tag::OID, mech)));
    out
}

/// Appends an initiator's first message, framed: a list that is encoded already, and the optimistic token.
pub fn write_init(encoded_mechs: &[u8], mech_token: Option<&[u8]>, out: &mut Vec<u8>) {
    framed_init(out, |fields| {
        fields.field(0, |field| field.encoded(encoded_mechs));
        if let Some(token) = mech_token {
            fields.field(2, |field| field.octets(token));
        }
    });
}

/// Name that hints bear (MS-SPNG 2.2.1), so that nobody takes them for one.
const HINT_NAME: &[u8] = b"not_defined_in_RFC4178@please_ignore";

/// Appends an acceptor's hint, framed: what it would take, for initiators that ask before they speak.
pub fn write_hint(encoded_mechs: &[u8], out: &mut Vec<u8>) {
    framed_init(out, |fields| {
        fields.field(0, |field| field.encoded(encoded_mechs));
        fields
            .field(3, |field| field.sequence(|hints| hints.field(0, |name| name.general_string(HINT_NAME))));
    });
}

fn framed_init(out: &mut Vec<u8>, fields: impl FnOnce(&mut Writer<'_>)) {
    Writer::new(out).constructed(tag::application(0), |frame| {
        frame.primitive(tag::OID, Mech::Spnego.oid());
        frame.field(0, |choice| choice.sequence(fields));
    });
}

/// Either message.
#[derive(Clone, Copy, Debug)]
pub enum NegotiationToken<'a> {
    /// `[0]`
    Init(NegTokenInit<'a>),
    /// `[1]`
    Resp(NegTokenResp<'a>),
}

impl<'a> NegotiationToken<'a> {
    /// Reads a message that fills `token`, framed as the first one is or bare as later ones are. Old Sun systems frame
    /// all of theirs.
    ///
    /// # Errors
    /// If it breaks DER, is framed for another mechanism, or is neither message.
    pub fn parse(token: &'a [u8]) -> Result<Self, DerError> {
        let mut reader = Reader::new(token);
        if reader.peek() == Some(tag::application(0)) {
            let mut framed = reader.element(tag::application(0))?;
            reader.finish()?;
            let at = framed;
            if framed.element(tag::OID)?.rest() != Mech::Spnego.oid() {
                return Err(at.error(Problem::Value("a frame of another mechanism than SPNEGO")));
            }
            reader = framed;
        }
        let message = if reader.peek() == Some(tag::context(0)) {
            Self::Init(reader.field(0, NegTokenInit::parse)?)
        } else {
            Self::Resp(reader.field(1, NegTokenResp::parse)?)
        };
        reader.finish()?;
        Ok(message)
    }
}

/// Whether these bytes begin a message of SPNEGO, framed or bare.
#[must_use]
pub fn is_spnego(token: &[u8]) -> bool {
    let framed = || {
        let mut outer = Reader::new(token);
        let mut contents = outer.element(tag::application(0)).ok()?;
        contents.element(tag::OID).ok().map(|oid| oid.rest() == Mech::Spnego.oid())
    };
    matches!(token, [0xA0 | 0xA1, ..]) || framed().unwrap_or(false)
}
