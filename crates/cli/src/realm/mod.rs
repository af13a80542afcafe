//! `countersign realm`: a realm of one's own.

mod accounts;
mod grants;
mod list;
mod serve;
mod values;

use crate::args::{RealmCommand, RealmFolderArguments, RealmInitArguments};
use crate::report;
use countersign::Refusal;
use countersign::realm::RealmFolder;
use countersign_realm::RealmPolicy;

/// Does what the command says.
pub(crate) fn run(command: &RealmCommand) -> Result<(), Refusal> {
    match command {
        RealmCommand::Init(arguments) => init(arguments),
        RealmCommand::AddUser(arguments) => accounts::add_user(arguments),
        RealmCommand::AddService(arguments) => accounts::add_services(arguments),
        RealmCommand::Passwd(arguments) => accounts::passwd(arguments),
        RealmCommand::Modify(arguments) => accounts::modify(arguments),
        RealmCommand::List(arguments) => list::run(arguments),
        RealmCommand::Remove(arguments) => accounts::remove(arguments),
        RealmCommand::ExportKeytab(arguments) => accounts::export_keytab(arguments),
        RealmCommand::Policy(arguments) => grants::run(arguments),
        RealmCommand::Serve(arguments) => serve::run(arguments),
    }
}

fn init(arguments: &RealmInitArguments) -> Result<(), Refusal> {
    let name = &arguments.name;
    let policy = grants::changes(&arguments.grants)?.applied_to(RealmPolicy::new(name.clone()))?;
    if name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        report::line(&format!("warning: {name} has lower case: many programs expect a realm in upper case"));
    }
    let folder = folder(&arguments.realm);
    folder.init(&policy)?;
    report::line(&format!("realm {name} made in {}", folder.path().display()));
    Ok(())
}

fn folder(arguments: &RealmFolderArguments) -> RealmFolder {
    let folder = RealmFolder::new(&arguments.folder);
    match &arguments.master_key_file {
        Some(file) => folder.with_master_key_file(file),
        None => folder,
    }
}
