//! Accounts that are added, changed, removed and exported.

use super::folder;
use super::grants::unexpected;
use super::values::{length, time};
use crate::args::{
    RealmAddServiceArguments, RealmAddUserArguments, RealmExportArguments, RealmModifyArguments,
    RealmPasswdArguments, RealmPropertiesArguments, RealmRemoveArguments,
};
use crate::{output, report, sources};
use countersign::keytabs;
use countersign::proto::error::{Refusal, code};
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;
use countersign::realm::{RealmFolder, keytab_entries, random_password};
use countersign_realm::admin::{AccountView, Changes, HexSecret, Request, Response};
use std::path::Path;
use std::time::SystemTime;
use zeroize::Zeroizing;

pub(super) fn add_user(arguments: &RealmAddUserArguments) -> Result<(), Refusal> {
    let changes = properties(&arguments.properties)?;
    let password = password(&arguments.user, arguments.password_file.as_deref(), arguments.random_password)?;
    let (name, secret) = (arguments.user.clone(), password.to_secret());
    let added = ask(&folder(&arguments.realm), &Request::AddUser { name, password: secret, changes })?;
    report::line(&format!("user {} added", added.name));
    password.tell()
}

pub(super) fn add_services(arguments: &RealmAddServiceArguments) -> Result<(), Refusal> {
    let changes = properties(&arguments.properties)?;
    if arguments.services.len() > 1 && !changes.add_aliases.is_empty() {
        return Err(sources::usage("--alias for several services".to_owned(), "one account for a name"));
    }
    let folder = folder(&arguments.realm);
    for service in &arguments.services {
        let request = Request::AddService { name: service.clone(), changes: changes.clone() };
        let added = ask(&folder, &request)?;
        report::line(&format!("service {} added, kvno {}", added.name, added.kvno));
    }
    Ok(())
}

pub(super) fn passwd(arguments: &RealmPasswdArguments) -> Result<(), Refusal> {
    let (folder, name) = (folder(&arguments.realm), arguments.name.clone());
    // Of services alone, and of the realm itself, names have a slash.
    if arguments.random && name.contains('/') {
        let changed = ask(&folder, &Request::NewKeys { name })?;
        report::line(&format!("{} has new keys, kvno {}", changed.name, changed.kvno));
        return Ok(());
    }
    let password = password(&name, arguments.password_file.as_deref(), arguments.random)?;
    let changed = ask(&folder, &Request::SetPassword { name, password: password.to_secret() })?;
    report::line(&format!("{} has another password, kvno {}", changed.name, changed.kvno));
    password.tell()
}

pub(super) fn modify(arguments: &RealmModifyArguments) -> Result<(), Refusal> {
    let mut changes = properties(&arguments.properties)?;
    changes.disabled = match (arguments.disable, arguments.enable) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    changes.remove_aliases = arguments.remove_alias.clone();
    changes.unlock = arguments.unlock;
    if changes == Changes::default() {
        return Err(sources::usage("no flag that says what to change".to_owned(), "nothing to change"));
    }
    let changed = ask(&folder(&arguments.realm), &Request::Change { name: arguments.name.clone(), changes })?;
    report::line(&format!("{} changed", changed.name));
    Ok(())
}

pub(super) fn remove(arguments: &RealmRemoveArguments) -> Result<(), Refusal> {
    let folder = folder(&arguments.realm);
    for name in &arguments.names {
        folder.administer(&Request::Remove { name: name.clone() })?;
        report::line(&format!("{name} removed"));
    }
    Ok(())
}

pub(super) fn export_keytab(arguments: &RealmExportArguments) -> Result<(), Refusal> {
    let folder = folder(&arguments.realm);
    let mut entries = Vec::new();
    for name in &arguments.services {
        entries.extend(keytab_entries(folder.administer(&Request::Export { name: name.clone() })?)?);
    }
    let changed = keytabs::add(&arguments.keytab, &entries)?;
    report::line(&format!("{} keys added to {}", changed.added, arguments.keytab.display()));
    Ok(())
}

fn ask(folder: &RealmFolder, request: &Request) -> Result<AccountView, Refusal> {
    match folder.administer(request)? {
        Response::Account(account) => Ok(account),
        _ => Err(unexpected()),
    }
}

fn properties(arguments: &RealmPropertiesArguments) -> Result<Changes, Refusal> {
    let now = Timestamp::from_system(SystemTime::now());
    Ok(Changes {
        expires: time("--expires", arguments.expires.as_deref(), now)?,
        password_expires: time("--password-expires", arguments.password_expires.as_deref(), now)?,
        max_life: length("--max-life", arguments.max_life.as_deref())?,
        max_renewable_life: length("--max-renewable-life", arguments.max_renewable_life.as_deref())?,
        forwardable: arguments.forwardable,
        add_aliases: arguments.alias.clone(),
        ..Changes::default()
    })
}

/// A password, and whether its user has yet to be told.
struct Password {
    text: Zeroizing<String>,
    made: bool,
}

impl Password {
    fn to_secret(&self) -> HexSecret {
        HexSecret(Secret::from(self.text.as_bytes()))
    }

    /// Prints one that was made here: the only time that it is shown.
    fn tell(&self) -> Result<(), Refusal> {
        if !self.made {
            return Ok(());
        }
        let mut line = Zeroizing::new(String::with_capacity(self.text.len().saturating_add(1)));
        line.push_str(&self.text);
        line.push('\n');
        output::print(&line)
    }
}

/// The password: made by chance, of a file, or typed twice.
fn password(name: &str, file: Option<&Path>, random: bool) -> Result<Password, Refusal> {
    let given = |text| Password { text, made: false };
    match (file, random) {
        (_, true) => Ok(Password { text: random_password(), made: true }),
        (Some(file), false) => sources::password(file).map(given),
        (None, false) => typed_twice(name).map(given),
    }
}

fn typed_twice(name: &str) -> Result<Zeroizing<String>, Refusal> {
    let first = sources::password_from_terminal(&format!("Password for {name}: "))?;
    let second = sources::password_from_terminal(&format!("Password for {name}, again: "))?;
    if *first == *second {
        return Ok(first);
    }
    let saw = "two passwords that differ";
    Err(Refusal::new(code::PASSWORD_UNREADABLE, saw, "one password for an account"))
}
