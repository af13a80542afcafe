//! The encryption profiles against what the RFCs print and what MIT Kerberos makes, and against those who alter bytes.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

#[path = "vectors/reader.rs"]
mod reader;

use countersign_proto::crypto::{Cipher, CryptoError, Etype, Key, KeyUsage, string_to_key};
use countersign_testkit::ScriptedRng;
use proptest::prelude::*;
use reader::{Record, records};

const ETYPES: [Etype; 5] = [
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha256_128,
    Etype::Aes256CtsHmacSha384_192,
    Etype::ArcfourHmac,
];

fn etype_of(record: &Record) -> Etype {
    Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap()
}

fn key_of(record: &Record) -> Key {
    Key::new(etype_of(record), &record.bytes("key")).unwrap()
}

fn usage_of(record: &Record) -> KeyUsage {
    KeyUsage(u32::try_from(record.number("usage")).unwrap())
}

fn key(etype: Etype) -> Key {
    Key::new(etype, &(0..u8::MAX).take(etype.key_len()).collect::<Vec<_>>()).unwrap()
}

/// The message of `size` bytes that `mit_vectors.c` has.
fn message(size: i64) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((7 * at + size) % 256).unwrap()).collect()
}

fn sealed(cipher: &Cipher, confounder: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    cipher.seal(&mut ScriptedRng::new(confounder.to_vec()), plaintext, &mut out);
    out
}

/// A confounder for any etype.
fn any_sealed(cipher: &Cipher, plaintext: &[u8]) -> Vec<u8> {
    sealed(cipher, &[0x5A; 16], plaintext)
}

fn mit_records(kind: &str, count: usize) -> Vec<Record> {
    let mut all = records(include_str!("vectors/crypto/mit_vectors.txt"));
    all.retain(|record| record.text("kind") == kind);
    assert_eq!(all.len(), count, "{kind}");
    all
}

#[test]
fn ciphertexts_of_mit_open_and_their_plaintexts_seal_to_the_same_bytes() {
    for record in mit_records("encrypt", 150) {
        let cipher = key_of(&record).cipher(usage_of(&record));
        let ciphertext = record.bytes("ciphertext");
        let plaintext = message(record.number("size"));
        let mut buf = ciphertext.clone();
        let opened = cipher.open_in_place(&mut buf).unwrap();
        assert_eq!(opened, plaintext);
        // The confounder is the end of the prefix, and lies there decrypted.
        let confounder_len = cipher.overhead() - cipher.etype().tag_len();
        let confounder = &buf[cipher.prefix_len() - confounder_len..cipher.prefix_len()];
        assert_eq!(sealed(&cipher, confounder, &plaintext), ciphertext);
    }
}

#[test]
fn checksums_are_those_of_mit() {
    for record in mit_records("checksum", 150) {
        let key = key_of(&record);
        assert_eq!(i64::from(key.etype().checksum_type()), record.number("type"));
        let checksum = key.checksum(usage_of(&record));
        let message = message(record.number("size"));
        let (head, tail) = message.split_at(message.len() / 3);
        assert_eq!(checksum.sign(&[head, tail]).as_ref(), record.bytes("checksum"));
        assert_eq!(checksum.verify(&[&message], &record.bytes("checksum")), Ok(()));
    }
}

#[test]
fn pseudo_random_bytes_are_those_of_mit() {
    for record in mit_records("prf", 15) {
        let (key, input) = (key_of(&record), message(record.number("size")));
        let (one, many) = (record.bytes("prf"), record.bytes("prf-plus"));
        assert_eq!(key.prf(&input).expose(), one);
        for length in [0, 1, one.len(), one.len() + 1, many.len()] {
            assert_eq!(key.prf_plus(&input, length).unwrap().expose(), &many[..length]);
        }
    }
}

#[test]
fn passwords_come_to_the_keys_of_mit() {
    for record in mit_records("string-to-key", 36) {
        let params = record.bytes("params");
        let params = (!params.is_empty()).then_some(params.as_slice());
        let made = string_to_key(etype_of(&record), &record.bytes("password"), &record.bytes("salt"), params)
            .unwrap();
        assert_eq!(made.expose(), record.bytes("key"));
    }
}

#[test]
fn passwords_come_to_the_keys_of_rfc_8009() {
    let records = records(include_str!("vectors/crypto/rfc8009_s2k.txt"));
    assert_eq!(records.len(), 2);
    for record in records {
        let params = record.bytes("params");
        let (password, salt) = (record.bytes("password"), record.bytes("salt"));
        let made = string_to_key(etype_of(&record), &password, &salt, Some(&params)).unwrap();
        assert_eq!(made.expose(), record.bytes("derived"));
    }
}

#[test]
fn ciphertexts_with_given_confounders_are_those_of_rfc_8009() {
    let records = records(include_str!("vectors/crypto/rfc8009_encrypt.txt"));
    assert_eq!(records.len(), 8);
    for record in records {
        let cipher = key_of(&record).cipher(usage_of(&record));
        let ciphertext = sealed(&cipher, &record.bytes("confounder"), &record.bytes("plaintext"));
        assert_eq!(ciphertext, record.bytes("ciphertext"));
    }
}

#[test]
fn checksums_and_pseudo_random_bytes_are_those_of_rfc_8009() {
    let checksums = records(include_str!("vectors/crypto/rfc8009_checksum.txt"));
    let prfs = records(include_str!("vectors/crypto/rfc8009_prf.txt"));
    assert_eq!((checksums.len(), prfs.len()), (2, 2));
    for record in checksums {
        let checksum = key_of(&record).checksum(usage_of(&record));
        assert_eq!(checksum.sign(&[&record.bytes("data")]).as_ref(), record.bytes("checksum"));
    }
    for record in prfs {
        assert_eq!(key_of(&record).prf(&record.bytes("input")).expose(), record.bytes("prf"));
    }
}

#[test]
fn messages_of_every_size_round_trip() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::AP_REQ_AUTHENTICATOR);
        for size in 0..=300 {
            let plaintext = message(size);
            let mut buf = any_sealed(&cipher, &plaintext);
            assert_eq!(buf.len(), plaintext.len() + cipher.overhead());
            assert_eq!(cipher.open_in_place(&mut buf).unwrap(), plaintext, "{etype} {size}");
        }
    }
}

#[test]
fn a_ciphertext_with_any_bit_flipped_is_refused_and_leaves_no_plaintext() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::TICKET);
        for size in [0, 1, 16, 17, 40] {
            let ciphertext = any_sealed(&cipher, &message(size));
            for bit in 0..ciphertext.len() * 8 {
                let mut buf = ciphertext.clone();
                buf[bit / 8] ^= 1 << (bit % 8);
                let refused = cipher.open_in_place(&mut buf).map(|_| ());
                assert_eq!(refused, Err(CryptoError::Integrity { etype }), "{etype} {size} {bit}");
                assert!(buf.iter().all(|byte| *byte == 0), "{etype} {size} {bit}");
            }
        }
    }
}

#[test]
fn a_ciphertext_cut_or_lengthened_is_refused() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::TICKET);
        let ciphertext = any_sealed(&cipher, &message(33));
        for length in 0..ciphertext.len() {
            let expected = if length < cipher.overhead() {
                CryptoError::TooShort { etype, length, least: cipher.overhead() }
            } else {
                CryptoError::Integrity { etype }
            };
            let mut buf = ciphertext[..length].to_vec();
            assert_eq!(cipher.open_in_place(&mut buf).map(|_| ()), Err(expected));
        }
        let mut longer = [ciphertext.as_slice(), &[0]].concat();
        assert!(cipher.open_in_place(&mut longer).is_err());
    }
}

#[test]
fn a_ciphertext_of_another_usage_key_or_etype_is_refused() {
    for etype in ETYPES {
        let ciphertext = any_sealed(&key(etype).cipher(KeyUsage::INITIATOR_SEAL), &message(50));
        let other_usage = key(etype).cipher(KeyUsage::ACCEPTOR_SEAL);
        assert!(other_usage.open_in_place(&mut ciphertext.clone()).is_err());
        let other_key = Key::new(etype, &vec![3; etype.key_len()]).unwrap().cipher(KeyUsage::INITIATOR_SEAL);
        assert!(other_key.open_in_place(&mut ciphertext.clone()).is_err());
        for other in ETYPES.into_iter().filter(|other| *other != etype) {
            let other_etype = key(other).cipher(KeyUsage::INITIATOR_SEAL);
            assert!(other_etype.open_in_place(&mut ciphertext.clone()).is_err(), "{etype} {other}");
        }
    }
}

#[test]
fn a_checksum_altered_cut_lengthened_or_of_another_usage_is_refused() {
    for etype in ETYPES {
        let checksum = key(etype).checksum(KeyUsage::INITIATOR_SIGN);
        let refused = Err(CryptoError::Integrity { etype });
        let tag = checksum.sign(&[b"message"]).as_ref().to_vec();
        assert_eq!(tag.len(), etype.tag_len());
        assert_eq!(checksum.verify(&[b"mess", b"age"], &tag), Ok(()));
        for bit in 0..tag.len() * 8 {
            let mut altered = tag.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checksum.verify(&[b"message"], &altered), refused);
        }
        for length in 0..tag.len() {
            assert_eq!(checksum.verify(&[b"message"], &tag[..length]), refused);
        }
        assert_eq!(checksum.verify(&[b"message"], &[tag.as_slice(), &[0]].concat()), refused);
        assert_eq!(checksum.verify(&[b"messagf"], &tag), refused);
        assert_eq!(key(etype).checksum(KeyUsage::ACCEPTOR_SIGN).verify(&[b"message"], &tag), refused);
    }
}

#[test]
fn the_integrity_tag_is_the_end_of_a_ciphertext_and_the_start_with_rc4() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::AP_REQ_AUTHENTICATOR);
        let ciphertext = any_sealed(&cipher, b"");
        let expected = match etype {
            Etype::ArcfourHmac => &ciphertext[..16],
            _ => &ciphertext[ciphertext.len() - etype.tag_len()..],
        };
        assert_eq!(cipher.integrity_tag(&ciphertext), Some(expected));
        assert_eq!(cipher.integrity_tag(&ciphertext[1..]), None);
    }
}

#[test]
fn sealing_where_there_is_no_room_is_refused_and_draws_nothing() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::AP_REP);
        let mut rng = ScriptedRng::new(vec![1; 16]);
        let mut buf = vec![0; cipher.overhead() - 1];
        let refused = cipher.seal_in_place(&mut rng, &mut buf);
        let length = buf.len();
        assert_eq!(refused, Err(CryptoError::TooShort { etype, length, least: cipher.overhead() }));
        assert_eq!(rng.left(), 16);
    }
}

#[test]
fn sealing_appends_to_what_is_there() {
    for etype in ETYPES {
        let cipher = key(etype).cipher(KeyUsage::AP_REP);
        let mut out = b"header".to_vec();
        cipher.seal(&mut ScriptedRng::new(vec![1; 16]), b"plaintext", &mut out);
        assert_eq!(&out[..6], b"header");
        assert_eq!(cipher.open_in_place(&mut out[6..]).unwrap(), b"plaintext");
    }
}

#[test]
fn generated_keys_are_as_long_as_their_etype_has_them() {
    for etype in ETYPES {
        let made = Key::generate(etype, &mut ScriptedRng::new((0..64).collect()));
        assert_eq!(made.expose(), (0..64).take(etype.key_len()).collect::<Vec<u8>>());
    }
}

#[test]
fn a_key_of_the_wrong_length_is_refused() {
    for etype in ETYPES {
        for length in
            [0, 15, 16, 17, 24, 31, 32, 33, 64].into_iter().filter(|length| *length != etype.key_len())
        {
            let refused = Key::new(etype, &vec![1; length]).err();
            assert_eq!(refused, Some(CryptoError::KeyLength { etype, length }));
        }
    }
}

#[test]
fn iteration_counts_below_the_default_or_from_two_to_the_24th_on_are_refused() {
    for (etype, least) in [(17, 4_096), (18, 4_096), (19, 32_768), (20, 32_768)]
        .map(|(n, least)| (Etype::from_wire(n).unwrap(), least))
    {
        for count in [0, 1, least - 1, 1 << 24, u32::MAX] {
            let refused = string_to_key(etype, b"password", b"salt", Some(&count.to_be_bytes())).err();
            let most = 0x00FF_FFFF;
            assert_eq!(refused, Some(CryptoError::IterationCount { etype, count, least, most }));
        }
        assert!(string_to_key(etype, b"password", b"salt", Some(&least.to_be_bytes())).is_ok());
        for length in [0, 3, 5] {
            let refused = string_to_key(etype, b"password", b"salt", Some(&vec![1; length])).err();
            assert_eq!(refused, Some(CryptoError::ParamsLength { etype, length }));
        }
    }
}

#[test]
fn rc4_takes_neither_parameters_nor_passwords_that_are_not_text() {
    let etype = Etype::ArcfourHmac;
    let with_params = string_to_key(etype, b"password", b"", Some(&[0, 0, 16, 0])).err();
    assert_eq!(with_params, Some(CryptoError::ParamsLength { etype, length: 4 }));
    let not_text = string_to_key(etype, &[0xFF], b"", None).err();
    assert_eq!(not_text, Some(CryptoError::PasswordNotUtf8 { etype }));
}

#[test]
fn prf_plus_ends_with_its_counter() {
    for etype in ETYPES {
        let key = key(etype);
        let most = 255 * key.prf(b"").len();
        assert_eq!(key.prf_plus(b"input", most).unwrap().len(), most);
        let refused = key.prf_plus(b"input", most + 1).err();
        assert_eq!(refused, Some(CryptoError::PrfLength { etype, length: most + 1 }));
    }
}

proptest! {
    #[test]
    fn long_messages_round_trip_and_one_changed_byte_is_noticed(
        plaintext in proptest::collection::vec(any::<u8>(), 0..5_000),
        which in 0..ETYPES.len(),
        place in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
    ) {
        let cipher = key(ETYPES[which]).cipher(KeyUsage::INITIATOR_SEAL);
        let ciphertext = any_sealed(&cipher, &plaintext);
        let mut altered = ciphertext.clone();
        altered[place.index(ciphertext.len())] ^= change;
        prop_assert!(cipher.open_in_place(&mut altered).is_err());
        let mut buf = ciphertext;
        prop_assert_eq!(cipher.open_in_place(&mut buf).unwrap(), &plaintext);
    }

    #[test]
    fn bytes_that_nobody_sealed_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0..ETYPES.len()
    ) {
        let cipher = key(ETYPES[which]).cipher(KeyUsage::TICKET);
        prop_assert!(cipher.open_in_place(&mut bytes.clone()).is_err());
    }
}
