//! Authorization data that goes from a request and its ticket into the new ticket (RFC 4120 section 3.3.3).

use super::denied::Denied;
use super::tgs_request::Shown;
use crate::record::Reason;
use countersign_proto::crypto::KeyUsage;
use countersign_proto::der::{Reader, Writer};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::authorization_data::{AuthorizationData, ad_type};
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::secret::Secret;

/// What a client may not say of itself.
const KDC_ONLY: [i32; 4] =
    [ad_type::AD_KDC_ISSUED, ad_type::AD_MANDATORY_FOR_KDC, ad_type::AD_CAMMAC, ad_type::AD_WIN2K_PAC];

/// The elements of a list, laid end to end as encoded.
pub(super) fn elements(data: Option<&AuthorizationData<'_>>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    data.into_iter().flat_map(AuthorizationData::elements).for_each(|element| element.write(&mut writer));
    out
}

/// The AuthorizationData of the new ticket: what the client asks for, which can only restrict it, then what the ticket-granting
/// ticket has. `None` if there is neither.
pub(super) fn carried(asked: Option<&EncryptedData<'_>>, shown: &Shown) -> Result<Option<Vec<u8>>, Denied> {
    let mut all = match asked {
        Some(asked) => of_client(asked, shown)?,
        None => Vec::new(),
    };
    all.extend_from_slice(&shown.tgt.authorization);
    if all.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::new();
    Writer::new(&mut out).sequence(|list| list.encoded(&all));
    Ok(Some(out))
}

/// Opens what the client asks for: under its subkey, or without one under the session key.
fn of_client(asked: &EncryptedData<'_>, shown: &Shown) -> Result<Vec<u8>, Denied> {
    let (key, usage) = match &shown.subkey {
        Some(subkey) => (subkey, KeyUsage::TGS_REQ_AUTHDATA_SUBKEY),
        None => (&shown.tgt.session_key, KeyUsage::TGS_REQ_AUTHDATA_SESSION),
    };
    let unreadable = || Denied::new(krb::KRB_AP_ERR_BAD_INTEGRITY, Reason::AuthorizationData);
    if asked.etype != key.etype().wire() {
        return Err(unreadable());
    }
    let mut buffer = Secret::from(asked.cipher);
    let opened = key.cipher(usage).open_in_place(buffer.expose_mut()).map_err(|_| unreadable())?;
    let data = Reader::whole(opened, AuthorizationData::parse).map_err(|_| unreadable())?;
    let mut forged = false;
    data.visit_relevant(&mut |element| forged |= KDC_ONLY.contains(&element.ad_type));
    if forged {
        return Err(Denied::new(krb::KDC_ERR_POLICY, Reason::AuthorizationData));
    }
    Ok(elements(Some(&data)))
}
