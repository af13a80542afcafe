//! The client of an AS request: an account, or somebody made up who is treated like one until the end.

use super::Call;
use super::denied::Denied;
use crate::accounts::{Account, AccountKey, AccountKind, default_salt};
use crate::record::Reason;
use countersign_proto::crypto::{Etype, Key};
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqBody};
use countersign_proto::krb5::msg::principal::{Principal, name_type};

/// kvno of a made-up key.
const MADE_UP_KVNO: u32 = 1;

/// Who wants to prove itself, and with what key.
pub(super) struct Subject {
    /// The name that was asked for, in our realm.
    pub(super) asked: Principal,
    /// The key that the password or keytab of the client must have, of the etype that was chosen.
    pub(super) key: Key,
    pub(super) kvno: u32,
    pub(super) salt: Vec<u8>,
    /// The account, or why there is none to log in to.
    pub(super) account: Result<Account, Reason>,
}

impl Subject {
    /// Finds the client, and makes somebody up in any case, so that it takes the same time.
    pub(super) fn find(
        call: &Call<'_>,
        asked: Principal,
        canonicalize: bool,
        etype: Etype,
    ) -> Result<Self, Denied> {
        let made_up = made_up_key(call, &asked, etype)?;
        let made_up_salt = default_salt(&asked);
        let found = call.find(&asked)?.ok_or(Reason::ClientUnknown);
        let account = found.and_then(|account| eligible(account, &asked, canonicalize));
        let key = account
            .as_ref()
            .map_err(|reason| *reason)
            .and_then(|account| account.newest_key(etype).cloned().ok_or(Reason::ClientKeyAbsent));
        Ok(match key {
            Ok(AccountKey { kvno, key, salt }) => {
                Self { asked, key, kvno, salt: salt.unwrap_or(made_up_salt), account }
            }
            Err(reason) => {
                Self { asked, key: made_up, kvno: MADE_UP_KVNO, salt: made_up_salt, account: Err(reason) }
            }
        })
    }
}

/// An account that may log in by this name.
fn eligible(account: Account, asked: &Principal, canonicalize: bool) -> Result<Account, Reason> {
    if account.kind == AccountKind::TicketGranting {
        return Err(Reason::ClientGrantsTickets);
    }
    if account.principal != *asked && !canonicalize {
        return Err(Reason::AliasNotCanonicalized);
    }
    Ok(account)
}

/// A key for a name that nobody has: always the same, and nobody else knows it.
fn made_up_key(call: &Call<'_>, name: &Principal, etype: Etype) -> Result<Key, Denied> {
    let mut input = b"made-up key".to_vec();
    input.extend_from_slice(&etype.wire().to_be_bytes());
    input.extend(name_bytes(name));
    let bytes =
        call.kdc.secrets.key().prf_plus(&input, etype.key_len()).map_err(|_| Denied::out_of_order())?;
    Key::new(etype, bytes.expose()).map_err(|_| Denied::out_of_order())
}

/// A name as bytes that no other name has.
pub(super) fn name_bytes(name: &Principal) -> Vec<u8> {
    let mut out = Vec::new();
    for part in std::iter::once(&name.realm).chain(&name.components) {
        out.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&[0xFF; 8]);
    out
}

/// The client's name, and whether it may be given its canonical one.
///
/// An enterprise name (RFC 6806 section 5) is one component: `alice@REALM` for alice, or any other that is an alias. It is
/// always canonicalized: a ticket in such a name would be nobody's.
pub(super) fn client_name(call: &Call<'_>, body: &KdcReqBody<'_>) -> Option<(Principal, bool)> {
    let named = body.cname?.to_principal(call.realm());
    let canonicalize = body.kdc_options.contains(KdcOptions::CANONICALIZE);
    if named.name_type != name_type::KRB_NT_ENTERPRISE {
        return Some((named, canonicalize));
    }
    let in_our_realm = match named.components.as_slice() {
        [component] => without_realm(component, call.realm()),
        _ => None,
    };
    let components = in_our_realm.map_or(named.components.clone(), |user| vec![user.to_vec()]);
    Some((Principal { name_type: name_type::KRB_NT_PRINCIPAL, components, ..named }, true))
}

/// What stands before `@REALM`, in letters of any case, if the name ends so.
fn without_realm<'n>(name: &'n [u8], realm: &[u8]) -> Option<&'n [u8]> {
    let at = name.iter().rposition(|byte| *byte == b'@')?;
    let (user, suffix) = name.split_at_checked(at)?;
    let suffix = suffix.get(1..)?;
    (suffix.eq_ignore_ascii_case(realm) && !user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_where_a_part_ends_are_different_bytes() {
        let names = [
            Principal::new("R", &["ab", "c"]),
            Principal::new("R", &["a", "bc"]),
            Principal::new("R", &["abc"]),
            Principal::new("Ra", &["b", "c"]),
        ];
        for (index, name) in names.iter().enumerate() {
            for other in &names[index + 1..] {
                assert_ne!(name_bytes(name), name_bytes(other));
            }
        }
    }

    #[test]
    fn the_realm_is_taken_off_a_name_in_letters_of_any_case() {
        assert_eq!(without_realm(b"alice@realm.test", b"REALM.TEST"), Some(&b"alice"[..]));
        assert_eq!(without_realm(b"a@b@REALM.TEST", b"REALM.TEST"), Some(&b"a@b"[..]));
        for other in ["alice", "alice@other.test", "@REALM.TEST", "alice@", "alice@REALM.TEST."] {
            assert_eq!(without_realm(other.as_bytes(), b"REALM.TEST"), None, "{other}");
        }
    }
}
