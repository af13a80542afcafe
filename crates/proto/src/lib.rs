//! The protocols of mutual authentication on sockets, as values and state machines.
//!
//! Nothing in this crate opens a socket or a file, reads a clock, starts a thread or draws randomness of its own: bytes,
//! time and a random source come in as arguments, and what comes out is bytes and states.
//!
//! The floors, lowest first; a module uses only what stands above it in this list:
//! [`secret`], [`time`] and `bits` · [`error`] · [`der`] · [`crypto`] · [`krb5::msg`] · [`keytab`] and [`ccache`] · [`gss`] ·
//! [`policy`] · [`krb5`]'s acceptor, initiator and per-message protection · [`ntlm`] · [`protection`] · [`spnego`] · [`context`].

mod bits;
pub mod ccache;
pub mod context;
pub mod crypto;
pub mod der;
pub mod error;
pub mod gss;
pub mod iakerb;
pub mod keytab;
pub mod krb5;
pub mod krb5conf;
pub mod ntlm;
pub mod policy;
pub mod protection;
pub mod secret;
pub mod spnego;
pub mod time;
