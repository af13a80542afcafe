//! Throwaway Kerberos realms and real GSS-API peers, for tests that hold Countersign against programs nobody here wrote.
//!
//! A [`Realm`] is an MIT KDC in a temporary folder, a [`HeimdalRealm`] one of Heimdal's; a [`KdcProxy`] stands between a
//! KDC and its clients and does to their messages what a test says; a [`Domain`] is an Active Directory made by Samba;
//! [`NtlmUsers`] are accounts for NTLM alone; [`Peers`] are the programs under `testkit/peers`, built against MIT's and
//! Heimdal's libraries or using pyspnego, [`Sid`] those of a newer Debian; a [`Process`] is a program started by a test,
//! ended and reaped when dropped; a [`Valkey`] is a server for shared replay stores, a [`Postgres`] one to stand behind a
//! tunnel; [`Clock`] makes a program believe in another time.
//!
//! Without any program: a [`mint`] makes tickets, keytabs and AP-REQs in which every field can be set, and a [`pair`] is
//! an initiator and an acceptor in one memory whose tokens a test may alter on the way.
//!
//! Whatever the harness cannot do fails the test that asked for it: functions panic, and say what was tried and what the
//! program answered. A peer that is not installed is such a failure, never a reason to skip; `scripts/install-peers`
//! installs them.

// Panicking with a full account is what this crate is for; it never sees data from outside the test machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod clock;
mod config;
pub mod dotnet;
mod etype;
mod heimdal;
mod kdc;
pub mod kdc_message;
mod kdc_proxy;
pub mod mint;
mod ntlm;
pub mod pair;
mod paths;
mod peers;
mod postgres;
mod process;
mod realm;
mod rng;
mod samba;
mod sid;
mod tlv;
mod valkey;

pub use clock::Clock;
pub use config::{Capath, Config};
pub use etype::Etype;
pub use heimdal::HeimdalRealm;
pub use kdc::{Kdc, KdcOptions, SpakeGroup, Transports};
pub use kdc_message::KdcMessage;
pub use kdc_proxy::{Asked, Exchange, Fate, KdcProxy, Transport};
pub use ntlm::NtlmUsers;
pub use peers::{Library, Peers};
pub use postgres::Postgres;
pub use process::{Finished, Process, run};
pub use realm::{Env, Realm};
pub use rng::{ScriptedRng, TestRng};
pub use samba::Domain;
pub use sid::Sid;
pub use valkey::Valkey;
