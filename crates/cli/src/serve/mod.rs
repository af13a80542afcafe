//! `countersign serve`: from the configuration to listeners that accept, and to their end.
//!
//! A connection is accepted in [`accept`], proves itself and is told apart in [`client`], and goes to the service behind in
//! [`upstream`], or back where it came from in [`echo`]. What all have in common is the [`process::Process`].

mod accept;
mod client;
mod default_place;
mod echo;
mod listeners;
pub(crate) mod memory;
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
use countersign::realm::{Administered, AdministrationLine};
use listeners::{Bound, Listener};
use memory::MemoryBound;
use process::{Process, Standing};
use services::Realms;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, spawn_blocking};
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
    report::detail(&format!("memory: {}", MemoryBound::of(&config)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| announce::listen_failed("the program's own event loop", &error))?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Result<(), Refusal> {
    // A file that may not grow any more is an error of the write, and no reason to be killed; if the signal cannot be caught,
    // it is one.
    let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    let mut inherited = Inherited::from_environment();
    let mut tasks = JoinSet::new();
    let standing = Standing::new(config)?;
    // First, so that whoever asks is told that the service is about to start: stores and realms may take their time.
    if let Some(metrics) = &config.metrics {
        observe(metrics.listen, &standing, &mut tasks).await?;
    }
    let process = Arc::new(Process::new(config, standing)?);
    let (listeners, realms) = Listener::all(config, &process)?;
    let mut signals = Signals::caught()?;
    let bound = listeners::bind(&listeners, &mut inherited).await?;
    for name in inherited.left() {
        report::warning(&format!("the inherited socket {name} is not used by any listener"));
    }
    begin(bound, &process, &realms, &mut tasks)?;
    watch(&process, &listeners, &mut tasks);
    process.readiness.started();
    told_manager(systemd::ready(&format!("{} listeners", listeners.len())));
    while signals.next().await == Told::Reload {
        reload(&process, &listeners);
    }
    end(config, &process, &mut signals).await;
    // What is only in memory of the realms goes to the disk.
    realms.served().try_for_each(|realm| realm.save())
}

async fn observe(address: SocketAddr, standing: &Standing, tasks: &mut JoinSet<()>) -> Result<(), Refusal> {
    let failed = |error| announce::listen_failed(&address.to_string(), &error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    report::line(&format!("metrics at http://{bound}/metrics"));
    let observed = Observed { metrics: standing.metrics.clone(), readiness: standing.readiness.clone() };
    tasks.spawn(http::serve(listener, observed));
    Ok(())
}

/// From here on clients are accepted.
fn begin(
    bound: Vec<Bound>,
    process: &Arc<Process>,
    realms: &Realms,
    tasks: &mut JoinSet<()>,
) -> Result<(), Refusal> {
    realms.served().try_for_each(|realm| listeners::tell(realm, &bound))?;
    for Bound { listener, socket } in bound {
        announce::listening(&socket)?;
        tasks.spawn(accept::clients(process.clone(), listener, socket));
    }
    for realm in realms.served().cloned() {
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
    tasks.spawn(look_at_keys(listeners.to_vec()));
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

async fn look_at_keys(listeners: Vec<Arc<Listener>>) {
    let mut ticks = interval(LOOK_AT_KEYS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let listeners = listeners.clone();
        // A file that is being written is waited for, and clients are not to wait with it.
        let looked = spawn_blocking(move || listeners.iter().for_each(|listener| listener.look_at_keys()));
        if looked.await.is_err() {
            return;
        }
    }
}

/// Reads keys anew and opens the audit file anew; what cannot be read leaves what there was.
fn reload(process: &Process, listeners: &[Arc<Listener>]) {
    told_manager(systemd::reloading());
    // All of them are tried; what stands in the way of one has been told.
    let keys = listeners.iter().filter(|listener| listener.reload_keys().is_err()).count();
    let audit = process.audit.as_ref().map_or(Ok(()), |audit| audit.reopen());
    if let Err(refusal) = &audit {
        report::failure(refusal);
    }
    if keys == 0 && audit.is_ok() {
        report::line("read keys and opened the audit file anew");
    } else {
        report::warning("not everything could be read or opened anew: the rest stays as it was");
    }
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
