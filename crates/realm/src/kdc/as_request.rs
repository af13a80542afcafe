//! The AS exchange (RFC 4120 section 3.1): a ticket-granting ticket for who knows its password or key.

use super::Call;
use super::armor::Asked;
use super::denied::{Denied, ToldClient};
use super::grant::{self, Life};
use super::preauth::{self, Presented, Proven};
use super::reply::Reply;
use super::subject::{Subject, client_name};
use super::ticket::NewTicket;
use crate::accounts::Account;
use crate::record::Reason;
use countersign_proto::crypto::{Key, KeyUsage};
use countersign_proto::error::code::krb;
use countersign_proto::krb5::msg::kdc_rep::LastReq;
use countersign_proto::krb5::msg::kdc_req::{KdcOptions, KdcReqBody, KdcReqKind};
use countersign_proto::krb5::msg::pa_data::pa_type;
use countersign_proto::krb5::msg::principal::Principal;
use countersign_proto::krb5::msg::ticket::TicketFlags;
use countersign_proto::time::Timestamp;

/// lr-types (RFC 4120 section 5.4.2): nothing to tell, the end of the password, the end of the account.
const LR_NONE: i32 = 0;
const LR_PASSWORD_EXPIRES: i32 = 6;
const LR_ACCOUNT_EXPIRES: i32 = 7;

/// Gives a ticket-granting ticket, or the next step on the way to one.
pub(super) fn grant(call: &mut Call<'_>, asked: &Asked<'_>) -> Result<Vec<u8>, Denied> {
    check(call, asked.body)?;
    let service = granting_service(call, asked.body)?;
    let login = log_in(call, asked)?;
    check_account(call, &login.account)?;
    issue(call, asked, &service, login)
}

/// A client that has proved itself.
struct Login {
    subject: Subject,
    proven: Proven,
    account: Account,
}

/// Lets the client prove itself.
fn log_in(call: &mut Call<'_>, asked: &Asked<'_>) -> Result<Login, Denied> {
    let no_client = || Denied::new(krb::KDC_ERR_C_PRINCIPAL_UNKNOWN, Reason::NoClient);
    let (name, canonicalize) = client_name(call, asked.body).ok_or_else(no_client)?;
    let presented = Presented::read(call, asked)?;
    call.record.preauth = presented.preauth();
    let mut etypes = grant::common_etypes(call.policy, asked.body);
    let first = etypes.next().ok_or_else(grant::no_etype)?;
    let etype = presented.etype().filter(|etype| etypes.any(|other| other == *etype)).unwrap_or(first);
    // From here on until the password is counted nobody else tries one of this name.
    let _turn = if presented.is_guess() { call.turn(&name) } else { None };
    let subject = Subject::find(call, name, canonicalize, etype)?;
    if let Ok(account) = &subject.account {
        call.record.client = Some(account.principal.clone());
    }
    let (proven, account) = preauth::prove(call, asked, &presented, &subject)?;
    Ok(Login { subject, proven, account })
}

/// Makes the ticket and the reply.
fn issue(
    call: &mut Call<'_>,
    asked: &Asked<'_>,
    service: &Principal,
    login: Login,
) -> Result<Vec<u8>, Denied> {
    let Login { subject, proven, account } = login;
    let granting = call.granting_account()?;
    let life = Life::new(call, asked.body, [&account, &granting], None)?;
    let session_etype = grant::session_etype(call.policy, asked.body, &granting)?;
    let ticket_key = grant::ticket_key(call.policy, &granting)?;
    let session_key = Key::generate(session_etype, call.rng);
    let ticket = NewTicket {
        service,
        client: &account.principal,
        flags: flags(asked, &account, &life),
        session_key: &session_key,
        authtime: life.starttime,
        life: &life,
        authorization_data: None,
    };
    let encoded_ticket = ticket.seal(call, &ticket_key.key, Some(ticket_key.kvno));
    let hints = std::iter::once(preauth::etype_info2(&subject));
    let reply = Reply {
        kind: KdcReqKind::As,
        ticket: &ticket,
        encoded_ticket: &encoded_ticket,
        last_req: &last_req(&account),
        key_expiration: key_expiration(&account),
        reply_key: proven.reply_key,
        usage: KeyUsage::AS_REP,
        kvno: Some(subject.kvno),
        padata: hints.chain(proven.padata).collect(),
    };
    Ok(reply.write(call, asked))
}

/// What is refused whoever asks.
fn check(call: &Call<'_>, body: &KdcReqBody<'_>) -> Result<(), Denied> {
    if body.realm != call.realm() {
        let ours = body.realm.eq_ignore_ascii_case(call.realm());
        let told = if ours { ToldClient::InOurRealm } else { ToldClient::Nobody };
        return Err(Denied::new(krb::KDC_ERR_WRONG_REALM, Reason::WrongRealm).telling(told));
    }
    const NOT_HERE: [KdcOptions; 3] = [KdcOptions::FORWARDED, KdcOptions::RENEW, KdcOptions::ENC_TKT_IN_SKEY];
    grant::check_options(body.kdc_options)?;
    grant::check_start(call, body)?;
    if NOT_HERE.iter().any(|option| body.kdc_options.contains(*option)) {
        return Err(Denied::new(krb::KDC_ERR_BADOPTION, Reason::Option));
    }
    Ok(())
}

/// The service that the ticket is for. It is the ticket-granting one, whose key nobody has who could be guessed at; others are
/// for who shows a ticket-granting ticket. With canonicalize its realm may be written in letters of any case.
fn granting_service(call: &Call<'_>, body: &KdcReqBody<'_>) -> Result<Principal, Denied> {
    let refused = |code| Denied::new(code, Reason::NotTheGrantingService);
    let sname = body.sname.ok_or_else(|| refused(krb::KDC_ERR_S_PRINCIPAL_UNKNOWN))?;
    let (asked, ours) = (sname.to_principal(call.realm()), call.granting_service());
    if asked == ours {
        return Ok(asked);
    }
    if body.kdc_options.contains(KdcOptions::CANONICALIZE) && asked.eq_ignoring_case(&ours) {
        return Ok(ours);
    }
    let grants = asked.components.first().is_some_and(|first| first == b"krbtgt");
    Err(refused(if grants { krb::KDC_ERR_S_PRINCIPAL_UNKNOWN } else { krb::KDC_ERR_POLICY }))
}

/// What is told only to who knows the password.
fn check_account(call: &Call<'_>, account: &Account) -> Result<(), Denied> {
    let past = |time: Option<Timestamp>| time.is_some_and(|time| time <= call.now);
    if account.disabled {
        return Err(Denied::new(krb::KDC_ERR_CLIENT_REVOKED, Reason::Disabled));
    }
    if past(account.expires) {
        return Err(Denied::new(krb::KDC_ERR_NAME_EXP, Reason::Expired));
    }
    if past(account.password_expires) {
        return Err(Denied::new(krb::KDC_ERR_KEY_EXPIRED, Reason::PasswordExpired));
    }
    Ok(())
}

fn flags(asked: &Asked<'_>, account: &Account, life: &Life) -> TicketFlags {
    let forwardable = asked.body.kdc_options.contains(KdcOptions::FORWARDABLE) && account.forwardable;
    grant::flags(&[
        (true, TicketFlags::INITIAL),
        (true, TicketFlags::PRE_AUTHENT),
        (true, TicketFlags::TRANSITED_POLICY_CHECKED),
        (forwardable, TicketFlags::FORWARDABLE),
        (life.renew_till.is_some(), TicketFlags::RENEWABLE),
        (asked.padata.find(pa_type::PA_REQ_ENC_PA_REP).is_some(), TicketFlags::ENC_PA_REP),
    ])
}

fn last_req(account: &Account) -> Vec<LastReq> {
    let told = [(LR_PASSWORD_EXPIRES, account.password_expires), (LR_ACCOUNT_EXPIRES, account.expires)];
    let entry =
        |(lr_type, time): (i32, Option<Timestamp>)| time.map(|lr_value| LastReq { lr_type, lr_value });
    let told: Vec<_> = told.into_iter().filter_map(entry).collect();
    if told.is_empty() { vec![LastReq { lr_type: LR_NONE, lr_value: Timestamp::default() }] } else { told }
}

/// When the client can no more log in as it did now.
fn key_expiration(account: &Account) -> Option<Timestamp> {
    account.password_expires.into_iter().chain(account.expires).min()
}
