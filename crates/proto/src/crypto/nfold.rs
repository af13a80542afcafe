//! n-fold (RFC 3961 section 5.1): a byte string stretched or folded to a given length.
//!
//! Copies of the input, each rotated right by 13 bits more than the one before, are laid end to end until they are a
//! whole number of outputs long, and those outputs are added with end-around carry.
//!
//! AES with SHA-1 folds each derivation constant to a block. Doing so takes longer than the derivation itself, so the
//! constants of all usages in use are folded when this crate is compiled.

/// What a derived key is for: the last byte of its derivation constant (RFC 3961 section 5.3).
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Purpose {
    /// Ke, which encrypts.
    Encryption = 0xAA,
    /// Ki, which makes the tag of a ciphertext.
    Integrity = 0x55,
    /// Kc, which makes checksums.
    Checksum = 0x99,
}

/// The derivation constant of a usage and purpose, folded to one AES block.
pub(super) fn usage_constant(usage: u32, purpose: Purpose) -> [u8; 16] {
    let row = usize::try_from(usage).ok().and_then(|usage| FOLDED.get(usage));
    match (row, purpose) {
        (Some([block, _, _]), Purpose::Encryption)
        | (Some([_, block, _]), Purpose::Integrity)
        | (Some([_, _, block]), Purpose::Checksum) => *block,
        (None, _) => nfold(&unfolded(usage, purpose)),
    }
}

/// The derivation constant before folding, which is how RFC 8009 uses it.
pub(super) const fn unfolded(usage: u32, purpose: Purpose) -> [u8; 5] {
    let [a, b, c, d] = usage.to_be_bytes();
    [a, b, c, d, purpose as u8]
}

/// Usages 0 to 65: the highest in the Kerberos registry is SPAKE's.
const TABULATED: usize = 66;
static FOLDED: [[[u8; 16]; 3]; TABULATED] = fold_all();

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler, which refuses to go out of bounds"
)]
const fn fold_all() -> [[[u8; 16]; 3]; TABULATED] {
    let mut table = [[[0; 16]; 3]; TABULATED];
    let mut usage = 0;
    while usage < TABULATED {
        table[usage][0] = nfold(&unfolded(usage as u32, Purpose::Encryption));
        table[usage][1] = nfold(&unfolded(usage as u32, Purpose::Integrity));
        table[usage][2] = nfold(&unfolded(usage as u32, Purpose::Checksum));
        usage += 1;
    }
    table
}

/// Folds `input`, which is not empty and at most some hundred bytes long, to `N` bytes.
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a const fn has no iterators; indices are reduced modulo the lengths, sums are of a few hundred bytes"
)]
pub(super) const fn nfold<const N: usize>(input: &[u8]) -> [u8; N] {
    let bits = input.len() * 8;
    let total = lcm(N, input.len());
    // Columns are summed first and carries moved afterwards: a sum is at most 255 times the number of outputs added.
    let mut columns = [0_u32; N];
    let mut at = 0;
    while at < total {
        let copy = at / input.len();
        // Rotating right by r puts bit b - r where bit b was.
        let start = (at % input.len() * 8 + bits - copy * 13 % bits) % bits;
        let pair = (input[start / 8] as u32) << 8 | input[(start / 8 + 1) % input.len()] as u32;
        columns[at % N] += pair >> (8 - start % 8) & 0xFF;
        at += 1;
    }
    let mut carry = 1;
    while carry > 0 {
        carry = 0;
        let mut place = N;
        while place > 0 {
            place -= 1;
            let sum = columns[place] + carry;
            columns[place] = sum & 0xFF;
            carry = sum >> 8;
        }
        columns[N - 1] += carry;
    }
    let mut output = [0; N];
    let mut place = 0;
    while place < N {
        output[place] = columns[place] as u8;
        place += 1;
    }
    output
}

#[allow(clippy::arithmetic_side_effects, reason = "of two lengths above zero, both small")]
const fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::records;

    #[test]
    fn nfold_gives_the_outputs_of_rfc_3961() {
        let records = records(include_str!("../../tests/vectors/crypto/rfc3961_nfold.txt"));
        assert_eq!(records.len(), 12);
        for record in &records {
            let input = record.text("input");
            let folded = match record.number("bits") {
                56 => nfold::<7>(input.as_bytes()).to_vec(),
                64 => nfold::<8>(input.as_bytes()).to_vec(),
                128 => nfold::<16>(input.as_bytes()).to_vec(),
                168 => nfold::<21>(input.as_bytes()).to_vec(),
                192 => nfold::<24>(input.as_bytes()).to_vec(),
                256 => nfold::<32>(input.as_bytes()).to_vec(),
                other => panic!("a length without a case: {other}"),
            };
            assert_eq!(folded, record.bytes("output"), "{input}");
        }
    }

    #[test]
    fn tabulated_constants_are_those_that_would_be_computed() {
        for usage in [0, 1, 11, 24, 65, 66, 513, u32::MAX] {
            for purpose in [Purpose::Encryption, Purpose::Integrity, Purpose::Checksum] {
                assert_eq!(
                    usage_constant(usage, purpose),
                    nfold(&unfolded(usage, purpose)),
                    "{usage} {purpose:?}"
                );
            }
        }
    }
}
