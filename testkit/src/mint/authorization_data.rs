//! Elements of authorization data as an initiator puts them into its authenticator, or a KDC into a ticket.

use countersign_proto::der::Writer;
use countersign_proto::krb5::msg::authorization_data::{self as msg, Element};

/// An AuthorizationData of these types and contents, all of which must be understood.
#[must_use]
pub fn critical(elements: &[(i32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).sequence(|list| {
        for &(ad_type, data) in elements {
            Element { ad_type, data }.write(list);
        }
    });
    out
}

/// The same inside AD-IF-RELEVANT: whoever does not know an element ignores it.
#[must_use]
pub fn if_relevant(elements: &[(i32, &[u8])]) -> Vec<u8> {
    let elements: Vec<_> = elements.iter().map(|&(ad_type, data)| Element { ad_type, data }).collect();
    msg::if_relevant(&elements)
}

/// Contents of element 129: the etypes that the initiator takes for the acceptor's subkey (RFC 4537).
#[must_use]
pub fn etype_list(etypes: &[i32]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out).sequence(|list| etypes.iter().for_each(|etype| list.integer((*etype).into())));
    out
}

/// Contents of element 144: the SPN that the client means to reach, in UTF-16LE (MS-KILE).
#[must_use]
pub fn client_target(spn: &str) -> Vec<u8> {
    spn.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
