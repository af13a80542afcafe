//! What the KDC tells its operator of each request. The client is told less: every reason that could tell a stranger who has
//! an account, or whether a guess was good, is the same answer on the wire.

use countersign_proto::crypto::Etype;
use countersign_proto::error::Refusal;
use countersign_proto::krb5::msg::kdc_req::KdcReqKind;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::time::Timestamp;
use std::fmt;

/// One request, for the log. It never holds a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KdcRecord {
    /// Which exchange; `None` if the message is no request.
    pub kind: Option<KdcReqKind>,
    /// The client: by its canonical name, once it is known who that is, else as the request names it.
    pub client: Option<Principal>,
    /// The service, as the request names it.
    pub service: Option<Principal>,
    /// What became of the request.
    pub outcome: Outcome,
    /// Error code of the KRB-ERROR that was answered.
    pub krb_error: Option<i32>,
    /// With what the client proved itself, or tried to.
    pub preauth: Option<Preauth>,
    /// Whether the request was in FAST's armor.
    pub armored: bool,
    /// Etype of the key that the reply is under.
    pub reply_etype: Option<Etype>,
    /// Etype of the session key.
    pub session_etype: Option<Etype>,
    /// Etype of the service's key that the ticket is under.
    pub ticket_etype: Option<Etype>,
    /// Until when the ticket is good.
    pub endtime: Option<Timestamp>,
    /// What the store could not do, if that is why, or if a ticket was granted nevertheless.
    pub trouble: Option<Refusal>,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A ticket.
    Granted,
    /// The client was told how to go on.
    Continued,
    /// An error.
    Refused(Reason),
    /// Nothing was answered: the message is no request.
    Ignored,
}

/// How a client proves itself in an AS exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preauth {
    /// SPAKE (RFC 9588).
    Spake,
    /// Encrypted challenge (RFC 6113 section 5.4.6).
    EncryptedChallenge,
    /// Encrypted timestamp (RFC 4120 section 5.2.7.2).
    EncryptedTimestamp,
}

/// Why a request was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The message says in itself what cannot be.
    Malformed,
    /// The request is for another realm.
    WrongRealm,
    /// The request names no client.
    NoClient,
    /// The request names no service, or one that a first ticket is not given for.
    NotTheGrantingService,
    /// An option or extension that is not given here.
    Option,
    /// A ticket that begins later.
    Postdated,
    /// No etype of the request is permitted, or none that the service has a key of.
    Etypes,
    /// The ticket would have ended before it began.
    NeverValid,
    /// Nobody has this name.
    ClientUnknown,
    /// It is an alias, and the client did not ask for the canonical name, which is the only one that tickets are given for.
    AliasNotCanonicalized,
    /// The account is the ticket-granting service's.
    ClientGrantsTickets,
    /// The account has no key of the etype that the request comes to.
    ClientKeyAbsent,
    /// Wrong password or key.
    WrongPassword,
    /// There was a wrong password too short a time ago, so that none was taken.
    Delayed,
    /// An encrypted timestamp, which the realm does not allow.
    TimestampNotAllowed,
    /// No SPAKE group in common.
    SpakeGroups,
    /// State that is not this KDC's, or of another login.
    CookieForeign,
    /// State of a login that was begun too long ago, or before the password was changed.
    CookieExpired,
    /// The password is right, and the client's clock too far off.
    Skew,
    /// The password is right, and the account out of use.
    Disabled,
    /// The password is right, and the account has ended.
    Expired,
    /// The password is right, and has expired.
    PasswordExpired,
    /// FAST's armor cannot be opened, or is not what it must be.
    Armor,
    /// A FAST option that must be understood and is not.
    FastOption,
    /// No ticket-granting ticket with the request.
    TgtAbsent,
    /// The ticket is another service's, or another realm's.
    TgtForeign,
    /// None of the realm's keys opens the ticket.
    TgtIntegrity,
    /// The ticket has ended.
    TgtExpired,
    /// The ticket is not good yet.
    TgtNotYetValid,
    /// The authenticator does not show that its sender knows the session key.
    Authenticator,
    /// The request is not the one that the authenticator vouches for.
    Modified,
    /// The ticket's client is gone, or out of use.
    ClientGone,
    /// Nobody has the service's name.
    ServiceUnknown,
    /// The service's keys come from a password.
    ServiceHasPassword,
    /// The service is out of use, or has ended.
    ServiceGone,
    /// The ticket cannot be renewed or forwarded.
    NotOfThatKind,
    /// The second ticket of user-to-user is not the service's.
    SecondTicket,
    /// Authorization data that only a KDC may give.
    AuthorizationData,
    /// The store gave no answer.
    Store,
}

impl Reason {
    /// The reason in words, for the log.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "malformed request",
            Self::WrongRealm => "another realm",
            Self::NoClient => "no client named",
            Self::NotTheGrantingService => "a first ticket for another service than krbtgt",
            Self::Option => "option not given here",
            Self::Postdated => "postdated",
            Self::Etypes => "no etype in common",
            Self::NeverValid => "ticket would end before it begins",
            Self::ClientUnknown => "no such account",
            Self::AliasNotCanonicalized => "alias, without canonicalize",
            Self::ClientGrantsTickets => "the ticket-granting service is no client",
            Self::ClientKeyAbsent => "account has no key of the etype",
            Self::WrongPassword => "wrong password",
            Self::Delayed => "delayed after wrong passwords",
            Self::TimestampNotAllowed => "encrypted timestamp is not allowed",
            Self::SpakeGroups => "no SPAKE group in common",
            Self::CookieForeign => "cookie of another KDC or login",
            Self::CookieExpired => "login begun too long ago",
            Self::Skew => "client's clock is off",
            Self::Disabled => "account is disabled",
            Self::Expired => "account has expired",
            Self::PasswordExpired => "password has expired",
            Self::Armor => "FAST armor not accepted",
            Self::FastOption => "unknown critical FAST option",
            Self::TgtAbsent => "no ticket-granting ticket",
            Self::TgtForeign => "ticket of another service or realm",
            Self::TgtIntegrity => "no key opens the ticket",
            Self::TgtExpired => "ticket has expired",
            Self::TgtNotYetValid => "ticket is not valid yet",
            Self::Authenticator => "authenticator not accepted",
            Self::Modified => "request was modified",
            Self::ClientGone => "client is gone or disabled",
            Self::ServiceUnknown => "no such service",
            Self::ServiceHasPassword => "keys of the service come from a password",
            Self::ServiceGone => "service is disabled or has expired",
            Self::NotOfThatKind => "ticket cannot be renewed or forwarded",
            Self::SecondTicket => "second ticket is not the service's",
            Self::AuthorizationData => "authorization data that only a KDC may give",
            Self::Store => "account store out of order",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Preauth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spake => "spake",
            Self::EncryptedChallenge => "encrypted-challenge",
            Self::EncryptedTimestamp => "encrypted-timestamp",
        })
    }
}

impl KdcRecord {
    /// The record of a message of which nothing is known yet.
    pub(crate) fn new() -> Self {
        Self {
            kind: None,
            client: None,
            service: None,
            outcome: Outcome::Ignored,
            krb_error: None,
            preauth: None,
            armored: false,
            reply_etype: None,
            session_etype: None,
            ticket_etype: None,
            endtime: None,
            trouble: None,
        }
    }
}
