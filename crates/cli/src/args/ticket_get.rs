//! `countersign ticket get`.

use super::{EXIT_CODES, LoginArguments};
use clap::Args;

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct TicketGetArguments {
    #[command(flatten)]
    pub(crate) login: LoginArguments,
    /// Credential cache that the tickets go into: a path, or TYPE:NAME with TYPE one of FILE and DIR; where none is named,
    /// KRB5CCNAME, else default_ccache_name of krb5.conf, else /tmp/krb5cc_UID
    #[arg(long, value_name = "CACHE")]
    pub(crate) ccache: Option<String>,
    /// Get a ticket for this service too; may be given more than once. Without --user the cache's ticket-granting ticket gets it
    #[arg(long, value_name = "CLASS/HOST[@REALM]", required_unless_present_any = ["user", "renew"])]
    pub(crate) service: Vec<String>,
    /// Have the ticket-granting ticket in the cache renewed
    #[arg(long, conflicts_with = "user")]
    pub(crate) renew: bool,
    /// How long the ticket-granting ticket is to live, as krb5.conf writes it: 10h, 1d12h, 8:30; a day unless that says otherwise
    #[arg(long, value_name = "DURATION", requires = "user")]
    pub(crate) lifetime: Option<String>,
    /// For how long it is to be renewable
    #[arg(long, value_name = "DURATION", requires = "user")]
    pub(crate) renewable: Option<String>,
    /// Ask for one that may be forwarded to services
    #[arg(long, requires = "user")]
    pub(crate) forwardable: bool,
    /// Etypes that are permitted, the preferred one first, with commas between; those of krb5.conf where none are named
    #[arg(long, value_name = "ETYPES", value_delimiter = ',')]
    pub(crate) permitted_enctypes: Vec<String>,
    /// Never prove the password by an encrypted timestamp, which whoever sees it can guess the password from
    #[arg(long, requires = "user")]
    pub(crate) no_encrypted_timestamp: bool,
}
