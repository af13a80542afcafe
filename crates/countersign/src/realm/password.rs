//! Passwords made by chance.

use crate::ambient;
use rand_core::Rng;
use zeroize::Zeroizing;

/// Characters that are not taken for each other when they are read from paper: 32 of them, so that each is worth 5 bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Characters in all, and between two hyphens: 100 bits.
const LENGTH: usize = 20;
const GROUP: usize = 5;

/// A password that nobody guesses: 20 characters in groups of 5, which are worth 100 bits.
#[must_use]
pub fn random_password() -> Zeroizing<String> {
    let mut random = Zeroizing::new([0_u8; LENGTH]);
    ambient::rng().fill_bytes(random.as_mut_slice());
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut password = Zeroizing::new(String::with_capacity(LENGTH * 2));
    for (index, byte) in random.iter().enumerate() {
        if index > 0 && index % GROUP == 0 {
            password.push('-');
        }
        // 256 is a multiple of 32: every character is as likely.
        let character = ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or_default();
        password.push(char::from(character));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_password_has_four_groups_of_five_and_is_never_the_same() {
        let (one, other) = (random_password(), random_password());
        assert_ne!(*one, *other);
        assert_eq!(one.len(), 23);
        let groups: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(groups, [5; 4]);
        assert!(one.bytes().all(|byte| byte == b'-' || ALPHABET.contains(&byte)));
    }
}
