//! `countersign serve`: from the configuration to listeners that accept, and to their end.
//!
//! A connection is accepted in [`accept`], proves itself and is told apart in [`client`], and goes to the service behind in
//! [`upstream`], or back where it came from in [`echo`]. What all have in common is the [`process::Process`].

mod accept;
mod client;
mod default_place;
mod echo;
mod listeners;
mod process;
mod replay;
mod services;
mod upstream;

use crate::args::ServeArguments;
use crate::check_config::tell;
use crate::config::Config;
use crate::observe::http::{self, Observed};
use crate::signals::{Signals, Told};
use crate::systemd::{self, Inherited};
use crate::{announce, descriptors, logging, report};
use countersign::proto::error::Refusal;
use countersign::realm::{Administered, AdministrationLine, ServedRealm};
use listeners::{Bound, Listener};
use process::Process;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often keytabs are looked at while nobody needs a new key.
const LOOK_AT_KEYS: Duration = Duration::from_secs(1);

/// Serves until the process is told to end.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Refusal> {
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let loaded = match Config::load(arguments.config.as_deref(), &variables, arguments.settings()) {
        Ok(loaded) => loaded,
        Err(faults) => return tell(&faults),
    };
    logging::configure(&loaded.config.log);
    let findings = loaded.inspect();
    tell(&findings.faults)?;
    findings.notes.iter().for_each(|note| report::line(&note.to_string()));
    let mut config = loaded.config;
    // Before anything is opened.
    config.limits.handshakes = descriptors::handshake_limits(config.limits.handshakes);
    let process = Arc::new(Process::new(&config)?);
    let listeners = Listener::all(&config, &process)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| announce::listen_failed("the program's own event loop", &error))?;
    runtime.block_on(serve(&config, process, listeners))
}

async fn serve(config: &Config, process: Arc<Process>, listeners: Vec<Arc<Listener>>) -> Result<(), Refusal> {
    let mut signals = Signals::caught()?;
    let mut inherited = Inherited::from_environment();
    let bound = listeners::bind(&listeners, &mut inherited).await?;
    let mut tasks = JoinSet::new();
    if let Some(metrics) = &config.metrics {
        let listener = TcpListener::bind(metrics.listen).await;
        let listener =
            listener.map_err(|error| announce::listen_failed(&metrics.listen.to_string(), &error))?;
        observe(listener, &process, &mut tasks)?;
    }
    for name in inherited.left() {
        report::warning(&format!("the inherited socket {name} is not used by any listener"));
    }
    let realms: Vec<_> = listeners.iter().filter_map(|listener| listener.realm.clone()).collect();
    begin(bound, &process, &realms, &mut tasks)?;
    watch(&process, &listeners, &mut tasks);
    process.readiness.started();
    told_manager(systemd::ready(&format!("{} listeners", listeners.len())));
    while signals.next().await == Told::Reload {
        reload(&process, &listeners);
    }
    end(config, &process, &mut signals).await;
    // What is only in memory of the realms goes to the disk.
    realms.iter().try_for_each(|realm| realm.save())
}

fn observe(listener: TcpListener, process: &Process, tasks: &mut JoinSet<()>) -> Result<(), Refusal> {
    let address = listener.local_addr().map_err(|error| announce::listen_failed("metrics", &error))?;
    report::line(&format!("metrics at http://{address}/metrics"));
    let observed = Observed { metrics: process.metrics.clone(), readiness: process.readiness.clone() };
    tasks.spawn(http::serve(listener, observed));
    Ok(())
}

/// From here on clients are accepted.
fn begin(
    bound: Vec<Bound>,
    process: &Arc<Process>,
    realms: &[Arc<ServedRealm>],
    tasks: &mut JoinSet<()>,
) -> Result<(), Refusal> {
    for Bound { listener, socket } in bound {
        announce::listening(&socket)?;
        tasks.spawn(accept::clients(process.clone(), listener, socket));
    }
    for realm in realms.iter().cloned() {
        tasks.spawn(async move {
            let told = |done: Administered| report::line(&AdministrationLine::from(&done).described());
            if let Err(refusal) = realm.tend(told).await {
                report::failure(&refusal);
            }
        });
    }
    Ok(())
}

/// What goes on beside the clients: keys that change, refusals that are summed up, the watchdog.
fn watch(process: &Arc<Process>, listeners: &[Arc<Listener>], tasks: &mut JoinSet<()>) {
    let refusals = process.clone();
    tasks.spawn(async move { refusals.refusals.tell().await });
    let watched = listeners.to_vec();
    tasks.spawn(async move {
        let mut ticks = interval(LOOK_AT_KEYS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            watched.iter().for_each(|listener| listener.service.refresh_keys());
        }
    });
    if let Some(watchdog) = process.watchdog.clone() {
        let drain = process.drain.clone();
        tasks.spawn(async move {
            match watchdog.keep(&drain).await {
                Ok(stopped) => report::warning(&format!("{stopped} is stuck: the watchdog is told no more")),
                Err(refusal) => report::failure(&refusal),
            }
        });
    }
}

/// Reads keys anew and opens the audit file anew; what cannot be read leaves what there was.
fn reload(process: &Process, listeners: &[Arc<Listener>]) {
    told_manager(systemd::reloading());
    for listener in listeners {
        listener.reload_keys();
    }
    if let Some(Err(refusal)) = process.audit.as_ref().map(|audit| audit.reopen()) {
        report::failure(&refusal);
    }
    report::line("read keys and opened the audit file anew");
    told_manager(systemd::ready(&format!("{} listeners", listeners.len())));
}

/// Lets those who are in finish, until the deadline or a second signal.
async fn end(config: &Config, process: &Process, signals: &mut Signals) {
    told_manager(systemd::stopping(config.drain_deadline));
    let open = process.drain.open();
    if open > 0 {
        let seconds = config.drain_deadline.as_secs_f32();
        report::line(&format!("told to end: {open} connections may go on for {seconds} s"));
    }
    let drained = process.drain.end(config.drain_deadline, signals.end()).await;
    process.refusals.end();
    if drained.closed > 0 {
        report::line(&format!("{} connections were closed before they were done", drained.closed));
    }
}

/// A service manager that does not listen is no reason not to serve.
fn told_manager(told: Result<(), Refusal>) {
    if let Err(refusal) = told {
        report::failure(&refusal);
    }
}
