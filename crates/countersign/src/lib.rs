//! Mutually authenticated, sealed connections: a service knows who its client is, and the client knows that it reached
//! the real service, before a byte of application data flows.
//!
//! The protocols are in [`countersign_proto`], which touches no socket; here are the sockets. A [`Service`] accepts and a
//! [`Client`] connects, over [`tokio`] or [`blocking`] streams, with one engine under both.

pub mod accounts;
pub mod attempts;
pub mod audit;
pub mod bare;
pub mod blocking;
pub mod client;
#[cfg(unix)]
pub mod credentials;
pub mod files;
pub mod framing;
pub mod kdc;
#[cfg(unix)]
pub mod keytabs;
pub mod krb5conf;
pub mod limits;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(all(unix, feature = "realm"))]
pub mod realm;
pub mod relay;
pub mod replay;
pub mod rotation;
pub mod service;
pub mod throttle;
#[cfg(unix)]
pub mod tickets;
pub mod tokio;
pub mod tunnel;

mod ambient;
mod handshake;
mod mutex;
mod recent;
mod session;
mod unaccepted;

#[cfg(unix)]
pub use client::TicketClient;
pub use client::{Client, ClientConfig, ClientCredential, Delegate};
pub use countersign_proto as proto;
pub use handshake::Failure;
pub use service::{Service, ServiceConfig};
pub use session::{DEFAULT_MAX_MESSAGE, refusal_in};
pub use unaccepted::Unaccepted;

pub use countersign_proto::error::{Code, Refusal};
