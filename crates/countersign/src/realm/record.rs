//! What a realm's server did, as lines for the audit file. No key, password or token is ever in one.

use super::Administered;
use super::kdc_server::Served;
use crate::ambient;
use countersign_proto::krb5::msg::kdc_req::KdcReqKind;
use countersign_proto::krb5::msg::krb_error::error_name;
use countersign_proto::time::Timestamp;
use countersign_realm::Outcome;
use serde::Serialize;
use std::net::SocketAddr;

/// One request to the KDC. A field that is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub struct KdcLine {
    /// When, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// From where.
    pub peer: SocketAddr,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// `as` or `tgs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The client: as the request names it, until it is known who that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The service, as the request names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `granted`, `continued`, `refused` or `ignored`.
    pub outcome: &'static str,
    /// Why it was refused: more than the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The error that the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub krb_error: Option<i32>,
    /// With what the client proved itself, or tried to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preauth: Option<String>,
    /// Whether the request was in FAST's armor.
    pub armored: bool,
    /// Etype of the key that the reply is under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_etype: Option<&'static str>,
    /// Etype of the session key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_etype: Option<&'static str>,
    /// Etype of the key that the ticket is under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket_etype: Option<&'static str>,
    /// Until when the ticket is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endtime: Option<String>,
    /// What the account store could not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How long it took, waiting for others included, in microseconds.
    pub duration_us: u64,
}

impl From<&Served> for KdcLine {
    fn from(served: &Served) -> Self {
        let record = &served.record;
        let (outcome, reason) = match record.outcome {
            Outcome::Granted => ("granted", None),
            Outcome::Continued => ("continued", None),
            Outcome::Refused(reason) => ("refused", Some(reason.text())),
            Outcome::Ignored => ("ignored", None),
        };
        Self {
            time: now(),
            peer: served.peer,
            transport: served.transport.word(),
            kind: record.kind.map(kind),
            client: record.client.as_ref().map(ToString::to_string),
            service: record.service.as_ref().map(ToString::to_string),
            outcome,
            reason,
            krb_error: record.krb_error,
            preauth: record.preauth.map(|preauth| preauth.to_string()),
            armored: record.armored,
            reply_etype: record.reply_etype.map(|etype| etype.name()),
            session_etype: record.session_etype.map(|etype| etype.name()),
            ticket_etype: record.ticket_etype.map(|etype| etype.name()),
            endtime: record.endtime.map(|time| time.to_string()),
            trouble: record.trouble.as_ref().map(ToString::to_string),
            duration_us: u64::try_from(served.took.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl KdcLine {
    /// The same in a line for people: `192.0.2.1:5000 udp as alice@R for krbtgt/R@R: granted, by spake`.
    #[must_use]
    pub fn described(&self) -> String {
        let mut text = format!("{} {}", self.peer, self.transport);
        if let Some(kind) = self.kind {
            text.push_str(&format!(" {kind}"));
        }
        if let Some(client) = &self.client {
            text.push_str(&format!(" {client}"));
        }
        if let Some(service) = &self.service {
            text.push_str(&format!(" for {service}"));
        }
        text.push_str(&format!(": {}", self.outcome));
        let armor = self.armored.then(|| "armored".to_owned());
        let by = self.preauth.as_ref().map(|preauth| format!("by {preauth}"));
        let reason = self.reason.map(str::to_owned);
        let error = self.krb_error.map(|code| match error_name(code) {
            Some(name) => name.to_owned(),
            None => format!("error {code}"),
        });
        for part in [by, armor, reason, error, self.trouble.clone()].into_iter().flatten() {
            text.push_str(&format!(", {part}"));
        }
        text
    }
}

/// One request of administration. A field that is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub struct AdministrationLine {
    /// When, RFC 3339 in UTC with microseconds.
    pub time: String,
    /// The user, by the system's number, whose process asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// That process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was asked for: `passwd alice`.
    pub administration: String,
    /// `done` or `refused`.
    pub outcome: &'static str,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Administered> for AdministrationLine {
    fn from(administered: &Administered) -> Self {
        let refusal = administered.refusal.as_ref();
        Self {
            time: now(),
            uid: administered.by.map(|(uid, _)| uid),
            pid: administered.by.and_then(|(_, pid)| pid),
            administration: administered.request.clone(),
            outcome: if refusal.is_some() { "refused" } else { "done" },
            code: refusal.map(|refusal| refusal.code().to_string()),
            reason: refusal.map(ToString::to_string),
        }
    }
}

impl AdministrationLine {
    /// The same in a line for people: `user 0, process 77: passwd alice: done`.
    #[must_use]
    pub fn described(&self) -> String {
        let who = match (self.uid, self.pid) {
            (Some(uid), Some(pid)) => format!("user {uid}, process {pid}"),
            (Some(uid), None) => format!("user {uid}"),
            (None, _) => "this process".to_owned(),
        };
        let ended = self.reason.as_deref().unwrap_or(self.outcome);
        format!("{who}: {}: {ended}", self.administration)
    }
}

const fn kind(kind: KdcReqKind) -> &'static str {
    match kind {
        KdcReqKind::As => "as",
        KdcReqKind::Tgs => "tgs",
    }
}

fn now() -> String {
    let now: Timestamp = ambient::now();
    let whole = now.to_string();
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), now.micros())
}
