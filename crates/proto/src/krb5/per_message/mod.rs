//! Per-message protection: wrap and MIC tokens, one half for each direction. A key of AES makes the tokens of RFC 4121
//! section 4.2, one of RC4 those of RFC 4757 section 7.

mod cfx;
mod error;
mod rc4;
mod sequence;

pub use error::MessageError;
pub use sequence::{Order, SequenceMode};

use crate::crypto::{Checksummer, Cipher, Etype, Key, KeyUsage};
use rand_core::CryptoRng;
use sequence::SequenceWindow;

/// Which end this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The end that began the handshake: the client.
    Initiator,
    /// The end that answered it: the service.
    Acceptor,
}

impl Role {
    const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Acceptor,
            Self::Acceptor => Self::Initiator,
        }
    }
}

/// What a handshake agreed on for the protection of messages.
pub struct Protection {
    /// Which end this is.
    pub role: Role,
    /// The key: the acceptor's subkey, or without mutual authentication the initiator's subkey or the session key.
    pub key: Key,
    /// Whether it is the acceptor's subkey, which tokens of RC4 do not say.
    pub acceptor_subkey: bool,
    /// Number of the first message that this end sends.
    pub send_seq: u64,
    /// Number of the first message that the peer sends.
    pub receive_seq: u64,
}

impl Protection {
    /// The two directions, which may then be used by two threads. `require_sealed` refuses messages in clear text.
    #[must_use]
    pub fn split(self, require_sealed: bool, mode: SequenceMode) -> (Sender, Receiver) {
        let tokens = self.tokens(self.role);
        let sender = Sender {
            end_seq: self.send_seq.saturating_add(tokens.numbers()),
            tokens,
            next_seq: self.send_seq,
        };
        let receiver = Receiver {
            role: self.role,
            tokens: self.tokens(self.role.peer()),
            window: SequenceWindow::new(self.receive_seq, mode),
            require_sealed,
            verified_any: false,
        };
        (sender, receiver)
    }

    fn tokens(&self, sent_by: Role) -> Tokens {
        match self.key.etype() {
            Etype::ArcfourHmac => Tokens::Rc4(rc4::Direction::new(&self.key, self.acceptor_subkey, sent_by)),
            _ => Tokens::Cfx {
                keys: DirectionKeys::new(&self.key, sent_by),
                flags: cfx::direction_flags(sent_by, self.acceptor_subkey),
            },
        }
    }
}

/// What makes or verifies the tokens that one end sends.
enum Tokens {
    Cfx { keys: DirectionKeys, flags: u8 },
    Rc4(rc4::Direction),
}

impl Tokens {
    /// How many numbers the direction has.
    const fn numbers(&self) -> u64 {
        match self {
            Self::Cfx { .. } => u64::MAX,
            Self::Rc4(direction) => direction.numbers,
        }
    }

    fn mic_len(&self) -> usize {
        match self {
            Self::Cfx { keys, .. } => cfx::mic_len(keys.key.etype()),
            Self::Rc4(_) => rc4::MIC_LEN,
        }
    }
}

/// The AES keys of one direction, each derived when it is first needed: few contexts need all three.
struct DirectionKeys {
    key: Key,
    seal_usage: KeyUsage,
    sign_usage: KeyUsage,
    seal: Option<Cipher>,
    wrap_checksum: Option<Checksummer>,
    mic: Option<Checksummer>,
}

impl DirectionKeys {
    fn new(key: &Key, sent_by: Role) -> Self {
        let (seal_usage, sign_usage) = match sent_by {
            Role::Acceptor => (KeyUsage::ACCEPTOR_SEAL, KeyUsage::ACCEPTOR_SIGN),
            Role::Initiator => (KeyUsage::INITIATOR_SEAL, KeyUsage::INITIATOR_SIGN),
        };
        Self { key: key.clone(), seal_usage, sign_usage, seal: None, wrap_checksum: None, mic: None }
    }

    fn seal(&mut self) -> &Cipher {
        self.seal.get_or_insert_with(|| self.key.cipher(self.seal_usage))
    }

    /// Wrap tokens without sealing use the sealing usage (RFC 4121 section 4.2.4).
    fn wrap_checksum(&mut self) -> &Checksummer {
        self.wrap_checksum.get_or_insert_with(|| self.key.checksum(self.seal_usage))
    }

    fn mic(&mut self) -> &Checksummer {
        self.mic.get_or_insert_with(|| self.key.checksum(self.sign_usage))
    }
}

/// Bytes around the plaintext in a wrap token, for whoever lays out a buffer to be wrapped in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes before the plaintext.
    pub prefix: usize,
    /// Bytes after it.
    pub trailer: usize,
}

/// Whether a wrap token seals or only signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Confidentiality {
    /// Encrypted and signed.
    Sealed,
    /// Signed; anybody can read it.
    SignedOnly,
}

/// Protects the messages that this end sends.
pub struct Sender {
    tokens: Tokens,
    next_seq: u64,
    /// The number that is no more to be used.
    end_seq: u64,
}

impl Sender {
    /// Bytes around a plaintext of `plaintext_len` bytes in a wrap token. The length counts with RC4 alone, whose tokens
    /// begin with a length in DER.
    #[must_use]
    pub fn layout(&self, confidentiality: Confidentiality, plaintext_len: usize) -> Layout {
        match &self.tokens {
            Tokens::Cfx { keys, .. } => cfx::layout(keys.key.etype(), confidentiality),
            Tokens::Rc4(_) => rc4::layout(plaintext_len),
        }
    }

    /// Bytes around a plaintext in a wrap token whose ciphertext is to be as long as the plaintext, with all else before it, as SSPI's
    /// EncryptMessage has it: its TOKEN, DATA and PADDING. Nothing comes after it but RC4's one byte of padding.
    #[must_use]
    pub fn split_layout(&self, confidentiality: Confidentiality, plaintext_len: usize) -> Layout {
        match &self.tokens {
            Tokens::Cfx { keys, .. } => cfx::split_layout(keys.key.etype(), confidentiality),
            Tokens::Rc4(_) => rc4::layout(plaintext_len),
        }
    }

    /// Length in bytes of a MIC token: 16 and the etype's tag, with RC4 37.
    #[must_use]
    pub fn mic_len(&self) -> usize {
        self.tokens.mic_len()
    }

    /// Appends a wrap token of `plaintext` to `out`.
    ///
    /// # Errors
    /// If the sequence numbers are used up.
    pub fn wrap(
        &mut self,
        confidentiality: Confidentiality,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(), MessageError> {
        let Layout { prefix, trailer } = self.layout(confidentiality, plaintext.len());
        let start = out.len();
        out.reserve(prefix.saturating_add(plaintext.len()).saturating_add(trailer));
        out.resize(start.saturating_add(prefix), 0);
        out.extend_from_slice(plaintext);
        out.resize(out.len().saturating_add(trailer), 0);
        let token = out.get_mut(start..).unwrap_or_default();
        let wrapped = self.wrap_in_place(confidentiality, token, rng);
        if wrapped.is_err() {
            // What stands there is the plaintext.
            out.truncate(start);
        }
        wrapped
    }

    /// Makes a wrap token where the plaintext lies: `buffer` holds [`Layout::prefix`] bytes of any value, the plaintext,
    /// and [`Layout::trailer`] bytes of any value, as [`Sender::layout`] gives them for a plaintext of its length.
    ///
    /// # Errors
    /// If the sequence numbers are used up, or the buffer is shorter than the layout or of a length that none has.
    pub fn wrap_in_place(
        &mut self,
        confidentiality: Confidentiality,
        buffer: &mut [u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), MessageError> {
        let seq = self.due_seq()?;
        match (&mut self.tokens, confidentiality) {
            (Tokens::Cfx { keys, flags }, Confidentiality::Sealed) => {
                cfx::seal(keys.seal(), *flags, seq, buffer, rng)
            }
            (Tokens::Cfx { keys, flags }, Confidentiality::SignedOnly) => {
                cfx::sign(keys.wrap_checksum(), *flags, seq, buffer)
            }
            (Tokens::Rc4(direction), _) => direction.wrap(confidentiality, seq as u32, buffer, rng),
        }?;
        // Only now: the peer would miss the number of a message that was never made.
        self.next_seq = seq.saturating_add(1);
        Ok(())
    }

    /// The same in the layout of [`Sender::split_layout`]: the token's body is rotated, by the 28 bytes that Windows has with AES and
    /// SHA-1, or 12 where it is only signed. Every receiver undoes that (RFC 4121 section 4.2.5).
    ///
    /// # Errors
    /// As [`Sender::wrap_in_place`].
    pub fn wrap_split_in_place(
        &mut self,
        confidentiality: Confidentiality,
        buffer: &mut [u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), MessageError> {
        let Tokens::Cfx { keys, .. } = &self.tokens else {
            return self.wrap_in_place(confidentiality, buffer, rng);
        };
        let etype = keys.key.etype();
        cfx::join(etype, confidentiality, buffer)?;
        self.wrap_in_place(confidentiality, buffer, rng)?;
        cfx::split(etype, confidentiality, buffer)
    }

    /// Appends a MIC token over the concatenation of `message` to `out`.
    ///
    /// # Errors
    /// If the sequence numbers are used up.
    pub fn mic(&mut self, message: &[&[u8]], out: &mut Vec<u8>) -> Result<(), MessageError> {
        let seq = self.due_seq()?;
        match &mut self.tokens {
            Tokens::Cfx { keys, flags } => cfx::mic(keys.mic(), *flags, seq, message, out),
            Tokens::Rc4(direction) => direction.mic(seq as u32, message, out),
        }
        self.next_seq = seq.saturating_add(1);
        Ok(())
    }

    fn due_seq(&self) -> Result<u64, MessageError> {
        if self.next_seq < self.end_seq { Ok(self.next_seq) } else { Err(MessageError::SequenceExhausted) }
    }
}

/// A message that was verified.
pub struct Unwrapped<'b> {
    /// What the peer wrapped; it lies in the token's own buffer.
    pub plaintext: &'b mut [u8],
    /// Whether it was sealed.
    pub confidentiality: Confidentiality,
    /// Its place among the others.
    pub order: Order,
}

/// Verifies the messages that the peer sends.
pub struct Receiver {
    role: Role,
    tokens: Tokens,
    window: SequenceWindow,
    require_sealed: bool,
    verified_any: bool,
}

impl Receiver {
    /// Opens a wrap token where it lies. Nothing of the plaintext is given out unless every check holds.
    ///
    /// # Errors
    /// If it is no wrap token, of the wrong direction or key, altered, in clear text against policy, seen before, or,
    /// where order is demanded, out of order.
    pub fn unwrap_in_place<'b>(&mut self, token: &'b mut [u8]) -> Result<Unwrapped<'b>, MessageError> {
        let (plaintext, confidentiality, order) = match &mut self.tokens {
            Tokens::Cfx { keys, flags } => {
                let header = cfx::WrapHeader::parse(token, *flags)?;
                let confidentiality = permitted(header.confidentiality(), self.require_sealed)?;
                let plaintext = match confidentiality {
                    Confidentiality::Sealed => cfx::open(keys.seal(), &header, token)?,
                    Confidentiality::SignedOnly => cfx::check(keys.wrap_checksum(), &header, token)?,
                };
                (plaintext, confidentiality, self.window.admit(header.seq)?)
            }
            Tokens::Rc4(direction) => {
                let header = rc4::WrapHeader::parse(token)?;
                let confidentiality = permitted(header.confidentiality(), self.require_sealed)?;
                let (number, plaintext) = direction.open(&header, token)?;
                (plaintext, confidentiality, self.window.admit_low_bits(number, direction.numbers)?)
            }
        };
        self.verified_any = true;
        Ok(Unwrapped { plaintext, confidentiality, order })
    }

    /// Length in bytes of a MIC token: 16 and the etype's tag, with RC4 37.
    #[must_use]
    pub fn mic_len(&self) -> usize {
        self.tokens.mic_len()
    }

    /// Verifies a MIC token over the concatenation of `message`.
    ///
    /// # Errors
    /// As [`Receiver::unwrap_in_place`].
    pub fn verify_mic(&mut self, message: &[&[u8]], token: &[u8]) -> Result<Order, MessageError> {
        let order = match &mut self.tokens {
            Tokens::Cfx { keys, flags } => {
                let seq = cfx::verify_mic(keys.mic(), *flags, message, token)?;
                self.window.admit(seq)?
            }
            Tokens::Rc4(direction) => {
                let number = direction.verify_mic(message, token)?;
                self.window.admit_low_bits(number, direction.numbers)?
            }
        };
        self.verified_any = true;
        Ok(order)
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether any message was verified yet. An acceptor knows only from then on that its peer verified the AP-REP and
    /// holds the session key now (DESIGN rule 10).
    #[must_use]
    pub fn has_verified_any(&self) -> bool {
        self.verified_any
    }
}

/// Refuses messages in clear text where sealed ones are demanded.
fn permitted(found: Confidentiality, require_sealed: bool) -> Result<Confidentiality, MessageError> {
    if require_sealed && found == Confidentiality::SignedOnly {
        return Err(MessageError::NotSealed);
    }
    Ok(found)
}
