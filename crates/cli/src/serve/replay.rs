//! The replay store that the configuration names.

use super::default_place;
use crate::config::{Config, OnAbsence, ReplayStoreConfig};
use crate::observe::readiness::Readiness;
use crate::report;
use countersign::metrics::Metrics;
use countersign::proto::error::{Refusal, code};
use countersign::replay::{
    Event, FileReplayConfig, FileReplayStore, MemoryReplayStore, Observer, ReplayStore,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The store that the configuration names. What befalls it is reported.
pub(super) fn store(
    config: &Config,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Result<Arc<dyn ReplayStore>, Refusal> {
    // An entry is kept for as long as the most tolerant listener could take its authenticator.
    let skew = config.listeners.iter().map(|listener| listener.clock_skew).max().unwrap_or(Duration::ZERO);
    let capacity = config.replay.capacity;
    Ok(match &config.replay.store {
        ReplayStoreConfig::Memory => Arc::new(MemoryReplayStore::new(capacity, skew, &mut rand::rng())),
        ReplayStoreConfig::File { folder, durability } => {
            if let Some(state) = &config.state {
                make_folder(state)?;
            }
            let observer = Box::new(observer(metrics, readiness, OnAbsence::Refuse));
            let settings = FileReplayConfig::new(folder, skew);
            let durability = *durability;
            Arc::new(FileReplayStore::open(FileReplayConfig { durability, capacity, observer, ..settings })?)
        }
        ReplayStoreConfig::Unnamed { durability } => {
            let settings = |folder: &Path| FileReplayConfig {
                durability: *durability,
                capacity,
                observer: Box::new(observer(metrics, readiness, OnAbsence::Refuse)),
                ..FileReplayConfig::new(folder, skew)
            };
            match default_place::open(&config.listeners, settings)? {
                Some(store) => Arc::new(store),
                None => Arc::new(MemoryReplayStore::new(capacity, skew, &mut rand::rng())),
            }
        }
        ReplayStoreConfig::Valkey(valkey) => {
            let observer = Box::new(observer(metrics, readiness, valkey.on_absence));
            valkey_store(config, valkey, skew, observer)?
        }
    })
}

#[cfg(feature = "valkey")]
fn valkey_store(
    config: &Config,
    valkey: &crate::config::ValkeyConfig,
    skew: Duration,
    observer: Box<Observer>,
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
        observer,
        ..ValkeyReplayConfig::new(&valkey.url, skew)
    })?))
}

/// The configuration refuses the store before this.
#[cfg(not(feature = "valkey"))]
fn valkey_store(
    _: &Config,
    _: &crate::config::ValkeyConfig,
    _: Duration,
    _: Box<Observer>,
) -> Result<Arc<dyn ReplayStore>, Refusal> {
    Err(Refusal::new(
        code::CONFIG_CONTRADICTORY,
        "store = \"valkey\"",
        "a program that was built without Valkey",
    ))
}

fn make_folder(path: &Path) -> Result<(), Refusal> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let saw = format!("state folder {} ({error})", path.display());
            Err(Refusal::new(
                code::CONFIG_FILE_UNUSABLE,
                saw,
                "no other place for what must outlast the process",
            ))
        }
        _ => Ok(()),
    }
}

/// What befalls a store is told, and kept for who asks whether the service is ready: it is, where memory does instead.
fn observer(
    metrics: &Metrics,
    readiness: &Readiness,
    in_absence: OnAbsence,
) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let (metrics, readiness) = (metrics.clone(), readiness.clone());
    move |event| match event {
        Event::Failing(refusal) => {
            if in_absence == OnAbsence::Refuse {
                readiness.amiss(STORE, format!("{STORE}: {}", refusal.saw()));
            }
            report::failure(refusal);
        }
        Event::Recovered => {
            readiness.mended(STORE);
            report::line("replay store: it can be used again");
        }
        Event::Changed(refusal) => report::failure(refusal),
        Event::OnMemoryAlone(_) => metrics.replay_store_fell_back(),
        // Each of these is a client's, and in its own record.
        _ => {}
    }
}

/// What it is called where it is not as it must be.
const STORE: &str = "replay store";
