//! Where tickets come from by the command line: a login, or a credential cache, and krb5.conf.

use crate::args::LoginArguments;
use crate::{report, sources};
use countersign::credentials::{self, CcacheName};
use countersign::files;
use countersign::kdc::Kdcs;
use countersign::krb5conf;
use countersign::proto::crypto::Etype;
use countersign::proto::error::Refusal;
use countersign::proto::krb5::initiator::ServiceTicket;
use countersign::proto::krb5::kdc_exchange::{KdcError, Login, TicketOptions, ticket_granting_service};
use countersign::proto::krb5::msg::principal::{Principal, name_type};
use countersign::proto::krb5conf::Krb5Conf;
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;
use countersign::tickets::{Tickets, TicketsConfig};
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// krb5.conf as it stands, what has no effect in it told.
pub(crate) fn conf() -> Result<Arc<Krb5Conf>, Refusal> {
    let conf = krb5conf::load()?;
    conf.notes().iter().for_each(|note| report::line(&note.to_string()));
    Ok(Arc::new(conf))
}

/// What is asked of KDCs, before flags that only some commands have.
pub(crate) fn options(conf: &Krb5Conf, client: Option<&Principal>, etypes: &[Etype]) -> TicketOptions {
    let realm = client.map(|client| String::from_utf8_lossy(&client.realm).into_owned());
    let realm = realm.or(conf.libdefaults.default_realm.clone()).unwrap_or_default();
    let options = TicketOptions::of(conf, &realm);
    if etypes.is_empty() { options } else { options.with_enctypes(etypes) }
}

/// The client that `--user` names; without a realm if it names none and there is no default realm.
pub(crate) fn client(arguments: &LoginArguments, conf: &Krb5Conf) -> Result<Option<Principal>, Refusal> {
    let Some(user) = &arguments.user else { return Ok(None) };
    let mut client = if arguments.enterprise {
        // The at sign belongs to the name; the realm that is asked first is the default one.
        let escaped = user.replace('\\', "\\\\").replace('@', "\\@").replace('/', "\\/");
        Principal { name_type: name_type::KRB_NT_ENTERPRISE, ..Principal::parse(&escaped)? }
    } else {
        Principal::parse(user)?
    };
    if client.realm.is_empty() {
        client.realm = conf.libdefaults.default_realm.clone().unwrap_or_default().into_bytes();
    }
    Ok(Some(client))
}

/// The same for those who must know its realm.
pub(crate) fn client_of_realm(
    arguments: &LoginArguments,
    conf: &Krb5Conf,
) -> Result<Option<Principal>, Refusal> {
    match client(arguments, conf)? {
        Some(client) if client.realm.is_empty() => Err(KdcError::NoRealm { client }.into()),
        client => Ok(client),
    }
}

/// The login of `client`.
pub(crate) fn login(
    arguments: &LoginArguments,
    client: Principal,
    options: &TicketOptions,
) -> Result<Login, Refusal> {
    let login = match &arguments.client_keytab {
        Some(keytab) => Login::with_keytab(client, &files::keytab(keytab)?, options)?,
        None => {
            let password = Secret::from(password(arguments, &client)?.as_bytes());
            if client.realm.is_empty() {
                Login::without_realm(client, password)
            } else {
                Login::with_password(client, password)?
            }
        }
    };
    match &arguments.armor_ccache {
        Some(name) => {
            let (ticket, clock_offset) = armor(name, login.client(), options)?;
            Ok(login.with_armor(ticket, clock_offset))
        }
        None => Ok(login),
    }
}

fn password(arguments: &LoginArguments, client: &Principal) -> Result<Zeroizing<String>, Refusal> {
    match &arguments.password_file {
        Some(file) => sources::password(file),
        None => sources::password_from_terminal(&format!("Password for {client}: ")),
    }
}

/// The ticket-granting ticket in a cache, for the realm of the client that it is to armor, and the KDC's clock less ours.
fn armor(name: &str, client: &Principal, options: &TicketOptions) -> Result<(ServiceTicket, i64), Refusal> {
    let cache = credentials::read(&CcacheName::parse(name)?)?;
    let clock_offset = cache.kdc_offset.unwrap_or(0);
    let now = Timestamp::from_system(SystemTime::now()).shifted(clock_offset);
    let service = ticket_granting_service(&client.realm, &client.realm);
    Ok((options.select(&cache, &service, now)?, clock_offset))
}

/// Tickets out of these.
pub(crate) fn tickets(
    conf: Arc<Krb5Conf>,
    cache: Option<CcacheName>,
    login: Option<Login>,
    options: TicketOptions,
) -> Tickets {
    Tickets::new(TicketsConfig { kdcs: Kdcs::new(conf), cache, login, options })
}
