//! Protection of messages, whichever mechanism agreed on it: one half for each direction.

use crate::krb5::per_message::{self, Confidentiality, Layout, MessageError, Order, Role, Unwrapped};
use crate::ntlm::protection as ntlm;
use rand_core::CryptoRng;

/// Bytes of a signature before each message of NTLM.
const NTLM_PREFIX: usize = 16;

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
            Self::Ntlm(_) => Layout { prefix: NTLM_PREFIX, trailer: 0 },
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
