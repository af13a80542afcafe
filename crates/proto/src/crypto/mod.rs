//! Kerberos encryption profiles (RFC 3961): how a key encrypts, signs, and gives birth to other keys.
//!
//! Five etypes are implemented: AES with HMAC-SHA1 (RFC 3962), AES with HMAC-SHA2 (RFC 8009) and, in a file apart, RC4
//! (RFC 4757), which [`Etype::is_weak`] marks and policy keeps off unless it is named. DES does not exist here.
//!
//! A [`Key`] is never used itself: each use of it (RFC 4120 section 7.5.1, [`KeyUsage`]) has keys of its own, which
//! [`Key::cipher`] and [`Key::checksum`] derive once. What they return keeps the AES schedule and the HMAC midstates
//! and may be shared between threads.

mod aes_sha1;
mod aes_sha2;
mod cf2;
mod cipher;
mod cts;
mod etype;
mod hmac;
mod key;
mod nfold;
pub(crate) mod rc4_hmac;
pub mod spake;
mod string_to_key;
mod wiped;

#[cfg(test)]
#[path = "../../tests/vectors/reader.rs"]
mod vectors;

pub use cf2::krb_fx_cf2;
pub use cipher::{Checksummer, Cipher, Tag};
pub use etype::{Etype, MAX_TAG_LEN, etype_name};
pub use key::{Key, KeyUsage};
pub use string_to_key::{MAX_ITERATIONS, string_to_key};

/// Why a cryptographic operation was refused.
///
/// It says nothing about what the bytes were for, so it has no code of the registry: the floor that asked knows, and
/// wraps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CryptoError {
    /// The integrity tag is not the one that this key makes over these bytes: another key, another usage, or bytes that
    /// were altered. A tag of the wrong length counts too.
    #[error("{etype}: the integrity tag does not match")]
    Integrity {
        /// Etype of the key.
        etype: Etype,
    },
    /// Fewer bytes than the overhead of one encrypted message.
    #[error("{etype}: {length} bytes are too few for a ciphertext, which has at least {least}")]
    TooShort {
        /// Etype of the key.
        etype: Etype,
        /// Bytes there were.
        length: usize,
        /// Bytes that an empty plaintext takes.
        least: usize,
    },
    /// A key of another length than its etype has.
    #[error("a key of {length} bytes, where {etype} has {}", etype.key_len())]
    KeyLength {
        /// Etype that the key was said to have.
        etype: Etype,
        /// Length in bytes that it has.
        length: usize,
    },
    /// String-to-key parameters of a length that the etype does not have: 4 bytes or none for AES, none for RC4.
    #[error("{etype}: string-to-key parameters of {length} bytes")]
    ParamsLength {
        /// Etype of the key to be made.
        etype: Etype,
        /// Length in bytes of the parameters.
        length: usize,
    },
    /// An iteration count below the etype's default, which would weaken the password, or so high that it would stall
    /// this end.
    #[error("{etype}: iteration count {count} is not within {least} to {most}")]
    IterationCount {
        /// Etype of the key to be made.
        etype: Etype,
        /// The count in the parameters.
        count: u32,
        /// Lowest count that is accepted.
        least: u32,
        /// Highest count that is accepted.
        most: u32,
    },
    /// RC4 makes its key of the password in UTF-16, and this password is not UTF-8.
    #[error("{etype}: the password is not UTF-8")]
    PasswordNotUtf8 {
        /// Etype of the key to be made.
        etype: Etype,
    },
    /// More pseudo-random bytes than PRF+ gives: its block counter has one byte.
    #[error("{etype}: {length} pseudo-random bytes are more than PRF+ has")]
    PrfLength {
        /// Etype of the key.
        etype: Etype,
        /// Bytes asked for.
        length: usize,
    },
}
