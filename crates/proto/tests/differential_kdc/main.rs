//! Our encoding of what clients and KDCs say to each other against one that was made by others from the ASN.1 module
//! (rasn-kerberos): each reads what the other writes, and both write the same bytes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod krb_cred;
mod support;

use countersign_proto::crypto::Etype;
use countersign_proto::der::Reader;
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep, LastReq, NewEncKdcRepPart, NewKdcRep};
use countersign_proto::krb5::msg::kdc_req::{
    KdcOptions, KdcReq, KdcReqBody, KdcReqKind, NewKdcReqBody, write_kdc_req,
};
use countersign_proto::krb5::msg::krb_error::{KrbError, NewKrbError};
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
use countersign_proto::krb5::msg::pa_enc_ts_enc::PaEncTsEnc;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::time::Timestamp;
use countersign_testkit::mint::{Mint, NOW};
use proptest::prelude::*;
use rasn::types::Integer;
use rasn_kerberos as oracle;
use support::*;

const KINDS: [KdcReqKind; 2] = [KdcReqKind::As, KdcReqKind::Tgs];

fn their_body(body: &NewKdcReqBody<'_>) -> oracle::KdcReqBody {
    let tickets = body.additional_tickets;
    oracle::KdcReqBody {
        kdc_options: oracle::KdcOptions(bits(body.kdc_options.0)),
        cname: body.cname.map(name),
        realm: text(body.realm),
        sname: body.sname.map(name),
        from: None,
        till: time(body.till),
        rtime: body.rtime.map(time),
        nonce: body.nonce,
        etype: body.etypes.iter().map(|etype| etype.wire()).collect(),
        addresses: None,
        enc_authorization_data: None,
        additional_tickets: (!tickets.is_empty())
            .then(|| tickets.iter().map(|ticket| decoded(ticket)).collect()),
    }
}

fn their_request(kind: KdcReqKind, padata: &[PaData<'_>], req_body: oracle::KdcReqBody) -> Vec<u8> {
    let request = oracle::KdcReq {
        pvno: Integer::from(5),
        msg_type: Integer::from(kind.msg_type()),
        padata: their_padata(padata),
        req_body,
    };
    match kind {
        KdcReqKind::As => encoded(&oracle::AsReq(request)),
        KdcReqKind::Tgs => encoded(&oracle::TgsReq(request)),
    }
}

/// Both write `body` alike, and ours is read back as it was.
fn compare_requests(kind: KdcReqKind, padata: &[PaData<'_>], body: &NewKdcReqBody<'_>) {
    let encoded_body = written(|writer| body.write(writer));
    let request = written(|writer| write_kdc_req(kind, padata, &encoded_body, writer));
    assert_eq!(their_request(kind, padata, their_body(body)), request);
    let read = KdcReq::parse(&request).unwrap();
    assert_eq!((read.kind, read.encoded_body), (kind, &encoded_body[..]));
    same_padata(read.padata, padata);
    let KdcReqBody { kdc_options, realm, till, rtime, nonce, .. } = read.body;
    assert_eq!((kdc_options, realm), (body.kdc_options, body.realm));
    assert_eq!((till, rtime, nonce), (body.till, body.rtime, body.nonce));
    let in_realm = |of: &Principal| Principal { realm: realm.to_vec(), ..of.clone() };
    assert_eq!(principal(realm, read.body.cname), body.cname.map(in_realm));
    assert_eq!(principal(realm, read.body.sname), body.sname.map(in_realm));
    assert_eq!(read.body.etypes, body.etypes.iter().map(|etype| etype.wire()).collect::<Vec<_>>());
    let tickets = read.body.additional_tickets.iter().map(|(_, encoded)| *encoded);
    assert!(tickets.eq(body.additional_tickets.iter().copied()));
}

#[test]
fn a_request_is_the_same_to_both() {
    let (client, service) = (Principal::new("R.TEST", &["alice"]), krbtgt());
    let ticket = Mint::default().ticket().encode();
    let full = NewKdcReqBody {
        kdc_options: KdcOptions::FORWARDABLE.with(KdcOptions::RENEWABLE).with(KdcOptions::CANONICALIZE),
        cname: Some(&client),
        realm: b"R.TEST",
        sname: Some(&service),
        till: later(24),
        rtime: Some(later(240)),
        nonce: 0x7FFF_FFFF,
        etypes: &[Etype::Aes256CtsHmacSha1_96, Etype::Aes128CtsHmacSha256_128, Etype::ArcfourHmac],
        additional_tickets: &[&ticket, &ticket],
    };
    let bare = NewKdcReqBody {
        kdc_options: KdcOptions::default(),
        cname: None,
        sname: None,
        till: Timestamp::new(0, 0),
        rtime: None,
        nonce: 0,
        etypes: &[],
        additional_tickets: &[],
        ..full
    };
    for kind in KINDS {
        compare_requests(kind, &PADATA, &full);
        compare_requests(kind, &[], &bare);
    }
}

#[test]
fn a_request_that_others_fill_with_more_is_read() {
    let ticket: oracle::Ticket = decoded(&Mint::default().ticket().encode());
    let body = oracle::KdcReqBody {
        kdc_options: oracle::KdcOptions(bits(KdcOptions::ENC_TKT_IN_SKEY.0)),
        cname: None,
        realm: text(b"R.TEST"),
        sname: Some(name(&krbtgt())),
        from: Some(time(later(1))),
        till: time(later(2)),
        rtime: None,
        nonce: u32::MAX,
        etype: vec![18, -128, 3],
        addresses: Some(their_addresses()),
        enc_authorization_data: Some(their_sealed()),
        additional_tickets: Some(vec![ticket.clone(); 8]),
    };
    let bytes = their_request(KdcReqKind::Tgs, &PADATA, body.clone());
    let ours = KdcReq::parse(&bytes).unwrap().body;
    assert!(ours.kdc_options.contains(KdcOptions::ENC_TKT_IN_SKEY));
    assert_eq!((ours.from, ours.till, ours.nonce), (Some(later(1)), later(2), u32::MAX));
    assert_eq!(ours.etypes, [18, -128, 3]);
    assert_eq!(ours.enc_authorization_data.unwrap().cipher, SEALED.cipher);
    assert_eq!(ours.additional_tickets.len(), 8);
    let addresses = written(|writer| writer.sequence(|list| list.encoded(ours.addresses.unwrap())));
    assert_eq!(decoded::<oracle::HostAddresses>(&addresses), their_addresses());

    let nine = oracle::KdcReqBody { additional_tickets: Some(vec![ticket; 9]), ..body.clone() };
    assert!(KdcReq::parse(&their_request(KdcReqKind::Tgs, &[], nine)).is_err());
    let of_etypes = |count| oracle::KdcReqBody { etype: vec![18; count], ..body.clone() };
    assert!(KdcReq::parse(&their_request(KdcReqKind::Tgs, &[], of_etypes(64))).is_ok());
    assert!(KdcReq::parse(&their_request(KdcReqKind::Tgs, &[], of_etypes(65))).is_err());
}

fn their_reply(kind: KdcReqKind, padata: &[PaData<'_>], client: &Principal, ticket: &[u8]) -> Vec<u8> {
    let reply = oracle::KdcRep {
        pvno: Integer::from(5),
        msg_type: Integer::from(kind.reply_msg_type()),
        padata: their_padata(padata),
        crealm: text(&client.realm),
        cname: name(client),
        ticket: decoded(ticket),
        enc_part: their_sealed(),
    };
    match kind {
        KdcReqKind::As => encoded(&oracle::AsRep(reply)),
        KdcReqKind::Tgs => encoded(&oracle::TgsRep(reply)),
    }
}

#[test]
fn a_reply_is_the_same_to_both() {
    let client = Principal::new("R.TEST", &["alice"]);
    let ticket = Mint::default().ticket();
    let encoded_ticket = ticket.encode();
    for (kind, padata) in [(KINDS[0], &PADATA[..]), (KINDS[0], &[]), (KINDS[1], &PADATA), (KINDS[1], &[])] {
        let new =
            NewKdcRep { kind, padata, client: &client, encoded_ticket: &encoded_ticket, enc_part: SEALED };
        let reply = written(|writer| new.write(writer));
        assert_eq!(their_reply(kind, padata, &client, &encoded_ticket), reply);
        let read = KdcRep::parse(&reply).unwrap();
        assert_eq!((read.kind, read.encoded_ticket), (kind, &encoded_ticket[..]));
        assert_eq!(read.cname.to_principal(read.crealm), client);
        assert_eq!(read.ticket.sname.to_principal(read.ticket.realm), ticket.service);
        assert_eq!((read.enc_part.etype, read.enc_part.kvno), (SEALED.etype, SEALED.kvno));
        assert_eq!(read.enc_part.cipher, SEALED.cipher);
        same_padata(read.padata, padata);
        assert!(KdcReq::parse(&reply).is_err());
    }
}

#[test]
fn an_opened_reply_is_the_same_to_both() {
    let service = krbtgt();
    let last_req =
        [LastReq { lr_type: -6, lr_value: later(-1) }, LastReq { lr_type: 7, lr_value: later(900) }];
    let full = NewEncKdcRepPart {
        key: KEY,
        last_req: &last_req,
        nonce: 0x7FFF_FFFF,
        key_expiration: Some(later(99)),
        flags: TicketFlags(0x40E1_0000),
        authtime: later(0),
        starttime: Some(later(1)),
        endtime: later(10),
        renew_till: Some(later(70)),
        service: &service,
        encrypted_pa_data: &PADATA,
    };
    let bare = NewEncKdcRepPart {
        last_req: &[],
        nonce: u32::MAX,
        key_expiration: None,
        starttime: None,
        renew_till: None,
        encrypted_pa_data: &[],
        ..full
    };
    for kind in KINDS {
        compare_parts(kind, &full);
        compare_parts(kind, &bare);
    }
}

fn compare_parts(kind: KdcReqKind, new: &NewEncKdcRepPart<'_>) {
    let theirs = oracle::EncKdcRepPart {
        key: their_key(),
        last_req: new
            .last_req
            .iter()
            .map(|entry| oracle::LastReqValue { r#type: entry.lr_type, value: time(entry.lr_value) })
            .collect(),
        nonce: new.nonce,
        key_expiration: new.key_expiration.map(time),
        flags: oracle::TicketFlags(bits(new.flags.0)),
        auth_time: time(new.authtime),
        start_time: new.starttime.map(time),
        end_time: time(new.endtime),
        renew_till: new.renew_till.map(time),
        srealm: text(&new.service.realm),
        sname: name(new.service),
        caddr: None,
        encrypted_pa_data: their_padata(new.encrypted_pa_data),
    };
    let bytes = written(|writer| new.write(kind, writer));
    assert_eq!(encode_part(kind, theirs.clone()), bytes);
    let read = EncKdcRepPart::parse(Reader::new(&bytes)).unwrap();
    assert_eq!((read.key.etype, read.key.bytes), (KEY.etype, KEY.bytes));
    assert_eq!((&read.last_req[..], read.nonce), (new.last_req, new.nonce));
    assert_eq!((read.key_expiration, read.flags), (new.key_expiration, new.flags));
    assert_eq!((read.authtime, read.starttime), (new.authtime, new.starttime));
    assert_eq!((read.endtime, read.renew_till), (new.endtime, new.renew_till));
    assert_eq!(read.valid_from(), new.starttime.unwrap_or(new.authtime));
    assert_eq!(read.sname.to_principal(read.srealm), *new.service);
    assert!(read.caddr.is_none());
    same_padata(read.encrypted_pa_data, new.encrypted_pa_data);

    let addressed = oracle::EncKdcRepPart { caddr: Some(their_addresses()), ..theirs };
    let bytes = encode_part(kind, addressed);
    assert!(EncKdcRepPart::parse(Reader::new(&bytes)).unwrap().caddr.is_some());
    assert!(EncKdcRepPart::parse(Reader::new(&[&bytes[..], &[0]].concat())).is_err());
}

fn encode_part(kind: KdcReqKind, part: oracle::EncKdcRepPart) -> Vec<u8> {
    match kind {
        KdcReqKind::As => encoded(&oracle::EncAsRepPart(part)),
        KdcReqKind::Tgs => encoded(&oracle::EncTgsRepPart(part)),
    }
}

#[test]
fn more_than_32_times_of_last_requests_are_refused() {
    let service = krbtgt();
    let part = |last_req: &[LastReq]| {
        let new = NewEncKdcRepPart {
            key: KEY,
            last_req,
            nonce: 1,
            key_expiration: None,
            flags: TicketFlags(0),
            authtime: NOW,
            starttime: None,
            endtime: NOW,
            renew_till: None,
            service: &service,
            encrypted_pa_data: &[],
        };
        let bytes = written(|writer| new.write(KdcReqKind::As, writer));
        EncKdcRepPart::parse(Reader::new(&bytes)).map(|part| part.last_req.len())
    };
    let entry = LastReq { lr_type: 0, lr_value: NOW };
    assert_eq!(part(&[entry; 32]), Ok(32));
    assert!(part(&[entry; 33]).is_err());
}

#[test]
fn an_error_of_a_kdc_is_the_same_to_both() {
    let (client, service) = (Principal::new("C.TEST", &["alice"]), krbtgt());
    let e_data = written(|writer| MethodData::write_list(writer, &PADATA));
    let new = NewKrbError {
        stime: NOW,
        error_code: 25,
        client: Some(&client),
        service: &service,
        e_data: Some(&e_data),
    };
    let bytes = written(|writer| new.write(writer));
    let theirs = oracle::KrbError {
        pvno: Integer::from(5),
        msg_type: Integer::from(30),
        ctime: None,
        cusec: None,
        stime: time(NOW),
        susec: Integer::from(NOW.micros()),
        error_code: 25,
        crealm: Some(text(&client.realm)),
        cname: Some(name(&client)),
        realm: text(&service.realm),
        sname: name(&service),
        e_text: None,
        e_data: Some(octets(&e_data)),
    };
    assert_eq!(encoded(&theirs), bytes);
    let timed =
        oracle::KrbError { ctime: Some(time(later(1))), cusec: Some(Integer::from(7)), ..theirs.clone() };
    let bytes = encoded(&timed);
    let read = KrbError::parse(&bytes).unwrap();
    assert_eq!(read.ctime, Some(later(1).shifted(7)));
    assert_eq!(principal(read.crealm.unwrap(), read.cname), Some(client));
    same_padata(MethodData::parse_bytes(read.e_data.unwrap()).unwrap(), &PADATA);
    let realm_alone = encoded(&oracle::KrbError { cname: None, ..theirs });
    let read = KrbError::parse(&realm_alone).unwrap();
    assert_eq!((read.ctime, read.crealm, read.cname.is_some()), (None, Some(&b"C.TEST"[..]), false));
}

#[test]
fn hints_of_preauthentication_are_the_same_to_both() {
    let ours = [
        EtypeInfo2Entry { etype: 18, salt: Some(b"R.TESTalice"), s2kparams: Some(&[0, 0, 0x10, 0]) },
        EtypeInfo2Entry { etype: 23, salt: None, s2kparams: None },
    ];
    let theirs: Vec<_> = ours
        .iter()
        .map(|entry| oracle::EtypeInfo2Entry {
            etype: entry.etype,
            salt: entry.salt.map(text),
            s2kparams: entry.s2kparams.map(octets),
        })
        .collect();
    assert_eq!(encoded(&theirs), written(|writer| EtypeInfo2Entry::write_list(writer, &ours)));
    assert_eq!(EtypeInfo2Entry::parse_list(&encoded(&theirs)).unwrap(), ours);
    let old: Vec<_> = ours
        .iter()
        .map(|entry| oracle::EtypeInfoEntry { etype: entry.etype, salt: entry.salt.map(octets) })
        .collect();
    let without_params = ours.map(|entry| EtypeInfo2Entry { s2kparams: None, ..entry });
    assert_eq!(EtypeInfo2Entry::parse_old_list(&encoded(&old)).unwrap(), without_params);

    let proof = PaEncTsEnc { patimestamp: NOW };
    let theirs = oracle::PaEncTsEnc { patimestamp: time(NOW), pausec: Some(Integer::from(NOW.micros())) };
    assert_eq!(encoded(&theirs), written(|writer| proof.write(writer)));
    assert_eq!(PaEncTsEnc::parse(&encoded(&theirs)), Ok(proof));
}

fn any_name() -> impl Strategy<Value = Principal> {
    (any::<i32>(), prop::collection::vec("[ -~]{0,140}", 1..5)).prop_map(|(name_type, components)| {
        Principal {
            name_type,
            realm: Vec::new(),
            components: components.into_iter().map(String::into_bytes).collect(),
        }
    })
}

proptest! {
    #[test]
    fn requests_of_any_contents_are_the_same_to_both(
        tgs in any::<bool>(),
        padata in prop::collection::vec((any::<i32>(), prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        options in any::<u32>(),
        cname in prop::option::of(any_name()),
        sname in prop::option::of(any_name()),
        realm in "[ -~]{0,40}",
        // Years 1000 to 9999.
        till in -30_610_224_000..253_402_300_800_i64,
        rtime in prop::option::of(-30_610_224_000..253_402_300_800_i64),
        nonce in any::<u32>(),
    ) {
        let kind = KINDS[usize::from(tgs)];
        let padata: Vec<_> = padata
            .iter()
            .map(|(padata_type, value)| PaData { padata_type: *padata_type, padata_value: value })
            .collect();
        compare_requests(kind, &padata, &NewKdcReqBody {
            kdc_options: KdcOptions(options),
            cname: cname.as_ref(),
            realm: realm.as_bytes(),
            sname: sname.as_ref(),
            till: Timestamp::new(till, 0),
            rtime: rtime.map(|seconds| Timestamp::new(seconds, 0)),
            nonce,
            etypes: &[Etype::Aes256CtsHmacSha384_192],
            additional_tickets: &[],
        });
    }
}
