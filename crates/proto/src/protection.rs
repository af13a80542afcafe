//! Protection of messages, whichever mechanism agreed on it: one half for each direction.

use crate::krb5::per_message::{self, Confidentiality, Layout, MessageError, Order, Role, Unwrapped};
use crate::krb5::pseudo_random::{ContextKeys, PrfKey, PseudoRandomError};
use crate::ntlm::protection as ntlm;
use crate::secret::Secret;
use rand_core::CryptoRng;

/// Protects the messages that this end sends.
pub enum Sender {
    /// RFC 4121, or RFC 4757 with RC4.
    Kerberos(per_message::Sender),
    /// MS-NLMP.
    Ntlm(ntlm::Sender),
}

impl Sender {
    /// Bytes around a plaintext of `plaintext_len` bytes in a wrap token.
    #[must_use]
    pub fn layout(&self, confidentiality: Confidentiality, plaintext_len: usize) -> Layout {
        match self {
            Self::Kerberos(sender) => sender.layout(confidentiality, plaintext_len),
            Self::Ntlm(sender) => sender.layout(),
        }
    }

    /// Bytes around a plaintext in a wrap token whose ciphertext is to be as long as the plaintext, with all else before it, as SSPI's
    /// EncryptMessage has it: TOKEN (for AES with SHA-1 60 bytes, with SHA-2 64 or 72; for NTLM 16), DATA, PADDING. Nothing comes
    /// after it but the one byte of padding that Kerberos has with RC4, whose `prefix` depends on `plaintext_len`; the others' does
    /// not.
    #[must_use]
    pub fn split_layout(&self, confidentiality: Confidentiality, plaintext_len: usize) -> Layout {
        match self {
            Self::Kerberos(sender) => sender.split_layout(confidentiality, plaintext_len),
            Self::Ntlm(sender) => sender.layout(),
        }
    }

    /// Length in bytes of a MIC token.
    #[must_use]
    pub fn mic_len(&self) -> usize {
        match self {
            Self::Kerberos(sender) => sender.mic_len(),
            Self::Ntlm(_) => ntlm::SIGNATURE_LEN,
        }
    }

    /// Appends a wrap token of `plaintext` to `out`.
    ///
    /// # Errors
    /// If the sequence numbers are used up, or the mechanism did not agree on sealing and is to seal.
    pub fn wrap(
        &mut self,
        confidentiality: Confidentiality,
        plaintext: &[u8],
        rng: &mut dyn CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(), MessageError> {
        match self {
            Self::Kerberos(sender) => sender.wrap(confidentiality, plaintext, rng, out),
            Self::Ntlm(sender) => sender.wrap(confidentiality, plaintext, out),
        }
    }

    /// Makes a wrap token where the plaintext lies; see [`Sender::layout`].
    ///
    /// # Errors
    /// As [`Sender::wrap`], and if the buffer is shorter than the layout.
    pub fn wrap_in_place(
        &mut self,
        confidentiality: Confidentiality,
        buffer: &mut [u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), MessageError> {
        match self {
            Self::Kerberos(sender) => sender.wrap_in_place(confidentiality, buffer, rng),
            Self::Ntlm(sender) => sender.wrap_in_place(confidentiality, buffer),
        }
    }

    /// Makes a wrap token where the plaintext lies, in the layout of [`Sender::split_layout`]. Whoever opens wrap tokens opens this
    /// too.
    ///
    /// # Errors
    /// As [`Sender::wrap_in_place`].
    pub fn wrap_split_in_place(
        &mut self,
        confidentiality: Confidentiality,
        buffer: &mut [u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<(), MessageError> {
        match self {
            Self::Kerberos(sender) => sender.wrap_split_in_place(confidentiality, buffer, rng),
            Self::Ntlm(sender) => sender.wrap_in_place(confidentiality, buffer),
        }
    }

    /// Appends a MIC token over the concatenation of `message` to `out`.
    ///
    /// # Errors
    /// If the sequence numbers are used up.
    pub fn mic(&mut self, message: &[&[u8]], out: &mut Vec<u8>) -> Result<(), MessageError> {
        match self {
            Self::Kerberos(sender) => sender.mic(message, out),
            Self::Ntlm(sender) => sender.mic(message, out),
        }
    }
}

/// Verifies the messages that the peer sends.
pub enum Receiver {
    /// RFC 4121, or RFC 4757 with RC4.
    Kerberos(per_message::Receiver),
    /// MS-NLMP.
    Ntlm(ntlm::Receiver),
}

impl Receiver {
    /// Opens a wrap token where it lies. Nothing of the plaintext is given out unless every check holds.
    ///
    /// # Errors
    /// If it is no wrap token, of the wrong direction or key, altered, in clear text against policy, seen before, or,
    /// where order is demanded, out of order.
    pub fn unwrap_in_place<'b>(&mut self, token: &'b mut [u8]) -> Result<Unwrapped<'b>, MessageError> {
        match self {
            Self::Kerberos(receiver) => receiver.unwrap_in_place(token),
            Self::Ntlm(receiver) => receiver.unwrap_in_place(token),
        }
    }

    /// Length in bytes of a MIC token.
    #[must_use]
    pub fn mic_len(&self) -> usize {
        match self {
            Self::Kerberos(receiver) => receiver.mic_len(),
            Self::Ntlm(_) => ntlm::SIGNATURE_LEN,
        }
    }

    /// Verifies a MIC token over the concatenation of `message`.
    ///
    /// # Errors
    /// As [`Receiver::unwrap_in_place`].
    pub fn verify_mic(&mut self, message: &[&[u8]], token: &[u8]) -> Result<Order, MessageError> {
        match self {
            Self::Kerberos(receiver) => receiver.verify_mic(message, token),
            Self::Ntlm(receiver) => receiver.verify_mic(message, token),
        }
    }

    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Kerberos(receiver) => receiver.role(),
            Self::Ntlm(receiver) => receiver.role(),
        }
    }

    /// Whether any message was verified yet. An acceptor knows only from then on that its peer holds the key now (DESIGN
    /// rule 10).
    #[must_use]
    pub fn has_verified_any(&self) -> bool {
        match self {
            Self::Kerberos(receiver) => receiver.has_verified_any(),
            Self::Ntlm(receiver) => receiver.has_verified_any(),
        }
    }
}

/// Makes keys for protocols above, for as long as it is kept. There is no `Debug`, and what it holds is wiped with the last clone.
#[derive(Clone)]
pub enum ExportKeys {
    /// RFC 7802.
    Kerberos(ContextKeys),
    /// NTLM defines no pseudo-random function.
    Ntlm,
}

impl ExportKeys {
    /// `length` bytes of a key, which the peer gets for the same `input` too, and nobody else (GSS_Pseudo_random, RFC 4401);
    /// `input` is to begin with a label that no other protocol uses.
    ///
    /// # Errors
    /// If NTLM made the context, or `length` is more than [`crate::krb5::pseudo_random::MAX_PSEUDO_RANDOM_LEN`].
    pub fn pseudo_random(
        &self,
        key: PrfKey,
        input: &[u8],
        length: usize,
    ) -> Result<Secret, PseudoRandomError> {
        match self {
            Self::Kerberos(keys) => keys.pseudo_random(key, input, length),
            Self::Ntlm => Err(PseudoRandomError::NotDefined),
        }
    }
}
