//! `countersign ntlm`.

use super::EXIT_CODES;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum NtlmCommand {
    /// Add an account to a file of NT hashes, or change its password
    Add(NtlmAddArguments),
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct NtlmAddArguments {
    /// File of accounts; it is made if there is none, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The account. One without a domain goes by whatever domain a client names, and is reported without
    #[arg(long, value_name = "DOMAIN\\user")]
    pub(crate) user: String,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
}
