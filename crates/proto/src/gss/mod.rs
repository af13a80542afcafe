//! GSS-API (RFC 2743, RFC 4121): token framing, context flags, channel bindings, and the checksum field that carries
//! flags and bindings in an authenticator.

pub mod authenticator_checksum;
pub mod channel_bindings;
pub mod flags;
pub mod framing;
mod mech;
pub mod tls_server_end_point;

pub use channel_bindings::{BindingsHash, ChannelBindings};
pub use flags::GssFlags;
pub use mech::MechChoice;
