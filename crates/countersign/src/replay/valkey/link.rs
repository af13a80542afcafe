//! One connection to Valkey, and what was found at its other end.

use super::error::ValkeyError;
use super::settings::Settings;
use countersign_proto::krb5::replay::{ReplayUnavailable, ReplayVerdict};
use countersign_proto::time::Timestamp;
use redis::{Client, Cmd, Connection, Pipeline, RedisError, Value};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// How much of the server's own words is shown.
const SHOWN: usize = 200;

/// A connection to a primary that evicts nothing.
pub(super) struct Link {
    connection: Connection,
    timeout: Duration,
    at: String,
    /// What the connection was made to.
    pub(super) run: Run,
}

/// What changes when a server may have lost entries: it was started anew, or promoted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// Of the process.
    pub(super) id: String,
    /// Of the history of its data. A server begins another one when it is promoted, but also when its first replica comes and
    /// when the last has been gone for an hour.
    pub(super) history: String,
    /// Whether it was a replica before.
    pub(super) is_promoted: bool,
}

impl Run {
    /// Whether a server that is found to be `later` has lost nothing since.
    pub(super) fn goes_on_as(&self, later: &Self) -> bool {
        self.id == later.id && (self.history == later.history || !later.is_promoted)
    }
}

/// A key, and how long it stays.
pub(super) struct Kept {
    pub(super) key: String,
    pub(super) milliseconds: i64,
}

impl Link {
    /// Connects, proves who we are, and looks at the server.
    pub(super) fn establish(settings: &Settings) -> Result<Self, ValkeyError> {
        let (timeout, at) = (settings.timeout, settings.at());
        let absent = |error: &RedisError| absent(&at, error, timeout);
        let client = Client::open(settings.server.clone()).map_err(|error| absent(&error))?;
        let connection = client.get_connection_with_timeout(timeout).map_err(|error| absent(&error))?;
        connection.set_write_timeout(Some(timeout)).map_err(|error| absent(&error))?;
        let run = Run { id: String::new(), history: String::new(), is_promoted: false };
        let mut link = Self { connection, timeout, at, run };
        if let Some(auth) = settings.auth()? {
            let reply = link.exchange(auth.expose(), 1)?.pop().unwrap_or_default();
            link.no_error(reply)?;
        }
        if settings.database != 0 {
            link.send(redis::cmd("SELECT").arg(settings.database))?;
        }
        link.look()?;
        Ok(link)
    }

    fn look(&mut self) -> Result<(), ValkeyError> {
        let server = self.info("server")?;
        let memory = self.info("memory")?;
        let replication = self.info("replication")?;
        let policy = field(&memory, "maxmemory_policy");
        if policy != "noeviction" {
            return Err(ValkeyError::Evicts { at: self.at.clone(), policy: policy.to_owned() });
        }
        let id = field(&server, "run_id").to_owned();
        if id.is_empty() {
            return Err(self.unusable("it does not say which run it is of"));
        }
        self.run = self.run_of(id, &replication)?;
        Ok(())
    }

    fn run_of(&self, id: String, replication: &Fields) -> Result<Run, ValkeyError> {
        if field(replication, "role") != "master" {
            return Err(self.unusable("it is a replica"));
        }
        let history = field(replication, "master_replid").to_owned();
        if history.is_empty() {
            return Err(self.unusable("it does not say which history of its data it is in"));
        }
        let is_promoted = field(replication, "master_replid2").bytes().any(|digit| digit != b'0');
        Ok(Run { id, history, is_promoted })
    }

    /// Whether it has lost nothing since the connection was made, by an INFO.
    fn goes_on(&mut self, replication: &Fields) -> Result<bool, ValkeyError> {
        let now = self.run_of(self.run.id.clone(), replication)?;
        let goes_on = self.run.goes_on_as(&now);
        self.run = now;
        Ok(goes_on)
    }

    fn info(&mut self, section: &str) -> Result<Fields, ValkeyError> {
        let reply = self.send(redis::cmd("INFO").arg(section))?;
        fields(&reply).ok_or_else(|| self.unusable("its INFO is no text"))
    }

    /// Sets those keys that are not there, in one round trip, and says of each whether it was not there: `None` for all if
    /// the server may have lost entries, so that the answers count for nothing.
    pub(super) fn remember(&mut self, keys: &[Kept]) -> Result<Option<Vec<ReplayVerdict>>, ValkeyError> {
        let mut pipeline = Pipeline::with_capacity(keys.len().saturating_add(1));
        for Kept { key, milliseconds } in keys {
            pipeline.cmd("SET").arg(key).arg(1).arg("NX").arg("PX").arg(milliseconds);
        }
        pipeline.cmd("INFO").arg("replication");
        let mut replies = self.exchange(&pipeline.get_packed_pipeline(), pipeline.len())?;
        // Last, so that it speaks for all commands before it.
        let last = replies.pop().unwrap_or_default();
        let verdicts: Result<_, _> = replies.into_iter().map(|reply| self.verdict(reply)).collect();
        let verdicts = verdicts?;
        let goes_on = self.goes_on(&fields(&last).unwrap_or_default())?;
        Ok(goes_on.then_some(verdicts))
    }

    fn verdict(&self, reply: Value) -> Result<ReplayVerdict, ValkeyError> {
        match reply {
            Value::Okay => Ok(ReplayVerdict::Fresh),
            Value::Nil => Ok(ReplayVerdict::Seen),
            Value::ServerError(error) if error.code() == "OOM" => {
                Ok(ReplayVerdict::Unavailable(ReplayUnavailable::Full))
            }
            other => {
                self.no_error(other)?;
                Err(self.unusable("it answers SET with something else than OK or nil"))
            }
        }
    }

    /// Whether the server has lost nothing since the connection was made.
    pub(super) fn is_same(&mut self) -> Result<bool, ValkeyError> {
        let replication = self.info("replication")?;
        self.goes_on(&replication)
    }

    /// The time that another instance left there: authenticators of up to then are refused.
    pub(super) fn changed(&mut self, key: &str) -> Result<Option<Timestamp>, ValkeyError> {
        match self.send(redis::cmd("GET").arg(key))? {
            Value::Nil => Ok(None),
            Value::BulkString(text) => {
                let micros = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
                let micros = micros.ok_or_else(|| self.unusable(&format!("{key} is no time")))?;
                Ok(Some(Timestamp::default().shifted(micros)))
            }
            _ => Err(self.unusable(&format!("{key} is no time"))),
        }
    }

    /// Leaves that time there for other instances.
    pub(super) fn leave_changed(
        &mut self,
        key: &str,
        until: Timestamp,
        stays: Duration,
    ) -> Result<(), ValkeyError> {
        let milliseconds = u64::try_from(stays.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        self.send(set.arg(key).arg(until.total_micros()).arg("PX").arg(milliseconds)).map(drop)
    }

    fn send(&mut self, command: &Cmd) -> Result<Value, ValkeyError> {
        let reply = self.exchange(&command.get_packed_command(), 1)?.pop().unwrap_or_default();
        self.no_error(reply)
    }

    /// Sends packed commands and takes as many replies, all within the deadline. After an error the link is useless.
    fn exchange(&mut self, packed: &[u8], count: usize) -> Result<Vec<Value>, ValkeyError> {
        let end = Instant::now().checked_add(self.timeout);
        let sent = self.connection.send_packed_command(packed);
        sent.map_err(|error| absent(&self.at, &error, self.timeout))?;
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            // The library's own way to take several replies waits anew for each of them, however late it is.
            let reply = self.read_until(end).map_err(|error| absent(&self.at, &error, self.timeout))?;
            replies.push(reply);
        }
        Ok(replies)
    }

    fn read_until(&mut self, end: Option<Instant>) -> Result<Value, RedisError> {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        self.connection.set_read_timeout(left)?;
        self.connection.recv_response()
    }

    fn no_error(&self, reply: Value) -> Result<Value, ValkeyError> {
        match reply {
            Value::ServerError(error) => {
                let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                Err(self.unusable(text.trim()))
            }
            other => Ok(other),
        }
    }

    fn unusable(&self, why: &str) -> ValkeyError {
        ValkeyError::Unusable { at: self.at.clone(), why: why.chars().take(SHOWN).collect() }
    }
}

fn absent(at: &str, error: &RedisError, timeout: Duration) -> ValkeyError {
    let why = if error.is_timeout() { "no answer in time".to_owned() } else { error.to_string() };
    ValkeyError::Absent { at: at.to_owned(), why: why.chars().take(SHOWN).collect(), timeout }
}

/// What an INFO says, by name.
type Fields = HashMap<String, String>;

/// The lines `name:value` of an INFO.
fn fields(reply: &Value) -> Option<Fields> {
    let Value::BulkString(bytes) = reply else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Some(text.lines().filter_map(|line| line.split_once(':')).map(pair).collect())
}

fn field<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).map(String::as_str).unwrap_or_default()
}
