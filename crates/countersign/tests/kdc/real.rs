//! MIT's KDC, which answers an AS-REQ without pre-authentication by KDC_ERR_PREAUTH_REQUIRED.

use crate::{FACES, Face, PATIENCE, REALM};
use countersign::kdc::Kdcs;
use countersign::proto::krb5::msg::krb_error::KrbError;
use countersign::proto::krb5conf::{KdcAddress, Krb5Conf, Transport};
use countersign_testkit::{KdcOptions, KdcProxy, Realm, Transport as By, Transports};
use std::sync::Arc;

/// An AS-REQ of `alice` for the realm's ticket-granting ticket, by hand: etypes 18 and 17, until 2037, nonce 0x11223344.
pub(crate) const AS_REQ: &[u8] = b"\x6a\x81\x86\x30\x81\x83\
    \xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a\
    \xa4\x77\x30\x75\
    \xa0\x07\x03\x05\x00\x00\x00\x00\x10\
    \xa1\x12\x30\x10\xa0\x03\x02\x01\x01\xa1\x09\x30\x07\x1b\x05alice\
    \xa2\x0e\x1b\x0cEXAMPLE.TEST\
    \xa3\x21\x30\x1f\xa0\x03\x02\x01\x02\xa1\x18\x30\x16\x1b\x06krbtgt\x1b\x0cEXAMPLE.TEST\
    \xa5\x11\x18\x0f20370101000000Z\
    \xa7\x06\x02\x04\x11\x22\x33\x44\
    \xa8\x08\x30\x06\x02\x01\x12\x02\x01\x11";

fn kdcs(address: std::net::SocketAddrV4, transport: Option<Transport>) -> Kdcs {
    let kdc = KdcAddress::Socket { transport, host: address.ip().to_string(), port: address.port() };
    Kdcs::with_patience(Arc::new(Krb5Conf::builder().realm(REALM, [kdc]).build()), PATIENCE)
}

pub(crate) fn error_code(face: Face, kdcs: &Kdcs) -> i32 {
    let answer = face.exchange_if(kdcs, REALM.as_bytes(), AS_REQ, &mut |_| true);
    let answer = answer.unwrap_or_else(|refusal| panic!("{face:?}: {refusal}"));
    KrbError::parse(&answer).unwrap().error_code
}

pub(crate) fn realm(options: &KdcOptions) -> Realm {
    let realm = Realm::with(REALM, options);
    realm.add_user_with("alice", "secret", &["+requires_preauth"]);
    realm
}

#[test]
fn a_kdc_of_mit_asks_for_preauthentication_by_either_transport() {
    let realm = realm(&KdcOptions::default());
    for face in FACES {
        for transport in [None, Some(Transport::Udp), Some(Transport::Tcp)] {
            assert_eq!(
                error_code(face, &kdcs(realm.kdc().address(), transport)),
                25,
                "{face:?} {transport:?}"
            );
        }
    }
}

#[test]
fn a_kdc_of_mit_that_listens_on_one_transport_alone_is_reached_by_it() {
    let realm = realm(&KdcOptions { transports: Transports::Tcp, ..KdcOptions::default() });
    let by_udp = realm.kdc_with(&KdcOptions { transports: Transports::Udp, ..KdcOptions::default() });
    for face in FACES {
        assert_eq!(error_code(face, &kdcs(realm.kdc().address(), None)), 25, "{face:?}");
        assert_eq!(error_code(face, &kdcs(by_udp.address(), None)), 25, "{face:?}");
    }
}

#[test]
fn a_kdc_of_mit_whose_answer_is_too_long_for_udp_is_asked_by_tcp() {
    let options = KdcOptions { max_dgram_reply_size: Some(120), ..KdcOptions::default() };
    let realm = realm(&KdcOptions::default());
    for face in FACES {
        // One each: MIT's ends (1.20 does) when it must say a second time that its answer to a request is too long.
        let kdc = realm.kdc_with(&options);
        let between = KdcProxy::before(kdc.address());
        assert_eq!(error_code(face, &kdcs(between.address(), None)), 25, "{face:?}");
        let transports: Vec<_> = between.exchanges().iter().map(|exchange| exchange.transport).collect();
        assert_eq!(transports, [By::Udp, By::Tcp], "{face:?}");
    }
}
