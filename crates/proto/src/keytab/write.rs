//! Writing, byte for byte as MIT does.

use super::bytes::DoesNotFit;
use super::{FORMAT, Keytab, KeytabEntry, KeytabError, MAX_COMPONENTS, Sink, reserved};
use crate::secret::Secret;

/// MIT counts lengths with 16 signed bits, and takes an empty string for the end of the keytab.
const MAX_STRING: usize = 32_767;

impl Keytab {
    /// The bytes of a keytab file with these entries in their order, the kvno in both of its places.
    ///
    /// # Errors
    /// [`KeytabError::DoesNotFit`] if a name has no component or more than [`MAX_COMPONENTS`], a realm, component or key is
    /// empty or longer than 32,767 bytes, or an etype is no number of 16 signed bits.
    pub fn to_bytes(&self) -> Result<Secret, KeytabError> {
        let mut length = FORMAT.len();
        records(&self.entries, &mut length)?;
        let mut file = reserved(length);
        file.put(&FORMAT);
        records(&self.entries, &mut file)?;
        Ok(file)
    }
}

/// The records of `entries` alone.
pub(super) fn record_bytes(entries: &[KeytabEntry]) -> Result<Secret, DoesNotFit> {
    let mut length = 0_usize;
    records(entries, &mut length)?;
    let mut bytes = reserved(length);
    records(entries, &mut bytes)?;
    Ok(bytes)
}

fn records(entries: &[KeytabEntry], out: &mut impl Sink) -> Result<(), DoesNotFit> {
    for entry in entries {
        let mut length = 0_usize;
        record(entry, &mut length)?;
        out.put(&i32::try_from(length).map_err(|_| DoesNotFit("an entry"))?.to_be_bytes());
        record(entry, out)?;
    }
    Ok(())
}

fn record(entry: &KeytabEntry, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    let components = &entry.principal.components;
    let count =
        u16::try_from(components.len()).ok().filter(|count| (1..=MAX_COMPONENTS as u16).contains(count));
    out.put(&count.ok_or(DoesNotFit("a number of components"))?.to_be_bytes());
    string(&entry.principal.realm, "a realm", out)?;
    for component in components {
        string(component, "a name component", out)?;
    }
    out.put(&entry.principal.name_type.to_be_bytes());
    out.put(&entry.timestamp.to_be_bytes());
    let kvno = entry.kvno.to_be_bytes();
    out.put(&kvno[3..]);
    out.put(&i16::try_from(entry.etype).map_err(|_| DoesNotFit("an etype"))?.to_be_bytes());
    string(entry.key.expose(), "a key", out)?;
    out.put(&kvno);
    Ok(())
}

fn string(bytes: &[u8], what: &'static str, out: &mut impl Sink) -> Result<(), DoesNotFit> {
    let length = u16::try_from(bytes.len()).ok().filter(|_| (1..=MAX_STRING).contains(&bytes.len()));
    out.put(&length.ok_or(DoesNotFit(what))?.to_be_bytes());
    out.put(bytes);
    Ok(())
}
