//! Captures of NNS: how they are made, and how they are read.

pub(crate) mod capture;
pub(crate) mod making;
mod recorder;
