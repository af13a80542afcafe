//! The Kerberos messages, one a file, each with its ASN.1 (RFC 4120) above the type. Parsing borrows from the message;
//! what must outlive it is copied by whoever keeps it.

pub mod ap_rep;
pub mod ap_req;
pub mod authenticator;
pub mod authorization_data;
pub mod checksum;
pub mod encrypted_data;
pub mod encryption_key;
pub mod krb_error;
pub mod name;
pub mod principal;
pub mod ticket;

/// Protocol version number of every Kerberos 5 message.
pub const PVNO: i64 = 5;
