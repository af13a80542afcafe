//! The TGS exchange (RFC 4120 section 3.3): a ticket for who shows a ticket-granting ticket of this realm.
//!
//! A request seen before is answered again: the reply is under a key that only the ticket's client knows, so that there is
//! nothing to keep in mind, and nothing to fill a memory with.

use super::armor::Asked;
use super::denied::Denied;
use super::grant::{self, Life};
use super::reply::Reply;
use super::tgt::{self, Tgt};
use super::ticket::NewTicket;
use super::{Call, authorization};
use crate::accounts::{Account, AccountKind};
use crate::record::Reason;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::ap_req::ApReq;
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReq, KdcReqBody, KdcReqKind};
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;

/// KDC_ERR_PADATA_TYPE_NOSUPP, KDC_ERR_SERVICE_REVOKED, KDC_ERR_SERVER_NOMATCH (RFC 4120 section 7.5.9).
const KDC_ERR_PADATA_TYPE_NOSUPP: i32 = 16;
const KDC_ERR_SERVICE_REVOKED: i32 = 19;
const KDC_ERR_SERVER_NOMATCH: i32 = 26;

/// PA-FOR-USER and PA-S4U-X509-USER (MS-SFU 2.2): a ticket in another client's name.
const S4U: [i32; 2] = [129, 130];

/// The ticket-granting ticket that was shown, and what its authenticator says of the request.
pub(super) struct Shown {
    pub(super) tgt: Tgt,
    pub(super) subkey: Option<Key>,
    /// The AP-REQ as it was sent.
    pub(super) ap_req: Vec<u8>,
}

impl Shown {
    /// Opens the ticket and the authenticator, and holds the request against the checksum in it.
    pub(super) fn open(call: &Call<'_>, request: &KdcReq<'_>) -> Result<Self, Denied> {
        let absent = || Denied::new(KDC_ERR_PADATA_TYPE_NOSUPP, Reason::TgtAbsent);
        let ap_req = request.padata.find(pa_type::PA_TGS_REQ).ok_or_else(absent)?;
        let parsed = ApReq::parse(ap_req).map_err(|_| Denied::malformed())?;
        let tgt = tgt::open(call, &parsed.ticket)?;
        let usage = KeyUsage::TGS_REQ_AUTHENTICATOR;
        let authenticator = tgt::open_authenticator(call, &tgt, &parsed.authenticator, usage)?;
        check_sum(&tgt.session_key, authenticator.cksum, request.encoded_body)?;
        Ok(Self { tgt, subkey: authenticator.subkey, ap_req: ap_req.to_vec() })
    }
}

/// The checksum must be one that takes the session key to make: others let the request be changed on its way.
fn check_sum(session_key: &Key, sum: Option<(i32, Vec<u8>)>, encoded_body: &[u8]) -> Result<(), Denied> {
    let keyed = session_key.etype().checksum_type();
    let (_, bytes) = sum
        .filter(|(cksumtype, _)| *cksumtype == keyed)
        .ok_or_else(|| Denied::new(krb::KRB_AP_ERR_INAPP_CKSUM, Reason::Modified))?;
    session_key
        .checksum(KeyUsage::TGS_REQ_CHECKSUM)
        .verify(&[encoded_body], &bytes)
        .map_err(|_| Denied::new(krb::KRB_AP_ERR_MODIFIED, Reason::Modified))
}

/// The service that a ticket is wanted for.
struct Service {
    /// As the client names it: aliases stay, since clients look for the ticket by the name that they asked for.
    name: Principal,
    account: Account,
    /// The session key of its own ticket-granting ticket, in user-to-user.
    own_session_key: Option<Key>,
}

impl Service {
    /// The key that the ticket is under, and its kvno where it has one.
    fn ticket_key(&self, call: &Call<'_>) -> Result<(Key, Option<u32>), Denied> {
        if let Some(session_key) = &self.own_session_key {
            return Ok((session_key.clone(), None));
        }
        let key = grant::ticket_key(call.policy, &self.account)?;
        Ok((key.key.clone(), Some(key.kvno)))
    }
}

/// Gives the ticket.
pub(super) fn grant(call: &mut Call<'_>, asked: &Asked<'_>, shown: &Shown) -> Result<Vec<u8>, Denied> {
    let (tgt, body) = (&shown.tgt, asked.body);
    call.record.client = Some(tgt.client.clone());
    check(call, asked, tgt)?;
    let client = client_account(call, tgt)?;
    let service = service(call, body)?;
    let accounts = [&client, &service.account];
    let life = if body.kdc_options.contains(KdcOptions::RENEW) {
        renewable_service(call, &service)?;
        Life::renewed(call, accounts, tgt)?
    } else {
        Life::new(call, body, accounts, Some(tgt))?
    };
    issue(call, asked, shown, &service, &life)
}

/// Makes the ticket and the reply.
fn issue(
    call: &mut Call<'_>,
    asked: &Asked<'_>,
    shown: &Shown,
    service: &Service,
    life: &Life,
) -> Result<Vec<u8>, Denied> {
    let (tgt, body) = (&shown.tgt, asked.body);
    let session_etype = grant::session_etype(call.policy, body, &service.account)?;
    let (ticket_key, kvno) = service.ticket_key(call)?;
    let authorization_data = authorization::carried(body.enc_authorization_data.as_ref(), shown)?;
    let session_key = Key::generate(session_etype, call.rng);
    let ticket = NewTicket {
        service: &service.name,
        client: &tgt.client,
        flags: flags(body, tgt, life),
        session_key: &session_key,
        authtime: tgt.authtime,
        life,
        authorization_data: authorization_data.as_deref(),
    };
    let encoded_ticket = ticket.seal(call, &ticket_key, kvno);
    let (reply_key, usage) = match &shown.subkey {
        Some(subkey) => (subkey.clone(), KeyUsage::TGS_REP_SUBKEY),
        None => (tgt.session_key.clone(), KeyUsage::TGS_REP_SESSION_KEY),
    };
    let reply = Reply {
        kind: KdcReqKind::Tgs,
        ticket: &ticket,
        encoded_ticket: &encoded_ticket,
        last_req: &[],
        key_expiration: None,
        reply_key,
        usage,
        kvno: None,
        padata: Vec::new(),
    };
    Ok(reply.write(call, asked))
}

/// What is refused for every service.
fn check(call: &Call<'_>, asked: &Asked<'_>, tgt: &Tgt) -> Result<(), Denied> {
    let options = asked.body.kdc_options;
    grant::check_options(options)?;
    grant::check_start(call, asked.body)?;
    // Passed over, a request in another's name would be answered with a ticket in the asker's own.
    if asked.padata.iter().any(|element| S4U.contains(&element.padata_type)) {
        return Err(Denied::new(KDC_ERR_PADATA_TYPE_NOSUPP, Reason::Option));
    }
    if options.contains(KdcOptions::FORWARDED) && !tgt.flags.contains(TicketFlags::FORWARDABLE) {
        return Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::NotOfThatKind));
    }
    Ok(())
}

/// The account of the ticket's client. It may have gone since the ticket was given, or been put out of use.
fn client_account(call: &Call<'_>, tgt: &Tgt) -> Result<Account, Denied> {
    let gone = |code| Denied::new(code, Reason::ClientGone);
    let account = call.find(&tgt.client)?.ok_or_else(|| gone(krb::KDC_ERR_C_PRINCIPAL_UNKNOWN))?;
    // An alias by this name is another one's: the ticket is in the name of who had it before.
    if account.principal != tgt.client || account.kind == AccountKind::TicketGranting {
        return Err(gone(krb::KDC_ERR_C_PRINCIPAL_UNKNOWN));
    }
    if account.disabled {
        return Err(gone(krb::KDC_ERR_CLIENT_REVOKED));
    }
    if ended(call, &account) {
        return Err(gone(krb::KDC_ERR_NAME_EXP));
    }
    Ok(account)
}

fn ended(call: &Call<'_>, account: &Account) -> bool {
    account.expires.is_some_and(|expires| expires <= call.now)
}

/// Finds the service. Of users it is said that there is no such service, as of names that nobody has, and in user-to-user of
/// both that the second ticket is not theirs.
fn service(call: &Call<'_>, body: &KdcReqBody<'_>) -> Result<Service, Denied> {
    let unknown = |reason| Denied::new(krb::KDC_ERR_S_PRINCIPAL_UNKNOWN, reason);
    let sname = body.sname.filter(|_| body.realm == call.realm());
    let name = sname.ok_or_else(|| unknown(Reason::ServiceUnknown))?.to_principal(call.realm());
    let found = call.find(&name)?;
    let (account, own_session_key) = if body.kdc_options.contains(KdcOptions::ENC_TKT_IN_SKEY) {
        let (account, session_key) = with_own_session_key(call, body, found)?;
        (account, Some(session_key))
    } else {
        let account = found.ok_or_else(|| unknown(Reason::ServiceUnknown))?;
        if account.kind == AccountKind::User {
            return Err(unknown(Reason::ServiceHasPassword));
        }
        (account, None)
    };
    let gone = |code| Denied::new(code, Reason::ServiceGone);
    if account.disabled {
        return Err(gone(KDC_ERR_SERVICE_REVOKED));
    }
    if ended(call, &account) {
        return Err(gone(krb::KDC_ERR_SERVICE_EXP));
    }
    Ok(Service { name, account, own_session_key })
}

/// The session key of the service's own ticket-granting ticket, which the client got from it (RFC 4120 section 3.7). The ticket
/// is looked at first: who has none does not learn here whether there is such an account.
fn with_own_session_key(
    call: &Call<'_>,
    body: &KdcReqBody<'_>,
    found: Option<Account>,
) -> Result<(Account, Key), Denied> {
    let [(ticket, _)] = body.additional_tickets.as_slice() else {
        return Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::SecondTicket));
    };
    let second = tgt::open(call, ticket)?;
    let account = found.filter(|account| account.principal == second.client);
    let no_match = || Denied::new(KDC_ERR_SERVER_NOMATCH, Reason::SecondTicket);
    Ok((account.ok_or_else(no_match)?, second.session_key))
}

/// Only the ticket-granting ticket that is shown can be renewed, by a request for itself.
fn renewable_service(call: &Call<'_>, service: &Service) -> Result<(), Denied> {
    if service.name == call.granting_service() && service.own_session_key.is_none() {
        return Ok(());
    }
    Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::NotOfThatKind))
}

/// Flags of the new ticket: what is asked for and the ticket-granting ticket has, and what sticks to all that is made of it.
fn flags(body: &KdcReqBody<'_>, tgt: &Tgt, life: &Life) -> TicketFlags {
    let asked = |option| body.kdc_options.contains(option);
    let had = |flag| tgt.flags.contains(flag);
    let renewed = asked(KdcOptions::RENEW);
    let forwardable = (asked(KdcOptions::FORWARDABLE) || renewed) && had(TicketFlags::FORWARDABLE);
    grant::flags(&[
        (had(TicketFlags::PRE_AUTHENT), TicketFlags::PRE_AUTHENT),
        (true, TicketFlags::TRANSITED_POLICY_CHECKED),
        (forwardable, TicketFlags::FORWARDABLE),
        (asked(KdcOptions::FORWARDED) || had(TicketFlags::FORWARDED), TicketFlags::FORWARDED),
        (life.renew_till.is_some(), TicketFlags::RENEWABLE),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::crypto::Etype;

    #[test]
    fn a_checksum_that_takes_no_key_is_refused_before_it_is_looked_at() {
        let key = Key::new(Etype::Aes256CtsHmacSha1_96, &[7; 32]).unwrap();
        let sum = key.checksum(KeyUsage::TGS_REQ_CHECKSUM).sign(&[b"body"]);
        let with = |cksumtype| check_sum(&key, Some((cksumtype, sum.as_ref().to_vec())), b"body").err();
        assert!(with(16).is_none());
        for unkeyed in [1, 2, 7, 14, 15, 0x8003] {
            assert_eq!(with(unkeyed).map(|denied| denied.code), Some(krb::KRB_AP_ERR_INAPP_CKSUM));
        }
        assert_eq!(
            check_sum(&key, None, b"body").err().map(|denied| denied.code),
            Some(krb::KRB_AP_ERR_INAPP_CKSUM)
        );
        let sum = Some((16, sum.as_ref().to_vec()));
        assert_eq!(
            check_sum(&key, sum, b"other").err().map(|denied| denied.code),
            Some(krb::KRB_AP_ERR_MODIFIED)
        );
    }
}
