//! `countersign keytab`.

use super::EXIT_CODES;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum KeytabCommand {
    /// Show whose keys a keytab holds
    ///
    /// Shows what klist -k -t -e shows. Times are in UTC: TZ=UTC klist shows the same. The keys themselves are never shown.
    List(KeytabListArguments),
    /// Add keys of a principal, or change them
    Add(KeytabAddArguments),
    /// Remove keys of a principal, and overwrite them
    Remove(KeytabRemoveArguments),
    /// Add the keys of other keytabs
    Merge(KeytabMergeArguments),
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct KeytabListArguments {
    /// The keytab; where none is named, KRB5_KTNAME, else /etc/krb5.keytab
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct KeytabAddArguments {
    /// The keytab; it is made if there is none, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: PathBuf,
    /// Whose keys they are, CLASS/HOST@REALM
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: String,
    /// File whose first line is the principal's password, from which the keys are made
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) password_file: Option<PathBuf>,
    /// File whose first line is the key in hexadecimal; then there is one etype
    #[arg(long, value_name = "FILE", group = "source")]
    pub(crate) key_hex_file: Option<PathBuf>,
    /// Make new keys by chance; the KDC must be given them then
    #[arg(long, group = "source")]
    pub(crate) random_key: bool,
    /// Version of the keys: the one that the KDC has
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) kvno: u32,
    /// Etypes of the keys, with commas between
    #[arg(long, value_name = "ETYPES", value_delimiter = ',', required = true)]
    pub(crate) etype: Vec<String>,
    /// What the password is salted with, where the KDC takes something else than the realm and the name
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key_hex_file", "random_key"])]
    pub(crate) salt: Option<String>,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct KeytabRemoveArguments {
    /// The keytab
    #[arg(long, value_name = "FILE")]
    pub(crate) keytab: PathBuf,
    /// Whose keys, CLASS/HOST@REALM
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: String,
    /// Only those of this version
    #[arg(long, value_name = "NUMBER")]
    pub(crate) kvno: Option<u32>,
    /// Only those of this etype: a name, or a number of one that is not implemented
    #[arg(long, value_name = "ETYPE")]
    pub(crate) etype: Option<String>,
    /// All but those of the newest version
    #[arg(long, conflicts_with = "kvno")]
    pub(crate) old: bool,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct KeytabMergeArguments {
    /// The keytab that the keys are added to; it is made if there is none, for its owner alone
    #[arg(long, value_name = "FILE")]
    pub(crate) into: PathBuf,
    /// Keytabs to take the keys from. Of two keys of one principal, version and etype the one read later counts
    #[arg(value_name = "FROM", required = true)]
    pub(crate) from: Vec<PathBuf>,
}
