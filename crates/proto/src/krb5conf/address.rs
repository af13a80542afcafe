//! Where a KDC is, as a relation says it.

use std::fmt;
use std::net::Ipv6Addr;

/// Port of a KDC (RFC 4120 section 7.2.1).
pub(super) const KDC_PORT: u16 = 88;
/// Port of kadmind.
pub(super) const ADMIN_PORT: u16 = 749;
/// Port of the password change service (RFC 3244).
pub(super) const KPASSWD_PORT: u16 = 464;

/// Longest name of a host, in bytes (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 255;
const HTTPS: &str = "https://";

/// A KDC, or another server of a realm.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum KdcAddress {
    /// A host that speaks Kerberos on a socket.
    Socket {
        /// The only transport to be used; none for UDP and TCP by the usual rules.
        transport: Option<Transport>,
        /// Name or address of the host; an IPv6 address without its brackets.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
    },
    /// A proxy that takes KDC messages by HTTPS (MS-KKDCP).
    Https {
        /// The whole URL, `https://host[:port][/path]`.
        url: String,
    },
}

/// What carries messages between a KDC and its clients (RFC 4120 section 7.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    /// A datagram each way.
    Udp,
    /// A connection, with a length of 4 bytes before each message.
    Tcp,
}

/// Why a text is no address that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressFault {
    /// There is no host in it, or none that a name or address could be.
    #[error("no name or address of a host")]
    Host,
    /// What follows the host is no port.
    #[error("no port, 1 to 65535")]
    Port,
    /// A transport that other implementations have and this one has not: HTTP without TLS, or a UNIX domain socket.
    #[error("a transport that is not spoken")]
    Transport,
}

impl KdcAddress {
    /// A host that is asked by UDP and TCP.
    #[must_use]
    pub fn socket(host: impl Into<String>, port: u16) -> Self {
        Self::Socket { transport: None, host: host.into(), port }
    }

    /// Reads a KDC as `kdc =` has it: `host`, `host:port`, `address`, `[v6 address]:port`, each with `udp/` or `tcp/` before it
    /// as Heimdal has them, or `https://host[:port][/path]`. Without a port it is 88.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        Self::with_default_port(text, KDC_PORT)
    }

    pub(super) fn with_default_port(text: &str, default_port: u16) -> Result<Self, AddressFault> {
        if let Some(rest) = strip_prefix_ignoring_case(text, HTTPS) {
            let authority = rest.split('/').next().unwrap_or(rest);
            host_and_port(authority, default_port)?;
            return Ok(Self::Https { url: format!("{HTTPS}{rest}") });
        }
        if ["/", "http/", "http://"].iter().any(|prefix| strip_prefix_ignoring_case(text, prefix).is_some()) {
            return Err(AddressFault::Transport);
        }
        let (transport, rest) = match (text.strip_prefix("udp/"), text.strip_prefix("tcp/")) {
            (Some(rest), _) => (Some(Transport::Udp), rest),
            (None, Some(rest)) => (Some(Transport::Tcp), rest),
            (None, None) => (None, text),
        };
        let (host, port) = host_and_port(rest, default_port)?;
        Ok(Self::Socket { transport, host: host.to_owned(), port })
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn host_and_port(text: &str, default_port: u16) -> Result<(&str, u16), AddressFault> {
    let (host, port) =
        if let Some((host, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            (host, rest)
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, "")
        } else {
            text.split_at(text.find(':').unwrap_or(text.len()))
        };
    // A number alone is a port to MIT, which then misses the host.
    let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
    let is_foreign =
        |character: char| character.is_whitespace() || character.is_control() || "/[]@".contains(character);
    if host.len() > MAX_HOST || is_number || host.contains(is_foreign) {
        return Err(AddressFault::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port != 0).ok_or(AddressFault::Port)?
        }
        _ => return Err(AddressFault::Port),
    };
    Ok((host, port))
}

/// As krb5.conf has it, always with the port.
impl fmt::Display for KdcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https { url } => f.write_str(url),
            Self::Socket { transport, host, port } => {
                f.write_str(match transport {
                    None => "",
                    Some(Transport::Udp) => "udp/",
                    Some(Transport::Tcp) => "tcp/",
                })?;
                if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, shown) in [
            ("kdc.example.test", "kdc.example.test:88"),
            ("kdc.example.test:750", "kdc.example.test:750"),
            ("192.0.2.1", "192.0.2.1:88"),
            ("192.0.2.1:1088", "192.0.2.1:1088"),
            ("2001:db8::1", "[2001:db8::1]:88"),
            ("[2001:db8::1]", "[2001:db8::1]:88"),
            ("[2001:db8::1]:1088", "[2001:db8::1]:1088"),
            ("tcp/kdc.example.test", "tcp/kdc.example.test:88"),
            ("udp/[::1]:89", "udp/[::1]:89"),
            ("tcp/::1", "tcp/[::1]:88"),
            ("https://proxy.example.test/KdcProxy", "https://proxy.example.test/KdcProxy"),
            ("HTTPS://proxy.example.test:8443", "https://proxy.example.test:8443"),
        ] {
            assert_eq!(
                KdcAddress::parse(text).map(|address| address.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn texts_that_are_no_address_are_refused() {
        use AddressFault::{Host, Port, Transport};
        for (text, fault) in [
            ("", Host),
            (":88", Host),
            ("750", Host),
            ("[]:88", Host),
            ("tcp/", Host),
            ("ldap/kdc", Host),
            ("a b", Host),
            ("[::1", Host),
            ("https://", Host),
            ("https:///path", Host),
            ("kdc:", Port),
            ("kdc:0", Port),
            ("kdc:65536", Port),
            ("kdc:+88", Port),
            ("kdc:88x", Port),
            ("[::1]88", Port),
            ("https://proxy:x/path", Port),
            ("http/kdc", Transport),
            ("http://kdc:80/", Transport),
            ("/run/krb5kdc.sock", Transport),
        ] {
            assert_eq!(KdcAddress::parse(text), Err(fault), "{text}");
        }
    }
}
