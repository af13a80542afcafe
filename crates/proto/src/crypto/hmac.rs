//! HMAC (RFC 2104) with the key's midstates kept, and the hash functions under it as compression functions.
//!
//! A key costs two compressions (its inner and outer pad); with the states after them kept, each message costs only its
//! own blocks and one more. Everything that held key or message bytes is wiped when dropped.

use std::marker::PhantomData;
use zeroize::{Zeroize, optimization_barrier};

/// A hash of Merkle and Damgård's kind by its parts.
pub(super) trait BlockHash {
    /// Chaining state.
    type State: Copy;
    /// One block of input.
    type Block: Copy + AsRef<[u8]> + AsMut<[u8]>;
    /// Output.
    type Digest: Copy + AsRef<[u8]> + AsMut<[u8]>;

    /// State before the first block.
    const INITIAL: Self::State;
    /// A block of zeros.
    const ZEROS: Self::Block;
    /// Length of a block in bytes.
    const BLOCK_LEN: usize;
    /// Length in bytes of the bit count at the end of the padding.
    const COUNT_LEN: usize;

    /// Takes in the whole blocks at the start of `data`, and returns what is left: less than a block.
    fn compress<'d>(state: &mut Self::State, data: &'d [u8]) -> &'d [u8];
    /// The output that a final state stands for.
    fn digest(state: &Self::State) -> Self::Digest;
    /// The bit count as the last eight bytes of the padding have it.
    fn count(bits: u64) -> [u8; 8];
}

macro_rules! block_hash {
    ($(#[$doc:meta])* $name:ident: [$word:ty; $words:literal], block $block:literal, count $count:literal,
     output $output:literal, $compress:path, $to_bytes:ident, $initial:expr) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl BlockHash for $name {
            type State = [$word; $words];
            type Block = [u8; $block];
            type Digest = [u8; $output];

            const INITIAL: Self::State = $initial;
            const ZEROS: Self::Block = [0; $block];
            const BLOCK_LEN: usize = $block;
            const COUNT_LEN: usize = $count;

            fn compress<'d>(state: &mut Self::State, data: &'d [u8]) -> &'d [u8] {
                let (blocks, rest) = data.as_chunks();
                $compress(state, blocks);
                rest
            }

            fn digest(state: &Self::State) -> Self::Digest {
                let mut digest = [0; $output];
                for (bytes, word) in digest.chunks_exact_mut(size_of::<$word>()).zip(state) {
                    bytes.copy_from_slice(&word.$to_bytes());
                }
                digest
            }

            fn count(bits: u64) -> [u8; 8] {
                bits.$to_bytes()
            }
        }
    };
}

block_hash! {
    /// SHA-1 (FIPS 180-4).
    Sha1: [u32; 5], block 64, count 8, output 20, sha1::block_api::compress, to_be_bytes,
    [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0]
}

block_hash! {
    /// SHA-256 (FIPS 180-4).
    Sha256: [u32; 8], block 64, count 8, output 32, sha2::block_api::compress256, to_be_bytes,
    [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
}

block_hash! {
    /// SHA-384 (FIPS 180-4).
    Sha384: [u64; 8], block 128, count 16, output 48, sha2::block_api::compress512, to_be_bytes,
    [
        0xCBBB_9D5D_C105_9ED8, 0x629A_292A_367C_D507, 0x9159_015A_3070_DD17, 0x152F_ECD8_F70E_5939,
        0x6733_2667_FFC0_0B31, 0x8EB4_4A87_6858_1511, 0xDB0C_2E0D_64F9_8FA7, 0x47B5_481D_BEFA_4FA4,
    ]
}

block_hash! {
    /// MD5 (RFC 1321), for RC4 alone.
    Md5: [u32; 4], block 64, count 8, output 16, md5::block_api::compress, to_le_bytes,
    [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476]
}

/// A hash in progress.
pub(super) struct Hasher<H: BlockHash> {
    state: H::State,
    /// Bytes that do not yet fill a block.
    pending: H::Block,
    pending_len: usize,
    /// Bytes taken in so far, which no message in memory overflows.
    length: u64,
}

impl<H: BlockHash> Hasher<H> {
    /// Begins a message.
    pub(super) fn new() -> Self {
        Self { state: H::INITIAL, pending: H::ZEROS, pending_len: 0, length: 0 }
    }

    /// Goes on from a state that has taken in one block.
    fn after_one_block(state: H::State) -> Self {
        Self { state, pending: H::ZEROS, pending_len: 0, length: H::BLOCK_LEN as u64 }
    }

    /// Takes in `data`.
    pub(super) fn update(&mut self, data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u64);
        let mut data = data;
        if self.pending_len > 0 {
            data = self.fill_pending(data);
        }
        if data.len() >= H::BLOCK_LEN {
            data = H::compress(&mut self.state, data);
        }
        if !data.is_empty() {
            self.fill_pending(data);
        }
    }

    /// Moves bytes of `data` behind those pending, takes them in if they fill the block, and returns the others.
    fn fill_pending<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let free = self.pending.as_mut().get_mut(self.pending_len..).unwrap_or_default();
        let count = free.len().min(data.len());
        let (taken, rest) = data.split_at(count);
        for (to, from) in free.iter_mut().zip(taken) {
            *to = *from;
        }
        self.pending_len = self.pending_len.saturating_add(count);
        if self.pending_len >= H::BLOCK_LEN {
            H::compress(&mut self.state, self.pending.as_ref());
            self.pending_len = 0;
        }
        rest
    }

    /// The digest of all that was taken in.
    pub(super) fn finish(mut self) -> H::Digest {
        // There is always room for the bit that ends a message, as a full block is not left pending.
        let free = self.pending.as_mut().get_mut(self.pending_len..).unwrap_or_default();
        free.fill(0);
        if let Some(end) = free.first_mut() {
            *end = 0x80;
        }
        if free.len() <= H::COUNT_LEN {
            H::compress(&mut self.state, self.pending.as_ref());
            self.pending = H::ZEROS;
        }
        if let Some(count) = self.pending.as_mut().last_chunk_mut() {
            *count = H::count(self.length.wrapping_mul(8));
        }
        H::compress(&mut self.state, self.pending.as_ref());
        H::digest(&self.state)
    }
}

impl<H: BlockHash> Drop for Hasher<H> {
    fn drop(&mut self) {
        self.state = H::INITIAL;
        self.pending = H::ZEROS;
        optimization_barrier(self);
    }
}

/// The hash of `parts` laid end to end.
pub(super) fn hash<H: BlockHash>(parts: &[&[u8]]) -> H::Digest {
    let mut hasher = Hasher::<H>::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// A key of HMAC as the states after its two pads.
pub(super) struct Hmac<H: BlockHash> {
    inner: H::State,
    outer: H::State,
    hash: PhantomData<H>,
}

impl<H: BlockHash> Hmac<H> {
    /// The states of `key`, which may have any length; beyond a block its hash stands for it.
    pub(super) fn new(key: &[u8]) -> Self {
        if key.len() > H::BLOCK_LEN {
            let mut digest = hash::<H>(&[key]);
            let states = Self::new(digest.as_ref());
            digest.as_mut().zeroize();
            return states;
        }
        Self { inner: padded::<H>(key, 0x36), outer: padded::<H>(key, 0x5C), hash: PhantomData }
    }

    /// Begins a message that comes in pieces.
    pub(super) fn start(&self) -> Hasher<H> {
        Hasher::after_one_block(self.inner)
    }

    /// The authentication code of the message that was begun with [`Self::start`].
    pub(super) fn finish(&self, message: Hasher<H>) -> H::Digest {
        let mut inner = message.finish();
        let mut outer = Hasher::<H>::after_one_block(self.outer);
        outer.update(inner.as_ref());
        inner.as_mut().zeroize();
        outer.finish()
    }

    /// The authentication code of `parts` laid end to end.
    pub(super) fn sign(&self, parts: &[&[u8]]) -> H::Digest {
        let mut message = self.start();
        for part in parts {
            message.update(part);
        }
        self.finish(message)
    }
}

impl<H: BlockHash> Drop for Hmac<H> {
    fn drop(&mut self) {
        self.inner = H::INITIAL;
        self.outer = H::INITIAL;
        optimization_barrier(self);
    }
}

/// The state after one block: `key`, zeros behind it, each byte xored with `pad`.
fn padded<H: BlockHash>(key: &[u8], pad: u8) -> H::State {
    let mut block = H::ZEROS;
    block.as_mut().fill(pad);
    xor_into(block.as_mut(), key);
    let mut state = H::INITIAL;
    H::compress(&mut state, block.as_ref());
    block.as_mut().zeroize();
    state
}

/// PBKDF2 (RFC 8018 section 5.2): fills `derived` from a password, the parts of a salt, and a count of iterations.
pub(super) fn pbkdf2<H: BlockHash>(password: &[u8], salt: &[&[u8]], count: u32, derived: &mut [u8]) {
    let password = Hmac::<H>::new(password);
    derived.fill(0);
    let digest_len = H::digest(&H::INITIAL).as_ref().len();
    for (index, output) in (1_u32..).zip(derived.chunks_mut(digest_len)) {
        let mut message = password.start();
        salt.iter().for_each(|part| message.update(part));
        message.update(&index.to_be_bytes());
        let mut link = password.finish(message);
        xor_into(output, link.as_ref());
        for _ in 1..count {
            link = password.sign(&[link.as_ref()]);
            xor_into(output, link.as_ref());
        }
        link.as_mut().zeroize();
    }
}

fn xor_into(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash_in_pieces<H: BlockHash>(data: &[u8], cut: usize) -> Vec<u8> {
        let (head, tail) = data.split_at(cut.min(data.len()));
        hash::<H>(&[head, &[], tail]).as_ref().to_vec()
    }

    proptest! {
        #[test]
        fn hashes_agree_with_the_crates_however_the_input_is_cut(
            data in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400
        ) {
            use sha2::Digest;
            prop_assert_eq!(hash_in_pieces::<Sha1>(&data, cut), sha1::Sha1::digest(&data).to_vec());
            prop_assert_eq!(hash_in_pieces::<Sha256>(&data, cut), sha2::Sha256::digest(&data).to_vec());
            prop_assert_eq!(hash_in_pieces::<Sha384>(&data, cut), sha2::Sha384::digest(&data).to_vec());
            prop_assert_eq!(hash_in_pieces::<Md5>(&data, cut), md5::Md5::digest(&data).to_vec());
        }
    }

    #[test]
    fn hmac_gives_the_outputs_of_rfc_4231_for_keys_short_and_long() {
        let records =
            crate::crypto::vectors::records(include_str!("../../tests/vectors/crypto/rfc4231_hmac.txt"));
        assert!(!records.is_empty());
        for record in &records {
            let (key, data) = (record.bytes("key"), record.bytes("data"));
            assert_eq!(Hmac::<Sha256>::new(&key).sign(&[&data]).to_vec(), record.bytes("hmac-sha-256"));
            assert_eq!(Hmac::<Sha384>::new(&key).sign(&[&data]).to_vec(), record.bytes("hmac-sha-384"));
        }
    }
}
