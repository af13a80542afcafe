//! Keys for protocols above a context: GSS_Pseudo_random (RFC 4401) as Kerberos does it (RFC 7802).

use crate::crypto::Key;
use crate::error::{Code, Explain, code};
use crate::secret::Secret;
use std::borrow::Cow;

/// Most bytes that are given out at once. RFC 7802 sets no bound; nobody needs a key of this length.
pub const MAX_PSEUDO_RANDOM_LEN: usize = 65_536;

/// Which of a context's keys the bytes come from (RFC 4401 section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrfKey {
    /// `GSS_C_PRF_KEY_FULL`: the key to which both ends gave something, which is the acceptor's subkey. Without one it is that of
    /// [`PrfKey::Partial`].
    Full,
    /// `GSS_C_PRF_KEY_PARTIAL`: the key that an initiator has before the acceptor answers, its own subkey or the session key.
    Partial,
}

/// The keys of a context that other keys are made of. There is no `Debug`, and they are wiped when the last clone is dropped.
#[derive(Clone)]
pub struct ContextKeys {
    initiator: Key,
    acceptor: Option<Key>,
}

impl ContextKeys {
    /// `initiator` is its subkey, or the session key if it asserted none; `acceptor` is the acceptor's subkey, if there is one.
    #[must_use]
    pub fn new(initiator: Key, acceptor: Option<Key>) -> Self {
        Self { initiator, acceptor }
    }

    /// The key of all that follows the handshake.
    pub(super) fn full(&self) -> &Key {
        self.acceptor.as_ref().unwrap_or(&self.initiator)
    }

    /// `length` bytes that whoever has the same context gets for the same `input`, and nobody else: PRF outputs over a counter
    /// of four bytes from 0 on and `input`, laid end to end (RFC 7802 section 3).
    ///
    /// # Errors
    /// If `length` is more than [`MAX_PSEUDO_RANDOM_LEN`].
    pub fn pseudo_random(
        &self,
        key: PrfKey,
        input: &[u8],
        length: usize,
    ) -> Result<Secret, PseudoRandomError> {
        if length > MAX_PSEUDO_RANDOM_LEN {
            return Err(PseudoRandomError::TooLong { length });
        }
        let key = match key {
            PrfKey::Full => self.full(),
            PrfKey::Partial => &self.initiator,
        };
        let mut output = Secret::new(vec![0; length]);
        let mut numbered = Secret::new([&[0; 4], input].concat());
        let mut missing = output.expose_mut().as_mut_slice();
        for counter in 0..=u32::MAX {
            if missing.is_empty() {
                break;
            }
            if let Some(first) = numbered.expose_mut().first_chunk_mut() {
                *first = counter.to_be_bytes();
            }
            let block = key.prf(numbered.expose());
            let (now, later) = missing.split_at_mut(block.len().min(missing.len()));
            now.iter_mut().zip(block.expose()).for_each(|(to, from)| *to = *from);
            missing = later;
        }
        Ok(output)
    }
}

/// Why a context gives no pseudo-random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PseudoRandomError {
    /// NTLM made the context, and defines no such function.
    #[error("a context of NTLM asked for pseudo-random bytes")]
    NotDefined,
    /// More was asked for than is given out at once.
    #[error("{length} pseudo-random bytes asked for")]
    TooLong {
        /// Bytes asked for.
        length: usize,
    },
}

impl Explain for PseudoRandomError {
    fn code(&self) -> Code {
        match self {
            Self::NotDefined => code::PSEUDO_RANDOM_NOT_DEFINED,
            Self::TooLong { .. } => code::PSEUDO_RANDOM_TOO_LONG,
        }
    }

    fn saw(&self) -> Cow<'static, str> {
        self.to_string().into()
    }

    fn have(&self) -> Cow<'static, str> {
        match self {
            Self::NotDefined => "that function for Kerberos alone (RFC 7802)".into(),
            Self::TooLong { .. } => format!("a bound of {MAX_PSEUDO_RANDOM_LEN} bytes").into(),
        }
    }
}
