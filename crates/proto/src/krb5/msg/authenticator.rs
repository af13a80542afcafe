//! Authenticator (RFC 4120 section 5.5.1).

use super::PVNO;
use super::ap_req::expect;
use super::authorization_data::AuthorizationData;
use super::checksum::ChecksumRef;
use super::encryption_key::EncryptionKeyRef;
use super::name::{NameRef, realm_and_name};
use super::principal::Principal;
use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

/// Proof that the sender of a ticket knows its session key, now.
///
/// ```text
/// Authenticator   ::= [APPLICATION 2] SEQUENCE  {
///         authenticator-vno       [0] INTEGER (5),
///         crealm                  [1] Realm,
///         cname                   [2] PrincipalName,
///         cksum                   [3] Checksum OPTIONAL,
///         cusec                   [4] Microseconds,
///         ctime                   [5] KerberosTime,
///         subkey                  [6] EncryptionKey OPTIONAL,
///         seq-number              [7] UInt32 OPTIONAL,
///         authorization-data      [8] AuthorizationData OPTIONAL
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Authenticator<'a> {
    /// Realm of the client.
    pub crealm: &'a [u8],
    /// Name of the client.
    pub cname: NameRef<'a>,
    /// Checksum; for GSS its type is 0x8003 and it holds flags and channel bindings.
    pub cksum: Option<ChecksumRef<'a>>,
    /// The client's time, ctime and cusec together.
    pub ctime: Timestamp,
    /// A key that the client made for this session.
    pub subkey: Option<EncryptionKeyRef<'a>>,
    /// First sequence number of the client's direction.
    pub seq_number: Option<u32>,
    /// What the client says beyond its name.
    pub authorization_data: Option<AuthorizationData<'a>>,
}

impl<'a> Authenticator<'a> {
    /// Reads an Authenticator that fills `reader`.
    ///
    /// # Errors
    /// If it breaks DER, has another version than 5, or a name that is out of bounds.
    pub fn parse(mut reader: Reader<'a>) -> Result<Self, DerError> {
        let authenticator =
            reader.within(tag::application(2), |message| message.within(tag::SEQUENCE, Self::fields))?;
        reader.finish()?;
        Ok(authenticator)
    }

    fn fields(fields: &mut Reader<'a>) -> Result<Self, DerError> {
        expect(fields, 0, PVNO, "an authenticator of another version than 5")?;
        let (crealm, cname) = realm_and_name(fields, 1, 2)?;
        let cksum = fields.optional_field(3, ChecksumRef::parse)?;
        let cusec = fields.field(4, Reader::microseconds)?;
        let seconds = fields.field(5, Reader::time)?.seconds();
        Ok(Self {
            crealm,
            cname,
            cksum,
            ctime: Timestamp::new(seconds, cusec),
            subkey: fields.optional_field(6, EncryptionKeyRef::parse)?,
            seq_number: fields.optional_field(7, Reader::uint32)?,
            authorization_data: fields.optional_field(8, AuthorizationData::parse)?,
        })
    }
}

/// What an initiator puts into an authenticator.
pub struct NewAuthenticator<'a> {
    /// The client.
    pub client: &'a Principal,
    /// Checksum.
    pub cksum: Option<ChecksumRef<'a>>,
    /// The client's time.
    pub ctime: Timestamp,
    /// A fresh key.
    pub subkey: Option<EncryptionKeyRef<'a>>,
    /// First sequence number.
    pub seq_number: Option<u32>,
    /// An AuthorizationData, encoded.
    pub authorization_data: Option<&'a [u8]>,
}

impl NewAuthenticator<'_> {
    /// Bytes that it takes at most: its names, checksum and authorization data, and more than all else of it. For a buffer that never
    /// grows, since it holds a key.
    #[must_use]
    pub fn capacity(&self) -> usize {
        const ALL_ELSE: usize = 512;
        const TAG_AND_LENGTH: usize = 6;
        let Principal { realm, components, .. } = self.client;
        let parts = components.iter().map(|component| component.len().saturating_add(TAG_AND_LENGTH));
        let data = self.authorization_data.map_or(0, <[u8]>::len);
        let sum = self.cksum.map_or(0, |cksum| cksum.bytes.len());
        parts.chain([realm.len(), data, sum]).fold(ALL_ELSE, usize::saturating_add)
    }

    /// Writes an Authenticator.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer
            .constructed(tag::application(2), |message| message.sequence(|fields| self.write_fields(fields)));
    }

    fn write_fields(&self, fields: &mut Writer<'_>) {
        fields.field(0, |field| field.integer(PVNO));
        fields.field(1, |field| self.client.write_realm(field));
        fields.field(2, |field| self.client.write_name(field));
        if let Some(cksum) = &self.cksum {
            fields.field(3, |field| cksum.write(field));
        }
        fields.field(4, |field| field.integer(self.ctime.micros().into()));
        fields.field(5, |field| field.time(self.ctime));
        if let Some(subkey) = &self.subkey {
            fields.field(6, |field| subkey.write(field));
        }
        if let Some(seq_number) = self.seq_number {
            fields.field(7, |field| field.integer(seq_number.into()));
        }
        if let Some(encoded) = self.authorization_data {
            fields.field(8, |field| field.encoded(encoded));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authenticator_of_any_name_fits_into_what_is_reserved_for_it() {
        for (count, length) in [(1, 0), (1, 5), (32, 1), (32, 1_000), (1, 70_000), (200, 127)] {
            let component = "c".repeat(length);
            let client = Principal::new(&component, &vec![component.as_str(); count]);
            let authenticator = NewAuthenticator {
                client: &client,
                cksum: Some(ChecksumRef { cksumtype: 0x8003, bytes: &[7; 5_000] }),
                ctime: Timestamp::new(1_795_399_200, 999_999),
                subkey: Some(EncryptionKeyRef { etype: 18, bytes: &[7; 32] }),
                seq_number: Some(u32::MAX),
                authorization_data: Some(&[7; 2_000]),
            };
            let mut plaintext = Vec::with_capacity(authenticator.capacity());
            let reserved = plaintext.capacity();
            authenticator.write(&mut Writer::new(&mut plaintext));
            assert_eq!(plaintext.capacity(), reserved, "{count} of {length}");
        }
    }
}
