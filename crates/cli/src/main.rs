//! The `countersign` program: it reads arguments and prints; the work is done in the libraries.

mod announce;
mod args;
mod check_config;
mod config;
mod connect;
mod demo;
mod descriptors;
mod exit;
mod keytab;
mod logging;
mod login;
mod ntlm;
mod observe;
mod output;
mod progress;
mod realm;
mod report;
mod serve;
mod signals;
mod sources;
mod systemd;
mod ticket;

use args::{Arguments, Command, NtlmCommand};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Demo => demo::run(),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Ntlm(NtlmCommand::Add(arguments)) => ntlm::add(&arguments),
        Command::Ticket(command) => ticket::run(&command),
        Command::Keytab(command) => keytab::run(&command),
        Command::Realm(command) => realm::run(&command),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            report::failure(&refusal);
            exit::code(&refusal)
        }
    }
}
