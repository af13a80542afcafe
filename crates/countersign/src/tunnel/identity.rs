//! How the service behind a tunnel learns who the client is, before the first byte of the client's own.

use countersign_proto::context::Facts;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// Who a client is, in words.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// The client principal, `alice@EXAMPLE.TEST`, or by NTLM `DOMAIN\alice`.
    pub client: String,
    /// The service principal that was proved to it; NTLM has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The mechanism: `kerberos`, `iakerb` or `ntlm`.
    pub mech: String,
    /// What protects messages: the etype, or `ntlm`.
    pub protection: String,
    /// Whether the service proved itself to the client.
    pub mutual: bool,
    /// Where the client's connection comes from.
    pub peer: SocketAddr,
    /// Where it was accepted.
    pub local: SocketAddr,
}

impl Identity {
    /// Of the client that a handshake led to.
    #[must_use]
    pub fn new(facts: &Facts, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            client: facts.client(),
            service: facts.service(),
            mech: facts.mech().to_string(),
            protection: facts.protection().to_owned(),
            mutual: facts.mutual(),
            peer,
            local,
        }
    }
}

/// One line of JSON with every field of the identity, its newline included.
#[must_use]
pub fn json_line(identity: &Identity) -> Vec<u8> {
    let mut line = serde_json::to_vec(identity).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What begins a header of the PROXY protocol, version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, a connection on behalf of somebody.
const VERSION_AND_COMMAND: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The TLVs of the identity in the PROXY protocol's range for applications (0xE0 to 0xEF): their types, and what each
/// holds as text.
pub const PROXY_TLVS: [(u8, &str); 5] = [
    (0xE0, "client principal"),
    (0xE1, "service principal; absent with NTLM"),
    (0xE2, "mechanism: kerberos, iakerb or ntlm"),
    (0xE3, "what protects messages: the etype, or ntlm"),
    (0xE4, "\"mutual\" if the service proved itself, else \"not-mutual\""),
];

/// A header of the PROXY protocol, version 2, with the identity in its TLVs.
#[must_use]
pub fn proxy_v2(identity: &Identity) -> Vec<u8> {
    let mut rest = Vec::new();
    let family = addresses(identity.peer, identity.local, &mut rest);
    let mutual = if identity.mutual { "mutual" } else { "not-mutual" };
    let values = [
        Some(identity.client.as_str()),
        identity.service.as_deref(),
        Some(&identity.mech),
        Some(&identity.protection),
        Some(mutual),
    ];
    for ((kind, _), value) in PROXY_TLVS.iter().zip(values) {
        if let Some(value) = value {
            tlv(*kind, value.as_bytes(), &mut rest);
        }
    }
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[VERSION_AND_COMMAND, family]);
    header.extend_from_slice(&u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.append(&mut rest);
    header
}

/// Both addresses in one family: if they are not of one, as IPv6.
fn addresses(peer: SocketAddr, local: SocketAddr, out: &mut Vec<u8>) -> u8 {
    let family = match (peer.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            TCP_OVER_IPV4
        }
        (from, to) => {
            out.extend_from_slice(&as_ipv6(from));
            out.extend_from_slice(&as_ipv6(to));
            TCP_OVER_IPV6
        }
    };
    out.extend_from_slice(&peer.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
    family
}

fn as_ipv6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Longest value of a TLV, so that all of them fit into a header; a principal that is longer has never been seen.
const MAX_VALUE: usize = 12_000;

fn tlv(kind: u8, value: &[u8], out: &mut Vec<u8>) {
    let value = value.get(..MAX_VALUE).unwrap_or(value);
    out.push(kind);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(peer: &str, local: &str) -> Identity {
        Identity {
            client: "alice@EXAMPLE.TEST".into(),
            service: Some("postgres/db.example.test@EXAMPLE.TEST".into()),
            mech: "kerberos".into(),
            protection: "aes256-cts-hmac-sha1-96".into(),
            mutual: true,
            peer: peer.parse().unwrap(),
            local: local.parse().unwrap(),
        }
    }

    #[test]
    fn the_header_has_both_addresses_and_a_tlv_for_each_fact() {
        let header = proxy_v2(&identity("192.0.2.1:4660", "192.0.2.2:22136"));
        assert_eq!(&header[..14], b"\r\n\r\n\0\r\nQUIT\n\x21\x11");
        assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), header.len() - 16);
        assert_eq!(&header[16..28], [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(&header[28..31], [0xE0, 0, 18]);
        assert_eq!(&header[31..49], b"alice@EXAMPLE.TEST");
        assert!(header.ends_with(b"\xE4\0\x06mutual"));
    }

    #[test]
    fn addresses_of_two_families_go_as_ipv6() {
        let header = proxy_v2(&identity("[2001:db8::1]:1", "192.0.2.2:2"));
        assert_eq!(header[13], TCP_OVER_IPV6);
        assert_eq!(header[32..48], as_ipv6("192.0.2.2".parse().unwrap()));
        let mapped = proxy_v2(&identity("[::ffff:192.0.2.1]:1", "192.0.2.2:2"));
        assert_eq!(mapped[13], TCP_OVER_IPV4);
    }

    #[test]
    fn a_service_that_proved_nothing_is_left_out() {
        let mut of_ntlm = identity("192.0.2.1:1", "192.0.2.2:2");
        (of_ntlm.service, of_ntlm.mutual) = (None, false);
        let header = proxy_v2(&of_ntlm);
        assert!(!header.windows(3).any(|window| window[0] == 0xE1 && window[1] == 0));
        assert!(header.ends_with(b"\xE4\0\x0Anot-mutual"));
        let line: serde_json::Value = serde_json::from_slice(&json_line(&of_ntlm)).unwrap();
        assert_eq!(line.get("service"), None);
    }

    #[test]
    fn a_principal_of_any_length_leaves_the_header_whole() {
        let mut long = identity("192.0.2.1:1", "192.0.2.2:2");
        long.client = "a".repeat(100_000);
        let header = proxy_v2(&long);
        assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), header.len() - 16);
    }

    #[test]
    fn the_json_is_one_line_whatever_is_in_a_name() {
        let mut odd = identity("192.0.2.1:1", "192.0.2.2:2");
        odd.client = "a\n\"b\u{2028}@R".into();
        let line = json_line(&odd);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value.get("client").unwrap(), "a\n\"b\u{2028}@R");
    }
}
