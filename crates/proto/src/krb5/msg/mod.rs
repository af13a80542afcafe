//! The Kerberos messages, one a file, each with its ASN.1 (RFC 4120) above the type. Parsing borrows from the message;
//! what must outlive it is copied by whoever keeps it.

pub mod ap_rep;
pub mod ap_req;
pub mod authenticator;
pub mod authorization_data;
pub mod checksum;
pub mod encrypted_data;
pub mod encryption_key;
pub mod etype_info2;
pub mod fast;
pub mod kdc_proxy;
pub mod kdc_rep;
pub mod kdc_req;
pub mod krb_cred;
pub mod krb_error;
pub mod name;
pub mod pa_data;
pub mod pa_enc_ts_enc;
pub mod principal;
pub mod spake;
pub mod ticket;

use crate::der::{DerError, Reader, Writer, tag};
use crate::time::Timestamp;

/// Protocol version number of every Kerberos 5 message.
pub const PVNO: i64 = 5;

/// Reads a KerberosTime and the Microseconds that belong to it, from two fields, into one time.
fn precise_time(fields: &mut Reader<'_>, time_field: u8, micros_field: u8) -> Result<Timestamp, DerError> {
    let seconds = fields.field(time_field, Reader::time)?.seconds();
    Ok(Timestamp::new(seconds, fields.field(micros_field, Reader::microseconds)?))
}

/// As [`precise_time`] of two OPTIONAL fields. Without the time the microseconds mean nothing and are passed over.
fn optional_precise_time(
    fields: &mut Reader<'_>,
    time_field: u8,
    micros_field: u8,
) -> Result<Option<Timestamp>, DerError> {
    let time = fields.optional_field(time_field, Reader::time)?;
    let micros = fields.optional_field(micros_field, Reader::microseconds)?.unwrap_or(0);
    Ok(time.map(|time| Timestamp::new(time.seconds(), micros)))
}

/// Writes one time as a KerberosTime and the Microseconds that belong to it.
fn write_precise_time(fields: &mut Writer<'_>, time_field: u8, micros_field: u8, time: Timestamp) {
    fields.field(time_field, |field| field.time(time));
    fields.field(micros_field, |field| field.integer(time.micros().into()));
}

/// Reads a HostAddresses no further than its frame: addresses prove nothing and are not compared.
fn addresses<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DerError> {
    reader.element(tag::SEQUENCE).map(|list| list.rest())
}

/// Passes over what a later revision may have added to a type whose ASN.1 ends in `...`.
fn extensions(fields: &mut Reader<'_>) -> Result<(), DerError> {
    while !fields.is_empty() {
        fields.any()?;
    }
    Ok(())
}
