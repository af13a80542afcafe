//! `countersign ticket get`: log in, and get tickets for services.

use crate::args::TicketGetArguments;
use crate::{login, output, progress, report, sources};
use countersign::Refusal;
use countersign::credentials::CcacheName;
use countersign::proto::krb5::kdc_exchange::TicketOptions;
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5conf::duration;
use countersign::tickets::{LoggedIn, Tickets};
use std::time::Duration;

/// Gets what is asked for, the ticket-granting ticket first.
pub(super) fn run(arguments: &TicketGetArguments) -> Result<(), Refusal> {
    let services = arguments.service.iter().map(|service| Principal::parse(service));
    let services = services.collect::<Result<Vec<_>, _>>()?;
    let conf = login::conf()?;
    let client = login::client_of_realm(&arguments.login, &conf)?;
    let etypes = sources::etypes_named(&arguments.permitted_enctypes, "--permitted-enctypes")?;
    let options = wishes(arguments, login::options(&conf, client.as_ref(), &etypes))?;
    let cache = sources::ccache(arguments.ccache.as_deref())?;
    let login = client.map(|client| login::login(&arguments.login, client, &options)).transpose()?;
    let logs_in = login.is_some();
    let tickets = login::tickets(conf, Some(cache.clone()), login, options);
    if logs_in {
        let granted = with_progress("logging in".to_owned(), || tickets.log_in_blocking())?;
        tell_login(&granted, &cache)?;
    }
    if arguments.renew {
        let granted = with_progress("renewing".to_owned(), || tickets.renew_blocking())?;
        tell_login(&granted, &cache)?;
    }
    services.iter().try_for_each(|service| get(&tickets, service))
}

/// What is asked of the KDC beside what krb5.conf says.
fn wishes(arguments: &TicketGetArguments, mut options: TicketOptions) -> Result<TicketOptions, Refusal> {
    if let Some(text) = &arguments.lifetime {
        options.lifetime = length("--lifetime", text)?;
    }
    if let Some(text) = &arguments.renewable {
        options.renewable = Some(length("--renewable", text)?);
    }
    options.forwardable |= arguments.forwardable;
    options.canonicalize |= arguments.login.canonicalize;
    options.encrypted_timestamp &= !arguments.no_encrypted_timestamp;
    Ok(options)
}

fn length(flag: &str, text: &str) -> Result<Duration, Refusal> {
    let wrong = || {
        sources::usage(format!("{flag} {text}"), "lengths of time such as 10h, 1d12h, 8:30, or 36000 seconds")
    };
    duration(text).filter(|length| !length.is_zero()).ok_or_else(wrong)
}

fn get(tickets: &Tickets, service: &Principal) -> Result<(), Refusal> {
    let got = with_progress(format!("asking for {service}"), || tickets.get_blocking(service))?;
    if let Some(refusal) = &got.not_kept {
        return Err(refusal.clone());
    }
    let ticket = got.ticket;
    let etype = ticket.session_key.etype();
    output::print(&format!("{} until {}, session key {etype}\n", ticket.service, ticket.endtime))
}

fn with_progress<T>(what: String, work: impl FnOnce() -> T) -> T {
    let _progress = progress::show(what);
    work()
}

/// What the login came to, and what its user should know.
fn tell_login(granted: &LoggedIn, cache: &CcacheName) -> Result<(), Refusal> {
    if let Some(expires) = granted.password_expires {
        report::line(&format!("the password of {} expires {expires}", granted.client));
    }
    if let Some(offset) = granted.kdc_offset {
        let (seconds, direction) =
            (offset.unsigned_abs() / 1_000_000, if offset > 0 { "ahead of" } else { "behind" });
        report::line(&format!(
            "the KDC's clock is {seconds} s {direction} this machine's; it is reckoned with, but set the clock"
        ));
    }
    output::print(&format!("{} logged in until {}, in {cache}\n", granted.client, granted.endtime))
}
