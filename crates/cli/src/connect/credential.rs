//! What a client proves itself with: a ticket if one is to be had; else a login through the service; and a password for NTLM if
//! that is allowed.

use crate::args::{ConnectArguments, Delegation};
use crate::{login, progress, report, sources};
use countersign::accounts::AccountName;
use countersign::credentials::CcacheName;
use countersign::framing::Framing;
use countersign::proto::context::Initiator;
use countersign::proto::crypto::Etype;
use countersign::proto::error::{Refusal, code};
use countersign::proto::iakerb::initiator::IakerbLogin;
use countersign::proto::krb5::kdc_exchange::{KdcError, Login, TicketOptions};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::krb5conf::Krb5Conf;
use countersign::proto::ntlm::initiator::Credential;
use countersign::proto::ntlm::nt_hash;
use countersign::proto::policy::InitiatorPolicy;
use countersign::{Client, ClientConfig, ClientCredential, Delegate, TicketClient};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whom to reach, and with what. It can be asked for a client again and again, and keeps the tickets that it got.
pub(super) struct Wanted {
    framing: Framing,
    handshake_deadline: Duration,
    policy: InitiatorPolicy,
    ntlm: Option<Credential>,
    login: Option<Login>,
    options: TicketOptions,
    tickets: TicketClient,
    iakerb: bool,
    allow_encrypted_timestamp: bool,
    /// Whether it was told that the login goes through the service.
    told: AtomicBool,
}

impl Wanted {
    pub(super) fn new(arguments: &ConnectArguments, conf: Arc<Krb5Conf>) -> Result<Self, Refusal> {
        let service = Principal::parse(&arguments.spn)?;
        if service.components.len() < 2 {
            return Err(sources::usage(format!("--spn {}", arguments.spn), "the form CLASS/HOST[@REALM]"));
        }
        let framing = arguments.framing.framing()?;
        let ntlm = ntlm_credential(arguments)?;
        let policy = policy(arguments, &conf, ntlm.is_some())?;
        let Source { cache, login, options, delegate } = Source::new(arguments, &conf)?;
        let tickets = login::tickets(conf, cache, login.clone(), options.clone());
        Ok(Self {
            framing,
            handshake_deadline: Duration::from_secs(arguments.handshake_deadline),
            tickets: TicketClient { tickets, service, policy: policy.clone(), delegate },
            policy,
            ntlm,
            login,
            options,
            iakerb: arguments.iakerb,
            allow_encrypted_timestamp: arguments.allow_encrypted_timestamp,
            told: AtomicBool::new(false),
        })
    }

    /// A client for one connection.
    pub(super) async fn client(&self) -> Result<Client, Refusal> {
        let credential = ClientCredential::Ready(self.initiator().await?);
        Ok(Client::new(ClientConfig {
            handshake_deadline: self.handshake_deadline,
            framing: self.framing,
            ..ClientConfig::new(credential)
        }))
    }

    async fn initiator(&self) -> Result<Initiator, Refusal> {
        let kerberos = if self.iakerb { Err(asked_for_iakerb()) } else { self.kerberos().await };
        let login = self.login.as_ref().filter(|_| self.iakerb || self.ntlm.is_none());
        match (kerberos, login, &self.ntlm) {
            (Ok(initiator), _, None) => Ok(initiator),
            (Ok(initiator), _, Some(password)) => initiator.with_ntlm(password.clone()),
            (Err(refusal), Some(login), _) if is_without_kdc(&refusal) => {
                if !self.iakerb && !self.told.swap(true, Ordering::Relaxed) {
                    let code = refusal.code();
                    report::line(&format!("no KDC to ask ({code}): logging in through the service"));
                }
                Ok(self.through_the_service(login.clone()))
            }
            (Err(refusal), _, Some(password)) if is_without_ticket(&refusal) => {
                report::line(&format!("no Kerberos: {refusal}"));
                Initiator::by_ntlm(self.tickets.service.clone(), password.clone(), self.policy.clone())
            }
            (Err(refusal), ..) => Err(refusal),
        }
    }

    fn through_the_service(&self, login: Login) -> Initiator {
        let options = Arc::new(self.options.clone());
        let allow_encrypted_timestamp = self.allow_encrypted_timestamp;
        let login = IakerbLogin { login, options, allow_encrypted_timestamp };
        Initiator::by_iakerb(self.tickets.service.clone(), login, self.policy.clone())
    }

    async fn kerberos(&self) -> Result<Initiator, Refusal> {
        if let Some(login) = self.login.as_ref().filter(|login| login.client().realm.is_empty()) {
            return Err(KdcError::NoRealm { client: login.client().clone() }.into());
        }
        let _progress = progress::show(format!("getting a ticket for {}", self.tickets.service));
        self.tickets.initiator().await
    }
}

fn policy(arguments: &ConnectArguments, conf: &Krb5Conf, ntlm: bool) -> Result<InitiatorPolicy, Refusal> {
    let mut policy = InitiatorPolicy::default();
    policy.permitted_enctypes = permitted_enctypes(arguments, conf)?;
    policy.negotiate = arguments.negotiate;
    policy.channel_bindings = sources::channel_bindings(arguments.channel_bindings.as_deref())?;
    if arguments.framing.allow_unsealed {
        policy.dangerous().allow_unsealed();
    }
    if arguments.framing.leaves_readable() {
        policy.dangerous().sign_only();
    }
    if ntlm {
        policy.dangerous().allow_ntlm();
    }
    Ok(policy)
}

/// Where the ticket comes from: the user's login, or a credential cache.
struct Source {
    cache: Option<CcacheName>,
    login: Option<Login>,
    options: TicketOptions,
    delegate: Delegate,
}

impl Source {
    /// With NTLM allowed and a cache named, the user's name and password are for NTLM, and the cache is for Kerberos; a name
    /// with its domain in front is for NTLM too.
    fn new(arguments: &ConnectArguments, conf: &Krb5Conf) -> Result<Self, Refusal> {
        let by_ntlm_name = arguments.login.user.as_ref().is_some_and(|user| user.contains('\\'));
        let ntlm_alone = arguments.allow_ntlm && (by_ntlm_name || arguments.ccache.is_some());
        let client = if ntlm_alone { None } else { login::client(&arguments.login, conf)? };
        let etypes = sources::etypes_named(&arguments.permitted_enctypes, "--permitted-enctypes")?;
        let mut options = login::options(conf, client.as_ref(), &etypes);
        options.canonicalize |= arguments.login.canonicalize;
        options.forwardable |= arguments.delegate.is_some();
        let cache = match (&client, &arguments.ccache) {
            (Some(_), None) => None,
            (_, flag) => Some(sources::ccache(flag.as_deref())?),
        };
        let login = client.map(|client| login::login(&arguments.login, client, &options)).transpose()?;
        let delegate = match arguments.delegate {
            None => Delegate::Never,
            Some(Delegation::Trusted) => Delegate::IfTrusted,
            Some(Delegation::Always) => Delegate::Always,
        };
        Ok(Self { cache, login, options, delegate })
    }
}
/// What `--iakerb` says instead of what a KDC would.
fn asked_for_iakerb() -> Refusal {
    Refusal::new(code::KDC_NOT_CONFIGURED, "--iakerb", "no KDC to ask")
}

/// Whether no KDC is known, as against one that is out of reach: whoever could keep us from ours would otherwise have us hand
/// the login to a service that is not proved yet.
fn is_without_kdc(refusal: &Refusal) -> bool {
    [code::CLIENT_REALM_ABSENT, code::KDC_NOT_CONFIGURED, code::KDC_LOOKUP_FAILED].contains(&refusal.code())
}

/// Whether there is just no ticket to be had, as against something that is wrong.
fn is_without_ticket(refusal: &Refusal) -> bool {
    let without = [
        code::CCACHE_UNREADABLE,
        code::CCACHE_TYPE_UNSUPPORTED,
        code::TICKET_FOR_SERVICE_ABSENT,
        code::CACHED_TICKET_EXPIRED,
        code::CREDENTIAL_ABSENT,
        code::KDC_CLIENT_UNKNOWN,
        code::KDC_SERVICE_UNKNOWN,
        code::KDC_UNREACHABLE,
        code::KDC_NO_ANSWER,
    ];
    is_without_kdc(refusal) || without.contains(&refusal.code())
}

/// Etypes of session keys: the flag's, else those of krb5.conf.
fn permitted_enctypes(arguments: &ConnectArguments, conf: &Krb5Conf) -> Result<Vec<Etype>, Refusal> {
    if arguments.permitted_enctypes.is_empty() {
        // RC4 must be named for this connection: allow_weak_crypto in krb5.conf may be there for another program.
        let strong = conf.libdefaults.permitted_enctypes.iter().copied().filter(|etype| !etype.is_weak());
        return Ok(strong.collect());
    }
    sources::etypes_named(&arguments.permitted_enctypes, "--permitted-enctypes")
}

fn ntlm_credential(arguments: &ConnectArguments) -> Result<Option<Credential>, Refusal> {
    let (Some(user), true) = (&arguments.login.user, arguments.allow_ntlm) else {
        return Ok(None);
    };
    let AccountName { domain, user } = AccountName::parse(user)?;
    let password = match &arguments.login.password_file {
        Some(file) => sources::password(file)?,
        None => {
            return Err(sources::usage("--allow-ntlm without a password".to_owned(), "--password-file FILE"));
        }
    };
    Ok(Some(Credential { user, domain, nt_hash: nt_hash(&password) }))
}
