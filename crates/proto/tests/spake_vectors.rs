//! SPAKE against the vectors of RFC 9588, both roles against each other, and against those who send what is no share.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "vectors/reader.rs"]
mod reader;

use countersign_proto::crypto::spake::{
    ClientShare, KdcSecret, KdcShare, SPAKE_LEN, SecretInput, SpakeError, SpakeGroup,
};
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::krb5::spake::{Transcript, derive_key, derive_w};
use countersign_proto::secret::Secret;
use countersign_testkit::ScriptedRng;
use proptest::prelude::*;
use reader::{Record, records};

const GROUPS: [SpakeGroup; 2] = [SpakeGroup::Edwards25519, SpakeGroup::P256];

const ETYPES: [Etype; 4] = [
    Etype::Aes128CtsHmacSha1_96,
    Etype::Aes256CtsHmacSha1_96,
    Etype::Aes128CtsHmacSha256_128,
    Etype::Aes256CtsHmacSha384_192,
];

/// What must be drawn to come to the vector's x or y.
fn draws(group: SpakeGroup, scalar: &[u8]) -> ScriptedRng {
    ScriptedRng::new(match group {
        SpakeGroup::Edwards25519 => [eighth(scalar), vec![0; SPAKE_LEN]].concat(),
        SpakeGroup::P256 => scalar.to_vec(),
    })
}

/// An eighth of a number, little-endian, that is a multiple of 8.
fn eighth(scalar: &[u8]) -> Vec<u8> {
    assert_eq!(scalar[0] % 8, 0);
    let above = scalar.iter().skip(1).chain(&[0]);
    scalar.iter().zip(above).map(|(byte, above)| byte >> 3 | above << 5).collect()
}

fn initial_key(record: &Record) -> Key {
    let etype = Etype::from_wire(i32::try_from(record.number("etype")).unwrap()).unwrap();
    Key::new(etype, &record.bytes("key")).unwrap()
}

fn key(etype: Etype, byte: u8) -> Key {
    Key::new(etype, &vec![byte; etype.key_len()]).unwrap()
}

#[test]
fn both_roles_make_what_rfc_9588_prints() {
    let records = records(include_str!("vectors/crypto/rfc9588_spake.txt"));
    assert_eq!(records.len(), 5);
    for record in &records {
        let group = SpakeGroup::from_wire(i32::try_from(record.number("group")).unwrap()).unwrap();
        let initial_key = initial_key(record);
        let w = derive_w(&initial_key, group);
        assert_eq!(w.expose().as_slice(), record.bytes("w"));

        let kdc = KdcShare::generate(&w, &mut draws(group, &record.bytes("x")));
        let client = ClientShare::generate(&w, &mut draws(group, &record.bytes("y")));
        assert_eq!(kdc.public(), record.bytes("t"));
        assert_eq!(client.public(), record.bytes("s"));

        let kept = KdcSecret::from_bytes(&w, kdc.secret().expose()).unwrap();
        for k in [
            client.shared_secret(&record.bytes("t")),
            kdc.secret().shared_secret(&record.bytes("s")),
            kept.shared_secret(&record.bytes("s")),
        ] {
            assert_eq!(k.unwrap().expose(), record.bytes("k"));
        }
    }
}

#[test]
fn transcripts_and_derived_keys_are_those_of_rfc_9588_with_and_without_a_support_message() {
    for record in &records(include_str!("vectors/crypto/rfc9588_spake.txt")) {
        let group = SpakeGroup::from_wire(i32::try_from(record.number("group")).unwrap()).unwrap();
        let mut transcript = Transcript::new(group);
        transcript.absorb(&[&record.bytes("support"), &record.bytes("challenge")]);
        let mut transcript = Transcript::resume(group, *transcript.hash());
        transcript.absorb(&[&record.bytes("s")]);
        assert_eq!(transcript.hash().as_slice(), record.bytes("transcript"));

        let initial_key = initial_key(record);
        let w = derive_w(&initial_key, group);
        let k = Secret::new(record.bytes("k"));
        for (n, name) in (0..).zip(["k0", "k1", "k2", "k3"]) {
            let derived = derive_key(&initial_key, &w, &k, &transcript, &record.bytes("body"), n);
            assert_eq!(derived.expose(), record.bytes(name), "{group} {name}");
            assert_eq!(derived.etype(), initial_key.etype());
        }
    }
}

#[test]
fn every_input_of_a_derived_key_changes_it() {
    let [one, two] = [1, 2].map(|byte| key(Etype::Aes256CtsHmacSha384_192, byte));
    let transcript = |group, message: &[u8]| {
        let mut transcript = Transcript::new(group);
        transcript.absorb(&[message]);
        transcript
    };
    let [ed, p256] = GROUPS;
    let derive = |initial: &Key, group, w: &Key, k: u8, message: &[u8], body: &[u8], n| {
        let (w, k) = (derive_w(w, group), Secret::new(vec![k; 32]));
        derive_key(initial, &w, &k, &transcript(group, message), body, n).expose().to_vec()
    };
    let keys = [
        derive(&one, ed, &one, 1, b"message", b"body", 0),
        derive(&two, ed, &one, 1, b"message", b"body", 0),
        derive(&one, p256, &one, 1, b"message", b"body", 0),
        derive(&one, ed, &two, 1, b"message", b"body", 0),
        derive(&one, ed, &one, 2, b"message", b"body", 0),
        derive(&one, ed, &one, 1, b"other", b"body", 0),
        derive(&one, ed, &one, 1, b"message", b"other", 0),
        derive(&one, ed, &one, 1, b"message", b"body", 1),
    ];
    for (index, derived) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(derived), "input {index} makes no difference");
    }
}

#[test]
fn groups_go_by_their_numbers_and_by_the_names_in_krb5_conf() {
    for (group, number, name) in [(GROUPS[0], 1, "edwards25519"), (GROUPS[1], 2, "P-256")] {
        assert_eq!((group.wire(), group.name()), (number, name));
        assert_eq!(SpakeGroup::from_wire(number), Some(group));
        assert_eq!(SpakeGroup::from_name(&name.to_lowercase()), Some(group));
        assert_eq!(SpakeGroup::from_name(&name.to_uppercase()), Some(group));
    }
    assert_eq!([i32::MIN, -1, 0, 3, 4, i32::MAX].map(SpakeGroup::from_wire), [None; 6]);
    assert_eq!(["", "P-384", "P-521", "P256"].map(SpakeGroup::from_name), [None; 4]);
}

#[test]
fn a_share_of_the_wrong_length_is_refused() {
    for group in GROUPS {
        let (client, kdc) = pair(&derive_w(&key(ETYPES[0], 1), group), [1; 64], [2; 64]);
        let share = [kdc.public(), &[0; 40]].concat();
        for length in (0..share.len()).filter(|length| *length != group.element_len()) {
            let refused = Some(SpakeError::Length { group, length });
            assert_eq!(client.shared_secret(&share[..length]).err(), refused);
            assert_eq!(kdc.secret().shared_secret(&share[..length]).err(), refused);
        }
    }
}

#[test]
fn other_forms_of_a_p256_point_and_points_off_the_curve_are_refused() {
    let group = SpakeGroup::P256;
    let (client, kdc) = pair(&derive_w(&key(ETYPES[0], 1), group), [1; 64], [2; 64]);
    let with_tag = |tag| [&[tag], &kdc.public()[1..]].concat();
    for tag in 0..=u8::MAX {
        let made = client.shared_secret(&with_tag(tag));
        match tag {
            2 | 3 => assert!(made.is_ok()),
            _ => assert_eq!(made.err(), Some(SpakeError::NotAnElement { group }), "tag {tag}"),
        }
    }
    // The field's prime, and 5 more, which stands for 5: a coordinate of a point, but not its encoding.
    let prime = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    let five = "0000000000000000000000000000000000000000000000000000000000000005";
    let five_more = "ffffffff00000001000000000000000000000001000000000000000000000004";
    let made = |x: &str| client.shared_secret(&[vec![2], hex(x)].concat()).map(|_| ());
    assert_eq!(made(five), Ok(()));
    for x in [prime, five_more] {
        assert_eq!(made(x), Err(SpakeError::NotAnElement { group }), "{x}");
    }
}

#[test]
fn a_second_encoding_of_an_edwards25519_point_is_refused() {
    let group = SpakeGroup::Edwards25519;
    let (client, _) = pair(&derive_w(&key(ETYPES[0], 1), group), [1; 64], [2; 64]);
    let made = |y: &str| client.shared_secret(&hex(y)).map(|_| ());
    // y = 1, as it is written, as 1 more than the field's prime, and with the sign of an x that is 0.
    assert_eq!(made("0100000000000000000000000000000000000000000000000000000000000000"), Ok(()));
    for y in [
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000080",
    ] {
        assert_eq!(made(y), Err(SpakeError::NotAnElement { group }), "{y}");
    }
}

#[test]
fn a_kept_scalar_that_no_share_was_made_of_is_refused() {
    let orders = [
        "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010",
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ];
    for (group, order) in GROUPS.into_iter().zip(orders) {
        let w = derive_w(&key(ETYPES[0], 1), group);
        let refused = Some(SpakeError::NotAScalar { group });
        for scalar in [hex(order), vec![0xFF; SPAKE_LEN]] {
            assert_eq!(KdcSecret::from_bytes(&w, &scalar.try_into().unwrap()).err(), refused);
        }
        assert!(KdcSecret::from_bytes(&w, &[1; SPAKE_LEN]).is_ok());
    }
}

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn pair(w: &SecretInput, client: [u8; 64], kdc: [u8; 64]) -> (ClientShare, KdcShare) {
    (
        ClientShare::generate(w, &mut ScriptedRng::new(client.to_vec())),
        KdcShare::generate(w, &mut ScriptedRng::new(kdc.to_vec())),
    )
}

/// Any share that is made with random bytes: a P-256 scalar has 32 of them, and may be drawn twice.
fn random() -> impl Strategy<Value = [u8; 64]> {
    prop::array::uniform32(any::<[u8; 2]>()).prop_map(|pairs| std::array::from_fn(|at| pairs[at / 2][at % 2]))
}

/// K'[1] as the client and as the KDC make it.
fn factor_keys(group: SpakeGroup, client_key: &Key, kdc_key: &Key, draws: [[u8; 64]; 2]) -> [Key; 2] {
    let [client_w, kdc_w] = [client_key, kdc_key].map(|key| derive_w(key, group));
    let client = ClientShare::generate(&client_w, &mut ScriptedRng::new(draws[0].to_vec()));
    let kdc = KdcShare::generate(&kdc_w, &mut ScriptedRng::new(draws[1].to_vec()));
    let mut transcript = Transcript::new(group);
    transcript.absorb(&[kdc.public()]);
    transcript.absorb(&[client.public()]);
    let client_k = client.shared_secret(kdc.public()).unwrap();
    let kdc_k = kdc.secret().shared_secret(client.public()).unwrap();
    [
        derive_key(client_key, &client_w, &client_k, &transcript, b"body", 1),
        derive_key(kdc_key, &kdc_w, &kdc_k, &transcript, b"body", 1),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_roles_agree_if_they_know_the_same_password_and_not_else(
        which in 0..ETYPES.len(), group in 0..GROUPS.len(), password: u8, change in 1..=u8::MAX,
        client in random(), kdc in random(),
    ) {
        let (etype, group) = (ETYPES[which], GROUPS[group]);
        let [right, wrong] = [password, password ^ change].map(|byte| key(etype, byte));
        let [sent, expected] = factor_keys(group, &right, &right, [client, kdc]);
        prop_assert_eq!(sent.expose(), expected.expose());

        let [sent, expected] = factor_keys(group, &wrong, &right, [client, kdc]);
        prop_assert_ne!(sent.expose(), expected.expose());
        let mut factor = Vec::new();
        sent.cipher(KeyUsage(65)).seal(&mut ScriptedRng::new(vec![0; 16]), b"factor", &mut factor);
        prop_assert!(expected.cipher(KeyUsage(65)).open_in_place(&mut factor).is_err());
    }

    #[test]
    fn random_bytes_for_a_share_are_a_point_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..40), fit: bool, tag in 0_u8..6, group in 0..GROUPS.len(),
    ) {
        let group = GROUPS[group];
        let mut bytes = bytes;
        if fit {
            bytes.resize(group.element_len(), 0);
            if group == SpakeGroup::P256 {
                bytes[0] = tag;
            }
        }
        let (client, kdc) = pair(&derive_w(&key(ETYPES[0], 1), group), [1; 64], [2; 64]);
        for made in [client.shared_secret(&bytes), kdc.secret().shared_secret(&bytes)] {
            match made {
                Ok(k) => prop_assert_eq!((bytes.len(), k.len()), (group.element_len(), group.element_len())),
                Err(SpakeError::Length { length, .. }) => prop_assert_ne!(length, group.element_len()),
                Err(refused) => prop_assert_eq!(refused, SpakeError::NotAnElement { group }),
            }
        }
    }

    #[test]
    fn an_altered_share_leads_to_another_secret_or_is_refused(
        group in 0..GROUPS.len(), place in any::<prop::sample::Index>(), change in 1..=u8::MAX,
        client in random(), kdc in random(),
    ) {
        let (client, kdc) = pair(&derive_w(&key(ETYPES[0], 1), GROUPS[group]), client, kdc);
        let mut altered = kdc.public().to_vec();
        altered[place.index(kdc.public().len())] ^= change;
        let expected = kdc.secret().shared_secret(client.public()).unwrap();
        if let Ok(made) = client.shared_secret(&altered) {
            prop_assert_ne!(made.expose(), expected.expose());
        }
    }
}
