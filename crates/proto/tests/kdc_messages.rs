//! FAST's and SPAKE's messages read back as they were written, and nothing that a KDC or client may send ends in a panic.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use countersign_proto::crypto::Etype;
use countersign_proto::der::{Reader, Writer};
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::fast::{
    FX_FAST_ARMOR_AP_REQUEST, KrbFastArmor, KrbFastArmoredRep, KrbFastArmoredReq, KrbFastReq,
    KrbFastResponse, NewKrbFastFinished, NewKrbFastResponse, write_krb_fast_req,
};
use countersign_proto::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep, LastReq, NewEncKdcRepPart, NewKdcRep};
use countersign_proto::krb5::msg::kdc_req::{
    KdcOptions, KdcReq, KdcReqBody, KdcReqKind, NewKdcReqBody, write_kdc_req,
};
use countersign_proto::krb5::msg::krb_cred::{
    EncKrbCredPart, KrbCred, NewEncKrbCredPart, NewKrbCredInfo, write_krb_cred,
};
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use countersign_proto::krb5::msg::pa_enc_ts_enc::PaEncTsEnc;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::spake::{
    PaSpake, SF_NONE, SpakeChallenge, SpakeResponse, SpakeSecondFactor, SpakeSupport,
};
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_testkit::mint::{Mint, NOW};
use proptest::prelude::*;

const KEY: EncryptionKeyRef<'_> = EncryptionKeyRef { etype: 18, bytes: &[7; 32] };
const SEALED: EncryptedData<'_> = EncryptedData { etype: 18, kvno: None, cipher: &[9; 60] };
const CHECKSUM: ChecksumRef<'_> = ChecksumRef { cksumtype: 16, bytes: &[3; 12] };
const COOKIE: PaData<'_> = PaData { padata_type: pa_type::PA_FX_COOKIE, padata_value: b"cookie" };

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn client() -> Principal {
    Principal::new("R.TEST", &["alice"])
}

fn same(a: EncryptedData<'_>, b: EncryptedData<'_>) {
    assert_eq!((a.etype, a.kvno, a.cipher), (b.etype, b.kvno, b.cipher));
}

fn body() -> Vec<u8> {
    let (client, ticket) = (client(), Mint::default().ticket().encode());
    let body = NewKdcReqBody {
        kdc_options: KdcOptions::FORWARDABLE,
        cname: Some(&client),
        realm: b"R.TEST",
        sname: Some(&client),
        till: NOW,
        rtime: Some(NOW),
        nonce: 7,
        etypes: &[Etype::Aes256CtsHmacSha1_96],
        additional_tickets: &[&ticket],
    };
    written(|writer| body.write(writer))
}

fn fast_response(finished: Option<NewKrbFastFinished<'_>>) -> Vec<u8> {
    let strengthen_key = finished.is_some().then_some(KEY);
    let response = NewKrbFastResponse { padata: &[COOKIE], strengthen_key, finished, nonce: 0x7FFF_FFFF };
    written(|writer| response.write(writer))
}

fn finished(client: &Principal) -> NewKrbFastFinished<'_> {
    NewKrbFastFinished { timestamp: NOW, client, ticket_checksum: CHECKSUM }
}

#[test]
fn an_armored_request_reads_back_with_and_without_armor() {
    let armor = KrbFastArmor { armor_type: FX_FAST_ARMOR_AP_REQUEST, armor_value: b"an AP-REQ" };
    for armor in [Some(armor), None] {
        let request = KrbFastArmoredReq { armor, req_checksum: CHECKSUM, enc_fast_req: SEALED };
        let bytes = written(|writer| request.write(writer));
        let read = KrbFastArmoredReq::parse(&bytes).unwrap();
        let pair = |armor: KrbFastArmor<'_>| (armor.armor_type, armor.armor_value.to_vec());
        assert_eq!(read.armor.map(pair), armor.map(pair));
        assert_eq!((read.req_checksum.cksumtype, read.req_checksum.bytes), (16, CHECKSUM.bytes));
        same(read.enc_fast_req, SEALED);
        let mut other_choice = bytes.clone();
        other_choice[0] = 0xA1;
        assert!(KrbFastArmoredReq::parse(&other_choice).is_err());
    }
}

#[test]
fn an_armored_reply_reads_back() {
    let bytes = written(|writer| KrbFastArmoredRep { enc_fast_rep: SEALED }.write(writer));
    same(KrbFastArmoredRep::parse(&bytes).unwrap().enc_fast_rep, SEALED);
}

#[test]
fn the_request_in_the_armor_keeps_its_body_byte_by_byte() {
    let body = body();
    let bytes = written(|writer| write_krb_fast_req(0x4000_0000, &[COOKIE], &body, writer));
    let read = KrbFastReq::parse(Reader::new(&bytes)).unwrap();
    assert_eq!((read.fast_options, read.req_body), (0x4000_0000, &body[..]));
    assert_eq!(read.padata.find(pa_type::PA_FX_COOKIE), Some(&b"cookie"[..]));
    assert_eq!(KdcReqBody::parse(&mut Reader::new(read.req_body)).unwrap().nonce, 7);
}

#[test]
fn the_response_in_the_armor_reads_back_with_and_without_an_end() {
    let client = client();
    let bytes = fast_response(Some(finished(&client)));
    let read = KrbFastResponse::parse(Reader::new(&bytes)).unwrap();
    assert_eq!(read.nonce, 0x7FFF_FFFF);
    assert_eq!(read.strengthen_key.map(|key| (key.etype, key.bytes)), Some((18, KEY.bytes)));
    let end = read.finished.unwrap();
    assert_eq!((end.timestamp, end.cname.to_principal(end.crealm)), (NOW, client));
    assert_eq!((end.ticket_checksum.cksumtype, end.ticket_checksum.bytes), (16, CHECKSUM.bytes));
    assert_eq!(read.padata.iter().count(), 1);

    let bytes = fast_response(None);
    let read = KrbFastResponse::parse(Reader::new(&bytes)).unwrap();
    assert!(read.strengthen_key.is_none() && read.finished.is_none());
}

/// `bytes`, a SEQUENCE shorter than 120 bytes, with the field `[9]` at its end.
fn extended(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 120);
    let mut longer = [bytes, &[0xA9, 0x03, 0x02, 0x01, 0x05]].concat();
    longer[1] += 5;
    longer
}

#[test]
fn fields_of_a_later_revision_are_passed_over_where_the_type_is_extensible() {
    let response = extended(&fast_response(None));
    assert_eq!(KrbFastResponse::parse(Reader::new(&response)).unwrap().nonce, 0x7FFF_FFFF);
    let support = written(|writer| PaSpake::Support(SpakeSupport { groups: vec![1] }).write(writer));
    let extended_support =
        written(|writer| writer.field(0, |choice| choice.encoded(&extended(&support[2..]))));
    assert!(matches!(PaSpake::parse(&extended_support), Ok(PaSpake::Support(read)) if read.groups == [1]));
    // PA-ENC-TS-ENC is not.
    let proof = written(|writer| PaEncTsEnc { patimestamp: NOW }.write(writer));
    assert!(PaEncTsEnc::parse(&extended(&proof)).is_err());
}

#[test]
fn each_spake_message_reads_back() {
    let bytes = written(|writer| PaSpake::Support(SpakeSupport { groups: vec![1, 2, -9] }).write(writer));
    assert!(matches!(PaSpake::parse(&bytes), Ok(PaSpake::Support(read)) if read.groups == [1, 2, -9]));

    let factors = vec![
        SpakeSecondFactor { factor_type: SF_NONE, data: None },
        SpakeSecondFactor { factor_type: 77, data: Some(b"question") },
    ];
    let challenge = SpakeChallenge { group: 1, pubkey: &[5; 32], factors };
    let bytes = written(|writer| PaSpake::Challenge(challenge).write(writer));
    let Ok(PaSpake::Challenge(read)) = PaSpake::parse(&bytes) else { panic!("no challenge") };
    assert_eq!((read.group, read.pubkey), (1, &[5; 32][..]));
    let pairs: Vec<_> = read.factors.iter().map(|factor| (factor.factor_type, factor.data)).collect();
    assert_eq!(pairs, [(SF_NONE, None), (77, Some(&b"question"[..]))]);

    let response = SpakeResponse { pubkey: &[6; 33], factor: SEALED };
    let bytes = written(|writer| PaSpake::Response(response).write(writer));
    let Ok(PaSpake::Response(read)) = PaSpake::parse(&bytes) else { panic!("no response") };
    assert_eq!(read.pubkey, &[6; 33]);
    same(read.factor, SEALED);

    let bytes = written(|writer| PaSpake::Encdata(SEALED).write(writer));
    assert!(matches!(PaSpake::parse(&bytes), Ok(PaSpake::Encdata(read)) if read.cipher == SEALED.cipher));
}

#[test]
fn spake_lists_are_neither_empty_nor_too_long() {
    let support = |count| {
        let bytes = written(|writer| PaSpake::Support(SpakeSupport { groups: vec![1; count] }).write(writer));
        PaSpake::parse(&bytes).is_ok()
    };
    assert_eq!([0, 1, 16, 17].map(support), [false, true, true, false]);
    let challenge = |count| {
        let factors = vec![SpakeSecondFactor { factor_type: SF_NONE, data: None }; count];
        let challenge = SpakeChallenge { group: 1, pubkey: b"", factors };
        PaSpake::parse(&written(|writer| PaSpake::Challenge(challenge).write(writer))).is_ok()
    };
    assert_eq!([0, 1, 8, 9].map(challenge), [false, true, true, false]);
}

#[test]
fn a_spake_message_of_another_kind_is_refused() {
    let mut bytes = written(|writer| PaSpake::Encdata(SEALED).write(writer));
    bytes[0] = 0xA4;
    assert!(PaSpake::parse(&bytes).is_err());
    assert!(PaSpake::parse(&[]).is_err());
}

#[test]
fn an_opened_second_factor_fills_its_bytes() {
    let bytes = written(|writer| SpakeSecondFactor { factor_type: SF_NONE, data: None }.write(writer));
    assert_eq!(SpakeSecondFactor::parse(&bytes).map(|factor| factor.factor_type), Ok(SF_NONE));
    assert!(SpakeSecondFactor::parse(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_message_with_another_type_inside_than_its_tag_says_is_refused() {
    let body = body();
    let request = written(|writer| write_kdc_req(KdcReqKind::As, &[COOKIE], &body, writer));
    let (mut as_tgs, mut other_version) = (request.clone(), request.clone());
    assert_eq!(as_tgs[0], 0x6A);
    as_tgs[0] = 0x6C;
    assert!(KdcReq::parse(&as_tgs).is_err());
    let version = other_version.windows(3).position(|bytes| bytes == [0x02, 0x01, 0x05]).unwrap();
    other_version[version + 2] = 4;
    assert!(KdcReq::parse(&other_version).is_err());
    assert!(KdcRep::parse(&request).is_err());
}

/// Gives `bytes` to every parser of what KDCs and their clients send.
fn read_as_everything(bytes: &[u8]) {
    let _ = KdcReq::parse(bytes);
    let _ = KdcReqBody::parse(&mut Reader::new(bytes));
    let _ = KdcRep::parse(bytes);
    let _ = EncKdcRepPart::parse(Reader::new(bytes)).is_ok();
    let _ = KrbCred::parse(bytes);
    let _ = EncKrbCredPart::parse(Reader::new(bytes)).is_ok();
    if let Ok(list) = MethodData::parse_bytes(bytes) {
        assert!(list.iter().count() <= 64);
    }
    let _ = EtypeInfo2Entry::parse_list(bytes);
    let _ = EtypeInfo2Entry::parse_old_list(bytes);
    let _ = PaEncTsEnc::parse(bytes);
    let _ = KrbFastArmoredReq::parse(bytes);
    let _ = KrbFastReq::parse(Reader::new(bytes));
    let _ = KrbFastArmoredRep::parse(bytes);
    let _ = KrbFastResponse::parse(Reader::new(bytes)).is_ok();
    let _ = PaSpake::parse(bytes).is_ok();
    let _ = SpakeSecondFactor::parse(bytes).is_ok();
}

/// Valid bytes of every kind, to be altered.
fn valid() -> Vec<Vec<u8>> {
    let (client, ticket, body) = (client(), Mint::default().ticket().encode(), body());
    let as_req = written(|writer| write_kdc_req(KdcReqKind::As, &[COOKIE; 2], &body, writer));
    let reply = NewKdcRep {
        kind: KdcReqKind::Tgs,
        padata: &[COOKIE],
        client: &client,
        encoded_ticket: &ticket,
        enc_part: SEALED,
    };
    let part = NewEncKdcRepPart {
        key: KEY,
        last_req: &[LastReq { lr_type: 6, lr_value: NOW }],
        nonce: 7,
        key_expiration: Some(NOW),
        flags: TicketFlags::INITIAL,
        authtime: NOW,
        starttime: Some(NOW),
        endtime: NOW,
        renew_till: Some(NOW),
        service: &client,
        encrypted_pa_data: &[COOKIE],
    };
    let info = NewKrbCredInfo {
        key: KEY,
        client: &client,
        flags: TicketFlags::FORWARDED,
        authtime: NOW,
        starttime: Some(NOW),
        endtime: NOW,
        renew_till: Some(NOW),
        service: &client,
    };
    let cred_part = NewEncKrbCredPart { ticket_info: &[info], nonce: Some(7), timestamp: Some(NOW) };
    let entry = EtypeInfo2Entry { etype: 18, salt: Some(b"salt"), s2kparams: Some(&[0; 4]) };
    let armor = Some(KrbFastArmor { armor_type: FX_FAST_ARMOR_AP_REQUEST, armor_value: b"an AP-REQ" });
    let armored = KrbFastArmoredReq { armor, req_checksum: CHECKSUM, enc_fast_req: SEALED };
    let factors = vec![SpakeSecondFactor { factor_type: SF_NONE, data: Some(b"x") }];
    let challenge = SpakeChallenge { group: 1, pubkey: &[5; 32], factors };
    vec![
        as_req,
        written(|writer| reply.write(writer)),
        written(|writer| part.write(KdcReqKind::As, writer)),
        written(|writer| write_krb_cred(&[&ticket], &SEALED, writer)),
        written(|writer| cred_part.write(writer)),
        written(|writer| MethodData::write_list(writer, &[COOKIE; 3])),
        written(|writer| EtypeInfo2Entry::write_list(writer, &[entry; 2])),
        written(|writer| PaEncTsEnc { patimestamp: NOW }.write(writer)),
        written(|writer| armored.write(writer)),
        written(|writer| write_krb_fast_req(0, &[COOKIE], &body, writer)),
        written(|writer| KrbFastArmoredRep { enc_fast_rep: SEALED }.write(writer)),
        fast_response(Some(finished(&client))),
        written(|writer| PaSpake::Challenge(challenge).write(writer)),
        written(|writer| PaSpake::Support(SpakeSupport { groups: vec![1, 2] }).write(writer)),
        written(|writer| PaSpake::Response(SpakeResponse { pubkey: &[6; 32], factor: SEALED }).write(writer)),
    ]
}

#[test]
fn every_message_cut_short_is_refused() {
    let cut = |bytes: &[u8]| {
        KdcReq::parse(bytes).is_err()
            && KdcRep::parse(bytes).is_err()
            && EncKdcRepPart::parse(Reader::new(bytes)).is_err()
            && KrbCred::parse(bytes).is_err()
            && EncKrbCredPart::parse(Reader::new(bytes)).is_err()
            && MethodData::parse_bytes(bytes).is_err()
            && EtypeInfo2Entry::parse_list(bytes).is_err()
            && EtypeInfo2Entry::parse_old_list(bytes).is_err()
            && PaEncTsEnc::parse(bytes).is_err()
            && KrbFastArmoredReq::parse(bytes).is_err()
            && KrbFastReq::parse(Reader::new(bytes)).is_err()
            && KrbFastArmoredRep::parse(bytes).is_err()
            && KrbFastResponse::parse(Reader::new(bytes)).is_err()
            && PaSpake::parse(bytes).is_err()
    };
    for message in valid() {
        for length in 0..message.len() {
            assert!(cut(&message[..length]), "{length} of {message:02x?}");
        }
    }
}

#[test]
fn every_message_with_any_one_byte_altered_is_read_without_a_panic() {
    for message in valid() {
        for at in 0..message.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut altered = message.clone();
                altered[at] ^= flip;
                read_as_everything(&altered);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn random_elements_in_a_frame_are_read_without_a_panic(
        identifier in prop::sample::select(vec![0x30_u8, 0x6A, 0x6B, 0x6C, 0x6D, 0x76, 0x79, 0x7A, 0x7D, 0xA0, 0xA1, 0xA2]),
        contents in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let inner = written(|writer| writer.primitive(0x30, &contents));
        read_as_everything(&written(|writer| writer.primitive(identifier, &contents)));
        read_as_everything(&written(|writer| writer.primitive(identifier, &inner)));
    }
}
