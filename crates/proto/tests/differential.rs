//! Our encoding of Kerberos against one that was made by others from the ASN.1 module (rasn-kerberos): each reads what
//! the other writes, and both write the same bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use countersign_proto::der::{Reader, Writer};
use countersign_proto::gss::framing;
use countersign_proto::krb5::acceptor::krb_error;
use countersign_proto::krb5::msg::ap_rep::{ApRep, EncApRepPart};
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::authenticator::Authenticator;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::krb_error::KrbError;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::{EncTicketPart, TicketFlags};
use countersign_proto::time::Timestamp;
use countersign_testkit::mint::{ApReq as Minted, Authenticator as MintedAuthenticator};
use countersign_testkit::mint::{Mint, NOW, RawChecksum, RawKey, authorization_data};
use proptest::prelude::*;
use rasn::types::{BitString, GeneralString, GeneralizedTime, Integer, OctetString};
use rasn_kerberos as oracle;

fn text(bytes: &[u8]) -> GeneralString {
    GeneralString::from_bytes(bytes).unwrap()
}

fn name(principal: &Principal) -> oracle::PrincipalName {
    let string = principal.components.iter().map(|component| text(component)).collect();
    oracle::PrincipalName { r#type: principal.name_type, string }
}

fn time(at: Timestamp) -> oracle::KerberosTime {
    // RFC 3339, which they read with code of their own.
    oracle::KerberosTime(at.to_string().parse::<GeneralizedTime>().unwrap())
}

fn bits(word: u32) -> BitString {
    BitString::from_slice(&word.to_be_bytes())
}

fn octets(bytes: &[u8]) -> OctetString {
    OctetString::from(bytes.to_vec())
}

fn key(key: &RawKey) -> oracle::EncryptionKey {
    oracle::EncryptionKey { r#type: key.etype, value: octets(&key.bytes) }
}

fn decoded<T: rasn::Decode>(bytes: &[u8]) -> T {
    rasn::der::decode(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn encoded<T: rasn::Encode>(value: &T) -> Vec<u8> {
    rasn::der::encode(value).unwrap_or_else(|error| panic!("{error}"))
}

/// An AP-REQ in which every optional field is there.
fn full() -> Minted {
    let mint = Mint::default();
    let mut request = mint.ap_req();
    let elements: [(i32, &[u8]); 2] = [(143, &[0; 4]), (-7, b"")];
    let data = authorization_data::if_relevant(&elements);
    request.ticket.renew_till = Some(NOW.shifted(86_400_000_000));
    request.ticket.flags = TicketFlags(0x40A9_0000);
    request.ticket.transited = b"EDU,MIT.".to_vec();
    request.ticket.authorization_data = Some(data.clone());
    request.authenticator.authorization_data = Some(data);
    request.authenticator.seq_number = Some(u32::MAX);
    request
}

/// One in which none is.
fn bare() -> Minted {
    let mut request = Mint::default().ap_req();
    request.ticket.starttime = None;
    request.ticket.kvno = None;
    request.authenticator.checksum = None;
    request.authenticator.subkey = None;
    request.authenticator.seq_number = None;
    request
}

fn data(encoded: &Option<Vec<u8>>) -> Option<oracle::AuthorizationData> {
    encoded.as_deref().map(decoded)
}

#[test]
fn an_ap_req_is_the_same_to_both() {
    for request in [full(), bare()] {
        let body = request.body();
        let theirs: oracle::ApReq = decoded(&body);
        let ours = ApReq::parse(&body).unwrap();
        assert_eq!((theirs.pvno, theirs.msg_type), (Integer::from(5), Integer::from(14)));
        assert_eq!(theirs.ap_options.0, bits(ours.ap_options.0));
        assert_eq!(theirs.ticket.realm, text(ours.ticket.realm));
        assert_eq!(theirs.ticket.sname, name(&request.ticket.service));
        assert_eq!(ours.ticket.sname.to_principal(ours.ticket.realm), request.ticket.service);
        for (theirs, ours) in
            [(&theirs.ticket.enc_part, ours.ticket.enc_part), (&theirs.authenticator, ours.authenticator)]
        {
            assert_eq!((theirs.etype, theirs.kvno), (ours.etype, ours.kvno));
            assert_eq!(theirs.cipher, octets(ours.cipher));
        }
        assert_eq!(encoded(&decoded::<oracle::ApReq>(&body)), body);
    }
}

#[test]
fn an_opened_ticket_is_the_same_to_both() {
    for Minted { ticket, .. } in [full(), bare()] {
        let theirs = oracle::EncTicketPart {
            flags: oracle::TicketFlags(bits(ticket.flags.0)),
            key: key(&ticket.written_session_key),
            crealm: text(&ticket.client.realm),
            cname: name(&ticket.client),
            transited: oracle::TransitedEncoding { r#type: 1, contents: octets(&ticket.transited) },
            auth_time: time(ticket.authtime),
            start_time: ticket.starttime.map(time),
            end_time: time(ticket.endtime),
            renew_till: ticket.renew_till.map(time),
            caddr: None,
            authorization_data: data(&ticket.authorization_data),
        };
        assert_eq!(encoded(&theirs), ticket.encode_part());
        assert_eq!(decoded::<oracle::EncTicketPart>(&ticket.encode_part()), theirs);
        let whole = |at: Timestamp| Timestamp::new(at.seconds(), 0);
        let part = ticket.encode_part();
        let ours = EncTicketPart::parse(Reader::new(&part)).unwrap();
        assert_eq!((ours.flags, ours.cname.to_principal(ours.crealm)), (ticket.flags, ticket.client));
        assert_eq!((ours.key.etype, ours.key.bytes), (18, &ticket.written_session_key.bytes[..]));
        assert_eq!((ours.transited_type, ours.transited), (1, &ticket.transited[..]));
        assert_eq!((ours.authtime, ours.endtime), (whole(ticket.authtime), whole(ticket.endtime)));
        assert_eq!(ours.starttime, ticket.starttime.map(whole));
        assert_eq!(ours.renew_till, ticket.renew_till.map(whole));
        assert_eq!(ours.authorization_data.is_some(), ticket.authorization_data.is_some());
    }
}

#[test]
fn the_addresses_in_a_ticket_that_others_wrote_are_passed_over() {
    let address = oracle::HostAddress { addr_type: 2, address: octets(&[192, 0, 2, 1]) };
    let mut theirs: oracle::EncTicketPart = decoded(&full().ticket.encode_part());
    theirs.caddr = Some(vec![address]);
    let bytes = encoded(&theirs);
    let ours = EncTicketPart::parse(Reader::new(&bytes)).unwrap();
    assert!(ours.caddr.is_some() && ours.authorization_data.is_some());
}

#[test]
fn an_authenticator_is_the_same_to_both() {
    for Minted { authenticator, .. } in [full(), bare()] {
        compare_authenticators(authenticator);
    }
}

fn compare_authenticators(authenticator: MintedAuthenticator) {
    let theirs = oracle::Authenticator {
        authenticator_vno: Integer::from(5),
        crealm: text(&authenticator.client.realm),
        cname: name(&authenticator.client),
        cksum: authenticator.checksum.as_ref().map(|checksum| oracle::Checksum {
            r#type: checksum.cksumtype,
            checksum: octets(&checksum.bytes),
        }),
        cusec: Integer::from(authenticator.ctime.micros()),
        ctime: time(authenticator.ctime),
        subkey: authenticator.subkey.as_ref().map(key),
        seq_number: authenticator.seq_number,
        authorization_data: data(&authenticator.authorization_data),
    };
    let bytes = encoded(&theirs);
    assert_eq!(bytes, authenticator.encode());
    assert_eq!(decoded::<oracle::Authenticator>(&bytes), theirs);
    let ours = Authenticator::parse(Reader::new(&bytes)).unwrap();
    assert_eq!(ours.cname.to_principal(ours.crealm), authenticator.client);
    assert_eq!((ours.ctime, ours.seq_number), (authenticator.ctime, authenticator.seq_number));
    assert_eq!(
        ours.cksum.map(|checksum| (checksum.cksumtype, checksum.bytes.to_vec())),
        authenticator.checksum.map(|checksum| (checksum.cksumtype, checksum.bytes))
    );
    assert_eq!(
        ours.subkey.map(|key| (key.etype, key.bytes.to_vec())),
        authenticator.subkey.map(|key| (key.etype, key.bytes))
    );
    assert_eq!(ours.authorization_data.is_some(), authenticator.authorization_data.is_some());
}

#[test]
fn an_ap_rep_is_the_same_to_both() {
    let mint = Mint::default();
    let reply = mint.ap_rep(&mint.ap_req());
    let token = reply.token();
    let body = framing::open(&token).unwrap().1;
    let theirs: oracle::ApRep = decoded(body);
    let ours = ApRep::parse(body).unwrap();
    assert_eq!((theirs.pvno.clone(), theirs.msg_type.clone()), (Integer::from(5), Integer::from(15)));
    assert_eq!((theirs.enc_part.etype, theirs.enc_part.kvno), (ours.enc_part.etype, ours.enc_part.kvno));
    assert_eq!(theirs.enc_part.cipher, octets(ours.enc_part.cipher));
    assert_eq!(encoded(&theirs), body);
}

#[test]
fn an_opened_ap_rep_is_the_same_to_both() {
    let subkey = [7; 16];
    for (has_subkey, seq_number) in [(true, Some(0x8000_0000)), (true, None), (false, Some(0)), (false, None)]
    {
        let ours = EncApRepPart {
            ctime: NOW,
            subkey: has_subkey.then_some(EncryptionKeyRef { etype: 17, bytes: &subkey }),
            seq_number,
        };
        let mut bytes = Vec::new();
        ours.write(&mut Writer::new(&mut bytes));
        let theirs = oracle::EncApRepPart {
            ctime: time(NOW),
            cusec: Integer::from(NOW.micros()),
            subkey: has_subkey.then(|| oracle::EncryptionKey { r#type: 17, value: octets(&subkey) }),
            seq_number,
        };
        assert_eq!(encoded(&theirs), bytes);
        let read = EncApRepPart::parse(Reader::new(&bytes)).unwrap();
        assert_eq!((read.ctime, read.seq_number), (NOW, seq_number));
        assert_eq!(read.subkey.map(|key| (key.etype, key.bytes)), has_subkey.then_some((17, &subkey[..])));
    }
}

fn their_error() -> oracle::KrbError {
    let service = Mint::default().service;
    oracle::KrbError {
        pvno: Integer::from(5),
        msg_type: Integer::from(30),
        ctime: None,
        cusec: None,
        stime: time(NOW),
        susec: Integer::from(NOW.micros()),
        error_code: 60,
        crealm: None,
        cname: None,
        realm: text(&service.realm),
        sname: name(&service),
        e_text: None,
        e_data: None,
    }
}

#[test]
fn a_krb_error_is_the_same_to_both() {
    let mut token = Vec::new();
    krb_error(60, &Mint::default().service, false, NOW, &mut token);
    let body = framing::open(&token).unwrap().1;
    assert_eq!(decoded::<oracle::KrbError>(body), their_error());
    assert_eq!(encoded(&their_error()), body);
}

#[test]
fn a_krb_error_that_others_fill_with_more_is_read() {
    let client = Mint::default().client;
    let theirs = oracle::KrbError {
        ctime: Some(time(NOW)),
        cusec: Some(Integer::from(999_999)),
        error_code: -1,
        crealm: Some(text(&client.realm)),
        cname: Some(name(&client)),
        e_text: Some(text(b"for people")),
        e_data: Some(octets(&[1, 2, 3])),
        ..their_error()
    };
    let bytes = encoded(&theirs);
    let ours = KrbError::parse(&bytes).unwrap();
    assert_eq!((ours.stime, ours.error_code), (NOW, -1));
    assert_eq!(ours.sname.to_principal(ours.realm), Mint::default().service);
    assert_eq!((ours.e_text, ours.e_data), (Some(&b"for people"[..]), Some(&[1, 2, 3][..])));
}

fn any_client() -> impl Strategy<Value = Principal> {
    (any::<i32>(), "[ -~]{0,40}", prop::collection::vec("[ -~]{0,140}", 1..5)).prop_map(
        |(name_type, realm, components)| Principal {
            name_type,
            realm: realm.into_bytes(),
            components: components.into_iter().map(String::into_bytes).collect(),
        },
    )
}

proptest! {
    #[test]
    fn authenticators_of_any_contents_are_the_same_to_both(
        client in any_client(),
        checksum in prop::option::of((any::<i32>(), prop::collection::vec(any::<u8>(), 0..300))),
        // Years 1000 to 9999.
        seconds in -30_610_224_000..253_402_300_800_i64,
        micros in 0..1_000_000_u32,
        subkey in prop::option::of((any::<i32>(), prop::collection::vec(any::<u8>(), 0..200))),
        seq_number in any::<Option<u32>>(),
    ) {
        let checksum = checksum.map(|(cksumtype, bytes)| RawChecksum { cksumtype, bytes });
        let subkey = subkey.map(|(etype, bytes)| RawKey { etype, bytes });
        let ctime = Timestamp::new(seconds, micros);
        compare_authenticators(MintedAuthenticator {
            client, checksum, ctime, subkey, seq_number, authorization_data: None, appended: Vec::new(),
        });
    }
}
