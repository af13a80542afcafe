//! The command line: a file for each command.

mod check_config;
mod connect;
mod framing;
mod keytab;
mod login;
mod ntlm;
mod realm;
mod serve;
mod ticket;
mod ticket_get;

pub(crate) use check_config::CheckConfigArguments;
pub(crate) use connect::{ConnectArguments, Delegation};
pub(crate) use framing::FramingArguments;
pub(crate) use keytab::{
    KeytabAddArguments, KeytabCommand, KeytabListArguments, KeytabMergeArguments, KeytabRemoveArguments,
};
pub(crate) use login::LoginArguments;
pub(crate) use ntlm::{NtlmAddArguments, NtlmCommand};
pub(crate) use realm::{
    RealmAddServiceArguments, RealmAddUserArguments, RealmCommand, RealmExportArguments,
    RealmFolderArguments, RealmGrantsArguments, RealmInitArguments, RealmListArguments, RealmLog,
    RealmModifyArguments, RealmPasswdArguments, RealmPolicyArguments, RealmPropertiesArguments,
    RealmRemoveArguments, RealmServeArguments,
};
pub(crate) use serve::ServeArguments;
pub(crate) use ticket::{TicketCommand, TicketDestroyArguments, TicketListArguments};
pub(crate) use ticket_get::TicketGetArguments;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused by the peer or by policy, 2 usage or configuration, \
                          3 network or KDC out of reach";

/// Mutual authentication for services on sockets: Kerberos without a C library.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the whole thing: a realm, a service and a client meet, and what is false is refused. Needs nothing, leaves nothing
    Demo,
    /// Accept clients that prove who they are, prove the service to them, and echo what they send sealed
    Serve(ServeArguments),
    /// Look for faults in a configuration file of serve, and in the files that it names, without serving
    CheckConfig(CheckConfigArguments),
    /// Reach a service, have it prove itself, and exchange sealed messages with it
    Connect(ConnectArguments),
    /// Accounts for services that accept NTLM
    #[command(subcommand)]
    Ntlm(NtlmCommand),
    /// Tickets: what a client proves itself with
    #[command(subcommand)]
    Ticket(TicketCommand),
    /// Keytabs: the keys of services
    #[command(subcommand)]
    Keytab(KeytabCommand),
    /// A realm of one's own: its accounts, and its KDC
    #[command(subcommand)]
    Realm(RealmCommand),
}
