//! `countersign connect`.

use super::{EXIT_CODES, FramingArguments, LoginArguments};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ConnectArguments {
    /// Where the service listens
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The service that must prove itself
    #[arg(long, value_name = "CLASS/HOST[@REALM]")]
    pub(crate) spn: String,
    #[command(flatten)]
    pub(crate) framing: FramingArguments,
    /// Bindings to the channel that leads to the service: application data in hex, or cert:FILE with the certificate of
    /// the TLS server (tls-server-end-point)
    #[arg(long, value_name = "HEX|cert:FILE")]
    pub(crate) channel_bindings: Option<String>,
    /// Credential cache with tickets: a path, or TYPE:NAME with TYPE one of FILE and DIR; where none is
    /// named, KRB5CCNAME, else default_ccache_name of krb5.conf, else /tmp/krb5cc_UID. With --user the tickets in it are used
    /// only if they are that user's, and new ones are kept in it; where it is not named they are kept in memory
    #[arg(long, value_name = "CACHE")]
    pub(crate) ccache: Option<String>,
    #[command(flatten)]
    pub(crate) login: LoginArguments,
    /// DANGEROUS: log in by NTLM where Kerberos is not to be had; it never proves the service. Needs --user, which may then have
    /// the form DOMAIN\\NAME too (by NTLM alone), and its password
    #[arg(long, requires = "user", conflicts_with = "client_keytab")]
    pub(crate) allow_ntlm: bool,
    /// Log in through the service even if a KDC is known (IAKERB); without this it is done where none is
    #[arg(long, requires = "user", conflicts_with_all = ["delegate", "armor_ccache"])]
    pub(crate) iakerb: bool,
    /// DANGEROUS: through the service, which is not yet known then, prove the password by an encrypted timestamp too, from which
    /// whoever carries it can guess the password
    #[arg(long, requires = "user")]
    pub(crate) allow_encrypted_timestamp: bool,
    /// Give the service a ticket-granting ticket, so that it can do all that the user can: if the KDC trusts it with one, or always
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, default_missing_value = "trusted")]
    pub(crate) delegate: Option<Delegation>,
    /// Send TEXT as one message, print the one reply, and end. Without it, standard input is sent in messages of at most
    /// 64 KiB, and what comes is written to standard output as it is
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Etypes that are permitted, the preferred one first, with commas between; those of krb5.conf where none are named.
    /// arcfour-hmac is weak, and off unless named here or allowed there (allow_rc4, allow_weak_crypto)
    #[arg(long, value_name = "ETYPES", value_delimiter = ',')]
    pub(crate) permitted_enctypes: Vec<String>,
    /// How long the whole handshake may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) handshake_deadline: u64,
    /// Negotiate with SPNEGO even if there is nothing but Kerberos to offer; without it such tokens go bare
    #[arg(long)]
    pub(crate) negotiate: bool,
    /// Take the end of the connection for the end of what the service sends, from services that send no mark of it
    #[arg(long, conflicts_with = "message")]
    pub(crate) allow_unmarked_end: bool,
    /// Listen here, and carry what programs of this machine say to the service and back, each connection in one of its own
    #[arg(long, value_name = "IP:PORT", conflicts_with = "message")]
    pub(crate) listen: Option<SocketAddr>,
    /// End a tunnel through which nothing has gone either way for so many seconds
    #[arg(long, value_name = "SECONDS", requires = "listen", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) idle_timeout: Option<u64>,
}

/// When a service is given a ticket-granting ticket.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delegation {
    /// If the KDC says that it may be trusted with one
    Trusted,
    /// In any case
    Always,
}
