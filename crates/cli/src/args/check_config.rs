//! `countersign check-config`.

use super::EXIT_CODES;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct CheckConfigArguments {
    /// The configuration file, as `serve --config` takes it. Variables COUNTERSIGN_... of the environment count here too
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}
