//! From the configuration to services: keys, policy, stores, and who may come in.

use super::client::no_place;
use super::process::Process;
use crate::config::{BindingSource, Bindings, KeySource, ListenerConfig, NtlmAccounts};
use crate::{login, report, sources};
use countersign::accounts::{AccountFile, Accounts, Winbind};
use countersign::attempts::Attempt;
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::metrics::ListenerMetrics;
use countersign::proto::context::Acceptor;
use countersign::proto::error::{Refusal, code};
use countersign::proto::gss::ChannelBindings;
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::policy::{AcceptorPolicy, IakerbPolicy, NtlmService};
use countersign::realm::{RealmFolder, ServedRealm, service_config};
use countersign::relay::{KdcRelay, Relay};
use countersign::rotation::{KeytabEvent, WatchedKeytab};
use countersign::service::{Authorizer, Holder};
use countersign::{Service, ServiceConfig, files};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the configuration of a listener is made into.
pub(super) struct Made {
    pub(super) service: Service,
    /// The realm that it serves, if it does.
    pub(super) realm: Option<Arc<ServedRealm>>,
    /// The keytab that its keys are in, if they are in one.
    pub(super) keytab: Option<Arc<WatchedKeytab>>,
}

/// The service of `listener`.
pub(super) fn service(
    listener: &ListenerConfig,
    process: &Arc<Process>,
    metrics: &Arc<ListenerMetrics>,
    realms: &mut Realms,
) -> Result<Made, Refusal> {
    let realm = realms.of(listener)?;
    let (made, keytab) = match &realm {
        Some(realm) => (service_config(realm, policy(listener)?)?, None),
        None => service_by_keytab(listener, metrics)?,
    };
    let service = Service::new(ServiceConfig {
        replay: Arc::clone(&process.replay),
        key_source: keytab.clone().map(|keytab| -> Arc<dyn countersign::rotation::KeySource> { keytab }),
        framing: listener.framing,
        accounts: accounts(listener)?,
        admission: process.admission.clone(),
        handshake_deadline: listener.handshake_deadline,
        max_message: listener.max_message,
        end_with_ticket: listener.sessions_end_with_ticket,
        authorize: authorize(listener, process),
        hold_refusal: hold_refusal(process, metrics),
        ..made
    });
    if let Some(realm) = &realm {
        realm.keep_up(&service)?;
    }
    Ok(Made { service, realm, keytab })
}

/// A client may come in if it is allowed to, there is a place for it, and its record can be written.
fn authorize(listener: &ListenerConfig, process: &Arc<Process>) -> Box<Authorizer> {
    let (allow, process) = (listener.allow.clone(), Arc::clone(process));
    Box::new(move |facts| {
        allow.admits(facts)?;
        if process.sessions.available_permits() == 0 {
            return Err(no_place());
        }
        process.audit.as_ref().map_or(Ok(()), |audit| audit.ready()).map_err(Refusal::from)
    })
}

/// Who has failed often waits for the next refusal.
fn hold_refusal(process: &Arc<Process>, metrics: &Arc<ListenerMetrics>) -> Option<Box<Holder>> {
    let (attempts, metrics) = (Arc::clone(&process.attempts), Arc::clone(metrics));
    Some(Box::new(move |address, failure| {
        let attempt = Attempt::of(address, failure);
        let delay = attempt.map_or(Duration::ZERO, |attempt| attempts.failed(&attempt, Instant::now()));
        if !delay.is_zero() {
            metrics.refusal_delayed();
        }
        delay
    }))
}

/// The realms that are served: each is opened once, however many listeners have its folder.
#[derive(Default)]
pub(super) struct Realms(Vec<OpenRealm>);

struct OpenRealm {
    folder: PathBuf,
    master_key: PathBuf,
    realm: Arc<ServedRealm>,
}

impl Realms {
    /// All of them.
    pub(super) fn served(&self) -> impl Iterator<Item = &Arc<ServedRealm>> {
        self.0.iter().map(|open| &open.realm)
    }

    /// The realm of `listener`, if it has one.
    fn of(&mut self, listener: &ListenerConfig) -> Result<Option<Arc<ServedRealm>>, Refusal> {
        let KeySource::Realm { folder, master_key_file } = &listener.keys else { return Ok(None) };
        let place = RealmFolder::new(folder);
        let place = match master_key_file {
            Some(file) => place.with_master_key_file(file),
            None => place,
        };
        let (folder, master_key) = (whole(place.path()), whole(place.master_key_file()));
        if let Some(open) = self.0.iter().find(|open| open.folder == folder) {
            return if open.master_key == master_key {
                Ok(Some(Arc::clone(&open.realm)))
            } else {
                Err(two_master_keys(&folder, &open.master_key, &master_key))
            };
        }
        // Where it is served is told once the ports are known.
        let realm = place.serve("serves clients of a service")?;
        self.0.push(OpenRealm { folder, master_key, realm: Arc::clone(&realm) });
        Ok(Some(realm))
    }
}

/// Two names of one file are one.
fn whole(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn two_master_keys(folder: &Path, one: &Path, other: &Path) -> Refusal {
    let saw =
        format!("realm {} with the master keys {} and {}", folder.display(), one.display(), other.display());
    Refusal::new(code::CONFIG_CONTRADICTORY, saw, "one database, under one master key")
}

/// A service with the keys of a keytab, which carries messages to the KDCs of the realms that are named for it.
fn service_by_keytab(
    listener: &ListenerConfig,
    metrics: &Arc<ListenerMetrics>,
) -> Result<(ServiceConfig, Option<Arc<WatchedKeytab>>), Refusal> {
    let mut policy = policy(listener)?;
    let mut relay: Option<Box<dyn Relay>> = None;
    if !listener.relay_realms.is_empty() {
        policy.iakerb = Some(IakerbPolicy { realms: listener.relay_realms.clone() });
        let conf = login::conf()?;
        // An answer that comes after the handshake's deadline is of no use to anybody.
        let patience = KdcPatience { whole: listener.handshake_deadline, ..KdcPatience::of(&conf) };
        relay = Some(Box::new(KdcRelay::new(Kdcs::with_patience(conf, patience))));
    }
    let (keys, keytab) = keys(listener, metrics)?;
    Ok((ServiceConfig { relay, ..ServiceConfig::new(Acceptor::new(keys, policy)) }, keytab))
}

/// The service's keys. A service that accepts NTLM may have none, if no keytab is named and there is none where one is
/// looked for.
fn keys(
    listener: &ListenerConfig,
    metrics: &Arc<ListenerMetrics>,
) -> Result<(ServiceKeys, Option<Arc<WatchedKeytab>>), Refusal> {
    let keytab = match &listener.keys {
        KeySource::Keytab(path) => path.as_deref(),
        KeySource::Realm { .. } => None,
    };
    let path = sources::keytab(keytab)?;
    let named = keytab.is_some() || std::env::var_os("KRB5_KTNAME").is_some();
    if listener.ntlm.is_some() && !named && path.try_exists().is_ok_and(|exists| !exists) {
        return Ok((ServiceKeys::none(), None));
    }
    let (keytab, keys) = WatchedKeytab::open(&path, told_of_keys(listener, metrics))?;
    Ok((keys, Some(Arc::new(keytab))))
}

/// What becomes of a keytab is counted, and told where it keeps keys from being used.
fn told_of_keys(
    listener: &ListenerConfig,
    metrics: &Arc<ListenerMetrics>,
) -> impl Fn(KeytabEvent<'_>) + Send + Sync + 'static {
    let (name, metrics) = (listener.name.clone(), Arc::clone(metrics));
    move |event| match event {
        KeytabEvent::Loaded { keys, modified } => metrics.keys_loaded(keys, modified),
        KeytabEvent::Failed(refusal) => {
            metrics.keys_failed();
            report::warning(&format!("listener {name} keeps the keys that it has: {refusal}"));
        }
    }
}

fn accounts(listener: &ListenerConfig) -> Result<Option<Box<dyn Accounts>>, Refusal> {
    Ok(match listener.ntlm.as_ref().map(|ntlm| &ntlm.accounts) {
        Some(NtlmAccounts::File(file)) => Some(Box::new(AccountFile::open(file)?)),
        Some(NtlmAccounts::Winbind(ntlm_auth)) => Some(Box::new(Winbind::new(ntlm_auth)?)),
        None => None,
    })
}

fn policy(listener: &ListenerConfig) -> Result<AcceptorPolicy, Refusal> {
    let mut policy = AcceptorPolicy::default();
    policy.permitted_enctypes = listener.permitted_enctypes.clone();
    policy.clock_skew = listener.clock_skew;
    policy.accept_principals = listener.accept_principals.clone();
    policy.accept_raw_kerberos = listener.accept_raw_kerberos;
    if let Bindings::WhenOffered(values) | Bindings::Required(values) = &listener.channel_bindings {
        policy.channel_bindings = bindings(values)?;
        policy.require_channel_bindings = matches!(listener.channel_bindings, Bindings::Required(_));
    }
    if let Some(ntlm) = &listener.ntlm {
        let accepted_spns = ntlm.spns.clone();
        policy.dangerous().allow_ntlm(NtlmService { names: sources::target_names(), accepted_spns });
    }
    if listener.allow_unsealed {
        policy.dangerous().allow_unsealed();
    }
    if listener.allow_no_mutual {
        policy.dangerous().allow_no_mutual();
    }
    if listener.ignore_transited {
        policy.dangerous().ignore_transited();
    }
    Ok(policy)
}

fn bindings(values: &[BindingSource]) -> Result<Vec<ChannelBindings>, Refusal> {
    let binding = |value: &BindingSource| match value {
        BindingSource::Certificate(path) => files::certificate_bindings(path),
        BindingSource::ApplicationData(bytes) => Ok(ChannelBindings::from_application_data(bytes.clone())),
    };
    values.iter().map(binding).collect()
}
