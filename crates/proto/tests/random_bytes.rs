//! Whatever comes from the network or a file is read without a panic.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use countersign_proto::ccache::Ccache;
use countersign_proto::context::{Acceptor, AcceptorStep, Initiator, InitiatorStep};
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::der::Reader;
use countersign_proto::gss::authenticator_checksum::GssChecksum;
use countersign_proto::gss::framing::{self, TokenId};
use countersign_proto::gss::tls_server_end_point;
use countersign_proto::keytab::Keytab;
use countersign_proto::krb5::acceptor::krb_error;
use countersign_proto::krb5::msg::ap_rep::{ApRep, EncApRepPart};
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::authenticator::Authenticator;
use countersign_proto::krb5::msg::authorization_data::AuthorizationData;
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::name::NameRef;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::{EncTicketPart, Ticket};
use countersign_proto::krb5::per_message::{Confidentiality, Protection, Role, SequenceMode};
use countersign_proto::krb5::transited;
use countersign_proto::policy::{AcceptorPolicy, Capaths};
use countersign_testkit::TestRng;
use countersign_testkit::mint::{Mint, NOW, authorization_data, ccache_bytes, keytab_bytes};
use proptest::prelude::*;

/// Gives `bytes` to every parser there is.
fn read_as_everything(bytes: &[u8]) {
    let _ = framing::open(bytes);
    let _ = ApReq::parse(bytes);
    let _ = ApRep::parse(bytes);
    let _ = KrbError::parse(bytes);
    let _ = Ticket::parse(&mut Reader::new(bytes));
    let _ = EncTicketPart::parse(Reader::new(bytes));
    let _ = EncApRepPart::parse(Reader::new(bytes));
    let _ = Authenticator::parse(Reader::new(bytes));
    let _ = NameRef::parse(&mut Reader::new(bytes));
    if let Ok(data) = AuthorizationData::parse(&mut Reader::new(bytes)) {
        data.visit_relevant(&mut |_| {});
    }
    let _ = GssChecksum::parse(bytes);
    let _ = tls_server_end_point::from_certificate(bytes);
    let _ = Keytab::parse(bytes);
    let _ = Ccache::parse(bytes);
    let _ = transited::check(1, bytes, b"A.EXAMPLE", b"B.EXAMPLE", &Capaths::default());
    let _ = transited::check(1, b"A,,B", bytes, bytes, &Capaths::default());
    let _ = Principal::parse(&String::from_utf8_lossy(bytes)).map(|principal| principal.to_string());
}

/// Gives `bytes` to both ends of a handshake, neither of which may take them.
fn offer_to_both_ends(bytes: &[u8]) {
    let mint = Mint::default();
    let acceptor = Acceptor::new(mint.service_keys(), AcceptorPolicy::default());
    let mut out = Vec::new();
    assert!(matches!(
        acceptor.begin().token(bytes, NOW, &mut TestRng::new(7), &mut out),
        AcceptorStep::Rejected(_)
    ));
    let ccache = mint.ccache(&[mint.ticket()]);
    let policy = countersign_testkit::pair::initiator_policy(|_| {});
    let initiator = Initiator::from_ccache(&ccache, &mint.service, policy, NOW).unwrap();
    let state = initiator.begin(NOW, &mut TestRng::new(1), &mut out).unwrap();
    let step = state.token(bytes, NOW, &mut TestRng::new(2), &mut out);
    assert!(!matches!(step, InitiatorStep::Done(_)));
}

fn protection(etype: Etype, role: Role) -> Protection {
    let key = Key::generate(etype, &mut TestRng::new(3));
    Protection { role, key, acceptor_subkey: true, send_seq: 1, receive_seq: 1 }
}

/// Valid bytes of every kind, to be altered.
fn valid() -> Vec<Vec<u8>> {
    let mint = Mint::default();
    let mut request = mint.ap_req();
    let elements: [(i32, &[u8]); 2] = [(143, &[0; 4]), (144, b"H\0/\0x\0")];
    request.authenticator.authorization_data = Some(authorization_data::if_relevant(&elements));
    request.ticket.transited = b"EDU,MIT.,,X\\,Y".to_vec();
    let mut error = Vec::new();
    krb_error(37, &mint.service, true, NOW, &mut error);
    vec![
        request.body(),
        request.token(),
        request.ticket.encode(),
        request.ticket.encode_part(),
        request.authenticator.encode(),
        authorization_data::if_relevant(&elements),
        request.ticket.transited.clone(),
        mint.ap_rep(&request).token(),
        framing::open(&mint.ap_rep(&request).token()).unwrap().1.to_vec(),
        framing::open(&error).unwrap().1.to_vec(),
        error,
        keytab_bytes(&mint.keytab()),
        ccache_bytes(&mint.ccache(&[mint.ticket()])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn bytes_without_meaning_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn bytes_that_look_like_der_never_panic(
        elements in prop::collection::vec(
            (prop::sample::select(vec![0x60, 0x61, 0x6E, 0x30, 0xA0, 0xA1, 0xA2, 0xA3, 2, 3, 4, 0x18, 0x1B]), 0..40_u8),
            0..40,
        ),
    ) {
        let bytes: Vec<u8> = elements.iter().flat_map(|&(tag, length)| [tag, length]).collect();
        read_as_everything(&bytes);
    }

    #[test]
    fn altered_bytes_never_panic(
        mut bytes in prop::sample::select(valid()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for (index, byte) in changes {
            *index.get_mut(&mut bytes) = byte;
        }
        read_as_everything(&bytes);
        read_as_everything(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn a_handshake_never_panics_and_takes_nothing_random(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        token_id in prop::sample::select(vec![TokenId::ApReq, TokenId::ApRep, TokenId::KrbError, TokenId::TgtReq]),
    ) {
        offer_to_both_ends(&bytes);
        let mut framed = Vec::new();
        framing::wrap(token_id, &mut framed, |body| body.encoded(&bytes));
        offer_to_both_ends(&framed);
    }

    #[test]
    fn a_receiver_never_panics_and_takes_nothing_random(
        etype in prop::sample::select(vec![17, 18, 19, 20, 23]),
        start in prop::sample::select(vec![
            vec![], vec![5, 4], vec![4, 4], vec![5, 4, 4, 0xFF], vec![5, 4, 6, 0xFF],
            vec![4, 4, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], vec![0x60, 0x40, 6, 9],
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let token = [start, bytes].concat();
        let protection = protection(Etype::from_wire(etype).unwrap(), Role::Acceptor);
        let (_, mut receiver) = protection.split(false, SequenceMode::Window);
        prop_assert!(receiver.unwrap_in_place(&mut token.clone()).is_err());
        prop_assert!(receiver.verify_mic(&[b"message"], &token).is_err());
        prop_assert!(!receiver.has_verified_any());
    }

    #[test]
    fn messages_of_any_size_and_rotation_arrive(
        etype in prop::sample::select(vec![17, 18, 19, 20]),
        text in prop::collection::vec(any::<u8>(), 0..2_000),
        sealed in any::<bool>(),
        rotation in any::<u16>(),
    ) {
        let etype = Etype::from_wire(etype).unwrap();
        let (mut sender, _) = protection(etype, Role::Initiator).split(false, SequenceMode::Strict);
        let (_, mut receiver) = protection(etype, Role::Acceptor).split(false, SequenceMode::Strict);
        let confidentiality = if sealed { Confidentiality::Sealed } else { Confidentiality::SignedOnly };
        let mut token = Vec::new();
        sender.wrap(confidentiality, &text, &mut TestRng::new(4), &mut token).unwrap();
        if let Some((header, body)) = token.split_first_chunk_mut::<16>() {
            header[6..8].copy_from_slice(&rotation.to_be_bytes());
            let places = usize::from(rotation) % body.len();
            body.rotate_right(places);
        }
        let message = receiver.unwrap_in_place(&mut token).unwrap();
        prop_assert_eq!(&*message.plaintext, &text[..]);
    }
}
