//! KRB-CRED.

use super::support::*;
use countersign_proto::der::Reader;
use countersign_proto::krb5::msg::krb_cred::{
    EncKrbCredPart, KrbCred, NewEncKrbCredPart, NewKrbCredInfo, write_krb_cred,
};
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_testkit::mint::{Mint, NOW};
use rasn::types::Integer;
use rasn_kerberos as oracle;

fn cred_info<'a>(client: &'a Principal, service: &'a Principal) -> NewKrbCredInfo<'a> {
    NewKrbCredInfo {
        key: KEY,
        client,
        flags: TicketFlags::FORWARDED,
        authtime: later(0),
        starttime: Some(later(1)),
        endtime: later(10),
        renew_till: Some(later(20)),
        service,
    }
}

fn their_cred_info(info: &NewKrbCredInfo<'_>) -> oracle::KrbCredInfo {
    oracle::KrbCredInfo {
        key: their_key(),
        prealm: Some(text(&info.client.realm)),
        pname: Some(name(info.client)),
        flags: Some(oracle::TicketFlags(bits(info.flags.0))),
        auth_time: Some(time(info.authtime)),
        start_time: info.starttime.map(time),
        end_time: Some(time(info.endtime)),
        renew_till: info.renew_till.map(time),
        srealm: Some(text(&info.service.realm)),
        sname: Some(name(info.service)),
        caddr: None,
    }
}

#[test]
fn a_krb_cred_is_the_same_to_both() {
    let ticket = Mint::default().ticket().encode();
    let of = |count| vec![&ticket[..]; count];
    for count in [0, 1, 8] {
        let bytes = written(|writer| write_krb_cred(&of(count), &SEALED, writer));
        let theirs = oracle::KrbCred {
            pvno: Integer::from(5),
            msg_type: Integer::from(22),
            tickets: vec![decoded(&ticket); count],
            enc_part: their_sealed(),
        };
        assert_eq!(encoded(&theirs), bytes);
        let read = KrbCred::parse(&bytes).unwrap();
        assert!(read.tickets.iter().map(|(_, encoded)| *encoded).eq(of(count)));
        assert_eq!(read.enc_part.cipher, SEALED.cipher);
    }
    assert!(KrbCred::parse(&written(|writer| write_krb_cred(&of(9), &SEALED, writer))).is_err());
}

#[test]
fn an_opened_krb_cred_is_the_same_to_both() {
    let (client, service) = (Principal::new("C.TEST", &["alice"]), krbtgt());
    let full = cred_info(&client, &service);
    let infos = [full, NewKrbCredInfo { starttime: None, renew_till: None, ..full }];
    for (nonce, timestamp) in [(None, None), (Some(5), Some(NOW))] {
        let new = NewEncKrbCredPart { ticket_info: &infos, nonce, timestamp };
        let bytes = written(|writer| new.write(writer));
        let theirs = oracle::EncKrbCredPart {
            ticket_info: infos.iter().map(their_cred_info).collect(),
            nonce,
            timestamp: timestamp.map(time),
            usec: timestamp.map(|at| Integer::from(at.micros())),
            sender_address: None,
            recipient_address: None,
        };
        assert_eq!(encoded(&theirs), bytes);
        let read = EncKrbCredPart::parse(Reader::new(&bytes)).unwrap();
        assert_eq!((read.nonce, read.timestamp, read.ticket_info.len()), (nonce, timestamp, 2));
        for (info, new) in read.ticket_info.iter().zip(&infos) {
            assert_eq!((info.key.etype, info.key.bytes), (KEY.etype, KEY.bytes));
            assert_eq!(principal(info.prealm.unwrap(), info.pname), Some(client.clone()));
            assert_eq!(principal(info.srealm.unwrap(), info.sname), Some(service.clone()));
            assert_eq!((info.flags, info.authtime), (Some(new.flags), Some(new.authtime)));
            assert_eq!((info.starttime, info.endtime), (new.starttime, Some(new.endtime)));
            assert_eq!((info.renew_till, info.caddr.is_some()), (new.renew_till, false));
        }
    }
}

#[test]
fn an_opened_krb_cred_with_addresses_or_hardly_anything_is_read() {
    let (client, service) = (Principal::new("C.TEST", &["alice"]), krbtgt());
    let addressed = oracle::KrbCredInfo {
        caddr: Some(their_addresses()),
        ..their_cred_info(&cred_info(&client, &service))
    };
    let bare = oracle::KrbCredInfo {
        key: their_key(),
        prealm: None,
        pname: None,
        flags: None,
        auth_time: None,
        start_time: None,
        end_time: None,
        renew_till: None,
        srealm: None,
        sname: None,
        caddr: None,
    };
    let part = |ticket_info| oracle::EncKrbCredPart {
        ticket_info,
        nonce: None,
        timestamp: None,
        usec: Some(Integer::from(1)),
        sender_address: Some(their_addresses()[0].clone()),
        recipient_address: Some(their_addresses()[0].clone()),
    };
    let bytes = encoded(&part(vec![addressed, bare.clone()]));
    let read = EncKrbCredPart::parse(Reader::new(&bytes)).unwrap();
    assert_eq!(read.timestamp, None);
    assert!(read.ticket_info[0].caddr.is_some());
    assert!(read.ticket_info[1].prealm.is_none() && read.ticket_info[1].sname.is_none());
    assert!(EncKrbCredPart::parse(Reader::new(&encoded(&part(vec![bare; 9])))).is_err());
}
