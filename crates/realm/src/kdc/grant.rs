//! What a ticket is to be: its etypes, its flags and its life (RFC 4120 sections 3.1.3 and 3.3.3).

use super::Call;
use super::denied::Denied;
use super::tgt::Tgt;
use crate::accounts::{Account, AccountKey};
use crate::policy::RealmPolicy;
use crate::record::Reason;
use countersign_proto::crypto::Etype;
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqBody};
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::time::Timestamp;
use std::time::Duration;

/// The times of a ticket, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life {
    pub(super) starttime: Timestamp,
    pub(super) endtime: Timestamp,
    pub(super) renew_till: Option<Timestamp>,
}

/// `till` or `rtime` of a request: 1970-01-01 stands for as long as may be.
fn wished(time: Timestamp) -> Option<Timestamp> {
    (time != Timestamp::default()).then_some(time)
}

/// The earliest of the times there are, in whole seconds.
fn earliest(first: Timestamp, others: impl IntoIterator<Item = Option<Timestamp>>) -> Timestamp {
    Timestamp::new(others.into_iter().flatten().fold(first, Timestamp::min).seconds(), 0)
}

impl Life {
    /// The life of a new ticket: what is asked for, within what the realm, both accounts and the ticket-granting ticket allow.
    pub(super) fn new(
        call: &Call<'_>,
        body: &KdcReqBody<'_>,
        accounts: [&Account; 2],
        tgt: Option<&Tgt>,
    ) -> Result<Self, Denied> {
        let starttime = Timestamp::new(call.now.seconds(), 0);
        let bound = |of_realm: Duration, of_account: fn(&Account) -> Option<Duration>| {
            let life = accounts.into_iter().filter_map(of_account).fold(of_realm, Duration::min);
            starttime.saturating_add(life)
        };
        let expires = accounts.map(|account| account.expires);
        let longest = earliest(bound(call.policy.max_life, |account| account.max_life), expires);
        let endtime = earliest(longest, [wished(body.till), tgt.map(|tgt| tgt.endtime)]);
        if endtime <= starttime {
            return Err(Denied::new(krb::KDC_ERR_NEVER_VALID, Reason::NeverValid));
        }
        let renewable = tgt.is_none_or(|tgt| tgt.flags.contains(TicketFlags::RENEWABLE));
        let renew_till = wished_renewal(body, endtime).filter(|_| renewable).map(|wish| {
            let longest = bound(call.policy.max_renewable_life, |account| account.max_renewable_life);
            let of_tgt = tgt.and_then(|tgt| tgt.renew_till);
            earliest(longest, expires.into_iter().chain([wish, of_tgt]))
        });
        Ok(Self { starttime, endtime, renew_till: renew_till.filter(|renew_till| *renew_till > endtime) })
    }

    /// The life of a renewed ticket: as long again, and not beyond renew-till.
    pub(super) fn renewed(call: &Call<'_>, accounts: [&Account; 2], tgt: &Tgt) -> Result<Self, Denied> {
        let renewable = tgt.flags.contains(TicketFlags::RENEWABLE);
        let Some(renew_till) = tgt.renew_till.filter(|_| renewable) else {
            return Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::NotOfThatKind));
        };
        let starttime = Timestamp::new(call.now.seconds(), 0);
        let life = tgt.endtime.abs_diff(tgt.starttime).min(call.policy.max_life);
        let expires = accounts.map(|account| account.expires);
        let bounds = [Some(renew_till)].into_iter().chain(expires);
        let endtime = earliest(starttime.saturating_add(life), bounds);
        if endtime <= starttime {
            return Err(Denied::new(krb::KRB_AP_ERR_TKT_EXPIRED, Reason::TgtExpired));
        }
        Ok(Self { starttime, endtime, renew_till: Some(renew_till) })
    }
}

/// Until when the client would like to renew the ticket, if at all; inside, `None` is for ever. With RENEWABLE-OK it would if
/// the ticket ends before the time that it asked for.
fn wished_renewal(body: &KdcReqBody<'_>, endtime: Timestamp) -> Option<Option<Timestamp>> {
    if body.kdc_options.contains(KdcOptions::RENEWABLE) {
        return Some(body.rtime.and_then(wished));
    }
    let short = wished(body.till).filter(|till| *till > endtime);
    short.filter(|_| body.kdc_options.contains(KdcOptions::RENEWABLE_OK)).map(Some)
}

/// Etype of the session key: the first that the client asks for of those that are permitted and that the service has keys of.
pub(super) fn session_etype(
    policy: &RealmPolicy,
    body: &KdcReqBody<'_>,
    service: &Account,
) -> Result<Etype, Denied> {
    let mut common = common_etypes(policy, body).filter(|etype| service.newest_key(*etype).is_some());
    common.next().ok_or_else(no_etype)
}

/// The etypes that the client asks for and that are permitted, in its order.
pub(super) fn common_etypes(policy: &RealmPolicy, body: &KdcReqBody<'_>) -> impl Iterator<Item = Etype> {
    let asked = body.etypes.iter().filter_map(|etype| Etype::from_wire(*etype));
    asked.filter(|etype| policy.permits(*etype))
}

/// The key that tickets for the service are under: its newest of the etype that the realm prefers.
pub(super) fn ticket_key<'k>(policy: &RealmPolicy, service: &'k Account) -> Result<&'k AccountKey, Denied> {
    let permitted = policy.permitted_enctypes.iter().filter(|etype| policy.permits(**etype));
    permitted.filter_map(|etype| service.newest_key(*etype)).next().ok_or_else(no_etype)
}

pub(super) fn no_etype() -> Denied {
    Denied::new(krb::KDC_ERR_ETYPE_NOSUPP, Reason::Etypes)
}

/// All flags of a list whose condition holds.
pub(super) fn flags(conditions: &[(bool, TicketFlags)]) -> TicketFlags {
    let set = conditions.iter().filter(|(holds, _)| *holds);
    TicketFlags(set.fold(0, |all, (_, flag)| all | flag.0))
}

/// Refuses options that ask for what there is not, whatever the request is for.
pub(super) fn check_options(options: KdcOptions) -> Result<(), Denied> {
    const NEVER: [KdcOptions; 4] = [
        KdcOptions::PROXY,
        KdcOptions::VALIDATE,
        KdcOptions::CNAME_IN_ADDL_TKT,
        KdcOptions::REQUEST_ANONYMOUS,
    ];
    if options.contains(KdcOptions::POSTDATED) {
        return Err(Denied::new(KDC_ERR_CANNOT_POSTDATE, Reason::Postdated));
    }
    if NEVER.iter().any(|option| options.contains(*option)) {
        return Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::Option));
    }
    Ok(())
}

/// Refuses a start in the future, which only a postdated ticket has.
pub(super) fn check_start(call: &Call<'_>, body: &KdcReqBody<'_>) -> Result<(), Denied> {
    match body.from {
        Some(from) if from > call.now.saturating_add(call.policy.clock_skew) => {
            Err(Denied::new(KDC_ERR_CANNOT_POSTDATE, Reason::Postdated))
        }
        _ => Ok(()),
    }
}

/// Ticket not eligible for postdating (RFC 4120 section 7.5.9).
const KDC_ERR_CANNOT_POSTDATE: i32 = 10;
