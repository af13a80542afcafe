//! `countersign ticket`.

use super::{EXIT_CODES, TicketGetArguments};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum TicketCommand {
    /// Log in, and get tickets for services
    Get(TicketGetArguments),
    /// Show the tickets in a credential cache
    ///
    /// Shows what klist -e -f shows, with its letters for flags, and which tickets have expired. Times are in UTC: TZ=UTC klist
    /// shows the same. That there is no cache ends with code 2.
    List(TicketListArguments),
    /// Remove a credential cache and wipe it
    Destroy(TicketDestroyArguments),
}

/// Where the tickets are: a path, or TYPE:NAME.
const CCACHE: &str = "Credential cache: a path, or TYPE:NAME with TYPE one of FILE and DIR; where none is named, KRB5CCNAME, \
                      else default_ccache_name of krb5.conf, else /tmp/krb5cc_UID";

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TicketListArguments {
    #[arg(long, value_name = "CACHE", help = CCACHE)]
    pub(crate) ccache: Option<String>,
    /// Show every cache of a collection (type DIR), and which is the primary one
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TicketDestroyArguments {
    #[arg(long, value_name = "CACHE", help = CCACHE)]
    pub(crate) ccache: Option<String>,
    /// Remove every cache of a collection (type DIR)
    #[arg(long)]
    pub(crate) all: bool,
}
