//! Exit codes (DESIGN section 7).

use countersign::Refusal;
use countersign::proto::error::Fault;
use std::process::ExitCode;

/// The exit code that tells a script what kind of failure this is.
pub(crate) fn code(refusal: &Refusal) -> ExitCode {
    ExitCode::from(match refusal.code().fault() {
        Fault::PeerMisbehaved | Fault::Mismatch | Fault::Policy => 1,
        Fault::Configuration | Fault::Caller => 2,
        Fault::Environment => 3,
    })
}
