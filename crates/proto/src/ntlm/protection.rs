//! Per-message protection (MS-NLMP section 3.4), one half for each direction: a signature of 16 bytes,
//! `1 u32 | checksum 8 | number u32`, before the message or, as a MIC, alone.
//!
//! The checksum is `RC4(HMAC-MD5(SignKey, number | plaintext)[..8])`. A sealed message is encrypted first, its checksum
//! with the key stream that follows, so that a direction's messages can only be read in their order.
//!
//! What the protocol cannot do, whoever implements it: nothing in a message tells whether it is sealed. A context seals
//! every message if SEAL was agreed on, else none.

use super::NegotiateFlags;
use super::keys::{ExportedSessionKey, Key16};
use crate::crypto::rc4_hmac::{LEN, hmac_md5_headed};
use crate::krb5::per_message::{Confidentiality, Layout, MessageError, Order, Role, Unwrapped};
use crate::secret;
use rc4::{KeyInit, Rc4, StreamCipher};
use zeroize::{Zeroize, Zeroizing};

/// Length of a signature in bytes.
pub const SIGNATURE_LEN: usize = 16;

const VERSION: [u8; 4] = [1, 0, 0, 0];
const CHECKSUM_LEN: usize = 8;

const SHORT: MessageError = MessageError::Malformed("fewer bytes than an NTLM signature has");
const NOT_A_SIGNATURE: MessageError = MessageError::Malformed("bytes that are no NTLM signature");

/// What a handshake agreed on for the protection of messages.
///
/// The MICs over SPNEGO's list of mechs are made and checked here, before the directions are taken apart: they take a
/// number, but leave the key stream as it was before them (MS-SPNG section 3.3.5.1), which no message may do.
pub struct Protection {
    role: Role,
    confidentiality: Confidentiality,
    send: Keys,
    receive: Keys,
    verified_any: bool,
}

impl Protection {
    /// The protection that `key` and the flags that both agreed on come to.
    #[must_use]
    pub fn new(role: Role, key: &ExportedSessionKey, flags: NegotiateFlags) -> Self {
        let sealed = flags.contains(NegotiateFlags::SEAL);
        let peer = if role == Role::Initiator { Role::Acceptor } else { Role::Initiator };
        Self {
            role,
            confidentiality: if sealed { Confidentiality::Sealed } else { Confidentiality::SignedOnly },
            send: Keys::new(key, role),
            receive: Keys::new(key, peer),
            verified_any: false,
        }
    }

    /// Whether messages are sealed or only signed.
    #[must_use]
    pub fn confidentiality(&self) -> Confidentiality {
        self.confidentiality
    }

    /// The MIC over SPNEGO's list of mechs, DER as the initiator sent it.
    ///
    /// # Errors
    /// If the numbers are used up.
    pub fn mic_for_mech_list(&mut self, mech_list: &[u8]) -> Result<[u8; SIGNATURE_LEN], MessageError> {
        self.send.direction().sign_with_next(&mut self.send.next_seq, &[mech_list])
    }

    /// Verifies the peer's MIC over SPNEGO's list of mechs.
    ///
    /// # Errors
    /// If it is no signature, has another number than the next one, or is not made with the peer's key over that list.
    pub fn verify_mech_list_mic(&mut self, mech_list: &[u8], mic: &[u8]) -> Result<(), MessageError> {
        let mut next_seq = self.receive.next_seq;
        self.receive.direction().verify_next(&mut next_seq, &[mech_list], mic)?;
        self.receive.next_seq = next_seq;
        self.verified_any = true;
        Ok(())
    }

    /// The two directions, which may then be used by two threads. `require_sealed` refuses messages in clear text.
    #[must_use]
    pub fn split(self, require_sealed: bool) -> (Sender, Receiver) {
        let sender = Sender {
            confidentiality: self.confidentiality,
            next_seq: self.send.next_seq,
            direction: self.send.direction(),
        };
        let receiver = Receiver {
            role: self.role,
            confidentiality: self.confidentiality,
            next_seq: self.receive.next_seq,
            direction: self.receive.direction(),
            require_sealed,
            verified_any: self.verified_any,
        };
        (sender, receiver)
    }
}

/// The keys of a direction before its first message.
struct Keys {
    sign: Key16,
    seal: Key16,
    next_seq: u64,
}

impl Keys {
    fn new(key: &ExportedSessionKey, sent_by: Role) -> Self {
        Self { sign: key.sign_key(sent_by), seal: key.seal_key(sent_by), next_seq: 0 }
    }

    /// The direction with its key stream at the beginning.
    fn direction(&self) -> Direction {
        // RC4 repeats its key to 256 bytes, so a key written twice is the same key, and one whose type rules out failure.
        let mut twice = Zeroizing::new([0; 2 * LEN]);
        twice.iter_mut().zip(self.seal.iter().cycle()).for_each(|(to, from)| *to = *from);
        Direction { sign: self.sign.clone(), stream: Rc4::new((&*twice).into()) }
    }
}

/// What one end sends: its key and its key stream.
struct Direction {
    sign: Key16,
    stream: Rc4,
}

impl Direction {
    /// The signature with the next number, the key stream being where the checksum is to be encrypted.
    fn sign_with_next(
        &mut self,
        next_seq: &mut u64,
        message: &[&[u8]],
    ) -> Result<[u8; SIGNATURE_LEN], MessageError> {
        let seq = take(next_seq)?;
        let checksum = self.checksum(seq, message);
        Ok(self.signature(seq, checksum))
    }

    /// Verifies a signature that must have the next number.
    fn verify_next(
        &mut self,
        next_seq: &mut u64,
        message: &[&[u8]],
        signature: &[u8],
    ) -> Result<(), MessageError> {
        let expected = self.sign_with_next(&mut due(*next_seq, signature)?, message)?;
        if !secret::ct_eq(&expected, signature) {
            return Err(MessageError::Integrity);
        }
        *next_seq = next_seq.saturating_add(1);
        Ok(())
    }

    /// The checksum of a message in clear text.
    fn checksum(&self, seq: u32, message: &[&[u8]]) -> [u8; CHECKSUM_LEN] {
        let digest = hmac_md5_headed(&self.sign, &seq.to_le_bytes(), message);
        let [c0, c1, c2, c3, c4, c5, c6, c7, ..] = digest;
        [c0, c1, c2, c3, c4, c5, c6, c7]
    }

    /// The signature that a checksum comes to: it is encrypted with what follows in the key stream.
    fn signature(&mut self, seq: u32, mut checksum: [u8; CHECKSUM_LEN]) -> [u8; SIGNATURE_LEN] {
        self.stream.apply_keystream(&mut checksum);
        let mut signature = [0; SIGNATURE_LEN];
        let bytes = VERSION.into_iter().chain(checksum).chain(seq.to_le_bytes());
        signature.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        signature
    }
}

/// Takes the next number.
fn take(next_seq: &mut u64) -> Result<u32, MessageError> {
    let seq = u32::try_from(*next_seq).map_err(|_| MessageError::SequenceExhausted)?;
    *next_seq = next_seq.saturating_add(1);
    Ok(seq)
}

/// The next number, if the signature has it.
fn due(next_seq: u64, signature: &[u8]) -> Result<u64, MessageError> {
    let signature: &[u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| NOT_A_SIGNATURE)?;
    let [v0, v1, v2, v3, .., s0, s1, s2, s3] = *signature;
    if [v0, v1, v2, v3] != VERSION {
        return Err(NOT_A_SIGNATURE);
    }
    let seq = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
    if seq < next_seq {
        return Err(MessageError::Replayed { seq });
    }
    if seq > next_seq {
        return Err(MessageError::OutOfOrder { seq, expected: next_seq });
    }
    Ok(next_seq)
}

/// Protects the messages that this end sends.
pub struct Sender {
    confidentiality: Confidentiality,
    next_seq: u64,
    direction: Direction,
}

impl Sender {
    /// Bytes around a plaintext in a wrap token.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        Layout { prefix: SIGNATURE_LEN, trailer: 0 }
    }

    /// Whether this end's messages are sealed or only signed.
    #[must_use]
    pub fn confidentiality(&self) -> Confidentiality {
        self.confidentiality
    }

    /// Appends a wrap token of `plaintext` to `out`. A context that seals does so even where signing would do, as nothing
    /// could tell the peer otherwise.
    ///
    /// # Errors
    /// If sealing is asked for and was not agreed on, or the numbers are used up.
    pub fn wrap(
        &mut self,
        confidentiality: Confidentiality,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), MessageError> {
        let start = out.len();
        out.resize(start.saturating_add(SIGNATURE_LEN), 0);
        out.extend_from_slice(plaintext);
        let made = self.wrap_in_place(confidentiality, out.get_mut(start..).unwrap_or_default());
        if made.is_err() {
            out.truncate(start);
        }
        made
    }

    /// Makes a wrap token where the plaintext lies: `buffer` holds 16 bytes of any value and the plaintext.
    ///
    /// # Errors
    /// As [`Sender::wrap`]; and if the buffer is shorter than a signature.
    pub fn wrap_in_place(
        &mut self,
        confidentiality: Confidentiality,
        buffer: &mut [u8],
    ) -> Result<(), MessageError> {
        if confidentiality == Confidentiality::Sealed && self.confidentiality != Confidentiality::Sealed {
            return Err(MessageError::NotSealed);
        }
        let (signature, body) = buffer.split_first_chunk_mut().ok_or(SHORT)?;
        let seq = take(&mut self.next_seq)?;
        let checksum = self.direction.checksum(seq, &[body]);
        if self.confidentiality == Confidentiality::Sealed {
            self.direction.stream.apply_keystream(body);
        }
        *signature = self.direction.signature(seq, checksum);
        Ok(())
    }

    /// Appends a MIC over the concatenation of `message` to `out`.
    ///
    /// # Errors
    /// If the numbers are used up.
    pub fn mic(&mut self, message: &[&[u8]], out: &mut Vec<u8>) -> Result<(), MessageError> {
        out.extend(self.direction.sign_with_next(&mut self.next_seq, message)?);
        Ok(())
    }
}

/// Verifies the messages that the peer sends.
///
/// After a message that does not verify none verifies any more: the key stream is no longer where the peer's is.
pub struct Receiver {
    role: Role,
    confidentiality: Confidentiality,
    next_seq: u64,
    direction: Direction,
    require_sealed: bool,
    verified_any: bool,
}

impl Receiver {
    /// Opens a wrap token where it lies. Nothing of the plaintext is given out, or left in the buffer, unless it verifies.
    ///
    /// # Errors
    /// If it is shorter than a signature, in clear text against policy, not the next one, or altered.
    pub fn unwrap_in_place<'b>(&mut self, token: &'b mut [u8]) -> Result<Unwrapped<'b>, MessageError> {
        let (signature, plaintext) = token.split_first_chunk_mut::<SIGNATURE_LEN>().ok_or(SHORT)?;
        if self.require_sealed && self.confidentiality != Confidentiality::Sealed {
            return Err(MessageError::NotSealed);
        }
        due(self.next_seq, signature)?;
        if self.confidentiality == Confidentiality::Sealed {
            self.direction.stream.apply_keystream(plaintext);
        }
        if let Err(error) = self.direction.verify_next(&mut self.next_seq, &[plaintext], signature) {
            plaintext.zeroize();
            return Err(error);
        }
        self.verified_any = true;
        Ok(Unwrapped { plaintext, confidentiality: self.confidentiality, order: Order::InOrder })
    }

    /// Verifies a MIC over the concatenation of `message`.
    ///
    /// # Errors
    /// If it is no signature, not the next one, or not made with the peer's key over that message.
    pub fn verify_mic(&mut self, message: &[&[u8]], token: &[u8]) -> Result<Order, MessageError> {
        self.direction.verify_next(&mut self.next_seq, message, token)?;
        self.verified_any = true;
        Ok(Order::InOrder)
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether any message was verified yet, SPNEGO's MIC among them: from then on it is known that the peer holds the
    /// session's key.
    #[must_use]
    pub fn has_verified_any(&self) -> bool {
        self.verified_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Confidentiality::{Sealed, SignedOnly};

    fn pair(flags: NegotiateFlags) -> (Protection, Protection) {
        let key = ExportedSessionKey::new([0x55; 16]);
        (Protection::new(Role::Initiator, &key, flags), Protection::new(Role::Acceptor, &key, flags))
    }

    fn sealing() -> (Sender, Receiver) {
        let (initiator, acceptor) = pair(NegotiateFlags::SEAL);
        (initiator.split(true).0, acceptor.split(true).1)
    }

    fn wrapped(sender: &mut Sender, plaintext: &[u8]) -> Vec<u8> {
        let mut token = Vec::new();
        sender.wrap(sender.confidentiality(), plaintext, &mut token).unwrap();
        token
    }

    #[test]
    fn messages_pass_in_both_directions_and_of_every_length() {
        let (initiator, acceptor) = pair(NegotiateFlags::SEAL);
        let (mut initiator, mut acceptor) = (initiator.split(true), acceptor.split(true));
        for length in (0..40).chain([65_536]) {
            let plaintext = vec![7; length];
            let mut there = wrapped(&mut initiator.0, &plaintext);
            assert_eq!(acceptor.1.unwrap_in_place(&mut there).ok().unwrap().plaintext, plaintext);
            let mut back = wrapped(&mut acceptor.0, &plaintext);
            assert_eq!(initiator.1.unwrap_in_place(&mut back).ok().unwrap().plaintext, plaintext);
        }
    }

    #[test]
    fn mics_and_messages_share_numbers_and_key_stream() {
        let (mut sender, mut receiver) = sealing();
        let mut mic = Vec::new();
        sender.mic(&[b"he", b"llo"], &mut mic).unwrap();
        let mut token = wrapped(&mut sender, b"world");
        assert_eq!(receiver.verify_mic(&[b"hel", b"lo"], &mic), Ok(Order::InOrder));
        assert!(receiver.unwrap_in_place(&mut token).is_ok());
    }

    #[test]
    fn every_flipped_bit_of_a_message_is_refused_and_leaves_no_plaintext() {
        let (mut sender, _) = sealing();
        let token = wrapped(&mut sender, b"plaintext");
        for bit in 0..token.len() * 8 {
            let mut altered = token.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(sealing().1.unwrap_in_place(&mut altered).is_err(), "{bit}");
            assert!(!altered.windows(4).any(|window| b"plaintext".windows(4).any(|text| text == window)));
        }
        for length in 0..token.len() {
            assert!(sealing().1.unwrap_in_place(&mut token[..length].to_vec()).is_err(), "{length}");
        }
    }

    #[test]
    fn what_does_not_begin_as_a_signature_is_malformed() {
        let (mut sender, mut receiver) = sealing();
        let mut token = wrapped(&mut sender, b"plaintext");
        token[1] = 1;
        assert_eq!(receiver.unwrap_in_place(&mut token).err(), Some(NOT_A_SIGNATURE));
        assert_eq!(receiver.verify_mic(&[], &[1, 0, 0, 0]), Err(NOT_A_SIGNATURE));
    }

    #[test]
    fn every_flipped_bit_of_a_mic_is_refused() {
        let mut mic = Vec::new();
        sealing().0.mic(&[b"message"], &mut mic).unwrap();
        assert!(sealing().1.verify_mic(&[b"message"], &mic).is_ok());
        assert_eq!(sealing().1.verify_mic(&[b"messagf"], &mic), Err(MessageError::Integrity));
        for bit in 0..mic.len() * 8 {
            mic[bit / 8] ^= 1 << (bit % 8);
            assert!(sealing().1.verify_mic(&[b"message"], &mic).is_err(), "{bit}");
            mic[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_number_must_be_the_next_one() {
        let (mut sender, mut receiver) = sealing();
        let first = wrapped(&mut sender, b"1");
        let second = wrapped(&mut sender, b"2");
        let early = receiver.unwrap_in_place(&mut second.clone()).err();
        assert_eq!(early, Some(MessageError::OutOfOrder { seq: 1, expected: 0 }));
        assert!(receiver.unwrap_in_place(&mut first.clone()).is_ok());
        let again = receiver.unwrap_in_place(&mut first.clone()).err();
        assert_eq!(again, Some(MessageError::Replayed { seq: 0 }));
        assert!(receiver.unwrap_in_place(&mut second.clone()).is_ok());
    }

    #[test]
    fn a_message_sent_back_is_refused() {
        let (initiator, _) = pair(NegotiateFlags::SEAL);
        let (mut sender, mut receiver) = initiator.split(true);
        let mut reflected = wrapped(&mut sender, b"hello");
        assert_eq!(receiver.unwrap_in_place(&mut reflected).err(), Some(MessageError::Integrity));
    }

    #[test]
    fn numbers_end_after_32_bits() {
        let (mut sender, mut receiver) = sealing();
        (sender.next_seq, receiver.next_seq) = (u32::MAX.into(), u32::MAX.into());
        let mut last = wrapped(&mut sender, b"last");
        assert!(receiver.unwrap_in_place(&mut last).is_ok());
        let mut token = Vec::new();
        assert_eq!(sender.wrap(Sealed, b"one more", &mut token), Err(MessageError::SequenceExhausted));
        assert!(token.is_empty());
        assert_eq!(sender.mic(&[], &mut token), Err(MessageError::SequenceExhausted));
    }

    #[test]
    fn without_seal_messages_are_signed_and_taken_only_where_that_is_enough() {
        let (initiator, acceptor) = pair(NegotiateFlags::SIGN);
        let mut sender = initiator.split(false).0;
        let mut receiver = acceptor.split(false).1;
        assert_eq!(sender.wrap(Sealed, b"secret", &mut Vec::new()), Err(MessageError::NotSealed));
        let mut token = wrapped(&mut sender, b"public");
        assert_eq!(&token[SIGNATURE_LEN..], b"public");
        let mut strict = pair(NegotiateFlags::SIGN).1.split(true).1;
        assert_eq!(strict.unwrap_in_place(&mut token.clone()).err(), Some(MessageError::NotSealed));
        let unwrapped = receiver.unwrap_in_place(&mut token).ok().unwrap();
        assert_eq!((&*unwrapped.plaintext, unwrapped.confidentiality), (&b"public"[..], SignedOnly));
    }

    #[test]
    fn a_sealing_context_seals_what_only_asks_to_be_signed() {
        let (mut sender, mut receiver) = sealing();
        let mut token = Vec::new();
        sender.wrap(SignedOnly, b"plaintext", &mut token).unwrap();
        assert_ne!(&token[SIGNATURE_LEN..], b"plaintext");
        assert_eq!(receiver.unwrap_in_place(&mut token).ok().unwrap().confidentiality, Sealed);
    }

    #[test]
    fn a_mech_list_mic_takes_a_number_and_no_key_stream() {
        let (mut initiator, mut acceptor) = pair(NegotiateFlags::SEAL);
        let mic = initiator.mic_for_mech_list(b"list").unwrap();
        acceptor.verify_mech_list_mic(b"list", &mic).unwrap();
        let back = acceptor.mic_for_mech_list(b"list").unwrap();
        initiator.verify_mech_list_mic(b"list", &back).unwrap();

        let mut sender = initiator.split(true).0;
        let mut receiver = acceptor.split(true).1;
        assert!(receiver.has_verified_any());
        let mut token = wrapped(&mut sender, b"first");
        assert_eq!(token[12..16], [1, 0, 0, 0]);
        // The stream is at its beginning, as in a context without a MIC: what it encrypts looks the same.
        assert_eq!(token[16..], wrapped(&mut sealing().0, b"first")[16..]);
        assert!(receiver.unwrap_in_place(&mut token).is_ok());
    }

    #[test]
    fn a_mech_list_mic_over_another_list_or_sent_twice_is_refused() {
        let (mut initiator, mut acceptor) = pair(NegotiateFlags::SEAL);
        let mic = initiator.mic_for_mech_list(b"list").unwrap();
        assert_eq!(acceptor.verify_mech_list_mic(b"liszt", &mic), Err(MessageError::Integrity));
        assert_eq!(acceptor.verify_mech_list_mic(b"list", &mic), Ok(()));
        assert_eq!(acceptor.verify_mech_list_mic(b"list", &mic), Err(MessageError::Replayed { seq: 0 }));
        assert_eq!(initiator.verify_mech_list_mic(b"list", &mic), Err(MessageError::Integrity));
    }

    #[test]
    fn a_buffer_shorter_than_a_signature_is_refused_and_takes_no_number() {
        let (mut sender, mut receiver) = sealing();
        assert!(sender.wrap_in_place(Sealed, &mut [0; 15]).is_err());
        let mut token = wrapped(&mut sender, b"");
        assert_eq!(token.len(), SIGNATURE_LEN);
        assert!(receiver.unwrap_in_place(&mut token).is_ok());
    }
}
