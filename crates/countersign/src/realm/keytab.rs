//! Keys that leave a realm for a service's keytab.

use crate::ambient;
use countersign_proto::error::{Refusal, code};
use countersign_proto::keytab::KeytabEntry;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_realm::admin::Response;
use countersign_realm::store::AccountName;

/// The entries for a keytab that the answer to [`Request::Export`](countersign_realm::admin::Request::Export) holds, with
/// this moment as the time they were written.
///
/// # Errors
/// `ADMINISTRATION_FAILED` if it is the answer to something else.
pub fn keytab_entries(response: Response) -> Result<Vec<KeytabEntry>, Refusal> {
    let Response::Keys { name, realm, keys } = response else {
        let saw = "an answer without keys".to_owned();
        return Err(Refusal::new(code::ADMINISTRATION_FAILED, saw, "a use for keys only"));
    };
    let principal: Principal = AccountName::parse(&name)?.principal(&realm);
    // Good until 2106, as the format is.
    let timestamp = u32::try_from(ambient::now().seconds()).unwrap_or_default();
    let entry = |key: countersign_realm::admin::ExportedKey| KeytabEntry {
        principal: principal.clone(),
        timestamp,
        kvno: key.kvno,
        etype: key.etype,
        key: key.key.0,
    };
    Ok(keys.into_iter().map(entry).collect())
}
