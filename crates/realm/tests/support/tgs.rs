//! TGS requests in which everything can be set.

use super::wire::{encoded, error};
use super::{ALL, NOW, REALM, TestRealm, named};
use countersign_proto::ccache::Credential;
use countersign_proto::crypto::{Etype, Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::krb5::msg::ap_req::{ApOptions, ApReq};
use countersign_proto::krb5::msg::authenticator::NewAuthenticator;
use countersign_proto::krb5::msg::checksum::ChecksumRef;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::encryption_key::EncryptionKeyRef;
use countersign_proto::krb5::msg::fast::{KrbFastArmoredReq, write_krb_fast_req};
use countersign_proto::krb5::msg::kdc_rep::{EncKdcRepPart, KdcRep};
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqKind, NewKdcReqBody, write_kdc_req};
use countersign_proto::krb5::msg::pa_data::PaData;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use countersign_realm::{Outcome, Reason};
use countersign_testkit::TestRng;

pub(crate) fn session_key(credential: &Credential) -> Key {
    Key::new(Etype::from_wire(credential.key_etype).unwrap(), credential.key.expose()).unwrap()
}

/// A TGS-REQ in which everything can be set.
pub(crate) struct Request<'a> {
    pub(crate) tgt: &'a Credential,
    pub(crate) service: Principal,
    pub(crate) realm: &'a [u8],
    pub(crate) options: KdcOptions,
    pub(crate) till: Timestamp,
    pub(crate) etypes: &'a [Etype],
    pub(crate) additional: Vec<&'a [u8]>,
    pub(crate) ctime: Timestamp,
    pub(crate) client: Principal,
    pub(crate) subkey: Option<Key>,
    pub(crate) cksumtype: Option<i32>,
    /// AuthorizationData, encoded.
    pub(crate) authorization: Option<Vec<u8>>,
    pub(crate) padata: Vec<(i32, Vec<u8>)>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(tgt: &'a Credential, service: &str) -> Self {
        Self {
            tgt,
            service: named(service),
            realm: REALM.as_bytes(),
            options: KdcOptions::default(),
            till: Timestamp::default(),
            etypes: &ALL,
            additional: Vec::new(),
            ctime: NOW,
            client: tgt.client.clone(),
            subkey: Some(Key::generate(ALL[0], &mut TestRng::new(77))),
            cksumtype: Some(session_key(tgt).etype().checksum_type()),
            authorization: None,
            padata: Vec::new(),
        }
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let body = encoded(&NewKdcReqBody {
            kdc_options: self.options,
            cname: None,
            realm: self.realm,
            sname: Some(&self.service),
            till: self.till,
            rtime: None,
            nonce: 99,
            etypes: self.etypes,
            additional_tickets: &self.additional,
        });
        let Some(data) = &self.authorization else { return body };
        let (key, usage) = match &self.subkey {
            Some(subkey) => (subkey.clone(), KeyUsage::TGS_REQ_AUTHDATA_SUBKEY),
            None => (session_key(self.tgt), KeyUsage::TGS_REQ_AUTHDATA_SESSION),
        };
        let value = super::wire::encrypted(&key, usage, data);
        let fields = Reader::whole(&body, |reader| reader.element(0x30)).unwrap();
        let mut out = Vec::new();
        Writer::new(&mut out).sequence(|sequence| {
            sequence.encoded(fields.rest());
            sequence.field(10, |field| field.encoded(&value));
        });
        out
    }

    pub(crate) fn ap_req(&self, body: &[u8]) -> Vec<u8> {
        let session_key = session_key(self.tgt);
        let sum = session_key.checksum(KeyUsage::TGS_REQ_CHECKSUM).sign(&[body]);
        let authenticator = NewAuthenticator {
            client: &self.client,
            cksum: self.cksumtype.map(|cksumtype| ChecksumRef { cksumtype, bytes: sum.as_ref() }),
            ctime: self.ctime,
            subkey: self
                .subkey
                .as_ref()
                .map(|key| EncryptionKeyRef { etype: key.etype().wire(), bytes: key.expose() }),
            seq_number: None,
            authorization_data: None,
        };
        let mut plaintext = Vec::new();
        authenticator.write(&mut Writer::new(&mut plaintext));
        let mut cipher = Vec::new();
        session_key.cipher(KeyUsage::TGS_REQ_AUTHENTICATOR).seal(
            &mut TestRng::new(3),
            &plaintext,
            &mut cipher,
        );
        let authenticator = EncryptedData { etype: session_key.etype().wire(), kvno: None, cipher: &cipher };
        let mut out = Vec::new();
        ApReq::write(&mut Writer::new(&mut out), ApOptions::default(), &self.tgt.ticket, &authenticator);
        out
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        let body = self.body();
        self.around(&body, &self.ap_req(&body), &[])
    }

    pub(crate) fn around(&self, body: &[u8], ap_req: &[u8], more: &[(i32, Vec<u8>)]) -> Vec<u8> {
        let mut padata = vec![PaData { padata_type: 1, padata_value: ap_req }];
        for (padata_type, value) in self.padata.iter().chain(more) {
            padata.push(PaData { padata_type: *padata_type, padata_value: value });
        }
        let mut out = Vec::new();
        write_kdc_req(KdcReqKind::Tgs, &padata, body, &mut Writer::new(&mut out));
        out
    }

    /// In armor, with `inner` as the request proper and this one outside.
    pub(crate) fn armored(&self, inner: &[u8], fast_options: u32) -> (Vec<u8>, Key) {
        let body = self.body();
        let ap_req = self.ap_req(&body);
        let key =
            krb_fx_cf2(self.subkey.as_ref().unwrap(), &session_key(self.tgt), b"subkeyarmor", b"ticketarmor");
        let mut plaintext = Vec::new();
        write_krb_fast_req(fast_options, &[], inner, &mut Writer::new(&mut plaintext));
        let mut cipher = Vec::new();
        key.cipher(KeyUsage::FAST_ENC).seal(&mut TestRng::new(4), &plaintext, &mut cipher);
        let sum = key.checksum(KeyUsage::FAST_REQ_CHECKSUM).sign(&[&ap_req]);
        let request = KrbFastArmoredReq {
            armor: None,
            req_checksum: ChecksumRef { cksumtype: key.etype().checksum_type(), bytes: sum.as_ref() },
            enc_fast_req: EncryptedData { etype: key.etype().wire(), kvno: None, cipher: &cipher },
        };
        let mut value = Vec::new();
        request.write(&mut Writer::new(&mut value));
        (self.around(&body, &ap_req, &[(136, value)]), key)
    }

    pub(crate) fn refused(&self, realm: &TestRealm) -> (i32, Reason) {
        refused(realm, &self.message(), NOW)
    }
}

pub(crate) fn refused(realm: &TestRealm, message: &[u8], now: Timestamp) -> (i32, Reason) {
    let handled = realm.handle_at(message, now);
    let Outcome::Refused(reason) = handled.record.outcome else { panic!("{:?}", handled.record) };
    let (code, e_data) = error(&handled.reply.unwrap());
    assert!(e_data.is_empty());
    assert_eq!(handled.record.krb_error, Some(code));
    (code, reason)
}

/// The encrypted part of a reply to a request with a subkey.
pub(crate) fn part<T>(
    reply: &[u8],
    key: &Key,
    usage: KeyUsage,
    look: impl FnOnce(&EncKdcRepPart<'_>) -> T,
) -> T {
    let rep = KdcRep::parse(reply).unwrap();
    assert_eq!(rep.kind, KdcReqKind::Tgs);
    let mut plaintext = rep.enc_part.cipher.to_vec();
    look(
        &EncKdcRepPart::parse(Reader::new(key.cipher(usage).open_in_place(&mut plaintext).unwrap())).unwrap(),
    )
}
