//! Kerberos 5 (RFC 4120) and its GSS-API mechanism (RFC 4121).

pub mod msg;
