//! Encrypted challenge (RFC 6113 section 5.4.6): the time, under a key of the armor and the long-term key, both ways.

use super::{Proven, decrypted_time, proven_by_time};
use crate::kdc::Call;
use crate::kdc::armor::Asked;
use crate::kdc::denied::Hint;
use crate::kdc::subject::Subject;
use countersign_proto::crypto::{Key, KeyUsage, krb_fx_cf2};
use countersign_proto::der::Writer;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::pa_enc_ts_enc::PaEncTsEnc;

/// What the challenge proves, if it is under the right key; with it goes the KDC's answer, which proves that the KDC has that
/// key too.
pub(super) fn verify(
    call: &mut Call<'_>,
    asked: &Asked<'_>,
    subject: &Subject,
    data: &EncryptedData<'_>,
) -> Option<Proven> {
    let armor = asked.armor?.key;
    let client_key = krb_fx_cf2(armor, &subject.key, b"clientchallengearmor", b"challengelongterm");
    let time = decrypted_time(&client_key, KeyUsage::ENC_CHALLENGE_CLIENT, data)?;
    let kdc_key = krb_fx_cf2(armor, &subject.key, b"kdcchallengearmor", b"challengelongterm");
    let answer = Hint::new(pa_type::PA_ENCRYPTED_CHALLENGE, answer(call, &kdc_key));
    Some(proven_by_time(call, time, &subject.key, vec![answer]))
}

fn answer(call: &mut Call<'_>, key: &Key) -> Vec<u8> {
    let mut plaintext = Vec::new();
    PaEncTsEnc { patimestamp: call.now }.write(&mut Writer::new(&mut plaintext));
    let mut cipher = Vec::new();
    key.cipher(KeyUsage::ENC_CHALLENGE_KDC).seal(call.rng, &plaintext, &mut cipher);
    let data = EncryptedData { etype: key.etype().wire(), kvno: None, cipher: &cipher };
    let mut value = Vec::new();
    data.write(&mut Writer::new(&mut value));
    value
}
