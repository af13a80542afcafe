//! `countersign realm`.

use super::EXIT_CODES;
use clap::{Args, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum RealmCommand {
    /// Make a realm in a folder
    Init(RealmInitArguments),
    /// Add a user
    AddUser(RealmAddUserArguments),
    /// Add services, with random keys
    AddService(RealmAddServiceArguments),
    /// Give a user another password, or a service other keys
    ///
    /// A user's old keys are forgotten; those of a service, and of krbtgt/REALM, are kept until the last ticket under them has
    /// ended: export the keytab before that.
    Passwd(RealmPasswdArguments),
    /// Change other properties of an account
    Modify(RealmModifyArguments),
    /// Show the accounts
    List(RealmListArguments),
    /// Remove accounts
    ///
    /// Tickets that were given out are good until they end.
    Remove(RealmRemoveArguments),
    /// Write the keys of services into a keytab
    ///
    /// The keys stay as they are.
    ExportKeytab(RealmExportArguments),
    /// Show what the realm grants, and change it
    Policy(RealmPolicyArguments),
    /// Serve the realm to Kerberos clients, by UDP and TCP
    ///
    /// Commands that change the realm meanwhile are done by this process, and take effect at once.
    Serve(RealmServeArguments),
}

/// Which realm.
#[derive(Args)]
pub(crate) struct RealmFolderArguments {
    /// The realm's folder
    #[arg(long = "realm", value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// File with the master key that the realm's keys are sealed under; without it master.key in the folder
    #[arg(long, value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

/// What a realm grants.
#[derive(Args)]
pub(crate) struct RealmGrantsArguments {
    /// Etypes of tickets and session keys, the preferred one first, with commas between
    #[arg(long, value_name = "ETYPES", value_delimiter = ',')]
    pub(crate) permitted_enctypes: Vec<String>,
    /// SPAKE groups, the preferred one first, with commas between: edwards25519, P-256; or none
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    pub(crate) spake_groups: Vec<String>,
    /// Longest life of a ticket, as krb5.conf writes it: 10h, 1d12h, 8:30
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_life: Option<String>,
    /// For how long a ticket may be renewed
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_renewable_life: Option<String>,
    /// How far a client's clock may be from ours
    #[arg(long, value_name = "DURATION")]
    pub(crate) clock_skew: Option<String>,
    /// Whether a timestamp under the password's key will do as proof: who sees it can guess the password at leisure
    #[arg(long, value_name = "true|false")]
    pub(crate) allow_encrypted_timestamp: Option<bool>,
    /// Wrong passwords that cost nothing
    #[arg(long, value_name = "NUMBER")]
    pub(crate) lockout_threshold: Option<u32>,
    /// Delay after the first one beyond those; each further one doubles it
    #[arg(long, value_name = "DURATION")]
    pub(crate) lockout_first_delay: Option<String>,
    /// Longest delay
    #[arg(long, value_name = "DURATION")]
    pub(crate) lockout_longest_delay: Option<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmInitArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    #[command(flatten)]
    pub(crate) grants: RealmGrantsArguments,
    /// Name of the realm, by convention a domain's name in upper case
    #[arg(value_name = "NAME.OF.REALM")]
    pub(crate) name: String,
}

/// Properties of an account.
#[derive(Args)]
pub(crate) struct RealmPropertiesArguments {
    /// When the account ends: 2027-01-31, 2027-01-31T12:00:00Z, a time from now such as 90d, or never
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// When its password ends
    #[arg(long, value_name = "TIME")]
    pub(crate) password_expires: Option<String>,
    /// Longest life of its tickets, if less than the realm's: 10h, 1d12h, 8:30, or none
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_life: Option<String>,
    /// For how long they may be renewed, if less than the realm's, or none
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_renewable_life: Option<String>,
    /// Whether its tickets may be forwarded; they may unless this says otherwise
    #[arg(long, value_name = "true|false")]
    pub(crate) forwardable: Option<bool>,
    /// Another name that leads to it; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) alias: Vec<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmAddUserArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    #[command(flatten)]
    pub(crate) properties: RealmPropertiesArguments,
    /// File whose first line is the password; without it the password is asked for on the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Make a password by chance, and print it
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) random_password: bool,
    /// The user's name
    #[arg(value_name = "USER")]
    pub(crate) user: String,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmAddServiceArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    #[command(flatten)]
    pub(crate) properties: RealmPropertiesArguments,
    /// The services
    #[arg(value_name = "CLASS/HOST", required = true)]
    pub(crate) services: Vec<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmPasswdArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    /// File whose first line is the password; without it the password is asked for on the terminal
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// For a user: make a password by chance, and print it. For a service or krbtgt/REALM: make new random keys
    #[arg(long, alias = "random-password", conflicts_with = "password_file")]
    pub(crate) random: bool,
    /// The account
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmModifyArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    #[command(flatten)]
    pub(crate) properties: RealmPropertiesArguments,
    /// Another name that is to lead to it no more; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) remove_alias: Vec<String>,
    /// Put the account out of use
    #[arg(long, conflicts_with = "enable")]
    pub(crate) disable: bool,
    /// Put it to use again
    #[arg(long)]
    pub(crate) enable: bool,
    /// Forget wrong passwords, and with them the delay that they cost
    #[arg(long)]
    pub(crate) unlock: bool,
    /// The account
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmListArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    /// Show a JSON object a line, with all there is about an account but its keys
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmRemoveArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    /// The accounts
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmExportArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    /// The keytab; it is made if there is none, for its owner alone, and added to if there is
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: PathBuf,
    /// The services
    #[arg(value_name = "CLASS/HOST", required = true)]
    pub(crate) services: Vec<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmPolicyArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    #[command(flatten)]
    pub(crate) grants: RealmGrantsArguments,
    /// Show a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct RealmServeArguments {
    #[command(flatten)]
    pub(crate) realm: RealmFolderArguments,
    /// Address to listen on, by UDP and TCP; port 0 takes one that is free for both. May be given more than once: a machine
    /// with several addresses is told each of them, so that datagrams are answered from where they went
    #[arg(long, value_name = "ADDR", required = true)]
    pub(crate) listen: Vec<SocketAddr>,
    /// File that gets one JSON line for each request, and for each change of the realm
    #[arg(long, value_name = "FILE")]
    pub(crate) audit: Option<PathBuf>,
    /// What is told on standard error
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) log: RealmLog,
}

/// What a serving realm tells.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RealmLog {
    /// Every request
    All,
    /// Changes of the realm alone
    Changes,
}
