//! `countersign ntlm add`: accounts for `serve --allow-ntlm --ntlm-accounts FILE`.

use crate::args::NtlmAddArguments;
use crate::{report, sources};
use countersign::Refusal;
use countersign::accounts::{AccountFile, AccountName};

/// Adds an account, or changes its password.
pub(crate) fn add(arguments: &NtlmAddArguments) -> Result<(), Refusal> {
    let name = AccountName::parse(&arguments.user)?;
    let password = sources::password(&arguments.password_file)?;
    AccountFile::set(&arguments.file, &name, &password)?;
    report::line(&format!("{name} can log in by NTLM with the accounts of {}", arguments.file.display()));
    Ok(())
}
