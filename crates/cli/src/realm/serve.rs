//! `countersign realm serve`: the realm's KDC on the network.

use super::folder;
use crate::args::{RealmLog, RealmServeArguments};
use crate::{descriptors, output, report, signals};
use countersign::audit::AuditFile;
use countersign::proto::error::{Refusal, code};
use countersign::realm::kdc_server::{KdcServer, Served};
use countersign::realm::{Administered, AdministrationLine, KdcLine, ServedRealm};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Serves until the process is told to end.
pub(super) fn run(arguments: &RealmServeArguments) -> Result<(), Refusal> {
    let realm = folder(&arguments.realm).serve("serves its KDC")?;
    // Each connection takes a descriptor; how many there are decides nothing here.
    let _ = descriptors::raised();
    let log = Arc::new(Log::new(arguments)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("the program's own event loop", &error))?;
    let served = runtime.block_on(serve(&realm, &arguments.listen, &log));
    // What is being answered now is answered to its end before the realm is closed.
    drop(runtime);
    served.and(realm.save())
}

async fn serve(realm: &Arc<ServedRealm>, addresses: &[SocketAddr], log: &Arc<Log>) -> Result<(), Refusal> {
    let told_to_end = signals::told_to_end()?;
    let mut servers = Vec::new();
    for address in addresses {
        servers.push(KdcServer::bind(*address).await?);
    }
    let bound: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    realm.tell(&format!("serves {}", bound.join(" ")))?;
    let mut serving = JoinSet::new();
    for server in servers {
        output::print(&format!("listening on {}\n", server.address()))?;
        let log = Arc::clone(log);
        serving.spawn(server.serve(Arc::clone(realm), move |served| log.served(served)));
    }
    let log = Arc::clone(log);
    let tending = Arc::clone(realm).tend(move |administered| log.administered(&administered));
    tokio::select! {
        tended = tending => tended,
        () = told_to_end => Ok(()),
    }
}

/// Where requests and changes are told.
struct Log {
    audit: Option<AuditFile>,
    requests: bool,
}

impl Log {
    fn new(arguments: &RealmServeArguments) -> Result<Self, Refusal> {
        let audit = arguments.audit.as_deref().map(AuditFile::open).transpose()?;
        Ok(Self { audit, requests: arguments.log == RealmLog::All })
    }

    fn served(&self, served: &Served) {
        let line = KdcLine::from(served);
        if self.requests {
            report::line(&line.described());
        }
        self.told(self.audit.as_ref().map(|audit| audit.append(&line)));
    }

    fn administered(&self, administered: &Administered) {
        let line = AdministrationLine::from(administered);
        report::line(&line.described());
        self.told(self.audit.as_ref().map(|audit| audit.append(&line)));
    }

    fn told(&self, appended: Option<Result<(), Refusal>>) {
        if let Some(Err(refusal)) = appended {
            report::line(&refusal.to_string());
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Refusal {
    Refusal::new(code::LISTEN_FAILED, format!("{what} ({error})"), "nowhere else to listen")
}
