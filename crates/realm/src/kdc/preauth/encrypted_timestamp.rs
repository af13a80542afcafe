//! Encrypted timestamp (RFC 4120 section 5.2.7.2): weak, since who sees it can try passwords on it.

use super::{Proven, decrypted_time, proven_by_time};
use crate::kdc::Call;
use crate::kdc::subject::Subject;
use countersign_proto::crypto::KeyUsage;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;

/// What the timestamp proves, if it is under the right key.
///
/// A repeated one is granted again, to nobody's good: the reply is under the key that it was under.
pub(super) fn verify(call: &Call<'_>, subject: &Subject, data: &EncryptedData<'_>) -> Option<Proven> {
    let time = decrypted_time(&subject.key, KeyUsage::PA_ENC_TIMESTAMP, data)?;
    Some(proven_by_time(call, time, &subject.key, Vec::new()))
}
