//! The realms that a ticket came through (RFC 4120 sections 2.7 and 3.3.3.2), and whether they were on the way.

use crate::policy::Capaths;

/// tr-type of DOMAIN-X500-COMPRESS, the only encoding there is.
pub const DOMAIN_X500_COMPRESS: i32 = 1;

/// Most realms that a path may have once it is spelt out.
const MAX_REALMS: usize = 32;
/// Longest name of a realm that compression may build up, in bytes.
const MAX_REALM_LEN: usize = 1_024;

/// Why a path is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathFault {
    /// The encoding is of a type that is not known.
    Encoding(i32),
    /// The encoding cannot be spelt out within the bounds (32 realms of 1,024 bytes).
    Malformed,
    /// This realm is not on the way.
    Realm(Vec<u8>),
}

/// Checks that every realm in `transited` lies between the client's and the server's: in `capaths` if it has a path for
/// the two, else on the way up and down the domain tree.
///
/// # Errors
/// If one does not, or the encoding cannot be read.
pub fn check(
    tr_type: i32,
    transited: &[u8],
    client: &[u8],
    server: &[u8],
    capaths: &Capaths,
) -> Result<(), PathFault> {
    if transited.is_empty() {
        return Ok(());
    }
    if tr_type != DOMAIN_X500_COMPRESS {
        return Err(PathFault::Encoding(tr_type));
    }
    let passed = expand(transited, client, server)?;
    let allowed = realms_between(client, server, capaths);
    let on_the_way = |realm: &Vec<u8>| realm == client || realm == server || allowed.contains(realm);
    match passed.into_iter().find(|realm| !on_the_way(realm)) {
        Some(realm) => Err(PathFault::Realm(realm)),
        None => Ok(()),
    }
}

/// The realms on the way from `client` to `server`, in order, without the two: as capaths have them, else up and down the
/// domain tree.
#[must_use]
pub fn realms_between(client: &[u8], server: &[u8], capaths: &Capaths) -> Vec<Vec<u8>> {
    capaths.get(client, server).map_or_else(|| between(client, server), <[Vec<u8>]>::to_vec)
}

/// Spells the encoding out. An empty subfield stands for all realms between its neighbours.
fn expand(transited: &[u8], client: &[u8], server: &[u8]) -> Result<Vec<Vec<u8>>, PathFault> {
    let mut realms: Vec<Vec<u8>> = Vec::new();
    let mut previous: Vec<u8> = Vec::new();
    let mut gap_from: Option<Vec<u8>> = None;
    for field in subfields(transited)? {
        if field.text.is_empty() {
            gap_from = Some(if realms.is_empty() { client.to_vec() } else { previous.clone() });
            continue;
        }
        let realm = field.joined_to(&previous);
        if let Some(from) = gap_from.take() {
            realms.extend(between(&from, &realm));
        }
        realms.push(realm.clone());
        previous = realm;
        if realms.len() > MAX_REALMS || previous.len() > MAX_REALM_LEN {
            return Err(PathFault::Malformed);
        }
    }
    if let Some(from) = gap_from {
        realms.extend(between(&from, server));
    }
    Ok(realms)
}

struct Subfield {
    text: Vec<u8>,
    /// Begins with a space: what follows is a whole name, not a piece of one.
    whole: bool,
    /// Ends with a dot that was not quoted: a domain-style piece, continued by the name before it.
    domain_piece: bool,
}

impl Subfield {
    fn joined_to(&self, previous: &[u8]) -> Vec<u8> {
        if self.whole {
            self.text.clone()
        } else if self.domain_piece {
            [&self.text, previous].concat()
        } else if self.text.first() == Some(&b'/') {
            [previous, &self.text].concat()
        } else {
            self.text.clone()
        }
    }
}

/// Splits at commas; a backslash takes the meaning from the byte after it.
fn subfields(transited: &[u8]) -> Result<Vec<Subfield>, PathFault> {
    let mut fields = Vec::new();
    let mut field = Subfield { text: Vec::new(), whole: false, domain_piece: false };
    let mut bytes = transited.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => {
                fields.push(field);
                field = Subfield { text: Vec::new(), whole: false, domain_piece: false };
                continue;
            }
            b' ' if field.text.is_empty() && !field.whole => {
                field.whole = true;
                continue;
            }
            b'\\' => field.text.push(*bytes.next().ok_or(PathFault::Malformed)?),
            other => field.text.push(other),
        }
        field.domain_piece = byte == b'.';
    }
    fields.push(field);
    if fields.len() > MAX_REALMS { Err(PathFault::Malformed) } else { Ok(fields) }
}

/// The realms between two in a tree: up from one by dropping leading components, down to the other by adding them.
/// X.500 names grow at their end, domain names at their start.
fn between(from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    let x500 = from.first() == Some(&b'/') && to.first() == Some(&b'/');
    let (up, down) = (ancestors(from, x500), ancestors(to, x500));
    let common = up.iter().find(|realm| down.contains(realm)).cloned();
    let below = |realms: &[Vec<u8>]| -> Vec<Vec<u8>> {
        realms.iter().take_while(|realm| Some(*realm) != common.as_ref()).cloned().collect()
    };
    let mut path = below(&up);
    path.extend(common.clone());
    path.extend(below(&down).into_iter().rev());
    path.retain(|realm| realm != from && realm != to);
    path
}

/// The realm itself and every one above it, nearest first.
fn ancestors(realm: &[u8], x500: bool) -> Vec<Vec<u8>> {
    let mut realms = vec![realm.to_vec()];
    let mut rest = realm;
    while realms.len() <= MAX_REALMS {
        let parent = if x500 {
            rest.iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0).and_then(|at| rest.get(..at))
        } else {
            rest.iter().position(|byte| *byte == b'.').and_then(|at| rest.get(at.saturating_add(1)..))
        };
        match parent {
            Some(parent) if !parent.is_empty() => {
                realms.push(parent.to_vec());
                rest = parent;
            }
            _ => break,
        }
    }
    realms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(transited: &str, client: &str, server: &str) -> Vec<String> {
        let realms = expand(transited.as_bytes(), client.as_bytes(), server.as_bytes()).unwrap();
        realms.into_iter().map(|realm| String::from_utf8(realm).unwrap()).collect()
    }

    fn checked(transited: &str, client: &str, server: &str, capaths: &Capaths) -> Result<(), PathFault> {
        check(DOMAIN_X500_COMPRESS, transited.as_bytes(), client.as_bytes(), server.as_bytes(), capaths)
    }

    #[test]
    fn the_examples_of_rfc_4120_section_3_3_3_2_are_spelt_out() {
        let domains = ["EDU", "MIT.EDU", "ATHENA.MIT.EDU", "WASHINGTON.EDU", "CS.WASHINGTON.EDU"];
        assert_eq!(expanded("EDU,MIT.,ATHENA.,WASHINGTON.EDU,CS.", "A", "B"), domains);
        let mixed = ["/COM/HP/APOLLO", "/COM/HP", "/COM/DEC"];
        assert_eq!(expanded("/COM/HP/APOLLO, /COM/HP, /COM/DEC", "A", "B"), mixed);
        assert_eq!(expanded("/COM,/HP", "A", "B"), ["/COM", "/COM/HP"]);
    }

    #[test]
    fn an_empty_subfield_stands_for_the_realms_between() {
        assert_eq!(expanded(",EDU", "CS.MIT.EDU", "X"), ["MIT.EDU", "EDU"]);
        assert_eq!(expanded("EDU,", "X", "CS.MIT.EDU"), ["EDU", "MIT.EDU"]);
    }

    #[test]
    fn realms_in_the_domain_tree_are_on_the_way_and_others_are_not() {
        let none = Capaths::default();
        assert_eq!(checked("EXAMPLE", "A.EXAMPLE", "B.EXAMPLE", &none), Ok(()));
        assert_eq!(checked("EVIL", "A.EXAMPLE", "B.EXAMPLE", &none), Err(PathFault::Realm(b"EVIL".to_vec())));
        assert_eq!(
            checked("EXAMPLE,EVIL", "A.EXAMPLE", "B.EXAMPLE", &none),
            Err(PathFault::Realm(b"EVIL".to_vec()))
        );
        assert_eq!(checked("", "A", "B", &none), Ok(()));
    }

    #[test]
    fn capaths_replace_the_tree() {
        let mut capaths = Capaths::default();
        capaths.set("A.EXAMPLE", "B.EXAMPLE", &["BRIDGE"]);
        assert_eq!(checked("BRIDGE", "A.EXAMPLE", "B.EXAMPLE", &capaths), Ok(()));
        let refused = Err(PathFault::Realm(b"EXAMPLE".to_vec()));
        assert_eq!(checked("EXAMPLE", "A.EXAMPLE", "B.EXAMPLE", &capaths), refused);
    }

    #[test]
    fn encodings_out_of_bounds_are_refused() {
        assert_eq!(check(2, b"X", b"A", b"B", &Capaths::default()), Err(PathFault::Encoding(2)));
        assert_eq!(checked(&"A,".repeat(40), "A", "B", &Capaths::default()), Err(PathFault::Malformed));
        assert_eq!(checked("A\\", "A", "B", &Capaths::default()), Err(PathFault::Malformed));
        let growing = format!("{},{}", "A".repeat(600), "B".repeat(600) + ".");
        assert_eq!(checked(&growing, "A", "B", &Capaths::default()), Err(PathFault::Malformed));
    }
}
