//! What can be seen of a configuration without serving: whether the files it names are there, can be read, are nobody else's,
//! and hold what they should.

use super::fault::{Fault, Problem};
use super::forms::BindingSource;
use super::listener::{Bindings, KeySource, ListenerConfig, NtlmAccounts, Target};
use super::sections::ReplayStoreConfig;
use super::settings::{Origin, Settings, Table};
use super::upstream::UpstreamAddress;
use super::{Allow, Loaded, Section};
use crate::sources;
use countersign::accounts::AccountFile;
use countersign::proto::crypto::{Etype, etype_name};
use countersign::proto::error::{Code, Refusal, code};
use countersign::proto::krb5::keys::ServiceKeys;
use countersign::{files, krb5conf};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What keeps the configuration from being served, in the order of the file.
    pub(crate) faults: Vec<Fault>,
    /// What it is better to know.
    pub(crate) notes: Vec<Note>,
}

/// Something that is no fault, and worth a look.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Note {
    at: Origin,
    text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Origin::Default => f.write_str(&self.text),
            at => write!(f, "{at} {}", self.text),
        }
    }
}

impl Loaded {
    /// Looks at every file that is named. Nothing is written, locked or connected to.
    pub(crate) fn inspect(&self) -> Findings {
        let mut inspection = Inspection { settings: &self.settings, findings: Findings::default() };
        for (listener, table) in self.config.listeners.iter().zip(&self.settings.listeners) {
            inspection.listener(listener, table);
        }
        inspection.rest(self);
        let Findings { mut faults, mut notes } = inspection.findings;
        faults.sort_by(|a, b| a.at.cmp(&b.at));
        notes.sort();
        Findings { faults, notes }
    }
}

struct Inspection<'a> {
    settings: &'a Settings,
    findings: Findings,
}

impl Inspection<'_> {
    fn listener(&mut self, listener: &ListenerConfig, table: &Table) {
        match &listener.keys {
            KeySource::Keytab(named) => self.keytab(listener, table, named.as_deref()),
            KeySource::Realm { folder, master_key_file } => {
                self.realm(table, folder);
                if let Some(file) = master_key_file {
                    self.secret_file(table, "master_key_file", file);
                }
            }
        }
        if let Bindings::WhenOffered(values) | Bindings::Required(values) = &listener.channel_bindings {
            let certificates = values.iter().filter_map(|value| match value {
                BindingSource::Certificate(path) => files::certificate_bindings(path).err(),
                BindingSource::ApplicationData(_) => None,
            });
            certificates.for_each(|refusal| self.refused(table, "channel_binding_values", refusal));
        }
        if !listener.relay_realms.is_empty()
            && let Err(refusal) = krb5conf::load()
        {
            self.refused(table, "relay_realms", refusal);
        }
        self.accounts(listener, table);
        self.clients(listener, table);
        if listener.allow_rc4 && !listener.permitted_enctypes.contains(&Etype::ArcfourHmac) {
            self.note(table, "allow_rc4", "has no effect: permitted_enctypes does not name arcfour-hmac");
        }
        if let Target::Upstream(upstream) = &listener.target
            && let UpstreamAddress::Unix(path) = &upstream.address
            && let Err(error) = fs::metadata(path)
        {
            self.note(table, "upstream", format!("is not there yet: {} ({error})", path.display()));
        }
    }

    fn keytab(&mut self, listener: &ListenerConfig, table: &Table, named: Option<&Path>) {
        let path = match sources::keytab(named) {
            Ok(path) => path,
            Err(refusal) => return self.refused(table, "keytab", refusal),
        };
        let is_absent = path.try_exists().is_ok_and(|exists| !exists);
        if listener.ntlm.is_some()
            && named.is_none()
            && std::env::var_os("KRB5_KTNAME").is_none()
            && is_absent
        {
            let text = format!(
                "is not named, and there is none at {}: clients can log in by NTLM alone",
                path.display()
            );
            return self.note(table, "keytab", text);
        }
        match files::service_keys(&path) {
            Ok(keys) => self.keys(listener, table, &path, &keys),
            Err(refusal) => self.refused(table, "keytab", refusal),
        }
        if let Some(mode) = fs::metadata(&path).ok().and_then(|metadata| readable_by_others(&metadata, 0o007))
        {
            let path = path.display();
            self.note(
                table,
                "keytab",
                format!(
                    "{path} has mode {mode:04o}: every user of this machine can be the service; chmod 600 it"
                ),
            );
        }
    }

    /// At least one key must be one that a client can reach the service with.
    fn keys(&mut self, listener: &ListenerConfig, table: &Table, path: &Path, keys: &ServiceKeys) {
        let accepted = &listener.accept_principals;
        let is_accepted = |key: &&_| {
            accepted.is_empty()
                || accepted.contains(countersign::proto::krb5::keys::ServiceKey::principal(key))
        };
        if !keys.iter().any(|key| is_accepted(&key)) {
            let have = keys.iter().next().map(|key| key.principal().to_string()).unwrap_or_default();
            return self.useless(
                table,
                "accept_principals",
                path,
                format!("it has keys of others only, such as {have}"),
            );
        }
        let etypes: Vec<Etype> = keys.iter().filter(is_accepted).map(|key| key.etype()).collect();
        if !etypes.iter().any(|etype| listener.permitted_enctypes.contains(etype)) {
            let mut names: Vec<_> = etypes.iter().map(|etype| etype_name(etype.wire()).to_string()).collect();
            names.sort();
            names.dedup();
            self.useless(
                table,
                "permitted_enctypes",
                path,
                format!("its keys are of {}, which are not permitted", names.join(", ")),
            );
        }
    }

    fn useless(&mut self, table: &Table, key: &str, path: &Path, why: String) {
        let key = if table.has(key) { key } else { "keytab" };
        self.file(table, key, path, why, code::CONFIG_KEYS_USELESS);
    }

    fn accounts(&mut self, listener: &ListenerConfig, table: &Table) {
        match listener.ntlm.as_ref().map(|ntlm| &ntlm.accounts) {
            Some(NtlmAccounts::File(path)) => {
                if let Err(refusal) = AccountFile::open(path) {
                    self.refused(table, "ntlm_accounts", refusal);
                }
            }
            Some(NtlmAccounts::Winbind(program)) if !is_program(program) => {
                self.file(
                    table,
                    "ntlm_winbind",
                    program,
                    "no such program".to_owned(),
                    code::CONFIG_FILE_UNUSABLE,
                );
            }
            Some(NtlmAccounts::Winbind(_)) | None => {}
        }
    }

    fn clients(&mut self, listener: &ListenerConfig, table: &Table) {
        match (&listener.allow, &listener.ntlm) {
            (Allow::OwnRealm, None) => {
                self.note(
                    table,
                    "upstream",
                    "and no allow: only clients of the service's own realm may come in",
                );
            }
            (Allow::OwnRealm, Some(_)) => {
                let text =
                    "and no allow: only clients of the service's own realm may come in, and none by NTLM";
                self.note(table, "upstream", text);
            }
            (Allow::Listed(_), Some(_)) if !listener.allow.names_accounts() => {
                self.note(
                    table,
                    "allow_ntlm",
                    "has no effect: allow names no account of NTLM (DOMAIN\\user)",
                );
            }
            _ => {}
        }
    }

    fn rest(&mut self, loaded: &Loaded) {
        let (config, settings) = (&loaded.config, self.settings);
        if let Some(state) = &config.state {
            self.folder_that_can_be_made(&settings.top, "state", state);
        }
        if let Some(table) = settings.sections.get(&Section::Audit)
            && let Some(audit) = &config.audit
        {
            self.writable(table, "file", &audit.file);
        }
        let Some(table) = settings.sections.get(&Section::Replay) else { return };
        match &config.replay.store {
            ReplayStoreConfig::Valkey(valkey) => {
                if let Some(file) = &valkey.password_file {
                    self.secret_file(table, "password_file", file);
                }
            }
            ReplayStoreConfig::Memory => {
                let text =
                    "replays are remembered until restart only: the replay store is in memory".to_owned();
                self.findings.notes.push(Note { at: table.origin_of("store"), text });
            }
            ReplayStoreConfig::File { .. } | ReplayStoreConfig::Unnamed { .. } => {}
        }
    }

    /// Only whether there is one: what is wrong inside is seen by who opens it, and that is serving.
    fn realm(&mut self, table: &Table, folder: &Path) {
        if let Err(error) = fs::metadata(folder.join(REALM_DATABASE)) {
            self.file(table, "realm", folder, format!("{REALM_DATABASE}: {error}"), code::REALM_ABSENT);
        }
    }

    fn folder(&mut self, table: &Table, key: &str, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => self.file(table, key, path, "no folder".to_owned(), code::CONFIG_FILE_UNUSABLE),
            Err(error) => self.file(table, key, path, error.to_string(), code::CONFIG_FILE_UNUSABLE),
        }
    }

    /// A folder that is there, or can be made in one that is.
    fn folder_that_can_be_made(&mut self, table: &Table, key: &str, path: &Path) {
        if !path.try_exists().unwrap_or(true) && parent(path).is_dir() {
            return;
        }
        self.folder(table, key, path);
    }

    /// A file that is there and can be appended to, or can be made.
    fn writable(&mut self, table: &Table, key: &str, path: &Path) {
        let failed = match OpenOptions::new().append(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && parent(path).is_dir() => None,
            opened => opened.err(),
        };
        if let Some(error) = failed {
            self.file(table, key, path, error.to_string(), code::AUDIT_FAILED);
        }
    }

    /// A file with a secret in its first line, which nobody else may read.
    fn secret_file(&mut self, table: &Table, key: &str, path: &Path) {
        let mode = match fs::metadata(path) {
            Ok(metadata) => readable_by_others(&metadata, 0o077),
            Err(error) => return self.file(table, key, path, error.to_string(), code::CONFIG_FILE_UNUSABLE),
        };
        if let Some(mode) = mode {
            self.file(table, key, path, format!("mode {mode:04o}"), code::CONFIG_FILE_EXPOSED);
        } else if let Err(refusal) = sources::password(path) {
            self.refused(table, key, refusal);
        }
    }

    fn file(&mut self, table: &Table, key: &str, path: &Path, why: String, code: Code) {
        let path = path.display().to_string();
        let problem = Problem::File { key: key.to_owned(), path, why, code };
        self.findings.faults.push(Fault::new(table.origin_of(key), problem));
    }

    fn refused(&mut self, table: &Table, key: &str, refusal: Refusal) {
        let problem = Problem::Refused { key: key.to_owned(), refusal };
        self.findings.faults.push(Fault::new(table.origin_of(key), problem));
    }

    fn note(&mut self, table: &Table, key: &str, text: impl fmt::Display) {
        let at = table.origin_of(key);
        let text = if at.is_flag() { text.to_string() } else { format!("{key} {text}") };
        self.findings.notes.push(Note { at, text });
    }
}

/// The file that every realm's folder has.
const REALM_DATABASE: &str = "realm.redb";

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// The mode, if it gives somebody else one of the rights in `rights`. What is no file, such as a pipe, has an owner's care.
fn readable_by_others(metadata: &Metadata, rights: u32) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o777;
    (metadata.is_file() && mode & rights != 0).then_some(mode)
}

/// A path, or a name that is looked for where commands are.
fn is_program(program: &Path) -> bool {
    let is_one =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
    if program.components().count() > 1 {
        return is_one(program);
    }
    let folders: Vec<PathBuf> = std::env::var_os("PATH").map(|path| split(&path)).unwrap_or_default();
    folders.iter().any(|folder| is_one(&folder.join(program)))
}

fn split(path: &OsStr) -> Vec<PathBuf> {
    std::env::split_paths(path).collect()
}
