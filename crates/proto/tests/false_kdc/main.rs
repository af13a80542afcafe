//! A KDC that lies, and who poses as one: what an initiator does not fall for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking, its helpers too"
)]

mod armor;
mod names;
mod preauth;
mod support;
