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

    /// Names for people end with an ellipsis where they are cut, before the realm or in it; an `@` within a name has a
    /// backslash before it.
    fn whole(&self) -> Result<(), IdentityTooLong> {
        let is_cut = |name: &str| name.ends_with('…') || name.contains("…@");
        let names = [Some(self.client.as_str()), self.service.as_deref()];
        if names.into_iter().flatten().any(is_cut) { Err(IdentityTooLong) } else { Ok(()) }
    }
}

/// An identity with a name that is not told whole. Cut short it would be somebody else's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a name of the client or of the service that is too long to be told whole")]
pub struct IdentityTooLong;

/// One line of JSON with every field of the identity, its newline included.
///
/// # Errors
/// If a name was cut: names of principals are at 256 characters.
pub fn json_line(identity: &Identity) -> Result<Vec<u8>, IdentityTooLong> {
    identity.whole()?;
    // It cannot fail: there is nothing but text in it. And an empty line is no identity.
    let mut line = serde_json::to_vec(identity).unwrap_or_default();
    line.push(b'\n');
    Ok(line)
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
///
/// # Errors
/// If a name was cut, or is longer than the header has room for.
pub fn proxy_v2(identity: &Identity) -> Result<Vec<u8>, IdentityTooLong> {
    identity.whole()?;
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
            tlv(*kind, value.as_bytes(), &mut rest)?;
        }
    }
    let mut header = SIGNATURE.to_vec();
    header.extend_from_slice(&[VERSION_AND_COMMAND, family]);
    header.extend_from_slice(&length(rest.len())?);
    header.append(&mut rest);
    Ok(header)
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

fn tlv(kind: u8, value: &[u8], out: &mut Vec<u8>) -> Result<(), IdentityTooLong> {
    out.push(kind);
    out.extend_from_slice(&length(value.len())?);
    out.extend_from_slice(value);
    Ok(())
}

fn length(bytes: usize) -> Result<[u8; 2], IdentityTooLong> {
    u16::try_from(bytes).map(u16::to_be_bytes).map_err(|_| IdentityTooLong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_proto::krb5::msg::principal::Principal;

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
        let header = proxy_v2(&identity("192.0.2.1:4660", "192.0.2.2:22136")).unwrap();
        assert_eq!(&header[..14], b"\r\n\r\n\0\r\nQUIT\n\x21\x11");
        assert_eq!(usize::from(u16::from_be_bytes([header[14], header[15]])), header.len() - 16);
        assert_eq!(&header[16..28], [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0x56, 0x78]);
        assert_eq!(&header[28..31], [0xE0, 0, 18]);
        assert_eq!(&header[31..49], b"alice@EXAMPLE.TEST");
        assert!(header.ends_with(b"\xE4\0\x06mutual"));
    }

    #[test]
    fn addresses_of_two_families_go_as_ipv6() {
        let header = proxy_v2(&identity("[2001:db8::1]:1", "192.0.2.2:2")).unwrap();
        assert_eq!(header[13], TCP_OVER_IPV6);
        assert_eq!(header[32..48], as_ipv6("192.0.2.2".parse().unwrap()));
        let mapped = proxy_v2(&identity("[::ffff:192.0.2.1]:1", "192.0.2.2:2")).unwrap();
        assert_eq!(mapped[13], TCP_OVER_IPV4);
    }

    #[test]
    fn a_service_that_proved_nothing_is_left_out() {
        let mut of_ntlm = identity("192.0.2.1:1", "192.0.2.2:2");
        (of_ntlm.service, of_ntlm.mutual) = (None, false);
        let header = proxy_v2(&of_ntlm).unwrap();
        assert!(!header.windows(3).any(|window| window[0] == 0xE1 && window[1] == 0));
        assert!(header.ends_with(b"\xE4\0\x0Anot-mutual"));
        let line: serde_json::Value = serde_json::from_slice(&json_line(&of_ntlm).unwrap()).unwrap();
        assert_eq!(line.get("service"), None);
    }

    #[test]
    fn an_identity_without_room_in_the_header_is_no_shorter_one() {
        let mut long = identity("192.0.2.1:1", "192.0.2.2:2");
        let others = proxy_v2(&long).unwrap().len() - 16 - long.client.len();
        long.client = "a".repeat(65_535 - others);
        let header = proxy_v2(&long).unwrap();
        assert_eq!((&header[14..16], header.len()), (&[0xFF, 0xFF][..], 16 + 65_535));
        long.client.push('a');
        assert_eq!(proxy_v2(&long), Err(IdentityTooLong));
        long.client = "a".repeat(65_536);
        assert_eq!(proxy_v2(&long), Err(IdentityTooLong));
    }

    #[test]
    fn a_name_that_was_cut_is_told_to_nobody() {
        let principal = |length| Principal::new("EXAMPLE.TEST", &[&"a".repeat(length)]).to_string();
        let realm = |length| Principal::new(&"R".repeat(length), &["alice"]).to_string();
        for (client, is_whole) in
            [(principal(256), true), (principal(257), false), (realm(256), true), (realm(257), false)]
        {
            let long = Identity { client, ..identity("192.0.2.1:1", "192.0.2.2:2") };
            assert_eq!((proxy_v2(&long).is_ok(), json_line(&long).is_ok()), (is_whole, is_whole), "{long:?}");
        }
    }

    #[test]
    fn the_json_is_one_line_whatever_is_in_a_name() {
        let mut odd = identity("192.0.2.1:1", "192.0.2.2:2");
        odd.client = "a\n\"b\u{2028}@R".into();
        let line = json_line(&odd).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value.get("client").unwrap(), "a\n\"b\u{2028}@R");
    }
}
