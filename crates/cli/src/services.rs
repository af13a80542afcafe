//! From the configuration to services: keys, policy, stores, and who may come in.

use crate::config::{
    BindingSource, Bindings, Config, KeySource, ListenerConfig, NtlmAccounts, OnAbsence, ReplayStoreConfig,
};
use crate::{login, report, sources};
use countersign::accounts::{AccountFile, Accounts, Winbind};
use countersign::audit::AuditTrail;
use countersign::kdc::{KdcPatience, Kdcs};
use countersign::proto::context::Acceptor;
use countersign::proto::error::{Refusal, code};
use countersign::proto::gss::ChannelBindings;
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::proto::policy::{AcceptorPolicy, IakerbPolicy, NtlmService};
use countersign::realm::{RealmFolder, ServedRealm, service_config};
use countersign::relay::{KdcRelay, Relay};
use countersign::replay::{Event, FileReplayConfig, FileReplayStore, MemoryReplayStore, ReplayStore};
use countersign::{Service, ServiceConfig, files};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What every listener of a process has in common.
pub(crate) struct Shared {
    /// One store for all: services that share a key must share it.
    pub(crate) replay: Arc<dyn ReplayStore>,
    /// The audit file, if there is one.
    pub(crate) audit: Option<Arc<AuditTrail>>,
}

/// The service of `listener`, and the realm that it serves, if it does.
pub(crate) fn service(
    config: &Config,
    listener: &ListenerConfig,
    shared: &Shared,
) -> Result<(Service, Option<Arc<ServedRealm>>), Refusal> {
    let realm = open_realm(listener)?;
    let made = match &realm {
        Some(realm) => service_config(realm, policy(listener)?)?,
        None => service_by_keytab(listener)?,
    };
    let (allow, audit) = (listener.allow.clone(), shared.audit.clone());
    let service = Service::new(ServiceConfig {
        replay: Arc::clone(&shared.replay),
        framing: listener.framing,
        accounts: accounts(listener)?,
        limits: config.limits.handshakes,
        handshake_deadline: listener.handshake_deadline,
        max_message: listener.max_message,
        end_with_ticket: listener.sessions_end_with_ticket,
        authorize: Box::new(move |facts| {
            allow.admits(facts)?;
            audit.as_ref().map_or(Ok(()), |audit| audit.ready()).map_err(Refusal::from)
        }),
        ..made
    });
    if let Some(realm) = &realm {
        realm.keep_up(&service)?;
    }
    Ok((service, realm))
}

/// The store that the configuration names. What befalls it is reported.
pub(crate) fn replay_store(config: &Config) -> Result<Arc<dyn ReplayStore>, Refusal> {
    // An entry is kept for as long as the most tolerant listener could take its authenticator.
    let skew = config.listeners.iter().map(|listener| listener.clock_skew).max().unwrap_or(Duration::ZERO);
    let capacity = config.replay.capacity;
    Ok(match &config.replay.store {
        ReplayStoreConfig::Memory => Arc::new(MemoryReplayStore::new(capacity, skew, &mut rand::rng())),
        ReplayStoreConfig::File { folder, durability } => {
            if let Some(state) = &config.state {
                make_folder(state)?;
            }
            let durability = *durability;
            let observer = Box::new(tell);
            Arc::new(FileReplayStore::open(FileReplayConfig {
                durability,
                capacity,
                observer,
                ..FileReplayConfig::new(folder, skew)
            })?)
        }
        ReplayStoreConfig::Valkey(valkey) => valkey_store(config, valkey, skew)?,
    })
}

#[cfg(feature = "valkey")]
fn valkey_store(
    config: &Config,
    valkey: &crate::config::ValkeyConfig,
    skew: Duration,
) -> Result<Arc<dyn ReplayStore>, Refusal> {
    use countersign::replay::{OnAbsence as InAbsence, ValkeyReplayConfig, ValkeyReplayStore};
    if let Some(state) = &config.state {
        make_folder(state)?;
    }
    Ok(Arc::new(ValkeyReplayStore::connect(ValkeyReplayConfig {
        username: valkey.username.clone(),
        password_file: valkey.password_file.clone(),
        prefix: valkey.prefix.clone(),
        on_absence: match valkey.on_absence {
            OnAbsence::Refuse => InAbsence::Refuse,
            OnAbsence::Memory => InAbsence::Memory,
        },
        capacity: config.replay.capacity,
        timeout: valkey.timeout,
        run_file: config.state.as_ref().map(|state| state.join("valkey-run")),
        observer: Box::new(tell),
        ..ValkeyReplayConfig::new(&valkey.url, skew)
    })?))
}

/// The configuration refuses the store before this.
#[cfg(not(feature = "valkey"))]
fn valkey_store(
    _: &Config,
    _: &crate::config::ValkeyConfig,
    _: Duration,
) -> Result<Arc<dyn ReplayStore>, Refusal> {
    Err(Refusal::new(code::CONFIG_CONTRADICTORY, "store = \"valkey\"", "a program that was built without Valkey"))
}

fn make_folder(path: &Path) -> Result<(), Refusal> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let saw = format!("state folder {} ({error})", path.display());
            Err(Refusal::new(code::CONFIG_FILE_UNUSABLE, saw, "no other place for what must outlast the process"))
        }
        _ => Ok(()),
    }
}

fn tell(event: &Event<'_>) {
    match event {
        Event::Failing(refusal) => report::line(&format!("replay store: {refusal}")),
        Event::Recovered => report::line("replay store: it can be used again"),
        Event::Changed(refusal) => report::line(&format!("replay store: {refusal}")),
        // Each of these is a client's, and in its own record.
        _ => {}
    }
}

fn open_realm(listener: &ListenerConfig) -> Result<Option<Arc<ServedRealm>>, Refusal> {
    let KeySource::Realm { folder, master_key_file } = &listener.keys else { return Ok(None) };
    let addresses: Vec<_> = listener.listen.iter().map(ToString::to_string).collect();
    let place = RealmFolder::new(folder);
    let place = match master_key_file {
        Some(file) => place.with_master_key_file(file),
        None => place,
    };
    place.serve(&format!("serves {}", addresses.join(" "))).map(Some)
}

/// A service with the keys of a keytab, which carries messages to the KDCs of the realms that are named for it.
fn service_by_keytab(listener: &ListenerConfig) -> Result<ServiceConfig, Refusal> {
    let mut policy = policy(listener)?;
    let mut relay: Option<Box<dyn Relay>> = None;
    if !listener.relay_realms.is_empty() {
        policy.iakerb = Some(IakerbPolicy { realms: listener.relay_realms.clone() });
        let conf = login::conf()?;
        // An answer that comes after the handshake's deadline is of no use to anybody.
        let patience = KdcPatience { whole: listener.handshake_deadline, ..KdcPatience::of(&conf) };
        relay = Some(Box::new(KdcRelay::new(Kdcs::with_patience(conf, patience))));
    }
    Ok(ServiceConfig { relay, ..ServiceConfig::new(Acceptor::new(keys(listener)?, policy)) })
}

/// The service's keys. A service that accepts NTLM may have none, if no keytab is named and there is none where one is
/// looked for.
fn keys(listener: &ListenerConfig) -> Result<ServiceKeys, Refusal> {
    let keytab = match &listener.keys {
        KeySource::Keytab(path) => path.as_deref(),
        KeySource::Realm { .. } => None,
    };
    let path = sources::keytab(keytab)?;
    let named = keytab.is_some() || std::env::var_os("KRB5_KTNAME").is_some();
    if listener.ntlm.is_some() && !named && path.try_exists().is_ok_and(|exists| !exists) {
        return Ok(ServiceKeys::none());
    }
    files::service_keys(&path)
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

fn bindings(values: &[BindingSource]) -> Result<Option<ChannelBindings>, Refusal> {
    match values {
        [] => Ok(None),
        [BindingSource::Certificate(path)] => files::certificate_bindings(path).map(Some),
        [BindingSource::ApplicationData(bytes)] => {
            Ok(Some(ChannelBindings::from_application_data(bytes.clone())))
        }
        several => {
            let saw = format!("channel_binding_values with {} values", several.len());
            Err(sources::usage(saw, "room for one"))
        }
    }
}
