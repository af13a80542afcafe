//! The frame around a mechanism's tokens (RFC 2743 section 3.1): `60 length OID`, and for Kerberos two bytes that say
//! which token it is (RFC 4121 section 4.1).

use crate::der::{DerError, Reader, Writer, tag};
use crate::error::{Code, Explain, code};
use std::borrow::Cow;
use std::fmt;

/// A mechanism by its object identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mech {
    /// Kerberos 5, 1.2.840.113554.1.2.2.
    Krb5,
    /// The same under the number that Windows 2000 gave it by mistake, 1.2.840.48018.1.2.2.
    MsKrb5,
    /// The same under the number of the drafts before RFC 1964, 1.3.5.1.5.2.
    OldKrb5,
    /// Kerberos user-to-user, 1.2.840.113554.1.2.2.3.
    UserToUser,
    /// Kerberos through the service's own socket, 1.3.6.1.5.2.5.
    Iakerb,
    /// Negotiation, 1.3.6.1.5.5.2.
    Spnego,
    /// 1.3.6.1.4.1.311.2.2.10.
    Ntlmssp,
}

const KNOWN: [(Mech, &[u8], &str); 7] = [
    (Mech::Krb5, &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02], "Kerberos 5"),
    (Mech::MsKrb5, &[0x2A, 0x86, 0x48, 0x82, 0xF7, 0x12, 0x01, 0x02, 0x02], "MS-Kerberos 5"),
    (Mech::OldKrb5, &[0x2B, 0x05, 0x01, 0x05, 0x02], "Kerberos 5 of the drafts"),
    (
        Mech::UserToUser,
        &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02, 0x03],
        "Kerberos user-to-user",
    ),
    (Mech::Iakerb, &[0x2B, 0x06, 0x01, 0x05, 0x02, 0x05], "IAKERB"),
    (Mech::Spnego, &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x02], "SPNEGO"),
    (Mech::Ntlmssp, &[0x2B, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0A], "NTLMSSP"),
];

impl Mech {
    /// The mechanism with this object identifier, given as its contents octets.
    #[must_use]
    pub fn from_oid(oid: &[u8]) -> Option<Self> {
        KNOWN.iter().find(|(_, bytes, _)| *bytes == oid).map(|(mech, ..)| *mech)
    }

    /// Contents octets of the object identifier.
    #[must_use]
    pub fn oid(self) -> &'static [u8] {
        KNOWN.iter().find(|(mech, ..)| *mech == self).map_or(&[], |(_, bytes, _)| bytes)
    }
}

impl fmt::Display for Mech {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KNOWN.iter().find(|(mech, ..)| mech == self).map_or("", |(.., name)| name))
    }
}

/// What follows the frame of a Kerberos token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenId {
    /// `01 00`
    ApReq,
    /// `02 00`
    ApRep,
    /// `03 00`
    KrbError,
    /// `04 00`, user-to-user.
    TgtReq,
    /// `05 01`, a message for or from a KDC (IAKERB).
    IakerbProxy,
}

impl TokenId {
    const ALL: [(Self, [u8; 2], &'static str); 5] = [
        (Self::ApReq, [1, 0], "AP-REQ"),
        (Self::ApRep, [2, 0], "AP-REP"),
        (Self::KrbError, [3, 0], "KRB-ERROR"),
        (Self::TgtReq, [4, 0], "user-to-user TGT-REQ"),
        (Self::IakerbProxy, [5, 1], "IAKERB proxy message"),
    ];

    const fn bytes(self) -> [u8; 2] {
        match self {
            Self::ApReq => [1, 0],
            Self::ApRep => [2, 0],
            Self::KrbError => [3, 0],
            Self::TgtReq => [4, 0],
            Self::IakerbProxy => [5, 1],
        }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(id, ..)| id == self).map_or("", |(.., name)| name))
    }
}

/// Why bytes are no framed Kerberos token.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// They do not begin as any token that is known.
    #[error("the first bytes {first:02x?} begin no known token")]
    Unrecognised {
        /// At most the first 8 bytes.
        first: Vec<u8>,
    },
    /// They begin as a token that has no frame, of a kind that must have one here.
    #[error("an unframed {0}")]
    Unframed(&'static str),
    /// The frame breaks DER, or does not span the whole token.
    #[error("GSS frame: {0}")]
    Frame(#[from] DerError),
    /// The frame names another mechanism.
    #[error("a token of {0}")]
    OtherMech(String),
    /// The two bytes after the object identifier say nothing known.
    #[error("token id {0:02x?}")]
    TokenId(Vec<u8>),
}

impl Explain for FramingError {
    fn code(&self) -> Code {
        match self {
            Self::Unrecognised { .. } => code::TOKEN_UNRECOGNISED,
            Self::Unframed(_) | Self::OtherMech(_) => code::TOKEN_MECH_UNSUPPORTED,
            Self::Frame(_) => code::TOKEN_MALFORMED,
            Self::TokenId(_) => code::TOKEN_UNEXPECTED,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        "Kerberos 5 tokens in the GSS frame (60 length OID, RFC 2743 section 3.1)".into()
    }
}

/// Opens the frame of a raw Kerberos token, for an end that owes no answer in the same frame: see [`Framed::open`].
///
/// # Errors
/// As [`Framed::open`].
pub fn open(token: &[u8]) -> Result<(TokenId, &[u8]), FramingError> {
    Framed::open(token).map(|framed| (framed.token_id, framed.body))
}

/// A raw Kerberos token out of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Framed<'t> {
    /// Under which of its numbers the sender frames Kerberos: it may understand answers in no other frame.
    pub mech: Mech,
    /// Which token it is.
    pub token_id: TokenId,
    /// What follows.
    pub body: &'t [u8],
}

impl<'t> Framed<'t> {
    /// Opens the frame of a raw Kerberos token, under any number that Kerberos has or had, IAKERB's among them; the frame must
    /// span all of `token`.
    ///
    /// # Errors
    /// If it is no such token; the error says what it is as far as the first bytes tell.
    pub fn open(token: &'t [u8]) -> Result<Self, FramingError> {
        recognise(token)?;
        let mut outer = Reader::new(token);
        let mut contents = outer.element(tag::application(0))?;
        outer.finish()?;
        let mech = kerberos(contents.element(tag::OID)?.rest())?;
        let inner = contents.rest();
        let unknown = || FramingError::TokenId(inner.iter().take(2).copied().collect());
        let (id, body) = inner.split_first_chunk::<2>().ok_or_else(unknown)?;
        let (token_id, ..) = TokenId::ALL.iter().find(|(_, bytes, _)| bytes == id).ok_or_else(unknown)?;
        Ok(Self { mech, token_id: *token_id, body })
    }
}

fn kerberos(oid: &[u8]) -> Result<Mech, FramingError> {
    match Mech::from_oid(oid) {
        Some(mech @ (Mech::Krb5 | Mech::MsKrb5 | Mech::OldKrb5 | Mech::UserToUser | Mech::Iakerb)) => {
            Ok(mech)
        }
        Some(other) => Err(FramingError::OtherMech(other.to_string())),
        None => Err(FramingError::OtherMech(dotted(oid))),
    }
}

/// Tells by their first bytes what tokens without this frame are.
fn recognise(token: &[u8]) -> Result<(), FramingError> {
    match token {
        [0x60, ..] => Ok(()),
        [b'N', b'T', b'L', b'M', b'S', b'S', b'P', 0, ..] => Err(FramingError::Unframed("NTLMSSP message")),
        [0x6E, ..] => Err(FramingError::Unframed("AP-REQ (DCE style or bare krb5_mk_req)")),
        [0x6F, ..] => Err(FramingError::Unframed("AP-REP")),
        [0x7E, ..] => Err(FramingError::Unframed("KRB-ERROR")),
        [0xA0 | 0xA1, ..] => Err(FramingError::Unframed("SPNEGO message")),
        [0x16, 3, ..] => Err(FramingError::Unframed("TLS ClientHello")),
        _ => Err(FramingError::Unrecognised { first: token.iter().take(8).copied().collect() }),
    }
}

/// Appends `body` with its token id to `out` in the frame of Kerberos 5, as whoever speaks first does.
pub fn wrap(token_id: TokenId, out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    wrap_as(Mech::Krb5, token_id, out, body);
}

/// Appends `body` with its token id to `out` in the frame of `mech`: an answer goes in the frame of what it answers.
pub fn wrap_as(mech: Mech, token_id: TokenId, out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    Writer::new(out).constructed(tag::application(0), |frame| {
        frame.primitive(tag::OID, mech.oid());
        frame.encoded(&token_id.bytes());
        body(frame);
    });
}

/// An object identifier in dotted form, for logs; at most 16 arcs of it.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut text = String::from("mech ");
    let mut arc = 0_u64;
    let mut arcs = 0_u32;
    for byte in oid {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7F);
        if byte & 0x80 != 0 {
            continue;
        }
        let root = (arc / 40).min(2);
        match arcs {
            0 => text.push_str(&format!("{root}.{}", arc.saturating_sub(root.saturating_mul(40)))),
            1..16 => text.push_str(&format!(".{arc}")),
            _ => break,
        }
        arcs = arcs.saturating_add(1);
        arc = 0;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed() -> Vec<u8> {
        let mut out = Vec::new();
        wrap(TokenId::ApReq, &mut out, |body| body.encoded(&[1, 2, 3]));
        out
    }

    #[test]
    fn a_frame_opens_to_what_went_in() {
        assert_eq!(open(&framed()), Ok((TokenId::ApReq, &[1, 2, 3][..])));
    }

    #[test]
    fn every_number_of_kerberos_is_told_and_written() {
        for mech in [Mech::Krb5, Mech::MsKrb5, Mech::OldKrb5, Mech::UserToUser] {
            let mut token = Vec::new();
            wrap_as(mech, TokenId::KrbError, &mut token, |body| body.encoded(&[7]));
            assert_eq!(Framed::open(&token), Ok(Framed { mech, token_id: TokenId::KrbError, body: &[7] }));
        }
        // 1.3.5.1.5.2
        assert_eq!(dotted(Mech::OldKrb5.oid()), "mech 1.3.5.1.5.2");
    }

    #[test]
    fn a_frame_that_does_not_span_the_token_is_refused() {
        let mut token = framed();
        token.push(0);
        assert!(matches!(open(&token), Err(FramingError::Frame(_))));
        assert!(matches!(open(&framed()[..8]), Err(FramingError::Frame(_))));
    }

    #[test]
    fn tokens_of_others_are_told_by_name() {
        let said = |token: &[u8]| open(token).unwrap_err().to_string();
        assert_eq!(said(b"NTLMSSP\0\x01\0\0\0"), "an unframed NTLMSSP message");
        assert_eq!(said(&[0x7E, 0x03, 0x30, 0x01, 0x00]), "an unframed KRB-ERROR");
        assert_eq!(said(&[0x60, 0x08, 6, 6, 0x2B, 6, 1, 5, 5, 2]), "a token of SPNEGO");
        assert_eq!(said(&[0x60, 0x05, 6, 3, 0x55, 4, 3]), "a token of mech 2.5.4.3");
        assert_eq!(
            said(b"GET / HTTP/1.1"),
            "the first bytes [47, 45, 54, 20, 2f, 20, 48, 54] begin no known token"
        );
    }
}
