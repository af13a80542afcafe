//! String-to-key: from a password to the key of a principal.

use super::hmac::{Sha1, Sha256, Sha384, pbkdf2};
use super::key::{Key, KeyBytes};
use super::{CryptoError, Etype, aes_sha1, aes_sha2, rc4_hmac};

/// Highest iteration count that is accepted: a KDC, or who poses as one, names it, and this end must do the work.
pub const MAX_ITERATIONS: u32 = 0x00FF_FFFF;

/// The key that a password comes to (RFC 3962 section 4, RFC 8009 section 4, RFC 4757 section 2).
///
/// `salt` is by default the realm and all components without separators; RC4 takes none. `params` are the s2kparams of
/// ETYPE-INFO2: for AES the iteration count as a 32-bit big-endian number, by default 4,096 for etypes 17 and 18 and
/// 32,768 for 19 and 20. It takes from milliseconds to, at the highest count, many seconds.
///
/// # Errors
/// [`CryptoError::ParamsLength`] if `params` have a length that the etype does not have;
/// [`CryptoError::IterationCount`] if the count is less than the default or 2^24 and more;
/// [`CryptoError::PasswordNotUtf8`] for RC4.
pub fn string_to_key(
    etype: Etype,
    password: &[u8],
    salt: &[u8],
    params: Option<&[u8]>,
) -> Result<Key, CryptoError> {
    match etype {
        Etype::ArcfourHmac => {
            if let Some(params) = params {
                return Err(CryptoError::ParamsLength { etype, length: params.len() });
            }
            Ok(Key::from_bytes(etype, &rc4_hmac::key_from_password(password)?))
        }
        _ => Ok(Key::from_bytes(etype, &stretch(etype, password, salt, iterations(etype, params)?))),
    }
}

fn iterations(etype: Etype, params: Option<&[u8]>) -> Result<u32, CryptoError> {
    let least = match etype {
        Etype::Aes128CtsHmacSha256_128 | Etype::Aes256CtsHmacSha384_192 => 32_768,
        _ => 4_096,
    };
    let Some(params) = params else { return Ok(least) };
    let bytes =
        <[u8; 4]>::try_from(params).map_err(|_| CryptoError::ParamsLength { etype, length: params.len() })?;
    let count = u32::from_be_bytes(bytes);
    if (least..=MAX_ITERATIONS).contains(&count) {
        Ok(count)
    } else {
        Err(CryptoError::IterationCount { etype, count, least, most: MAX_ITERATIONS })
    }
}

/// PBKDF2 with the etype's hash, and what the etype derives from that. RFC 8009 salts with the etype's name too.
fn stretch(etype: Etype, password: &[u8], salt: &[u8], count: u32) -> KeyBytes {
    let mut seed = KeyBytes::new();
    let output = seed.first_mut(etype.key_len());
    let named_salt = [etype.name().as_bytes(), &[0], salt];
    match etype {
        Etype::Aes128CtsHmacSha256_128 => {
            pbkdf2::<Sha256>(password, &named_salt, count, output);
            aes_sha2::key_from_seed::<Sha256>(etype, &seed)
        }
        Etype::Aes256CtsHmacSha384_192 => {
            pbkdf2::<Sha384>(password, &named_salt, count, output);
            aes_sha2::key_from_seed::<Sha384>(etype, &seed)
        }
        _ => {
            pbkdf2::<Sha1>(password, &[salt], count, output);
            aes_sha1::key_from_seed(etype, &seed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::records;

    #[test]
    fn passwords_come_to_the_keys_of_rfc_3962_at_any_count() {
        let records = records(include_str!("../../tests/vectors/crypto/rfc3962_s2k.txt"));
        assert_eq!(records.len(), 14);
        for record in &records {
            let etype = Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap();
            let count = u32::try_from(record.number("count")).unwrap();
            let key = stretch(etype, &record.bytes("password"), &record.bytes("salt"), count);
            assert_eq!(key.first(etype.key_len()), record.bytes("derived"), "count {count}");
        }
    }
}
