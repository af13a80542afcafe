//! The bytes of the tokens (RFC 4121 section 4.2.6).

use super::{Confidentiality, Layout, MessageError, Role};
use crate::crypto::{Checksummer, Cipher, Etype};
use crate::secret;
use rand_core::CryptoRng;

const HEADER: usize = 16;
const CONFOUNDER: usize = 16;
const WRAP: [u8; 2] = [0x05, 0x04];
const MIC: [u8; 2] = [0x04, 0x04];

const SENT_BY_ACCEPTOR: u8 = 1;
const SEALED: u8 = 2;
const ACCEPTOR_SUBKEY: u8 = 4;

const MALFORMED_WRAP: MessageError = MessageError::Malformed("bytes that are no wrap token");
const MALFORMED_MIC: MessageError = MessageError::Malformed("bytes that are no MIC token");
const MALFORMED_EC: MessageError = MessageError::Malformed("a wrap token whose extra count does not fit");
const SHORT: MessageError = MessageError::Malformed("a buffer shorter than the layout");

/// The flags that every token of one sender bears, Sealed apart.
pub(super) const fn direction_flags(sent_by: Role, acceptor_subkey: bool) -> u8 {
    let direction = match sent_by {
        Role::Acceptor => SENT_BY_ACCEPTOR,
        Role::Initiator => 0,
    };
    if acceptor_subkey { direction | ACCEPTOR_SUBKEY } else { direction }
}

pub(super) const fn layout(etype: Etype, confidentiality: Confidentiality) -> Layout {
    match confidentiality {
        Confidentiality::Sealed => {
            Layout { prefix: HEADER + CONFOUNDER, trailer: HEADER.saturating_add(etype.tag_len()) }
        }
        Confidentiality::SignedOnly => Layout { prefix: HEADER, trailer: etype.tag_len() },
    }
}

/// The same with nothing after the plaintext, as Windows lays tokens out: what [`layout`] has behind it comes before it.
pub(super) const fn split_layout(etype: Etype, confidentiality: Confidentiality) -> Layout {
    let Layout { prefix, trailer } = layout(etype, confidentiality);
    Layout { prefix: prefix.saturating_add(trailer), trailer: 0 }
}

pub(super) const fn mic_len(etype: Etype) -> usize {
    HEADER.saturating_add(etype.tag_len())
}

fn wrap_header(flags: u8, extra_count: u16, rotation: u16, seq: u64) -> [u8; HEADER] {
    let [e1, e2] = extra_count.to_be_bytes();
    let [r1, r2] = rotation.to_be_bytes();
    let [s1, s2, s3, s4, s5, s6, s7, s8] = seq.to_be_bytes();
    [WRAP[0], WRAP[1], flags, 0xFF, e1, e2, r1, r2, s1, s2, s3, s4, s5, s6, s7, s8]
}

fn mic_header(flags: u8, seq: u64) -> [u8; HEADER] {
    let [s1, s2, s3, s4, s5, s6, s7, s8] = seq.to_be_bytes();
    [MIC[0], MIC[1], flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, s1, s2, s3, s4, s5, s6, s7, s8]
}

/// Refuses tokens of the wrong direction or key; flag bits that are not known are ignored, as the RFC wants it.
fn check_flags(flags: u8, expected: u8) -> Result<(), MessageError> {
    let differing = flags ^ expected;
    if differing & SENT_BY_ACCEPTOR != 0 {
        Err(MessageError::Direction)
    } else if differing & ACCEPTOR_SUBKEY != 0 {
        Err(MessageError::WrongKeyFlag { flag: flags & ACCEPTOR_SUBKEY != 0 })
    } else {
        Ok(())
    }
}

/// Moves a plaintext from where [`split_layout`] has it to where [`layout`] does.
pub(super) fn join(
    etype: Etype,
    confidentiality: Confidentiality,
    buffer: &mut [u8],
) -> Result<(), MessageError> {
    let rotation = layout(etype, confidentiality).trailer;
    let body = buffer.get_mut(HEADER..).filter(|body| rotation <= body.len()).ok_or(SHORT)?;
    body.rotate_left(rotation);
    Ok(())
}

/// Rotates a token by what it has behind the plaintext, and says so in its header (RFC 4121 section 4.2.5).
pub(super) fn split(
    etype: Etype,
    confidentiality: Confidentiality,
    token: &mut [u8],
) -> Result<(), MessageError> {
    let rotation = layout(etype, confidentiality).trailer;
    let (header, body) = token.split_first_chunk_mut::<HEADER>().ok_or(SHORT)?;
    if rotation > body.len() {
        return Err(SHORT);
    }
    body.rotate_right(rotation);
    let [_, _, _, _, _, _, r1, r2, ..] = header;
    // At most 40.
    [*r1, *r2] = (rotation as u16).to_be_bytes();
    Ok(())
}

/// Seals in place: header | confounder | plaintext | copy of the header | tag, extra count and rotation 0.
pub(super) fn seal(
    cipher: &Cipher,
    flags: u8,
    seq: u64,
    buffer: &mut [u8],
    rng: &mut dyn CryptoRng,
) -> Result<(), MessageError> {
    let header = wrap_header(flags | SEALED, 0, 0, seq);
    let Layout { prefix, trailer } = layout(cipher.etype(), Confidentiality::Sealed);
    // Without room for it the copy of the header would lie where the confounder goes.
    if buffer.len() < prefix.saturating_add(trailer) {
        return Err(SHORT);
    }
    let (first, body) = buffer.split_first_chunk_mut::<HEADER>().ok_or(SHORT)?;
    *first = header;
    let copy_end = body.len().checked_sub(cipher.trailer_len()).ok_or(SHORT)?;
    let (sealed, _) = body.split_at_mut_checked(copy_end).ok_or(SHORT)?;
    *sealed.last_chunk_mut::<HEADER>().ok_or(SHORT)? = header;
    cipher.seal_in_place(rng, body).map_err(|_| SHORT)
}

/// Signs in place: header | plaintext | checksum, the checksum made over plaintext and header with EC and RRC 0.
pub(super) fn sign(
    checksum: &Checksummer,
    flags: u8,
    seq: u64,
    buffer: &mut [u8],
) -> Result<(), MessageError> {
    let tag_len = checksum.etype().tag_len();
    let extra_count = u16::try_from(tag_len).map_err(|_| SHORT)?;
    let (first, body) = buffer.split_first_chunk_mut::<HEADER>().ok_or(SHORT)?;
    *first = wrap_header(flags, extra_count, 0, seq);
    let plaintext_len = body.len().checked_sub(tag_len).ok_or(SHORT)?;
    let (plaintext, trailer) = body.split_at_mut_checked(plaintext_len).ok_or(SHORT)?;
    let tag = checksum.sign(&[plaintext, &wrap_header(flags, 0, 0, seq)]);
    for (to, from) in trailer.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    Ok(())
}

pub(super) fn mic(checksum: &Checksummer, flags: u8, seq: u64, message: &[&[u8]], out: &mut Vec<u8>) {
    let header = mic_header(flags, seq);
    let tag = checksum.sign(&with_header(message, &header));
    out.extend_from_slice(&header);
    out.extend_from_slice(tag.as_ref());
}

fn with_header<'a>(message: &[&'a [u8]], header: &'a [u8]) -> Vec<&'a [u8]> {
    let mut parts = message.to_vec();
    parts.push(header);
    parts
}

/// The header of a wrap token as it came.
pub(super) struct WrapHeader {
    flags: u8,
    extra_count: u16,
    rotation: u16,
    pub(super) seq: u64,
}

impl WrapHeader {
    /// Reads it, and refuses tokens of the wrong direction or key.
    pub(super) fn parse(token: &[u8], expected_flags: u8) -> Result<Self, MessageError> {
        let (header, _) = token.split_first_chunk::<HEADER>().ok_or(MALFORMED_WRAP)?;
        let [t1, t2, flags, 0xFF, e1, e2, r1, r2, s1, s2, s3, s4, s5, s6, s7, s8] = *header else {
            return Err(MALFORMED_WRAP);
        };
        if [t1, t2] != WRAP {
            return Err(MALFORMED_WRAP);
        }
        check_flags(flags, expected_flags)?;
        Ok(Self {
            flags,
            extra_count: u16::from_be_bytes([e1, e2]),
            rotation: u16::from_be_bytes([r1, r2]),
            seq: u64::from_be_bytes([s1, s2, s3, s4, s5, s6, s7, s8]),
        })
    }

    pub(super) const fn confidentiality(&self) -> Confidentiality {
        if self.flags & SEALED != 0 { Confidentiality::Sealed } else { Confidentiality::SignedOnly }
    }

    /// What follows the header, its rotation undone. The rotation is any number: nothing protects it.
    fn body<'b>(&self, token: &'b mut [u8]) -> Result<&'b mut [u8], MessageError> {
        let (_, body) = token.split_first_chunk_mut::<HEADER>().ok_or(MALFORMED_WRAP)?;
        let rotation = usize::from(self.rotation).checked_rem(body.len()).ok_or(MALFORMED_WRAP)?;
        body.rotate_left(rotation);
        Ok(body)
    }
}

/// Opens a sealed token; the header that was sealed must be the header that came, but for the rotation.
pub(super) fn open<'b>(
    cipher: &Cipher,
    header: &WrapHeader,
    token: &'b mut [u8],
) -> Result<&'b mut [u8], MessageError> {
    let body = header.body(token)?;
    let opened = cipher.open_in_place(body).map_err(|_| MessageError::Integrity)?;
    let (rest, copy) = opened.split_last_chunk_mut::<HEADER>().ok_or(MessageError::Integrity)?;
    let [t1, t2, flags, filler, e1, e2, _, _, seq @ ..] = *copy;
    let expected = wrap_header(header.flags, header.extra_count, 0, header.seq);
    let [.., x1, x2, x3, x4, x5, x6, x7, x8] = expected;
    let same = secret::ct_eq(&seq, &[x1, x2, x3, x4, x5, x6, x7, x8])
        && expected.starts_with(&[t1, t2, flags, filler, e1, e2]);
    if !same {
        rest.fill(0);
        return Err(MessageError::Integrity);
    }
    let length = rest.len().checked_sub(usize::from(header.extra_count)).ok_or(MALFORMED_EC)?;
    rest.get_mut(..length).ok_or(MALFORMED_EC)
}

/// Checks a token in clear text.
pub(super) fn check<'b>(
    checksum: &Checksummer,
    header: &WrapHeader,
    token: &'b mut [u8],
) -> Result<&'b mut [u8], MessageError> {
    let tag_len = checksum.etype().tag_len();
    if usize::from(header.extra_count) != tag_len {
        return Err(MALFORMED_EC);
    }
    let body = header.body(token)?;
    let length = body.len().checked_sub(tag_len).ok_or(MALFORMED_EC)?;
    let (plaintext, tag) = body.split_at_mut_checked(length).ok_or(MALFORMED_EC)?;
    let signed_header = wrap_header(header.flags, 0, 0, header.seq);
    checksum.verify(&[plaintext, &signed_header], tag).map_err(|_| MessageError::Integrity)?;
    Ok(plaintext)
}

/// Verifies a MIC token and gives its number.
pub(super) fn verify_mic(
    checksum: &Checksummer,
    expected_flags: u8,
    message: &[&[u8]],
    token: &[u8],
) -> Result<u64, MessageError> {
    let (header, tag) = token.split_first_chunk::<HEADER>().ok_or(MALFORMED_MIC)?;
    let [t1, t2, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, seq @ ..] = *header else {
        return Err(MALFORMED_MIC);
    };
    if [t1, t2] != MIC {
        return Err(MALFORMED_MIC);
    }
    check_flags(flags, expected_flags)?;
    checksum.verify(&with_header(message, header), tag).map_err(|_| MessageError::Integrity)?;
    Ok(u64::from_be_bytes(seq))
}
