//! KRB-FX-CF2: one key out of two (RFC 6113 section 5.1).

use super::key::{Key, KeyBytes};

/// The key that `k1` and `k2` come to together, which neither alone gives away: PRF+(k1, pepper1) xor
/// PRF+(k2, pepper2), cut to a key of `k1`'s etype (RFC 6113 section 5.1).
///
/// The peppers are ASCII names of what the key is for, without a zero at the end.
#[must_use]
pub fn krb_fx_cf2(k1: &Key, k2: &Key, pepper1: &[u8], pepper2: &[u8]) -> Key {
    let mut bytes: KeyBytes = k1.prf_plus_array(pepper1);
    let second: KeyBytes = k2.prf_plus_array(pepper2);
    bytes.iter_mut().zip(second.iter()).for_each(|(to, from)| *to ^= from);
    Key::from_bytes(k1.etype(), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::vectors::records;
    use crate::crypto::{Etype, string_to_key};

    #[test]
    fn two_keys_come_to_the_one_that_mit_makes_of_them() {
        let records = records(include_str!("../../tests/vectors/crypto/mit_cf2.txt"));
        assert_eq!(records.len(), 5);
        for record in &records {
            let etype = Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap();
            let [k1, k2] = ["password1", "password2"].map(|name| {
                let password = record.bytes(name);
                string_to_key(etype, &password, &password, None).unwrap()
            });
            let key = krb_fx_cf2(&k1, &k2, &record.bytes("pepper1"), &record.bytes("pepper2"));
            assert_eq!(key.expose(), record.bytes("key"), "{etype}");
        }
    }

    #[test]
    fn the_key_has_the_etype_of_the_first_whatever_the_second_has() {
        let wire = [17, 18, 19, 20, 23].map(|number| Etype::from_wire(number).unwrap());
        for etype in wire {
            for other in wire {
                let [k1, k2] =
                    [etype, other].map(|etype| Key::new(etype, &vec![7; etype.key_len()]).unwrap());
                let key = krb_fx_cf2(&k1, &k2, b"one", b"two");
                assert_eq!((key.etype(), key.expose().len()), (etype, etype.key_len()));
                let first = k1.prf_plus(b"one", etype.key_len()).unwrap();
                let second = k2.prf_plus(b"two", etype.key_len()).unwrap();
                let both: Vec<u8> = first.expose().iter().zip(second.expose()).map(|(a, b)| a ^ b).collect();
                assert_eq!(key.expose(), both);
            }
        }
    }
}
