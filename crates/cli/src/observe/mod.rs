//! What operators see of `serve` besides its log, and how it comes to its end.

pub(crate) mod drain;
pub(crate) mod http;
pub(crate) mod readiness;
pub(crate) mod refusals;
