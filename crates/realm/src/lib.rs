//! A realm of one's own: a KDC for whoever has no domain.
//!
//! [`Kdc::handle`] is the whole KDC: a request, the time, a random source and the [`Accounts`] go in, a reply comes out.
//! It opens no socket, reads no clock and keeps nothing between two requests: what it must remember of a login that takes
//! several of them goes to the client and back in a sealed cookie, so that any number of threads or machines may answer.

pub mod accounts;
pub mod admin;
pub mod kdc;
pub mod policy;
pub mod record;
pub mod store;

pub use accounts::{Account, AccountKey, AccountKind, Accounts, AccountsError, Failures};
pub use kdc::{Handled, Kdc, MAX_REQUEST, RealmSecrets};
pub use policy::{Lockout, RealmPolicy};
pub use record::{KdcRecord, Outcome, Preauth, Reason};
