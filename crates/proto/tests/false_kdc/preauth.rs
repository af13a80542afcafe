//! Errors that nothing protects, and the proof that a client then gives of its password.

use crate::support::{HOUR, error, hints, log_in, next, refused, sent};
use countersign_proto::error::{Explain, code, code::krb};
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_testkit::mint::NOW;

const ALL: [i32; 2] = [pa_type::PA_SPAKE, pa_type::PA_ENC_TIMESTAMP];

fn demand(types: &[i32]) -> Vec<u8> {
    error(krb::KDC_ERR_PREAUTH_REQUIRED, Some(&hints(types)), NOW)
}

#[test]
fn an_encrypted_timestamp_is_sent_where_spake_was_never_offered() {
    let exchange = next(log_in(|login| login), &demand(&[pa_type::PA_ENC_TIMESTAMP]));
    assert!(sent(&exchange).contains(&pa_type::PA_ENC_TIMESTAMP));
}

#[test]
fn spake_that_was_offered_is_not_given_up_when_an_error_begins_the_exchange_anew() {
    let expired = error(krb::KDC_ERR_PREAUTH_EXPIRED, None, NOW);
    let skewed = error(krb::KRB_AP_ERR_SKEW, None, NOW.shifted(HOUR));
    for again in [expired, skewed] {
        let exchange = next(log_in(|login| login), &demand(&ALL));
        assert!(sent(&exchange).contains(&pa_type::PA_SPAKE));
        let exchange = next(exchange, &again);
        assert_eq!(sent(&exchange), [pa_type::PA_REQ_ENC_PA_REP], "it begins anew, without a proof");
        let refusal = refused(exchange, &demand(&[pa_type::PA_ENC_TIMESTAMP]));
        assert_eq!(refusal.code(), code::PREAUTH_UNSUPPORTED, "{refusal}");
        assert!(refusal.have().contains("offered"), "{}", refusal.have());
    }
}

#[test]
fn spake_goes_on_after_the_exchange_began_anew() {
    let exchange = next(log_in(|login| login), &demand(&ALL));
    let exchange = next(exchange, &error(krb::KDC_ERR_PREAUTH_EXPIRED, None, NOW));
    let exchange = next(exchange, &demand(&ALL));
    assert!(sent(&exchange).contains(&pa_type::PA_SPAKE));
}

#[test]
fn an_iteration_count_below_that_of_the_standard_or_beyond_all_reason_is_refused() {
    use crate::support::encoded;
    use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
    use countersign_proto::krb5::msg::pa_data::{MethodData, PaData};
    for count in [1_u32, 4_095, 0x0100_0000, 0] {
        let s2kparams = count.to_be_bytes();
        let entry = EtypeInfo2Entry { etype: 18, salt: Some(b"x"), s2kparams: Some(&s2kparams) };
        let info = encoded(|out| EtypeInfo2Entry::write_list(out, &[entry]));
        let padata = [
            PaData { padata_type: pa_type::PA_ETYPE_INFO2, padata_value: &info },
            PaData { padata_type: pa_type::PA_ENC_TIMESTAMP, padata_value: &[] },
        ];
        let methods = encoded(|out| MethodData::write_list(out, &padata));
        let told = error(krb::KDC_ERR_PREAUTH_REQUIRED, Some(&methods), NOW);
        assert_eq!(refused(log_in(|login| login), &told).code(), code::PASSWORD_UNUSABLE, "{count}");
    }
}
