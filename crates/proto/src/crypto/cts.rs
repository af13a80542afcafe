//! AES in CBC mode with ciphertext stealing (RFC 3962 section 5): any length from one block on, and nothing added.
//!
//! The last two cipher blocks change places even if the last is whole, then the end is cut to the length of the
//! plaintext. A message of exactly one block is that block encrypted, and nothing changes place.

use super::Etype;
use super::key::KeyBytes;
use super::wiped::Wiped;
use aes::cipher::array::Array;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
};
use aes::{Aes128, Aes256};
use cbc::{Decryptor, Encryptor};

/// Length of a block in bytes: the shortest message.
pub(super) const BLOCK: usize = 16;

/// The schedules of an AES key, which wipe themselves when dropped.
pub(super) enum Aes {
    /// A 128-bit key.
    Aes128(Aes128),
    /// A 256-bit key.
    Aes256(Aes256),
}

/// Runs `$body` with `$aes` naming whichever cipher it is.
macro_rules! with_aes {
    ($self:expr, $aes:ident => $body:expr) => {
        match $self {
            Aes::Aes128($aes) => $body,
            Aes::Aes256($aes) => $body,
        }
    };
}

impl Aes {
    /// Expands the key at the start of `key`: 16 bytes or all 32, as the etype has it.
    pub(super) fn new(etype: Etype, key: &KeyBytes) -> Self {
        if etype.key_len() == key.len() {
            return Self::Aes256(Aes256::new(Array::cast_from_core(key)));
        }
        let half = Wiped::start_of(key.as_slice());
        Self::Aes128(Aes128::new(Array::cast_from_core(&half)))
    }

    /// Encrypts one block.
    pub(super) fn encrypt_block(&self, block: &mut [u8; BLOCK]) {
        with_aes!(self, aes => aes.encrypt_block(Array::cast_from_core_mut(block)));
    }

    /// Encrypts `message` where it lies, going on from the cipher block `previous`, which is zeros at the start of a
    /// message. Nothing is done and `false` returned if it is shorter than a block.
    #[must_use]
    pub(super) fn encrypt_cts(&self, previous: &[u8; BLOCK], message: &mut [u8]) -> bool {
        let Some((blocks, last)) = split_last_block(message) else { return false };
        self.encrypt_cbc(previous, blocks);
        let (Some(stolen), false) = (blocks.last_mut(), last.is_empty()) else { return true };
        // The last plaintext block is padded with zeros, so only its own bytes change what it is xored with.
        let mut block = Wiped::start_of(stolen);
        for (mixed, plain) in block.iter_mut().zip(last.iter()) {
            *mixed ^= plain;
        }
        self.encrypt_block(&mut block);
        for (to, from) in last.iter_mut().zip(stolen.iter()) {
            *to = *from;
        }
        *stolen = *block;
        true
    }

    /// Decrypts a whole `message` where it lies. Nothing is done and `false` returned if it is shorter than a block.
    #[must_use]
    pub(super) fn decrypt_cts(&self, message: &mut [u8]) -> bool {
        let Some((blocks, last)) = split_last_block(message) else { return false };
        if let (Some(stolen), false) = (blocks.last_mut(), last.is_empty()) {
            let mut block = Wiped::start_of(stolen);
            with_aes!(self, aes => aes.decrypt_block(Array::cast_from_core_mut(&mut block)));
            // Behind the end of the last block the plaintext is zeros: what is there is the cipher block itself.
            *stolen = *block;
            for ((cipher, plain), mixed) in stolen.iter_mut().zip(last.iter_mut()).zip(block.iter()) {
                *cipher = *plain;
                *plain ^= mixed;
            }
        }
        let blocks = Array::cast_slice_from_core_mut(blocks);
        let zeros = [0; BLOCK].into();
        with_aes!(self, aes => Decryptor::<&_>::inner_iv_init(aes, &zeros).decrypt_blocks(blocks));
        true
    }

    /// Encrypts whole blocks where they lie in plain CBC, going on from the cipher block `previous`.
    pub(super) fn encrypt_cbc(&self, previous: &[u8; BLOCK], blocks: &mut [[u8; BLOCK]]) {
        let blocks = Array::cast_slice_from_core_mut(blocks);
        let previous = Array::cast_from_core(previous);
        with_aes!(self, aes => Encryptor::<&_>::inner_iv_init(aes, previous).encrypt_blocks(blocks));
    }
}

/// Divides a message into the whole blocks before its last block, and that last block of 1 to 16 bytes; a message of
/// one block into that and nothing. There is no division of less than a block.
fn split_last_block(message: &mut [u8]) -> Option<(&mut [[u8; BLOCK]], &mut [u8])> {
    let whole = message.len().checked_sub(1)?.checked_div(BLOCK)?.max(1).checked_mul(BLOCK)?;
    let (blocks, last) = message.split_at_mut_checked(whole)?;
    Some((blocks.as_chunks_mut().0, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::records;

    #[test]
    fn cts_gives_the_outputs_of_rfc_3962_both_ways() {
        let records = records(include_str!("../../tests/vectors/crypto/rfc3962_cts.txt"));
        assert_eq!(records.len(), 6);
        for record in &records {
            let key = KeyBytes::start_of(&record.bytes("key"));
            let aes = Aes::new(Etype::Aes128CtsHmacSha1_96, &key);
            let mut message = record.bytes("input");
            assert!(aes.encrypt_cts(&[0; BLOCK], &mut message));
            assert_eq!(message, record.bytes("output"));
            assert!(aes.decrypt_cts(&mut message));
            assert_eq!(message, record.bytes("input"));
        }
    }

    #[test]
    fn one_block_alone_is_encrypted_as_it_is() {
        let aes = Aes::new(Etype::Aes256CtsHmacSha1_96, &KeyBytes::start_of(&[7; 32]));
        let (mut message, mut block) = ([9; BLOCK], [9; BLOCK]);
        assert!(aes.encrypt_cts(&[0; BLOCK], &mut message));
        aes.encrypt_block(&mut block);
        assert_eq!(message, block);
        assert!(aes.decrypt_cts(&mut message));
        assert_eq!(message, [9; BLOCK]);
    }

    #[test]
    fn less_than_a_block_is_refused() {
        let aes = Aes::new(Etype::Aes128CtsHmacSha1_96, &KeyBytes::start_of(&[7; 32]));
        let mut message = [9; BLOCK - 1];
        assert!(!aes.encrypt_cts(&[0; BLOCK], &mut message));
        assert!(!aes.decrypt_cts(&mut message));
        assert!(!aes.decrypt_cts(&mut []));
        assert_eq!(message, [9; BLOCK - 1]);
    }
}
