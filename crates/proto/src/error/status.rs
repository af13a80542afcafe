//! What Windows' programs call a failure: statuses of SSPI (MS-ERREF section 2.1), as NNS sends them and the C face returns
//! them.

use super::{Code, code};
use std::fmt;

/// A status of 32 bits, as `winerror.h` numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecurityStatus(pub u32);

macro_rules! statuses {
    ($($name:ident $value:literal $meaning:literal;)*) => {
        impl SecurityStatus {
            $(#[doc = $meaning] pub const $name: Self = Self($value);)*

            const NAMED: &[(Self, &'static str, &'static str)] =
                &[$((Self::$name, stringify!($name), $meaning)),*];
        }
    };
}

statuses! {
    SEC_E_INSUFFICIENT_MEMORY 0x8009_0300 "Not enough memory.";
    SEC_E_INVALID_HANDLE 0x8009_0301 "The handle is not valid.";
    SEC_E_UNSUPPORTED_FUNCTION 0x8009_0302 "The function is not supported.";
    SEC_E_TARGET_UNKNOWN 0x8009_0303 "The target is not known.";
    SEC_E_INTERNAL_ERROR 0x8009_0304 "An error of the security package's own.";
    SEC_E_SECPKG_NOT_FOUND 0x8009_0305 "The security package does not exist.";
    SEC_E_INVALID_TOKEN 0x8009_0308 "The token is malformed.";
    SEC_E_LOGON_DENIED 0x8009_030C "The logon was denied.";
    SEC_E_UNKNOWN_CREDENTIALS 0x8009_030D "The credentials were not recognised.";
    SEC_E_NO_CREDENTIALS 0x8009_030E "There are no credentials.";
    SEC_E_MESSAGE_ALTERED 0x8009_030F "The message was altered.";
    SEC_E_OUT_OF_SEQUENCE 0x8009_0310 "The message is out of sequence.";
    SEC_E_NO_AUTHENTICATING_AUTHORITY 0x8009_0311 "No authority could be asked.";
    SEC_E_CONTEXT_EXPIRED 0x8009_0317 "The context or its ticket has expired.";
    SEC_E_WRONG_PRINCIPAL 0x8009_0322 "The ticket is for another principal.";
    SEC_E_TIME_SKEW 0x8009_0324 "The clocks differ too much.";
    SEC_E_ALGORITHM_MISMATCH 0x8009_0331 "There is no algorithm in common.";
    SEC_E_SECURITY_QOS_FAILED 0x8009_0332 "The demanded protection was not reached.";
    SEC_E_NO_KERB_KEY 0x8009_0348 "There is no key for the ticket.";
    SEC_E_BAD_BINDINGS 0x8009_0346 "The channel bindings differ or are missing.";
    SEC_E_MUTUAL_AUTH_FAILED 0x8009_0363 "The service did not prove itself.";
    TRUST_FAILURE 0x0000_06FE "The trust between the ends failed: a check after authentication refused the peer.";
}

impl SecurityStatus {
    /// The status that stands for a refusal, towards a peer or a program: as much as the protocol has a word for, and
    /// `SEC_E_LOGON_DENIED` where it has none.
    #[must_use]
    pub fn of(code: Code) -> Self {
        let row = STANDS_FOR.iter().find(|(_, codes)| codes.contains(&code));
        row.map_or(Self::SEC_E_LOGON_DENIED, |(status, _)| *status)
    }

    /// What it means, if it is one that is known here.
    #[must_use]
    pub fn meaning(self) -> Option<&'static str> {
        self.row().map(|(_, _, meaning)| *meaning)
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static str)> {
        Self::NAMED.iter().find(|(status, ..)| *status == self)
    }
}

/// Which refusals have a status other than `SEC_E_LOGON_DENIED`.
const STANDS_FOR: &[(SecurityStatus, &[Code])] = &[
    (SecurityStatus::SEC_E_TIME_SKEW, &[code::CLOCK_SKEW, code::CLOCK_SKEW_REPORTED, code::KDC_CLOCK_SKEW]),
    (
        SecurityStatus::SEC_E_CONTEXT_EXPIRED,
        &[
            code::TICKET_EXPIRED,
            code::TICKET_NOT_YET_VALID,
            code::CACHED_TICKET_EXPIRED,
            code::SESSION_EXPIRED,
        ],
    ),
    (
        SecurityStatus::SEC_E_WRONG_PRINCIPAL,
        &[
            code::SERVICE_KEY_ABSENT,
            code::ACCEPT_PRINCIPALS_EXCLUDE,
            code::TARGET_NAME_MISMATCH,
            code::NTLM_TARGET_NAME_MISMATCH,
        ],
    ),
    (
        SecurityStatus::SEC_E_NO_KERB_KEY,
        &[code::KEYTAB_WITHOUT_KEYS, code::KVNO_ABSENT, code::ETYPE_KEY_ABSENT],
    ),
    (
        SecurityStatus::SEC_E_ALGORITHM_MISMATCH,
        &[code::ETYPE_UNKNOWN, code::ETYPE_NOT_PERMITTED, code::NO_COMMON_MECH],
    ),
    (SecurityStatus::SEC_E_BAD_BINDINGS, &[code::CHANNEL_BINDINGS_MISMATCH, code::CHANNEL_BINDINGS_MISSING]),
    (SecurityStatus::SEC_E_SECURITY_QOS_FAILED, &[code::MUTUAL_NOT_REQUESTED]),
    (SecurityStatus::TRUST_FAILURE, &[code::PROTECTION_TOO_LOW]),
    (
        SecurityStatus::SEC_E_MUTUAL_AUTH_FAILED,
        &[code::AP_REP_INTEGRITY, code::AP_REP_MISMATCH, code::SERVICE_NEVER_PROVED],
    ),
    (
        SecurityStatus::SEC_E_INVALID_TOKEN,
        &[
            code::TOKEN_UNRECOGNISED,
            code::TOKEN_MALFORMED,
            code::TOKEN_MECH_UNSUPPORTED,
            code::TOKEN_UNEXPECTED,
            code::IAKERB_MALFORMED,
            code::IAKERB_MESSAGE_REFUSED,
            code::NTLM_MESSAGE_MALFORMED,
            code::AP_REP_MALFORMED,
            code::NTLM_CHALLENGE_MALFORMED,
            code::FRAME_EMPTY,
            code::FRAME_TOO_LONG,
            code::NNS_RECORD_UNKNOWN,
        ],
    ),
    (
        SecurityStatus::SEC_E_INTERNAL_ERROR,
        &[
            code::REPLAY_STORE_FULL,
            code::REPLAY_CLIENT_SHARE_USED,
            code::REPLAY_STORE_UNAVAILABLE,
            code::NTLM_ACCOUNTS_UNAVAILABLE,
        ],
    ),
    (
        SecurityStatus::SEC_E_MESSAGE_ALTERED,
        &[
            code::MESSAGE_MALFORMED,
            code::MESSAGE_INTEGRITY,
            code::MESSAGE_DIRECTION,
            code::MESSAGE_WRONG_KEY_FLAG,
            code::MESSAGE_NOT_SEALED,
        ],
    ),
    (SecurityStatus::SEC_E_OUT_OF_SEQUENCE, &[code::MESSAGE_REPLAYED, code::MESSAGE_OUT_OF_ORDER]),
    (
        SecurityStatus::SEC_E_NO_AUTHENTICATING_AUTHORITY,
        &[code::IAKERB_RELAY_FAILED, code::KDC_NOT_CONFIGURED, code::KDC_UNREACHABLE, code::KDC_NO_ANSWER],
    ),
    (SecurityStatus::SEC_E_NO_CREDENTIALS, &[code::TICKET_FOR_SERVICE_ABSENT, code::CREDENTIAL_ABSENT]),
    (SecurityStatus::SEC_E_TARGET_UNKNOWN, &[code::KDC_SERVICE_UNKNOWN]),
    (SecurityStatus::SEC_E_INVALID_HANDLE, &[code::STATE_MISUSED]),
];

/// `SEC_E_LOGON_DENIED (0x8009030C)`, or the number alone.
impl fmt::Display for SecurityStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some((_, name, _)) => write!(f, "{name} (0x{:08X})", self.0),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

impl fmt::Debug for SecurityStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_status_that_windows_has_for_them() {
        for (code, status) in [
            (code::CLOCK_SKEW, 0x8009_0324),
            (code::TICKET_EXPIRED, 0x8009_0317),
            (code::TICKET_INTEGRITY, 0x8009_030C),
            (code::REPLAY, 0x8009_030C),
            (code::KVNO_ABSENT, 0x8009_0348),
            (code::SERVICE_KEY_ABSENT, 0x8009_0322),
            (code::CHANNEL_BINDINGS_MISMATCH, 0x8009_0346),
            (code::TOKEN_MALFORMED, 0x8009_0308),
            (code::MUTUAL_NOT_REQUESTED, 0x8009_0332),
            (code::PROTECTION_TOO_LOW, 1790),
            (code::CLIENT_NOT_ALLOWED, 0x8009_030C),
        ] {
            assert_eq!(SecurityStatus::of(code), SecurityStatus(status), "{code:?}");
        }
    }

    #[test]
    fn a_status_is_shown_by_name_and_number_and_one_that_is_unknown_by_number() {
        assert_eq!(SecurityStatus::SEC_E_TIME_SKEW.to_string(), "SEC_E_TIME_SKEW (0x80090324)");
        assert_eq!(SecurityStatus(0x8009_9999).to_string(), "0x80099999");
    }
}
