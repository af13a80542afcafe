//! One client, from its connection to its end.

use super::listeners::Listener;
use super::process::Process;
use super::{echo, upstream};
use crate::config::Target;
use crate::observe::drain::Drain;
use crate::report;
use countersign::Failure;
use countersign::audit::{NotRecorded, Record};
use countersign::metrics::TunnelEnd;
use countersign::proto::context::{Facts, Rejected};
use countersign::proto::error::{Fault, Refusal, code};
use countersign::tokio::{Session, accept};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpStream;

/// A client that is being attended to.
pub(super) struct Client {
    pub(super) process: Arc<Process>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: SocketAddr,
    began: Instant,
}

/// Lets the client prove itself, and hands it on.
pub(super) async fn attend(
    process: Arc<Process>,
    listener: Arc<Listener>,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let client = Client { process, listener, peer, began: Instant::now() };
    // Small answers must not wait for more to come; if the system refuses, they do.
    let _ = socket.set_nodelay(true);
    let in_flight = client.listener.metrics.handshake_began();
    let accepted = tokio::select! {
        accepted = accept(&client.listener.service, socket, peer.ip()) => accepted,
        // It had its time to end, too.
        () = client.process.drain.over() => Err(ended_with_the_service()),
    };
    drop(in_flight);
    match accepted {
        // In a box: a connection that never gets so far need not have room for it.
        Ok(session) => Box::pin(client.serve(session)).await,
        Err(failure) => client.refused(&failure),
    }
}

impl Client {
    fn refused(&self, failure: &Failure) {
        let took = self.began.elapsed();
        self.listener.metrics.refused(failure, took);
        // That records are lost is told once, by the trail itself.
        let _ = self.record(Record::refused(self.peer, failure, took));
        self.process.refusals.refused(&self.listener.name, self.peer, failure);
    }

    async fn serve(&self, session: Session<TcpStream>) {
        let took = self.began.elapsed();
        let facts = session.facts().clone();
        self.process.attempts.succeeded(self.peer.ip());
        self.listener.metrics.accepted(&facts, took);
        let tunnel = self.listener.metrics.tunnel_opened();
        let Ok(_place) = self.process.sessions.try_acquire() else {
            // Others took the last places since this client was let in. Its record says so, or nobody could tell it from one
            // that was served.
            let refusal = no_place();
            let _ = self.record(Record::broken(self.peer, &facts, &refusal, took));
            report::ended(&self.listener.name, self.peer, &refusal);
            return tunnel.ended(TunnelEnd::Abandoned);
        };
        if let Err(lost) = self.record(Record::accepted(self.peer, &facts, took)) {
            report::ended(&self.listener.name, self.peer, &lost.into());
            return tunnel.ended(TunnelEnd::NotRecorded);
        }
        report::accepted(&self.listener.name, self.peer, &facts);
        let (end, refusal) = match &self.listener.target {
            Target::Echo => echo::echo(self, session).await,
            Target::Upstream(upstream) => upstream::carry(self, upstream, session, &tunnel).await,
        };
        if let Some(refusal) = refusal {
            self.broken(&facts, &refusal);
        }
        tunnel.ended(end);
    }

    /// What befell a client that was let in. The network's faults are not the client's, and in the log alone.
    fn broken(&self, facts: &Facts, refusal: &Refusal) {
        if refusal.code().fault() != Fault::Environment {
            self.listener.metrics.broken(refusal);
            let _ = self.record(Record::broken(self.peer, facts, refusal, self.began.elapsed()));
        }
        report::ended(&self.listener.name, self.peer, refusal);
    }

    /// Writes a record. If it is not written, and must be, the connection may not go on.
    fn record(&self, record: Record) -> Result<(), NotRecorded> {
        let record = record.at(&self.listener.name, self.listener.framing);
        self.process.audit.as_ref().map_or(Ok(()), |audit| audit.record(&record))
    }
}

/// A handshake that was still open when the time of the service's end had come.
fn ended_with_the_service() -> Failure {
    Box::new(Rejected { refusal: Drain::refusal(), claimed_service: None, facts: None })
}

/// Why a client that proved itself is not served.
pub(super) fn no_place() -> Refusal {
    Refusal::new(code::SESSIONS_EXHAUSTED, "one client more", "no place left for a session")
}
