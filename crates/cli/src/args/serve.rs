//! `countersign serve`.

use super::{EXIT_CODES, Framing};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct ServeArguments {
    /// Address to listen on; port 0 takes a free one. May be given more than once
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2000")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Keytab with the service's keys; where none is named, KRB5_KTNAME, else /etc/krb5.keytab
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: Option<PathBuf>,
    /// Serve with the keys of the realm in this folder, and let clients that reach no KDC log in to it through this service:
    /// no keytab, no krb5.conf, no KDC port
    #[arg(long, value_name = "DIR", conflicts_with = "keytab")]
    pub(crate) realm: Option<PathBuf>,
    /// File with the realm's master key; without it master.key in the realm's folder
    #[arg(long, value_name = "FILE", requires = "realm")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// Let clients that reach no KDC log in to this realm through this service, which asks the KDCs of krb5.conf for them; may be
    /// given more than once, the service's own realm first
    #[arg(long, value_name = "REALM", conflicts_with = "realm")]
    pub(crate) relay_realm: Vec<String>,
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
