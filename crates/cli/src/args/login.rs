//! Who logs in, and with what: the same for every command that does.

use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct LoginArguments {
    /// Log in as this user instead of using the tickets that there are. Without a password or keytab the password is asked for
    /// on the terminal
    #[arg(long, value_name = "NAME[@REALM]")]
    pub(crate) user: Option<String>,
    /// File whose first line is the user's password
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "client_keytab")]
    pub(crate) password_file: Option<PathBuf>,
    /// Keytab with the user's key
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) client_keytab: Option<PathBuf>,
    /// Credential cache with a ticket-granting ticket of the user's realm, anybody's, that armors the login (FAST)
    #[arg(long, value_name = "CACHE", requires = "user")]
    pub(crate) armor_ccache: Option<String>,
    /// The user's name has the form of a mail address, which the KDC knows better (enterprise name)
    #[arg(long, requires = "user")]
    pub(crate) enterprise: bool,
    /// Let the KDC give the user the name, and the realm, that it knows them by
    #[arg(long, requires = "user")]
    pub(crate) canonicalize: bool,
}
