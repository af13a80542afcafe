//! `countersign keytab`: what klist -k, ktutil and ktremove do.

use crate::args::{
    KeytabAddArguments, KeytabCommand, KeytabListArguments, KeytabMergeArguments, KeytabRemoveArguments,
};
use crate::{output, report, sources};
use countersign::keytabs::{self, Changed};
use countersign::proto::crypto::{Etype, Key, etype_name, string_to_key};
use countersign::proto::error::{Refusal, code};
use countersign::proto::keytab::{KeytabEntry, Selection};
use countersign::proto::krb5::msg::principal::Principal;
use countersign::proto::secret::Secret;
use countersign::proto::time::Timestamp;
use std::path::Path;
use std::time::SystemTime;

/// Does what the command says.
pub(crate) fn run(command: &KeytabCommand) -> Result<(), Refusal> {
    match command {
        KeytabCommand::List(arguments) => list(arguments),
        KeytabCommand::Add(arguments) => add(arguments),
        KeytabCommand::Remove(arguments) => remove(arguments),
        KeytabCommand::Merge(arguments) => merge(arguments),
    }
}

fn list(arguments: &KeytabListArguments) -> Result<(), Refusal> {
    let path = sources::keytab(arguments.keytab.as_deref())?;
    let keytab = keytabs::read(&path)?;
    let mut text = format!("Keytab name: FILE:{}\n", path.display());
    text.push_str("KVNO Timestamp            Principal\n");
    text.push_str(&format!("{:-<4} {:-<20} {:-<53}\n", "", "", ""));
    for entry in &keytab.entries {
        let written = Timestamp::new(entry.timestamp.into(), 0);
        let etype = etype_name(entry.etype);
        text.push_str(&format!("{:>4} {written} {} ({etype})\n", entry.kvno, entry.principal));
    }
    output::print(&text)
}

fn add(arguments: &KeytabAddArguments) -> Result<(), Refusal> {
    let principal = sources::principal_with_realm(&arguments.principal, "--principal")?;
    let etypes = sources::etypes_named(&arguments.etype, "--etype")?;
    let now = Timestamp::from_system(SystemTime::now());
    let keys = keys(arguments, &principal, &etypes)?;
    let entries: Vec<KeytabEntry> = etypes
        .iter()
        .zip(keys)
        .map(|(etype, key)| KeytabEntry {
            principal: principal.clone(),
            timestamp: u32::try_from(now.seconds()).unwrap_or_default(),
            kvno: arguments.kvno,
            etype: etype.wire(),
            key,
        })
        .collect();
    let changed = keytabs::add(&arguments.keytab, &entries)?;
    tell(&arguments.keytab, entries.len(), &changed);
    Ok(())
}

/// A key for each of `etypes`.
fn keys(
    arguments: &KeytabAddArguments,
    principal: &Principal,
    etypes: &[Etype],
) -> Result<Vec<Secret>, Refusal> {
    let bytes = |key: Key| Secret::from(key.expose());
    if let Some(file) = &arguments.key_hex_file {
        let [etype] = etypes else {
            let saw = format!("--key-hex-file with {} etypes", etypes.len());
            return Err(sources::usage(saw, "one etype for one key"));
        };
        let key = Key::new(*etype, sources::key(file)?.expose()).map_err(|error| {
            let saw = format!("key file {}: {error}", file.display());
            Refusal::new(code::KEY_MALFORMED, saw, format!("{} bytes for {etype}", etype.key_len()))
        })?;
        return Ok(vec![bytes(key)]);
    }
    if let Some(file) = &arguments.password_file {
        let password = sources::password(file)?;
        let salt = match &arguments.salt {
            Some(salt) => salt.clone().into_bytes(),
            None => default_salt(principal),
        };
        let made = etypes.iter().map(|etype| {
            string_to_key(*etype, password.as_bytes(), &salt, None).map(bytes).map_err(|error| {
                let saw = format!("password file {}: {error}", file.display());
                Refusal::new(code::KEY_MALFORMED, saw, format!("no other way to a key of {etype}"))
            })
        });
        return made.collect();
    }
    Ok(etypes.iter().map(|etype| bytes(keytabs::random_key(*etype))).collect())
}

/// The realm and the components, with nothing between (RFC 4120 section 4).
fn default_salt(principal: &Principal) -> Vec<u8> {
    [std::slice::from_ref(&principal.realm), &principal.components].concat().concat()
}

fn remove(arguments: &KeytabRemoveArguments) -> Result<(), Refusal> {
    let selection = Selection {
        principal: sources::principal_with_realm(&arguments.principal, "--principal")?,
        kvno: arguments.kvno,
        etype: arguments.etype.as_deref().map(etype_number).transpose()?,
        old: arguments.old,
    };
    for entry in keytabs::remove(&arguments.keytab, &selection)? {
        report::line(&format!("removed {}", described(&entry)));
    }
    Ok(())
}

fn etype_number(text: &str) -> Result<i32, Refusal> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => sources::etype(text, "--etype").map(Etype::wire),
    }
}

fn merge(arguments: &KeytabMergeArguments) -> Result<(), Refusal> {
    let mut entries = Vec::new();
    for path in &arguments.from {
        entries.extend(keytabs::read(path)?.entries);
    }
    let changed = keytabs::add(&arguments.into, &entries)?;
    tell(&arguments.into, entries.len(), &changed);
    Ok(())
}

fn tell(keytab: &Path, given: usize, changed: &Changed) {
    for entry in &changed.removed {
        report::line(&format!("replaced {}", described(entry)));
    }
    for entry in &changed.passed_over {
        report::line(&format!("passed over {}: the one read later counts", described(entry)));
    }
    if changed.held > 0 {
        report::line(&format!("{} of {given} keys were there already", changed.held));
    }
    report::line(&format!("{} keys added to {}", changed.added, keytab.display()));
}

fn described(entry: &KeytabEntry) -> String {
    format!("{} kvno {} {}", entry.principal, entry.kvno, etype_name(entry.etype))
}
