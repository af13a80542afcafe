//! PrincipalName (RFC 4120 section 5.2.2).

use super::principal::Principal;
use crate::der::{DerError, Problem, Reader, Writer, tag};

/// Most components of a name that is read from the network.
pub const MAX_COMPONENTS: usize = 32;
/// Most bytes of a name that is read from the network, its realm and all its components together.
pub const MAX_BYTES: usize = 1_024;

const TOO_LONG: Problem = Problem::Value("a name of more than 1,024 bytes");

/// A name as it lies in a message.
///
/// ```text
/// PrincipalName   ::= SEQUENCE {
///         name-type       [0] Int32,
///         name-string     [1] SEQUENCE OF KerberosString
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NameRef<'a> {
    /// Name type, a hint only.
    pub name_type: i32,
    /// Contents of the SEQUENCE OF, each element checked when this was parsed.
    components: Reader<'a>,
}

impl<'a> NameRef<'a> {
    /// Reads a PrincipalName of 1 to [`MAX_COMPONENTS`] components and at most [`MAX_BYTES`] bytes in them.
    ///
    /// # Errors
    /// If it breaks DER, has no or too many components, or is too long.
    pub fn parse(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        let at = *reader;
        let name = Self::parse_or_nobody(reader)?;
        if name.is_empty() {
            return Err(at.error(Problem::Value("a name without components")));
        }
        Ok(name)
    }

    /// Reads a PrincipalName as [`NameRef::parse`] does, or one without components: a KDC that has no name to put into
    /// an error sends that (Heimdal's does).
    ///
    /// # Errors
    /// If it breaks DER, has too many components, or is too long.
    pub(super) fn parse_or_nobody(reader: &mut Reader<'a>) -> Result<Self, DerError> {
        reader.within(tag::SEQUENCE, |name| {
            let name_type = name.field(0, Reader::int32)?;
            let components = name.field(1, |field| {
                let components = field.element(tag::SEQUENCE)?;
                check_components(components)?;
                Ok(components)
            })?;
            Ok(Self { name_type, components })
        })
    }

    /// Whether it has no components, which only a KRB-ERROR's name may lack.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// The components' bytes, in order.
    pub fn components(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.components;
        std::iter::from_fn(move || rest.general_string().ok())
    }

    /// Bytes in all components together.
    fn byte_count(&self) -> usize {
        self.components().map(<[u8]>::len).fold(0, usize::saturating_add)
    }

    /// Copies name and realm.
    #[must_use]
    pub fn to_principal(&self, realm: &[u8]) -> Principal {
        Principal {
            name_type: self.name_type,
            realm: realm.to_vec(),
            components: self.components().map(<[u8]>::to_vec).collect(),
        }
    }

    /// Whether the components are the same bytes; name types do not count.
    #[must_use]
    pub fn same_components(&self, other: &NameRef<'_>) -> bool {
        // Their encodings are DER, so equal components are equal bytes and the other way about.
        self.components.rest() == other.components.rest()
    }
}

/// Reads a Realm of at most [`MAX_BYTES`] bytes.
pub(super) fn realm<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DerError> {
    let too_long = reader.error(TOO_LONG);
    let realm = reader.general_string()?;
    if realm.len() > MAX_BYTES { Err(too_long) } else { Ok(realm) }
}

/// Reads the fields of a realm and of the name in it, of at most [`MAX_BYTES`] bytes together.
pub(super) fn realm_and_name<'a>(
    fields: &mut Reader<'a>,
    realm_field: u8,
    name_field: u8,
) -> Result<(&'a [u8], NameRef<'a>), DerError> {
    let at = *fields;
    let realm = fields.field(realm_field, realm)?;
    let name = fields.field(name_field, NameRef::parse)?;
    check_together(at, realm, Some(name))?;
    Ok((realm, name))
}

/// Holds a realm and a name in it to [`MAX_BYTES`] bytes together.
pub(super) fn check_together(
    at: Reader<'_>,
    realm: &[u8],
    name: Option<NameRef<'_>>,
) -> Result<(), DerError> {
    let bytes = name.map_or(0, |name| name.byte_count());
    if realm.len().saturating_add(bytes) > MAX_BYTES { Err(at.error(TOO_LONG)) } else { Ok(()) }
}

fn check_components(mut components: Reader<'_>) -> Result<(), DerError> {
    let start = components;
    let (mut count, mut bytes) = (0_usize, 0_usize);
    while !components.is_empty() {
        bytes = bytes.saturating_add(components.general_string()?.len());
        count = count.saturating_add(1);
    }
    if bytes > MAX_BYTES {
        return Err(start.error(TOO_LONG));
    }
    match count {
        0..=MAX_COMPONENTS => Ok(()),
        _ => Err(start.error(Problem::Value("a name of more than 32 components"))),
    }
}

impl Principal {
    /// Writes the name, without the realm, as a PrincipalName.
    pub fn write_name(&self, writer: &mut Writer<'_>) {
        writer.sequence(|name| {
            name.field(0, |field| field.integer(self.name_type.into()));
            name.field(1, |field| {
                field.sequence(|components| {
                    for component in &self.components {
                        components.general_string(component);
                    }
                });
            });
        });
    }

    /// Writes the realm as a Realm (KerberosString).
    pub fn write_realm(&self, writer: &mut Writer<'_>) {
        writer.general_string(&self.realm);
    }
}
