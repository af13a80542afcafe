//! FAST's armor: what it vouches for is the answer to one request.

use crate::support::{ETYPE, encoded, error, granting, hints, log_in, next, refused, sent, subkey, tgt};
use countersign_proto::crypto::{Key, KeyUsage, krb_fx_cf2};
use countersign_proto::error::{Explain, code, code::krb};
use countersign_proto::krb5::kdc_exchange::{AsExchange, Exchange};
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::fast::{KrbFastArmoredRep, KrbFastArmoredReq, NewKrbFastResponse};
use countersign_proto::krb5::msg::kdc_req::KdcReq;
use countersign_proto::krb5::msg::krb_error::NewKrbError;
use countersign_proto::krb5::msg::pa_data::{MethodData, PaData, pa_type};
use countersign_testkit::TestRng;
use countersign_testkit::mint::NOW;

fn begun() -> AsExchange {
    log_in(|login| login.with_armor(tgt(0), 0))
}

fn armor_key(exchange: &AsExchange) -> Key {
    let request = KdcReq::parse(exchange.request().message).unwrap();
    let armored = KrbFastArmoredReq::parse(request.padata.find(pa_type::PA_FX_FAST).unwrap()).unwrap();
    let ticket = tgt(0);
    let key = subkey(&ticket, armored.armor.unwrap().armor_value, KeyUsage::AP_REQ_AUTHENTICATOR);
    krb_fx_cf2(&key, &ticket.session_key, b"subkeyarmor", b"ticketarmor")
}

/// The KDC's demand for a proof, in the armor of the exchange's last request.
fn armored_demand(exchange: &AsExchange) -> Vec<u8> {
    let nonce = KdcReq::parse(exchange.request().message).unwrap().body.nonce;
    let (error_code, service) = (krb::KDC_ERR_PREAUTH_REQUIRED, granting("EXAMPLE.TEST"));
    let inner = NewKrbError { stime: NOW, error_code, client: None, service: &service, e_data: None };
    let inner = encoded(|out| inner.write(out));
    let hints = hints(&[pa_type::PA_ENCRYPTED_CHALLENGE]);
    let mut padata: Vec<_> = MethodData::parse_bytes(&hints).unwrap().iter().collect();
    padata.push(PaData { padata_type: pa_type::PA_FX_ERROR, padata_value: &inner });
    let response = NewKrbFastResponse { padata: &padata, strengthen_key: None, finished: None, nonce };
    let plaintext = encoded(|out| response.write(out));
    let mut cipher = Vec::new();
    armor_key(exchange).cipher(KeyUsage::FAST_REP).seal(&mut TestRng::new(4), &plaintext, &mut cipher);
    let enc_fast_rep = EncryptedData { etype: ETYPE.wire(), kvno: None, cipher: &cipher };
    let value = encoded(|out| KrbFastArmoredRep { enc_fast_rep }.write(out));
    let outer = [PaData { padata_type: pa_type::PA_FX_FAST, padata_value: &value }];
    error(error_code, Some(&encoded(|out| MethodData::write_list(out, &outer))), NOW)
}

#[test]
fn an_armored_error_leads_to_the_next_request() {
    let exchange = begun();
    let demand = armored_demand(&exchange);
    let exchange = next(exchange, &demand);
    assert_eq!(sent(&exchange), [pa_type::PA_FX_FAST]);
}

#[test]
fn an_armored_error_to_an_earlier_request_is_refused() {
    let exchange = begun();
    let demand = armored_demand(&exchange);
    let refusal = refused(next(exchange, &demand), &demand);
    assert_eq!(refusal.code(), code::KDC_REPLY_MODIFIED, "{refusal}");
}

#[test]
fn a_demand_for_proof_without_armor_is_told_as_armor_that_was_stripped() {
    let demand = error(krb::KDC_ERR_PREAUTH_REQUIRED, Some(&hints(&[pa_type::PA_ENC_TIMESTAMP])), NOW);
    assert_eq!(refused(begun(), &demand).code(), code::FAST_STRIPPED);
}
