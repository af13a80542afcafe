//! Tunnels: what goes in at a plain socket comes out of an authenticated stream, and the other way round. `serve` stands
//! with its plain side before another service, `connect` before the programs of one machine.

mod carry;
mod end;
mod identity;
mod plain;

pub use carry::{Carried, Carrying, Observer, carry};
pub use end::TunnelEnd;
pub use identity::{Identity, IdentityTooLong, PROXY_TLVS, json_line, proxy_v2};
pub use plain::Plain;
