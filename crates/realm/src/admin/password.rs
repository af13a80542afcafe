//! Passwords: which are taken, and the keys that they come to.

use super::AdminError;
use crate::accounts::{AccountKey, default_salt};
use crate::store::KEY_ETYPES;
use countersign_proto::crypto::string_to_key;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::secret::Secret;

/// Fewest characters of a password.
pub const MIN_PASSWORD: usize = 8;

/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 1_024;

/// Refuses a password that would be guessed with the first tries. SPAKE and the lockout keep strangers to a few tries a
/// day, so that length beyond this is the user's own choice.
pub(super) fn check(principal: &Principal, password: &Secret) -> Result<(), AdminError> {
    let text = std::str::from_utf8(password.expose());
    let text = text.map_err(|_| AdminError::WeakPassword("that is no text in UTF-8"))?;
    if text.len() > MAX_PASSWORD {
        return Err(AdminError::WeakPassword("of more than 1,024 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(AdminError::WeakPassword("with a control character, which cannot be typed"));
    }
    if text.chars().count() < MIN_PASSWORD {
        return Err(AdminError::WeakPassword("of fewer than 8 characters"));
    }
    let mut characters = text.chars();
    let first = characters.next();
    if characters.all(|character| Some(character) == first) {
        return Err(AdminError::WeakPassword("of one character alone"));
    }
    let of_name = |name: &Vec<u8>| text.as_bytes().eq_ignore_ascii_case(name);
    if principal.components.iter().any(of_name) || of_name(&principal.realm) {
        return Err(AdminError::WeakPassword("that is the account's own name"));
    }
    Ok(())
}

/// The keys of every etype that `password` comes to, of version 0. It takes about a tenth of a second.
pub(super) fn keys(principal: &Principal, password: &Secret) -> Result<Vec<AccountKey>, AdminError> {
    let salt = default_salt(principal);
    let keys = KEY_ETYPES.iter().map(|etype| {
        let key = string_to_key(*etype, password.expose(), &salt, None);
        // Of the etypes that every account has, none refuses a password.
        let key = key.map_err(|_| AdminError::WeakPassword("that comes to no key"))?;
        Ok(AccountKey { kvno: 0, key, salt: Some(salt.clone()) })
    });
    keys.collect()
}
