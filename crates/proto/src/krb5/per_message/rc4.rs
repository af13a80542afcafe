//! The bytes of the tokens of RC4 (RFC 4757 section 7, in the layout of RFC 1964 section 1.2), which know neither flags
//! nor an acceptor's subkey:
//!
//! `frame | what it is 8 | SND_SEQ 8 | SGN_CKSUM 8`, in a wrap token then `confounder 8 | plaintext | padding 1`
//!
//! The checksum is over what the token is, and what follows it or, in a MIC token, the message. SND_SEQ is a number and
//! a direction, encrypted with a key that comes from the checksum; a sealed token's body is encrypted with a key that
//! comes from the number.
//!
//! What the protocol cannot do, whoever implements it: the checksum does not cover SND_SEQ, so in a MIC token or one
//! that is only signed somebody on the way can change the number (and a direction into the other) unseen. A key stream
//! depends on the number alone, so both directions must not use the same numbers.

use super::{Confidentiality, Layout, MessageError, Role};
use crate::crypto::rc4_hmac::{LEN, hmac_md5, rc4_apply};
use crate::crypto::{Checksummer, Key, KeyUsage, Tag};
use crate::der::{Reader, tag};
use crate::secret;
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

/// Numbers that one direction has with an acceptor's subkey: with the next its key streams would come again.
pub(super) const NUMBERS: u64 = 1 << 32;
/// Numbers that it has without one: then an acceptor of ours begins half of 2^30 numbers away from the initiator, and with
/// the next one direction would have the key stream of the other.
pub(super) const NUMBERS_WITHOUT_SUBKEY: u64 = 1 << 29;

/// Kerberos 5 as an OBJECT IDENTIFIER.
const OID: [u8; 11] = [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 0x01, 0x02, 0x02];
// TOK_ID, SGN_ALG (HMAC-MD5), SEAL_ALG (RC4 or none), filler.
const SEALED: [u8; 8] = [0x02, 0x01, 0x11, 0x00, 0x10, 0x00, 0xFF, 0xFF];
const SIGNED: [u8; 8] = [0x02, 0x01, 0x11, 0x00, 0xFF, 0xFF, 0xFF, 0xFF];
const MIC: [u8; 8] = [0x01, 0x01, 0x11, 0x00, 0xFF, 0xFF, 0xFF, 0xFF];

/// Bytes from the object identifier to the end of the checksum.
const FRONT: usize = OID.len() + 24;
const CONFOUNDER: usize = 8;
/// RFC 1964 pads to whole blocks and has the padding say its own length; RC4's block is one byte.
const PADDING: u8 = 1;
const MAX_PADDING: usize = 8;

const WRAP_USAGE: KeyUsage = KeyUsage(13);
const MIC_USAGE: KeyUsage = KeyUsage(15);

const MALFORMED_WRAP: MessageError = MessageError::Malformed("bytes that are no wrap token of RC4");
const MALFORMED_MIC: MessageError = MessageError::Malformed("bytes that are no MIC token of RC4");
const MALFORMED_PADDING: MessageError = MessageError::Malformed("a wrap token whose padding is wrong");
const SHORT: MessageError = MessageError::Malformed("a buffer that is not of the layout");

/// Bytes around a plaintext of `plaintext_len` bytes, sealed or not.
pub(super) const fn layout(plaintext_len: usize) -> Layout {
    let front = FRONT.saturating_add(CONFOUNDER);
    let contents = front.saturating_add(plaintext_len).saturating_add(1);
    Layout { prefix: frame_len(contents).saturating_add(front), trailer: 1 }
}

/// Length of a MIC token.
pub(super) const MIC_LEN: usize = frame_len(FRONT) + FRONT;

/// What makes and verifies the tokens that one end sends.
pub(super) struct Direction {
    /// How many numbers it has.
    pub(super) numbers: u64,
    sent_by: Role,
    wrap: Checksummer,
    mic: Checksummer,
    /// Leads to the key of each SND_SEQ.
    number_base: MessageKey,
    /// Leads to the key of each sealed body.
    seal_base: MessageKey,
}

type MessageKey = Zeroizing<[u8; LEN]>;

impl Direction {
    /// Derives the keys of `key`, which is one of RC4. They are the same in both directions.
    pub(super) fn new(key: &Key, acceptor_subkey: bool, sent_by: Role) -> Self {
        let mut bytes = MessageKey::default();
        bytes.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
        let number_base = derive(&bytes, &[0; 4]);
        bytes.iter_mut().for_each(|byte| *byte ^= 0xF0);
        let seal_base = derive(&bytes, &[0; 4]);
        Self {
            numbers: if acceptor_subkey { NUMBERS } else { NUMBERS_WITHOUT_SUBKEY },
            sent_by,
            wrap: key.checksum(WRAP_USAGE),
            mic: key.checksum(MIC_USAGE),
            number_base,
            seal_base,
        }
    }

    /// Makes a wrap token in place; `buffer` is as [`layout`] says.
    pub(super) fn wrap(
        &self,
        confidentiality: Confidentiality,
        number: u32,
        buffer: &mut [u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), MessageError> {
        let what = match confidentiality {
            Confidentiality::Sealed => SEALED,
            Confidentiality::SignedOnly => SIGNED,
        };
        let frame_len = frame_len_of_whole(buffer.len()).ok_or(SHORT)?;
        let (frame, contents) = buffer.split_at_mut_checked(frame_len).ok_or(SHORT)?;
        write_frame(frame, contents.len());
        let (front, body) = contents.split_first_chunk_mut::<FRONT>().ok_or(SHORT)?;
        let (confounder, padded) = body.split_first_chunk_mut::<CONFOUNDER>().ok_or(SHORT)?;
        rng.fill_bytes(confounder);
        *padded.last_mut().ok_or(SHORT)? = PADDING;

        let checksum = shortened(&self.wrap.sign(&[&what, body]));
        if confidentiality == Confidentiality::Sealed {
            rc4_apply(&self.seal_key(number), body);
        }
        front.iter_mut().zip(self.front(&what, number, &checksum)).for_each(|(to, from)| *to = from);
        Ok(())
    }

    /// Appends a MIC token.
    pub(super) fn mic(&self, number: u32, message: &[&[u8]], out: &mut Vec<u8>) {
        let checksum = shortened(&self.mic.sign(&after(&MIC, message)));
        let mut frame = [0; 2];
        write_frame(&mut frame, FRONT);
        out.extend(frame);
        out.extend(self.front(&MIC, number, &checksum));
    }

    fn front(&self, what: &[u8; 8], number: u32, checksum: &[u8; 8]) -> impl Iterator<Item = u8> {
        let [n1, n2, n3, n4] = number.to_be_bytes();
        let [d1, d2, d3, d4] = direction(self.sent_by);
        let mut snd_seq = [n1, n2, n3, n4, d1, d2, d3, d4];
        rc4_apply(&self.number_key(checksum), &mut snd_seq);
        OID.into_iter().chain(*what).chain(snd_seq).chain(*checksum)
    }

    /// Opens a wrap token: its number, and its plaintext in place. No plaintext is left in `token` if the checksum
    /// does not hold.
    pub(super) fn open<'b>(
        &self,
        header: &WrapHeader,
        token: &'b mut [u8],
    ) -> Result<(u32, &'b mut [u8]), MessageError> {
        let front = &header.0;
        let body = token.get_mut(front.body_at..).ok_or(MALFORMED_WRAP)?;
        let (number, direction) = self.open_number(front);
        if header.confidentiality() == Confidentiality::Sealed {
            rc4_apply(&self.seal_key(number), body);
        }
        let tag = self.wrap.sign(&[&front.what, body]);
        if let Err(refused) = self.check(front, &tag, direction) {
            body.zeroize();
            return Err(refused);
        }
        Ok((number, plaintext_in(body).ok_or(MALFORMED_PADDING)?))
    }

    /// Verifies a MIC token and gives its number.
    pub(super) fn verify_mic(&self, message: &[&[u8]], token: &[u8]) -> Result<u32, MessageError> {
        let front = Front::parse(token).ok_or(MALFORMED_MIC)?;
        if front.what != MIC || front.body_at != token.len() {
            return Err(MALFORMED_MIC);
        }
        let tag = self.mic.sign(&after(&front.what, message));
        let (number, direction) = self.open_number(&front);
        self.check(&front, &tag, direction)?;
        Ok(number)
    }

    /// The number and direction that SND_SEQ says; nothing is proved of them yet.
    fn open_number(&self, front: &Front) -> (u32, [u8; 4]) {
        let mut snd_seq = front.snd_seq;
        rc4_apply(&self.number_key(&front.checksum), &mut snd_seq);
        let [n1, n2, n3, n4, direction @ ..] = snd_seq;
        (u32::from_be_bytes([n1, n2, n3, n4]), direction)
    }

    /// The checksum first: what a token that was altered says of its direction means nothing.
    fn check(&self, front: &Front, tag: &Tag, found: [u8; 4]) -> Result<(), MessageError> {
        if !secret::ct_eq(&shortened(tag), &front.checksum) {
            Err(MessageError::Integrity)
        } else if found == direction(self.sent_by) {
            Ok(())
        } else if found == direction(self.sent_by.peer()) {
            Err(MessageError::Direction)
        } else {
            Err(MessageError::Integrity)
        }
    }

    fn number_key(&self, checksum: &[u8; 8]) -> MessageKey {
        derive(&self.number_base, checksum)
    }

    fn seal_key(&self, number: u32) -> MessageKey {
        derive(&self.seal_base, &number.to_be_bytes())
    }
}

/// The front of a token that says it is a wrap token.
pub(super) struct WrapHeader(Front);

impl WrapHeader {
    pub(super) fn parse(token: &[u8]) -> Result<Self, MessageError> {
        let front = Front::parse(token).ok_or(MALFORMED_WRAP)?;
        if front.what == SEALED || front.what == SIGNED { Ok(Self(front)) } else { Err(MALFORMED_WRAP) }
    }

    pub(super) fn confidentiality(&self) -> Confidentiality {
        if self.0.what == SEALED { Confidentiality::Sealed } else { Confidentiality::SignedOnly }
    }
}

/// What stands in front of a token's body.
struct Front {
    what: [u8; 8],
    snd_seq: [u8; 8],
    checksum: [u8; 8],
    body_at: usize,
}

impl Front {
    fn parse(token: &[u8]) -> Option<Self> {
        let mut whole = Reader::new(token);
        let contents = whole.element(tag::application(0)).ok()?.rest();
        whole.finish().ok()?;
        let rest = contents.strip_prefix(&OID)?;
        let (what, rest) = rest.split_first_chunk()?;
        let (snd_seq, rest) = rest.split_first_chunk()?;
        let (checksum, body) = rest.split_first_chunk()?;
        let body_at = token.len().checked_sub(body.len())?;
        Some(Self { what: *what, snd_seq: *snd_seq, checksum: *checksum, body_at })
    }
}

fn derive(base: &[u8; LEN], data: &[u8]) -> MessageKey {
    Zeroizing::new(hmac_md5(base, &[data]))
}

const fn direction(sent_by: Role) -> [u8; 4] {
    match sent_by {
        Role::Initiator => [0x00; 4],
        Role::Acceptor => [0xFF; 4],
    }
}

/// SGN_CKSUM is the first half of the checksum.
fn shortened(tag: &Tag) -> [u8; 8] {
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

fn after<'a>(what: &'a [u8], message: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut parts = Vec::with_capacity(message.len().saturating_add(1));
    parts.push(what);
    parts.extend_from_slice(message);
    parts
}

/// What lies between confounder and padding. Peers that pad to more than a byte are understood (RFC 1964 section 1.2.2.3).
fn plaintext_in(body: &mut [u8]) -> Option<&mut [u8]> {
    let (_, padded) = body.split_first_chunk_mut::<CONFOUNDER>()?;
    let count = padded.last().copied()?;
    let length = padded.len().checked_sub(count.into())?;
    let (plaintext, padding) = padded.split_at_mut_checked(length)?;
    let sound = (1..=MAX_PADDING).contains(&padding.len()) && padding.iter().all(|byte| *byte == count);
    sound.then_some(plaintext)
}

/// Bytes of tag and length in front of `contents` bytes.
const fn frame_len(contents: usize) -> usize {
    let bits = usize::BITS.saturating_sub(contents.leading_zeros());
    if contents < 0x80 { 2 } else { (bits.div_ceil(8) as usize).saturating_add(2) }
}

/// The same when frame and contents together have `whole` bytes, which for a few numbers cannot be (130 is the first).
fn frame_len_of_whole(whole: usize) -> Option<usize> {
    let longest = frame_len(usize::MAX);
    (2..=longest)
        .find(|frame| whole.checked_sub(*frame).is_some_and(|contents| frame_len(contents) == *frame))
}

/// Fills `frame`, which has [`frame_len`] bytes.
fn write_frame(frame: &mut [u8], contents: usize) {
    if let [identifier, first, more @ ..] = frame {
        *identifier = tag::application(0);
        // The short form is the number itself, the long form a count of the bytes that it takes.
        *first = if more.is_empty() { contents as u8 } else { 0x80 | more.len() as u8 };
        more.iter_mut().rev().zip(contents.to_le_bytes()).for_each(|(to, from)| *to = from);
    }
}

#[cfg(test)]
mod tests;
