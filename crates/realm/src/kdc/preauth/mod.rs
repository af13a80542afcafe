//! Pre-authentication: how a client shows that it knows its password or key before it gets anything that is under it.

mod encrypted_challenge;
mod encrypted_timestamp;
mod spake;

use super::Call;
use super::armor::Asked;
use super::cookie;
use super::denied::{Denied, Hint};
use super::subject::Subject;
use crate::accounts::Account;
use crate::record::{Preauth, Reason};
use countersign_proto::crypto::{Etype, Key, KeyUsage};
use countersign_proto::der::{Reader, Writer};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::encrypted_data::EncryptedData;
use countersign_proto::krb5::msg::etype_info2::EtypeInfo2Entry;
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::pa_enc_ts_enc::PaEncTsEnc;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::spake::{PaSpake, SpakeResponse, SpakeSupport};
use countersign_proto::time::Timestamp;

/// What the client shows: of several things the strongest alone.
pub(super) enum Presented<'a> {
    /// Nothing yet.
    Nothing,
    /// The SPAKE groups that it takes; as encoded too.
    SpakeSupport(SpakeSupport, &'a [u8]),
    /// SPAKE's last word.
    SpakeResponse(SpakeResponse<'a>),
    /// The time, under a key of the armor and the long-term key.
    Challenge(EncryptedData<'a>),
    /// The time, under the long-term key.
    Timestamp(EncryptedData<'a>),
    /// The same, where the realm does not allow it.
    TimestampNotAllowed,
}

/// A bare timestamp adds nothing to armor: there it has a better form.
fn timestamp_allowed(call: &Call<'_>, asked: &Asked<'_>) -> bool {
    call.policy.allow_encrypted_timestamp && asked.armor.is_none()
}

/// What the client has shown is right.
pub(super) struct Proven {
    /// What the reply is under.
    pub(super) reply_key: Key,
    /// What is sent along with the ticket.
    pub(super) padata: Vec<Hint>,
    /// By our clock, the earliest time at which it may have been made.
    made: Timestamp,
    /// Whether the client's clock is too far off.
    skewed: bool,
}

impl<'a> Presented<'a> {
    /// Reads what the client shows.
    pub(super) fn read(call: &Call<'_>, asked: &Asked<'a>) -> Result<Self, Denied> {
        let find = |padata_type| asked.padata.find(padata_type);
        if let Some(value) = find(pa_type::PA_SPAKE).filter(|_| !call.policy.spake_groups.is_empty()) {
            return match PaSpake::parse(value) {
                Ok(PaSpake::Support(support)) => Ok(Self::SpakeSupport(support, value)),
                Ok(PaSpake::Response(response)) => Ok(Self::SpakeResponse(response)),
                _ => Err(Denied::new(krb::KDC_ERR_PREAUTH_FAILED, Reason::Malformed)),
            };
        }
        let encrypted = |value| {
            let malformed = |_| Denied::new(krb::KDC_ERR_PREAUTH_FAILED, Reason::Malformed);
            Reader::whole(value, EncryptedData::parse).map_err(malformed)
        };
        if let Some(value) = find(pa_type::PA_ENCRYPTED_CHALLENGE).filter(|_| asked.armor.is_some()) {
            return encrypted(value).map(Self::Challenge);
        }
        match find(pa_type::PA_ENC_TIMESTAMP) {
            Some(value) if timestamp_allowed(call, asked) => encrypted(value).map(Self::Timestamp),
            Some(_) => Ok(Self::TimestampNotAllowed),
            None => Ok(Self::Nothing),
        }
    }

    /// Whether it is a try at the password.
    pub(super) const fn is_guess(&self) -> bool {
        matches!(self, Self::SpakeResponse(_) | Self::Challenge(_) | Self::Timestamp(_))
    }

    /// What it is called in the log.
    pub(super) const fn preauth(&self) -> Option<Preauth> {
        match self {
            Self::Nothing => None,
            Self::SpakeSupport(..) | Self::SpakeResponse(_) => Some(Preauth::Spake),
            Self::Challenge(_) => Some(Preauth::EncryptedChallenge),
            Self::Timestamp(_) | Self::TimestampNotAllowed => Some(Preauth::EncryptedTimestamp),
        }
    }

    /// The etype of the key that it is under, where it says.
    pub(super) fn etype(&self) -> Option<Etype> {
        match self {
            Self::Timestamp(data) => Etype::from_wire(data.etype),
            _ => None,
        }
    }
}

/// Decides over what was shown. A wrong password and all that looks like one have the same answer, and the store has the same
/// work with each of them.
pub(super) fn prove(
    call: &mut Call<'_>,
    asked: &Asked<'_>,
    presented: &Presented<'_>,
    subject: &Subject,
) -> Result<(Proven, Account), Denied> {
    let shown = match presented {
        Presented::Nothing => {
            return Err(Denied::continued(krb::KDC_ERR_PREAUTH_REQUIRED, hints(call, asked, subject)));
        }
        Presented::SpakeSupport(support, encoded) => {
            return Err(spake::challenge(call, asked, subject, support, encoded));
        }
        Presented::TimestampNotAllowed => {
            return Err(failed(call, asked, subject, Reason::TimestampNotAllowed));
        }
        Presented::SpakeResponse(response) => match spake::verify(call, asked, subject, response) {
            Ok(shown) => shown,
            Err(cookie::Unusable::Expired) => {
                let denied = Denied::new(krb::KDC_ERR_PREAUTH_EXPIRED, Reason::CookieExpired);
                return Err(denied.with_hints(hints(call, asked, subject)));
            }
            Err(cookie::Unusable::Foreign) => {
                return Err(failed(call, asked, subject, Reason::CookieForeign));
            }
        },
        Presented::Challenge(data) => encrypted_challenge::verify(call, asked, subject, data),
        Presented::Timestamp(data) => encrypted_timestamp::verify(call, subject, data),
    };
    let proven = match counted(call, subject, shown) {
        Ok(proven) => proven,
        Err(Uncounted::Store(denied)) => return Err(denied),
        Err(Uncounted::Wrong(reason)) => return Err(wrong(reason)),
    };
    let account = subject.account.as_ref().map_err(|reason| wrong(*reason))?;
    if proven.skewed {
        return Err(Denied::new(krb::KRB_AP_ERR_SKEW, Reason::Skew));
    }
    forget_failures(call, account, &proven);
    Ok((proven, account.clone()))
}

/// Why a password does not count as right.
enum Uncounted {
    Wrong(Reason),
    Store(Denied),
}

/// Holds what was shown against the lockout, and counts it if it is wrong.
fn counted(call: &Call<'_>, subject: &Subject, shown: Option<Proven>) -> Result<Proven, Uncounted> {
    let nobody = nobody(call);
    let delayed =
        |account: &Account| call.policy.lockout.delayed_until(&account.failures, call.now).is_some();
    let (guessed_at, reason) = match (&subject.account, shown) {
        (Err(reason), _) => (&nobody, *reason),
        (Ok(account), _) if delayed(account) => (&nobody, Reason::Delayed),
        (Ok(account), None) => (&account.principal, Reason::WrongPassword),
        (Ok(_), Some(proven)) => return Ok(proven),
    };
    // The store is asked in every case: who is not written down there is not told from who is by the time it takes.
    match call.accounts.record_failure(guessed_at, call.now) {
        Ok(()) => Err(Uncounted::Wrong(reason)),
        Err(error) => Err(Uncounted::Store(error.into())),
    }
}

/// A name that no account has.
fn nobody(call: &Call<'_>) -> Principal {
    Principal::new(&call.policy.realm, &["WELLKNOWN", "NOBODY"])
}

/// Forgets earlier failures, but only for a proof that was made after the last of them: one from before may be the repetition of
/// what somebody overheard, sent to get rid of the failures of a guesser.
fn forget_failures(call: &mut Call<'_>, account: &Account, proven: &Proven) {
    let failures = &account.failures;
    if failures.count == 0 || failures.last.is_some_and(|last| proven.made < last) {
        return;
    }
    if let Err(error) = call.accounts.record_success(&account.principal) {
        // The password is right all the same, and a count that stays favours nobody.
        call.record.trouble = Some(error.0);
    }
}

/// A wrong password. Without hints, by which a client would show the same one again in another way.
fn wrong(reason: Reason) -> Denied {
    Denied::new(krb::KDC_ERR_PREAUTH_FAILED, reason)
}

/// A proof that nothing can be said of; another kind may do.
fn failed(call: &Call<'_>, asked: &Asked<'_>, subject: &Subject, reason: Reason) -> Denied {
    Denied::new(krb::KDC_ERR_PREAUTH_FAILED, reason).with_hints(hints(call, asked, subject))
}

/// How the client may prove itself (RFC 4120 section 5.9.1): ETYPE-INFO2 with the one key that will be used, and the kinds of
/// pre-authentication, the strongest first.
fn hints(call: &Call<'_>, asked: &Asked<'_>, subject: &Subject) -> Vec<Hint> {
    let armored = asked.armor.is_some();
    let kinds = [
        (!call.policy.spake_groups.is_empty(), pa_type::PA_SPAKE),
        (armored, pa_type::PA_ENCRYPTED_CHALLENGE),
        (timestamp_allowed(call, asked), pa_type::PA_ENC_TIMESTAMP),
        (!armored, pa_type::PA_FX_FAST),
    ];
    let offered = kinds.into_iter().filter(|(offered, _)| *offered);
    let mut hints = vec![etype_info2(subject)];
    hints.extend(offered.map(|(_, padata_type)| Hint::new(padata_type, Vec::new())));
    hints.push(Hint::new(pa_type::PA_FX_COOKIE, cookie::EMPTY.to_vec()));
    hints
}

/// ETYPE-INFO2 of the subject's key.
pub(super) fn etype_info2(subject: &Subject) -> Hint {
    let etype = subject.key.etype().wire();
    let entry = EtypeInfo2Entry { etype, salt: Some(&subject.salt), s2kparams: None };
    let mut value = Vec::new();
    EtypeInfo2Entry::write_list(&mut Writer::new(&mut value), &[entry]);
    Hint::new(pa_type::PA_ETYPE_INFO2, value)
}

/// The time that the client encrypted with this key, if it did.
fn decrypted_time(key: &Key, usage: KeyUsage, data: &EncryptedData<'_>) -> Option<Timestamp> {
    let mut plaintext = data.cipher.to_vec();
    let opened =
        key.cipher(usage).open_in_place(&mut plaintext).ok().filter(|_| data.etype == key.etype().wire())?;
    PaEncTsEnc::parse(opened).ok().map(|enc| enc.patimestamp)
}

/// What a right timestamp proves. By our clock it may have been made earlier than it says, by as much as a clock may be off.
fn proven_by_time(call: &Call<'_>, time: Timestamp, key: &Key, padata: Vec<Hint>) -> Proven {
    Proven {
        reply_key: key.clone(),
        padata,
        made: time.saturating_sub(call.policy.clock_skew),
        skewed: time.abs_diff(call.now) > call.policy.clock_skew,
    }
}
