//! The service behind a listener.

use super::forms::{self, Said, Wrong};
use super::reader::Reader;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A service that gets what clients say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Upstream {
    /// Where it is.
    pub(crate) address: UpstreamAddress,
    /// How it learns who the client is.
    pub(crate) identity: UpstreamIdentity,
    /// How long connecting may take.
    pub(crate) connect_timeout: Duration,
    /// Take the end of a client's connection for the end of what it says, where no mark of the end came.
    pub(crate) allow_unmarked_end: bool,
}

/// Where an upstream is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UpstreamAddress {
    /// HOST:PORT; an address of IPv6 is in brackets.
    Tcp(String),
    /// The path of a socket on this machine.
    Unix(PathBuf),
}

/// How an upstream learns who the client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UpstreamIdentity {
    /// Not at all.
    None,
    /// By a header of the PROXY protocol, version 2, with the identity in TLVs.
    ProxyV2,
    /// By a line of JSON before everything else.
    Json,
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for UpstreamIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = IDENTITIES.iter().find(|(_, identity)| identity == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

const IDENTITIES: &[(&str, UpstreamIdentity)] = &[
    ("none", UpstreamIdentity::None),
    ("proxy-v2", UpstreamIdentity::ProxyV2),
    ("json", UpstreamIdentity::Json),
];

/// How long connecting may take where nothing is said.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The upstream of a listener, if it has one; its other keys have no meaning without it.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Upstream> {
    let address = reader.one("upstream", address);
    let identity = reader.one("upstream_identity", forms::choice(IDENTITIES));
    let longest = Duration::from_secs(600);
    let connect_timeout =
        reader.one("upstream_connect_timeout", forms::duration(Duration::from_millis(1)..=longest));
    let allow_unmarked_end = reader.one("allow_unmarked_end", forms::boolean);
    if !reader.has("upstream") {
        for key in ["upstream_identity", "upstream_connect_timeout", "allow_unmarked_end"] {
            reader.meaningless(key, "no upstream");
        }
    }
    Some(Upstream {
        address: address?,
        identity: identity.unwrap_or(UpstreamIdentity::None),
        connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
        allow_unmarked_end: allow_unmarked_end.unwrap_or(false),
    })
}

fn address(said: &Said<'_>) -> Result<UpstreamAddress, Wrong> {
    let wrong = || Wrong::form("\"HOST:PORT\" or \"unix:/path\"");
    let text = forms::text(said).map_err(|_| wrong())?;
    if let Some(path) = text.strip_prefix("unix:") {
        return path.starts_with('/').then(|| UpstreamAddress::Unix(path.into())).ok_or_else(wrong);
    }
    is_host_and_port(&text).then_some(UpstreamAddress::Tcp(text)).ok_or_else(wrong)
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', '[', ']', ' ', '@']),
    };
    is_port && is_host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_a_port() {
        for good in ["127.0.0.1:5432", "db.example.test:5432", "[::1]:5432", "localhost:1"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in [
            "",
            ":",
            "5432",
            "127.0.0.1",
            "127.0.0.1:",
            "h:0",
            "h:65536",
            "h:+1",
            "::1:80",
            "[x]:80",
            ":80",
            "http://h:80",
        ] {
            assert!(!is_host_and_port(bad), "{bad}");
        }
    }
}
