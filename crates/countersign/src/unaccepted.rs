//! What listeners meet with besides authenticated clients.

use crate::handshake::Failure;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Is told of what a listener does not give out.
pub(crate) type Observer = dyn Fn(Unaccepted<'_>) + Send + Sync;

/// What a listener met with that is no authenticated client.
#[derive(Debug)]
pub enum Unaccepted<'a> {
    /// A client was refused; it has been told what its protocol has a word for.
    Refused {
        /// Where it came from.
        peer: SocketAddr,
        /// Why, and what is known of it.
        failure: &'a Failure,
    },
    /// The system could not give a connection, or a thread for it. The listener goes on after a moment.
    Failed(&'a io::Error),
}

/// One line for a log.
impl fmt::Display for Unaccepted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { peer, failure } => write!(f, "{peer} refused: {}", failure.refusal),
            Self::Failed(error) => write!(f, "cannot accept: {error}"),
        }
    }
}
