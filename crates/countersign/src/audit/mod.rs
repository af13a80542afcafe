//! The audit record: who connected, how it went, by which keys. No key and no token is ever in one. docs/audit.md lists
//! every field, and a test holds the two together.

mod file;
mod room;
mod trail;

pub use file::AuditFile;
pub use trail::{AuditEvent, AuditTrail, NotRecorded, OnAuditFailure};

use crate::ambient;
use crate::handshake::Failure;
use countersign_proto::context::Facts;
use countersign_proto::crypto::etype_name;
use countersign_proto::error::Refusal;
use serde::Serialize;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

/// What one line of the audit file says. A field that is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// When, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The name of the listener that the client came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The framing that was spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub framing: Option<&'static str>,
    /// How it went.
    pub outcome: Outcome,
    /// The code of a refusal, `CS-2003`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The text of a refusal: what was seen, what we have, what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The client principal, once it is proved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The principal whose key opened the ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The ticket's sname: a claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_service: Option<String>,
    /// The mechanism.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mech: Option<&'static str>,
    /// Etypes of the ticket's key, the session key and the key that protects messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etypes: Option<Etypes>,
    /// Version of the key that opened the ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kvno: Option<u32>,
    /// Flags that were granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<String>,
    /// What became of the channel bindings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bindings: Option<String>,
    /// Whether the service proved itself to the client.
    pub mutual: bool,
    /// Demands that were given up.
    pub waivers: Vec<String>,
    /// From the connection to this record, in microseconds.
    pub duration_us: u64,
}

/// How a connection went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The handshake led to a context.
    Accepted,
    /// It did not.
    Refused,
    /// It did, and later a message was refused, or there was no place for the session.
    Broken,
}

/// Names of the etypes of one context.
#[derive(Clone, Debug, Serialize)]
pub struct Etypes {
    /// Of the key that the ticket is under.
    pub ticket: Cow<'static, str>,
    /// Of the session key in the ticket.
    pub session: Cow<'static, str>,
    /// Of the key that protects messages.
    pub message: Cow<'static, str>,
}

impl Record {
    /// A handshake that led to a context.
    #[must_use]
    pub fn accepted(peer: SocketAddr, facts: &Facts, took: Duration) -> Self {
        Self { mutual: facts.mutual(), ..Self::new(peer, Outcome::Accepted, took) }.with_facts(facts)
    }

    /// A handshake that did not.
    #[must_use]
    pub fn refused(peer: SocketAddr, failure: &Failure, took: Duration) -> Self {
        let record = Self::new(peer, Outcome::Refused, took).with_refusal(&failure.refusal);
        let record = match &failure.facts {
            Some(facts) => record.with_facts(facts),
            None => record,
        };
        Self { claimed_service: failure.claimed_service.clone(), ..record }
    }

    /// A context in which a message was refused.
    #[must_use]
    pub fn broken(peer: SocketAddr, facts: &Facts, refusal: &Refusal, took: Duration) -> Self {
        let record = Self::new(peer, Outcome::Broken, took).with_facts(facts).with_refusal(refusal);
        Self { mutual: facts.mutual(), ..record }
    }

    /// The same record, of a connection to this listener in this framing.
    #[must_use]
    pub fn at(self, listener: &str, framing: &'static str) -> Self {
        Self { listener: Some(listener.to_owned()), framing: Some(framing), ..self }
    }

    fn new(peer: SocketAddr, outcome: Outcome, took: Duration) -> Self {
        let now = ambient::now();
        let whole = now.to_string();
        Self {
            time: format!("{}.{:06}Z", whole.trim_end_matches('Z'), now.micros()),
            peer,
            listener: None,
            framing: None,
            outcome,
            code: None,
            reason: None,
            client: None,
            service: None,
            claimed_service: None,
            mech: None,
            etypes: None,
            kvno: None,
            flags: None,
            bindings: None,
            mutual: false,
            waivers: Vec::new(),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn with_facts(self, facts: &Facts) -> Self {
        let record = Self {
            client: Some(facts.client()),
            service: facts.service(),
            claimed_service: facts.claimed_service(),
            bindings: Some(facts.bindings().to_string()),
            waivers: facts.waivers().iter().map(ToString::to_string).collect(),
            ..self
        };
        match facts {
            Facts::Ntlm { .. } => Self { mech: Some("ntlm"), ..record },
            Facts::Kerberos(facts) => Self {
                mech: Some(if facts.by_iakerb { "iakerb" } else { "kerberos" }),
                etypes: Some(Etypes {
                    ticket: etype_name(facts.ticket_etype),
                    session: facts.session_etype.name().into(),
                    message: facts.message_etype.name().into(),
                }),
                kvno: facts.kvno,
                flags: Some(facts.flags.to_string()),
                ..record
            },
        }
    }

    fn with_refusal(self, refusal: &Refusal) -> Self {
        Self { code: Some(refusal.code().to_string()), reason: Some(refusal.to_string()), ..self }
    }
}
