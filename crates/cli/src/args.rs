//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused by the peer or by policy, 2 usage or configuration, \
                          3 network out of reach";

/// Mutual authentication for services on sockets: Kerberos without a C library.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Accept clients that prove who they are, prove the service to them, and echo what they send sealed
    Serve(ServeArguments),
    /// Reach a service, have it prove itself, and exchange sealed messages with it
    Connect(ConnectArguments),
    /// Accounts for services that accept NTLM
    #[command(subcommand)]
    Ntlm(NtlmCommand),
}

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

/// How tokens and messages are put on the socket.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// 4 bytes little-endian length, then the bytes
    Dword,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ServeArguments {
    /// Address to listen on; port 0 takes a free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2000")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Keytab with the service's keys; where none is named, KRB5_KTNAME, else /etc/krb5.keytab
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: Option<PathBuf>,
    /// How tokens and messages are framed
    #[arg(long, value_enum, default_value = "dword")]
    pub(crate) framing: Framing,
    /// Bindings to the channel that clients come through: application data in hex, or cert:FILE with the certificate of
    /// the TLS server in front (tls-server-end-point)
    #[arg(long, value_name = "HEX|cert:FILE")]
    pub(crate) channel_bindings: Option<String>,
    /// Refuse clients that are bound to no channel
    #[arg(long, requires = "channel_bindings")]
    pub(crate) require_channel_bindings: bool,
    /// Send every message back as it came (this is also what is done where nothing is said)
    #[arg(long)]
    pub(crate) echo: bool,
    /// File that gets one JSON line for each handshake, and for each context in which a message was refused
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// Service principal to accept, CLASS/HOST@REALM; may be given more than once. Without it, every one in the keytab
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) accept_principal: Vec<String>,
    /// Etypes that are permitted, the preferred one first, with commas between. arcfour-hmac is weak, and off unless
    /// named here
    #[arg(long, value_name = "ETYPES", value_delimiter = ',')]
    pub(crate) permitted_enctypes: Vec<String>,
    /// How far a client's clock may be from ours, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) clock_skew: u64,
    /// How long a whole handshake may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) handshake_deadline: u64,
    /// Longest message that a client may send, in bytes of plaintext
    #[arg(long, value_name = "BYTES", default_value_t = 1_048_576, value_parser = clap::value_parser!(u32).range(1..=1_073_741_824))]
    pub(crate) max_message: u32,
    /// DANGEROUS: accept NTLM, which never proves the service to the client; needs accounts
    #[arg(long, requires = "ntlm_source")]
    pub(crate) allow_ntlm: bool,
    /// File of NTLM accounts, made by `countersign ntlm add`
    #[arg(long, value_name = "FILE", requires = "allow_ntlm", group = "ntlm_source")]
    pub(crate) ntlm_accounts: Option<PathBuf>,
    /// Ask this machine's domain about NTLM accounts, by Samba's helper program of that name
    #[arg(long, value_name = "NTLM_AUTH", requires = "allow_ntlm", group = "ntlm_source", num_args = 0..=1, default_missing_value = "ntlm_auth")]
    pub(crate) ntlm_winbind: Option<PathBuf>,
    /// SPN by which NTLM clients must mean to reach this service, CLASS/HOST; may be given more than once. Without it nothing
    /// is asked, and logins can be relayed here
    #[arg(long, value_name = "SPN", requires = "allow_ntlm")]
    pub(crate) ntlm_spn: Vec<String>,
    /// DANGEROUS: let clients in that do not ask for the service's proof, and so cannot know whom they talk to
    #[arg(long)]
    pub(crate) allow_no_mutual: bool,
    /// DANGEROUS: do not check which realms a ticket came through
    #[arg(long)]
    pub(crate) ignore_transited: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ConnectArguments {
    /// Where the service listens
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The service that must prove itself
    #[arg(long, value_name = "CLASS/HOST[@REALM]")]
    pub(crate) spn: String,
    /// How tokens and messages are framed
    #[arg(long, value_enum, default_value = "dword")]
    pub(crate) framing: Framing,
    /// Bindings to the channel that leads to the service: application data in hex, or cert:FILE with the certificate of
    /// the TLS server (tls-server-end-point)
    #[arg(long, value_name = "HEX|cert:FILE")]
    pub(crate) channel_bindings: Option<String>,
    /// Credential cache of type FILE with a ticket for the service; where none is named, KRB5CCNAME, else
    /// /tmp/krb5cc_UID
    #[arg(long, value_name = "FILE")]
    pub(crate) ccache: Option<PathBuf>,
    /// DANGEROUS: log in by NTLM where Kerberos is not to be had; it never proves the service. Needs --user
    #[arg(long, requires = "user")]
    pub(crate) allow_ntlm: bool,
    /// Account to log in with by NTLM; DOMAIN\\NAME does too
    #[arg(long, value_name = "NAME@DOMAIN", requires_all = ["password_file", "allow_ntlm"])]
    pub(crate) user: Option<String>,
    /// File whose first line is that account's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// Send TEXT as one message, print the one reply, and end. Without it, standard input is sent in messages of at most
    /// 64 KiB, and what comes is written to standard output as it is
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Etypes that are permitted, the preferred one first, with commas between. arcfour-hmac is weak, and off unless
    /// named here
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
}
