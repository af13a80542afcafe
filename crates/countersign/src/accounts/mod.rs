//! Who knows NTLM passwords: the sources that answer the VerifyNtlm step.

mod file;
mod winbind;

pub use file::{AccountFile, AccountName};
pub use winbind::Winbind;

use countersign_proto::ntlm::accounts::{Verdict, VerifyRequest};
use std::future::Future;
use std::pin::Pin;

/// A source's answer, when it comes. It must not depend on any runtime: the blocking driver waits for it too.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A source of accounts. It is asked once a handshake, and may take its time within the handshake's deadline.
pub trait Accounts: Send + Sync {
    /// Verifies a client's claim.
    fn verify<'a>(&'a self, request: &'a VerifyRequest) -> Answer<'a>;
}
