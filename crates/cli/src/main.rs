//! The `countersign` program: it reads arguments and prints; the work is done in the libraries.

mod args;
mod connect;
mod demo;
mod descriptors;
mod exit;
mod keytab;
mod login;
mod ntlm;
mod output;
mod progress;
mod realm;
mod report;
mod serve;
mod signals;
mod sources;
mod ticket;

use args::{Arguments, Command, NtlmCommand};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Demo => demo::run(),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Ntlm(NtlmCommand::Add(arguments)) => ntlm::add(&arguments),
        Command::Ticket(command) => ticket::run(&command),
        Command::Keytab(command) => keytab::run(&command),
        Command::Realm(command) => realm::run(&command),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            report::line(&format!("countersign: {refusal}"));
            exit::code(&refusal)
        }
    }
}
